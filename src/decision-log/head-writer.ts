// Writes the head after each group: slots in turn, so that a torn write leaves the other.
// Invariant: the slot that holds the last good head is never the one being written. A head that cannot be written is
// counted and tried again with the next group; the log itself does not depend on it.

import type { Disk } from './disk.js'
import { HEAD_NAME, HEAD_SLOT_BYTES, encodeHead, readHeadFile } from './head.js'
import type { Head } from './head.js'
import { readWhole } from './disk.js'
import { quietly, writePiece } from './segment-file.js'

export interface HeadWriter {
  /** Writes `head` (its generation is set here). `durable`: also syncs. False where it failed. */
  write(head: Omit<Head, 'generation'>, durable: boolean): boolean
  close(): void
}

/** Opens the head file, or makes it. Throws where the disk does. */
export function createHeadWriter(disk: Disk): HeadWriter {
  const bytes = readWhole(disk, HEAD_NAME, 2 * HEAD_SLOT_BYTES)
  const fd = bytes === null ? disk.create(HEAD_NAME) : disk.open(HEAD_NAME, 'write')
  const found = readHeadFile(bytes ?? Buffer.alloc(0))
  const buffer = Buffer.alloc(HEAD_SLOT_BYTES)
  let slot = found.head === null ? 0 : 1 - found.slot
  let generation = found.head?.generation ?? 0
  if (bytes === null || bytes.length < 2 * HEAD_SLOT_BYTES) {
    const whole = Buffer.alloc(2 * HEAD_SLOT_BYTES)
    writePiece(disk, fd, { piece: { buffer: whole, at: 0, length: whole.length }, position: 0 })
    disk.sync(fd)
    disk.syncDirectory()
  }
  return {
    write(head, durable) {
      try {
        encodeHead(buffer, { ...head, generation: generation + 1 })
        const piece = { buffer, at: 0, length: HEAD_SLOT_BYTES }
        writePiece(disk, fd, { piece, position: slot * HEAD_SLOT_BYTES })
        generation++
        slot = 1 - slot
        if (durable) disk.sync(fd)
        return true
      } catch {
        return false
      }
    },
    close: () => quietly(() => disk.close(fd)),
  }
}
