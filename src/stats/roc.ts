// How well scores rank frauds before the rest: area under the ROC curve with its interval, the difference of two such
// areas on the same rows, average precision. Pure; labels are 1 for fraud and 0 for the rest, scores are no NaN.
import { deviations, type Interval } from './interval.js'

/** An area with what its variance needs. */
export interface Roc {
  /** The chance that a fraud scores above another row, ties counted half; NaN without rows of both kinds. */
  readonly auc: number
  /** Of each fraud, the share of the others below it; of each other row, the share of the frauds above it. */
  readonly frauds: Float64Array
  readonly others: Float64Array
}

/** Area under the ROC curve: Mann and Whitney's U, by placements in O(n log n). */
export function rocOf(scores: ArrayLike<number>, labels: ArrayLike<number>): Roc {
  const order = ascending(scores)
  const fraudsInAll = Array.from(labels).reduce((sum, label) => sum + label, 0)
  const othersInAll = labels.length - fraudsInAll
  const below = { frauds: 0, others: 0 }
  // In the order of the rows, so that two areas over the same rows can be paired.
  const placed = new Float64Array(labels.length)
  for (let from = 0, to = 0; from < order.length; from = to) {
    const tied = { frauds: 0, others: 0 }
    for (to = from; to < order.length && scores[order[to]] === scores[order[from]]; to += 1) {
      if (labels[order[to]] === 1) tied.frauds += 1
      else tied.others += 1
    }
    const fraud = (below.others + tied.others / 2) / othersInAll
    const other = (fraudsInAll - below.frauds - tied.frauds / 2) / fraudsInAll
    for (let at = from; at < to; at += 1) placed[order[at]] = labels[order[at]] === 1 ? fraud : other
    below.frauds += tied.frauds
    below.others += tied.others
  }
  const frauds = placed.filter((_, row) => labels[row] === 1)
  const others = placed.filter((_, row) => labels[row] !== 1)
  return { auc: mean(frauds), frauds, others }
}

/**
 * Interval of an area: DeLong, E. R., DeLong, D. M. and Clarke-Pearson, D. L. (1988), Biometrics 44, 837–845. [0, 1]
 * with fewer than two rows of a kind.
 */
export function aucInterval(roc: Roc, coverage = 0.95): Interval {
  if (roc.frauds.length < 2 || roc.others.length < 2) return { low: 0, high: 1 }
  const half = deviations(coverage) * Math.sqrt(varianceOf(roc.frauds, roc.others))
  return { low: Math.max(0, roc.auc - half), high: Math.min(1, roc.auc + half) }
}

/** Standard errors by which the first area exceeds the second, on the same rows (DeLong, as above); 0 where equal. */
export function aucDeviations(first: Roc, second: Roc): number {
  const difference = first.auc - second.auc
  if (difference === 0) return 0
  const minus = (a: Float64Array, b: Float64Array) => a.map((value, at) => value - b[at])
  return difference / Math.sqrt(varianceOf(minus(first.frauds, second.frauds), minus(first.others, second.others)))
}

/** Mean of the precision at each fraud, rows of one score taken together: Σ (recallₖ − recallₖ₋₁) precisionₖ. */
export function averagePrecision(scores: ArrayLike<number>, labels: ArrayLike<number>): number {
  const order = ascending(scores).reverse()
  let [sum, frauds] = [0, 0]
  for (let from = 0, to = 0; from < order.length; from = to) {
    let gained = 0
    for (to = from; to < order.length && scores[order[to]] === scores[order[from]]; to += 1) gained += labels[order[to]]
    frauds += gained
    sum += gained * (frauds / to)
  }
  return sum / frauds
}

function ascending(scores: ArrayLike<number>): Uint32Array {
  return Uint32Array.from({ length: scores.length }, (_, row) => row).sort((a, b) => scores[a] - scores[b])
}

function varianceOf(frauds: Float64Array, others: Float64Array): number {
  return variance(frauds) / frauds.length + variance(others) / others.length
}

function variance(values: Float64Array): number {
  const middle = mean(values)
  return values.reduce((sum, value) => sum + (value - middle) ** 2, 0) / (values.length - 1)
}

function mean(values: Float64Array): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length
}
