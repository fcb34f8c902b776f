// Where a score, a logit and a difference fall: the integer bins of the shadow monitor. Pure and fixed, so that
// windows, pods and releases merge by addition. Scores are binned on the logit axis, since what matters happens near 0
// and 1; beyond the ends they fall into the outermost bin.

/** One axis of equal steps in logits, symmetric around 0. */
export interface LogitAxis {
  readonly bins: number
  readonly logitMax: number
}

/** The density grid: both axes, 128 bins of 0.156 logits from −10 to 10 (a score of 0.000045 to 0.999955). */
export const GRID_AXIS: LogitAxis = { bins: 128, logitMax: 10 }

/** The finer axis of each model's own histogram, from which a threshold is read: 1/64 of a logit, from −12 to 12. */
export const VOLUME_AXIS: LogitAxis = { bins: 1536, logitMax: 12 }

/** Log-odds of a score within [0, 1], bounded by those of the smallest score that is told from 0. */
export function logitOf(score: number): number {
  if (score <= SCORE_MIN) return -LOGIT_END
  if (score >= 1 - SCORE_MIN) return LOGIT_END
  return Math.log(score / (1 - score))
}

const LOGIT_END = 16
const SCORE_MIN = 1 / (1 + Math.exp(LOGIT_END))

/** The bin of a logit. */
export function binOf(axis: LogitAxis, logit: number): number {
  const bin = Math.floor(((logit + axis.logitMax) * axis.bins) / (2 * axis.logitMax))
  return Math.min(axis.bins - 1, Math.max(0, bin))
}

/** The score at the lower edge of a bin; 0 for the first, which holds everything below. */
export function edgeOf(axis: LogitAxis, bin: number): number {
  if (bin === 0) return 0
  return 1 / (1 + Math.exp(axis.logitMax - (2 * axis.logitMax * bin) / axis.bins))
}

/** Score differences are counted in millionths. */
export const DIFFERENCE_UNIT = 1e-6

/** A difference of scores in units. */
export function unitsOf(difference: number): number {
  return Math.round(difference / DIFFERENCE_UNIT)
}

/**
 * The bin of a difference in units: exact up to 15, then 16 bins for each doubling (a bin is at most 1/16 of its value
 * wide); negative bins for negative differences.
 */
export function differenceBin(units: number): number {
  const size = Math.abs(units)
  if (size < 16) return units
  const shift = 27 - Math.clz32(size)
  const bin = 16 * shift + (size >>> shift)
  return units < 0 ? -bin : bin
}

/** The middle of a bin, as a difference of scores. */
export function differenceOf(bin: number): number {
  const size = Math.abs(bin)
  if (size < 16) return bin * DIFFERENCE_UNIT
  const shift = Math.floor(size / 16) - 1
  const low = (size - 16 * shift) * 2 ** shift
  const middle = (low + (2 ** shift - 1) / 2) * DIFFERENCE_UNIT
  return bin < 0 ? -middle : middle
}
