// Intervals for proportions and their difference, good also near 0 and 1 and for few rows. Pure.
import { chiSquareQuantile } from './chi-square.js'

export interface Interval {
  readonly low: number
  readonly high: number
}

/** Half-width of a two-sided interval in standard deviations: 1.96 for 0.95. A squared normal is chi-square. */
export function deviations(coverage: number): number {
  return Math.sqrt(chiSquareQuantile(coverage, 1))
}

/** Wilson's score interval of that coverage for a proportion. */
export function wilson(successes: number, trials: number, coverage = 0.95): Interval {
  return wilsonScore(successes, trials, deviations(coverage))
}

/**
 * The same by its half-width in standard deviations: Wilson, E. B. (1927), J. Am. Stat. Assoc. 22, 209–212. [0, 1]
 * where there are no trials.
 */
export function wilsonScore(successes: number, trials: number, z: number): Interval {
  if (trials === 0) return { low: 0, high: 1 }
  const share = successes / trials
  const middle = share + (z * z) / (2 * trials)
  const half = z * Math.sqrt((share * (1 - share)) / trials + (z * z) / (4 * trials * trials))
  const scale = 1 + (z * z) / trials
  // Rounding would leave 1e-18 beside the ends that are exact.
  return {
    low: successes === 0 ? 0 : Math.max(0, (middle - half) / scale),
    high: successes === trials ? 1 : Math.min(1, (middle + half) / scale),
  }
}

/** A number of trials that succeeded. */
export interface Proportion {
  readonly successes: number
  readonly trials: number
}

/** Newcombe's hybrid score interval for first − second, independent samples (Stat. Med. 17, 1998, method 10). */
export function newcombe(first: Proportion, second: Proportion, coverage = 0.95): Interval {
  const a = wilson(first.successes, first.trials, coverage)
  const b = wilson(second.successes, second.trials, coverage)
  const p = first.trials === 0 ? 0.5 : first.successes / first.trials
  const q = second.trials === 0 ? 0.5 : second.successes / second.trials
  return {
    low: p - q - Math.hypot(p - a.low, b.high - q),
    high: p - q + Math.hypot(a.high - p, q - b.low),
  }
}
