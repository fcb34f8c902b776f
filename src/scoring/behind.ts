// Whether a lane is too far behind for a deadline: asked before anything is folded. Pure but for the lane.
import type { Exchange } from './exchange.js'
import type { LaneModel } from './models.js'

/**
 * A predicted wait may turn out so much longer: a core whose other threads are busy runs a model at half its speed.
 * Without a margin a queue under overload stands right at the deadline, and every hiccup makes flights miss it.
 */
const WAIT_MARGIN = 2

/**
 * The lane that would be tried first is too far behind for this deadline. One where nothing waits is tried however slow
 * it is: it may answer, and where it does not the breaker learns it and the next model answers.
 */
export function isBehind({ lane, forced }: LaneModel, exchange: Exchange, nowMs: number): boolean {
  if (lane === null || forced || lane.state() !== 'ready' || lane.breakerState() !== 'closed') return false
  if (lane.queuedRows() === 0) return false
  return nowMs + lane.predictedMs() * WAIT_MARGIN > exchange.receivedAtMs + exchange.deadlineMs
}
