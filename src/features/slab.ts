// The shared slabs in which the events of one entity field lie, and who owns which stretch of them. A stretch is a
// power of two of slots inside one chunk; stretches are split and joined as buddies (Knuth, TAOCP 1, 2.5), so that what
// one entity leaves serves any other. Chunks are added one by one: no long pause.
//
//   chunk    [ stretch of 8 slots | stretch of 4 | free 4 | stretch of 16 … ]          one buffer
//   stretch  [ times | sums 0 | sums 1 … | raws 0 … | ids, two words a slot | counts 0 | counts 1 … ]
//            each column has as many places as the stretch has slots; slots × bytes per slot is the whole
//
// So the events of one entity lie on one or two pages whatever the number of columns: what a fold costs is mostly the
// pages it must reach (bench/features.ts). A stretch has 4 slots at least, so every column begins at a multiple of 8.

import { heldMemory } from '../runtime/held-memory.js'
import type { Image } from '../runtime/image.js'

const ORDER_MIN = 2
const CHUNK_ORDER_MAX = 16

export interface Columns {
  /** Prefix sums of amounts, Float64. */
  readonly sums: number
  /** Raw values, Float64. */
  readonly raws: number
  /** Prefix counts modulo 2^16. */
  readonly counts: number
  /** Whether events carry the hash of their transaction id. */
  readonly ids: boolean
}

interface Chunk {
  /** The same memory three times. */
  readonly floats: Float64Array
  readonly words: Uint32Array
  readonly shorts: Uint16Array
  readonly next: Int32Array
  readonly previous: Int32Array
  /** Order + 1 where a free stretch begins, else 0. One place per smallest stretch. */
  readonly free: Uint8Array
}

/**
 * A stretch as it is worked on: the memory of its chunk and where its columns begin. The slot k of a column stands at
 * begin + k; column c of `sums`, `raws` and `counts` begins c × capacity further on.
 */
export interface Stretch {
  capacity: number
  floats: Float64Array
  /** Into floats. */
  times: number
  sums: number
  raws: number
  words: Uint32Array
  /** Into words: slot k has its low word at ids + 2k and its high word behind it. */
  ids: number
  shorts: Uint16Array
  /** Into shorts. */
  counts: number
}

/** A stretch of nothing: windows from slot 1 to slot 1 over it are empty. */
export function emptyStretch(): Stretch {
  const floats = new Float64Array(2)
  const words = new Uint32Array(floats.buffer)
  const shorts = new Uint16Array(floats.buffer)
  return { capacity: 0, floats, times: 0, sums: 0, raws: 0, words, ids: 0, shorts, counts: 0 }
}

export class Slab {
  readonly bytesPerSlot: number
  /** Slots given out. */
  slotsUsed = 0
  readonly #chunks: Chunk[] = []
  readonly #chunkOrder: number
  readonly #offsetMask: number
  readonly #chunksMax: number
  readonly #columns: Columns
  /** Columns of floats: times, sums, raws. */
  readonly #floatColumns: number
  /** A quarter of the bytes of a smallest stretch, in words of 8 bytes: twice what a slot takes of four shorts. */
  readonly #shortsPerSlot: number
  readonly #heads: Int32Array

  /** At most `slotsMax` slots, in chunks no larger than 2^16 and no smaller than two of the largest stretches. */
  constructor(columns: Columns, slotsMax: number, stretchMax: number) {
    const order = Math.max(orderFor(stretchMax) + 1, Math.min(CHUNK_ORDER_MAX, Math.floor(Math.log2(slotsMax))))
    this.#chunkOrder = order
    this.#offsetMask = (1 << order) - 1
    this.#chunksMax = Math.max(1, Math.floor(slotsMax / (1 << order)))
    this.#columns = columns
    this.#heads = new Int32Array(order + 1).fill(-1)
    this.#floatColumns = 1 + columns.sums + columns.raws
    this.#shortsPerSlot = 4 * (this.#floatColumns + (columns.ids ? 1 : 0)) + columns.counts
    // The buddy lists cost 9 bytes for every four slots.
    this.bytesPerSlot = 2 * this.#shortsPerSlot + 9 / 4
  }

  get bytes(): number {
    return this.#chunks.length * this.chunkSlots * this.bytesPerSlot
  }

  /** Slots of a chunk: memory comes in so many. */
  get chunkSlots(): number {
    return this.#offsetMask + 1
  }

  /** Slots that there will ever be. */
  get slotsMax(): number {
    return this.#chunksMax * this.chunkSlots
  }

  /** Fills `stretch` with where the stretch of 2^order slots from `slot` on lies. */
  open(slot: number, order: number, stretch: Stretch): void {
    const { floats, words, shorts } = this.#chunks[slot >>> this.#chunkOrder]
    const capacity = 1 << order
    // Slots come in fours: the shorts before this one are whole words of 8 bytes.
    const begin = ((slot & this.#offsetMask) >>> ORDER_MIN) * this.#shortsPerSlot
    const ids = begin + this.#floatColumns * capacity
    stretch.capacity = capacity
    stretch.floats = floats
    stretch.times = begin
    stretch.sums = begin + capacity
    stretch.raws = stretch.sums + this.#columns.sums * capacity
    stretch.words = words
    stretch.ids = 2 * ids
    stretch.shorts = shorts
    stretch.counts = 4 * (ids + (this.#columns.ids ? capacity : 0))
  }

  /** Moves slots [at, end) of every column to `to` within the stretch. */
  shift(stretch: Stretch, to: number, at: number, end: number): void {
    const { capacity, floats, times, words, ids, shorts, counts } = stretch
    for (let c = 0; c < this.#floatColumns; c++) {
      const column = times + c * capacity
      floats.copyWithin(column + to, column + at, column + end)
    }
    if (this.#columns.ids) words.copyWithin(ids + 2 * to, ids + 2 * at, ids + 2 * end)
    for (let c = 0; c < this.#columns.counts; c++) {
      const column = counts + c * capacity
      shorts.copyWithin(column + to, column + at, column + end)
    }
  }

  /** Copies slots [at, at + length) of every column to the first slots of another stretch. */
  copy(from: Stretch, at: number, length: number, to: Stretch): void {
    for (let c = 0; c < this.#floatColumns; c++) {
      const source = from.times + c * from.capacity + at
      const target = to.times + c * to.capacity
      for (let i = 0; i < length; i++) to.floats[target + i] = from.floats[source + i]
    }
    if (this.#columns.ids) {
      for (let i = 0; i < 2 * length; i++) to.words[to.ids + i] = from.words[from.ids + 2 * at + i]
    }
    for (let c = 0; c < this.#columns.counts; c++) {
      const source = from.counts + c * from.capacity + at
      const target = to.counts + c * to.capacity
      for (let i = 0; i < length; i++) to.shorts[target + i] = from.shorts[source + i]
    }
  }

  /** Sets the base of every prefix column, slot 0, to nothing. */
  clearBase(stretch: Stretch): void {
    const { capacity, floats, sums, shorts, counts } = stretch
    for (let c = 0; c < this.#columns.sums; c++) floats[sums + c * capacity] = 0
    for (let c = 0; c < this.#columns.counts; c++) shorts[counts + c * capacity] = 0
  }

  /** The first slot of a stretch of 2^order slots, or -1 where the bound is reached. */
  take(order: number): number {
    let from = order
    while (from <= this.#chunkOrder && this.#heads[from] < 0) from++
    if (from > this.#chunkOrder) {
      if (this.#chunks.length >= this.#chunksMax) return -1
      this.#addChunk()
      from = this.#chunkOrder
    }
    const slot = this.#heads[from]
    this.#unlink(slot, from)
    while (from > order) {
      from--
      this.#link(slot + (1 << from), from)
    }
    this.slotsUsed += 1 << order
    return slot
  }

  /** Gives a stretch back and joins it with its free buddies. */
  give(slot: number, order: number): void {
    this.slotsUsed -= 1 << order
    let at = slot
    let size = order
    while (size < this.#chunkOrder) {
      const buddy = at ^ (1 << size)
      if (this.#chunks[buddy >>> this.#chunkOrder].free[(buddy & this.#offsetMask) >>> ORDER_MIN] !== size + 1) break
      this.#unlink(buddy, size)
      at = Math.min(at, buddy)
      size++
    }
    this.#link(at, size)
  }

  async serialize(image: Image): Promise<void> {
    const chunks = await image.number(this.#chunks.length)
    if (chunks > this.#chunksMax) throw new Error(`it holds ${chunks} chunks of events, ${this.#chunksMax} have room`)
    while (this.#chunks.length < chunks) this.#addChunk()
    for (const { words, next, previous, free } of this.#chunks) {
      await image.array(words)
      await image.array(next)
      await image.array(previous)
      await image.array(free)
    }
    await image.array(this.#heads)
    this.slotsUsed = await image.number(this.slotsUsed)
  }

  #link(slot: number, order: number): void {
    const chunk = this.#chunks[slot >>> this.#chunkOrder]
    const place = (slot & this.#offsetMask) >>> ORDER_MIN
    const head = this.#heads[order]
    chunk.free[place] = order + 1
    chunk.next[place] = head
    chunk.previous[place] = -1
    if (head >= 0) this.#chunks[head >>> this.#chunkOrder].previous[(head & this.#offsetMask) >>> ORDER_MIN] = slot
    this.#heads[order] = slot
  }

  #unlink(slot: number, order: number): void {
    const chunk = this.#chunks[slot >>> this.#chunkOrder]
    const place = (slot & this.#offsetMask) >>> ORDER_MIN
    const next = chunk.next[place]
    const previous = chunk.previous[place]
    chunk.free[place] = 0
    if (next >= 0) this.#chunks[next >>> this.#chunkOrder].previous[(next & this.#offsetMask) >>> ORDER_MIN] = previous
    if (previous < 0) this.#heads[order] = next
    else this.#chunks[previous >>> this.#chunkOrder].next[(previous & this.#offsetMask) >>> ORDER_MIN] = next
  }

  #addChunk(): void {
    const slots = this.#offsetMask + 1
    const places = slots >>> ORDER_MIN
    const memory = heldMemory(2 * this.#shortsPerSlot * slots)
    this.#chunks.push({
      floats: new Float64Array(memory),
      words: new Uint32Array(memory),
      shorts: new Uint16Array(memory),
      next: new Int32Array(heldMemory(4 * places)),
      previous: new Int32Array(heldMemory(4 * places)),
      free: new Uint8Array(heldMemory(places)),
    })
    this.#link((this.#chunks.length - 1) << this.#chunkOrder, this.#chunkOrder)
  }
}

/** The smallest order whose stretch holds that many slots. */
export function orderFor(slots: number): number {
  return Math.max(ORDER_MIN, Math.ceil(Math.log2(slots)))
}
