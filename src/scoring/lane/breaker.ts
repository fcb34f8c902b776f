// The lane's breaker: opossum counts flights, we drive its half-open state. While it is not closed no payment passes;
// when its reset time is over it asks for a probe of golden rows, and only their match closes it.
// Opens at opossum's thresholds, or after `failuresInRow` failed flights in a row, which low traffic needs: its rolling
// window would forget them before its volume is reached. Flights that one stall failed count once in that row, else a
// stall just longer than the deadline would open it at any traffic where three are under way.
// Refuses opossum's own trial call, its timeouts (a timer cannot interrupt a synchronous run) and its snapshots.

import CircuitBreaker from 'opossum'
import type { Policy } from '../../contract/policy.js'
import type { BreakerState } from './port.js'

export interface BreakerOptions {
  readonly policy: Policy['breaker']
  readonly failuresInRow: number
}

export interface BreakerHooks {
  onState(state: BreakerState): void
  /** The reset time is over: send golden rows, then call `probed`. */
  onProbe(): void
}

export interface Breaker {
  closed(): boolean
  forced(): boolean
  state(): BreakerState
  /**
   * The outcome of one flight, or of a row that finds the ring full of rows that nobody waits for any more; ignored
   * while not closed, since those flights left before. `isNews`: it left after the last failure that was news
   * (flights.ts).
   */
  record(failed: boolean, isNews: boolean): void
  /** Golden rows matched in time, or not. */
  probed(matched: boolean): void
  forceOpen(): void
  release(): void
  close(): void
}

const FLIGHT_FAILED = new Error('the flight failed')
const ignore = (): void => undefined

/** Makes a closed breaker. 1–2 µs per `record` (bench/lane.ts); `closed` is a field. */
export function createBreaker(options: BreakerOptions, hooks: BreakerHooks): Breaker {
  const { policy } = options
  const circuit = new CircuitBreaker(outcomeOf, {
    timeout: false,
    errorThresholdPercentage: policy.error_percent,
    volumeThreshold: policy.volume,
    rollingCountTimeout: policy.window_ms,
    resetTimeout: policy.probe_after_ms,
    rollingPercentilesEnabled: false,
    enableSnapshots: false,
  })
  let state: BreakerState = 'closed'
  let inRow = 0
  let forced = false

  const enter = (next: BreakerState): void => {
    if (next === state) return
    state = next
    hooks.onState(next)
  }
  circuit.on('open', () => enter('open'))
  circuit.on('close', () => {
    inRow = 0
    enter('closed')
  })
  circuit.on('halfOpen', () => {
    if (forced) {
      circuit.open()
      return
    }
    enter('half_open')
    hooks.onProbe()
  })

  return {
    closed: () => state === 'closed',
    forced: () => forced,
    state: () => state,
    record(failed, isNews) {
      if (state !== 'closed') return
      const fired = circuit.fire(failed)
      if (!failed) {
        inRow = 0
        return
      }
      fired.catch(ignore)
      if (isNews && ++inRow >= options.failuresInRow) circuit.open()
    },
    probed(matched) {
      if (state === 'closed' || forced) return
      if (matched) circuit.close()
      else circuit.open()
    },
    forceOpen() {
      forced = true
      circuit.open()
    },
    release() {
      forced = false
    },
    close() {
      circuit.shutdown()
    },
  }
}

/** The action that opossum guards: the flight is over when it is reported, so its outcome is all there is to do. */
function outcomeOf(failed: boolean): Promise<boolean> {
  return failed ? Promise.reject(FLIGHT_FAILED) : Promise.resolve(true)
}
