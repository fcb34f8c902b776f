// What the state of a catalogue takes at a steady load, from its own layouts: stretches of the slab, rings of buckets,
// records and tables of entities, ids, labels. A model of the load stands in for the load: transactions come at random
// and spread evenly over the entities, so that what an entity holds is Poisson distributed; every transaction names one
// of each field. test/features/memory.test.ts holds the figures against those of states that were filled.
import type { Limits } from '../limits.js'
import { gammaUpper } from '../stats/gamma.js'
import { bucketLayout } from './buckets.js'
import type { CompiledCatalogue } from './compile.js'
import { Entities } from './entities.js'
import { FILL_MAX, FIRST_SIZE, PLACE_BYTES, SEGMENTS, SIZE_MAX } from './hash-table.js'
import { BYTES_PER_ROW } from './labels.js'
import type { BucketPlan, FieldPlan, Plan } from './plan.js'
import { createSlab, isCrowded, isSparse, ORDER_FIRST } from './windows.js'

export interface Load {
  /** Transactions a second. */
  readonly rate: number
  /** Entities that pay, by entity field. */
  readonly entities: ReadonlyMap<string, number>
  /** Labels for each transaction. */
  readonly labelShare: number
}

export interface FieldMemory {
  readonly field: string
  /** For so long an event is held: the longest window with its delay, and what is kept for late ones. */
  readonly held_ms: number
  /** Entities held, and the share of transactions that find theirs held. */
  readonly entities: number
  readonly known_share: number
  /** Of each entity held; and how many they would be if no bound were reached. */
  readonly events_each: number
  readonly events_each_whole: number
  readonly slots_each: number
  readonly bytes_per_slot: number
  /** Events held. */
  readonly events: number
  readonly bytes: { readonly events: number; readonly entities: number; readonly ids: number }
  /** Bounds of `limits.ts` that hold less than the load asks for. */
  readonly bounds: readonly ('entitiesMax' | 'eventsPerEntityMax' | 'featureEventsMax')[]
}

/** Of an entity field with buckets of one width. */
export interface BucketMemory extends Pick<FieldMemory, 'field' | 'held_ms' | 'entities' | 'known_share'> {
  readonly bucketed_ms: number
  readonly buckets_each: number
  /** The same for every entity, whatever it does. */
  readonly bytes_each: number
  readonly bytes: number
  readonly bounds: readonly 'entitiesMax'[]
}

export interface MemoryReport {
  readonly fields: readonly FieldMemory[]
  readonly buckets: readonly BucketMemory[]
  readonly labels: { readonly held: number; readonly bytes: number }
  readonly bytes: number
  /** What no load exceeds. */
  readonly bytes_max: number
}

/**
 * Times that the stretch of an entity is looked at before the figure holds: some ten lengths of the longest window,
 * twice each. Only stretches that are at the edge between two sizes depend on it.
 */
const LOOKS = 20

/** The memory of a catalogue's state once its windows are full. */
export function estimateMemory({ plan, bounded }: CompiledCatalogue, load: Load, defaults: Limits): MemoryReport {
  const limits = bounded(defaults)
  const fields = plan.fields.map((field) => fieldMemory(field, load, limits))
  const buckets = plan.buckets.map((each) => bucketMemory(each, load, limits))
  const labels = labelMemory(plan, load, limits)
  const most = [
    ...plan.fields.map((field) => fieldBytesMax(field, limits)),
    ...plan.buckets.map((each) => bucketBytes(each, limits.entitiesMax, limits)),
  ].reduce((sum, bytes) => sum + bytes, labels.bytesMax)
  return {
    fields,
    buckets,
    labels: { held: labels.held, bytes: labels.bytes },
    bytes:
      fields.reduce((sum, { bytes }) => sum + bytes.events + bytes.entities + bytes.ids, labels.bytes) +
      buckets.reduce((sum, { bytes }) => sum + bytes, 0),
    bytes_max: most,
  }
}

/** Of each kind that is asked for, of exact windows and of buckets; every transaction has an issuer's answer. */
function labelMemory(
  plan: Plan,
  load: Load,
  limits: Limits,
): { readonly held: number; readonly bytes: number; readonly bytesMax: number } {
  const bytesOf = (rows: number): number => rows * BYTES_PER_ROW + tableBytes(rows)
  let [held, bytes, bytesMax] = [0, 0, 0]
  for (const spans of [plan.labelSpansMs, plan.bucketLabelSpansMs]) {
    for (const [spanMs, share] of [[spans.fraud, load.labelShare] as const, [spans.authorisation, 1] as const]) {
      if (spanMs === 0) continue
      const wanted = Math.round((share * load.rate * (spanMs + limits.lateMsMax)) / 1000)
      const rows = Math.min(limits.labelsHeldMax, wanted)
      held += rows
      bytes += bytesOf(rows)
      bytesMax += bytesOf(limits.labelsHeldMax + limits.labelsUnmatchedMax)
    }
  }
  return { held, bytes, bytesMax }
}

function bucketMemory(plan: BucketPlan, load: Load, limits: Limits): BucketMemory {
  const paying = load.entities.get(plan.name) ?? 0
  const { places, recordBytes } = bucketLayout(plan, limits)
  const heldMs = plan.spanMs + limits.lateMsMax
  const seen = paying * -Math.expm1(-(load.rate * heldMs) / 1000 / paying)
  const entities = Math.min(seen, limits.entitiesMax)
  return {
    field: plan.name,
    bucketed_ms: plan.widthMs,
    held_ms: heldMs,
    entities: Math.round(entities),
    known_share: entities / paying,
    buckets_each: places,
    bytes_each: recordBytes + RECORD_WORDS * 4,
    bytes: bucketBytes(plan, entities, limits),
    bounds: seen > limits.entitiesMax ? ['entitiesMax'] : [],
  }
}

function bucketBytes(plan: BucketPlan, entities: number, limits: Limits): number {
  const { recordBytes, recordsPerChunk } = bucketLayout(plan, limits)
  const chunks = Math.ceil(entities / recordsPerChunk)
  return chunks * recordsPerChunk * recordBytes + entities * RECORD_WORDS * 4 + tableBytes(entities)
}

function fieldMemory(plan: FieldPlan, load: Load, limits: Limits): FieldMemory {
  const paying = load.entities.get(plan.name) ?? 0
  const heldMs = plan.spanMs + limits.lateMsMax
  const mean = (load.rate * heldMs) / 1000 / paying
  const slab = createSlab(plan, limits)
  // Held is who was seen for as long as an event is held.
  const seen = paying * -Math.expm1(-mean)
  const eachOf = (entities: number) => entityLoad(mean, entities / paying, limits.eventsPerEntityMax)
  const wanted = Math.min(seen, limits.entitiesMax)
  const entities = largestFitting(wanted, (held) => held * eachOf(held).slots <= slab.slotsMax)
  const isFull = entities < wanted
  const { events, slots } = eachOf(entities)
  const chunks = isFull ? slab.slotsMax / slab.chunkSlots : Math.ceil((entities * slots) / slab.chunkSlots)
  const held = entities * events
  return {
    field: plan.name,
    held_ms: heldMs,
    entities: Math.round(entities),
    known_share: entities / paying,
    events_each: events,
    events_each_whole: mean + 1,
    slots_each: slots,
    bytes_per_slot: slab.bytesPerSlot,
    events: Math.round(held),
    bytes: {
      events: chunks * slab.chunkSlots * slab.bytesPerSlot,
      entities: entities * recordBytes(plan) + tableBytes(entities),
      ids: tableBytes(plan.marked.length > 0 ? held : 0),
    },
    bounds: [
      ...(seen > limits.entitiesMax ? ['entitiesMax' as const] : []),
      ...(mean + 1 > limits.eventsPerEntityMax ? ['eventsPerEntityMax' as const] : []),
      ...(isFull ? ['featureEventsMax' as const] : []),
    ],
  }
}

function fieldBytesMax(plan: FieldPlan, limits: Limits): number {
  const slab = createSlab(plan, limits)
  const { entitiesMax } = limits
  const ids = plan.marked.length > 0 ? tableBytes(slab.slotsMax) : 0
  return slab.slotsMax * slab.bytesPerSlot + entitiesMax * recordBytes(plan) + tableBytes(entitiesMax) + ids
}

/** Words of an entity that has no edges. */
const RECORD_WORDS = new Entities(1, 1).facts.length

function recordBytes(plan: FieldPlan): number {
  return new Entities(1, plan.edges.length).facts.byteLength
}

/**
 * Events and slots of an entity that is held, of which `known` is the chance that it is still held when it is seen
 * again. When it was last seen it held that event and those of the window before; where entities must leave early, it
 * holds what came since it was admitted: one event more with each time that it was still known.
 */
function entityLoad(mean: number, known: number, eventsMax: number): { events: number; slots: number } {
  const events = Math.min(mean + 1, 1 / Math.max(1 - known, 1e-9))
  return { events: Math.min(events, eventsMax), slots: slotsFor(events - 1, eventsMax) }
}

/**
 * Slots of the stretch of an entity that holds `mean` events when it is seen, its own not counted. A stretch doubles
 * when it is found crowded and shrinks when it is found sparse; between the two it stays as it is. So of two sizes the
 * larger has the share of a chain of two states that began in the smaller one.
 */
function slotsFor(mean: number, eventsMax: number): number {
  let slots = 0
  let atLeast = 1
  for (let order = ORDER_FIRST; atLeast > 1e-9; order++) {
    const capacity = 1 << order
    const up = shareOf(mean, eventsMax, (events) => isCrowded(events + 1, capacity))
    const down = shareOf(mean, eventsMax, (events) => !isSparse(events + 1, 2 * capacity))
    const leaves = 1 - down
    const above = up === 0 ? 0 : (up / (up + leaves)) * (1 - (1 - up - leaves) ** LOOKS)
    slots += capacity * (atLeast - Math.min(atLeast, above))
    atLeast = Math.min(atLeast, above)
  }
  return slots
}

/** The share of entities whose number of events, `eventsMax` at most, is so large that the test holds from it on. */
function shareOf(mean: number, eventsMax: number, holds: (events: number) => boolean): number {
  if (!holds(eventsMax)) return 0
  // The first that it holds for.
  let low = 0
  let high = eventsMax
  while (low < high) {
    const middle = (low + high) >>> 1
    if (holds(middle)) high = middle
    else low = middle + 1
  }
  return low === 0 ? 1 : 1 - poissonUpTo(low - 1, mean)
}

/** P(X ≤ count): Abramowitz and Stegun 26.4.21. */
function poissonUpTo(count: number, mean: number): number {
  return mean === 0 ? 1 : gammaUpper(count + 1, mean)
}

/**
 * Bytes of a table whose entries fall into its segments at random, each as large as its own number asks for. One that
 * is full grown counts as two where its own number asks for that.
 */
function tableBytes(entries: number): number {
  let places = 0
  let upTo = 0
  for (let size = FIRST_SIZE; upTo < 1 - 1e-12; size *= 2) {
    const parts = Math.max(1, size / SIZE_MAX)
    const fitting = poissonUpTo(Math.floor((size / parts) * FILL_MAX), entries / SEGMENTS / parts)
    places += size * Math.max(0, fitting - upTo)
    upTo = Math.max(upTo, fitting)
  }
  return places * PLACE_BYTES * SEGMENTS
}

/** The largest number up to `most` that fits; what fits, fits when it is smaller. */
function largestFitting(most: number, fits: (number: number) => boolean): number {
  if (fits(most)) return most
  let [low, high] = [0, most]
  while (high - low > 1) {
    const middle = (low + high) / 2
    if (fits(middle)) low = middle
    else high = middle
  }
  return low
}
