// Score cuts of a new bundle: said outright, or as shares of the rows that may reach them. Pure. It refuses what
// contradicts itself; a bundle without cuts decides nothing and can only be a shadow.
import type { Thresholds } from '../../contract/manifest.js'
import { AssayError } from '../../errors.js'

export interface CutOptions {
  readonly challengeAt: number | undefined
  readonly reviewAt: number | undefined
  readonly declineAt: number | undefined
  /** Share of the rows that reaches review or more, and decline. */
  readonly reviewRate: number | undefined
  readonly declineRate: number | undefined
}

/** The cuts, by the scores of the rows; null where none are asked for. Throws ASSAY_USAGE. */
export function chooseCuts(options: CutOptions, scores: Float64Array | null): Thresholds | null {
  const { challengeAt, reviewRate, declineRate } = options
  if (reviewRate !== undefined && declineRate !== undefined && declineRate > reviewRate) {
    throw usage('--decline-rate is part of --review-rate, and cannot be larger')
  }
  const reviewAt = cutOf('review', options.reviewAt, { rate: reviewRate, scores })
  const declineAt = cutOf('decline', options.declineAt, { rate: declineRate, scores })
  const cuts = [challengeAt, reviewAt, declineAt].filter((cut) => cut !== undefined)
  if (cuts.some((cut, at) => at > 0 && cut < cuts[at - 1])) {
    throw usage(`challenge, review and decline must not fall; they are at ${cuts.join(', ')}`)
  }
  if (cuts.length === 0) return null
  return {
    ...(challengeAt !== undefined && { challenge_at: challengeAt }),
    ...(reviewAt !== undefined && { review_at: reviewAt }),
    ...(declineAt !== undefined && { decline_at: declineAt }),
  }
}

function cutOf(
  name: string,
  at: number | undefined,
  { rate, scores }: { readonly rate: number | undefined; readonly scores: Float64Array | null },
): number | undefined {
  if (rate === undefined) return at
  if (at !== undefined) throw usage(`--${name}-at and --${name}-rate contradict each other; one of them is allowed`)
  if (scores === null) throw usage(`--${name}-rate is a share of rows: it needs --rows`)
  return lowestCut(scores, rate)
}

/** The lowest score that at most this share of the rows reaches; 1 where even the highest is reached by more. */
export function lowestCut(scores: Float64Array, rate: number): number {
  const sorted = Float64Array.from(scores).sort()
  const above = sorted[sorted.length - Math.floor(sorted.length * rate) - 1]
  return sorted.find((score) => score > above) ?? 1
}

function usage(detail: string): AssayError {
  return new AssayError('ASSAY_USAGE', detail)
}
