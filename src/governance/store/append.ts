// Rows into a table, column by column in chunks: three times as fast as row by row.
import { BIGINT, BOOLEAN, DOUBLE, INTEGER, LIST, VARCHAR } from '@duckdb/node-api'
import {
  type DuckDBConnection,
  DuckDBDataChunk,
  DuckDBListValue,
  type DuckDBType,
  type DuckDBValue,
} from '@duckdb/node-api'
import type { Cell } from '../port.js'
import type { Columns } from './tables.js'

/** DuckDB's own vector size. */
const CHUNK_ROWS = 2048

interface Kind {
  readonly type: DuckDBType
  readonly value: (cell: Cell) => DuckDBValue
}

const plain = (cell: Cell): DuckDBValue => (isList(cell) ? new DuckDBListValue(cell) : cell)
const wide = (cell: Cell): DuckDBValue => (typeof cell === 'number' ? BigInt(cell) : plain(cell))
const wideList = (cell: Cell): DuckDBValue => (isList(cell) ? new DuckDBListValue(cell.map(BigInt)) : plain(cell))
const narrow = (cell: Cell): DuckDBValue => (typeof cell === 'bigint' ? Number(cell) : plain(cell))

const KINDS: ReadonlyMap<string, Kind> = new Map([
  ['BIGINT', { type: BIGINT, value: wide }],
  ['INTEGER', { type: INTEGER, value: narrow }],
  ['DOUBLE', { type: DOUBLE, value: narrow }],
  ['BOOLEAN', { type: BOOLEAN, value: plain }],
  ['VARCHAR', { type: VARCHAR, value: plain }],
  ['DOUBLE[]', { type: LIST(DOUBLE), value: plain }],
  ['INTEGER[]', { type: LIST(INTEGER), value: plain }],
  ['BIGINT[]', { type: LIST(BIGINT), value: wideList }],
])

function isList(cell: Cell): cell is readonly number[] {
  return Array.isArray(cell)
}

/** The types that tables may have. */
export function isColumnType(type: string): boolean {
  return KINDS.has(type)
}

/** Rows of one table that wait for `flush`. A row without a column has null there; one with another is refused. */
export interface TableAppender {
  add(row: Readonly<Record<string, Cell>>): void
  flush(connection: DuckDBConnection): Promise<number>
}

export function createTableAppender(table: string, columns: Columns): TableAppender {
  const names = Object.keys(columns)
  const known = new Set(names)
  const kinds = names.map((name) => kindOf(table, name, columns[name]))
  const types = kinds.map(({ type }) => type)
  let rows: Readonly<Record<string, Cell>>[] = []

  const chunkOf = (from: number, to: number): DuckDBDataChunk => {
    const part = rows.slice(from, to)
    const chunk = DuckDBDataChunk.create(types, part.length)
    chunk.setColumns(kinds.map(({ value }, at) => part.map((row) => value(row[names[at]] ?? null))))
    return chunk
  }

  return {
    add(row) {
      for (const name in row) if (!known.has(name)) throw new RangeError(`table ${table} has no column ${name}`)
      rows.push(row)
    },
    async flush(connection) {
      const count = rows.length
      if (count === 0) return 0
      const appender = await connection.createAppender(table)
      try {
        for (let from = 0; from < count; from += CHUNK_ROWS) appender.appendDataChunk(chunkOf(from, from + CHUNK_ROWS))
      } finally {
        rows = []
        appender.closeSync()
      }
      return count
    },
  }
}

function kindOf(table: string, name: string, type: string | undefined): Kind {
  const kind = type === undefined ? undefined : KINDS.get(type)
  if (kind === undefined) throw new RangeError(`${table}.${name}: a column cannot be ${type}`)
  return kind
}
