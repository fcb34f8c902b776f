// Rows made up from the catalogue where a model comes without any: each feature from a range that its kind makes
// plausible, some of them missing. Seeded: the same catalogue and order give the same rows. They stand for no traffic,
// and nobody may judge a model by them; they reach into its parts, so that a changed file or order shows.
import type { Catalogue, FeatureSpec } from '../../contract/catalogue.js'
import type { CatalogueFacts, FeatureDtype } from '../columns.js'

/** Numbers in [0, 1), the same for the same seed: mulberry32. */
export type Draw = () => number

export function createDraw(seed: number): Draw {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

/** How often a feature that may be missing is. */
const MISSING_SHARE = 0.05

/** `count` rows of these features, row-major. Of a column that the catalogue does not know there is but its type. */
export function sampleRows(
  catalogue: Catalogue,
  { names, dtypes }: Pick<CatalogueFacts, 'names' | 'dtypes'>,
  count: number,
): Float64Array {
  const draw = createDraw(7)
  const specs = names.map((name) => catalogue.features.find((spec) => spec.name === name))
  const values = new Float64Array(count * names.length)
  for (let at = 0; at < values.length; at += 1) {
    const column = at % names.length
    const spec = specs[column]
    values[at] = spec === undefined ? unknown(dtypes[column], draw) : valueOf(spec, draw)
  }
  return values
}

function unknown(dtype: FeatureDtype, draw: Draw): number {
  return dtype === 'int64' ? Math.round(3 * normal(draw)) : normal(draw)
}

function valueOf(spec: FeatureSpec, draw: Draw): number {
  if ('missing' in spec && draw() < MISSING_SHARE) return spec.missing === 'nan' ? NaN : spec.missing
  const value = plausible(spec, draw)
  return spec.dtype === 'int64' ? Math.round(value) : value
}

function plausible(spec: FeatureSpec, draw: Draw): number {
  if (spec.kind === 'calendar') return calendarValue(spec, draw)
  if (spec.kind === 'category') return pick([...Object.values(spec.table), spec.other], draw)
  if (spec.kind === 'ratio') return logNormal(0, 1, draw)
  if (spec.kind === 'difference') return 50 * normal(draw)
  if (spec.kind === 'field') return amount(draw)
  if (spec.function === 'label_rate') return draw() < 0.8 ? 0 : draw() ** 2
  if (spec.function === 'time_since_last') return Math.round(logNormal(9, 2, draw))
  if (spec.function === 'count' || spec.function === 'distinct') return Math.floor(logNormal(1, 1.2, draw))
  return amount(draw)
}

const PARTS = { hour: [0, 23], weekday: [1, 7], day_of_month: [1, 31], month: [1, 12] } as const

function calendarValue(spec: FeatureSpec & { kind: 'calendar' }, draw: Draw): number {
  const [first, last] = PARTS[spec.part]
  const part = first + Math.floor(draw() * (last - first + 1))
  if (spec.in === undefined) return part
  return spec.in.includes(part) ? 1 : 0
}

/** Of purchases: the middle one is 33, one in a hundred above 340. */
function amount(draw: Draw): number {
  return Math.round(100 * logNormal(3.5, 1, draw)) / 100
}

function logNormal(mean: number, deviation: number, draw: Draw): number {
  return Math.exp(mean + deviation * normal(draw))
}

/** Box and Muller (1958). */
function normal(draw: Draw): number {
  return Math.sqrt(-2 * Math.log(1 - draw())) * Math.cos(2 * Math.PI * draw())
}

function pick(values: readonly number[], draw: Draw): number {
  return values[Math.floor(draw() * values.length)]
}
