// One loaded model as the pipeline holds it (signatures; the body follows).
import type { Worker } from 'node:worker_threads'
import type { Policy } from '../../contract/policy.js'
import type { Limits } from '../../limits.js'
import type { Bundle } from '../../models/bundle.js'
import type { Clock } from '../../runtime/clock.js'
import type { Hangs } from './hangs.js'
import type { Lane, LaneEvent, LaneListener } from './port.js'

export interface LaneOptions {
  /** A bundle of kind onnx that passed the gate. */
  readonly bundle: Bundle
  /** Indexes into the catalogue's vector in the order the model takes them (`bindColumns`). */
  readonly columns: Int32Array
  readonly breaker: Policy['breaker']
  /** The policy's `deadline_ms`: a probe slower than this does not close the breaker. */
  readonly deadlineMs: number
  readonly limits?: Limits
}

export interface LaneDeps {
  readonly clock: Clock
  readonly listener: LaneListener
  /** One per process, shared by all lanes. */
  readonly hangs: Hangs
  readonly onEvent?: (lane: Lane, event: LaneEvent) => void
  /** Starts the thread; a test may hand in one that it can end. */
  readonly spawn?: (workerData: unknown) => Worker
}

/**
 * Starts the thread, loads the model in it, checks the golden rows and measures. Resolves once it may take rows.
 * Throws ASSAY_BUNDLE_REFUSED (golden rows differ) or ASSAY_MODEL_FAILED (it cannot be loaded, or not in time).
 */
export function createLane(_options: LaneOptions, _deps: LaneDeps): Promise<Lane> {
  return Promise.reject(new Error('soon'))
}
