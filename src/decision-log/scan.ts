// Walks the frames of one segment, for recovery, readers and verification alike.
// Invariant: up to `exactEnd` everything was durable, so whatever is not a whole frame in sequence there is reported
// with its place, and the walk goes on at the next whole frame; beyond it, up to `softEnd`, the first such place just
// ends it.

import { FRAME_BYTES_MAX, FRAME_HEADER_BYTES, EPOCH_END_TYPE } from './frame.js'
import { NOTHING_WRITTEN, frameBytesAt, readFrameFields, sequenceAt } from './frame.js'
import type { FrameFields } from './frame.js'
import type { Disk } from './disk.js'
import type { Finding, FindingKind } from './finding.js'

/** How far a segment is known to reach. */
export interface Bounds {
  /** Durable up to here. */
  readonly exactEnd: number
  /** Sequence of the last frame before `exactEnd`. */
  readonly exactSequence: number
  /** Look no further than here. */
  readonly softEnd: number
}

/** The frame that `next` stopped at; one object, valid until the next call. */
export interface ScannedFrame extends FrameFields {
  /** Where the body lies: `buffer` from `start` to `end`. */
  buffer: Buffer
  start: number
  end: number
  /** Where the frame begins in its file. */
  offset: number
}

export interface SegmentScan {
  readonly frame: ScannedFrame
  /** Moves to the next record; false where the bounds (or the log) end. May be called again after `extend`. */
  next(): boolean
  /** Moves the bounds further out. */
  extend(bounds: Bounds): void
  /** End of the last whole frame. */
  offset(): number
  /** Sequence of the last record walked over (or reported missing). */
  lastSequence(): number
  /** True once the mark of a clean end was passed. */
  ended(): boolean
}

export interface ScanOptions {
  readonly disk: Disk
  readonly fd: number
  readonly name: string
  readonly epoch: number
  /** Where the frames begin, and the sequence of the first. */
  readonly from: { readonly offset: number; readonly sequence: number }
  readonly bounds: Bounds
  readonly onFinding: (finding: Finding) => void
  /** SCAN_WINDOW_BYTES, lent by a caller that scans many segments or extends the bounds; else made to measure. */
  readonly window?: Buffer
}

/** Bytes of the window that a scan reads through. */
export const SCAN_WINDOW_BYTES = 2 * FRAME_BYTES_MAX

/** Starts a walk over a segment whose header was read. */
export function createSegmentScan(options: ScanOptions): SegmentScan {
  const { disk, fd, name, epoch, onFinding } = options
  const span = options.bounds.softEnd - options.from.offset
  const window = options.window ?? Buffer.allocUnsafeSlow(Math.max(1, Math.min(SCAN_WINDOW_BYTES, span)))
  let bounds = options.bounds
  let offset = options.from.offset
  let expected = options.from.sequence
  let windowStart = offset
  let windowEnd = offset
  let ended = false
  const frame: ScannedFrame = {
    ...{ format: 0, flags: 0, type: 0, keyId: 0, sequence: 0 },
    ...{ buffer: window, start: 0, end: 0, offset: 0 },
  }

  const report = (kind: FindingKind, at: number, detail: string): void =>
    onFinding({ kind, segment: name, offset: at, sequence: expected, epoch, detail })

  /**
   * After this, a whole frame at `at` lies in the window, if the file has one within the bounds. Returns its place
   * there.
   */
  const bring = (at: number): number => {
    if (windowEnd - at >= FRAME_BYTES_MAX || windowEnd >= bounds.softEnd) return at - windowStart
    if (at > windowEnd) windowStart = windowEnd = at
    if (window.length - (at - windowStart) < FRAME_BYTES_MAX) {
      window.copyWithin(0, at - windowStart, windowEnd - windowStart)
      windowStart = at
    }
    while (windowEnd < bounds.softEnd) {
      const place = windowEnd - windowStart
      const length = Math.min(window.length - place, bounds.softEnd - windowEnd)
      const got = length === 0 ? 0 : disk.read(fd, { buffer: window, at: place, length }, windowEnd)
      if (got === 0) break
      windowEnd += got
    }
    return at - windowStart
  }

  const reportGap = (to: number, at: number): void => {
    if (to >= expected) report('gap', at, `sequences ${expected} to ${to} are missing`)
    expected = Math.max(expected, to + 1)
  }

  /** Looks for the next whole frame after damage at `from`; the end of the exact part where there is none. */
  const resume = (from: number): number => {
    for (let at = from + 1; at + FRAME_HEADER_BYTES <= bounds.exactEnd; at++) {
      const place = bring(at)
      const end = windowEnd - windowStart
      if (end - place < FRAME_HEADER_BYTES) break
      const sequence = sequenceAt(window, place)
      if (sequence < expected - 1 || sequence > bounds.exactSequence) continue
      if (frameBytesAt(window, place, end) > 0) return at
    }
    return bounds.exactEnd
  }

  /** What stands at `offset` is no frame in sequence. False ends the walk. */
  const stumble = (bytes: number): boolean => {
    if (offset >= bounds.exactEnd) return false
    report('damage', offset, bytes === NOTHING_WRITTEN ? 'nothing is written here' : 'no whole frame is here')
    offset = resume(offset)
    return true
  }

  const finishExact = (): void => {
    if (offset >= bounds.exactEnd && expected <= bounds.exactSequence) reportGap(bounds.exactSequence, bounds.exactEnd)
  }

  const next = (): boolean => {
    while (offset < bounds.softEnd && !ended) {
      finishExact()
      const at = bring(offset)
      const bytes = frameBytesAt(window, at, windowEnd - windowStart)
      if (bytes <= 0) {
        if (stumble(bytes)) continue
        return false
      }
      readFrameFields(window, at, frame)
      if (frame.type === EPOCH_END_TYPE) {
        reportGap(frame.sequence, offset)
        offset += bytes
        ended = true
        break
      }
      if (frame.sequence !== expected) {
        if (offset >= bounds.exactEnd) return false
        if (frame.sequence < expected) {
          report('repeated', offset, `sequence ${frame.sequence} stands here again`)
          offset += bytes
          continue
        }
        reportGap(frame.sequence - 1, offset)
      }
      frame.start = at + FRAME_HEADER_BYTES
      frame.end = at + bytes
      frame.offset = offset
      offset += bytes
      expected = frame.sequence + 1
      return true
    }
    finishExact()
    return false
  }

  return {
    frame,
    next,
    extend: (to) => void (bounds = to),
    offset: () => offset,
    lastSequence: () => expected - 1,
    ended: () => ended,
  }
}

/**
 * The whole frames of a segment from `from` on that are not known to be durable, as bytes, and the last sequence in
 * them.
 */
export function readTail(options: ScanOptions): { bytes: Buffer; lastSequence: number; ended: boolean } {
  const { disk, fd, from } = options
  const scan = createSegmentScan(options)
  while (scan.next());
  const bytes = Buffer.alloc(scan.offset() - from.offset)
  for (let filled = 0; filled < bytes.length;) {
    const to = { buffer: bytes, at: filled, length: bytes.length - filled }
    const got = disk.read(fd, to, from.offset + filled)
    if (got === 0) throw new Error(`${options.name} became shorter while it was read`)
    filled += got
  }
  return { bytes, lastSequence: scan.lastSequence(), ended: scan.ended() }
}
