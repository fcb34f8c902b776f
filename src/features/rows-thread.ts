// The thread that reads a file of history: sends chunks of rows, a few ahead of whoever takes them. It validates
// nothing and writes nothing. It refuses any other start.
import assert from 'node:assert'
import { once } from 'node:events'
import { parentPort, workerData } from 'node:worker_threads'
import { AssayError } from '../errors.js'
import { readForeign } from './build-rows.js'
import { CHUNKS_AHEAD, chunksOf, type RowsMessage, type RowsWire } from './row-chunks.js'

function isRowsWire(data: unknown): data is RowsWire {
  return typeof data === 'object' && data !== null && 'input' in data && 'spec' in data
}

const data: unknown = workerData
assert(parentPort !== null && isRowsWire(data), 'a thread of rows is started by readChunks')
const port = parentPort
const say = (message: RowsMessage): void => port.postMessage(message)

let ahead = 0
port.on('message', () => ahead--)
try {
  for await (const chunk of chunksOf(readForeign(data.input, data.spec))) {
    while (ahead >= CHUNKS_AHEAD) await once(port, 'message')
    ahead++
    say(chunk)
  }
  say('end')
} catch (error) {
  if (!(error instanceof AssayError)) throw error
  say({ code: error.code, detail: error.message })
}
port.close()
