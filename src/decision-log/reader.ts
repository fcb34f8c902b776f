// Reads the decision log in order: a live one as far as its head says, a log at rest to its end. Writes nothing.
// Invariant: every sequence between the first and the last is handed over, or stands in a finding with its place; none
// is handed over twice. A position (log id, epoch, sequence) taken after a record continues after that record.

import type { RecordType } from '../contract/record-types.js'
import { AssayError } from '../errors.js'
import { boundsOf, readChain, readHead, readHeader } from './chain.js'
import type { Chain, ChainEntry, ChainHeader } from './chain.js'
import { createDisk, isMissing } from './disk.js'
import type { Disk } from './disk.js'
import type { Finding } from './finding.js'
import { recordTypeOf } from './frame.js'
import { isZero } from './head.js'
import { SCAN_WINDOW_BYTES, createSegmentScan } from './scan.js'
import type { SegmentScan } from './scan.js'
import type { SegmentHeader } from './segment.js'

/** How far a reader has come. */
export interface Position {
  readonly logId: Buffer
  readonly epoch: number
  readonly sequence: number
  /** Where the next record begins, as far as a reader knew: with it a segment is not read from its beginning again. */
  readonly place?: Place
}

/** An offset in the segment of that index. */
export interface Place {
  readonly segment: number
  readonly offset: number
}

/** One record; the same object each time, its bytes valid until `onRecord` returns. */
export interface LogRecord {
  /** null: a later release wrote this type. */
  type: RecordType | null
  format: number
  flags: number
  keyId: number
  epoch: number
  sequence: number
  /** The body: `buffer` from `start` to `end`. */
  buffer: Buffer
  start: number
  end: number
  /** Where the frame begins. */
  segment: string
  offset: number
}

export interface LogVisitor {
  onRecord(record: LogRecord): void
  /** Before the records of a segment: its header, with schemas and control state. */
  onSegment?(name: string, header: SegmentHeader): void
  onFinding?(finding: Finding): void
}

export interface ReadOptions {
  /** Continue after this position; from the start without. */
  readonly from?: Position
  /** Bound by the head, for a log that a server writes. */
  readonly live?: boolean
}

export interface LogReader {
  /** Hands over what there is, at most `recordsMax` records; returns their number. A live reader may be asked again. */
  read(visitor: LogVisitor, recordsMax?: number): number
  /** After the last record handed over; null while nothing was read of an empty log. */
  position(): Position | null
  /** Sequences up to the end that is visible now, and not handed over yet; 0 for a reader that has caught up. */
  lag(): number
  close(): void
}

/** Opens a reader on a directory (or a disk). Throws ASSAY_INPUT_INVALID where the position belongs to another log. */
export function openLogReader(source: string | Disk, options: ReadOptions = {}): LogReader {
  const disk = typeof source === 'string' ? createDisk(source) : source
  const live = options.live ?? false
  const reported = new Set<string>()
  let chain = live ? liveChain(disk) : readChain(disk)
  const longest = Math.max(1, ...chain.entries.map((entry) => entry.fileBytes))
  const window = Buffer.allocUnsafeSlow(live ? SCAN_WINDOW_BYTES : Math.min(SCAN_WINDOW_BYTES, longest))
  let logId = options.from?.logId ?? null
  let epoch = options.from?.epoch ?? 0
  /** Sequence of the last record handed over or reported; -1 before the first. */
  let last = options.from?.sequence ?? -1
  let at = startOf(chain, options.from)
  let open: { entry: ChainEntry; header: ChainHeader; fd: number; scan: SegmentScan } | null = null
  let visitor: LogVisitor | null = null
  const record: LogRecord = {
    ...{ type: null, format: 0, flags: 0, keyId: 0, epoch: 0, sequence: 0 },
    ...{ buffer: window, start: 0, end: 0, segment: '', offset: 0 },
  }

  function report(finding: Finding): void {
    const key = `${finding.kind} ${finding.segment} ${finding.offset} ${finding.sequence}`
    if (reported.has(key)) return
    reported.add(key)
    visitor?.onFinding?.(finding)
  }

  function note(kind: Finding['kind'], segment: string, detail: string): void {
    report({ kind, segment, offset: 0, sequence: Math.max(last, 0), epoch, detail })
  }

  function closeSegment(): void {
    if (open !== null) disk.close(open.fd)
    open = null
  }

  /** That the log begins later concerns only who wants its beginning. */
  function reportChain(): void {
    for (const finding of chain.findings) if (finding.kind !== 'begins_later' || last < 0) report(finding)
  }

  /**
   * Says what changes with this segment: epoch, lost sequences. `isGone`: segments before it left while they waited to
   * be read. That is no damage, but whoever follows the log has lost what it had not read.
   */
  function enter(entry: ChainEntry, header: ChainHeader, isGone: boolean): void {
    if (logId !== null && !logId.equals(header.logId)) throw invalid(`${entry.name} belongs to another log`)
    logId = header.logId
    const { previousEpoch } = header
    if (epoch !== 0 && header.epoch !== epoch) {
      if (previousEpoch.epoch === epoch && previousEpoch.lastSequence < last) {
        const was = last
        last = previousEpoch.lastSequence
        note('reader_ahead', entry.name, `epoch ${epoch} ends at ${last}, the reader was at ${was}`)
      }
      note('epoch_changed', entry.name, describeEnd(previousEpoch))
    }
    epoch = header.epoch
    if ((last >= 0 || isGone) && header.firstSequence > last + 1) {
      const isHarmless = isGone && (last < 0 || !live)
      const sequences = `sequences ${Math.max(last + 1, 1)} to ${header.firstSequence - 1}`
      if (isHarmless) note('begins_later', entry.name, `${sequences} left the log while it was read`)
      else note('gap', entry.name, `${sequences} are missing`)
      last = header.firstSequence - 1
    }
  }

  /** Opens the next readable segment of the chain; false where there is none. */
  function openNext(): boolean {
    closeSegment()
    let isGone = false
    for (; at < chain.entries.length; at++) {
      const entry = chain.entries[at]
      if (entry === undefined || entry.header === null) continue
      const full = visitor?.onSegment === undefined ? null : readHeader(disk, entry.name)
      const fd = typeof full === 'string' ? null : openIfThere(disk, entry.name)
      if (fd === null) {
        isGone = true
        continue
      }
      const { header } = entry
      const from = beginOf(entry, header, options.from)
      const place = { disk, fd, name: entry.name, epoch: header.epoch, from, bounds: boundsOf(chain, at, live), window }
      open = { entry, header, fd, scan: createSegmentScan({ ...place, onFinding: report }) }
      enter(entry, header, isGone)
      if (full !== null && typeof full !== 'string') visitor?.onSegment?.(entry.name, full)
      return true
    }
    return false
  }

  /** At the end of a segment: the next one, or more of this one. False where nothing more can be seen now. */
  function goOn(): boolean {
    if (open === null) {
      if (live && chain.entries.length === 0) refresh()
      return openNext()
    }
    last = Math.max(last, open.scan.lastSequence())
    if (at + 1 < chain.entries.length) {
      at++
      return openNext()
    }
    if (!live) {
      // Whoever goes on behind a place, up to a clean end, does not read what the segment has reserved (150 ms).
      const isDone = open.scan.ended() && options.from?.place !== undefined
      if (!isDone) reportTornTail(disk, open, report)
      return false
    }
    const before = open.scan.offset()
    const { index } = open.entry
    if (!refresh()) return false
    if (chain.entries[at]?.index !== index) return openNext()
    const bounds = boundsOf(chain, at, live)
    open.scan.extend(bounds)
    return bounds.softEnd > before || at + 1 < chain.entries.length
  }

  /** Looks at the head again. False where it did not move. */
  function refresh(): boolean {
    const { head } = readHead(disk)
    if (head === null) return false
    if (head.segment === chain.head?.segment) {
      const moved = head.writtenOffset > chain.head.writtenOffset
      if (moved) chain = { ...chain, head }
      return moved
    }
    const index = chain.entries[at]?.index
    chain = liveChain(disk)
    reportChain()
    const same = chain.entries.findIndex((entry) => entry.index === index)
    at = same >= 0 ? same : startOf(chain, logId === null ? undefined : { logId, epoch, sequence: last })
    return true
  }

  function handOver(scan: SegmentScan, segment: string): void {
    const { frame } = scan
    record.type = recordTypeOf(frame.type) ?? null
    record.format = frame.format
    record.flags = frame.flags
    record.keyId = frame.keyId
    record.epoch = epoch
    record.sequence = frame.sequence
    record.buffer = frame.buffer
    record.start = frame.start
    record.end = frame.end
    record.segment = segment
    record.offset = frame.offset
    last = frame.sequence
    visitor?.onRecord(record)
  }

  return {
    read(to, recordsMax = Infinity) {
      visitor = to
      let records = 0
      try {
        if (!live || reported.size === 0) reportChain()
        while (records < recordsMax) {
          if (open === null || !open.scan.next()) {
            if (goOn()) continue
            break
          }
          // Read before the position that this reader started from, or in a copy made by a recovery.
          if (open.scan.frame.sequence <= last) continue
          handOver(open.scan, open.entry.name)
          records++
        }
      } catch (error) {
        if (error instanceof Error && 'syscall' in error) {
          throw new AssayError('ASSAY_LOG_IO', 'the decision log cannot be read', { cause: error })
        }
        throw error
      } finally {
        visitor = null
      }
      return records
    },
    position() {
      if (logId === null || last < 0) return null
      const place = open === null ? {} : { place: { segment: open.entry.index, offset: open.scan.offset() } }
      return { logId, epoch, sequence: last, ...place }
    },
    lag: () => Math.max(0, (readHead(disk).head?.writtenSequence ?? 0) - Math.max(last, 0)),
    close: closeSegment,
  }
}

/** The chain up to the segment of the head; empty while there is no head. A slot caught in mid-write is no finding. */
function liveChain(disk: Disk): Chain {
  const chain = readChain(disk, readHead(disk).head?.segment ?? 0)
  return { ...chain, findings: chain.findings.filter((finding) => finding.kind !== 'head_damaged') }
}

/** Where frames of a segment are to be read from, and the sequence of the first. */
export function beginOf(
  { index, headerBytes }: Pick<ChainEntry, 'index' | 'headerBytes'>,
  header: Pick<ChainHeader, 'epoch' | 'firstSequence'>,
  from?: Pick<Position, 'epoch' | 'sequence' | 'place'> | null,
): { offset: number; sequence: number } {
  const isKnown = from?.place !== undefined && from.place.segment === index && from.epoch === header.epoch
  if (!isKnown) return { offset: headerBytes, sequence: header.firstSequence }
  return { offset: from.place.offset, sequence: from.sequence + 1 }
}

function openIfThere(disk: Disk, name: string): number | null {
  try {
    return disk.open(name, 'read')
  } catch (error) {
    if (isMissing(error)) return null
    throw error
  }
}

/** The last segment that may hold what follows `from`. */
function startOf(chain: Chain, from: Position | undefined): number {
  if (from === undefined) return 0
  const fits = (entry: ChainEntry): boolean =>
    entry.header !== null && entry.header.epoch <= from.epoch && entry.header.firstSequence <= from.sequence + 1
  return Math.max(0, chain.entries.findLastIndex(fits))
}

function reportTornTail(
  disk: Disk,
  open: { entry: ChainEntry; fd: number; scan: SegmentScan },
  report: (finding: Finding) => void,
): void {
  const { entry, fd, scan } = open
  const buffer = Buffer.alloc(1 << 16)
  let torn = 0
  for (let at = scan.offset(); at < entry.fileBytes;) {
    const got = disk.read(fd, { buffer, at: 0, length: buffer.length }, at)
    if (got === 0) break
    if (!isZero(buffer, 0, got)) torn += got
    at += got
  }
  if (torn === 0) return
  const detail = 'bytes that were never durable lie beyond the end of the log'
  const place = { segment: entry.name, offset: scan.offset(), sequence: scan.lastSequence() + 1 }
  report({ kind: 'torn_tail', ...place, epoch: entry.header?.epoch ?? 0, detail })
}

function describeEnd(end: ChainHeader['previousEpoch']): string {
  const place = `epoch ${end.epoch} ended at sequence ${end.lastSequence}`
  return end.clean
    ? `${place}, closed by its server`
    : `${place} without being closed; at most ${end.uncountedMax} records died uncounted`
}

function invalid(detail: string): AssayError {
  return new AssayError('ASSAY_INPUT_INVALID', detail)
}
