// A bounded single-producer single-consumer ring in a SharedArrayBuffer: how rows reach a lane, how frames reach the
// decision-log thread. Frames are contiguous (a pad marker at the wrap), the reader drains whatever waits.
// Invariant: a frame is never overwritten before the reader released it, and no wake-up is lost: the reader sets
// `asleep` and looks at the head again before it sleeps; the writer publishes before it looks at `asleep`.
// Refuses to wait for room, to split a frame and to allocate per frame.
//
//   control words (a cache line each)          data, a power of two of bytes
//   [head][tail][asleep][closed]               [length u32][0 u32][payload ... up to 8][length]...[PAD]

import { Buffer } from 'node:buffer'

const HEAD = 0
const TAIL = 16
const ASLEEP = 32
const CLOSED = 48
const CONTROL_BYTES = 256
const FRAME_HEADER_BYTES = 8
const PAD = 0xffffffff
const RING_BYTES_MIN = 64
/**
 * Positions are 32-bit byte counters that wrap; a ring of more than half their range could not tell full from empty.
 */
const RING_BYTES_MAX = 1 << 30

/** What a frame with a payload of `bytes` takes in a ring, in bytes. */
export function ringFrameBytes(bytes: number): number {
  return (bytes + FRAME_HEADER_BYTES + 7) & ~7
}

/** Called for each frame: the payload lies in `buffer` from `at`, for `length` bytes, until the reader's `release`. */
export type OnFrame = (buffer: Buffer, at: number, length: number) => void

export interface RingWriter {
  /** The data of the ring; `reserve` returns offsets into it. */
  readonly buffer: Buffer
  /** Bytes of the data, a power of two. */
  readonly capacity: number
  /**
   * Offset of `bytes` contiguous bytes to write into, or -1 where the ring has no room. One open reservation at a time.
   */
  reserve(bytes: number): number
  /** Ends the open reservation with a payload of `bytes` (at most what was reserved). Not visible before `publish`. */
  commit(bytes: number): void
  /** Makes committed frames visible, and wakes the reader if it sleeps. */
  publish(): void
  /**
   * Bytes not taken, pads and frame headers counted as taken. A frame of n bytes surely fits where this is at least 2 ×
   * ringFrameBytes(n).
   */
  free(): number
  /** Tells the reader that no frame follows, and wakes it. */
  close(): void
}

export interface RingReader {
  /** The data of the ring, as `drain` hands it over. */
  readonly buffer: Buffer
  /**
   * Hands over what waits, in order, at most about `bytesMax` payload bytes (but always one frame); returns the number
   * of frames.
   */
  drain(onFrame: OnFrame, bytesMax?: number): number
  /** Gives the room of every frame drained so far back to the writer. May come later than the reading. */
  release(): void
  /**
   * Blocks this thread until a frame waits, the ring is closed or `timeoutMs` passed. Never on a thread with an event
   * loop.
   */
  sleep(timeoutMs: number): void
  /**
   * For a reader with an event loop: true if it may go idle (the next publish calls the writer's `wake`), false if
   * frames wait.
   */
  arm(): boolean
  /** True once the writer closed the ring and nothing waits. */
  ended(): boolean
}

/** Makes a ring whose data has `bytes` bytes, rounded up to a power of two. */
export function createRingBuffer(bytes: number): SharedArrayBuffer {
  if (!(bytes >= 1 && bytes <= RING_BYTES_MAX)) throw new RangeError(`a ring of ${bytes} bytes is out of bounds`)
  let capacity = RING_BYTES_MIN
  while (capacity < bytes) capacity *= 2
  return new SharedArrayBuffer(CONTROL_BYTES + capacity)
}

/**
 * The writing end. `wake` is called when a sleeping reader must be woken; by default it notifies a thread in `sleep`.
 */
export function ringWriter(sab: SharedArrayBuffer, wake?: () => void): RingWriter {
  const { control, lengths, buffer, capacity } = views(sab)
  const mask = capacity - 1
  let head = Atomics.load(control, HEAD) >>> 0
  let published = head
  let tail = Atomics.load(control, TAIL) >>> 0
  let openBytes = -1

  const wakeReader = (): void => {
    if (Atomics.load(control, ASLEEP) === 0 || Atomics.exchange(control, ASLEEP, 0) === 0) return
    if (wake === undefined) Atomics.notify(control, ASLEEP)
    else wake()
  }

  return {
    buffer,
    capacity,
    reserve(bytes) {
      const need = ringFrameBytes(bytes)
      if (!(bytes >= 0) || need > capacity / 2) throw new RangeError(`a frame of ${bytes} bytes cannot pass this ring`)
      const toEnd = capacity - (head & mask)
      const taken = need <= toEnd ? need : toEnd + need
      if (capacity - ((head - tail) >>> 0) < taken) {
        tail = Atomics.load(control, TAIL) >>> 0
        if (capacity - ((head - tail) >>> 0) < taken) return -1
      }
      if (need > toEnd) {
        lengths[(head & mask) >> 2] = PAD
        head = (head + toEnd) >>> 0
      }
      openBytes = bytes
      return (head & mask) + FRAME_HEADER_BYTES
    },
    commit(bytes) {
      if (!(bytes >= 0 && bytes <= openBytes)) throw new RangeError(`commit of ${bytes} bytes, reserved ${openBytes}`)
      lengths[(head & mask) >> 2] = bytes
      head = (head + ringFrameBytes(bytes)) >>> 0
      openBytes = -1
    },
    publish() {
      if (head === published) return
      published = head
      Atomics.store(control, HEAD, head | 0)
      wakeReader()
    },
    free() {
      tail = Atomics.load(control, TAIL) >>> 0
      return capacity - ((head - tail) >>> 0)
    },
    close() {
      Atomics.store(control, CLOSED, 1)
      wakeReader()
    },
  }
}

/** The reading end; it starts at the first frame not released, so a new reader takes over where a dead one stopped. */
export function ringReader(sab: SharedArrayBuffer): RingReader {
  const { control, lengths, buffer, capacity } = views(sab)
  const mask = capacity - 1
  let cursor = Atomics.load(control, TAIL) >>> 0

  const waits = (): boolean => Atomics.load(control, HEAD) >>> 0 !== cursor

  return {
    buffer,
    drain(onFrame, bytesMax = Infinity) {
      const head = Atomics.load(control, HEAD) >>> 0
      let frames = 0
      let bytes = 0
      while (cursor !== head) {
        const at = cursor & mask
        const length = lengths[at >> 2] ?? PAD
        if (length === PAD) {
          cursor = (cursor + capacity - at) >>> 0
          continue
        }
        bytes += length
        if (bytes > bytesMax && frames > 0) break
        onFrame(buffer, at + FRAME_HEADER_BYTES, length)
        cursor = (cursor + ringFrameBytes(length)) >>> 0
        frames++
      }
      return frames
    },
    release() {
      Atomics.store(control, TAIL, cursor | 0)
    },
    sleep(timeoutMs) {
      Atomics.store(control, ASLEEP, 1)
      if (!waits() && Atomics.load(control, CLOSED) === 0) Atomics.wait(control, ASLEEP, 1, timeoutMs)
      Atomics.store(control, ASLEEP, 0)
    },
    arm() {
      Atomics.store(control, ASLEEP, 1)
      if (!waits() && Atomics.load(control, CLOSED) === 0) return true
      Atomics.store(control, ASLEEP, 0)
      return false
    },
    ended() {
      return Atomics.load(control, CLOSED) === 1 && !waits()
    },
  }
}

interface Views {
  readonly control: Int32Array
  readonly lengths: Uint32Array
  readonly buffer: Buffer
  readonly capacity: number
}

function views(sab: SharedArrayBuffer): Views {
  const capacity = sab.byteLength - CONTROL_BYTES
  if (capacity < RING_BYTES_MIN || (capacity & (capacity - 1)) !== 0) throw new RangeError('not a ring')
  return {
    control: new Int32Array(sab, 0, CONTROL_BYTES / 4),
    lengths: new Uint32Array(sab, CONTROL_BYTES, capacity / 4),
    buffer: Buffer.from(sab, CONTROL_BYTES, capacity),
    capacity,
  }
}
