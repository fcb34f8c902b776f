// reference-profile.json from the rows that came with a model, as `models/training` writes it: each feature and the
// score as integer counts over frozen bins (models/training/README.md). Pure.
import type { Manifest, Thresholds } from '../../contract/manifest.js'
import { freezeBins, PROFILE_BINS } from '../../stats/freeze-bins.js'

export interface ProfileFacts {
  readonly features: Manifest['features']
  /** Row-major, as wide as there are features. */
  readonly values: Float64Array
  readonly scores: Float64Array
  readonly thresholds: Thresholds | null
}

/** The profile of these rows. */
export function profileOf({ features, values, scores, thresholds }: ProfileFacts) {
  const width = features.length
  const rows = values.length / width
  return {
    format: 1,
    bins: PROFILE_BINS,
    features_from: { rows },
    score_from: { rows: scores.length },
    features: features.map(({ name, digest }, column) => {
      const own = Float64Array.from({ length: rows }, (_, row) => values[row * width + column])
      return { name, digest, ...freezeBins(own, PROFILE_BINS) }
    }),
    score: freezeBins(scores, PROFILE_BINS),
    actions: thresholds === null ? {} : actionsOf(scores, thresholds),
  }
}

function actionsOf(scores: Float64Array, thresholds: Thresholds): Record<string, number> {
  const { challenge_at: challenge, review_at: review, decline_at: decline } = thresholds
  const reaching = (cut: number | undefined, before: number) =>
    cut === undefined ? before : scores.reduce((sum, score) => sum + (score >= cut ? 1 : 0), 0)
  const declined = reaching(decline, 0)
  const reviewed = reaching(review, declined)
  const challenged = reaching(challenge, reviewed)
  return {
    approve: scores.length - challenged,
    ...(challenge !== undefined && { challenge: challenged - reviewed }),
    ...(review !== undefined && { review: reviewed - declined }),
    ...(decline !== undefined && { decline: declined }),
  }
}
