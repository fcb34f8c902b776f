// The chi-square distribution, central and non-central: tails and quantiles. Pure.
// Tails hold their relative accuracy down to 1e-300: alarms are judged at 1e-4 and far below.
import { gammaLower, gammaStep, gammaUpper } from './gamma.js'

/** P(X ≤ x) for chi-square with `df` > 0 degrees of freedom. */
export function chiSquareCdf(x: number, df: number): number {
  return gammaLower(df / 2, x / 2)
}

/** P(X > x). */
export function chiSquareSurvival(x: number, df: number): number {
  return gammaUpper(df / 2, x / 2)
}

/** The x below which X falls with this chance; NaN outside [0, 1]. */
export function chiSquareQuantile(chance: number, df: number): number {
  return quantileOf(chance, df, (x) => chiSquareCdf(x, df))
}

/** The x above which X falls with this chance: exact where it is so small that 1 − chance would lose it. */
export function chiSquareUpperQuantile(chance: number, df: number): number {
  return upperQuantileOf(chance, df, (x) => chiSquareSurvival(x, df))
}

/** P(X > x) for the non-central chi-square: a Poisson mixture of central ones (Patnaik 1949), summed upwards. */
export function noncentralSurvival(x: number, df: number, lambda: number): number {
  if (lambda === 0) return chiSquareSurvival(x, df)
  if (x <= 0) return 1
  const { from, until } = mixtureRange(lambda)
  const half = x / 2
  let tail = gammaUpper(df / 2 + from, half)
  let step = gammaStep(df / 2 + from, half)
  let weight = gammaStep(from, lambda / 2)
  let sum = 0
  // Q(a + 1) = Q(a) + step: only positive terms are added, so that a small tail keeps its digits.
  for (let j = from; j <= until; j++) {
    sum += weight * tail
    tail += step
    step *= half / (df / 2 + j + 1)
    weight *= lambda / 2 / (j + 1)
  }
  return Math.min(1, sum)
}

/** P(X ≤ x) for the non-central chi-square, summed downwards for the same reason. */
export function noncentralCdf(x: number, df: number, lambda: number): number {
  if (lambda === 0) return chiSquareCdf(x, df)
  if (x <= 0) return 0
  const { from, until } = mixtureRange(lambda)
  const half = x / 2
  let head = gammaLower(df / 2 + until, half)
  let step = gammaStep(df / 2 + until, half)
  let weight = gammaStep(until, lambda / 2)
  let sum = 0
  for (let j = until; j >= from; j--) {
    sum += weight * head
    step *= (df / 2 + j) / half
    head += step
    weight *= j / (lambda / 2)
  }
  return Math.min(1, sum)
}

/** The x below which the non-central X falls with this chance. */
export function noncentralQuantile(chance: number, df: number, lambda: number): number {
  return quantileOf(chance, df + lambda, (x) => noncentralCdf(x, df, lambda))
}

/**
 * The non-centrality at which a value as large as `x` has this chance: what is smaller is rejected at that level.
 * 0 where even none at all makes `x` likely enough.
 */
export function noncentralityAtLeast(x: number, df: number, chance: number): number {
  if (!(chiSquareSurvival(x, df) < chance)) return 0
  // P(X > x) grows with lambda, and at lambda = x it is above one half.
  return bisect(0, x, (lambda) => noncentralSurvival(x, df, lambda) < chance, 1e-8)
}

/** The non-centrality at which a value as small as `x` has this chance: what is larger is rejected at that level. */
export function noncentralityAtMost(x: number, df: number, chance: number): number {
  if (!(chiSquareCdf(x, df) > chance)) return 0
  let high = Math.max(1, 2 * x)
  while (noncentralCdf(x, df, high) > chance) high *= 2
  return bisect(0, high, (lambda) => noncentralCdf(x, df, lambda) > chance, 1e-8)
}

/** Terms of the mixture that can matter: twelve deviations around the mean leave less than 1e-30. */
function mixtureRange(lambda: number): { from: number; until: number } {
  const mean = lambda / 2
  const reach = 12 * Math.sqrt(mean) + 40
  return { from: Math.max(0, Math.floor(mean - reach)), until: Math.ceil(mean + reach) }
}

function quantileOf(chance: number, mean: number, cdf: (x: number) => number): number {
  if (!(chance >= 0 && chance <= 1)) return NaN
  if (chance === 0) return 0
  if (chance === 1) return Infinity
  let high = Math.max(1, 2 * mean)
  while (cdf(high) < chance) high *= 2
  return bisect(0, high, (x) => cdf(x) < chance)
}

function upperQuantileOf(chance: number, mean: number, survival: (x: number) => number): number {
  if (!(chance >= 0 && chance <= 1)) return NaN
  if (chance === 1) return 0
  if (chance === 0) return Infinity
  let high = Math.max(1, 2 * mean)
  while (survival(high) > chance) high *= 2
  return bisect(0, high, (x) => survival(x) > chance)
}

/** The place where `isBelow` turns false, to this relative width; bounds that people read need fewer rounds. */
function bisect(from: number, until: number, isBelow: (x: number) => boolean, width = 1e-12): number {
  let low = from
  let high = until
  for (let round = 0; round < 200 && high - low > width * high; round++) {
    const middle = (low + high) / 2
    if (isBelow(middle)) low = middle
    else high = middle
  }
  return (low + high) / 2
}
