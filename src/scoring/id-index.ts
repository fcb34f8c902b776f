// The index of recent transactions: id hash, content hash and the first decision, in flat arrays off the heap.
// Entries stand in ordinal order and leave in that order, by count, by age or by bytes, never by use. An entry is
// `open` from its fold until its record is appended; whether that record is durable is the decision log's to say.
// It refuses nothing: the oldest makes room.
import assert from 'node:assert'
import type { Image } from '../runtime/image.js'

export interface IdIndexOptions {
  /** Entries held at most. */
  readonly idsMax: number
  /** Milliseconds an entry is held at most, by the clock at its ordinal. */
  readonly windowMs: number
  /**
   * Bytes kept of the decisions' facts at most, fewer where `idsMax` needs no more; the oldest entries leave when they
   * are used up.
   */
  readonly factsBytesMax: number
}

/** A held decision. `facts` (its length first, as logged) is a view into the arena: read it before the next call. */
export interface HeldDecision {
  epoch: number
  ordinal: number
  /** Sequence of its record in the decision log. */
  sequence: number
  transactionId: string
  facts: Buffer
}

/**
 * What `settle` takes: the facts section and its length stand in `buffer` from `from` to `to`. The caller may reuse the
 * object.
 */
export interface SettledDecision {
  epoch: number
  ordinal: number
  sequence: number
  transactionId: string
  buffer: Buffer
  from: number
  to: number
}

const OPEN = -1
/** A later entry has taken its place. */
const REPLACED = -2

/** Bytes of facts and id that an entry is given room for on average; twice what the reference policy takes. */
const FACTS_BYTES_EACH = 512
const FACTS_BYTES_MIN = 64 << 10

export class IdIndex {
  readonly #idsMax: number
  readonly #windowMs: number
  readonly #mask: number
  readonly #table: Int32Array
  readonly #idLow: Uint32Array
  readonly #idHigh: Uint32Array
  readonly #contentLow: Uint32Array
  readonly #contentHigh: Uint32Array
  readonly #epoch: Uint32Array
  readonly #ordinal: Float64Array
  readonly #clockMs: Float64Array
  readonly #sequence: Float64Array
  readonly #factsAt: Float64Array
  readonly #factsBytes: Uint32Array
  readonly #arena: Buffer
  #oldest = 0
  #next = 0
  #arenaNext = 0
  #evicted = 0

  constructor(options: IdIndexOptions) {
    assert(options.idsMax >= 1 && options.factsBytesMax >= 1024)
    const entries = options.idsMax
    let buckets = 16
    while (buckets < entries * 2) buckets *= 2
    this.#idsMax = entries
    this.#windowMs = options.windowMs
    this.#mask = buckets - 1
    this.#table = new Int32Array(buckets)
    this.#idLow = new Uint32Array(entries)
    this.#idHigh = new Uint32Array(entries)
    this.#contentLow = new Uint32Array(entries)
    this.#contentHigh = new Uint32Array(entries)
    this.#epoch = new Uint32Array(entries)
    this.#ordinal = new Float64Array(entries)
    this.#clockMs = new Float64Array(entries)
    this.#sequence = new Float64Array(entries)
    this.#factsAt = new Float64Array(entries)
    this.#factsBytes = new Uint32Array(entries)
    const room = Math.max(entries * FACTS_BYTES_EACH, FACTS_BYTES_MIN)
    this.#arena = Buffer.alloc(Math.min(options.factsBytesMax, room))
  }

  /** Entry of this id (64-bit keyed hash), or -1. Valid until the next insert or settle. */
  find(idLow: number, idHigh: number): number {
    for (let at = idLow & this.#mask; this.#table[at] !== 0; at = (at + 1) & this.#mask) {
      const entry = this.#table[at] - 1
      if (this.#idLow[entry] === idLow && this.#idHigh[entry] === idHigh) return entry
    }
    return -1
  }

  /** True where the entry's first transaction had this content (64-bit keyed hash of its canonical form). */
  sameContent(entry: number, contentLow: number, contentHigh: number): boolean {
    return this.#contentLow[entry] === contentLow && this.#contentHigh[entry] === contentHigh
  }

  ordinalOf(entry: number): number {
    return this.#ordinal[entry]
  }

  /** Sequence of the entry's record, or -1 while it has none. */
  sequenceOf(entry: number): number {
    return this.#sequence[entry]
  }

  /**
   * Takes in a transaction, in the place of an entry of the same id where there is one. Ordinals must rise. Returns its
   * entry.
   */
  insert(hashes: Uint32Array, epoch: number, ordinal: number, clockMs: number): number {
    if (this.#next - this.#oldest === this.#idsMax) this.#evictOldest()
    while (this.#oldest < this.#next && this.#clockMs[this.#oldest % this.#idsMax] < clockMs - this.#windowMs) {
      this.#evictOldest()
    }
    const entry = this.#next++ % this.#idsMax
    this.#idLow[entry] = hashes[0]
    this.#idHigh[entry] = hashes[1]
    this.#contentLow[entry] = hashes[2]
    this.#contentHigh[entry] = hashes[3]
    this.#epoch[entry] = epoch
    this.#ordinal[entry] = ordinal
    this.#clockMs[entry] = clockMs
    this.#sequence[entry] = OPEN
    this.#factsBytes[entry] = 0
    this.#factsAt[entry] = this.#arenaNext
    let at = hashes[0] & this.#mask
    for (; this.#table[at] !== 0; at = (at + 1) & this.#mask) {
      const other = this.#table[at] - 1
      if (this.#idLow[other] !== hashes[0] || this.#idHigh[other] !== hashes[1]) continue
      this.#sequence[other] = REPLACED
      this.#factsBytes[other] = 0
      break
    }
    this.#table[at] = entry + 1
    return entry
  }

  /** Keeps what was decided: the id and the facts section as logged. Does nothing where the entry has left already. */
  settle(entry: number, settled: SettledDecision): void {
    if (this.#ordinal[entry] !== settled.ordinal || this.#epoch[entry] !== settled.epoch) return
    if (this.#sequence[entry] === REPLACED) return
    const factsBytes = settled.to - settled.from
    const idBytes = Buffer.byteLength(settled.transactionId)
    const bytes = 2 + idBytes + factsBytes
    const at = this.#room(bytes)
    const start = at % this.#arena.length
    this.#arena.writeUInt16LE(idBytes, start)
    this.#arena.write(settled.transactionId, start + 2)
    settled.buffer.copy(this.#arena, start + 2 + idBytes, settled.from, settled.to)
    this.#factsAt[entry] = at
    this.#factsBytes[entry] = bytes
    this.#sequence[entry] = settled.sequence
  }

  /** The decision of an entry, or null while it is open or where its bytes have made room. */
  read(entry: number): HeldDecision | null {
    const at = this.#factsAt[entry]
    if (this.#factsBytes[entry] === 0 || at < this.#arenaNext - this.#arena.length) return null
    const start = at % this.#arena.length
    const idEnd = start + 2 + this.#arena.readUInt16LE(start)
    return {
      epoch: this.#epoch[entry],
      ordinal: this.#ordinal[entry],
      sequence: this.#sequence[entry],
      transactionId: this.#arena.toString('utf8', start + 2, idEnd),
      facts: this.#arena.subarray(idEnd, start + this.#factsBytes[entry]),
    }
  }

  /** Entry of this ordinal, or -1. */
  findOrdinal(epoch: number, ordinal: number): number {
    let low = this.#oldest
    let high = this.#next
    while (low < high) {
      const middle = Math.floor((low + high) / 2)
      if (this.#ordinal[middle % this.#idsMax] < ordinal) low = middle + 1
      else high = middle
    }
    const entry = low % this.#idsMax
    const isFound = low < this.#next && this.#ordinal[entry] === ordinal && this.#epoch[entry] === epoch
    return isFound && this.#sequence[entry] !== REPLACED ? entry : -1
  }

  /** Entries held, those evicted so far, and the clock at the oldest held (null where empty). */
  coverage(): { ids: number; evicted: number; sinceMs: number | null } {
    const ids = this.#next - this.#oldest
    return { ids, evicted: this.#evicted, sinceMs: ids === 0 ? null : this.#clockMs[this.#oldest % this.#idsMax] }
  }

  /** Every held entry in ordinal order, to prove that a replay gives the same index. */
  *entries(): Generator<{ epoch: number; ordinal: number; decision: HeldDecision | null }> {
    for (let number = this.#oldest; number < this.#next; number++) {
      const entry = number % this.#idsMax
      yield { epoch: this.#epoch[entry], ordinal: this.#ordinal[entry], decision: this.read(entry) }
    }
  }

  /** Puts the index into an image, or takes it from that of an index with the same options and hash key. */
  async serialize(image: Image): Promise<void> {
    this.#oldest = await image.number(this.#oldest)
    this.#next = await image.number(this.#next)
    this.#evicted = await image.number(this.#evicted)
    this.#arenaNext = await image.number(this.#arenaNext)
    const columns = [
      ...[this.#idLow, this.#idHigh, this.#contentLow, this.#contentHigh, this.#epoch, this.#ordinal, this.#clockMs],
      ...[this.#sequence, this.#factsAt, this.#factsBytes],
    ]
    for (const column of columns) await image.array(column.subarray(0, Math.min(this.#next, this.#idsMax)))
    await image.array(this.#arena.subarray(0, Math.min(this.#arenaNext, this.#arena.length)))
    await image.array(this.#table)
  }

  #room(bytes: number): number {
    const size = this.#arena.length
    assert(bytes <= size)
    let at = this.#arenaNext
    if ((at % size) + bytes > size) at += size - (at % size)
    this.#arenaNext = at + bytes
    const floor = this.#arenaNext - size
    while (this.#oldest < this.#next - 1 && this.#factsAt[this.#oldest % this.#idsMax] < floor) this.#evictOldest()
    return at
  }

  #evictOldest(): void {
    const entry = this.#oldest++ % this.#idsMax
    this.#evicted++
    if (this.#sequence[entry] === REPLACED) {
      this.#ordinal[entry] = -1
      return
    }
    let hole = this.#idLow[entry] & this.#mask
    while (this.#table[hole] !== entry + 1) hole = (hole + 1) & this.#mask
    // Backward shift: linear probing without tombstones (Knuth, TAOCP 6.4, algorithm R).
    for (let at = (hole + 1) & this.#mask; this.#table[at] !== 0; at = (at + 1) & this.#mask) {
      const home = this.#idLow[this.#table[at] - 1] & this.#mask
      if (((at - home) & this.#mask) >= ((at - hole) & this.#mask)) {
        this.#table[hole] = this.#table[at]
        hole = at
      }
    }
    this.#table[hole] = 0
    this.#ordinal[entry] = -1
  }
}
