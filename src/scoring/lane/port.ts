// A lane as the pipeline sees it: one loaded model behind a thread, a ring and a breaker.
// Invariant: an accepted ticket gets exactly one onScore or onFailure, or is expired by the pipeline. Nothing throws.
import type { FallbackReason } from '../../contract/decision.js'
import type { ProviderInUse } from '../../contract/providers.js'

/** Names a row while it is under way: given by the pipeline, returned with the result, never reused while it is out. */
export type Ticket = number

export type BreakerState = 'closed' | 'half_open' | 'open'

/** `restarting`: the thread died or hung and a replacement loads. `not_loaded`: there is none and none will come. */
export type LaneState = 'ready' | 'restarting' | 'not_loaded'

export interface Lane {
  readonly name: string
  readonly version: string
  /** sha256:… of the model file. */
  readonly digest: string
  /** Numbers since the lane was made; read at the scrape. */
  readonly counters: Readonly<LaneCounters>
  /** Runs by batch size: index = rows of the run. Read at the scrape. */
  readonly batchRows: Uint32Array
  /**
   * Puts one row into the lane's open flight: the lane picks its own columns out of the catalogue's vector, which
   * starts at `at` in `vector`. null: accepted, and exactly one of onScore and onFailure follows unless `expire` is
   * called first. Otherwise the reason, known before hand-over, and nothing follows.
   */
  offer(ticket: Ticket, vector: Float64Array, at: number): FallbackReason | null
  /**
   * Hands rows of a direct call over, as `offer` does with one. What becomes of them is not the breaker's: nobody opens
   * it for payments by what he sends here.
   */
  offerDirect(direct: DirectRows): FallbackReason | null
  /** Rows that one run takes within its time: a direct call that hands over no more delays payments by one run. */
  rowsPerRun(): number
  /** Hands the open flight over; the pipeline calls it once per tick. A full flight is handed over by itself. */
  flush(): void
  /** Hears what its thread has answered, without waiting for the message that says so. */
  hear(): void
  /** The deadline of this row passed: its answer is dropped and counted when it comes, its flight has timed out. */
  expire(ticket: Ticket): void
  /**
   * Milliseconds until a row offered now would have its score, from the rows that wait and the measured time per row.
   * It knows nothing of a run that blocks: deadline and breaker do.
   */
  predictedMs(): number
  /** What the session runs on; null before its thread is ready. */
  provider(): ProviderInUse | null
  /** Rows offered and not yet answered by the thread, expired ones included. */
  queuedRows(): number
  breakerState(): BreakerState
  state(): LaneState
  /** An operator's hand: the breaker is open without probes (offers say `forced`) until `release` lets it probe. */
  forceOpen(): void
  release(): void
  /** Takes no more rows, lets the thread finish what waits, and ends it; abandons it when it does not end in time. */
  close(deadlineMs: number): Promise<void>
}

/** Rows of a direct call. */
export interface DirectRows {
  /** Of the first row; those of the others count down from it. */
  readonly ticket: Ticket
  /** Row-major, in the order in which the model takes its columns; the first row begins at `at`. */
  readonly rows: Float64Array
  readonly at: number
  readonly count: number
}

/** What happened in a lane, counted; each grows only. */
export interface LaneCounters {
  /** Rows that the thread answered with a score in time. */
  scored: number
  /** Rows that failed alone: NaN, or a score out of range. */
  invalid: number
  /** Rows that failed because their run threw or their thread ended. */
  failed: number
  /** Rows whose deadline passed before their answer. */
  expired: number
  /** Of the expired: scored all the same, too late, dropped. */
  late: number
  /** Of the expired: still waiting when the thread got to them, so never run. */
  skipped: number
  /** Runs of the model. */
  runs: number
  flightsOk: number
  flightsFailed: number
  breakerOpened: number
  probes: number
  probesMatched: number
  /** Threads that ended without being asked to. */
  threadsDied: number
  /** Threads given up inside a native call. */
  threadsAbandoned: number
}

export interface LaneListener {
  /** Score after the score map, within [0, 1]; `raw` is the model's own output. */
  onScore(lane: Lane, ticket: Ticket, score: number, raw: number): void
  onFailure(lane: Lane, ticket: Ticket, reason: FallbackReason): void
}

/** A change worth a log line; never one per row. */
export type LaneEvent =
  | { readonly kind: 'breaker'; readonly state: BreakerState }
  | { readonly kind: 'run_threw'; readonly detail: string }
  | { readonly kind: 'thread_ready' }
  | { readonly kind: 'thread_died'; readonly detail: string; readonly restartInMs: number | null }
  | { readonly kind: 'thread_abandoned'; readonly replaced: boolean }
  | { readonly kind: 'thread_returned' }
