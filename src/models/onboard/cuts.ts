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

/** Whether the options fit together, before any score is known. Throws ASSAY_USAGE. */
export function checkCuts(
  options: CutOptions,
  { hasRows, ownColumns }: Readonly<Record<'hasRows' | 'ownColumns', boolean>>,
): void {
  if (ownColumns && Object.values(options).some((cut) => cut !== undefined)) {
    throw usage('--own-columns goes without thresholds: such a model decides nothing')
  }
  const { reviewRate, declineRate } = options
  if (options.reviewAt !== undefined && reviewRate !== undefined) throw contradiction('review')
  if (options.declineAt !== undefined && declineRate !== undefined) throw contradiction('decline')
  if (!hasRows && (reviewRate ?? declineRate) !== undefined) {
    throw usage('--review-rate and --decline-rate are shares of rows: they need --rows')
  }
  if (reviewRate !== undefined && declineRate !== undefined && declineRate > reviewRate) {
    throw usage('--decline-rate is part of --review-rate, and cannot be larger')
  }
  checkRising([options.challengeAt, options.reviewAt, options.declineAt])
}

/** The cuts, by the scores of the rows; null where none are asked for. Throws ASSAY_USAGE where they fall. */
export function chooseCuts(options: CutOptions, scores: Float64Array): Thresholds | null {
  const { challengeAt, reviewRate, declineRate } = options
  const reviewAt = reviewRate === undefined ? options.reviewAt : lowestCut(scores, reviewRate)
  const declineAt = declineRate === undefined ? options.declineAt : lowestCut(scores, declineRate)
  checkRising([challengeAt, reviewAt, declineAt])
  if (challengeAt === undefined && reviewAt === undefined && declineAt === undefined) return null
  return {
    ...(challengeAt !== undefined && { challenge_at: challengeAt }),
    ...(reviewAt !== undefined && { review_at: reviewAt }),
    ...(declineAt !== undefined && { decline_at: declineAt }),
  }
}

function checkRising(cuts: readonly (number | undefined)[]): void {
  const given = cuts.filter((cut) => cut !== undefined)
  if (given.every((cut, at) => at === 0 || cut >= given[at - 1])) return
  throw usage(`challenge, review and decline must not fall; they are at ${given.join(', ')}`)
}

function contradiction(name: string): AssayError {
  return usage(`--${name}-at and --${name}-rate contradict each other; one of them is allowed`)
}

/** The lowest score that at most this share of the rows reaches; 1 where even the highest is reached by more. */
function lowestCut(scores: Float64Array, rate: number): number {
  const sorted = Float64Array.from(scores).sort()
  const above = sorted[sorted.length - Math.floor(sorted.length * rate) - 1]
  return sorted.find((score) => score > above) ?? 1
}

function usage(detail: string): AssayError {
  return new AssayError('ASSAY_USAGE', detail)
}
