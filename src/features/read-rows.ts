// Rows of a foreign file under our names: csv, csv.gz, jsonl, jsonl.gz, streamed, one object per row; many rows at
// once, since a turn of an asynchronous loop costs as much as a row.
// A column map says which foreign column stands for which of our names, or that a name is a constant.
// Values become what the schema declares; what cannot is left as it is, for validation to refuse with its path.
import { createReadStream } from 'node:fs'
import { Readable } from 'node:stream'
import { createGunzip } from 'node:zlib'
import Papa, { type Parser } from 'papaparse'
import { holdsCardData } from '../contract/card-data.js'
import type { FieldSpec } from '../contract/transaction.js'
import { AssayError } from '../errors.js'
import { LIMITS } from '../limits.js'
import { readLines } from './read-lines.js'

/** Our name → a foreign column, or a constant. */
export type ColumnMap = ReadonlyMap<string, { readonly column: string } | { readonly constant: string }>

export interface Row {
  /** Line of data in the file, from 1, the header not counted. */
  readonly number: number
  /** By our names; absent and empty values are left out. */
  readonly values: Record<string, unknown>
}

/** A row is a transaction: no larger than what may be sent. */
export const ROW_BYTES_MAX = LIMITS.bodyBytesMax
const SPACE = 32
const BYTE_ORDER_MARK = '\ufeff'
/** Pieces of a csv whose records wait to be taken. */
const RECORDS_AHEAD = 2
/** Pieces of 16 KiB or more that a row may span. */
const RECORD_PIECES_MAX = Math.ceil(ROW_BYTES_MAX / (16 << 10))

/** `transaction_id=TRANSACTION_ID,currency=:EUR` → the map. Throws ASSAY_USAGE where a part is not `name=column`. */
export function parseColumns(text: string, option = '--columns'): ColumnMap {
  const map = new Map<string, { column: string } | { constant: string }>()
  for (const part of text.split(',').filter((piece) => piece !== '')) {
    const at = part.indexOf('=')
    const name = part.slice(0, at).trim()
    const target = part.slice(at + 1)
    if (at < 1 || target === '' || target === ':') {
      throw new AssayError('ASSAY_USAGE', `${option}: ${part} is not name=COLUMN or name=:constant`)
    }
    map.set(name, target.startsWith(':') ? { constant: target.slice(1) } : { column: target })
  }
  return map
}

export interface RowOptions {
  /** Called with the names that stand in the file: once for a csv, with those of each row for JSON lines. */
  readonly see?: (columns: readonly string[]) => void
}

interface Source {
  readonly path: string
  readonly names: ReadonlySet<string>
  readonly columns: ColumnMap
  readonly see: (columns: readonly string[]) => void
}

/** Streams the rows. `names` are the names of ours that may stand in the file; others are passed over. */
export async function* readRows(
  path: string,
  names: ReadonlySet<string>,
  columns: ColumnMap,
  options?: RowOptions,
): AsyncGenerator<Row> {
  for await (const rows of readRowBatches(path, names, columns, options)) yield* rows
}

/** The same rows, as many at once as were read at once, perhaps none. */
export async function* readRowBatches(
  path: string,
  names: ReadonlySet<string>,
  columns: ColumnMap,
  { see = () => undefined }: RowOptions = {},
): AsyncGenerator<Row[]> {
  const source: Source = { path, names, columns, see }
  if (isJsonLines(path)) yield* readJsonLines(source)
  else if (path.replace(/\.gz$/, '').endsWith('.csv')) yield* readCsv(source)
  else throw new AssayError('ASSAY_USAGE', `${path}: the name must end in .csv, .csv.gz, .jsonl or .jsonl.gz`)
}

/** Whether the name says that each line is a JSON object. */
export function isJsonLines(path: string): boolean {
  return /\.(jsonl|ndjson)(\.gz)?$/.test(path)
}

function openBytes(path: string): Readable {
  const file = createReadStream(path)
  if (!path.endsWith('.gz')) return file
  const bytes = createGunzip()
  file.on('error', (error) => bytes.destroy(error))
  return file.pipe(bytes)
}

/** What of a file stands for a name of ours, and what does not. */
export interface SeenColumns {
  /** Our names that were found. */
  readonly known: ReadonlySet<string>
  /** Columns that stand for none, as they may be shown; at most so many are kept. */
  readonly unknown: ReadonlySet<string>
  readonly see: (columns: readonly string[]) => void
}

/** Watches the columns of a file: hand its `see` to `readRows`. */
export function watchColumns(names: ReadonlySet<string>, columns: ColumnMap, unknownMax: number): SeenColumns {
  const ours = new Map<string, string>()
  for (const name of names) {
    const column = columnOf(name, columns)
    if (column !== null) ours.set(column, name)
  }
  const known = new Set<string>()
  const unknown = new Set<string>()
  return {
    known,
    unknown,
    see(found) {
      for (const column of found) {
        const name = ours.get(column)
        if (name !== undefined) known.add(name)
        else if (unknown.size < unknownMax) unknown.add(shownColumn(column))
      }
    },
  }
}

/** A file without a header has values in its place: what looks like one that must not be shown is left out as `?`. */
function shownColumn(column: string): string {
  return /^[\p{L}\p{N} _.$@%#:/()-]{1,64}$/u.test(column) && !holdsCardData(column) ? column : '?'
}

type Constants = readonly (readonly [name: string, constant: string])[]

function constantsOf(columns: ColumnMap): Constants {
  return [...columns].flatMap(([name, target]) => ('constant' in target ? [[name, target.constant] as const] : []))
}

function columnOf(name: string, columns: ColumnMap): string | null {
  const target = columns.get(name)
  if (target === undefined) return name
  return 'column' in target ? target.column : null
}

async function* readCsv({ path, names, columns, see }: Source): AsyncGenerator<Row[]> {
  const constants = constantsOf(columns)
  let header: readonly string[] | null = null
  let places: readonly (readonly [name: string, place: number])[] = []
  let number = 0
  function rowOf(record: readonly string[], width: number): Row {
    number++
    if (record.length !== width) throw refused(`${path}, row ${number}: ${record.length} values in ${width} columns`)
    const values: Record<string, unknown> = {}
    for (const [name, constant] of constants) values[name] = constant
    for (const [name, place] of places) if (record[place] !== '') values[name] = record[place]
    return { number, values }
  }
  try {
    for await (const { records, fault } of readRecords(path)) {
      const rows: Row[] = []
      try {
        for (const record of records) {
          if (header !== null) rows.push(rowOf(record, header.length))
          else {
            header = record.map((column, at) => (at === 0 ? column.replace(BYTE_ORDER_MARK, '') : column))
            see(header)
            places = placesOf(header, names, columns, path)
          }
        }
      } finally {
        // What stands before a fault comes first.
        yield rows
      }
      if (fault !== null) throw refused(`${path}, after row ${number}: ${fault}`)
    }
  } catch (cause) {
    throw inputFault(cause, `${path}, after row ${number}`)
  }
}

/** Records of a csv that were read at once, and what is wrong behind them; nothing comes after that. */
interface Records {
  readonly records: readonly (readonly string[])[]
  readonly fault: string | null
}

/** Reads a csv as far as somebody takes it, blank lines left out. */
function readRecords(path: string): AsyncIterable<Records> {
  const text = openBytes(path).setEncoding('utf8')
  let without = 0
  let halted: Parser | null = null
  const ahead = new Readable({
    objectMode: true,
    highWaterMark: RECORDS_AHEAD,
    read() {
      const parser = halted
      halted = null
      parser?.resume()
    },
    destroy(error, done) {
      text.destroy()
      done(error)
    },
  })
  Papa.parse<string[]>(text, {
    delimiter: ',',
    chunk({ data, errors }, parser) {
      without = data.length > 0 ? 0 : without + 1
      const isLong = without > RECORD_PIECES_MAX
      const broken = errors.at(0)
      const fault = isLong ? `more than ${ROW_BYTES_MAX} bytes in a row; is a quote not closed?` : broken?.message
      const records = data.slice(0, broken?.row).filter(isFilled)
      const hasRoom = ahead.push({ records, fault: fault ?? null } satisfies Records)
      if (fault !== undefined) parser.abort()
      else if (!hasRoom) {
        halted = parser
        parser.pause()
      }
    },
    complete: () => void ahead.push(null),
    error: (cause) => void ahead.destroy(cause),
  })
  return ahead
}

function isFilled(record: readonly string[]): boolean {
  return record.length > 1 || record[0] !== ''
}

function placesOf(
  header: readonly string[],
  names: ReadonlySet<string>,
  columns: ColumnMap,
  path: string,
): readonly (readonly [string, number])[] {
  for (const [name, target] of columns) {
    if ('column' in target && !header.includes(target.column)) {
      throw refused(`${path} has no column ${target.column} (for ${name})`)
    }
  }
  return [...names].flatMap((name) => {
    const column = columnOf(name, columns)
    const place = column === null ? -1 : header.indexOf(column)
    return place < 0 ? [] : [[name, place] as const]
  })
}

async function* readJsonLines({ path, names, columns, see }: Source): AsyncGenerator<Row[]> {
  const constants = constantsOf(columns)
  const wanted = [...names].flatMap((name) => {
    const column = columnOf(name, columns)
    return column === null ? [] : [[name, column] as const]
  })
  function rowOf({ number, bytes }: Body): Row {
    const place = `${path}, row ${number}`
    if (bytes.length > ROW_BYTES_MAX) {
      throw refused(`${place}: a line of at most ${ROW_BYTES_MAX} bytes`)
    }
    const given = new Map<string, unknown>(Object.entries(parseLine(bytes.toString(), place)))
    see([...given.keys()])
    const values: Record<string, unknown> = {}
    for (const [name, constant] of constants) values[name] = constant
    for (const [name, column] of wanted) {
      const value = given.get(column)
      if (value !== undefined && value !== null) values[name] = value
    }
    return { number, values }
  }
  for await (const bodies of readBodyBatches(path)) {
    const rows: Row[] = []
    try {
      for (const body of bodies) rows.push(rowOf(body))
    } finally {
      // What stands before a fault comes first.
      yield rows
    }
  }
}

/** A line of a file of JSON lines; one over ROW_BYTES_MAX comes cut, a byte too long. */
export interface Body {
  readonly number: number
  readonly bytes: Buffer
}

/** Streams the lines of a file, blank ones left out. */
export async function* readBodies(path: string): AsyncGenerator<Body> {
  for await (const bodies of readBodyBatches(path)) yield* bodies
}

async function* readBodyBatches(path: string): AsyncGenerator<Body[]> {
  let number = 0
  try {
    for await (const lines of readLines(openBytes(path), ROW_BYTES_MAX)) {
      const bodies = lines.filter((bytes) => !bytes.every((byte) => byte <= SPACE))
      yield bodies.map((bytes) => ({ number: ++number, bytes }))
    }
  } catch (cause) {
    throw inputFault(cause, `${path}, after row ${number}`)
  }
}

function parseLine(line: string, place: string): object {
  let value: unknown
  try {
    value = JSON.parse(line)
  } catch (cause) {
    throw inputFault(cause, place)
  }
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value
  throw refused(`${place}: not a JSON object`)
}

function refused(detail: string): AssayError {
  return new AssayError('ASSAY_INPUT_INVALID', detail)
}

function inputFault(cause: unknown, place: string): AssayError {
  if (cause instanceof AssayError) return cause
  const what = cause instanceof Error && 'code' in cause ? String(cause.code) : 'not readable'
  return new AssayError('ASSAY_INPUT_INVALID', `${place}: ${what}`, { cause })
}

/** A text as the type that the schema declares; left alone where it cannot be one. */
export function typedValue(value: unknown, type: FieldSpec['type']): unknown {
  if (type === 'string') return typeof value === 'number' ? String(value) : value
  if (typeof value !== 'string') return value
  if (type === 'boolean') return booleanValue(value) ?? value
  const number = Number(value)
  return Number.isFinite(number) ? number : value
}

/** true, false, 1 and 0, as a value or a text; null for anything else. */
export function booleanValue(value: unknown): boolean | null {
  if (typeof value === 'boolean') return value
  const text = String(value).toLowerCase()
  if (text === '1' || text === 'true' || text === '1.0') return true
  return text === '0' || text === 'false' || text === '0.0' ? false : null
}
