// A trainer's own features, held by transaction_id until the replay comes to it: their order is nobody's business.
// Held whole, in flat arrays, under a bound in bytes. Refuses a row without an id, an id that stands twice, a value
// that is no number, and card data, since ids and values are shown where they differ.
import { holdsCardData } from '../contract/card-data.js'
import { AssayError } from '../errors.js'
import type { Limits } from '../limits.js'
import { type ColumnMap, readRows, type SeenColumns, watchColumns } from './read-rows.js'

export interface ExpectedRows {
  readonly rows: number
  /** Ids in the order of the file, each with its place from 0. */
  readonly places: ReadonlyMap<string, number>
  /** What stands in the file, and what in it is no feature. */
  readonly columns: SeenColumns
  /** The value of a feature, by its place in the catalogue; NaN where there is none. */
  readonly value: (place: number, feature: number) => number
}

/** Rows of one array. */
const CHUNK_ROWS = 4096
/** Bytes that an id takes beside its characters, at most: a text and its entry in the table; 46 to 69 were measured. */
const ID_BYTES = 100
/** Every card number has more digits. */
const SHORT = 1e11

/** Reads the file. `names` are the features of the catalogue. Throws ASSAY_INPUT_INVALID with the row, ASSAY_USAGE. */
export async function readExpected(
  path: string,
  columns: ColumnMap,
  names: readonly string[],
  limits: Limits,
): Promise<ExpectedRows> {
  // What `features build` copies from a label column is known, and no feature.
  const known = new Set(['transaction_id', 'fraud', ...names])
  checkColumns(columns, known)
  const seen = watchColumns(known, columns, limits.unknownNamesMax)
  const places = new Map<string, number>()
  const chunks: Float64Array[] = []
  let bytes = 0
  for await (const { number, values } of readRows(path, known, columns, { see: seen.see })) {
    const place = `${path}, row ${number}`
    const id = readId(values.transaction_id, place)
    if (places.has(id)) throw new AssayError('ASSAY_INPUT_INVALID', `${place}: /transaction_id: it stands there twice`)
    bytes += 8 * names.length + ID_BYTES + id.length
    if (bytes > limits.checkBytesMax) {
      const detail = `more than ${limits.checkBytesMax} bytes of features; check a part of them at a time`
      throw new AssayError('ASSAY_INPUT_INVALID', `${place}: ${detail}`)
    }
    const row = places.size
    if (row % CHUNK_ROWS === 0) chunks.push(new Float64Array(CHUNK_ROWS * names.length))
    const at = (row % CHUNK_ROWS) * names.length
    names.forEach((name, i) => {
      chunks[chunks.length - 1][at + i] = readValue(values[name], `${place}: /${name}`)
    })
    places.set(id, row)
  }
  checkSeen(path, seen, names)
  return {
    rows: places.size,
    places,
    columns: seen,
    value: (place, feature) => chunks[Math.floor(place / CHUNK_ROWS)][(place % CHUNK_ROWS) * names.length + feature],
  }
}

function checkColumns(columns: ColumnMap, known: ReadonlySet<string>): void {
  for (const [name, target] of columns) {
    if (!known.has(name)) {
      const allowed = [...known].join(', ')
      throw new AssayError('ASSAY_USAGE', `--feature-columns: ${name} is no feature of the spec; one of ${allowed}`)
    }
    if ('constant' in target) throw new AssayError('ASSAY_USAGE', `--feature-columns: ${name} must name a column`)
  }
}

function checkSeen(path: string, { known }: SeenColumns, names: readonly string[]): void {
  if (!known.has('transaction_id')) {
    const detail = 'has no column transaction_id; --feature-columns transaction_id=NAME says what it is called there'
    throw new AssayError('ASSAY_INPUT_INVALID', `${path} ${detail}`)
  }
  if (names.some((name) => known.has(name))) return
  const detail = `no column is a feature of the spec (${names.join(', ')}); --feature-columns maps foreign names`
  throw new AssayError('ASSAY_INPUT_INVALID', `${path}: ${detail}`)
}

function readId(value: unknown, place: string): string {
  const id = typeof value === 'number' ? String(value) : value
  if (typeof id !== 'string') throw new AssayError('ASSAY_INPUT_INVALID', `${place}: /transaction_id: a text`)
  if (holdsCardData(id)) throw new AssayError('ASSAY_INPUT_INVALID', `${place}: /transaction_id: no card data`)
  return id
}

/** A number as the usual tools write it, NaN for nothing. Throws ASSAY_INPUT_INVALID for anything else. */
export function readValue(value: unknown, place: string): number {
  const number = numberOf(value)
  if (number === null) throw new AssayError('ASSAY_INPUT_INVALID', `${place}: a number, or nothing`)
  if (Math.abs(number) >= SHORT && Number.isInteger(number) && holdsCardData(String(number))) {
    throw new AssayError('ASSAY_INPUT_INVALID', `${place}: no card data`)
  }
  return number
}

/** As the usual tools write it: NaN for nothing, 1 and 0 for true and false; null for what is no number. */
function numberOf(value: unknown): number | null {
  if (value === undefined) return NaN
  if (typeof value === 'number') return value
  if (typeof value === 'boolean') return value ? 1 : 0
  if (typeof value !== 'string') return null
  const text = value.trim().toLowerCase()
  if (/^(nan|null|none|na|n\/a|)$/.test(text)) return NaN
  if (text === 'true' || text === 'false') return text === 'true' ? 1 : 0
  const infinite = /^([+-]?)inf(?:inity)?$/.exec(text)
  if (infinite !== null) return infinite[1] === '-' ? -Infinity : Infinity
  const number = Number(text)
  return Number.isNaN(number) ? null : number
}
