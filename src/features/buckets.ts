// Windows in constant memory: of each entity one ring of buckets of equal width, each with counts, sums and maxima.
// No event is held, whatever an entity does.
//
//   hash of the value ─> entity ─> record:  | newest bucket | sums, maxima … of each place | counts … of each place |
//                                            a place of the ring is the number of the bucket modulo its length
//
// A window (t - lower, t - upper] becomes whole buckets: both edges move on to the end of the bucket in which they lie,
// by less than one width. So a value differs from the exact one by what happened in less than one width behind each
// edge; at t itself nothing is missing. Buckets with all events at or before `heldFrom` are invisible.
//
// Labels find no event here. One that names the entity and the time of its transaction counts in that bucket, once,
// whether the transaction was seen or not; others do not act on buckets.
import type { Limits } from '../limits.js'
import { heldMemory } from '../runtime/held-memory.js'
import type { Image } from '../runtime/image.js'
import type { Current } from './aggregate.js'
import { Entities, STRETCH } from './entities.js'
import { type MarkSet, isMarked } from './marks.js'
import * as plan from './plan.js'

/** Idle entities looked at per insertion. */
const SWEEP = 2
const CHUNK_BYTES_MAX = 1 << 18

interface Chunk {
  /** The same memory twice. */
  readonly floats: Float64Array
  readonly words: Uint32Array
}

/** How a record lies in memory. */
export interface BucketLayout {
  /** Buckets in a ring. */
  readonly places: number
  readonly floatColumns: number
  readonly countColumns: number
  readonly recordBytes: number
  readonly recordsPerChunk: number
}

/** The layout of the records of a plan: all that its windows, late events and clocks that are ahead can ask for. */
export function bucketLayout(plan: plan.BucketPlan, limits: Limits): BucketLayout {
  const places = Math.ceil((plan.spanMs + limits.lateMsMax + limits.clockAheadMsMax) / plan.widthMs) + 1
  const floatColumns = plan.sums.length + plan.maxima.length
  const countColumns = plan.counts.length + plan.marked.length
  const words = 2 * (1 + places * floatColumns) + places * countColumns
  const recordBytes = Math.ceil(words / 2) * 8
  return {
    ...{ places, floatColumns, countColumns, recordBytes },
    recordsPerChunk: Math.max(1, Math.floor(CHUNK_BYTES_MAX / recordBytes)),
  }
}

// A class: private state and speed meet.
export class EntityBuckets {
  readonly plan: plan.BucketPlan
  readonly events = 0
  evictions = 0
  readonly #limits: Limits
  readonly #layout: BucketLayout
  readonly #entities: Entities
  readonly #chunks: Chunk[] = []
  #recordsUsed = 0
  /** The record that was given back last, or -1; its first float says which one was before. */
  #freed = -1
  /** The record at hand: its memory, and where it begins in floats. */
  #floats: Float64Array = new Float64Array(0)
  #words: Uint32Array = new Uint32Array(0)
  #begin = 0
  #evictedUntil = -Infinity

  constructor(plan: plan.BucketPlan, limits: Limits) {
    this.plan = plan
    this.#limits = limits
    this.#layout = bucketLayout(plan, limits)
    this.#entities = new Entities(limits.entitiesMax, 1)
  }

  get entities(): number {
    return this.#entities.size
  }

  get bytes(): number {
    const { recordBytes, recordsPerChunk } = this.#layout
    return this.#chunks.length * recordBytes * recordsPerChunk + this.#entities.bytes
  }

  get evictedUntil(): number {
    return this.#evictedUntil
  }

  find(low: number, high: number): number {
    return this.#entities.find(low, high)
  }

  /** Reads ahead what `compute` will need; returns something made of it. */
  reach(entity: number): number {
    if (entity < 0) return 0
    this.#open(entity)
    return this.#floats[this.#begin]
  }

  /** Writes the raw aggregates at time t, the current transaction included; NaN where nothing is known. */
  compute(entity: number, current: Current, heldFrom: number, raw: Float64Array): void {
    const { aggregates, widthMs } = this.plan
    let newest = -Infinity
    if (entity >= 0) {
      this.#open(entity)
      newest = this.#floats[this.#begin]
    }
    const oldest = this.#oldestVisible(newest, heldFrom)
    for (let i = 0; i < aggregates.length; i++) {
      const spec = aggregates[i]
      const first = Math.max(Math.floor((current.timeMs - spec.lowerMs) / widthMs) + 1, oldest)
      const last = Math.min(Math.floor((current.timeMs - spec.upperMs) / widthMs), newest)
      raw[spec.feature] = this.#one(spec, current, first, last)
    }
  }

  /** Whether there is a bucket in which an event of this time was counted, if it came. */
  holds(entity: number, t: number, heldFrom: number): boolean {
    if (entity < 0 || !this.accepts(entity, t, heldFrom)) return false
    this.#open(entity)
    return Math.floor(t / this.plan.widthMs) <= this.#floats[this.#begin]
  }

  /** Whether a window ending at t may lack what a bound has dropped. */
  truncated(entity: number, t: number, heldFrom: number): boolean {
    const from = t - this.plan.spanMs
    return heldFrom > from || (entity < 0 ? this.#evictedUntil : this.#entities.floor(entity)) > from
  }

  /** Whether an event at t is counted: not too old, nor so far ahead that buckets still needed would leave. */
  accepts(_entity: number, t: number, heldFrom: number): boolean {
    const { widthMs, spanMs } = this.plan
    const ahead = spanMs + this.#limits.lateMsMax + this.#limits.clockAheadMsMax
    return t >= 0 && Math.floor(t / widthMs) > Math.floor(heldFrom / widthMs) && t <= heldFrom + ahead
  }

  /** Counts the event; call only where `accepts` says so. */
  insert(entity: number, low: number, high: number, current: Current, heldFrom: number): void {
    const { counts, sums, maxima } = this.plan
    // Where labels alone are counted, an entity is one of which a label has spoken.
    if (counts.length + sums.length + maxima.length === 0) return
    this.#see(entity, low, high)
    const at = this.#place(current.timeMs)
    for (let c = 0; c < counts.length; c++) {
      const { mask, source } = counts[c]
      const known = source < 0 || !Number.isNaN(current.values[source])
      if (current.masks[mask] === 1 && known) this.#words[this.#countColumn(c) + at]++
    }
    for (let c = 0; c < sums.length; c++) {
      const value = valueOf(sums[c], current)
      if (!Number.isNaN(value)) this.#floats[this.#floatColumn(c) + at] += value
    }
    for (let c = 0; c < maxima.length; c++) {
      const value = valueOf(maxima[c], current)
      const place = this.#floatColumn(sums.length + c) + at
      if (value > this.#floats[place]) this.#floats[place] = value
    }
    this.#sweep(heldFrom)
  }

  /** The event was ahead of the clock: windows that reach it miss it. */
  miss(entity: number, t: number): void {
    if (entity >= 0 && t > this.#entities.floor(entity)) this.#entities.setFloor(entity, t)
  }

  /** Moves a transaction of which labels said `was` between the columns of labels; only where `accepts` says so. */
  mark(entity: number, low: number, high: number, word: MarkedEvent): void {
    const { counts, marked } = this.plan
    if (marked.every((set) => changeOf(set, word) === 0)) return
    this.#see(entity, low, high)
    const at = this.#place(word.timeMs)
    marked.forEach((set, i) => {
      const change = changeOf(set, word)
      const place = this.#countColumn(counts.length + i) + at
      // A word that takes back what was never counted here takes nothing.
      if (change > 0 || this.#words[place] > 0) this.#words[place] += change
    })
    this.#sweep(word.heldFrom)
  }

  /** Hands all numbers over, entities in the order in which they would leave: for the digest. */
  walk(heldFrom: number, put: (value: number) => void): void {
    const entities = this.#entities
    const { places, floatColumns, countColumns } = this.#layout
    for (let entity = entities.oldest; entity >= 0; entity = entities.newer(entity)) {
      this.#open(entity)
      const newest = this.#floats[this.#begin]
      for (const fact of [entities.hashLow(entity), entities.hashHigh(entity), entities.floor(entity), newest])
        put(fact)
      for (let bucket = this.#oldestVisible(newest, heldFrom); bucket <= newest; bucket++) {
        const at = bucket % places
        for (let c = 0; c < floatColumns; c++) put(this.#floats[this.#floatColumn(c) + at])
        for (let c = 0; c < countColumns; c++) put(this.#words[this.#countColumn(c) + at])
      }
    }
  }

  async serialize(image: Image): Promise<void> {
    this.evictions = await image.number(this.evictions)
    this.#evictedUntil = await image.number(this.#evictedUntil)
    await this.#entities.serialize(image)
    this.#recordsUsed = await image.number(this.#recordsUsed)
    if (this.#recordsUsed > this.#limits.entitiesMax) throw new Error(`it holds ${this.#recordsUsed} entities`)
    this.#freed = await image.number(this.#freed)
    const chunks = Math.ceil(this.#recordsUsed / this.#layout.recordsPerChunk)
    while (this.#chunks.length < chunks) this.#addChunk()
    for (const { floats } of this.#chunks) await image.array(floats)
  }

  #one(spec: plan.BucketAggregate, current: Current, first: number, last: number): number {
    const own = spec.current && current.adds ? current.masks[spec.mask] : 0
    switch (spec.code) {
      case plan.COUNT:
        return this.#counted(spec.count, first, last) + own
      case plan.LABEL_RATE: {
        const count = this.#counted(spec.count, first, last) + own
        // A label may count whose transaction was never seen.
        return count === 0 ? NaN : Math.min(1, this.#counted(spec.part, first, last) / count)
      }
      case plan.TIME_SINCE_LAST: {
        const newest = this.#largest(spec.value, first, last)
        return newest === -Infinity ? NaN : Math.max(0, current.timeMs - newest) / 1000
      }
      case plan.MAX: {
        const value = own === 1 ? current.values[spec.source] : NaN
        const largest = this.#largest(spec.value, first, last)
        const most = Number.isNaN(value) ? largest : Math.max(largest, value)
        return most === -Infinity ? NaN : most / spec.divisor
      }
      default:
        return this.#summed(spec, current, first, last)
    }
  }

  #summed(spec: plan.BucketAggregate, current: Current, first: number, last: number): number {
    const value = spec.source < 0 ? current.amount : current.values[spec.source]
    const own = spec.current && current.adds && current.masks[spec.mask] === 1 && !Number.isNaN(value)
    let sum = own ? value : 0
    const { places } = this.#layout
    const column = this.#floatColumn(spec.value)
    for (let bucket = first; bucket <= last; bucket++) sum += this.#floats[column + (bucket % places)]
    if (spec.code === plan.SUM || spec.code === plan.SUM_AMOUNT) return sum / spec.divisor
    const count = this.#counted(spec.count, first, last) + (own ? 1 : 0)
    return count === 0 ? NaN : sum / count / spec.divisor
  }

  #counted(count: number, first: number, last: number): number {
    const { places } = this.#layout
    const column = this.#countColumn(count)
    let sum = 0
    for (let bucket = first; bucket <= last; bucket++) sum += this.#words[column + (bucket % places)]
    return sum
  }

  #largest(value: number, first: number, last: number): number {
    const { places } = this.#layout
    const column = this.#floatColumn(value)
    let most = -Infinity
    for (let bucket = first; bucket <= last; bucket++) most = Math.max(most, this.#floats[column + (bucket % places)])
    return most
  }

  #open(entity: number): void {
    const { recordBytes, recordsPerChunk } = this.#layout
    const record = this.#entities.facts[entity + STRETCH]
    const { floats, words } = this.#chunks[Math.floor(record / recordsPerChunk)]
    this.#floats = floats
    this.#words = words
    this.#begin = (record % recordsPerChunk) * (recordBytes >>> 3)
  }

  /** Opens the record of the entity, which is admitted where it is not held. */
  #see(entity: number, low: number, high: number): void {
    if (entity >= 0) {
      this.#entities.seen(entity)
      this.#open(entity)
      return
    }
    if (this.#entities.size >= this.#limits.entitiesMax) this.#evictOldest()
    const added = this.#entities.add(low, high)
    const record = this.#freed >= 0 ? this.#freed : this.#recordsUsed++
    if (record >= this.#chunks.length * this.#layout.recordsPerChunk) this.#addChunk()
    this.#entities.facts[added + STRETCH] = record
    this.#entities.setFloor(added, this.#evictedUntil)
    this.#open(added)
    if (record === this.#freed) this.#freed = this.#floats[this.#begin]
    this.#floats[this.#begin] = -Infinity
  }

  /** The place of t in the opened record; buckets between the newest and it begin anew. */
  #place(t: number): number {
    const { places } = this.#layout
    const bucket = Math.floor(t / this.plan.widthMs)
    const newest = this.#floats[this.#begin]
    if (bucket > newest) {
      const from = Math.max(newest, bucket - places, -1) + 1
      for (let fresh = from; fresh <= bucket; fresh++) this.#clear(fresh % places)
      this.#floats[this.#begin] = bucket
    }
    return bucket % places
  }

  #clear(at: number): void {
    const { floatColumns, countColumns } = this.#layout
    const sums = this.plan.sums.length
    for (let c = 0; c < floatColumns; c++) this.#floats[this.#floatColumn(c) + at] = c < sums ? 0 : -Infinity
    for (let c = 0; c < countColumns; c++) this.#words[this.#countColumn(c) + at] = 0
  }

  /** Where a column of sums and maxima begins in the floats of the opened record, and one of counts in its words. */
  #floatColumn(column: number): number {
    return this.#begin + 1 + column * this.#layout.places
  }

  #countColumn(column: number): number {
    return 2 * this.#floatColumn(this.#layout.floatColumns) + column * this.#layout.places
  }

  /** The first bucket that the ring of an entity still has and that is not too old to be seen. */
  #oldestVisible(newest: number, heldFrom: number): number {
    return Math.max(newest - this.#layout.places, Math.floor(heldFrom / this.plan.widthMs), -1) + 1
  }

  #evictOldest(): void {
    const entity = this.#entities.oldest
    this.#open(entity)
    // The last moment of its newest bucket: what happened in it is not known nearer.
    const until = (this.#floats[this.#begin] + 1) * this.plan.widthMs - 1
    this.#evictedUntil = Math.max(this.#evictedUntil, until, this.#entities.floor(entity))
    this.evictions++
    this.remove(entity)
  }

  /** Lets the entity go; nothing is noted of it. */
  remove(entity: number): void {
    this.#open(entity)
    this.#floats[this.#begin] = this.#freed
    this.#freed = this.#entities.facts[entity + STRETCH]
    this.#entities.remove(entity)
  }

  /** Idle entities of which nothing can be seen any more leave in silence. */
  #sweep(heldFrom: number): void {
    const entities = this.#entities
    const held = Math.floor(heldFrom / this.plan.widthMs)
    for (let i = 0; i < SWEEP && entities.oldest !== entities.newest; i++) {
      const { oldest } = entities
      this.#open(oldest)
      if (this.#floats[this.#begin] > held) return
      this.remove(oldest)
    }
  }

  #addChunk(): void {
    const { recordBytes, recordsPerChunk } = this.#layout
    const memory = heldMemory(recordBytes * recordsPerChunk)
    this.#chunks.push({ floats: new Float64Array(memory), words: new Uint32Array(memory) })
  }
}

/** A transaction at a time, what labels said of it and what they say now. */
export interface MarkedEvent {
  readonly timeMs: number
  readonly was: number
  readonly marks: number
  readonly heldFrom: number
}

function changeOf(set: MarkSet, { was, marks }: MarkedEvent): number {
  return isMarked(set, marks) - isMarked(set, was)
}

/** What the transaction brings to a column; NaN where it is none of its events or the value is unknown. */
function valueOf({ mask, source }: plan.BucketColumn, current: Current): number {
  if (current.masks[mask] === 0) return NaN
  if (source === plan.TIME_SOURCE) return current.timeMs
  return source === plan.AMOUNT_SUMMED ? current.amount : current.values[source]
}
