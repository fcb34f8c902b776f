// A lane as the pipeline sees it: one loaded model behind a thread, a ring and a breaker.
import type { FallbackReason } from '../../contract/decision.js'

/** Names a row while it is under way: given by the pipeline, returned with the result, never reused while it is out. */
export type Ticket = number

export interface Lane {
  readonly name: string
  readonly version: string
  /** sha256:… of the model file. */
  readonly digest: string
  /**
   * Puts one row into the lane's open flight: the lane picks its own columns out of the catalogue's vector.
   * null: accepted, exactly one of onScore / onFailure follows unless `expire` is called first.
   * Otherwise the reason, known before hand-over, and nothing follows.
   */
  offer(ticket: Ticket, vector: Float64Array, at: number): FallbackReason | null
  /** Hands the open flight over; the pipeline calls it once per tick. */
  flush(): void
  /** The deadline of this row passed: its answer is dropped and counted when it comes, its flight counts as timed out. */
  expire(ticket: Ticket): void
  /** Milliseconds until a row offered now would have its score, from what waits and the measured time per row. */
  predictedMs(): number
  /** Rows handed over and not answered. */
  queuedRows(): number
  breakerState(): 'closed' | 'half_open' | 'open'
  state(): 'ready' | 'restarting' | 'not_loaded'
  close(deadlineMs: number): Promise<void>
}

export interface LaneListener {
  /** Score after the score map, within [0, 1]; `raw` is the model's own output. */
  onScore(lane: Lane, ticket: Ticket, score: number, raw: number): void
  onFailure(lane: Lane, ticket: Ticket, reason: FallbackReason): void
}
