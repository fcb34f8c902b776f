// Which model comes next: challenger → champion → baseline. Pure. The pipeline records the hops and does the offering.
import type { Role } from '../contract/decision.js'

/** The chain of roles for a prescribed one, in order of trial; the baseline ends each. */
export const CHAINS: { readonly [prescribed in 'champion' | 'challenger']: readonly Role[] } = {
  challenger: ['challenger', 'champion', 'baseline'],
  champion: ['champion', 'baseline'],
}

/** Share of the deadline after which a challenger is given up, so that the champion still has a chance. */
const CHALLENGER_SHARE = 0.5

/** Milliseconds kept in reserve when a champion is tried after a hand-over that failed. */
const SECOND_TRY_RESERVE_MS = 1

/** When a model's answer is no longer waited for, on the clock of `startMs` (monotonic milliseconds). */
export function giveUpAt(role: Role, startMs: number, deadlineMs: number): number {
  return startMs + deadlineMs * (role === 'challenger' ? CHALLENGER_SHARE : 1)
}

/**
 * After a hand-over failed, whether a second lane can still answer: its predicted time + 1 ms must fit what is left.
 */
export function secondTryFits(predictedMs: number, leftMs: number): boolean {
  return predictedMs + SECOND_TRY_RESERVE_MS <= leftMs
}
