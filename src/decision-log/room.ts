// The bytes of the log against `log.disk_bytes_max`, as the log thread counts them, and what makes room at the bound.
// Invariants: the segment in use never goes, and the oldest goes first, durably, so that the chain has no hole; each
// record that goes unarchived is counted. Other processes let go of segments too: the count follows the directory.

import { readHeader } from './chain.js'
import { type Disk, isMissing, sizeOf } from './disk.js'
import type { Gauges } from './gauges.js'
import { DiskBoundReached, quietly, segmentBytesOnDisk } from './segment-file.js'
import { indexOfName, segmentName } from './segment.js'

/** At the bound: take no more records, or let the oldest segments go unarchived. */
export type OnFull = 'refuse' | 'drop_oldest'

/** A segment that was removed unarchived. */
export interface Dropped {
  readonly segment: string
  readonly records: number
  readonly bytes: number
}

export interface RoomDeps {
  readonly disk: Disk
  readonly gauges: Gauges
  readonly monoMs: () => number
  /** Told of each segment that made room. */
  readonly onDropped: (dropped: Dropped) => void
}

export interface RoomOptions {
  /** Bytes that all segments together may take; Infinity for no bound. */
  readonly diskBytesMax: number
  readonly onFull: OnFull
  readonly segmentBytes: number
}

export interface Room {
  /** Looks at the directory; `ahead`: bytes of the next segment that are not written yet. */
  measure(ahead?: number): void
  /** The same, a minute after the last look; what the disk refuses then changes nothing. */
  follow(ahead: number): void
  /** Room for one more segment, while that of index `current` is in use. Throws DiskBoundReached. */
  make(current: number): void
}

/** Some 4 µs a segment. */
const MEASURE_MS = 60_000

export function createRoom({ disk, gauges, monoMs, onDropped }: RoomDeps, options: RoomOptions): Room {
  const { segmentBytes, diskBytesMax, onFull } = options
  let measuredAtMs = monoMs()
  const isOver = (): boolean => gauges.get('diskBytes') + segmentBytes > diskBytesMax
  function measure(ahead = 0): void {
    measuredAtMs = monoMs()
    gauges.set('diskBytes', segmentBytesOnDisk(disk) + ahead)
  }
  return {
    measure,
    follow(ahead) {
      if (monoMs() - measuredAtMs > MEASURE_MS) quietly(() => measure(ahead))
    },
    make(current) {
      if (!isOver()) return
      measure()
      while (isOver()) {
        const dropped = onFull === 'drop_oldest' ? dropOldest(disk, current) : null
        if (dropped === null) throw new DiskBoundReached(diskBytesMax)
        gauges.add('diskBytes', -dropped.bytes)
        gauges.add('droppedSegments', 1)
        gauges.add('droppedRecords', dropped.records)
        onDropped(dropped)
      }
    },
  }
}

/** Null where there is none before `current`. */
function dropOldest(disk: Disk, current: number): Dropped | null {
  const indexes = disk.list().map(indexOfName)
  const [oldest, ...later] = indexes.filter((index) => index > 0 && index <= current).sort((a, b) => a - b)
  if (oldest === undefined || later.length === 0) return null
  const segment = segmentName(oldest)
  const dropped = { segment, records: recordsOf(disk, segment, later), bytes: sizeOf(disk, segment) }
  try {
    disk.remove(segment)
  } catch (error) {
    // It was archived meanwhile.
    if (isMissing(error)) return { ...dropped, records: 0 }
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
