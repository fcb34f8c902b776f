// The events of one entity field: which entities are held, their events in time order, and the aggregates over them.
//
//   hash of the value ─> table ─> entity ─> stretch of the slab:  [ base | oldest … newest | room ]
//
// Each column of counts and sums is a prefix over its stretch, so a window is two binary searches and a subtraction;
// the record before the oldest is the base of the prefixes. Invariant: times ascend within a stretch; equal times keep
// the order of arrival. An event at or before `heldFrom` is invisible, whether or not it has been dropped yet.
import type { Limits } from '../limits.js'
import { aggregate, type Current, createScratch, type Scratch, upperBound } from './aggregate.js'
import { HashTable } from './hash-table.js'
import type { FieldPlan } from './plan.js'
import { addFrom, type Chunk, columnsOf, orderFor, Slab } from './slab.js'

const NONE = -1
/** Sums stay whole numbers below 2^53: beyond this the base of the prefixes is taken off. */
const REBASE_ABOVE = 2 ** 52
/**
 * Entities of which every event has left its window, looked at per insertion: more than one, so that they never pile
 * up.
 */
const SWEEP = 2
const BYTES_PER_ENTITY = 37

// A class: private state and speed meet.
export class EntityWindows {
  readonly plan: FieldPlan
  events = 0
  evictions = 0
  readonly #table = new HashTable()
  readonly #ids = new HashTable()
  readonly #slab: Slab
  readonly #scratch: Scratch
  readonly #eventsMax: number
  readonly #entitiesMax: number
  // Per entity. `older` and `newer` link entities by when they were last seen; `older` also links free places.
  readonly #hashLow: Uint32Array
  readonly #hashHigh: Uint32Array
  readonly #older: Int32Array
  readonly #newer: Int32Array
  readonly #stretch: Int32Array
  readonly #order: Uint8Array
  readonly #first: Int32Array
  readonly #count: Int32Array
  /** Newest event time that a bound has dropped: a window that reaches back to it is truncated. */
  readonly #floor: Float64Array
  #placesUsed = 0
  #freePlace = NONE
  #oldest = NONE
  #newest = NONE
  /** Newest event time among the entities that were evicted with live events. */
  #evictedUntil = -Infinity

  constructor(plan: FieldPlan, limits: Limits, seed: number) {
    const { entitiesMax, eventsPerEntityMax } = limits
    this.plan = plan
    this.#eventsMax = eventsPerEntityMax
    this.#entitiesMax = entitiesMax
    // A full stretch keeps a quarter free, so that making room costs a few copies per event at most.
    const stretchMax = Math.ceil(((eventsPerEntityMax + 1) * 4) / 3)
    const columns = {
      sums: plan.sumMasks.length,
      raws: plan.rawSources.length,
      counts: plan.countMasks.length + plan.labelMasks.length,
      ids: plan.labelMasks.length > 0,
    }
    this.#slab = new Slab(columns, limits.featureEventsMax, stretchMax)
    this.#scratch = createScratch(plan.edges.length, eventsPerEntityMax, seed)
    // Reserved whole: the pages of places that were never used are never touched.
    this.#hashLow = new Uint32Array(entitiesMax)
    this.#hashHigh = new Uint32Array(entitiesMax)
    this.#older = new Int32Array(entitiesMax)
    this.#newer = new Int32Array(entitiesMax)
    this.#stretch = new Int32Array(entitiesMax)
    this.#order = new Uint8Array(entitiesMax)
    this.#first = new Int32Array(entitiesMax)
    this.#count = new Int32Array(entitiesMax)
    this.#floor = new Float64Array(entitiesMax)
  }

  get entities(): number {
    return this.#table.entries
  }

  get bytes(): number {
    return this.#slab.bytes + this.#table.bytes + this.#ids.bytes + this.#placesUsed * BYTES_PER_ENTITY
  }

  get evictedUntil(): number {
    return this.#evictedUntil
  }

  /** The entity of this hash, or -1. */
  find(low: number, high: number): number {
    for (
      let place = this.#table.next(low, high, this.#table.start(low, high));
      place >= 0;
      place = this.#table.next(low, high, this.#table.after(low, place))
    ) {
      const entity = this.#table.valueAt(low, place)
      if (this.#hashLow[entity] === low) return entity
    }
    return NONE
  }

  /** Writes the raw aggregates at time t, the current transaction included; NaN where nothing is known. */
  compute(entity: number, current: Current, heldFrom: number, raw: Float64Array, at: number): void {
    const scratch = this.#scratch
    if (entity < 0) {
      scratch.chunk = null
      scratch.from = scratch.to = 1
    } else {
      const stretch = this.#stretch[entity]
      scratch.chunk = this.#chunkOf(stretch)
      scratch.from = (stretch & this.#slab.offsetMask) + this.#first[entity]
      scratch.to = scratch.from + this.#count[entity]
    }
    aggregate(this.plan, scratch, current, heldFrom, raw, at)
  }

  /** Whether a window ending at t may lack events that a bound has dropped. */
  truncated(entity: number, t: number, heldFrom: number): boolean {
    const from = t - this.plan.spanMs
    return heldFrom > from || (entity < 0 ? this.#evictedUntil : this.#floor[entity]) > from
  }

  /** Whether an event at t would be held: not too old, nor older than all of an entity at its bound. */
  accepts(entity: number, t: number, heldFrom: number): boolean {
    if (t <= heldFrom) return false
    if (entity < 0 || this.#count[entity] < this.#eventsMax) return true
    const stretch = this.#stretch[entity]
    const { times } = this.#chunkOf(stretch)
    const from = (stretch & this.#slab.offsetMask) + this.#first[entity]
    const to = from + this.#count[entity]
    const visible = upperBound(times, from, to, heldFrom)
    return to - visible < this.#eventsMax || t >= times[visible]
  }

  /** Holds the event; call only where `accepts` says so. `entity` is what `find` gave for the hash. */
  insert(entity: number, low: number, high: number, current: Current, heldFrom: number): void {
    let into = entity
    if (into < 0) into = this.#admit(low, high)
    else {
      this.#unlink(into)
      this.#linkNewest(into)
      this.#expire(into, heldFrom)
    }
    if (this.#count[into] === this.#eventsMax) {
      const time = this.#oldestTime(into)
      this.#dropOldest(into)
      this.#floor[into] = Math.max(this.#floor[into], time)
    }
    this.#makeRoom(into)
    this.#write(into, current)
    this.events++
    if (this.plan.labelMasks.length > 0) this.#ids.add(current.idLow, current.idHigh, into)
    this.#sweep(heldFrom)
  }

  /** The event was older than all of an entity at its bound: its windows miss it from now on. */
  miss(entity: number, t: number): void {
    this.#floor[entity] = Math.max(this.#floor[entity], t)
  }

  /** Time of the newest visible event of this transaction, or NaN where it is not held here. */
  eventTime(idLow: number, idHigh: number, heldFrom: number): number {
    let time = NaN
    this.#eachEvent(idLow, idHigh, heldFrom, (chunk, at) => {
      time = Number.isNaN(time) ? chunk.times[at] : Math.max(time, chunk.times[at])
    })
    return time
  }

  /** Marks every visible event of this transaction as fraud or not. */
  mark(idLow: number, idHigh: number, fraud: boolean, heldFrom: number): void {
    const { countMasks, labelMasks } = this.plan
    this.#eachEvent(idLow, idHigh, heldFrom, (chunk, at, to) => {
      const all = chunk.counts[countMasks.length]
      if ((((all[at] - all[at - 1]) & 0xffff) === 1) === fraud) return
      labelMasks.forEach((mask, i) => {
        const members = countMasks.indexOf(mask)
        if (members >= 0 && chunk.counts[members][at] === chunk.counts[members][at - 1]) return
        const column = chunk.counts[countMasks.length + i]
        for (let k = at; k < to; k++) column[k] += fraud ? 1 : -1
      })
    })
  }

  /** Hands every entity over, least recently seen first, with its visible events: for the digest. */
  walk(
    heldFrom: number,
    visit: (hashes: readonly [number, number], floor: number, chunk: Chunk, from: number, to: number) => void,
  ): void {
    for (let entity = this.#oldest; entity >= 0; entity = this.#newer[entity]) {
      const chunk = this.#chunkOf(this.#stretch[entity])
      const from = (this.#stretch[entity] & this.#slab.offsetMask) + this.#first[entity]
      const to = from + this.#count[entity]
      const visible = upperBound(chunk.times, from, to, heldFrom)
      visit([this.#hashLow[entity], this.#hashHigh[entity]], this.#floor[entity], chunk, visible, to)
    }
  }

  #chunkOf(stretch: number): Chunk {
    return this.#slab.chunks[stretch >>> this.#slab.chunkOrder]
  }

  #oldestTime(entity: number): number {
    const stretch = this.#stretch[entity]
    return this.#chunkOf(stretch).times[(stretch & this.#slab.offsetMask) + this.#first[entity]]
  }

  #newestTime(entity: number): number {
    const stretch = this.#stretch[entity]
    const at = (stretch & this.#slab.offsetMask) + this.#first[entity] + this.#count[entity] - 1
    return this.#chunkOf(stretch).times[at]
  }

  #eachEvent(
    idLow: number,
    idHigh: number,
    heldFrom: number,
    visit: (chunk: Chunk, at: number, to: number) => void,
  ): void {
    for (
      let place = this.#ids.next(idLow, idHigh, this.#ids.start(idLow, idHigh));
      place >= 0;
      place = this.#ids.next(idLow, idHigh, this.#ids.after(idLow, place))
    ) {
      const entity = this.#ids.valueAt(idLow, place)
      const stretch = this.#stretch[entity]
      const chunk = this.#chunkOf(stretch)
      const from = (stretch & this.#slab.offsetMask) + this.#first[entity]
      const to = from + this.#count[entity]
      for (let at = to - 1; at >= from && chunk.times[at] > heldFrom; at--) {
        if (chunk.idLow[at] === idLow && chunk.idHigh[at] === idHigh) visit(chunk, at, to)
      }
    }
  }

  #admit(low: number, high: number): number {
    if (this.#table.entries >= this.#entitiesMax) this.#evictOldest()
    let entity = this.#freePlace
    if (entity >= 0) this.#freePlace = this.#older[entity]
    else entity = this.#placesUsed++
    this.#hashLow[entity] = low
    this.#hashHigh[entity] = high
    this.#linkNewest(entity)
    this.#table.add(low, high, entity)
    this.#order[entity] = orderFor(1)
    this.#stretch[entity] = this.#take(this.#order[entity], entity)
    this.#first[entity] = 1
    this.#count[entity] = 0
    this.#floor[entity] = this.#evictedUntil
    const chunk = this.#chunkOf(this.#stretch[entity])
    const base = this.#stretch[entity] & this.#slab.offsetMask
    for (const column of chunk.sums) column[base] = 0
    for (const column of chunk.counts) column[base] = 0
    return entity
  }

  /** A stretch; where the slab is at its bound, the least recently seen entities leave until there is one. */
  #take(order: number, keep: number): number {
    let slot = this.#slab.take(order)
    while (slot < 0) {
      if (this.#oldest === keep) throw new Error('the slab cannot hold one entity')
      this.#evictOldest()
      slot = this.#slab.take(order)
    }
    return slot
  }

  #evictOldest(): void {
    const entity = this.#oldest
    this.#evictedUntil = Math.max(this.#evictedUntil, this.#newestTime(entity), this.#floor[entity])
    this.evictions++
    this.#remove(entity)
  }

  #remove(entity: number): void {
    while (this.#count[entity] > 0) this.#dropOldest(entity)
    this.#slab.give(this.#stretch[entity], this.#order[entity])
    this.#table.remove(this.#hashLow[entity], this.#hashHigh[entity], entity)
    this.#unlink(entity)
    this.#older[entity] = this.#freePlace
    this.#freePlace = entity
  }

  /** Idle entities whose every event has expired leave in silence: nothing that could be seen is lost. */
  #sweep(heldFrom: number): void {
    for (let i = 0; i < SWEEP && this.#oldest !== this.#newest; i++) {
      if (this.#newestTime(this.#oldest) > heldFrom) return
      this.#remove(this.#oldest)
    }
  }

  #expire(entity: number, heldFrom: number): void {
    while (this.#count[entity] > 0 && this.#oldestTime(entity) <= heldFrom) this.#dropOldest(entity)
    const used = this.#count[entity] + 1
    if (this.#order[entity] > orderFor(1) && used * 4 <= 1 << this.#order[entity]) {
      // Never at the cost of another entity: where the slab is full the stretch stays as it is.
      const smaller = orderFor(used * 2)
      const to = this.#slab.take(smaller)
      if (to >= 0) this.#moveTo(entity, to, smaller)
    }
  }

  #dropOldest(entity: number): void {
    if (this.plan.labelMasks.length > 0) {
      const stretch = this.#stretch[entity]
      const chunk = this.#chunkOf(stretch)
      const at = (stretch & this.#slab.offsetMask) + this.#first[entity]
      this.#ids.remove(chunk.idLow[at], chunk.idHigh[at], entity)
    }
    this.#first[entity]++
    this.#count[entity]--
    this.events--
  }

  #makeRoom(entity: number): void {
    const capacity = 1 << this.#order[entity]
    if (this.#first[entity] + this.#count[entity] < capacity) return
    const length = this.#count[entity] + 1
    if (length * 4 > capacity * 3) {
      const order = this.#order[entity] + 1
      this.#moveTo(entity, this.#take(order, entity), order)
      return
    }
    const base = this.#stretch[entity] & this.#slab.offsetMask
    const at = base + this.#first[entity] - 1
    for (const column of columnsOf(this.#chunkOf(this.#stretch[entity]))) column.copyWithin(base, at, at + length)
    this.#first[entity] = 1
  }

  /** Moves base and events to the start of another stretch and gives the old one back. */
  #moveTo(entity: number, to: number, order: number): void {
    const from = this.#stretch[entity]
    const at = (from & this.#slab.offsetMask) + this.#first[entity] - 1
    const base = to & this.#slab.offsetMask
    const length = this.#count[entity] + 1
    const targets = columnsOf(this.#chunkOf(to))
    columnsOf(this.#chunkOf(from)).forEach((column, c) => {
      for (let i = 0; i < length; i++) targets[c][base + i] = column[at + i]
    })
    this.#slab.give(from, this.#order[entity])
    this.#stretch[entity] = to
    this.#order[entity] = order
    this.#first[entity] = 1
  }

  #write(entity: number, current: Current): void {
    const stretch = this.#stretch[entity]
    const chunk = this.#chunkOf(stretch)
    const from = (stretch & this.#slab.offsetMask) + this.#first[entity]
    const end = from + this.#count[entity]
    const { times, sums, raws, counts } = chunk
    let at = end
    if (end > from && times[end - 1] > current.timeMs) {
      at = upperBound(times, from, end, current.timeMs)
      for (const column of columnsOf(chunk)) column.copyWithin(at + 1, at, end)
    }
    this.#count[entity]++
    times[at] = current.timeMs
    const { countMasks, labelMasks, sumMasks, rawSources } = this.plan
    for (let c = 0; c < rawSources.length; c++) raws[c][at] = current.values[rawSources[c]]
    for (let c = 0; c < countMasks.length; c++) addFrom(counts[c], at, end, current.masks[countMasks[c]])
    for (let c = 0; c < labelMasks.length; c++) {
      addFrom(counts[countMasks.length + c], at, end, current.masks[labelMasks[c]] & current.label)
    }
    for (let c = 0; c < sumMasks.length; c++) {
      addFrom(sums[c], at, end, current.masks[sumMasks[c]] === 1 ? current.amount : 0)
      if (sums[c][end] > REBASE_ABOVE) {
        const base = sums[c][from - 1]
        for (let k = from - 1; k <= end; k++) sums[c][k] -= base
      }
    }
    if (labelMasks.length > 0) {
      chunk.idLow[at] = current.idLow
      chunk.idHigh[at] = current.idHigh
    }
  }

  #linkNewest(entity: number): void {
    this.#older[entity] = this.#newest
    this.#newer[entity] = NONE
    if (this.#newest >= 0) this.#newer[this.#newest] = entity
    else this.#oldest = entity
    this.#newest = entity
  }

  #unlink(entity: number): void {
    const older = this.#older[entity]
    const newer = this.#newer[entity]
    if (older >= 0) this.#newer[older] = newer
    else this.#oldest = newer
    if (newer >= 0) this.#older[newer] = older
    else this.#newest = older
  }
}
