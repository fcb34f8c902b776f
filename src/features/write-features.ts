// Rows of features into a file: csv, csv.gz, jsonl, jsonl.gz or Parquet by the name's end. Numbers are written so that
// reading them back gives the same float64; NaN is an empty field, null, or NaN in Parquet.
// The file takes its name only when it is whole: until then it is `<name>.partial`.
import { once } from 'node:events'
import { createWriteStream } from 'node:fs'
import { rename, rm } from 'node:fs/promises'
import type { Writable } from 'node:stream'
import { finished } from 'node:stream/promises'
import { createGzip } from 'node:zlib'
import { fileWriter, ParquetWriter, schemaFromColumnData } from 'hyparquet-writer'
import { AssayError } from '../errors.js'

export interface FeatureSink {
  /** One row; `fraud` is null where none is written. Resolves when more may be written. */
  write(transactionId: string, vector: Float64Array, fraud: boolean | null): Promise<void> | undefined
  /** A row that was folded, but lies outside the range. */
  pass?(transactionId: string): void
  /** Ends the file and gives it its name. */
  close(): Promise<void>
  /** Gives up and removes what was written. */
  abandon(): Promise<void>
}

const TEXT_CHARS = 1 << 16
const GROUP_ROWS = 50_000

/** Opens the sink for `path`; throws ASSAY_USAGE where the name's end is not known. */
export function openSink(path: string, names: readonly string[], withFraud: boolean): FeatureSink {
  const partial = `${path}.partial`
  if (path.endsWith('.parquet')) return parquetSink({ path, partial }, names, withFraud)
  const bare = path.replace(/\.gz$/, '')
  if (bare.endsWith('.csv')) return csvSink({ path, partial }, names, withFraud)
  if (bare.endsWith('.jsonl')) return jsonSink({ path, partial }, names, withFraud)
  throw new AssayError('ASSAY_USAGE', `${path}: the name must end in .csv, .csv.gz, .jsonl, .jsonl.gz or .parquet`)
}

interface Place {
  readonly path: string
  readonly partial: string
}

type RowText = (transactionId: string, vector: Float64Array, fraud: boolean | null) => string

function csvSink(place: Place, names: readonly string[], withFraud: boolean): FeatureSink {
  const header = ['transaction_id', ...names, ...(withFraud ? ['fraud'] : [])].join(',')
  return textSink(place, `${header}\n`, (id, vector, fraud) => {
    let line = /[",\r\n]/.test(id) ? `"${id.replaceAll('"', '""')}"` : id
    for (const value of vector) line += Number.isNaN(value) ? ',' : `,${value}`
    return `${line}${withFraud ? (fraud === null ? ',' : fraud ? ',1' : ',0') : ''}\n`
  })
}

function jsonSink(place: Place, names: readonly string[], withFraud: boolean): FeatureSink {
  const keys = names.map((name) => `,${JSON.stringify(name)}:`)
  return textSink(place, '', (id, vector, fraud) => {
    let line = `{"transaction_id":${JSON.stringify(id)}`
    for (let i = 0; i < keys.length; i++) line += keys[i] + JSON.stringify(vector[i])
    return `${line}${withFraud ? `,"fraud":${fraud}` : ''}}\n`
  })
}

function textSink({ path, partial }: Place, header: string, rowText: RowText): FeatureSink {
  const file = createWriteStream(partial)
  const gzip = path.endsWith('.gz') ? createGzip({ level: 6 }) : null
  if (gzip !== null) gzip.pipe(file)
  const target: Writable = gzip ?? file
  const done = finished(file)
  // Looked at in close; until then a failure shows as a write that never drains.
  done.catch(() => undefined)
  let text = header
  const flush = async (): Promise<void> => {
    const more = target.write(text)
    text = ''
    if (!more) await Promise.race([once(target, 'drain'), done])
  }
  return {
    write(transactionId, vector, fraud) {
      text += rowText(transactionId, vector, fraud)
      return text.length >= TEXT_CHARS ? flush() : undefined
    },
    async close() {
      target.end(text)
      await done
      await rename(partial, path)
    },
    async abandon() {
      target.destroy()
      file.destroy()
      await done.catch(() => undefined)
      await rm(partial, { force: true })
    },
  }
}

function parquetSink({ path, partial }: Place, names: readonly string[], withFraud: boolean): FeatureSink {
  const ids: string[] = []
  const frauds: (boolean | null)[] = []
  const columns = names.map(() => new Float64Array(GROUP_ROWS))
  const columnData = (rows: number) => [
    { name: 'transaction_id', data: ids, type: 'STRING' as const, nullable: false },
    ...names.map((name, i) => ({
      name,
      data: columns[i].subarray(0, rows),
      type: 'DOUBLE' as const,
      nullable: false,
    })),
    ...(withFraud ? [{ name: 'fraud', data: frauds, type: 'BOOLEAN' as const, nullable: true }] : []),
  ]
  const writer = fileWriter(partial)
  const parquet = new ParquetWriter({ writer, schema: schemaFromColumnData({ columnData: columnData(0) }) })
  const flush = async (): Promise<void> => {
    await parquet.write({ columnData: columnData(ids.length), rowGroupSize: GROUP_ROWS })
    ids.length = 0
    frauds.length = 0
  }
  return {
    write(transactionId, vector, fraud) {
      for (let i = 0; i < columns.length; i++) columns[i][ids.length] = vector[i]
      ids.push(transactionId)
      frauds.push(fraud)
      return ids.length === GROUP_ROWS ? flush() : undefined
    },
    async close() {
      if (ids.length > 0) await flush()
      await parquet.finish()
      await rename(partial, path)
    },
    abandon: () => rm(partial, { force: true }),
  }
}
