// Rows into a table, column by column in chunks: three times as fast as row by row.
import { setImmediate as turn } from 'node:timers/promises'
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

/** Rows of a chunk; a column of so many is written without a rest. */
const CHUNK_ROWS = 256

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

/** How one column is filled from what waits. */
export interface Column<Item> {
  readonly name: string
  readonly type: string
  readonly get: (item: Item) => Cell
}

/** What waits for `flush`, on its way into one table. */
export interface TableAppender<Item> {
  add(item: Item): void
  /** Appends what waits, inside the open transaction. */
  flush(connection: DuckDBConnection): Promise<void>
}

/** `columns` in the order of the table; `rest` is called after each column of a chunk. */
export function createTableAppender<Item>(
  table: string,
  columns: readonly Column<Item>[],
  rest: () => void,
): TableAppender<Item> {
  const kinds = columns.map((column) => kindOf(table, column))
  const types = kinds.map(({ type }) => type)
  let waiting: Item[] = []

  const chunkOf = (items: readonly Item[]): DuckDBDataChunk => {
    const chunk = DuckDBDataChunk.create(types, items.length)
    kinds.forEach(({ value }, at) => {
      const { get } = columns[at]
      const vector = chunk.getColumnVector(at)
      for (let row = 0; row < items.length; row++) vector.setItem(row, value(get(items[row])))
      vector.flush()
      rest()
    })
    return chunk
  }

  return {
    add: (item) => void waiting.push(item),
    async flush(connection) {
      if (waiting.length === 0) return
      const items = waiting
      waiting = []
      const appender = await connection.createAppender(table)
      try {
        for (let from = 0; from < items.length; from += CHUNK_ROWS) {
          appender.appendDataChunk(chunkOf(items.slice(from, from + CHUNK_ROWS)))
          await turn()
        }
      } finally {
        appender.closeSync()
      }
    },
  }
}

type Row = Readonly<Record<string, Cell>>

/** For rows as objects: a column that a row lacks is null; a row with another column is refused. */
export function createRowAppender(table: string, columns: Columns, rest: () => void): TableAppender<Row> {
  const appender = createTableAppender<Row>(
    table,
    Object.entries(columns).map(([name, type]) => ({ name, type, get: (row) => row[name] ?? null })),
    rest,
  )
  return {
    ...appender,
    add(row) {
      for (const name in row) if (!(name in columns)) throw new RangeError(`table ${table} has no column ${name}`)
      appender.add(row)
    },
  }
}

function kindOf(table: string, { name, type }: { readonly name: string; readonly type: string }): Kind {
  const kind = KINDS.get(type)
  if (kind === undefined) throw new RangeError(`${table}.${name}: a column cannot be ${type}`)
  return kind
}
