// The entities held of one field: found by hash, linked by when they were last seen, each one a record of its own.
//
//   hash of the value ─> table ─> record:  | hash | older newer | stretch order first count | floor | guesses … |
//                                          0      2             4                           8       10        16
//
// A record of 16 words is one cache line (64 bytes), so that an entity costs one miss and not one per fact; more window
// edges than 7 take a second line. An entity is named by the word at which its record begins. A free record links to
// the next free one in `older`.
import type { Image } from '../runtime/image.js'
import { HashTable } from './hash-table.js'

const NONE = -1
const HASH_LOW = 0
const HASH_HIGH = 1
const OLDER = 2
const NEWER = 3
/** First slot of the stretch in the slab, and its size as an order. */
export const STRETCH = 4
export const ORDER = 5
/** Slot of the oldest event in the stretch, and the number of events. */
export const FIRST = 6
export const COUNT = 7
/** In words of eight bytes: half of a record's beginning, and this. */
const FLOOR = 4
/** Per edge but the first: the events before it when the entity was last looked at. */
export const GUESSES = 10
const LINE = 16

// A class: private state and speed meet.
export class Entities {
  /** The records. Reserved whole: the pages of records that were never used are never touched. */
  readonly facts: Int32Array
  /** Least and most recently seen, or -1. */
  oldest = NONE
  newest = NONE
  readonly #floats: Float64Array
  readonly #words: number
  readonly #table = new HashTable()
  #wordsUsed = 0
  #free = NONE

  constructor(entitiesMax: number, edges: number) {
    this.#words = Math.ceil((GUESSES + edges - 1) / LINE) * LINE
    this.facts = new Int32Array(entitiesMax * this.#words)
    this.#floats = new Float64Array(this.facts.buffer)
  }

  get size(): number {
    return this.#table.entries
  }

  get bytes(): number {
    return this.#table.bytes + this.#wordsUsed * 4
  }

  /** The entity of this hash, or -1. */
  find(low: number, high: number): number {
    const table = this.#table
    let place = table.next(low, high, table.start(low, high))
    while (place >= 0) {
      const entity = table.valueAt(low, high, place)
      if (this.facts[entity + HASH_LOW] === (low | 0)) return entity
      place = table.next(low, high, table.after(low, high, place))
    }
    return NONE
  }

  /** A record for this hash, seen now; the caller fills in the stretch and the floor. */
  add(low: number, high: number): number {
    const { facts } = this
    let entity = this.#free
    if (entity >= 0) this.#free = facts[entity + OLDER]
    else {
      entity = this.#wordsUsed
      this.#wordsUsed += this.#words
    }
    facts[entity + HASH_LOW] = low
    facts[entity + HASH_HIGH] = high
    this.#link(entity)
    this.#table.add(low, high, entity)
    return entity
  }

  remove(entity: number): void {
    this.#table.remove(this.hashLow(entity), this.hashHigh(entity), entity)
    this.#unlink(entity)
    this.facts[entity + OLDER] = this.#free
    this.#free = entity
  }

  /** Reads what `seen` will write, for nothing but to have it at hand; returns what it read. */
  reach(entity: number): number {
    const { facts } = this
    const older = facts[entity + OLDER]
    const newer = facts[entity + NEWER]
    return facts[older < 0 ? entity : older] ^ facts[newer < 0 ? entity : newer]
  }

  /** The entity was seen now. */
  seen(entity: number): void {
    if (entity === this.newest) return
    this.#unlink(entity)
    this.#link(entity)
  }

  /** The entity seen next after this one, or -1. */
  newer(entity: number): number {
    return this.facts[entity + NEWER]
  }

  hashLow(entity: number): number {
    return this.facts[entity + HASH_LOW] >>> 0
  }

  hashHigh(entity: number): number {
    return this.facts[entity + HASH_HIGH] >>> 0
  }

  /** Newest event time that a bound has dropped: a window that reaches back to it is truncated. */
  floor(entity: number): number {
    return this.#floats[(entity >>> 1) + FLOOR]
  }

  setFloor(entity: number, timeMs: number): void {
    this.#floats[(entity >>> 1) + FLOOR] = timeMs
  }

  async serialize(image: Image): Promise<void> {
    this.#wordsUsed = await image.number(this.#wordsUsed)
    this.#free = await image.number(this.#free)
    this.oldest = await image.number(this.oldest)
    this.newest = await image.number(this.newest)
    await image.array(this.facts.subarray(0, this.#wordsUsed))
    await this.#table.serialize(image)
  }

  #link(entity: number): void {
    const { facts, newest } = this
    facts[entity + OLDER] = newest
    facts[entity + NEWER] = NONE
    if (newest >= 0) facts[newest + NEWER] = entity
    else this.oldest = entity
    this.newest = entity
  }

  #unlink(entity: number): void {
    const { facts } = this
    const older = facts[entity + OLDER]
    const newer = facts[entity + NEWER]
    if (older >= 0) facts[older + NEWER] = newer
    else this.oldest = newer
    if (newer >= 0) facts[newer + OLDER] = older
    else this.newest = older
  }
}
