// Frozen bins: which cell a value falls into. A reference profile fixes them once, from then on only counts change.
// Invariant: each value falls into exactly one cell; null, the infinities, values that hold much of the mass, unseen
// categories have cells of their own, so that a pile at 0 or one absurd value never hides in a quantile.
// Format of the file: models/training/README.md.

/** The cells of one quantity, in the order of their counts. */
export interface Cell {
  readonly kind: 'null' | '-inf' | '+inf' | 'single' | 'interval' | 'category' | 'unseen'
  readonly label: string
  /** (low, high] of an interval, the value itself of a single one; null where open or not a number. */
  readonly low: number | null
  readonly high: number | null
}

/** Bins of numbers. Cells: null, −∞, +∞, singles in ascending order, intervals in ascending order. */
export interface NumberBins {
  readonly cells: readonly Cell[]
  /** The cell of a value, which is taken as float32; NaN is null. */
  cellOf(value: number): number
}

/** Bins of texts. Cells: null, the categories in the order given, everything else. */
export interface CategoryBins {
  readonly cells: readonly Cell[]
  cellOf(value: string | number | boolean | null): number
}

const NULL_CELL: Cell = { kind: 'null', label: 'null', low: null, high: null }
const INFINITE: readonly Cell[] = [
  { kind: '-inf', label: '−∞', low: null, high: null },
  { kind: '+inf', label: '+∞', low: null, high: null },
]
const FIRST_SINGLE = 3

/** Bins from the singles and the upper edges of all intervals but the last. Throws RangeError unless both ascend. */
export function createNumberBins(singles: readonly number[], edges: readonly number[]): NumberBins {
  if (!ascends(singles) || !ascends(edges)) throw new RangeError('singles and edges must be finite and ascend')
  const values = Float64Array.from(singles)
  const uppers = Float64Array.from(edges)
  const firstInterval = FIRST_SINGLE + values.length
  return {
    cells: [NULL_CELL, ...INFINITE, ...singles.map(singleCell), ...intervalCells(edges)],
    cellOf(value) {
      const x = Math.fround(value)
      if (x - x !== 0) return x === -Infinity ? 1 : x === Infinity ? 2 : 0
      const single = firstNotBelow(values, x)
      if (single < values.length && values[single] === x) return FIRST_SINGLE + single
      return firstInterval + firstNotBelow(uppers, x)
    },
  }
}

/** Bins of categories; a repeated one counts as its first. */
export function createCategoryBins(categories: readonly string[]): CategoryBins {
  const places = new Map<string, number>()
  for (const category of categories) if (!places.has(category)) places.set(category, places.size + 1)
  const unseen = places.size + 1
  const cells = [...places.keys()].map((label): Cell => ({ kind: 'category', label, low: null, high: null }))
  return {
    cells: [NULL_CELL, ...cells, { kind: 'unseen', label: 'unseen', low: null, high: null }],
    cellOf: (value) => (value === null ? 0 : (places.get(String(value)) ?? unseen)),
  }
}

function ascends(values: readonly number[]): boolean {
  return values.every((value, at) => Number.isFinite(value) && (at === 0 || value > (values[at - 1] ?? NaN)))
}

const singleCell = (value: number): Cell => ({ kind: 'single', label: `${value}`, low: value, high: value })

function intervalCells(edges: readonly number[]): Cell[] {
  return Array.from({ length: edges.length + 1 }, (_, at) => {
    const low = at === 0 ? null : (edges[at - 1] ?? null)
    const high = edges[at] ?? null
    const label = `(${low ?? '−∞'}, ${high ?? '+∞'}${high === null ? ')' : ']'}`
    return { kind: 'interval', label, low, high }
  })
}

/** The first place whose value is not below x; the length where all are. */
function firstNotBelow(sorted: Float64Array, x: number): number {
  let low = 0
  let high = sorted.length
  while (low < high) {
    const middle = (low + high) >> 1
    if ((sorted[middle] ?? NaN) < x) low = middle + 1
    else high = middle
  }
  return low
}
