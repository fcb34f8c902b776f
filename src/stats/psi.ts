// The population stability index between two sets of counts over the same cells, and what chance alone would do to it.
// PSI = Σ (q − p) ln(q / p). Where both come from one distribution, PSI / (1/n + 1/m) is near chi-square with one
// degree of freedom less than cells (Yurdakul and Naranjo, J. Risk Model Validation 14(4), 2020): a p-value, a bias,
// a bound. Pure. Whoever calls decides how many rows are enough.
import { chiSquareSurvival, noncentralityAtLeast, noncentralityAtMost, noncentralSurvival } from './chi-square.js'

export interface Psi {
  /** Bias taken off, never below 0. */
  readonly psi: number
  /** Chance of so large a PSI where nothing has changed; Jeffreys-smoothed counts. */
  readonly p: number
  /** Chance of so large a PSI where the true one is `tolerated`. */
  readonly pTolerated: number
  /** One-sided 95 % bounds of the true PSI. */
  readonly atLeast: number
  readonly atMost: number
  readonly n: number
  readonly referenceN: number
}

export interface PsiOptions {
  /** The PSI that `pTolerated` is asked about. */
  readonly tolerated?: number
  /** Chance that a bound is wrong. */
  readonly error?: number
}

/** Beyond so many rows chance is not what matters any more; sums over the non-central mixture stay short. */
const ROWS_COUNTED_MAX = 1_000_000
/** Jeffreys' prior of a multinomial: half a row in each cell. */
const PRIOR = 0.5
/** A cell expected to hold fewer rows of the smaller sample is judged together with all others like it. */
const EXPECTED_MIN = 1

/** Compares `current` with `reference`, counts over the same cells. */
export function psi(reference: ArrayLike<number>, current: ArrayLike<number>, options: PsiOptions = {}): Psi {
  const { tolerated = 0.1, error = 0.05 } = options
  const { p, q, n, referenceN } = shares(reference, current)
  const df = p.length - 1
  const scale = n > 0 && referenceN > 0 ? 1 / (1 / n + 1 / referenceN) : 0
  if (df < 1 || scale === 0) return { psi: 0, p: 1, pTolerated: 1, atLeast: 0, atMost: 0, n, referenceN }
  let raw = 0
  for (let at = 0; at <= df; at++) raw += (q[at] - p[at]) * Math.log(q[at] / p[at])
  const rows = Math.min(scale, ROWS_COUNTED_MAX)
  const spread = spreadOf(p, q, { raw, n, referenceN, scale })
  const statistic = raw * rows
  const wide = statistic / spread
  return {
    psi: Math.max(0, raw - df / scale),
    p: chiSquareSurvival(statistic, df),
    pTolerated: noncentralSurvival(wide, df, (tolerated * rows) / spread),
    atLeast: (noncentralityAtLeast(wide, df, error) * spread) / rows,
    atMost: (noncentralityAtMost(wide, df, error) * spread) / rows,
    n,
    referenceN,
  }
}

interface Shares {
  readonly p: number[]
  readonly q: number[]
  readonly n: number
  readonly referenceN: number
}

/**
 * Smoothed shares. Cells that are empty on both sides say nothing and are left out; cells too rare to be judged are
 * pooled, and left out where the smaller sample has none of them: smoothing alone must not look like a shift.
 */
function shares(reference: ArrayLike<number>, current: ArrayLike<number>): Shares {
  if (reference.length !== current.length) throw new RangeError('both sides must have the same cells')
  let n = 0
  let referenceN = 0
  for (let at = 0; at < current.length; at++) {
    n += current[at] ?? 0
    referenceN += reference[at] ?? 0
  }
  const p: number[] = []
  const q: number[] = []
  const smaller = Math.min(n, referenceN) / (n + referenceN)
  let rareReference = 0
  let rareCurrent = 0
  for (let at = 0; at < current.length; at++) {
    const r = reference[at] ?? 0
    const c = current[at] ?? 0
    if ((r + c) * smaller < EXPECTED_MIN) {
      rareReference += r
      rareCurrent += c
    } else {
      p.push(r + PRIOR)
      q.push(c + PRIOR)
    }
  }
  if ((n <= referenceN ? rareCurrent : rareReference) > 0) {
    p.push(rareReference + PRIOR)
    q.push(rareCurrent + PRIOR)
  }
  normalise(p)
  normalise(q)
  return { p, q, n, referenceN }
}

function normalise(counts: number[]): void {
  let total = 0
  for (const count of counts) total += count
  for (let at = 0; at < counts.length; at++) counts[at] = (counts[at] ?? 0) / total
}

/**
 * How much wider PSI really scatters than the non-central chi-square says, by the delta method; at least 1. A shift
 * into a cell that was almost empty scatters up to three times as much: on the narrow scale the test would cry wolf.
 */
function spreadOf(
  p: readonly number[],
  q: readonly number[],
  of: { raw: number; n: number; referenceN: number; scale: number },
): number {
  let meanQ = 0
  let meanP = 0
  let squareQ = 0
  let squareP = 0
  for (let at = 0; at < p.length; at++) {
    const log = Math.log(q[at] / p[at])
    const slopeQ = log + 1 - p[at] / q[at]
    const slopeP = 1 - q[at] / p[at] - log
    meanQ += q[at] * slopeQ
    squareQ += q[at] * slopeQ * slopeQ
    meanP += p[at] * slopeP
    squareP += p[at] * slopeP * slopeP
  }
  const variance = (squareQ - meanQ * meanQ) / of.n + (squareP - meanP * meanP) / of.referenceN
  const assumed = (4 * of.raw) / of.scale
  return assumed > 0 ? Math.max(1, variance / assumed) : 1
}
