// From a 64-bit keyed hash to an integer: an open-addressing multimap in segments that grow one by one, and split in
// two where they are full grown (extendible hashing: Fagin and others, 1979), so that no single growth is long, however
// many entries there are. It keeps the high word and 8 bits of the low one: the caller verifies each candidate.
// Deleting shifts back (Knuth, TAOCP 3, 6.4, algorithm R): no tombstones, so no slow decay.

import { heldMemory } from '../runtime/held-memory.js'
import type { Image } from '../runtime/image.js'

/** Segments at first: by the lowest 8 bits of the hash, later by as many of its highest as it takes. */
export const SEGMENTS = 256
/** Places of a segment at first, and bytes of a place. */
export const FIRST_SIZE = 8
export const PLACE_BYTES = 8
/** A segment grows before more than this part of its places is taken. */
export const FILL_MAX = 3 / 4
/** Places up to which a segment doubles: 32 KiB, which take some 0.2 ms to fill anew. */
export const SIZE_MAX = 1 << 12
/** Bits by which segments differ, at most: with more, those of a flood of equal hashes double instead. */
const DEPTH_MAX = 16

// A segment: how many places are taken, by how many bits it differs, then place i as (tag, value) at 2i + 2, 2i + 3;
// value -1 means empty.
const USED = 0
const DEPTH = 1
const HEADER = 2

export class HashTable {
  entries = 0
  /** By the bits of a hash. A segment that differs by fewer bits than the directory stands in several places. */
  readonly #directory: Int32Array[] = []
  readonly #sizeMax: number

  /** `sizeMax`: a power of two; smaller in tests, so that segments split early. */
  constructor(sizeMax = SIZE_MAX) {
    this.#sizeMax = sizeMax
    // In one buffer: each allocation beside the large arrays of a state may have the collector run.
    const words = wordsOf(FIRST_SIZE)
    const first = new Int32Array(SEGMENTS * words)
    for (let at = 0; at < first.length; at += words) {
      this.#directory.push(cleared(first.subarray(at, at + words), Math.log2(SEGMENTS)))
    }
  }

  get bytes(): number {
    let bytes = 0
    for (const segment of new Set(this.#directory)) bytes += segment.byteLength
    return bytes
  }

  /** Where the search for this hash begins; give it to `next`. */
  start(low: number, high: number): number {
    return high & maskOf(this.#segment(low, high))
  }

  /** Reads where the search for this hash begins, for nothing but to have it at hand; returns what it read. */
  reach(low: number, high: number): number {
    const segment = this.#segment(low, high)
    return segment[2 * (high & maskOf(segment)) + HEADER]
  }

  /** The place of the next candidate from `place` on, or -1. Its value is `valueAt`; go on from `after(place)`. */
  next(low: number, high: number, place: number): number {
    const segment = this.#segment(low, high)
    const mask = maskOf(segment)
    const tag = high | 0
    for (let at = place; segment[2 * at + HEADER + 1] >= 0; at = (at + 1) & mask) {
      if (segment[2 * at + HEADER] === tag) return at
    }
    return -1
  }

  after(low: number, high: number, place: number): number {
    return (place + 1) & maskOf(this.#segment(low, high))
  }

  valueAt(low: number, high: number, place: number): number {
    return this.#segment(low, high)[2 * place + HEADER + 1]
  }

  /** Adds an entry; `value` ≥ 0. Equal hashes may stand beside each other. */
  add(low: number, high: number, value: number): void {
    let segment = this.#segment(low, high)
    while (segment[USED] + 1 > (maskOf(segment) + 1) * FILL_MAX) {
      this.#grow(low, high)
      segment = this.#segment(low, high)
    }
    put(segment, high | 0, value)
    this.entries++
  }

  /** Removes one entry of this hash and value; it must be there. */
  remove(low: number, high: number, value: number): void {
    let place = this.next(low, high, this.start(low, high))
    while (place >= 0 && this.valueAt(low, high, place) !== value) {
      place = this.next(low, high, this.after(low, high, place))
    }
    if (place < 0) throw new Error('the hash table does not hold this entry')
    const segment = this.#segment(low, high)
    const mask = maskOf(segment)
    let hole = place
    for (let at = (hole + 1) & mask; segment[2 * at + HEADER + 1] >= 0; at = (at + 1) & mask) {
      const home = segment[2 * at + HEADER] & mask
      // The entry may move back into the hole unless its home lies cyclically in (hole, at].
      if (((at - home) & mask) >= ((at - hole) & mask)) {
        segment[2 * hole + HEADER] = segment[2 * at + HEADER]
        segment[2 * hole + HEADER + 1] = segment[2 * at + HEADER + 1]
        hole = at
      }
    }
    segment[2 * hole + HEADER + 1] = -1
    segment[USED]--
    this.entries--
  }

  async serialize(image: Image): Promise<void> {
    this.entries = await image.number(this.entries)
    const directory = this.#directory
    const size = await image.number(directory.length)
    for (let i = 0; i < size; i++) {
      // Where the bit that this place has more than a lower one tells nothing apart, the segment is the same.
      const bit = 31 - Math.clz32(i)
      if (i >= SEGMENTS && directory[i - 2 ** bit][DEPTH] <= bit) {
        directory[i] = directory[i - 2 ** bit]
        continue
      }
      const words = await image.number(directory.at(i)?.length ?? 0)
      if (words !== directory.at(i)?.length) directory[i] = new Int32Array(heldMemory(4 * words))
      await image.array(directory[i])
    }
  }

  #segment(low: number, high: number): Int32Array {
    return this.#directory[placeOf(low, high) & (this.#directory.length - 1)]
  }

  /** Doubles the segment of this hash, or splits it. */
  #grow(low: number, high: number): void {
    const old = this.#segment(low, high)
    const size = maskOf(old) + 1
    const depth = old[DEPTH]
    const splits = size >= this.#sizeMax && depth < DEPTH_MAX
    const bit = 2 ** depth
    const directory = this.#directory
    if (splits && bit === directory.length) for (let i = 0; i < bit; i++) directory.push(directory[i])
    const grown = splits ? segmentOf(size, depth + 1) : segmentOf(2 * size, depth)
    const other = splits ? segmentOf(size, depth + 1) : grown
    for (let at = HEADER; at < old.length; at += 2) {
      // The bit of the directory's index that tells the two apart: `placeOf` says which it is of the hash.
      if (old[at + 1] >= 0) put((old[at] >>> (depth + 16)) & 1 ? other : grown, old[at], old[at + 1])
    }
    for (let i = placeOf(low, high) & (bit - 1); i < directory.length; i += bit) {
      directory[i] = (i & bit) === 0 ? grown : other
    }
  }
}

/** Of a hash in the largest directory: its lowest 8 bits, then its highest from the lower one of them on. */
function placeOf(low: number, high: number): number {
  return (low & 0xff) | ((high >>> 16) & 0xff00)
}

function wordsOf(size: number): number {
  return 2 * size + HEADER
}

function segmentOf(size: number, depth: number): Int32Array {
  return cleared(new Int32Array(heldMemory(4 * wordsOf(size))), depth)
}

function cleared(segment: Int32Array, depth: number): Int32Array {
  segment.fill(-1)
  segment[USED] = 0
  segment[DEPTH] = depth
  return segment
}

/** Places of a segment less one. */
function maskOf(segment: Int32Array): number {
  return (segment.length >>> 1) - 2
}

function put(segment: Int32Array, tag: number, value: number): void {
  const mask = maskOf(segment)
  let at = tag & mask
  while (segment[2 * at + HEADER + 1] >= 0) at = (at + 1) & mask
  segment[2 * at + HEADER] = tag
  segment[2 * at + HEADER + 1] = value
  segment[USED]++
}
