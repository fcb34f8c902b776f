// One ONNX Runtime session with everything prepared: the input tensors of every batch size share one buffer and exist
// before the first row. `run` copies rows in, runs synchronously inside the runtime and copies one column out; nothing
// is allocated per row. One intra-op and one inter-op thread, so that a lane is one core.
// A bad row (NaN out, NaN into a model that takes none, a fraction into int64) fails alone, as NaN; a run that throws
// fails as ASSAY_MODEL_FAILED. It refuses a model whose inputs or outputs are not what the manifest says.
import assert from 'node:assert'
import type { InferenceSession } from 'onnxruntime-node'
import { CPU_ALONE, type LaneProviders, type ProviderInUse } from '../contract/providers.js'
import { AssayError, type InputFault } from '../errors.js'
import { LIMITS } from '../limits.js'
import type { Bundle } from './bundle.js'
import { refusal } from './bundle-files.js'
import { inputsOf, type ModelInput } from './inputs.js'
import { readModelBytes } from './model-bytes.js'
import { createNative, type Native } from './providers.js'
import { createRowBuffer } from './row-buffer.js'
import { boundScore, compileScoreMap, type MapScore } from './score-map.js'

export interface ModelSession {
  /** Values per row: the manifest's features, in its order. */
  readonly columns: number
  /** Largest `count` of one run. */
  readonly rowsMax: number
  /** What it was made to run on. */
  readonly provider: ProviderInUse
  /**
   * Scores `count` rows (row-major in `rows`, from 0; NaN where nothing is known). raw[i] gets the model's own output,
   * scores[i] the mapped score within [0, 1], or NaN where that row is in error. One run at a time.
   * Rejects with ASSAY_MODEL_FAILED if the runtime throws; `out` is then unspecified.
   */
  run(rows: Float64Array | Float32Array, count: number, out: ScoresOut): Promise<void>
  /** Frees the native session, after the run under way if there is one. */
  close(): Promise<void>
}

/** Where a run leaves its results; each at least `count` long. */
export interface ScoresOut {
  readonly raw: Float64Array
  readonly scores: Float64Array
}

export interface SessionOptions {
  /** Default: `flightRowsMax`. */
  readonly rowsMax?: number
  /** Default: the CPU alone. */
  readonly providers?: LaneProviders
}

/** The parts of an ONNX manifest that wire a session. */
export interface Wiring {
  readonly columns: number
  /** Together as wide as `columns`. */
  readonly inputs: readonly ModelInput[]
  readonly output: { readonly name: string; readonly column: number }
}

/**
 * Loads the bundle's model and prepares every batch size. ASSAY_BUNDLE_REFUSED where it does not fit its manifest,
 * ASSAY_PROVIDER_MISSING where it cannot run on what it is to run on.
 */
export async function openSession(bundle: Bundle, options: SessionOptions = {}): Promise<ModelSession> {
  const rowsMax = options.rowsMax ?? LIMITS.flightRowsMax
  assert(rowsMax >= 1)
  const wiring = wiringOf(bundle)
  const { session: native, provider } = await load(bundle, options.providers ?? CPU_ALONE)
  try {
    const faults = wiringFaults(native, wiring)
    if (faults.length > 0) throw refusal(bundle.directory, faults)
    const map = compileScoreMap(bundle.manifest.score_map)
    return createModelSession(native, { provider, wiring, rowsMax, map, takesNan: bundle.manifest.takes_nan })
  } catch (error) {
    await native.release()
    throw error
  }
}

function wiringOf(bundle: Bundle): Wiring {
  const { output, features } = bundle.manifest
  const inputs = inputsOf(bundle.manifest)
  if (inputs.length === 0 || output === undefined) {
    throw refusal(bundle.directory, [{ path: '/kind', message: 'a scorecard has no session' }])
  }
  return { columns: features.length, inputs, output }
}

async function load(bundle: Bundle, providers: LaneProviders): Promise<Native> {
  const bytes = await readModelBytes(bundle)
  try {
    return await createNative(bytes, providers)
  } catch (cause) {
    if (cause instanceof AssayError) {
      const { name, version } = bundle.manifest
      throw new AssayError(cause.code, `${name}@${version}: ${cause.message}`, { cause })
    }
    const message = `${bundle.manifest.file.path} does not load: ${messageOf(cause)}`
    throw refusal(bundle.directory, [{ path: '/file', message }], cause)
  }
}

/** What the model itself declares against what the manifest says. Declared output shapes lie, so a run judges those. */
export function wiringFaults(
  model: Pick<InferenceSession, 'inputMetadata' | 'outputMetadata'>,
  wiring: Wiring,
): InputFault[] {
  const { inputs, output } = wiring
  const faults = inputFaults(model.inputMetadata, inputs)
  const outputs = model.outputMetadata.map((one) => one.name).join(', ')
  const read = model.outputMetadata.find((one) => one.name === output.name)
  if (read === undefined) {
    faults.push({ path: '/output/name', message: `the model has outputs ${outputs}; ${output.name} is not among them` })
  } else if (!read.isTensor) {
    const message = `output ${output.name} is no tensor (a ZipMap?); export the probabilities as a tensor`
    faults.push({ path: '/output/name', message })
  } else if (read.type !== 'float32' && read.type !== 'float64') {
    const message = `output ${output.name} is ${read.type} (a label?); a float32 or float64 score is allowed`
    faults.push({ path: '/output/name', message })
  }
  return faults
}

function inputFaults(has: InferenceSession['inputMetadata'], inputs: readonly ModelInput[]): InputFault[] {
  const one = inputs.length === 1
  const names = has.map(({ name }) => name).join(', ')
  const wanted = inputs.map(({ name }) => name).join(', ')
  const faults: InputFault[] = []
  inputs.forEach(({ name, dtype, columns }, at) => {
    const path = one ? '/input' : `/inputs/${at}`
    const fed = has.find((each) => each.name === name)
    if (fed === undefined || has.length !== inputs.length) {
      faults.push({ path: `${path}/name`, message: `the model has inputs ${names}; exactly ${wanted} is allowed` })
    } else if (!fed.isTensor || fed.type !== dtype) {
      const got = fed.isTensor ? fed.type : 'no tensor'
      faults.push({ path: `${path}/dtype`, message: `input ${name} is ${got}, the manifest says ${dtype}` })
    } else if (fed.shape.length > 0 && !isRows(fed.shape, columns)) {
      const message = `input ${name} has shape [${fed.shape.join(', ')}]; [N, ${columns}] with N free is allowed`
      faults.push({ path: one ? '/features' : path, message })
    }
  })
  return faults
}

/** Whether a declared shape is that of rows of so many columns, in any number. */
function isRows([rows, width, ...more]: readonly (number | string)[], columns: number): boolean {
  return typeof rows === 'string' && (typeof width === 'string' || width === columns) && more.length === 0
}

export interface Prepared {
  readonly provider: ProviderInUse
  readonly wiring: Wiring
  readonly rowsMax: number
  readonly map: MapScore
  readonly takesNan: boolean
}

/** A session over a model that was loaded and fits its wiring. */
export function createModelSession(native: InferenceSession, prepared: Prepared): ModelSession {
  const { provider, wiring, rowsMax, map, takesNan } = prepared
  const { columns, output } = wiring
  const buffer = createRowBuffer(wiring.inputs, rowsMax)
  const feeds = Array.from({ length: rowsMax }, (_, index) => buffer.feeds(index + 1))
  // By name, not into a tensor of ours: given tensors are filled no faster (17.8 against 18.9 µs a run, 16 rows of
  // `trees`), and are refused where a model declares its output shape wrongly.
  const fetches = [output.name]
  let busy: Promise<unknown> | null = null

  const runOnce = async (count: number, out: ScoresOut, bad: Uint8Array): Promise<void> => {
    const results = await native.run(feeds[count - 1], fetches)
    const tensor = results[output.name]
    const { data, dims } = tensor
    const width = dims.length === 1 ? 1 : dims[1]
    const fits = dims[0] === count && dims.length <= 2 && output.column < width
    if (!fits || !(data instanceof Float32Array || data instanceof Float64Array)) {
      const wanted = `[${count}] or [${count}, more than ${output.column}]`
      throw new Error(`output ${output.name} is ${tensor.type} [${dims.join(', ')}]; floats of ${wanted} are allowed`)
    }
    for (let row = 0; row < count; row += 1) {
      const raw = bad[row] === 1 ? NaN : data[row * width + output.column]
      out.raw[row] = raw
      out.scores[row] = boundScore(map(raw))
    }
  }
  return {
    columns,
    rowsMax,
    provider,
    async run(rows, count, out) {
      assert(busy === null && count >= 1 && count <= rowsMax)
      const bad = buffer.fill(rows, count, takesNan)
      try {
        busy = runOnce(count, out, bad)
        await busy
      } catch (cause) {
        throw new AssayError('ASSAY_MODEL_FAILED', messageOf(cause), { cause })
      } finally {
        busy = null
      }
    },
    async close() {
      await busy?.catch(() => undefined)
      await native.release()
    },
  }
}

function messageOf(cause: unknown): string {
  return cause instanceof Error ? cause.message : String(cause)
}
