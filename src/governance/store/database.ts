// DuckDB as the store uses it: one instance on one file, values as plain JavaScript, faults as coded errors.
// Invariants: nothing of DuckDB's own types leaves this folder; every query ends (at its time limit by interruption);
// at most so many run at once, the others wait.
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { blobValue as blob, type DuckDBConnection, DuckDBInstance, type DuckDBValue } from '@duckdb/node-api'
import { AssayError } from '../../errors.js'

export type StoredValue = string | number | boolean | null | Uint8Array | readonly StoredValue[]
export type StoredRow = Readonly<Record<string, StoredValue>>
export type Parameter = string | number | bigint | boolean | null | Uint8Array

export interface Database {
  /** The one connection that writes. */
  readonly writer: DuckDBConnection
  /** Runs a statement on the writing connection. */
  run(sql: string, parameters?: readonly Parameter[]): Promise<void>
  /** Rows of somebody's query, on a connection lent for it; ended at the time limit. */
  select(sql: string, parameters?: readonly Parameter[]): Promise<StoredRow[]>
  /** Rows of what the store itself must know: on the writing connection, without a limit. */
  ask(sql: string, parameters?: readonly Parameter[]): Promise<StoredRow[]>
  /** Ends what is asked, and resolves once the file is let go of. */
  close(): Promise<void>
}

export interface DatabaseOptions {
  readonly file: string
  readonly directory: string
  readonly memoryBytesMax: number
  readonly threads: number
  readonly queryMsMax: number
}

/** Queries that run at once; each costs a connection. */
const READERS_MAX = 4

/**
 * How much stands in the file's journal before it is folded in: each fold writes the last row group (122,880 rows)
 * anew. At DuckDB's 16 MiB that is a fifth of a catch-up's time.
 */
const CHECKPOINT_BYTES = '64MiB'

/** Opens or makes the file. Throws ASSAY_STORE_LOCKED, ASSAY_STORE_REFUSED or ASSAY_STORE_IO. */
export async function openDatabase(options: DatabaseOptions): Promise<Database> {
  const instance = await open(options)
  const writer = await instance.connect()
  const idle: DuckDBConnection[] = []
  const waiting: ((connection: DuckDBConnection) => void)[] = []
  const all = new Set<DuckDBConnection>([writer])
  let closed = false
  const running = new Set<Promise<unknown>>()

  const lend = async (): Promise<DuckDBConnection> => {
    const free = idle.pop()
    if (free !== undefined) return free
    if (all.size > READERS_MAX) return new Promise((resolve) => waiting.push(resolve))
    const made = await instance.connect()
    all.add(made)
    return made
  }
  const giveBack = (connection: DuckDBConnection): void => {
    const next = waiting.shift()
    if (next === undefined) idle.push(connection)
    else next(connection)
  }
  const read = async (connection: DuckDBConnection, sql: string, parameters: readonly Parameter[]) => {
    try {
      const reader = await connection.runAndReadAll(sql, parameters.map(valueOf))
      return reader.getRowObjectsJS().map(plainRow)
    } catch (error) {
      throw closed ? new AssayError('ASSAY_STORE_IO', 'the store is closing', { cause: error }) : queryFault(error)
    }
  }

  return {
    writer,
    async run(sql, parameters = []) {
      await guarded(() => writer.run(sql, parameters.map(valueOf)))
    },
    async select(sql, parameters = []) {
      if (closed) throw new AssayError('ASSAY_STORE_IO', 'the store is closed')
      const connection = await lend()
      if (closed) throw new AssayError('ASSAY_STORE_IO', 'the store is closed')
      const timer = setTimeout(() => connection.interrupt(), options.queryMsMax)
      const reading = read(connection, sql, parameters)
      running.add(reading)
      try {
        return await reading
      } finally {
        clearTimeout(timer)
        running.delete(reading)
        giveBack(connection)
      }
    },
    ask: (sql, parameters = []) => read(writer, sql, parameters),
    async close() {
      if (closed) return
      closed = true
      for (const connection of all) connection.interrupt()
      for (const next of waiting.splice(0)) next(writer)
      // A connection that is closed under a query may never answer.
      await Promise.allSettled(running)
      for (const connection of all) connection.closeSync()
      instance.closeSync()
    },
  }
}

/** What DuckDB threw, as a fault of the store. */
export async function guarded<T>(attempt: () => Promise<T>): Promise<T> {
  try {
    return await attempt()
  } catch (error) {
    if (error instanceof AssayError) throw error
    throw new AssayError('ASSAY_STORE_IO', firstLine(error), { cause: error })
  }
}

async function open(options: DatabaseOptions): Promise<DuckDBInstance> {
  const { directory, file, memoryBytesMax, threads } = options
  try {
    mkdirSync(directory, { recursive: true, mode: 0o750 })
    return await DuckDBInstance.create(file, {
      threads: String(threads),
      memory_limit: `${Math.floor(memoryBytesMax / 2 ** 20)}MiB`,
      temp_directory: join(directory, 'temporary'),
      autoinstall_known_extensions: 'false',
      checkpoint_threshold: CHECKPOINT_BYTES,
    })
  } catch (error) {
    const text = firstLine(error)
    if (/lock/i.test(text)) throw new AssayError('ASSAY_STORE_LOCKED', `another process uses ${file}`, { cause: error })
    if (/not a valid DuckDB|version|serializ|corrupt|checksum/i.test(text)) throw refused(file, text, error)
    throw new AssayError('ASSAY_STORE_IO', text, { cause: error })
  }
}

/** The file is there and is not ours to use. */
export function refused(file: string, why: string, cause?: unknown): AssayError {
  const detail = `${file}: ${why}; \`assay govern rebuild\` makes the store anew from the decision log`
  return new AssayError('ASSAY_STORE_REFUSED', detail, { cause })
}

function queryFault(error: unknown): AssayError {
  const text = firstLine(error)
  const detail = /interrupt/i.test(text) ? 'the query took too long: ask for less time or fewer rows' : text
  return new AssayError('ASSAY_STORE_IO', detail, { cause: error })
}

function firstLine(error: unknown): string {
  return (error instanceof Error ? error.message : String(error)).split('\n', 1)[0] ?? ''
}

function valueOf(parameter: Parameter): DuckDBValue {
  if (parameter instanceof Uint8Array) return blob(parameter)
  return typeof parameter === 'number' && Number.isSafeInteger(parameter) ? BigInt(parameter) : parameter
}

function plainRow(row: Record<string, unknown>): StoredRow {
  return Object.fromEntries(Object.entries(row).map(([name, value]) => [name, plainValue(value)]))
}

/** Integers of the store are exact as numbers: sequences, ordinals, milliseconds, minor units. */
function plainValue(value: unknown): StoredValue {
  if (typeof value === 'bigint') return Number(value)
  if (Array.isArray(value)) return value.map(plainValue)
  if (value instanceof Uint8Array || value === null) return value
  if (typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean') return value
  throw new TypeError('a column of a type that the store does not hand out')
}
