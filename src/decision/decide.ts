// From a score to an action: rules, then thresholds, then the default. Pure: the same input gives the same decision
// in the server, in a shadow and in `assay decision verify`.
import type { Action } from '../contract/decision.js'
import type { Thresholds } from '../contract/manifest.js'
import type { Policy } from '../contract/policy.js'
import type { AppliedThresholds } from '../contract/record-types.js'

/** Cuts as compared; Infinity where the action is not used. */
export interface Cuts {
  readonly challengeAt: number
  readonly reviewAt: number
  readonly declineAt: number
}

/** The thresholds of a model version: the policy's, else those of its manifest; null where neither states any. */
export function thresholdsOf(
  policy: Policy,
  model: { name: string; version: string; thresholds?: Thresholds },
): AppliedThresholds | null {
  const stated = policy.thresholds[`${model.name}@${model.version}`] ?? model.thresholds
  if (stated === undefined) return null
  return {
    challengeAt: stated.challenge_at ?? null,
    reviewAt: stated.review_at ?? null,
    declineAt: stated.decline_at ?? null,
  }
}

/** Thresholds in the form that `decideByScore` compares. */
export function cutsOf(thresholds: AppliedThresholds): Cuts {
  return {
    challengeAt: thresholds.challengeAt ?? Infinity,
    reviewAt: thresholds.reviewAt ?? Infinity,
    declineAt: thresholds.declineAt ?? Infinity,
  }
}

/** What the score alone gives: the most severe action whose cut it reaches. `score` is within [0, 1]. */
export function decideByScore(cuts: Cuts, score: number): Action {
  if (score >= cuts.declineAt) return 'decline'
  if (score >= cuts.reviewAt) return 'review'
  if (score >= cuts.challengeAt) return 'challenge'
  return 'approve'
}
