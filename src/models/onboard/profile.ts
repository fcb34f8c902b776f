// reference-profile.json from the rows that came with a model, as `models/training` writes it: each feature and the
// score as integer counts over frozen bins (models/training/README.md). Pure. A value, as float32, is null, an
// infinity, a single value that alone holds more than 1/bins of the rows, or in an interval between quantiles of the
// rest.
import type { Manifest, Thresholds } from '../../contract/manifest.js'
import { createNumberBins } from '../../stats/bins.js'

const BINS = 20

/** Bins of one quantity and the rows in each. */
export interface Binned {
  readonly null: number
  readonly negative_infinity: number
  readonly positive_infinity: number
  readonly singles: readonly { readonly value: number; readonly count: number }[]
  readonly edges: readonly number[]
  readonly counts: readonly number[]
}

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
    bins: BINS,
    features_from: { rows },
    score_from: { rows: scores.length },
    features: features.map(({ name, digest }, column) => {
      const own = Float64Array.from({ length: rows }, (_, row) => values[row * width + column])
      return { name, digest, ...binsOf(own) }
    }),
    score: binsOf(scores),
    actions: thresholds === null ? {} : actionsOf(scores, thresholds),
  }
}

/** Freezes bins by these values and counts them. */
export function binsOf(values: Float64Array): Binned {
  const finite = Float32Array.from(values).filter(Number.isFinite).sort()
  const single = new Set<number>()
  for (let from = 0, to = 0; from < finite.length; from = to) {
    for (to = from; to < finite.length && finite[to] === finite[from];) to += 1
    if (to - from > values.length / BINS) single.add(finite[from])
  }
  const singles = [...single]
  const edges = edgesOf(
    finite.filter((value) => !single.has(value)),
    values.length,
  )
  const frozen = createNumberBins(singles, edges)
  const counts = frozen.cells.map(() => 0)
  for (const value of values) counts[frozen.cellOf(value)] += 1
  const [nulls, negative, positive, ...rest] = counts
  return {
    ...{ null: nulls, negative_infinity: negative, positive_infinity: positive },
    singles: singles.map((value, at) => ({ value, count: rest[at] })),
    edges,
    counts: rest.slice(singles.length),
  }
}

/** Upper edges: quantiles that are values of the data, so that no edge lies between equal values. */
function edgesOf(rest: Float32Array, rows: number): number[] {
  const bins = Math.max(1, Math.round((BINS * rest.length) / Math.max(1, rows)))
  const edges = new Set<number>()
  for (let bin = 1; bin < bins; bin += 1) edges.add(rest[Math.ceil((rest.length - 1) * (bin / bins))])
  edges.delete(rest[rest.length - 1])
  return [...edges]
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
