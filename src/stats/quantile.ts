// Quantiles of numbers, as most people compute them (Hyndman and Fan 1996, type 7; the default of R and numpy). Pure.

/** The quantile of numbers in ascending order; NaN where there are none. */
export function sortedQuantile(sorted: ArrayLike<number>, share: number): number {
  const place = (sorted.length - 1) * Math.min(1, Math.max(0, share))
  const below = Math.floor(place)
  const low = sorted[below] ?? NaN
  const high = sorted[Math.min(below + 1, sorted.length - 1)] ?? NaN
  return place === below ? low : low + (place - below) * (high - low)
}

/** Quantiles of numbers in any order; the input stays as it is. */
export function quantiles(values: Iterable<number>, shares: readonly number[]): number[] {
  const sorted = Float64Array.from(values).sort()
  return shares.map((share) => sortedQuantile(sorted, share))
}
