// The breaker before the shared state: after calls that failed one after the other it is asked no more, but for one
// call now and then that finds out whether it is back.
import type { Clock } from '../../runtime/clock.js'

export interface StateBreaker {
  /** False: the call is to fail at once. */
  admits(): boolean
  succeeded(): void
  failed(): void
  isOpen(): boolean
}

/** Calls in a row that fail before it opens: a few of one stall are one failure. */
const FAILURES_MAX = 8
/** Milliseconds between two calls that find out. */
const PROBE_MS = 200

export function createStateBreaker(clock: Clock): StateBreaker {
  let failures = 0
  let probeAtMs = 0
  const isOpen = (): boolean => failures >= FAILURES_MAX
  return {
    admits() {
      if (!isOpen()) return true
      const nowMs = clock.monoMs()
      if (nowMs < probeAtMs) return false
      probeAtMs = nowMs + PROBE_MS
      return true
    },
    succeeded: () => void (failures = 0),
    failed() {
      failures++
      if (failures === FAILURES_MAX) probeAtMs = clock.monoMs() + PROBE_MS
    },
    isOpen,
  }
}
