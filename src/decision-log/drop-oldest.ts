// What `log.on_full: drop_oldest` does at the bound: the oldest segment goes, archived or not, and its records are
// counted. Invariant: the segment in use never goes, and the oldest goes first, durably, so that the chain has no hole.

import { readHeader } from './chain.js'
import { type Disk, isMissing, sizeOf } from './disk.js'
import { indexOfName, segmentName } from './segment.js'

/** A segment that was removed unarchived. */
export interface Dropped {
  readonly segment: string
  readonly records: number
  readonly bytes: number
}

/** Removes the oldest segment before that of index `current`; null where there is none. Throws what the disk throws. */
export function dropOldest(disk: Disk, current: number): Dropped | null {
  const indexes = disk.list().map(indexOfName).filter((index) => index > 0 && index <= current)
  const [oldest, ...later] = indexes.sort((a, b) => a - b)
  if (oldest === undefined || later.length === 0) return null
  const segment = segmentName(oldest)
  const dropped = { segment, records: recordsOf(disk, segment, later), bytes: sizeOf(disk, segment) }
  try {
    disk.remove(segment)
  } catch (error) {
    // It was archived meanwhile.
    if (isMissing(error)) return { segment, records: 0, bytes: dropped.bytes }
    throw error
  }
  disk.syncDirectory()
  return dropped
}

/** Up to the next segment with a readable header; of one that cannot be read none is known. */
function recordsOf(disk: Disk, segment: string, later: readonly number[]): number {
  const header = readHeader(disk, segment)
  if (typeof header === 'string') return 0
  for (const index of later) {
    const next = readHeader(disk, segmentName(index))
    if (typeof next !== 'string') return next.firstSequence - header.firstSequence
  }
  return 0
}
