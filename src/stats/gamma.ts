// The gamma function and its incomplete forms, what chi-square tests are made of. Pure.
// Each tail is computed as itself, never as one minus the other, so that a chance of 1e-20 keeps its digits.
// Refuses nothing: arguments outside the domain give NaN.

/** Lanczos' approximation, g = 7, nine terms (Godfrey 2001; relative error below 1e-14). */
const LANCZOS = [
  0.99999999999980993, 676.5203681218851, -1259.1392167224028, 771.32342877765313, -176.61502916214059,
  12.507343278686905, -0.13857109526572012, 9.9843695780195716e-6, 1.5056327351493116e-7,
]
const STEPS_MAX = 100_000

/** ln Γ(x) for x > 0. */
export function logGamma(x: number): number {
  if (!(x > 0)) return NaN
  if (x < 0.5) return Math.log(Math.PI / Math.sin(Math.PI * x)) - logGamma(1 - x)
  // Stirling's series is exact to a double from here on, and Lanczos loses digits where its power grows.
  if (x > 20) {
    const square = 1 / (x * x)
    const series = (1 / 12 - square * (1 / 360 - square * (1 / 1260 - square / 1680))) / x
    return (x - 0.5) * Math.log(x) - x + 0.5 * Math.log(2 * Math.PI) + series
  }
  let sum = LANCZOS[0] ?? 0
  for (let k = 1; k < LANCZOS.length; k++) sum += (LANCZOS[k] ?? 0) / (x - 1 + k)
  const t = x + 6.5
  return 0.5 * Math.log(2 * Math.PI) + (x - 0.5) * Math.log(t) - t + Math.log(sum)
}

/** x^a e^−x / Γ(a + 1): the step between incomplete gamma functions of neighbouring a. */
export function gammaStep(a: number, x: number): number {
  if (x <= 0) return a === 0 ? 1 : 0
  if (a < 20) return Math.exp(a * Math.log(x) - x - logGamma(a + 1))
  // a·ln(x/a) − (x − a) without the cancellation of large terms, then Stirling's remainder.
  const off = (x - a) / a
  const square = 1 / (a * a)
  const remainder = (1 / 12 - square * (1 / 360 - square / 1260)) / a
  return Math.exp(a * (Math.log1p(off) - off) - remainder) / Math.sqrt(2 * Math.PI * a)
}

/** P(a, x), the regularised lower incomplete gamma function: its series below the mean, the rest above it. */
export function gammaLower(a: number, x: number): number {
  if (!(a > 0) || Number.isNaN(x)) return NaN
  if (x <= 0) return 0
  if (x > a + 1) return 1 - continuedFraction(a, x)
  return series(a, x)
}

/** Q(a, x) = 1 − P(a, x), computed on its own above the mean. */
export function gammaUpper(a: number, x: number): number {
  if (!(a > 0) || Number.isNaN(x)) return NaN
  if (x <= 0) return 1
  if (x > a + 1) return continuedFraction(a, x)
  return 1 - series(a, x)
}

/** Abramowitz and Stegun 6.5.29. */
function series(a: number, x: number): number {
  let term = 1
  let sum = 1
  for (let k = 1; k < STEPS_MAX && term > sum * 1e-17; k++) {
    term *= x / (a + k)
    sum += term
  }
  return sum * gammaStep(a, x)
}

/** Abramowitz and Stegun 6.5.31 by Lentz' method (Press et al., Numerical Recipes, 6.2). */
function continuedFraction(a: number, x: number): number {
  let b = x + 1 - a
  let c = 1e300
  let d = 1 / b
  let h = d
  for (let k = 1; k < STEPS_MAX; k++) {
    const an = -k * (k - a)
    b += 2
    d = 1 / (an * d + b)
    c = b + an / c
    const delta = c * d
    h *= delta
    if (Math.abs(delta - 1) < 1e-16) break
  }
  // Γ(a) = Γ(a + 1) / a.
  return gammaStep(a, x) * a * h
}
