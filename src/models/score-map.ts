// From a model's raw output to a probability: the manifest's score map, then the range rule. Pure, allocation-free.
// A score up to 1e-6 outside [0, 1] is rounding and is clamped; anything further out, and NaN, is an error of that
// row and comes back as NaN. It never guesses which map a model needs.
import type { Static } from '@sinclair/typebox'
import type { ScoreMap } from '../contract/manifest.js'

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

/** Compiles a manifest's score map; absent means identity. `linear` maps raw `from` to 0 and raw `to` to 1. */
export function compileScoreMap(map: Static<typeof ScoreMap> | undefined): MapScore {
  if (map === undefined || map.kind === 'identity') return identity
  if (map.kind === 'sigmoid') return sigmoid
  const { from, to } = map
  return (raw) => (raw - from) / (to - from)
}

/** The range rule: the score within [0, 1], or NaN where the row is in error. */
export function boundScore(score: number): number {
  if (score >= 0 && score <= 1) return score
  if (score < 0 && score >= -SCORE_SLACK) return 0
  if (score > 1 && score <= 1 + SCORE_SLACK) return 1
  return NaN
}
