// Bins from numbers, once, with how many fell into each: what a reference profile says of one quantity. Pure.
// The rule is that of models/training/reference.py: a value that alone holds more than 1/bins of the rows stands for
// itself, the rest is cut at quantiles that are values of the data, so that an edge never splits equal ones.

/** Of a reference profile: a quantity has some 20 cells, as the trainer's has. */
export const PROFILE_BINS = 20

/** As it stands in reference-profile.json (models/training/README.md). */
export interface FrozenBins {
  readonly null: number
  readonly negative_infinity: number
  readonly positive_infinity: number
  readonly singles: readonly { readonly value: number; readonly count: number }[]
  readonly edges: readonly number[]
  readonly counts: readonly number[]
}

/** Freezes bins over these numbers, taken as float32; NaN is null. */
export function freezeBins(values: ArrayLike<number>, bins: number): FrozenBins {
  const sorted = Float32Array.from(values).sort()
  const counted = { null: 0, negative_infinity: 0, positive_infinity: 0 }
  const singles: { value: number; count: number }[] = []
  const rest: number[] = []
  for (let from = 0, to = 0; from < sorted.length; from = to) {
    const value = sorted[from]
    do to++
    while (to < sorted.length && (sorted[to] === value || Number.isNaN(value)))
    const count = to - from
    if (Number.isNaN(value)) counted.null = count
    else if (value === -Infinity) counted.negative_infinity = count
    else if (value === Infinity) counted.positive_infinity = count
    else if (count > sorted.length / bins) singles.push({ value, count })
    else for (let at = from; at < to; at++) rest.push(value)
  }
  const edges = edgesOf(rest, Math.max(1, Math.round((bins * rest.length) / Math.max(1, sorted.length))))
  return { ...counted, singles, edges, counts: countsOf(rest, edges) }
}

/** Upper edges of all intervals but the last: quantiles, each the next value of the data at or above. */
function edgesOf(rest: readonly number[], intervals: number): number[] {
  const edges: number[] = []
  const last = rest.length - 1
  for (let at = 1; at < intervals; at++) {
    const edge = rest[Math.ceil(last * (at / intervals))]
    if (edge !== edges.at(-1)) edges.push(edge)
  }
  if (edges.at(-1) === rest.at(-1)) edges.pop()
  return edges
}

function countsOf(rest: readonly number[], edges: readonly number[]): number[] {
  const counts = new Array<number>(edges.length + 1).fill(0)
  let interval = 0
  for (const value of rest) {
    while (interval < edges.length && value > edges[interval]) interval++
    counts[interval]++
  }
  return counts
}
