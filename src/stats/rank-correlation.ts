// Spearman's and Kendall's rank correlation from a two-dimensional histogram, with the error that the binning can have.
// Pure; cells are integer counts, so that the histograms of many windows are added first. What it gives is the
// correlation of the binned values, ties corrected; what it states beside is how far that can lie from the correlation
// of the values themselves, whatever they were within their cells.

/** Cells of a histogram in any order: column (first value's bin), row (second value's bin) and a count above 0. */
export interface GridCells {
  readonly bins: number
  readonly columns: readonly number[]
  readonly rows: readonly number[]
  readonly counts: readonly number[]
}

export interface RankCorrelation {
  /** NaN where either side has a single bin. */
  readonly value: number
  /** No ordering within the bins gives a correlation further away than this. */
  readonly errorMax: number
}

const UNKNOWN: RankCorrelation = { value: NaN, errorMax: NaN }

interface Margin {
  readonly counts: Float64Array
  /** Mean rank of each bin, from 0, less the mean of all ranks. */
  readonly ranks: Float64Array
  /** Σ of squared mean ranks, and what ordering within bins can add to it: Σ (c³ − c) / 12. */
  readonly between: number
  readonly within: number
}

function marginOf(bins: number, places: readonly number[], counts: readonly number[]): Margin {
  const totals = new Float64Array(bins)
  for (let at = 0; at < places.length; at++) totals[places[at]] += counts[at]
  const n = totals.reduce((sum, count) => sum + count, 0)
  const ranks = new Float64Array(bins)
  let before = 0
  let between = 0
  let within = 0
  totals.forEach((count, bin) => {
    ranks[bin] = before + (count - 1) / 2 - (n - 1) / 2
    before += count
    between += count * ranks[bin] ** 2
    within += (count * (count * count - 1)) / 12
  })
  return { counts: totals, ranks, between, within }
}

/**
 * Spearman's ρ of the binned values (Pearson's correlation of mid-ranks). The error: each true rank is its bin's mean
 * rank plus a deviation that sums to 0 within the bin and whose squares sum to at most (c³ − c) / 12; the three sums of
 * products that binning leaves out are bounded by Cauchy and Schwarz, the first two within bins.
 */
export function spearmanOfGrid(cells: GridCells): RankCorrelation {
  const first = marginOf(cells.bins, cells.columns, cells.counts)
  const second = marginOf(cells.bins, cells.rows, cells.counts)
  if (first.between === 0 || second.between === 0) return UNKNOWN
  let product = 0
  cells.counts.forEach((count, at) => {
    product += count * first.ranks[cells.columns[at]] * second.ranks[cells.rows[at]]
  })
  const left =
    Math.sqrt(first.within * spreadWithin(cells.columns, first, cells.rows, second, cells.counts)) +
    Math.sqrt(second.within * spreadWithin(cells.rows, second, cells.columns, first, cells.counts)) +
    Math.sqrt(first.within * second.within)
  const scaleMin = Math.sqrt(first.between * second.between)
  const scaleMax = Math.sqrt((first.between + first.within) * (second.between + second.within))
  return bounded(product / scaleMin, { low: product - left, high: product + left }, { scaleMin, scaleMax })
}

/** Σ of squares of the other side's mean ranks around their mean within each bin of this side. */
function spreadWithin(
  places: readonly number[],
  own: Margin,
  ...[otherPlaces, other, counts]: [readonly number[], Margin, readonly number[]]
): number {
  const sums = new Float64Array(own.counts.length)
  let squares = 0
  counts.forEach((count, at) => {
    const rank = other.ranks[otherPlaces[at]]
    sums[places[at]] += count * rank
    squares += count * rank * rank
  })
  sums.forEach((sum, bin) => {
    if (own.counts[bin] > 0) squares -= (sum * sum) / own.counts[bin]
  })
  return Math.max(0, squares)
}

/**
 * Kendall's τ-b of the binned values (Kendall, M. G. (1945), Biometrika 33, 239–251). The error: pairs that share a bin
 * on one side or on both may be ordered either way.
 */
export function kendallOfGrid(cells: GridCells): RankCorrelation {
  const { bins, columns, rows, counts } = cells
  const grid = new Float64Array(bins * bins)
  let n = 0
  counts.forEach((count, at) => {
    grid[columns[at] * bins + rows[at]] += count
    n += count
  })
  const { balance, sameColumn, sameRow, sameCell } = countPairs(grid, bins)
  const pairs = (n * (n - 1)) / 2
  const first = pairs - sameColumn
  const second = pairs - sameRow
  if (first <= 0 || second <= 0) return UNKNOWN
  const open = sameColumn + sameRow - sameCell
  const scales = { scaleMin: Math.sqrt(first) * Math.sqrt(second), scaleMax: pairs }
  return bounded(balance / scales.scaleMin, { low: balance - open, high: balance + open }, scales)
}

/** Concordant less discordant pairs, and pairs that share a column, a row, a cell. */
function countPairs(grid: Float64Array, bins: number) {
  // below[row]: pairs of columns seen so far with a row under this one; above: with a row over it.
  const totals = new Float64Array(bins)
  const rowTotals = new Float64Array(bins)
  let balance = 0
  let sameColumn = 0
  let sameCell = 0
  let seen = 0
  for (let column = 0; column < bins; column++) {
    let under = 0
    let inColumn = 0
    for (let row = 0; row < bins; row++) {
      const count = grid[column * bins + row]
      if (count > 0) balance += count * (under - (seen - under - totals[row]))
      under += totals[row]
      inColumn += count
      sameCell += (count * (count - 1)) / 2
    }
    for (let row = 0; row < bins; row++) {
      totals[row] += grid[column * bins + row]
      rowTotals[row] += grid[column * bins + row]
    }
    seen += inColumn
    sameColumn += (inColumn * (inColumn - 1)) / 2
  }
  const sameRow = rowTotals.reduce((sum, count) => sum + (count * (count - 1)) / 2, 0)
  return { balance, sameColumn, sameRow, sameCell }
}

/** The largest distance from `value` of a quotient whose parts lie in these ranges, cut at ±1. */
function bounded(
  value: number,
  parts: { low: number; high: number },
  scales: { scaleMin: number; scaleMax: number },
): RankCorrelation {
  const ends = [parts.low, parts.high].flatMap((part) => [part / scales.scaleMin, part / scales.scaleMax])
  const low = Math.max(-1, Math.min(...ends))
  const high = Math.min(1, Math.max(...ends))
  return { value, errorMax: Math.max(value - low, high - value, 0) }
}
