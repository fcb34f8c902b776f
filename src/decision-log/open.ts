// The decision log as the main thread uses it: lock, recovery, the ring to the log thread, and what comes back.
// Invariants: a record is appended only under a reservation, and a reservation always has room; sequences go on over
// epochs without a gap; the main thread does no write and no sync once the log is open.

import { randomBytes } from 'node:crypto'
import { MessageChannel, Worker } from 'node:worker_threads'
import { RECORD_TYPES } from '../contract/record-types.js'
import { AssayError } from '../errors.js'
import type { Limits } from '../limits.js'
import { createRingBuffer, ringFrameBytes, ringWriter } from '../runtime/ring.js'
import type { Durability } from './commit.js'
import { createDisk } from './disk.js'
import type { Finding } from './finding.js'
import { FRAME_BYTES_MAX, FRAME_FORMAT, FRAME_HEADER_BYTES, writeFrameHeader } from './frame.js'
import type { FrameFields } from './frame.js'
import { createGauges, createGaugesBuffer } from './gauges.js'
import type { Counter, Gauges } from './gauges.js'
import { lockDirectory, takeEpoch } from './lock.js'
import type { DecisionLog, OnProgress } from './port.js'
import type { Position } from './reader.js'
import { recoverLog } from './recover.js'
import type { Recovered } from './recover.js'
import type { Dropped, OnFull } from './room.js'
import type { EpochEnd } from './segment.js'
import type { ControlChange, ThreadData, ThreadMessage } from './thread.js'

export interface OpenOptions {
  readonly directory: string
  readonly durability: Durability
  readonly limits: Pick<Limits, 'recordBytesMax' | 'controlBytesMax' | 'logRingBytes' | 'segmentBytes'>
  /** `log.disk_bytes_max`; Infinity for no bound. */
  readonly diskBytesMax: number
  /** `log.on_full`; refuses by default. */
  readonly onFull?: OnFull
  /** Avro schemas of every record type, for the head of each segment. */
  readonly schemas: Buffer
  /** The full control state as it is now. First called after `onRecovered`; then by `controlChanged`. */
  readonly controlState: () => Buffer
  /**
   * The directory is locked and what is in it durable: the time to read it. The log takes no record before this is
   * done.
   */
  readonly onRecovered?: (recovery: Recovery) => void | Promise<void>
  readonly onProgress: OnProgress
  /** Up to where this process has read the log of the server that it follows; null: it follows none. */
  readonly readUpTo?: Position | null
  /** Another server wants to go on with this log: close it soon. */
  readonly onAsked?: () => void
  /** A write, sync or rotation failed; at most a few a second. */
  readonly onFault?: (detail: string) => void
  /** A segment went unarchived at the bound, under `drop_oldest`. */
  readonly onDropped?: (dropped: Dropped) => void
}

export interface OpenDeps {
  /** Another entry for the thread, for tests that put a failing disk under it. */
  readonly threadEntry?: URL
  readonly threadExtra?: unknown
  /** A thread that was started before it is needed, by `startLogThread`. */
  readonly thread?: Worker | null
}

/** What the start found and did. */
export interface Recovery {
  readonly logId: Buffer
  /** The epoch that begins. */
  readonly epoch: number
  readonly nextSequence: number
  readonly previousEpoch: EpochEnd
  readonly adoptedBytes: number
  readonly findings: readonly Finding[]
}

/** Counters for the metrics; the arrays are live, with the bounds of gauges.ts. */
export interface LogStats extends Readonly<Record<Counter, number>> {
  readonly appended: number
  readonly durableSequence: number
  readonly lastSequence: number
  readonly reserved: number
  readonly ringFreeBytes: number
  readonly syncSeconds: Uint32Array
  readonly groupFrames: Uint32Array
}

export interface OpenDecisionLog extends DecisionLog {
  readonly recovery: Recovery
  /**
   * The control state changed with the record appended last: later segments begin with the new one. Call before
   * `flush`.
   */
  controlChanged(): void
  stats(): LogStats
  /** Hours until the disk or the bound is full at the recent rate; Infinity while nothing is written. */
  hoursLeft(): number
}

const GROUP_BYTES_MAX = 256 << 10
/** Of the first segment of a server that takes over: requests wait for it. */
const FIRST_SEGMENT_BYTES = 4 << 20
const BUFFERED_SYNC_MS = 1_000
/** How long a thread that was told to give up gets to say so; it may hang in a sync. */
const GIVE_UP_MS = 500

/** Starts a thread that waits for its log: loading its code takes longer than everything else about an open. */
export function startLogThread({ threadEntry }: Pick<OpenDeps, 'threadEntry'> = {}): Worker {
  const worker = new Worker(threadEntry ?? new URL('./thread-entry.js', import.meta.url), { name: 'decision-log' })
  // Whoever opens the log sees that it is gone.
  worker.on('error', () => undefined)
  return worker
}

/** Locks the directory, recovers, starts the thread. Throws ASSAY_LOG_LOCKED, ASSAY_LOG_DAMAGED or ASSAY_LOG_IO. */
export async function openDecisionLog(options: OpenOptions, deps: OpenDeps = {}): Promise<OpenDecisionLog> {
  const { limits, directory } = options
  const ring = createRingBuffer(limits.logRingBytes)
  const largest = Math.max(limits.recordBytesMax, limits.controlBytesMax)
  if (largest > FRAME_BYTES_MAX || ringFrameBytes(largest) * 4 > limits.logRingBytes) {
    throw new RangeError('log ring and records do not fit: a record may take a quarter of the ring')
  }
  const lock = await lockDirectory(directory, options.onAsked)
  const gauges = createGaugesBuffer()
  const given = deps.thread ?? null
  // A thread that has ended has no id.
  const worker = given !== null && given.threadId !== -1 ? given : startLogThread(deps)
  const thread = createThread(worker, createGauges(gauges), options)
  try {
    const disk = createDisk(directory)
    const uncountedMax = Math.floor(limits.logRingBytes / ringFrameBytes(FRAME_HEADER_BYTES))
    const found = fromDisk(() => recoverLog(disk, { uncountedMax, from: options.readUpTo ?? null }))
    const epoch = fromDisk(() => takeEpoch(disk, found.previousEpoch.epoch))
    const recovery = recoveryOf(found, epoch)
    await options.onRecovered?.(recovery)
    const channel = new MessageChannel()
    const data: ThreadData = {
      ...{ directory, ring, gauges, controlPort: channel.port2 },
      options: threadOptions(options, found, epoch),
      ...{ logId: recovery.logId, schemas: options.schemas, controlState: options.controlState() },
    }
    worker.postMessage({ ...data, extra: deps.threadExtra }, [channel.port2])
    await thread.started
    const postControl = (change: ControlChange): void => channel.port1.postMessage(change)
    return createLog(options, { recovery, ring, gauges: createGauges(gauges), thread, postControl, lock, disk })
  } catch (error) {
    thread.abandon()
    await lock.release()
    throw error
  }
}

function recoveryOf(found: Recovered, epoch: number): Recovery {
  const { nextSequence, previousEpoch, adoptedBytes, findings } = found
  return { logId: found.logId ?? randomBytes(8), epoch, nextSequence, previousEpoch, adoptedBytes, findings }
}

function threadOptions(options: OpenOptions, found: Recovered, epoch: number): ThreadData['options'] {
  const { segmentBytes, recordBytesMax, controlBytesMax } = options.limits
  const groupBytesMax = Math.max(recordBytesMax, Math.min(GROUP_BYTES_MAX, segmentBytes / 4))
  const frameBytesMax = Math.max(recordBytesMax, controlBytesMax)
  const isFollowing = (options.readUpTo ?? null) !== null
  return {
    ...{ epoch, keyId: 0, durability: options.durability, segmentBytes, groupBytesMax, frameBytesMax },
    ...(isFollowing && { firstSegmentBytes: Math.min(segmentBytes, FIRST_SEGMENT_BYTES) }),
    ...{ nextSequence: found.nextSequence, previousSegment: found.previousSegment, previousEpoch: found.previousEpoch },
    ...{ diskBytesMax: options.diskBytesMax, onFull: options.onFull ?? 'refuse' },
    bufferedSyncMs: BUFFERED_SYNC_MS,
  }
}

interface Thread {
  readonly started: Promise<void>
  /** True once the thread ended without being asked to. */
  readonly dead: () => boolean
  /** Settles with what the thread said last. */
  readonly closed: Promise<{ readonly clean: boolean; readonly staged: number }>
  /** Ends it, where there will be no log. */
  abandon(): void
  unref(): void
}

function createThread(worker: Worker, gauges: Gauges, options: OpenOptions): Thread {
  let dead = false
  let ended = false
  let onStarted: () => void
  let onStartFailed: (error: AssayError) => void
  let onClosed: (closed: { clean: boolean; staged: number }) => void
  const started = new Promise<void>((done, failed) => ((onStarted = done), (onStartFailed = failed)))
  const closed = new Promise<{ clean: boolean; staged: number }>((done) => (onClosed = done))
  const die = (detail: string): void => {
    if (ended || dead) return
    dead = true
    gauges.setHealthy(false)
    onStartFailed(new AssayError('ASSAY_LOG_IO', detail))
    onClosed({ clean: false, staged: 0 })
    options.onFault?.(detail)
    options.onProgress()
  }
  worker.on('message', (message: ThreadMessage) => {
    if (message === 'progress') {
      gauges.mainSleeps()
      options.onProgress()
    } else if (message === 'started') {
      gauges.mainSleeps()
      onStarted()
    } else if ('startFailed' in message) {
      ended = true
      onStartFailed(new AssayError('ASSAY_LOG_IO', `the decision log cannot be written: ${message.startFailed}`))
    } else if ('fault' in message) options.onFault?.(message.fault)
    else if ('dropped' in message) options.onDropped?.(message.dropped)
    else {
      ended = true
      onClosed(message.closed)
    }
  })
  worker.on('error', (error) => die(`the decision-log thread failed: ${error.message}`))
  worker.on('exit', () => die('the decision-log thread ended'))
  started.catch(() => undefined)
  return {
    ...{ started, closed },
    dead: () => dead,
    abandon() {
      ended = true
      void worker.terminate()
    },
    unref: () => worker.unref(),
  }
}

interface Parts {
  readonly recovery: Recovery
  readonly ring: SharedArrayBuffer
  readonly gauges: Gauges
  readonly thread: Thread
  readonly postControl: (change: ControlChange) => void
  readonly lock: { release(): Promise<void> }
  readonly disk: { freeBytes(): number }
}

function createLog(options: OpenOptions, parts: Parts): OpenDecisionLog {
  const { recovery, gauges, thread, lock } = parts
  const { recordBytesMax } = options.limits
  const ring = ringWriter(parts.ring)
  const recordRoom = ringFrameBytes(recordBytesMax)
  const usual = Buffer.allocUnsafeSlow(recordBytesMax)
  const fields: FrameFields = { format: FRAME_FORMAT, flags: 0, type: 0, keyId: 0, sequence: 0 }
  const place = { at: 0, bytes: 0 }
  const firstSequence = recovery.nextSequence
  let sequence = firstSequence - 1
  let durable = sequence
  let reserved = 0
  let closing: Promise<void> | null = null

  const roomsOf = (bytes: number): number => Math.max(1, Math.ceil(bytes / recordBytesMax))
  const durableSequence = (): number => (durable = gauges.durable(durable))
  const healthy = (): boolean => gauges.healthy() && !thread.dead()

  return {
    logId: recovery.logId,
    epoch: recovery.epoch,
    recovery,
    reserve(bytes = recordBytesMax) {
      if (closing !== null || !healthy()) return false
      const rooms = roomsOf(bytes)
      // As much room again as the largest takes: at the wrap, less than that is left unused.
      if (ring.free() < (reserved + 2 * rooms) * recordRoom) return false
      reserved += rooms
      return true
    },
    release() {
      if (reserved === 0) throw new Error('there is no reservation to give back')
      reserved--
    },
    append(type, encode, bytes = recordBytesMax) {
      if (reserved < roomsOf(bytes)) throw new Error('a record needs a reservation')
      const scratch = bytes > usual.length ? Buffer.allocUnsafeSlow(bytes) : usual
      const end = encode(scratch, FRAME_HEADER_BYTES)
      if (!(end >= FRAME_HEADER_BYTES && end <= bytes)) {
        throw new RangeError(`a ${type} record does not fit into ${bytes} bytes`)
      }
      fields.type = RECORD_TYPES[type]
      fields.sequence = sequence + 1
      place.bytes = end
      writeFrameHeader(scratch, place, fields)
      const at = ring.reserve(end)
      if (at < 0) throw new Error('a reserved record found no room')
      scratch.copy(ring.buffer, at, 0, end)
      ring.commit(end)
      reserved -= roomsOf(bytes)
      return ++sequence
    },
    flush: () => ring.publish(),
    durableSequence,
    healthy,
    controlChanged: () => parts.postControl({ afterSequence: sequence, state: options.controlState() }),
    stats() {
      const appended = sequence - firstSequence + 1
      const ringFreeBytes = ring.free()
      return {
        ...gauges.counters(),
        appended,
        durableSequence: durableSequence(),
        lastSequence: sequence,
        reserved,
        ringFreeBytes,
      }
    },
    hoursLeft() {
      const room = Math.min(options.diskBytesMax - gauges.get('diskBytes'), parts.disk.freeBytes())
      return Math.max(0, room) / gauges.get('bytesPerSecond') / 3600
    },
    close(deadlineMs) {
      closing ??= (async () => {
        ring.publish()
        ring.close()
        const unwritten = await ended(thread, gauges, deadlineMs)
        if (unwritten !== 'hung') await lock.release()
        const open = sequence - durableSequence()
        if (open > 0) throw new AssayError('ASSAY_LOG_IO', `the disk did not take the last ${open} records`)
      })()
      return closing
    },
  }
}

/**
 * Waits for the thread's end; tells it to give up at the deadline. One that hangs in a call keeps the lock with the
 * process.
 */
async function ended(thread: Thread, gauges: Gauges, deadlineMs: number): Promise<'ended' | 'hung'> {
  let timer: NodeJS.Timeout | undefined
  const after = (ms: number): Promise<'late'> => new Promise((done) => (timer = setTimeout(() => done('late'), ms)))
  let last = await Promise.race([thread.closed, after(deadlineMs)])
  clearTimeout(timer)
  if (last === 'late') {
    gauges.stop()
    last = await Promise.race([thread.closed, after(GIVE_UP_MS)])
    clearTimeout(timer)
  }
  if (last !== 'late') return 'ended'
  thread.unref()
  return 'hung'
}

function fromDisk<T>(read: () => T): T {
  try {
    return read()
  } catch (error) {
    if (error instanceof AssayError) throw error
    throw new AssayError('ASSAY_LOG_IO', 'the decision log cannot be read', { cause: error })
  }
}
