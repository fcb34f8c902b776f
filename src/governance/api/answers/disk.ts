// How long the disks last: what a record takes in the log and in the store, times the pace of the last hour.
import { statSync } from 'node:fs'
import { join } from 'node:path'
import { readHead, readHeader } from '../../../decision-log/chain.js'
import { createDisk } from '../../../decision-log/disk.js'
import { segmentName } from '../../../decision-log/segment.js'
import { STORE_FILE } from '../../store/open.js'
import * as cells from './cells.js'
import type { Held } from './held.js'

export interface Disks {
  /** Of the store. */
  readonly directory: string
  readonly logDirectory: string
  /** Where the server stops: `log.disk_bytes_max`. */
  readonly logBytesMax: number
}

const HOUR_MS = 3_600_000
/** A shorter time says nothing of an hour. */
const SPAN_MS_MIN = 60_000

/**
 * Hours until log or store has no room left; null where nothing was decided lately, or a directory cannot be read.
 * `decisions`: rows of the store.
 */
export async function hoursLeft(held: Held, disks: Disks, decisions: number): Promise<number | null> {
  const untilMs = held.clock.nowMs()
  const [row = {}] = await held
    .queries()
    .select('SELECT count(*) AS recent, min(decided_at_ms) AS oldest FROM decisions WHERE decided_at_ms >= ?', [
      untilMs - HOUR_MS,
    ])
  const recent = cells.number(row, 'recent')
  if (recent === 0) return null
  const perHour = recent / (Math.max(SPAN_MS_MIN, untilMs - cells.number(row, 'oldest')) / HOUR_MS)
  const { directory, logDirectory, logBytesMax } = disks
  try {
    const logGrowth = perHour * logBytesPerRecord(logDirectory)
    const storeGrowth = (perHour * (storeBytes(directory) ?? 0)) / decisions
    const free = createDisk(directory).freeBytes()
    const isShared = statSync(directory).dev === statSync(logDirectory).dev
    const rooms = isShared
      ? [free / (logGrowth + storeGrowth)]
      : [free / storeGrowth, createDisk(logDirectory).freeBytes() / logGrowth]
    const hours = Math.max(0, Math.min((logBytesMax - sizeOfFiles(logDirectory)) / logGrowth, ...rooms))
    return Number.isFinite(hours) ? hours : null
  } catch {
    return null
  }
}

/** The file and its journal; null where there is none. */
export function storeBytes(directory: string): number | null {
  const [file, journal] = [STORE_FILE, `${STORE_FILE}.wal`].map(
    (name) => statSync(join(directory, name), { throwIfNoEntry: false })?.size,
  )
  return file === undefined ? null : file + (journal ?? 0)
}

/** Bytes that can still be written there; null where the directory cannot be read. */
export function freeBytes(directory: string): number | null {
  try {
    return createDisk(directory).freeBytes()
  } catch {
    return null
  }
}

/** Of the segment that is being written, its head included. */
function logBytesPerRecord(directory: string): number {
  const disk = createDisk(directory)
  const { head } = readHead(disk)
  const header = head === null ? 'no head' : readHeader(disk, segmentName(head.segment))
  if (head === null || typeof header === 'string') return NaN
  return head.writtenOffset / Math.max(1, head.writtenSequence - header.firstSequence + 1)
}

function sizeOfFiles(directory: string): number {
  const disk = createDisk(directory)
  return disk
    .list()
    .reduce((sum, name) => sum + (statSync(join(directory, name), { throwIfNoEntry: false })?.size ?? 0), 0)
}
