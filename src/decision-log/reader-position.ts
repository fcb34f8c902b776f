// How far the sidecar has come, in a file beside its store, for whoever lets go of segments and cannot open the store.
// Invariants: it says no more than the store has committed, and may lag behind it; it goes before the store does.

import { closeSync, fsyncSync, mkdirSync, openSync, readFileSync, renameSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import type { Config } from '../config.js'
import type { Position } from './reader.js'

/** Name of the file. */
export const READER_POSITION_NAME = 'position.json'

/** Where the sidecar keeps what it derives. */
export function storeDirectory({ process }: Config): string {
  return process.governance.data_dir ?? join(process.data_dir, 'governance')
}

/** Replaces the file, durably. Throws what the disk throws. */
export function writeReaderPosition(directory: string, { logId, epoch, sequence }: Position): void {
  mkdirSync(directory, { recursive: true, mode: 0o750 })
  const file = join(directory, READER_POSITION_NAME)
  const fd = openSync(`${file}.new`, 'w', 0o640)
  try {
    writeSync(fd, `${JSON.stringify({ log_id: logId.toString('hex'), epoch, sequence })}\n`)
    fsyncSync(fd)
  } finally {
    closeSync(fd)
  }
  renameSync(`${file}.new`, file)
}

/** The position in the file; null where there is none that can be read. */
export function readReaderPosition(directory: string): Position | null {
  try {
    const read: unknown = JSON.parse(readFileSync(join(directory, READER_POSITION_NAME), 'utf8'))
    if (typeof read !== 'object' || read === null) return null
    if (!('log_id' in read && 'epoch' in read && 'sequence' in read)) return null
    const { log_id: logId, epoch, sequence } = read
    if (typeof logId !== 'string' || !Number.isSafeInteger(epoch) || !Number.isSafeInteger(sequence)) return null
    return { logId: Buffer.from(logId, 'hex'), epoch: Number(epoch), sequence: Number(sequence) }
  } catch {
    return null
  }
}
