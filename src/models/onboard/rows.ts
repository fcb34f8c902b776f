// The rows that come with a model: its features by name, what became of each, and the scores of the trainer's own
// library where a column holds them. Held whole in flat arrays, under a bound in bytes; values as the model is fed.
import { AssayError } from '../../errors.js'
import { readValue } from '../../features/expected-rows.js'
import { booleanValue, type ColumnMap, readRows } from '../../features/read-rows.js'
import type { Limits } from '../../limits.js'
import type { CatalogueFacts, FeatureDtype } from '../columns.js'

export interface RowsFile {
  readonly path: string
  /** Foreign names of features. */
  readonly columns: ColumnMap
  /** The column of the labels; null where it is `fraud`, if the file has one. */
  readonly label: string | null
  /** The column of the trainer's scores. */
  readonly score: string | null
}

export interface ModelRows {
  readonly count: number
  /** Row-major, in the order of the features asked for; NaN where nothing is known. */
  readonly values: Float64Array
  /** 1 fraud, 0 not, −1 nothing known; null where the file has no labels. */
  readonly labels: Int8Array | null
  /** The trainer's score of each row, NaN where it has none; null where no column was named. */
  readonly trainer: Float64Array | null
}

// No feature can be called so.
const LABEL = ' label'
const SCORE = ' score'
const ROWS_FIRST = 1024

/** The names of the file's columns, as features of ours where `columns` maps them, in its order. */
export async function readHeader({ path, columns }: RowsFile): Promise<string[]> {
  const ours = new Map([...columns].flatMap(([name, to]) => ('column' in to ? [[to.column, name] as const] : [])))
  let header: string[] = []
  const see = (found: readonly string[]): void => {
    if (header.length === 0) header = found.map((column) => ours.get(column) ?? column)
  }
  for await (const _ of readRows(path, new Set(), new Map(), { see })) break
  return header
}

/** Reads the features `names` of every row. Throws ASSAY_INPUT_INVALID with the row, ASSAY_USAGE. */
export async function readModelRows(
  file: RowsFile,
  names: readonly string[],
  { header, limits }: { readonly header: readonly string[]; readonly limits: Limits },
): Promise<ModelRows> {
  const label = file.label ?? (header.includes('fraud') ? 'fraud' : null)
  const columns = columnsOf(file, names, { header, label })
  let held: Float64Array = new Float64Array(ROWS_FIRST * names.length)
  const labels: number[] = []
  const trainer: number[] = []
  let count = 0
  for await (const { number, values } of readRows(file.path, new Set([...names, LABEL, SCORE]), columns)) {
    const place = `${file.path}, row ${number}`
    const at = count * names.length
    if (at === held.length) held = grown(held, place, limits)
    for (const [i, name] of names.entries()) held[at + i] = readValue(values[name], `${place}: /${name}`)
    if (label !== null) labels.push(readLabel(values[LABEL], `${place}: /${label}`))
    if (file.score !== null) trainer.push(readValue(values[SCORE], `${place}: /${file.score}`))
    count += 1
  }
  if (count < 2) throw new AssayError('ASSAY_INPUT_INVALID', `${file.path}: two rows at least`)
  return {
    count,
    values: held.subarray(0, count * names.length),
    labels: label === null ? null : Int8Array.from(labels),
    trainer: file.score === null ? null : Float64Array.from(trainer),
  }
}

function columnsOf(
  { path, columns, score }: RowsFile,
  names: readonly string[],
  { header, label }: { readonly header: readonly string[]; readonly label: string | null },
): ColumnMap {
  const lacking = names.filter((name) => !header.includes(name))
  if (lacking.length > 0) {
    const detail = `has no column ${lacking.join(', ')}; --columns NAME=COLUMN says what a feature is called there`
    throw new AssayError('ASSAY_INPUT_INVALID', `${path} ${detail}`)
  }
  for (const column of [label, score]) {
    if (column !== null && !header.includes(column)) {
      throw new AssayError('ASSAY_INPUT_INVALID', `${path} has no column ${column}; it has ${header.join(', ')}`)
    }
  }
  const all = new Map(columns)
  if (label !== null) all.set(LABEL, { column: label })
  if (score !== null) all.set(SCORE, { column: score })
  return all
}

/** These rows of a row-major block, in this order. */
export function pickRows(values: Float64Array, width: number, rows: readonly number[]): Float64Array {
  const picked = new Float64Array(rows.length * width)
  rows.forEach((row, at) => picked.set(values.subarray(row * width, (row + 1) * width), at * width))
  return picked
}

function readLabel(value: unknown, place: string): number {
  if (value === undefined) return -1
  const label = booleanValue(value)
  if (label === null) throw new AssayError('ASSAY_INPUT_INVALID', `${place}: 0, 1, true, false or nothing`)
  return label ? 1 : 0
}

function grown(values: Float64Array, place: string, { checkBytesMax }: Limits): Float64Array {
  if (values.byteLength * 2 > checkBytesMax) {
    const detail = `more than ${checkBytesMax} bytes of features; give a part of the rows`
    throw new AssayError('ASSAY_INPUT_INVALID', `${place}: ${detail}`)
  }
  const larger = new Float64Array(values.length * 2)
  larger.set(values)
  return larger
}

/** Rounds values to what the model is fed with: to float32 where the catalogue or the input holds no more. */
export function asFed(
  values: Float64Array,
  names: readonly string[],
  { facts, dtypes }: { readonly facts: CatalogueFacts; readonly dtypes: readonly FeatureDtype[] },
): void {
  names.forEach((name, column) => {
    const isSingle = facts.dtypes[facts.names.indexOf(name)] === 'float32' || dtypes[column] === 'float32'
    if (!isSingle) return
    for (let at = column; at < values.length; at += names.length) values[at] = Math.fround(values[at])
  })
}
