// The total order of state: ordinals of what is folded, a second counter for what is answered without a fold, and a
// wall clock that never goes backwards within a log. Lives on the main thread only.
import type { Clock } from '../runtime/clock.js'

export interface Order {
  /** Ordinal of the next fold. */
  nextOrdinal(): number
  /** Number of the next answer without a fold. */
  nextUnfolded(): number
  /** Wall clock, ms, never below an earlier reading or what the log holds. */
  nowMs(): number
  /** The last ordinal given. */
  last(): number
}

/** Continues after `lastOrdinal` and `lastMs`, the highest that the log holds. */
export function createOrder(clock: Clock, after: { ordinal: number; ms: number }): Order {
  let ordinal = after.ordinal
  let unfolded = 0
  let lastMs = after.ms
  return {
    nextOrdinal: () => ++ordinal,
    nextUnfolded: () => ++unfolded,
    nowMs() {
      const now = clock.nowMs()
      if (now > lastMs) lastMs = now
      return lastMs
    },
    last: () => ordinal,
  }
}
