// Rows of a foreign file as clients send them, many at once as lines of JSON: read, unpacked and renamed in a thread of
// its own, so that whoever takes them in has a core for that.
import { Worker } from 'node:worker_threads'
import { AssayError, type ErrorCode } from '../errors.js'
import type { ForeignRow, RowSpec, Transactions } from './build-rows.js'

export interface RowChunk {
  /** Number of the first row. */
  readonly first: number
  /** A line of JSON a row, each with its line end. */
  readonly lines: Uint8Array
  /** Of the label columns, by row; null where the file has none or the row says nothing. */
  readonly frauds: readonly (boolean | null)[]
  readonly approvals: readonly (boolean | null)[]
}

/** What the thread is started with, and what it says; it goes on with each message that it gets. */
export interface RowsWire {
  readonly input: Transactions
  readonly spec: RowSpec
}
export type RowsMessage = RowChunk | 'end' | { readonly code: ErrorCode; readonly detail: string }

const CHUNK_ROWS = 1_000
/** Chunks that the thread may be ahead. */
export const CHUNKS_AHEAD = 4

/** Makes chunks of rows, which come many at once. */
export async function* chunksOf(
  batches: AsyncIterable<Iterable<ForeignRow>> | Iterable<Iterable<ForeignRow>>,
): AsyncGenerator<RowChunk> {
  let first = 1
  let lines = ''
  let frauds: (boolean | null)[] = []
  let approvals: (boolean | null)[] = []
  const chunk = (): RowChunk => ({ first, lines: Buffer.from(lines), frauds, approvals })
  for await (const rows of batches) {
    for (const { number, values, fraud, approved } of rows) {
      lines += `${JSON.stringify(values)}\n`
      approvals.push(approved)
      if (frauds.push(fraud) < CHUNK_ROWS) continue
      yield chunk()
      first = number + 1
      lines = ''
      frauds = []
      approvals = []
    }
  }
  if (frauds.length > 0) yield chunk()
}

/** Reads a file in a thread. Throws ASSAY_INPUT_INVALID and ASSAY_USAGE as `readForeign`. */
export async function* readChunks(input: Transactions, { schema, currencies }: RowSpec): AsyncGenerator<RowChunk> {
  const wire: RowsWire = { input, spec: { schema, currencies } }
  const worker = new Worker(new URL('./rows-thread.js', import.meta.url), { workerData: wire, execArgv: [] })
  const waiting: RowsMessage[] = []
  const failures: Error[] = []
  let wake = (): void => undefined
  worker.on('message', (message: RowsMessage) => {
    waiting.push(message)
    wake()
  })
  worker.on('error', (error) => {
    failures.push(error)
    wake()
  })
  try {
    for (;;) {
      const message = waiting.shift()
      if (message === 'end') return
      if (message !== undefined && 'code' in message) throw new AssayError(message.code, message.detail)
      if (message !== undefined) {
        yield message
        worker.postMessage('next')
      } else if (failures.length > 0) throw failures[0]
      else await new Promise<void>((resolve) => (wake = resolve))
    }
  } finally {
    await worker.terminate()
  }
}
