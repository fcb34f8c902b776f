// From a 64-bit keyed hash to an integer: an open-addressing multimap in 256 segments that grow one by one, so that no
// single growth is long. It keeps the high word and 8 bits of the low one: the caller verifies each candidate.
// Deleting shifts back (Knuth, TAOCP 3, 6.4, algorithm R): no tombstones, so no slow decay.

import type { Image } from '../runtime/image.js'

export const SEGMENTS = 256
/** Places of a segment at first, and bytes of a place. */
export const FIRST_SIZE = 8
export const PLACE_BYTES = 8
/** A segment doubles before more than this part of its places is taken. */
export const FILL_MAX = 3 / 4

export class HashTable {
  entries = 0
  // Of each segment: entry i is (tag, value) at 2i, 2i + 1; value -1 means empty.
  readonly #segments: Int32Array[] = []
  readonly #used = new Int32Array(SEGMENTS)

  constructor() {
    for (let i = 0; i < SEGMENTS; i++) this.#segments.push(new Int32Array(FIRST_SIZE * 2).fill(-1))
  }

  get bytes(): number {
    let bytes = 0
    for (const segment of this.#segments) bytes += segment.byteLength
    return bytes
  }

  /** Where the search for this hash begins; give it to `next`. */
  start(low: number, high: number): number {
    return high & ((this.#segments[low & (SEGMENTS - 1)].length >>> 1) - 1)
  }

  /** Reads where the search for this hash begins, for nothing but to have it at hand; returns what it read. */
  reach(low: number, high: number): number {
    const segment = this.#segments[low & (SEGMENTS - 1)]
    return segment[2 * (high & ((segment.length >>> 1) - 1))]
  }

  /** The place of the next candidate from `place` on, or -1. Its value is `valueAt`; go on from `after(place)`. */
  next(low: number, high: number, place: number): number {
    const segment = this.#segments[low & (SEGMENTS - 1)]
    const mask = (segment.length >>> 1) - 1
    const tag = high | 0
    for (let at = place; segment[2 * at + 1] >= 0; at = (at + 1) & mask) {
      if (segment[2 * at] === tag) return at
    }
    return -1
  }

  after(low: number, place: number): number {
    return (place + 1) & ((this.#segments[low & (SEGMENTS - 1)].length >>> 1) - 1)
  }

  valueAt(low: number, place: number): number {
    return this.#segments[low & (SEGMENTS - 1)][2 * place + 1]
  }

  /** Adds an entry; `value` ≥ 0. Equal hashes may stand beside each other. */
  add(low: number, high: number, value: number): void {
    const index = low & (SEGMENTS - 1)
    let segment = this.#segments[index]
    if (this.#used[index] + 1 > (segment.length >>> 1) * FILL_MAX) segment = this.#grow(index)
    put(segment, high | 0, value)
    this.#used[index]++
    this.entries++
  }

  /** Removes one entry of this hash and value; it must be there. */
  remove(low: number, high: number, value: number): void {
    let place = this.next(low, high, this.start(low, high))
    while (place >= 0 && this.valueAt(low, place) !== value) place = this.next(low, high, this.after(low, place))
    if (place < 0) throw new Error('the hash table does not hold this entry')
    const index = low & (SEGMENTS - 1)
    const segment = this.#segments[index]
    const mask = (segment.length >>> 1) - 1
    let hole = place
    for (let at = (hole + 1) & mask; segment[2 * at + 1] >= 0; at = (at + 1) & mask) {
      const home = segment[2 * at] & mask
      // The entry may move back into the hole unless its home lies cyclically in (hole, at].
      if (((at - home) & mask) >= ((at - hole) & mask)) {
        segment[2 * hole] = segment[2 * at]
        segment[2 * hole + 1] = segment[2 * at + 1]
        hole = at
      }
    }
    segment[2 * hole + 1] = -1
    this.#used[index]--
    this.entries--
  }

  async serialize(image: Image): Promise<void> {
    this.entries = await image.number(this.entries)
    await image.array(this.#used)
    for (let i = 0; i < SEGMENTS; i++) {
      const words = await image.number(this.#segments[i].length)
      if (words !== this.#segments[i].length) this.#segments[i] = new Int32Array(words)
      await image.array(this.#segments[i])
    }
  }

  #grow(index: number): Int32Array {
    const old = this.#segments[index]
    const grown = new Int32Array(old.length * 2).fill(-1)
    for (let i = 0; i < old.length; i += 2) if (old[i + 1] >= 0) put(grown, old[i], old[i + 1])
    this.#segments[index] = grown
    return grown
  }
}

function put(segment: Int32Array, tag: number, value: number): void {
  const mask = (segment.length >>> 1) - 1
  let at = tag & mask
  while (segment[2 * at + 1] >= 0) at = (at + 1) & mask
  segment[2 * at] = tag
  segment[2 * at + 1] = value
}
