// Which segments make up the log, in order, and how far each is known to reach.
// Invariant: the chain is found backwards by what each header says of the segment before it, so files that were given
// up before use (a failed rotation) are left out, and bytes after a segment's stated end are void.

import { isMissing, readWhole } from './disk.js'
import type { Disk } from './disk.js'
import type { Finding } from './finding.js'
import { HEAD_NAME, HEAD_SLOT_BYTES, readHeadFile } from './head.js'
import type { Head, HeadFile } from './head.js'
import type { Bounds } from './scan.js'
import { SEGMENT_FIXED_BYTES, decodeSegmentHeader, indexOfName, segmentHeaderBytes, segmentName } from './segment.js'
import type { SegmentHeader } from './segment.js'

/** A segment of the log; `header` is null where it cannot be read. */
export interface ChainEntry {
  readonly index: number
  readonly name: string
  readonly header: ChainHeader | null
  readonly headerBytes: number
  readonly fileBytes: number
}

/** A header without its two large parts; `readHeader` gives those. */
export type ChainHeader = Omit<SegmentHeader, 'schemas' | 'controlState'>

export interface Chain {
  /** Oldest first. */
  readonly entries: readonly ChainEntry[]
  readonly head: Head | null
  readonly headFile: HeadFile
  readonly findings: readonly Finding[]
}

/** Reads the head, or an empty one where there is none. */
export function readHead(disk: Disk): HeadFile {
  return readHeadFile(readWhole(disk, HEAD_NAME, 2 * HEAD_SLOT_BYTES) ?? Buffer.alloc(0))
}

/** Reads the whole header of a segment, or says what is wrong with it. */
export function readHeader(disk: Disk, name: string): SegmentHeader | string {
  const fixed = readWhole(disk, name, SEGMENT_FIXED_BYTES)
  const bytes = segmentHeaderBytes(fixed ?? Buffer.alloc(0))
  if (bytes === 0) return 'no segment header'
  return decodeSegmentHeader(readWhole(disk, name, bytes) ?? Buffer.alloc(0))
}

/** Looks at a directory whose oldest segments are let go of meanwhile. */
const LOOKS_MAX = 16

/**
 * Finds the chain that ends with `lastIndex` (for a live reader: the segment of the head), or with the newest segment.
 */
export function readChain(disk: Disk, lastIndex = Infinity): Chain {
  for (let look = 1; ; look++) {
    try {
      return lookAtChain(disk, lastIndex)
    } catch (error) {
      if (!isMissing(error) || look === LOOKS_MAX) throw error
    }
  }
}

/** The first sequence that the log holds: 1 unless older segments were let go of; null where there is no log. */
export function firstSequenceOf(disk: Disk): number | null {
  return readChain(disk).entries.find(({ header }) => header !== null)?.header?.firstSequence ?? null
}

function lookAtChain(disk: Disk, lastIndex: number): Chain {
  const headFile = readHead(disk)
  const findings: Finding[] = headFile.damaged.map((slot) => headFinding(slot, headFile.head))
  const indexes = disk
    .list()
    .map(indexOfName)
    .filter((index) => index > 0 && index <= lastIndex)
    .sort((a, b) => a - b)
  const entries: ChainEntry[] = []
  let wanted = indexes.at(-1) ?? 0
  const head = headFile.head
  if (head !== null && head.segment > wanted && lastIndex === Infinity) {
    findings.push(missing(head.segment, head.syncedSequence, head.epoch))
  }
  while (wanted > 0) {
    if (!indexes.includes(wanted)) {
      const after = entries[0]?.header
      const older = indexes.filter((index) => index < wanted)
      const sequence = after === undefined || after === null ? 0 : after.firstSequence
      if (older.length === 0) findings.push(beginsLater(wanted, sequence, after?.epoch ?? 0))
      else findings.push(missing(wanted, sequence, after?.epoch ?? 0))
      wanted = older.at(-1) ?? 0
      continue
    }
    const { entry, fault } = readEntry(disk, wanted)
    if (fault !== null) findings.push({ ...missing(wanted, 0, entries[0]?.header?.epoch ?? 0), detail: fault })
    entries.unshift(entry)
    const here = wanted
    wanted = entry.header?.previousSegment.index ?? indexes.filter((index) => index < here).at(-1) ?? 0
  }
  return { entries, head, headFile, findings }
}

/** How far the entry at `at` of the chain reaches: by the next header, by the head, or by its file's size. */
export function boundsOf(chain: Chain, at: number, live: boolean): Bounds {
  const entry = chain.entries[at]
  if (entry === undefined) throw new RangeError('no such segment in the chain')
  const next = chain.entries[at + 1]
  if (next !== undefined) {
    if (next.header === null || next.header.previousSegment.index !== entry.index) {
      return { exactEnd: entry.headerBytes, exactSequence: 0, softEnd: entry.fileBytes }
    }
    const end = next.header.previousSegment.endOffset
    return { exactEnd: end, exactSequence: next.header.firstSequence - 1, softEnd: end }
  }
  const { head } = chain
  if (head === null || head.segment !== entry.index) {
    return { exactEnd: entry.headerBytes, exactSequence: 0, softEnd: live ? entry.headerBytes : entry.fileBytes }
  }
  return {
    exactEnd: head.syncedOffset,
    exactSequence: head.syncedSequence,
    softEnd: live ? head.writtenOffset : Math.max(entry.fileBytes, head.syncedOffset),
  }
}

function readEntry(disk: Disk, index: number): { entry: ChainEntry; fault: string | null } {
  const name = segmentName(index)
  const fd = disk.open(name, 'read')
  const fileBytes = disk.size(fd)
  disk.close(fd)
  const read = readHeader(disk, name)
  if (typeof read === 'string') {
    return { entry: { index, name, header: null, headerBytes: 0, fileBytes }, fault: read }
  }
  const { schemas, controlState, ...header } = read
  const headerBytes = SEGMENT_FIXED_BYTES + schemas.length + controlState.length
  const fault = header.index === index ? null : `the header says segment ${header.index}`
  return { entry: { index, name, header: fault === null ? header : null, headerBytes, fileBytes }, fault }
}

function headFinding(slot: number, head: Head | null): Finding {
  const rest = head === null ? 'and neither does the other' : 'the other one does'
  const sequence = head?.syncedSequence ?? 0
  const detail = `slot ${slot} does not hold, ${rest}`
  return {
    kind: 'head_damaged',
    segment: HEAD_NAME,
    offset: slot * HEAD_SLOT_BYTES,
    sequence,
    epoch: head?.epoch ?? 0,
    detail,
  }
}

function beginsLater(index: number, sequence: number, epoch: number): Finding {
  const detail = `the log begins with sequence ${sequence}: what is older was archived, dropped or lost`
  return { ...missing(index, sequence, epoch), kind: 'begins_later', detail }
}

function missing(index: number, sequence: number, epoch: number): Finding {
  return { kind: 'damage', segment: segmentName(index), offset: 0, sequence, epoch, detail: 'the file is not there' }
}

/**
 * Why nobody can read on behind this place of a log whose last record is `lastSequence`; null where one can. A place is
 * one's own if its epoch wrote that record: a log that lost its end, or came back from a copy, has other epochs.
 */
export function misfitOf(
  disk: Disk,
  place: { readonly logId: Buffer; readonly epoch: number; readonly sequence: number },
  lastSequence: number,
): string | null {
  const headers = readChain(disk).entries.flatMap(({ header }) => (header === null ? [] : [header]))
  const first = headers.at(0)
  if (first === undefined) return 'there is no log'
  if (!first.logId.equals(place.logId)) return 'it is of another log'
  if (first.firstSequence > place.sequence + 1) return `the log begins behind it, with record ${first.firstSequence}`
  const next = headers.find(({ epoch }) => epoch > place.epoch)
  const epoch = next?.previousEpoch.epoch ?? headers.at(-1)?.epoch
  const end = next?.previousEpoch.lastSequence ?? lastSequence
  if (epoch !== place.epoch) return `the log has no epoch ${place.epoch}`
  return place.sequence <= end ? null : `it covers record ${place.sequence}, its epoch ends with ${end}`
}
