// The gate: a model serves only after it has shown, on this machine, that it is what its manifest says. Checked are
// features and their types, inputs and outputs, the golden rows in batches of 1, 8 and 32, and the NaN policy; µs per
// row is measured on the way, over rotated rows (the same row again and again is twice too fast), after a warm-up.
// It refuses with every misfit that it found, not the first; `readBundle` has checked paths and digests before.
import { CPU_ALONE, type LaneProviders, type ProviderInUse } from '../contract/providers.js'
import { AssayError, type InputFault } from '../errors.js'
import { LIMITS, type Limits } from '../limits.js'
import { type Clock, systemClock } from '../runtime/clock.js'
import type { Bundle } from './bundle.js'
import { refusal } from './bundle-files.js'
import { bindColumns, type CatalogueFacts, takesOwnColumns, TYPES_FOR } from './columns.js'
import { checkGolden, checkMissing, createRunner, type Runner } from './golden-rows.js'
import { dtypesOf, inputsOf } from './inputs.js'
import { type ModelSession, openSession } from './session.js'

/** What the gate found; plain data that may cross threads. */
export interface Admission {
  readonly name: string
  readonly version: string
  readonly digest: string
  /** Catalogue indexes in the order of the model's features; null where its columns are its own. */
  readonly columns: Int32Array | null
  readonly goldenRows: number
  /** Largest absolute difference of a golden score. */
  readonly goldenErrorMax: number
  /** Median over the runs of each batch size. */
  readonly timings: readonly Timing[]
  /** Milliseconds to load and prepare the model. */
  readonly loadMs: number
  /** What the golden rows ran on; null for a scorecard. */
  readonly provider: ProviderInUse | null
}

export interface Timing {
  readonly rows: number
  readonly microsPerRow: number
}

export interface GateOptions {
  readonly limits?: Limits
  /** Rows of a run of the session that is kept; at least and by default `flightRowsMax`. */
  readonly rowsMax?: number
  readonly clock?: Clock
  /** Called before each run: keeps the thread for a rest where others need the cores. */
  readonly rest?: () => void
  /** Default: the CPU alone. */
  readonly providers?: LaneProviders
}

/** Batch sizes that are measured: one row, and where nearly all of the gain of batching is reached. */
const SIZES = [1, 8, 32]
/** Runs of a size at most: the median of so many moves by less than one start differs from another. */
const RUNS_MAX = 200

/** Runs the gate and closes the model again. Throws ASSAY_BUNDLE_REFUSED naming every misfit. */
export async function admit(bundle: Bundle, facts: CatalogueFacts, options: GateOptions = {}): Promise<Admission> {
  const { admission, session } = await openAdmitted(bundle, facts, options)
  await session?.close()
  return admission
}

/** Runs the gate and keeps the session that passed it, warm; null for a scorecard. Throws ASSAY_BUNDLE_REFUSED. */
export async function openAdmitted(
  bundle: Bundle,
  facts: CatalogueFacts,
  options: GateOptions = {},
): Promise<{ admission: Admission; session: ModelSession | null }> {
  const clock = options.clock ?? systemClock
  const limits = options.limits ?? LIMITS
  const faults: InputFault[] = []
  const columns = bindFeatures(bundle, facts, faults)
  const startedMs = clock.monoMs()
  const runner = await openRunner(bundle, { ...options, limits }, faults)
  const loadMs = clock.monoMs() - startedMs
  if (runner === null) throw refusal(bundle.directory, faults)
  try {
    const golden = await checkGolden(bundle, runner)
    faults.push(...golden.faults)
    if (bundle.manifest.takes_nan && !golden.threw) faults.push(...(await checkMissing(bundle, runner)))
    if (faults.length > 0) throw refusal(bundle.directory, faults)
    const timings = await measure(bundle, runner, { clock, limits })
    const { name, version } = bundle.manifest
    const { digest } = bundle
    const measured = { goldenRows: bundle.golden.count, goldenErrorMax: golden.errorMax, timings, loadMs }
    const provider = runner.session?.provider ?? null
    const admission = { name, version, digest, columns, ...measured, provider }
    return { admission, session: runner.session }
  } catch (error) {
    await runner.session?.close()
    throw error
  }
}

async function openRunner(
  bundle: Bundle,
  { limits, rest, rowsMax = limits.flightRowsMax, providers = CPU_ALONE }: GateOptions & { readonly limits: Limits },
  faults: InputFault[],
): Promise<Runner | null> {
  try {
    const session = bundle.manifest.kind === 'onnx' ? await openSession(bundle, { rowsMax, providers }) : null
    return await createRunner(bundle, session, limits.flightRowsMax, rest)
  } catch (error) {
    if (!(error instanceof AssayError) || error.code !== 'ASSAY_BUNDLE_REFUSED') throw error
    faults.push(...error.errors)
    return null
  }
}

/** Binds the columns and adds the faults of features, types and NaN policy. */
function bindFeatures(bundle: Bundle, facts: CatalogueFacts, faults: InputFault[]): Int32Array | null {
  const { manifest } = bundle
  if (takesOwnColumns(manifest)) return null
  const binding = bindColumns(manifest, facts.names, facts.featureDigests)
  if ('faults' in binding) {
    faults.push(...binding.faults)
    return new Int32Array(0)
  }
  const dtypes = dtypesOf(inputsOf(manifest))
  binding.columns.forEach((column, position) => {
    const path = `/features/${position}`
    const name = facts.names[column]
    const dtype = dtypes.at(position) ?? 'float32'
    if (!TYPES_FOR[dtype].includes(facts.dtypes[column])) {
      const allowed = TYPES_FOR[dtype].join(' or ')
      faults.push({ path, message: `feature ${name} is ${facts.dtypes[column]}; a ${dtype} model needs ${allowed}` })
    }
    if (!manifest.takes_nan && facts.missing[column] === 'nan') {
      const message = `feature ${name} may be NaN (missing: nan), but takes_nan is false; a numeric missing is needed`
      faults.push({ path, message })
    }
  })
  return binding.columns
}

async function measure(bundle: Bundle, runner: Runner, deps: { clock: Clock; limits: Limits }): Promise<Timing[]> {
  const { clock, limits } = deps
  const timings: Timing[] = []
  for (const rows of SIZES.filter((size) => size <= runner.rowsMax)) {
    const micros: number[] = []
    const maxMicros = limits.gateMeasureMs * 1000
    for (let at = 0, sum = 0; micros.length === 0 || (sum < maxMicros && micros.length < RUNS_MAX); at += rows) {
      runner.stage(bundle.golden.values, at % bundle.golden.count, rows)
      const beganMs = clock.monoMs()
      await runner.run(rows)
      const took = (clock.monoMs() - beganMs) * 1000
      micros.push(took)
      sum += took
    }
    micros.sort((a, b) => a - b)
    timings.push({ rows, microsPerRow: micros[micros.length >> 1] / rows })
  }
  return timings
}
