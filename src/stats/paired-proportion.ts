// Two yes-or-no answers about the same things: by how much do their rates differ, and is that chance? Pure.
// Intervals are Newcombe's for paired data; they stay within [−1, 1] and have a width where no pair differs.

import { type Interval, wilsonScore } from './interval.js'

/** Pairs by both answers. */
export interface PairCounts {
  readonly both: number
  readonly firstOnly: number
  readonly secondOnly: number
  readonly neither: number
}

/** The normal quantile of 97.5 %. */
export const Z_95 = 1.959963984540054

/**
 * Rate of the second minus rate of the first, with the score interval for paired data: method 10 of Newcombe, R. G.
 * (1998), Stat. Med. 17, 2635–2650 (Wilson's intervals, joined under the correlation of the two answers).
 */
export function pairedDifference(pairs: PairCounts, z = Z_95): Interval & { readonly difference: number } {
  const { both, firstOnly, secondOnly, neither } = pairs
  const n = both + firstOnly + secondOnly + neither
  if (n === 0) return { difference: NaN, low: -1, high: 1 }
  const first = both + firstOnly
  const second = both + secondOnly
  const difference = (secondOnly - firstOnly) / n
  const phi = correlation(pairs, n)
  const one = wilsonScore(first, n, z)
  const two = wilsonScore(second, n, z)
  const below = second / n - two.low
  const above = two.high - second / n
  const firstBelow = first / n - one.low
  const firstAbove = one.high - first / n
  const down = Math.sqrt(Math.max(0, below ** 2 - 2 * phi * below * firstAbove + firstAbove ** 2))
  const up = Math.sqrt(Math.max(0, above ** 2 - 2 * phi * above * firstBelow + firstBelow ** 2))
  return { difference, low: Math.max(-1, difference - down), high: Math.min(1, difference + up) }
}

/** Newcombe's phi: a positive one is taken smaller by half a pair, and not below 0. */
function correlation({ both, firstOnly, secondOnly, neither }: PairCounts, n: number): number {
  const a = Math.sqrt(both + firstOnly) * Math.sqrt(secondOnly + neither)
  const b = Math.sqrt(both + secondOnly) * Math.sqrt(firstOnly + neither)
  if (a === 0 || b === 0) return 0
  const cross = both * neither - firstOnly * secondOnly
  const corrected = cross > n / 2 ? cross - n / 2 : Math.min(cross, 0)
  return corrected / a / b
}

/**
 * Two-sided mid-p value of McNemar's test that both rates are equal: Fagerland, M. W., Lydersen, S. & Laake, P. (2013),
 * BMC Med. Res. Methodol. 13:91. Beyond 1,000 pairs that differ, where both agree to three digits, the asymptotic test.
 */
export function mcnemarMidP(firstOnly: number, secondOnly: number): number {
  const n = firstOnly + secondOnly
  if (n === 0) return 1
  if (n > EXACT_MAX) return normalTail(Math.abs(firstOnly - secondOnly) / Math.sqrt(n))
  const least = Math.min(firstOnly, secondOnly)
  let term = -n * Math.LN2
  let tail = 0
  let last = 0
  for (let k = 0; k <= least; k++) {
    if (k > 0) term += Math.log((n - k + 1) / k)
    last = Math.exp(term)
    tail += last
  }
  return Math.min(1, 2 * tail - last)
}

const EXACT_MAX = 1000

/**
 * P(|Z| > z), by the continued fraction beyond 2 and the series below: Abramowitz & Stegun 26.2.10 and 26.2.14.
 */
export function normalTail(z: number): number {
  const density = Math.exp((-z * z) / 2) / Math.sqrt(2 * Math.PI)
  if (z > 2) {
    let fraction = z
    for (let k = 160; k >= 1; k--) fraction = z + k / fraction
    return (2 * density) / fraction
  }
  let term = z
  let sum = z
  for (let k = 1; k < 60; k++) {
    term *= (z * z) / (2 * k + 1)
    sum += term
  }
  return 1 - 2 * density * sum
}
