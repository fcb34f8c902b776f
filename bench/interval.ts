// Interval for the median of paired differences, without a model of how they are distributed (sign test inverted):
// between which two order statistics the median lies with at least the coverage asked for. Pure.

/** The interval, and the coverage that it really has; null where there are too few values for that coverage. */
export interface Interval {
  readonly low: number
  readonly median: number
  readonly high: number
  readonly coverage: number
}

/** The narrowest symmetric interval of order statistics with at least this coverage (Conover, 1999, section 3.2). */
export function medianInterval(values: readonly number[], coverage = 0.95): Interval | null {
  const sorted = Float64Array.from(values).sort()
  const count = sorted.length
  let tail = 0
  let rank = 0
  let missed = 1
  // P(fewer than `rank` of `count` fair coins) grows until both tails together take more than is allowed.
  for (let k = 0, chance = 0.5 ** count; k < count / 2; k++) {
    tail += chance
    if (2 * tail > 1 - coverage) break
    rank = k + 1
    missed = 2 * tail
    chance = (chance * (count - k)) / (k + 1)
  }
  if (rank === 0) return null
  const middle = (sorted[(count - 1) >> 1] ?? NaN) + (sorted[count >> 1] ?? NaN)
  return { low: sorted[rank - 1] ?? NaN, median: middle / 2, high: sorted[count - rank] ?? NaN, coverage: 1 - missed }
}

/** The middle one, of an even number the upper; NaN of none. */
export function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[values.length >> 1] ?? NaN
}
