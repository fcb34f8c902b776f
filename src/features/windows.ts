// The events of one entity field: which entities are held, their events in time order, and the aggregates over them.
//
//   hash of the value ─> entity ─> stretch of the slab:  [ base | oldest … newest | room ]
//
// Each column of counts and sums is a prefix over its stretch, so a window is two positions and a subtraction; the slot
// before the oldest is the base of the prefixes. Invariant: times ascend within a stretch; equal times keep the order
// of arrival. An event at or before `heldFrom` is invisible, whether or not it has been dropped yet.
import type { Label } from '../contract/label.js'
import type { Limits } from '../limits.js'
import type { Image } from '../runtime/image.js'
import { aggregate, type Current, createScratch, type Scratch, upperBound } from './aggregate.js'
import { COUNT, Entities, FIRST, GUESSES, ORDER, STRETCH } from './entities.js'
import { HashTable } from './hash-table.js'
import { dependsOn, isMarked } from './marks.js'
import type { FieldPlan } from './plan.js'
import { addAmount, addCount, moveEvent, REBASE_ABOVE, rebase } from './prefix.js'
import { emptyStretch, orderFor, Slab, type Stretch } from './slab.js'

/** Entities without an event in their window, looked at per insertion: more than one, so that they never pile up. */
const SWEEP = 2
export const ORDER_FIRST = orderFor(1)

/** Whether a base and its events, `length` together, take so much of a stretch that it doubles. */
export function isCrowded(length: number, capacity: number): boolean {
  return length * 4 > capacity * 3
}

/** Whether they take so little of it that it shrinks, to `orderFor` twice their number. */
export function isSparse(length: number, capacity: number): boolean {
  return length * 4 <= capacity
}

/** The empty slab of an entity field. */
export function createSlab(plan: FieldPlan, limits: Limits): Slab {
  // A full stretch keeps a quarter free, so that making room costs a few copies per event at most.
  const stretchMax = Math.ceil(((limits.eventsPerEntityMax + 1) * 4) / 3)
  const columns = {
    sums: plan.sumMasks.length,
    raws: plan.rawSources.length,
    counts: plan.countMasks.length,
    ids: plan.marked.length > 0,
  }
  return new Slab(columns, limits.featureEventsMax, stretchMax)
}

// A class: private state and speed meet.
export class EntityWindows {
  readonly plan: FieldPlan
  events = 0
  evictions = 0
  readonly #ids = new HashTable()
  readonly #entities: Entities
  readonly #facts: Int32Array
  readonly #slab: Slab
  readonly #unknown: Scratch
  readonly #known: Scratch
  /** The stretches at hand: one to work on, one to look into or to move to. */
  readonly #stretch = emptyStretch()
  readonly #other = emptyStretch()
  readonly #labelled: boolean
  /** Columns of counts. */
  readonly #counts: number
  readonly #eventsMax: number
  readonly #entitiesMax: number
  /** Newest event time among the entities that were evicted with live events. */
  #evictedUntil = -Infinity

  constructor(plan: FieldPlan, limits: Limits, seed: number) {
    const { entitiesMax, eventsPerEntityMax } = limits
    this.plan = plan
    this.#labelled = plan.marked.length > 0
    this.#counts = plan.countMasks.length
    this.#eventsMax = eventsPerEntityMax
    this.#entitiesMax = entitiesMax
    this.#slab = createSlab(plan, limits)
    this.#entities = new Entities(entitiesMax, plan.edges.length)
    this.#facts = this.#entities.facts
    this.#unknown = createScratch(plan.edges.length, 0, seed)
    this.#known = createScratch(plan.edges.length, eventsPerEntityMax, seed)
    this.#known.guesses = this.#facts
  }

  get entities(): number {
    return this.#entities.size
  }

  get bytes(): number {
    return this.#slab.bytes + this.#entities.bytes + this.#ids.bytes
  }

  get evictedUntil(): number {
    return this.#evictedUntil
  }

  /** The entity of this hash, or -1. */
  find(low: number, high: number): number {
    return this.#entities.find(low, high)
  }

  /**
   * Reads once, one beside the other, what `compute` and `insert` of this entity will need one after the other: the
   * cache misses of all fields then overlap. Changes no answer; call it after `find` and before `compute`. Returns
   * something made of what it read, so that no compiler leaves the reading out.
   */
  reach(entity: number, current: Current): number {
    if (entity < 0) return 0
    const { stretch, guesses, positions } = this.#known
    this.#open(entity, stretch)
    const { capacity, times, sums, raws, words, ids, shorts, counts } = stretch
    const first = this.#facts[entity + FIRST]
    const end = first + this.#facts[entity + COUNT]
    let read = this.#entities.reach(entity) ^ words[2 * (times + first)] ^ words[2 * (times + end)]
    if (this.#labelled) {
      const oldest = ids + 2 * first
      read ^= this.#ids.reach(words[oldest], words[oldest + 1]) ^ this.#ids.reach(current.idLow, current.idHigh)
      read ^= words[ids + 2 * end]
    }
    for (let i = 0; i < positions.length; i++) {
      const slot = i === 0 ? end - 1 : first + guesses[entity + GUESSES + i - 1] - 1
      if (slot >= end) continue
      read ^= words[2 * (times + slot)]
      for (let column = sums + slot; column < raws; column += capacity) read ^= words[2 * column]
      for (let c = 0; c < this.#counts; c++) read ^= shorts[counts + c * capacity + slot]
    }
    return read
  }

  /**
   * Writes the raw aggregates at time t, the current transaction included; NaN where nothing is known. Call `reach`
   * before.
   */
  compute(entity: number, current: Current, heldFrom: number, raw: Float64Array): void {
    let scratch = this.#unknown
    if (entity >= 0) {
      scratch = this.#known
      scratch.from = this.#facts[entity + FIRST]
      scratch.to = scratch.from + this.#facts[entity + COUNT]
      scratch.guessesAt = entity + GUESSES
    }
    aggregate(this.plan, scratch, current, heldFrom, raw)
  }

  /** Whether an event of exactly this time is held. */
  holds(entity: number, t: number, heldFrom: number): boolean {
    if (entity < 0 || t <= heldFrom) return false
    const { floats, times } = this.#open(entity, this.#stretch)
    const from = times + this.#facts[entity + FIRST]
    const after = upperBound(floats, from, from + this.#facts[entity + COUNT], t)
    return after > from && floats[after - 1] === t
  }

  /** Whether a window ending at t may lack events that a bound has dropped. */
  truncated(entity: number, t: number, heldFrom: number): boolean {
    const from = t - this.plan.spanMs
    return heldFrom > from || (entity < 0 ? this.#evictedUntil : this.#entities.floor(entity)) > from
  }

  /** Whether an event at t would be held: not too old, nor older than all of an entity at its bound. */
  accepts(entity: number, t: number, heldFrom: number): boolean {
    if (t <= heldFrom) return false
    if (entity < 0 || this.#facts[entity + COUNT] < this.#eventsMax) return true
    const { floats, times } = this.#open(entity, this.#stretch)
    const from = times + this.#facts[entity + FIRST]
    const to = from + this.#facts[entity + COUNT]
    const visible = upperBound(floats, from, to, heldFrom)
    return to - visible < this.#eventsMax || t >= floats[visible]
  }

  /** Holds the event; call only where `accepts` says so. `entity` is what `find` gave for the hash. */
  insert(entity: number, low: number, high: number, current: Current, heldFrom: number): void {
    let into = entity
    if (into < 0) into = this.#admit(low, high)
    else {
      this.#entities.seen(into)
      this.#open(into, this.#stretch)
      this.#expire(into, heldFrom)
    }
    if (this.#facts[into + COUNT] === this.#eventsMax) {
      const time = this.#oldestTime(into, this.#stretch)
      this.#dropOldest(into, this.#stretch)
      this.miss(into, time)
    }
    this.#makeRoom(into)
    this.#write(into, current)
    this.events++
    if (this.#labelled) this.#ids.add(current.idLow, current.idHigh, into)
    this.#sweep(heldFrom)
  }

  /** The event was older than all of an entity at its bound: its windows miss it from now on. */
  miss(entity: number, t: number): void {
    if (t > this.#entities.floor(entity)) this.#entities.setFloor(entity, t)
  }

  /** Time of the newest visible event of this transaction, or NaN where it is not held here. */
  eventTime(idLow: number, idHigh: number, heldFrom: number): number {
    let time = NaN
    this.#eachEvent(idLow, idHigh, heldFrom, ({ floats, times }, at) => {
      time = Number.isNaN(time) ? floats[times + at] : Math.max(time, floats[times + at])
    })
    return time
  }

  /** Takes a word of that kind into every visible event of this transaction, of which labels say `marks` by now. */
  mark(idLow: number, idHigh: number, kind: Label['kind'], marks: number, heldFrom: number): void {
    this.#eachEvent(idLow, idHigh, heldFrom, (stretch, at, to) => {
      for (const columns of this.plan.marked) {
        if (dependsOn(columns.marks, kind)) moveEvent(columns, isMarked(columns.marks, marks) === 1, stretch, at, to)
      }
    })
  }

  /** Hands every entity over, least recently seen first, as hash and floor and its visible events: for the digest. */
  walk(heldFrom: number, visit: (entity: readonly number[], stretch: Stretch, from: number, to: number) => void): void {
    const entities = this.#entities
    for (let entity = entities.oldest; entity >= 0; entity = entities.newer(entity)) {
      const stretch = this.#open(entity, this.#other)
      const { floats, times } = stretch
      const from = times + this.#facts[entity + FIRST]
      const to = from + this.#facts[entity + COUNT]
      const visible = upperBound(floats, from, to, heldFrom)
      const facts = [entities.hashLow(entity), entities.hashHigh(entity), entities.floor(entity)]
      visit(facts, stretch, visible - times, to - times)
    }
  }

  async serialize(image: Image): Promise<void> {
    this.events = await image.number(this.events)
    this.evictions = await image.number(this.evictions)
    this.#evictedUntil = await image.number(this.#evictedUntil)
    await this.#ids.serialize(image)
    await this.#entities.serialize(image)
    await this.#slab.serialize(image)
  }

  #open(entity: number, stretch: Stretch): Stretch {
    this.#slab.open(this.#facts[entity + STRETCH], this.#facts[entity + ORDER], stretch)
    return stretch
  }

  /** `stretch` is the entity's, opened; so below. */
  #oldestTime(entity: number, stretch: Stretch): number {
    return stretch.floats[stretch.times + this.#facts[entity + FIRST]]
  }

  #newestTime(entity: number): number {
    const { floats, times } = this.#open(entity, this.#other)
    return floats[times + this.#facts[entity + FIRST] + this.#facts[entity + COUNT] - 1]
  }

  #eachEvent(
    idLow: number,
    idHigh: number,
    heldFrom: number,
    visit: (stretch: Stretch, at: number, to: number) => void,
  ): void {
    for (
      let place = this.#ids.next(idLow, idHigh, this.#ids.start(idLow, idHigh));
      place >= 0;
      place = this.#ids.next(idLow, idHigh, this.#ids.after(idLow, idHigh, place))
    ) {
      const entity = this.#ids.valueAt(idLow, idHigh, place)
      const stretch = this.#open(entity, this.#other)
      const { floats, times, words, ids } = stretch
      const from = this.#facts[entity + FIRST]
      const to = from + this.#facts[entity + COUNT]
      for (let at = to - 1; at >= from && floats[times + at] > heldFrom; at--) {
        if (words[ids + 2 * at] === idLow && words[ids + 2 * at + 1] === idHigh) visit(stretch, at, to)
      }
    }
  }

  /** A new entity without events, its stretch opened. */
  #admit(low: number, high: number): number {
    if (this.#entities.size >= this.#entitiesMax) this.#evictOldest()
    const entity = this.#entities.add(low, high)
    this.#facts[entity + STRETCH] = this.#take(ORDER_FIRST, entity)
    this.#facts[entity + ORDER] = ORDER_FIRST
    this.#facts[entity + FIRST] = 1
    this.#facts[entity + COUNT] = 0
    this.#entities.setFloor(entity, this.#evictedUntil)
    this.#slab.clearBase(this.#open(entity, this.#stretch))
    return entity
  }

  /** A stretch; where the slab is at its bound, the least recently seen entities leave until there is one. */
  #take(order: number, keep: number): number {
    let slot = this.#slab.take(order)
    while (slot < 0) {
      if (this.#entities.oldest === keep) throw new Error('the slab cannot hold one entity')
      this.#evictOldest()
      slot = this.#slab.take(order)
    }
    return slot
  }

  #evictOldest(): void {
    const entity = this.#entities.oldest
    this.#evictedUntil = Math.max(this.#evictedUntil, this.#newestTime(entity), this.#entities.floor(entity))
    this.evictions++
    this.remove(entity)
  }

  /** Lets the entity go; nothing is noted of it. */
  remove(entity: number): void {
    const stretch = this.#open(entity, this.#other)
    while (this.#facts[entity + COUNT] > 0) this.#dropOldest(entity, stretch)
    this.#slab.give(this.#facts[entity + STRETCH], this.#facts[entity + ORDER])
    this.#entities.remove(entity)
  }

  /** Idle entities whose every event has expired leave in silence: nothing that could be seen is lost. */
  #sweep(heldFrom: number): void {
    const entities = this.#entities
    for (let i = 0; i < SWEEP && entities.oldest !== entities.newest; i++) {
      if (this.#newestTime(entities.oldest) > heldFrom) return
      this.remove(entities.oldest)
    }
  }

  #expire(entity: number, heldFrom: number): void {
    const facts = this.#facts
    const stretch = this.#stretch
    while (facts[entity + COUNT] > 0 && this.#oldestTime(entity, stretch) <= heldFrom) this.#dropOldest(entity, stretch)
    const used = facts[entity + COUNT] + 1
    if (facts[entity + ORDER] > ORDER_FIRST && isSparse(used, stretch.capacity)) {
      // Never at the cost of another entity: where the slab is full the stretch stays as it is.
      const smaller = orderFor(used * 2)
      const to = this.#slab.take(smaller)
      if (to >= 0) this.#moveTo(entity, to, smaller)
    }
  }

  #dropOldest(entity: number, stretch: Stretch): void {
    if (this.#labelled) {
      const at = stretch.ids + 2 * this.#facts[entity + FIRST]
      this.#ids.remove(stretch.words[at], stretch.words[at + 1], entity)
    }
    this.#facts[entity + FIRST]++
    this.#facts[entity + COUNT]--
    this.events--
  }

  #makeRoom(entity: number): void {
    const facts = this.#facts
    const { capacity } = this.#stretch
    const first = facts[entity + FIRST]
    const length = facts[entity + COUNT] + 1
    if (first + length <= capacity) return
    if (isCrowded(length, capacity)) {
      const order = facts[entity + ORDER] + 1
      this.#moveTo(entity, this.#take(order, entity), order)
      return
    }
    this.#slab.shift(this.#stretch, 0, first - 1, first - 1 + length)
    facts[entity + FIRST] = 1
  }

  /** Moves base and events to the start of another stretch, gives the old one back and opens the new. */
  #moveTo(entity: number, to: number, order: number): void {
    const facts = this.#facts
    this.#slab.open(to, order, this.#other)
    this.#slab.copy(this.#stretch, facts[entity + FIRST] - 1, facts[entity + COUNT] + 1, this.#other)
    this.#slab.give(facts[entity + STRETCH], facts[entity + ORDER])
    facts[entity + STRETCH] = to
    facts[entity + ORDER] = order
    facts[entity + FIRST] = 1
    this.#open(entity, this.#stretch)
  }

  #write(entity: number, current: Current): void {
    const stretch = this.#stretch
    const { capacity, floats, times, sums, raws, words, ids, shorts, counts } = stretch
    const from = this.#facts[entity + FIRST]
    const end = from + this.#facts[entity + COUNT]
    let at = end
    if (end > from && floats[times + end - 1] > current.timeMs) {
      at = upperBound(floats, times + from, times + end, current.timeMs) - times
      this.#slab.shift(stretch, at + 1, at, end)
    }
    this.#facts[entity + COUNT]++
    floats[times + at] = current.timeMs
    const { countMasks, sumMasks, rawSources } = this.plan
    for (let c = 0; c < rawSources.length; c++) floats[raws + c * capacity + at] = current.values[rawSources[c]]
    let column = counts
    for (let c = 0; c < countMasks.length; c++, column += capacity) {
      addCount(shorts, column + at, column + end, current.masks[countMasks[c]])
    }
    column = sums
    for (let c = 0; c < sumMasks.length; c++, column += capacity) {
      addAmount(floats, column + at, column + end, current.masks[sumMasks[c]] === 1 ? current.amount : 0)
      if (floats[column + end] > REBASE_ABOVE) rebase(floats, column + from - 1, column + end)
    }
    if (this.#labelled) {
      words[ids + 2 * at] = current.idLow
      words[ids + 2 * at + 1] = current.idHigh
    }
  }
}
