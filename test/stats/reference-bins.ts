// A reference profile from values by the rules of models/training/reference.py, for tests and benches that need one of
// their own: single values that hold more than 1/bins of the rows, quantiles of the rest.
import { createNumberBins, type NumberBins } from '../../src/stats/bins.js'

export interface ReferenceBins {
  readonly bins: NumberBins
  readonly counts: Float64Array
}

export function binsFrom(values: Float32Array, bins = 20): ReferenceBins {
  const finite = values.filter((value) => Number.isFinite(value)).sort()
  const singles: number[] = []
  for (let at = 0; at < finite.length;) {
    let end = at + 1
    while (end < finite.length && finite[end] === finite[at]) end++
    if (end - at > values.length / bins) singles.push(finite[at])
    at = end
  }
  const rest = finite.filter((value) => !singles.includes(value))
  const share = Math.max(1, Math.round((bins * rest.length) / Math.max(1, values.length)))
  const edges = new Set<number>()
  for (let each = 1; each < share; each++) edges.add(rest[Math.ceil((each / share) * (rest.length - 1))])
  if (rest.length > 0) edges.delete(rest[rest.length - 1])
  const frozen = createNumberBins(singles, [...edges])
  const counts = new Float64Array(frozen.cells.length)
  for (const value of values) counts[frozen.cellOf(value)]++
  return { bins: frozen, counts }
}
