// The aggregates of one entity over its windows, from the prefix columns of its stretch: pure but for the scratch.
// The current transaction is not among the events: it is added where the window includes it.
// Counts and sums cost two look-ups; max, distinct and sums of other fields walk their window, which is bounded.
import * as plan from './plan.js'
import { emptyStretch, type Stretch } from './slab.js'

/** Steps from a guess before the search begins anew. */
const STEPS_MAX = 6

/** What the transaction brings to every window, filled once per transaction. */
export interface Current {
  timeMs: number
  /** False where the transaction is among the events already, so that a window must not add it again. */
  adds: boolean
  /** Minor units of the base currency; NaN where unknown. */
  amount: number
  idLow: number
  idHigh: number
  /** Per mask 1 or 0. */
  readonly masks: Uint8Array
  /** Per source the value kept; NaN where absent. */
  readonly values: Float64Array
}

/** Where the events of the entity lie, and working memory. */
export interface Scratch {
  /** Of nothing where the entity is not held. */
  readonly stretch: Stretch
  /** Slots of the stretch: the oldest event and past the newest. */
  from: number
  to: number
  /** Per edge the first event after t - edge. */
  readonly positions: Int32Array
  /** Where the entity's guesses of those positions stand, one per edge but the first, counted from the oldest event. */
  guesses: Int32Array
  guessesAt: number
  /** Open addressing for distinct values; a place counts where its stamp is the current one. */
  readonly seen: Float64Array
  readonly stamps: Uint32Array
  stamp: number
  readonly seed: number
  /** A float and its two halves, for hashing. */
  readonly float: Float64Array
  readonly halves: Uint32Array
}

export function createScratch(edges: number, eventsMax: number, seed: number): Scratch {
  const size = 2 ** Math.ceil(Math.log2((eventsMax + 1) * 2))
  const float = new Float64Array(1)
  return {
    stretch: emptyStretch(),
    from: 1,
    to: 1,
    positions: new Int32Array(edges),
    guesses: new Int32Array(edges),
    guessesAt: 0,
    seen: new Float64Array(size),
    stamps: new Uint32Array(size),
    stamp: 0,
    seed,
    float,
    halves: new Uint32Array(float.buffer),
  }
}

/** The first index in [from, to) whose time is later than `time`, else `to`. */
export function upperBound(times: Float64Array, from: number, to: number, time: number): number {
  let low = from
  let high = to
  while (low < high) {
    const middle = (low + high) >>> 1
    if (times[middle] <= time) low = middle + 1
    else high = middle
  }
  return low
}

/**
 * The same, found step by step from a guess, which costs time where it is wrong and nothing else. Between two looks at
 * an entity an edge passes an event or so, while a search from nothing takes a cache miss and a mispredicted branch in
 * every second step.
 */
function upperBoundNear(times: Float64Array, from: number, to: number, time: number, guess: number): number {
  let at = guess > to ? to : guess
  for (let i = 0; i < STEPS_MAX; i++) {
    if (at < to && times[at] <= time) at++
    else if (at > from && times[at - 1] > time) at--
    else return at
  }
  return upperBound(times, from, to, time)
}

/** Writes every aggregate of the field into the raw vector; NaN where nothing is known. */
export function aggregate(
  field: plan.FieldPlan,
  scratch: Scratch,
  current: Current,
  heldFrom: number,
  raw: Float64Array,
): void {
  const { edges, aggregates } = field
  const { positions, guesses, guessesAt, stretch } = scratch
  const { floats, times } = stretch
  const from = times + scratch.from
  let end = times + scratch.to
  for (let i = 0; i < edges.length; i++) {
    const limit = current.timeMs - edges[i]
    const guess = i === 0 ? end : from + guesses[guessesAt + i - 1]
    end = upperBoundNear(floats, from, end, limit > heldFrom ? limit : heldFrom, guess)
    if (i > 0) guesses[guessesAt + i - 1] = end - from
    positions[i] = end - times
  }
  for (let i = 0; i < aggregates.length; i++) {
    const spec = aggregates[i]
    raw[spec.feature] = one(spec, scratch, current)
  }
}

function one(spec: plan.Aggregate, scratch: Scratch, current: Current): number {
  const { stretch } = scratch
  const low = scratch.positions[spec.lower]
  const high = scratch.positions[spec.upper]
  const isAdded = spec.current && current.adds
  const own = isAdded ? current.masks[spec.mask] : 0
  switch (spec.code) {
    case plan.COUNT:
      return members(spec, stretch, low, high) + own
    case plan.SUM_AMOUNT:
      return (total(spec, stretch, low, high) + (own === 1 ? current.amount : 0)) / spec.divisor
    case plan.MEAN_AMOUNT: {
      const count = members(spec, stretch, low, high) + own
      const sum = total(spec, stretch, low, high) + (own === 1 ? current.amount : 0)
      return count === 0 ? NaN : sum / count / spec.divisor
    }
    case plan.LABEL_RATE: {
      const count = members(spec, stretch, low, high) + own
      const marked = counted(stretch, spec.totalColumn, low, high) + (isAdded ? current.masks[spec.partMask] : 0)
      return count === 0 ? NaN : marked / count
    }
    case plan.TIME_SINCE_LAST:
      return sinceLast(spec, stretch, low, high, current)
    case plan.DISTINCT:
      return distinct(spec, scratch, low, high, own === 1 ? current.values[spec.source] : NaN)
    default:
      return walk(spec, stretch, low, high, own === 1 ? current.values[spec.source] : NaN)
  }
}

function members(spec: plan.Aggregate, stretch: Stretch, low: number, high: number): number {
  return spec.countColumn < 0 ? high - low : counted(stretch, spec.countColumn, low, high)
}

/** Difference of a prefix column of counts over slots [low, high). */
function counted(stretch: Stretch, column: number, low: number, high: number): number {
  const { shorts } = stretch
  const before = stretch.counts + column * stretch.capacity - 1
  return (shorts[before + high] - shorts[before + low]) & 0xffff
}

function total(spec: plan.Aggregate, stretch: Stretch, low: number, high: number): number {
  const { floats } = stretch
  const before = stretch.sums + spec.totalColumn * stretch.capacity - 1
  return floats[before + high] - floats[before + low]
}

/** Whether event k passes the mask: its prefix count differs from the one before. */
function passes(spec: plan.Aggregate, stretch: Stretch, k: number): boolean {
  return spec.countColumn < 0 || counted(stretch, spec.countColumn, k, k + 1) !== 0
}

function sinceLast(spec: plan.Aggregate, stretch: Stretch, low: number, high: number, current: Current): number {
  const { floats, times } = stretch
  // Of those held at this very time one is the transaction itself.
  let isOwn = !current.adds && spec.current && current.masks[spec.mask] === 1
  for (let k = high - 1; k >= low; k--) {
    if (!passes(spec, stretch, k)) continue
    if (!isOwn || floats[times + k] !== current.timeMs) return (current.timeMs - floats[times + k]) / 1000
    isOwn = false
  }
  return NaN
}

/** Sum, mean or max of the known values of a window, oldest first. */
function walk(spec: plan.Aggregate, stretch: Stretch, low: number, high: number, own: number): number {
  const { floats } = stretch
  const column = stretch.raws + spec.rawColumn * stretch.capacity
  let count = 0
  let sum = 0
  let max = -Infinity
  for (let k = low; k < high; k++) {
    const value = floats[column + k]
    if (Number.isNaN(value) || !passes(spec, stretch, k)) continue
    count++
    sum += value
    if (value > max) max = value
  }
  if (!Number.isNaN(own)) {
    count++
    sum += own
    if (own > max) max = own
  }
  if (spec.code === plan.SUM) return sum / spec.divisor
  if (count === 0) return NaN
  return (spec.code === plan.MAX ? max : sum / count) / spec.divisor
}

function distinct(spec: plan.Aggregate, scratch: Scratch, low: number, high: number, own: number): number {
  const { stretch } = scratch
  const column = stretch.raws + spec.rawColumn * stretch.capacity
  scratch.stamp++
  if (scratch.stamp === 2 ** 32) {
    scratch.stamps.fill(0)
    scratch.stamp = 1
  }
  let count = 0
  for (let k = low; k < high; k++) {
    if (passes(spec, stretch, k)) count += firstSeen(scratch, stretch.floats[column + k])
  }
  return count + firstSeen(scratch, own)
}

/** 1 where the value was not seen under this stamp, else 0; NaN is no value. */
function firstSeen(scratch: Scratch, value: number): number {
  if (Number.isNaN(value)) return 0
  const { float, halves } = scratch
  // Adding 0 joins -0 and 0. The seed is secret: nobody outside can choose values that collide.
  float[0] = value + 0
  let hash = Math.imul(halves[0] ^ scratch.seed, 0x9e3779b1) ^ Math.imul(halves[1] + scratch.seed, 0x85ebca6b)
  hash = Math.imul(hash ^ (hash >>> 15), 0x2c1b3c6d)
  const mask = scratch.stamps.length - 1
  let at = (hash ^ (hash >>> 13)) & mask
  while (scratch.stamps[at] === scratch.stamp) {
    if (scratch.seen[at] === float[0]) return 0
    at = (at + 1) & mask
  }
  scratch.stamps[at] = scratch.stamp
  scratch.seen[at] = float[0]
  return 1
}
