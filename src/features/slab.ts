// The shared slabs in which the events of one entity field lie, column by column, and who owns which stretch of them.
// A stretch (extent) is a power of two of slots inside one chunk; stretches are split and joined as buddies
// (Knuth, TAOCP 1, 2.5), so that what one entity leaves serves any other. Chunks are added one by one: no long pause.

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

export interface Chunk {
  readonly times: Float64Array
  readonly sums: readonly Float64Array[]
  readonly raws: readonly Float64Array[]
  readonly counts: readonly Uint16Array[]
  readonly idLow: Uint32Array
  readonly idHigh: Uint32Array
  readonly next: Int32Array
  readonly previous: Int32Array
  /** Order + 1 where a free stretch begins, else 0. One place per smallest stretch. */
  readonly free: Uint8Array
}

export class Slab {
  readonly chunks: Chunk[] = []
  readonly chunkOrder: number
  readonly offsetMask: number
  readonly bytesPerSlot: number
  /** Slots given out. */
  slotsUsed = 0
  readonly #chunksMax: number
  readonly #columns: Columns
  readonly #heads: Int32Array

  /** At most `slotsMax` slots, in chunks no larger than 2^16 and no smaller than two of the largest stretches. */
  constructor(columns: Columns, slotsMax: number, stretchMax: number) {
    const order = Math.max(orderFor(stretchMax) + 1, Math.min(CHUNK_ORDER_MAX, Math.floor(Math.log2(slotsMax))))
    this.chunkOrder = order
    this.offsetMask = (1 << order) - 1
    this.#chunksMax = Math.max(1, Math.floor(slotsMax / (1 << order)))
    this.#columns = columns
    this.#heads = new Int32Array(order + 1).fill(-1)
    // The buddy lists cost 9 bytes for every four slots.
    this.bytesPerSlot = 8 + 8 * (columns.sums + columns.raws) + 2 * columns.counts + (columns.ids ? 8 : 0) + 9 / 4
  }

  get bytes(): number {
    return this.chunks.length * (this.offsetMask + 1) * this.bytesPerSlot
  }

  /** The first slot of a stretch of 2^order slots, or -1 where the bound is reached. */
  take(order: number): number {
    let from = order
    while (from <= this.chunkOrder && this.#heads[from] < 0) from++
    if (from > this.chunkOrder) {
      if (this.chunks.length >= this.#chunksMax) return -1
      this.#addChunk()
      from = this.chunkOrder
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
    while (size < this.chunkOrder) {
      const buddy = at ^ (1 << size)
      if (this.chunks[buddy >>> this.chunkOrder].free[(buddy & this.offsetMask) >>> ORDER_MIN] !== size + 1) break
      this.#unlink(buddy, size)
      at = Math.min(at, buddy)
      size++
    }
    this.#link(at, size)
  }

  #link(slot: number, order: number): void {
    const chunk = this.chunks[slot >>> this.chunkOrder]
    const place = (slot & this.offsetMask) >>> ORDER_MIN
    const head = this.#heads[order]
    chunk.free[place] = order + 1
    chunk.next[place] = head
    chunk.previous[place] = -1
    if (head >= 0) this.chunks[head >>> this.chunkOrder].previous[(head & this.offsetMask) >>> ORDER_MIN] = slot
    this.#heads[order] = slot
  }

  #unlink(slot: number, order: number): void {
    const chunk = this.chunks[slot >>> this.chunkOrder]
    const place = (slot & this.offsetMask) >>> ORDER_MIN
    const next = chunk.next[place]
    const previous = chunk.previous[place]
    chunk.free[place] = 0
    if (next >= 0) this.chunks[next >>> this.chunkOrder].previous[(next & this.offsetMask) >>> ORDER_MIN] = previous
    if (previous >= 0) this.chunks[previous >>> this.chunkOrder].next[(previous & this.offsetMask) >>> ORDER_MIN] = next
    else this.#heads[order] = next
  }

  #addChunk(): void {
    const slots = this.offsetMask + 1
    const places = slots >>> ORDER_MIN
    const { sums, raws, counts, ids } = this.#columns
    this.chunks.push({
      times: new Float64Array(slots),
      sums: Array.from({ length: sums }, () => new Float64Array(slots)),
      raws: Array.from({ length: raws }, () => new Float64Array(slots)),
      counts: Array.from({ length: counts }, () => new Uint16Array(slots)),
      idLow: new Uint32Array(ids ? slots : 0),
      idHigh: new Uint32Array(ids ? slots : 0),
      next: new Int32Array(places),
      previous: new Int32Array(places),
      free: new Uint8Array(places),
    })
    this.#link((this.chunks.length - 1) << this.chunkOrder, this.chunkOrder)
  }
}

/** The smallest order whose stretch holds that many slots. */
export function orderFor(slots: number): number {
  return Math.max(ORDER_MIN, Math.ceil(Math.log2(slots)))
}

/** Every column of a chunk, for moving events. */
export function columnsOf(chunk: Chunk): (Float64Array | Uint16Array | Uint32Array)[] {
  return [chunk.times, ...chunk.sums, ...chunk.raws, ...chunk.counts, chunk.idLow, chunk.idHigh]
}

/** Prefix at `at` from the one before it, and the amount added to all that follow. */
export function addFrom(column: Float64Array | Uint16Array, at: number, end: number, amount: number): void {
  column[at] = column[at - 1] + amount
  for (let k = at + 1; k <= end; k++) column[k] += amount
}
