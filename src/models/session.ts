// One ONNX Runtime session with everything prepared: the input and output tensors of every batch size exist before the
// first row. `run` copies rows in, runs synchronously inside the runtime, and copies one column out: nothing is
// allocated per row. One intra-op and one inter-op thread: a lane owns one core, the deadline owns the rest.
// A bad row (NaN out, NaN into a model that takes none, a fraction into int64) fails alone; a run that throws fails
// as ASSAY_MODEL_FAILED. It refuses models whose inputs or outputs are not what the manifest says.
import assert from 'node:assert'
import { InferenceSession, Tensor } from 'onnxruntime-node'
import { AssayError, type InputFault } from '../errors.js'
import { LIMITS } from '../limits.js'
import { type Bundle, readModelBytes, refusal } from './bundle.js'
import { boundScore, compileScoreMap } from './score-map.js'

export interface ModelSession {
  /** Values per row: the manifest's features, in its order. */
  readonly columns: number
  /** Largest `count` of one run. */
  readonly rowsMax: number
  /**
   * Scores `count` rows (row-major in `rows`, from 0; NaN where nothing is known). raw[i] gets the model's own output,
   * scores[i] the mapped score within [0, 1] or NaN where that row is in error. One run at a time.
   * Rejects with ASSAY_MODEL_FAILED if the runtime throws; raw and scores are then unspecified.
   */
  run(rows: Float64Array | Float32Array, count: number, out: ScoresOut): Promise<void>
  /** Frees the native session; waits for nothing. */
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
}

interface Wiring {
  readonly input: { readonly name: string; readonly dtype: 'float32' | 'float64' | 'int64' }
  readonly output: { readonly name: string; readonly column: number }
}

/** Loads the bundle's model, checks its inputs and outputs against the manifest and prepares every batch size. */
export async function openSession(bundle: Bundle, options: SessionOptions = {}): Promise<ModelSession> {
  throw new Error('soon')
}
