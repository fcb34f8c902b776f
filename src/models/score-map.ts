// From a model's raw output to a probability: the manifest's score map, then the range rule. Pure, allocation-free.
// A score up to 1e-6 outside [0, 1] is rounding and is clamped; anything further out, and NaN, is an error of that
// row and comes back as NaN. It never guesses which map a model needs.
import type { ScoreMap } from '../contract/manifest.js'
import type { InputFault } from '../errors.js'

/** Raw output → score, before the range rule. */
export type MapScore = (raw: number) => number

/** How far outside [0, 1] a score may lie and still count as rounding. */
export const SCORE_SLACK = 1e-6

const identity: MapScore = (raw) => raw

/** 1 / (1 + e^−x), in the form that does not overflow on either side. */
export function sigmoid(x: number): number {
  if (x >= 0) return 1 / (1 + Math.exp(-x))
  const e = Math.exp(x)
  return e / (1 + e)
}

/** Compiles a manifest's score map without faults; absent means identity. */
export function compileScoreMap(map: ScoreMap = { kind: 'identity' }): MapScore {
  switch (map.kind) {
    case 'identity':
      return identity
    case 'sigmoid':
      return sigmoid
    case 'linear':
      return linear(map)
    case 'prior_shift':
      return priorShift(map)
    case 'table':
      return table(Float64Array.from(map.raw), Float64Array.from(map.score))
  }
}

/** Faults of a score map that its schema cannot say. */
export function scoreMapFaults(map: ScoreMap | undefined): InputFault[] {
  if (map?.kind === 'linear' && map.from === map.to) {
    return [{ path: '/score_map', message: 'linear needs from and to that differ' }]
  }
  if (map?.kind !== 'table') return []
  const { raw, score } = map
  const faults: InputFault[] = []
  const fault = (path: string, message: string): void => void faults.push({ path: `/score_map/${path}`, message })
  if (raw.length !== score.length) fault('score', `one for each raw: ${raw.length}, here ${score.length}`)
  const flat = raw.findIndex((value, at) => at > 0 && value <= raw[at - 1])
  if (flat > 0) fault(`raw/${flat}`, `above the one before, ${raw[flat - 1]}; here ${raw[flat]}`)
  const falls = score.findIndex((value, at) => at > 0 && value < score[at - 1])
  if (falls > 0) fault(`score/${falls}`, `not below the one before, ${score[falls - 1]}; here ${score[falls]}`)
  return faults
}

/** Raw `from` becomes 0 and raw `to` becomes 1. */
function linear({ from, to }: Extract<ScoreMap, { kind: 'linear' }>): MapScore {
  return (raw) => (raw - from) / (to - from)
}

const logit = (rate: number): number => Math.log(rate) - Math.log1p(-rate)

/**
 * What a model learned where frauds were `trained_rate` of the rows, where they are `real_rate`: the odds are
 * multiplied by the ratio of both prior odds (Elkan, IJCAI 2001, theorem 2; Saerens, Latinne and Decaestecker, Neural
 * Computation 14(1), 2002, eq. 2.4). It holds where the classes were sampled at different rates and nothing else.
 */
function priorShift(map: Extract<ScoreMap, { kind: 'prior_shift' }>): MapScore {
  const shift = logit(map.real_rate) - logit(map.trained_rate)
  if (map.from === 'log_odds') return (raw) => sigmoid(raw + shift)
  const ratio = Math.exp(shift)
  return (raw) => {
    // Rounding is taken off before: the shift would magnify it.
    const p = boundScore(raw)
    return (p * ratio) / (p * ratio + (1 - p))
  }
}

/** Straight lines between the points, flat beyond them. */
function table(raws: Float64Array, scores: Float64Array): MapScore {
  const last = raws.length - 1
  return (raw) => {
    if (raw <= raws[0]) return scores[0]
    if (raw >= raws[last]) return scores[last]
    if (Number.isNaN(raw)) return NaN
    let low = 0
    let high = last
    while (high - low > 1) {
      const middle = (low + high) >> 1
      if (raws[middle] <= raw) low = middle
      else high = middle
    }
    const share = (raw - raws[low]) / (raws[high] - raws[low])
    // Of the two ends, so that rounding leaves nothing outside them and nothing out of order.
    return Math.min(scores[high], scores[low] + share * (scores[high] - scores[low]))
  }
}

/** The range rule: the score within [0, 1], or NaN where the row is in error. */
export function boundScore(score: number): number {
  if (score >= 0 && score <= 1) return score
  if (score < 0 && score >= -SCORE_SLACK) return 0
  if (score > 1 && score <= 1 + SCORE_SLACK) return 1
  return NaN
}
