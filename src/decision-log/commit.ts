// The core of the decision-log thread: group commit, rotation and what happens when the disk fails. No thread, no clock
// and no file system of its own: the fake disk of the tests and the real one run this same code.
// Invariants: the ring's room is given back and the durable sequence moves only after the sync (`synced`) or the write
// (`buffered`); a file with a failed write or sync is never written or synced again, its frames that are not durable go
// into a new one; what the disk refuses stays staged and is tried again, so nothing is lost while the process lives.

import type { RingReader } from '../runtime/ring.js'
import { EPOCH_END_TYPE, FRAME_FORMAT, FRAME_HEADER_BYTES, sealFrame, writeFrameHeader } from './frame.js'
import { createHeadWriter } from './head-writer.js'
import type { HeadWriter } from './head-writer.js'
import { createRoom, type RoomDeps, type RoomOptions } from './room.js'
import { readTail } from './scan.js'
import { abandonFile, createUnfinished, finishSegment, writePiece } from './segment-file.js'
import { quietly, zeroFill } from './segment-file.js'
import type { Piece } from './segment-file.js'
import { encodeSegmentHeader, segmentName, unfinishedName } from './segment.js'
import type { EpochEnd, SegmentEnd } from './segment.js'

export type Durability = 'synced' | 'buffered'

export interface CommitterOptions extends RoomOptions {
  readonly logId: Buffer
  readonly epoch: number
  readonly nextSequence: number
  readonly previousSegment: SegmentEnd
  readonly previousEpoch: EpochEnd
  readonly schemas: Buffer
  readonly keyId: number
  readonly durability: Durability
  /** Bytes of the epoch's first segment where others wait for it to begin: fewer zeros to be written before it does. */
  readonly firstSegmentBytes?: number
  /** Most bytes of one group; a record that is larger is a group of its own. */
  readonly groupBytesMax: number
  readonly frameBytesMax: number
  /** Under `buffered`: longest time that written frames stay unsynced. */
  readonly bufferedSyncMs: number
}

export interface CommitterDeps extends RoomDeps {
  readonly ring: RingReader
  readonly nowMs: () => number
  /** The full control state before the record of this sequence. */
  readonly controlState: (firstSequence: number) => Buffer
  /** Told of each failed attempt, in words. */
  readonly onFault: (detail: string) => void
}

export interface Committer {
  /** Makes the first segment of the epoch. Throws where the disk does not take it. */
  start(): void
  /** Commits one group of what waits in the ring (or is left from a failure). */
  step(): 'idle' | 'committed' | 'failing'
  /** A bounded piece of work on the next segment; false where there is none to do. */
  prepare(): boolean
  /** After the last step: marks the end of the epoch. True where everything is on disk and the mark too. */
  finish(): boolean
  /**
   * After all else: gives the room of the next segment back, which has lost its name already. That takes some 40 ms,
   * for which whoever follows need not wait: by now another may write the log.
   */
  letGo(): void
  /** Frames taken from the ring and not written. */
  stagedFrames(): number
}

const PREPARE_BYTES = 256 << 10
const PREPARE_AGAIN_MS = 1_000
/** Time constant of the recent rate. */
const RATE_SECONDS = 600

/** Makes the committer of one epoch. */
export function createCommitter(deps: CommitterDeps, options: CommitterOptions): Committer {
  const { disk, ring, gauges } = deps
  const { epoch, logId, durability } = options
  const room = createRoom(deps, options)
  const staging = Buffer.allocUnsafeSlow(Math.max(options.groupBytesMax, options.frameBytesMax))
  let head: HeadWriter | null = null
  let [stagedBytes, stagedFrames] = [0, 0]
  /** Under `buffered`: frames of an abandoned segment that were handed over and are not durable. */
  let carried: Buffer = Buffer.alloc(0)
  /** The segment in use; fd -1 after it was abandoned. */
  let [fd, capacity] = [-1, 0]
  /** Of the segment that comes next. */
  let bytesOfNext = options.firstSegmentBytes ?? options.segmentBytes
  let segment = options.previousSegment.index
  let offset = options.previousSegment.endOffset
  let sequence = options.nextSequence - 1
  let [syncedOffset, syncedSequence] = [offset, sequence]
  let syncedAtMs = deps.monoMs()
  let nextIndex = segment + 1
  /** The next segment, zeros written up to `zeroed`. */
  let next: { fd: number; zeroed: number } | null = null
  let prepareNotBeforeMs = 0
  let failing = false
  let ratedAtMs = deps.monoMs()
  const startedAtMs = ratedAtMs

  function stage(buffer: Buffer, at: number, length: number): void {
    buffer.copy(staging, stagedBytes, at, at + length)
    sealFrame(staging, stagedBytes, length)
    stagedBytes += length
    stagedFrames++
  }

  function syncWritten(): void {
    const startedMs = deps.monoMs()
    try {
      disk.sync(fd)
    } finally {
      syncedAtMs = deps.monoMs()
      gauges.observeSync((syncedAtMs - startedMs) / 1e3)
    }
  }

  /** Adds the staged group to the segment in use. */
  function appendGroup(): void {
    writePiece(disk, fd, { piece: { buffer: staging, at: 0, length: stagedBytes }, position: offset })
    if (durability === 'synced') syncWritten()
    offset += stagedBytes
    sequence = sequence + stagedFrames
    if (durability === 'synced') markSynced()
  }

  function markSynced(): void {
    syncedOffset = offset
    syncedSequence = sequence
  }

  /** Gives the segment in use up at its last durable offset. What is not durable is kept for the next one. */
  function abandon(): void {
    if (offset > syncedOffset) carried = readBack()
    quietly(() => disk.close(fd))
    fd = -1
    offset = syncedOffset
    gauges.add('segmentsAbandoned', 1)
  }

  function readBack(): Buffer {
    let kept: { bytes: Buffer; lastSequence: number } = { bytes: Buffer.alloc(0), lastSequence: syncedSequence }
    quietly(() => {
      const from = { offset: syncedOffset, sequence: syncedSequence + 1 }
      const bounds = { exactEnd: syncedOffset, exactSequence: syncedSequence, softEnd: offset }
      kept = readTail({ disk, fd, name: segmentName(segment), epoch, from, bounds, onFinding: () => undefined })
    })
    gauges.add('bufferedLost', sequence - kept.lastSequence)
    return kept.bytes
  }

  function takeNext(): { fd: number; zeroed: number } {
    if (next !== null) return next
    room.make(segment)
    next = { fd: createUnfinished(disk, nextIndex), zeroed: 0 }
    gauges.add('diskBytes', options.segmentBytes)
    return next
  }

  function dropNext(): void {
    if (next === null) return
    abandonFile(disk, next.fd, nextIndex)
    gauges.add('diskBytes', -options.segmentBytes)
    next = null
    nextIndex++
  }

  /** Brings the next segment into use, with what is carried over and staged as its first frames. */
  function rotate(): void {
    if (fd >= 0 && offset > syncedOffset) {
      try {
        syncWritten()
        markSynced()
      } catch {
        abandon()
      }
    }
    const firstSequence = syncedSequence + 1
    const header = encodeSegmentHeader({
      ...{ logId, epoch, index: nextIndex, firstSequence, createdAtMs: deps.nowMs(), keyId: options.keyId },
      previousSegment: { index: segment, endOffset: syncedOffset },
      previousEpoch: options.previousEpoch,
      schemas: options.schemas,
      controlState: deps.controlState(firstSequence),
    })
    const last = sequence + stagedFrames
    const frames: Piece[] = [
      { buffer: carried, at: 0, length: carried.length },
      { buffer: staging, at: 0, length: stagedBytes },
    ].filter((piece) => piece.length > 0)
    try {
      const file = takeNext()
      offset = finishSegment(disk, file.fd, { index: nextIndex, header, frames })
      if (fd >= 0) quietly(() => disk.close(fd))
      fd = file.fd
    } catch (error) {
      dropNext()
      throw error
    }
    next = null
    segment = nextIndex++
    sequence = last
    capacity = Math.max(bytesOfNext, header.length + bytesOfNext / 2)
    bytesOfNext = options.segmentBytes
    carried = Buffer.alloc(0)
    markSynced()
    gauges.add('segments', 1)
  }

  function writeHead(durable: boolean): void {
    try {
      head ??= createHeadWriter(disk)
    } catch {
      gauges.add('headFailures', 1)
      return
    }
    const written = { writtenSequence: sequence, writtenOffset: offset }
    const places = { logId, epoch, segment, ...written, syncedSequence, syncedOffset }
    if (!head.write(places, durable)) gauges.add('headFailures', 1)
  }

  function committed(rotated: boolean): void {
    writeHead(rotated)
    ring.release()
    gauges.setDurable(sequence)
    gauges.observeGroup(stagedFrames)
    gauges.add('frameBytes', stagedBytes)
    rate(stagedBytes)
    stagedBytes = 0
    stagedFrames = 0
    if (failing) gauges.add('recoveries', 1)
    failing = false
    gauges.setHealthy(true)
  }

  /** A leaking sum, corrected for the time since the start. */
  function rate(bytes: number): void {
    const nowMs = deps.monoMs()
    const age = 1 - Math.exp(-(nowMs - startedAtMs) / 1e3 / RATE_SECONDS)
    const ageBefore = 1 - Math.exp(-(ratedAtMs - startedAtMs) / 1e3 / RATE_SECONDS)
    const kept = gauges.get('bytesPerSecond') * ageBefore * Math.exp(-(nowMs - ratedAtMs) / 1e3 / RATE_SECONDS)
    if (age > 0) gauges.set('bytesPerSecond', (kept + bytes / RATE_SECONDS) / age)
    ratedAtMs = nowMs
  }

  function failed(error: unknown): void {
    if (!failing) gauges.add('failures', 1)
    failing = true
    gauges.setHealthy(false)
    deps.onFault(error instanceof Error ? error.message : String(error))
  }

  /** Under `buffered` what was handed over is synced once in a while. */
  function syncWhenDue(): void {
    if (fd < 0 || offset === syncedOffset || deps.monoMs() - syncedAtMs < options.bufferedSyncMs) return
    try {
      syncWritten()
      markSynced()
      writeHead(false)
    } catch (error) {
      failed(error)
      abandon()
    }
  }

  function step(): 'idle' | 'committed' | 'failing' {
    syncWhenDue()
    if (stagedFrames === 0 && ring.drain(stage, options.groupBytesMax) === 0 && fd >= 0) return 'idle'
    if (fd >= 0 && offset + stagedBytes <= capacity) {
      try {
        appendGroup()
        committed(false)
        return 'committed'
      } catch (error) {
        failed(error)
        abandon()
      }
    }
    try {
      rotate()
      committed(true)
      return 'committed'
    } catch (error) {
      failed(error)
      return 'failing'
    }
  }

  return {
    start() {
      room.measure()
      const file = takeNext()
      try {
        while (file.zeroed < bytesOfNext) {
          file.zeroed = zeroFill(disk, file.fd, { from: file.zeroed, bytes: bytesOfNext - file.zeroed })
        }
      } catch (error) {
        dropNext()
        throw error
      }
      rotate()
      writeHead(true)
      gauges.setDurable(sequence)
      gauges.setHealthy(true)
    },
    step,
    prepare() {
      room.follow(next === null ? 0 : options.segmentBytes - next.zeroed)
      if (fd < 0 || failing || deps.monoMs() < prepareNotBeforeMs) return false
      // Not much ahead of need, and not waited for: zeros synced at once stalled groups by 25 ms
      // (bench/decision-log.ts).
      const needed = options.segmentBytes * Math.min(1, (2 * offset) / capacity)
      if (next !== null && next.zeroed >= needed) return false
      try {
        const file = takeNext()
        const bytes = Math.min(PREPARE_BYTES, options.segmentBytes - file.zeroed)
        file.zeroed = zeroFill(disk, file.fd, { from: file.zeroed, bytes })
        disk.startSync(file.fd)
        return true
      } catch {
        dropNext()
        gauges.add('prepareFailures', 1)
        prepareNotBeforeMs = deps.monoMs() + PREPARE_AGAIN_MS
        return false
      }
    },
    finish() {
      if (fd < 0 || stagedFrames > 0) return false
      const end = { at: 0, bytes: FRAME_HEADER_BYTES }
      writeFrameHeader(staging, end, { format: FRAME_FORMAT, flags: 0, type: EPOCH_END_TYPE, keyId: 0, sequence })
      sealFrame(staging, 0, FRAME_HEADER_BYTES)
      try {
        writePiece(disk, fd, { piece: { buffer: staging, at: 0, length: FRAME_HEADER_BYTES }, position: offset })
        syncWritten()
        offset += FRAME_HEADER_BYTES
        markSynced()
        writeHead(true)
        return true
      } catch {
        return false
      } finally {
        quietly(() => disk.close(fd))
        fd = -1
        quietly(() => disk.remove(unfinishedName(nextIndex)))
        head?.close()
      }
    },
    letGo() {
      const { fd: spare } = next ?? { fd: -1 }
      if (spare >= 0) quietly(() => disk.close(spare))
    },
    stagedFrames: () => stagedFrames,
  }
}
