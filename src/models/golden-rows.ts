// Golden rows run through a loaded model: scores equal to the trainer's within the tolerance, and missing values
// taken as the manifest says. A runner stands for both kinds of model; only the first few wrong rows are spelt out.
import { AssayError, faultsText, type InputFault } from '../errors.js'
import type { Bundle } from './bundle.js'
import { refusal } from './bundle-files.js'
import { goldenDifference } from './golden-difference.js'
import { dtypesOf } from './inputs.js'
import { readModelBytes } from './model-bytes.js'
import { compileScorecard, type Scorecard } from './scorecard.js'
import type { ModelSession, ScoresOut } from './session.js'

/** A loaded model with a staging area for one batch. */
export interface Runner {
  readonly rowsMax: number
  /** null for a scorecard. */
  readonly session: ModelSession | null
  /** The staged rows, row-major. */
  readonly rows: Float64Array
  readonly out: ScoresOut
  /** Copies `count` rows of `values` in, beginning with row `first` and wrapping at the end. */
  stage(values: Float64Array, first: number, count: number): void
  /** Scores the first `count` staged rows into `out`. */
  run(count: number): Promise<void>
}

const SPELT_OUT_MAX = 5

/** A runner over a session, or over the bundle's scorecard where `session` is null; rests before each batch. */
export async function createRunner(
  bundle: Bundle,
  session: ModelSession | null,
  rowsMax: number,
  rest: () => void = () => undefined,
): Promise<Runner> {
  const columns = bundle.manifest.features.length
  const rows = new Float64Array(rowsMax * columns)
  const out = { raw: new Float64Array(rowsMax), scores: new Float64Array(rowsMax) }
  return {
    rowsMax,
    session,
    rows,
    out,
    stage(values, first, count) {
      rest()
      const size = values.length / columns
      for (let row = 0; row < count; row += 1) {
        const from = ((first + row) % size) * columns
        rows.set(values.subarray(from, from + columns), row * columns)
      }
    },
    run: session === null ? await scorecardRun(bundle, rows, out) : (count) => session.run(rows, count, out),
  }
}

async function scorecardRun(bundle: Bundle, rows: Float64Array, out: ScoresOut): Promise<Runner['run']> {
  const names = bundle.manifest.features.map((feature) => feature.name)
  const card = await readScorecard(bundle)
  const own = Int32Array.from(names.keys())
  return (count) => {
    for (let row = 0; row < count; row += 1) {
      const at = row * names.length
      out.raw[row] = card.raw(rows, at, own)
      out.scores[row] = card.score(rows, at, own)
    }
    return Promise.resolve()
  }
}

/** The bundle's scorecard, compiled; refuses one whose features are not the manifest's, in its order. */
export async function readScorecard(bundle: Bundle): Promise<Scorecard> {
  const { path } = bundle.manifest.file
  const refuse = (faults: readonly InputFault[], cause?: unknown) => refusal(bundle.directory, faults, cause)
  const card = compile(await readModelBytes(bundle), (message, cause) =>
    refuse([{ path: '/file', message: `${path} ${message}` }], cause),
  )
  const listed = bundle.manifest.features.map((feature) => feature.name).join(', ')
  const held = card.features.join(', ')
  if (listed === held) return card
  throw refuse([{ path: '/features', message: `the manifest lists ${listed}; ${path} has ${held}` }])
}

function compile(bytes: Uint8Array, refuse: (message: string, cause: unknown) => AssayError): Scorecard {
  try {
    return compileScorecard(JSON.parse(new TextDecoder().decode(bytes)))
  } catch (error) {
    if (error instanceof SyntaxError) throw refuse(`is not JSON: ${error.message}`, error)
    if (!(error instanceof AssayError)) throw error
    throw refuse(faultsText(error.errors), error)
  }
}

export interface GoldenResult {
  readonly faults: readonly InputFault[]
  readonly errorMax: number
  /** True where the model threw: nothing further can be asked of it. */
  readonly threw: boolean
}

/** Every golden row once, in full batches, then a few alone: the score must not depend on its neighbours. */
export async function checkGolden(bundle: Bundle, runner: Runner): Promise<GoldenResult> {
  const { golden } = bundle
  const faults: InputFault[] = []
  let errorMax = 0
  let wrong = 0
  const compare = (first: number, count: number) => {
    for (let row = 0; row < count; row += 1) {
      const difference = goldenDifference(golden, first + row, runner.out, row)
      if (difference.score > errorMax) errorMax = difference.score
      if (difference.message === null) continue
      wrong += 1
      if (wrong <= SPELT_OUT_MAX) {
        faults.push({ path: `/golden/rows/${first + row}`, message: difference.message })
      }
    }
  }
  const batches = [
    ...batchesOf(golden.count, runner.rowsMax),
    { first: 0, count: 1 },
    { first: golden.count - 1, count: 1 },
  ]
  try {
    for (const { first, count } of batches) {
      runner.stage(golden.values, first, count)
      await runner.run(count)
      compare(first, count)
    }
  } catch (error) {
    faults.push({ path: '/golden/rows', message: `the model fails on its golden rows: ${failureOf(error)}` })
    return { faults, errorMax, threw: true }
  }
  if (wrong > SPELT_OUT_MAX) {
    faults.push({ path: '/golden/rows', message: `${wrong - SPELT_OUT_MAX} more comparisons fail` })
  }
  return { faults, errorMax, threw: false }
}

/** A model that takes NaN answers within [0, 1] when everything is missing, and when any one feature is. */
export async function checkMissing(bundle: Bundle, runner: Runner): Promise<InputFault[]> {
  const { golden, manifest } = bundle
  const names = manifest.features.map((feature) => feature.name)
  const width = names.length
  // Beside other inputs an int64 one is never given NaN: the catalogue's int64 columns hold none.
  const whole = manifest.inputs === undefined ? [] : dtypesOf(manifest.inputs).map((dtype) => dtype === 'int64')
  const values = new Float64Array((width + 1) * width)
  for (let column = 0; column <= width; column += 1) {
    const from = (column % golden.count) * width
    values.set(golden.values.subarray(from, from + width), column * width)
    for (let at = 0; at < width; at += 1) {
      if ((column === at || column === width) && !whole[at]) values[column * width + at] = NaN
    }
  }
  const faults: InputFault[] = []
  for (const { first, count } of batchesOf(width + 1, runner.rowsMax)) {
    runner.stage(values, first, count)
    try {
      await runner.run(count)
    } catch (error) {
      return [{ path: '/takes_nan', message: `takes_nan is true, but the model fails on NaN: ${failureOf(error)}` }]
    }
    for (let row = 0; row < count; row += 1) {
      if (!Number.isNaN(runner.out.scores[row])) continue
      const what = names[first + row] ?? 'every feature'
      const got = `there is no score within [0, 1] (raw ${runner.out.raw[row]})`
      faults.push({ path: '/takes_nan', message: `takes_nan is true, but with ${what} missing ${got}` })
    }
  }
  return faults
}

function batchesOf(rows: number, rowsMax: number): { first: number; count: number }[] {
  return Array.from({ length: Math.ceil(rows / rowsMax) }, (_, index) => {
    const first = index * rowsMax
    return { first, count: Math.min(rowsMax, rows - first) }
  })
}

function failureOf(error: unknown): string {
  if (!(error instanceof AssayError)) throw error
  return error.message
}
