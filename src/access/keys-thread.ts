// Where a changed file of keys is read: the YAML parser takes some 0.7 ms a key, which no payment should wait for.
import { parentPort, workerData } from 'node:worker_threads'
import { loadKeys } from '../config.js'
import { errorOf } from '../errors.js'

/** What the thread answers: the keys, or why there are none. */
export type KeysRead = { readonly keys: ReturnType<typeof loadKeys>['keys'] } | { readonly refused: string }

function read(file: string): KeysRead {
  try {
    return { keys: loadKeys(file).keys }
  } catch (error) {
    return { refused: errorOf(error).message }
  }
}

parentPort?.postMessage(read(String(workerData)))
