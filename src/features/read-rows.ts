// Rows of a foreign file under our names: csv, csv.gz, jsonl, jsonl.gz, streamed, one object per row.
// A column map says which foreign column stands for which of our names, or that a name is a constant.
// Values become what the schema declares; what cannot is left as it is, for validation to refuse with its path.
import { createReadStream } from 'node:fs'
import { createInterface } from 'node:readline'
import type { Readable } from 'node:stream'
import { createGunzip } from 'node:zlib'
import { parse } from 'csv-parse'
import type { FieldSpec } from '../contract/transaction.js'
import { AssayError } from '../errors.js'

/** Our name → a foreign column, or a constant. */
export type ColumnMap = ReadonlyMap<string, { readonly column: string } | { readonly constant: string }>

export interface Row {
  /** Line of data in the file, from 1, the header not counted. */
  readonly number: number
  /** By our names; absent and empty values are left out. */
  readonly values: Record<string, unknown>
}

/** `transaction_id=TRANSACTION_ID,currency=:EUR` → the map. Throws ASSAY_USAGE where a part is not `name=column`. */
export function parseColumns(text: string): ColumnMap {
  const map = new Map<string, { column: string } | { constant: string }>()
  for (const part of text.split(',').filter((piece) => piece !== '')) {
    const at = part.indexOf('=')
    const name = part.slice(0, at).trim()
    const target = part.slice(at + 1)
    if (at < 1 || target === '' || target === ':') {
      throw new AssayError('ASSAY_USAGE', `--columns: ${part} is not name=COLUMN or name=:constant`)
    }
    map.set(name, target.startsWith(':') ? { constant: target.slice(1) } : { column: target })
  }
  return map
}

/** Streams the rows. `names` are the names of ours that may stand in the file; others are passed over. */
export async function* readRows(path: string, names: ReadonlySet<string>, columns: ColumnMap): AsyncGenerator<Row> {
  const bare = path.replace(/\.gz$/, '')
  const bytes = openBytes(path)
  if (bare.endsWith('.csv')) yield* readCsv(bytes, names, columns, path)
  else if (bare.endsWith('.jsonl') || bare.endsWith('.ndjson')) yield* readJsonLines(bytes, names, columns, path)
  else throw new AssayError('ASSAY_USAGE', `${path}: the name must end in .csv, .csv.gz, .jsonl or .jsonl.gz`)
}

function openBytes(path: string): Readable {
  const file = createReadStream(path)
  if (!path.endsWith('.gz')) return file
  const bytes = createGunzip()
  file.on('error', (error) => bytes.destroy(error))
  return file.pipe(bytes)
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

async function* readCsv(
  bytes: Readable,
  names: ReadonlySet<string>,
  columns: ColumnMap,
  path: string,
): AsyncGenerator<Row> {
  const constants = constantsOf(columns)
  let places: readonly (readonly [name: string, place: number])[] | null = null
  let number = 0
  const parser = parse({ bom: true })
  bytes.on('error', (error) => parser.destroy(error))
  try {
    const records: AsyncIterable<string[]> = bytes.pipe(parser)
    for await (const record of records) {
      if (places === null) {
        places = placesOf(record, names, columns, path)
        continue
      }
      number++
      const values: Record<string, unknown> = Object.fromEntries(constants)
      for (const [name, place] of places) if (record[place] !== '') values[name] = record[place]
      yield { number, values }
    }
  } catch (cause) {
    throw inputFault(cause, `${path}, after row ${number}`)
  }
}

function placesOf(
  header: readonly string[],
  names: ReadonlySet<string>,
  columns: ColumnMap,
  path: string,
): readonly (readonly [string, number])[] {
  for (const [name, target] of columns) {
    if ('column' in target && !header.includes(target.column)) {
      throw new AssayError('ASSAY_INPUT_INVALID', `${path} has no column ${target.column} (for ${name})`)
    }
  }
  return [...names].flatMap((name) => {
    const column = columnOf(name, columns)
    const place = column === null ? -1 : header.indexOf(column)
    return place < 0 ? [] : [[name, place] as const]
  })
}

async function* readJsonLines(
  bytes: Readable,
  names: ReadonlySet<string>,
  columns: ColumnMap,
  path: string,
): AsyncGenerator<Row> {
  const constants = constantsOf(columns)
  const wanted = [...names].flatMap((name) => {
    const column = columnOf(name, columns)
    return column === null ? [] : [[name, column] as const]
  })
  const lines = createInterface({ input: bytes, crlfDelay: Infinity })
  let failure: unknown = null
  bytes.on('error', (error) => {
    failure = error
    lines.close()
  })
  let number = 0
  for await (const line of lines) {
    if (line.trim() === '') continue
    number++
    const given = new Map<string, unknown>(Object.entries(parseLine(line, `${path}, row ${number}`)))
    const values: Record<string, unknown> = Object.fromEntries(constants)
    for (const [name, column] of wanted) {
      const value = given.get(column)
      if (value !== undefined && value !== null) values[name] = value
    }
    yield { number, values }
  }
  if (failure !== null) throw inputFault(failure, `${path}, after row ${number}`)
}

function parseLine(line: string, place: string): object {
  let value: unknown
  try {
    value = JSON.parse(line)
  } catch (cause) {
    throw inputFault(cause, place)
  }
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value
  throw new AssayError('ASSAY_INPUT_INVALID', `${place}: not a JSON object`)
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
