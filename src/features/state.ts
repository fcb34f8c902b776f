// The windows of all entities as one deterministic fold of (transaction, clock) and labels: the same calls give the
// same vectors and the same digest. Event time rules; what is held follows min(event time, the clock), so that one bad
// clock empties nobody's window. Reads no clock and keeps no transaction, only what the catalogue needs of it.
import { createHash } from 'node:crypto'
import { FEATURE_FLAGS } from '../contract/decision.js'
import type { Label } from '../contract/label.js'
import type { Transaction } from '../contract/transaction.js'
import type { Limits } from '../limits.js'
import { createHasher, type Hasher } from '../runtime/hash.js'
import type { Image } from '../runtime/image.js'
import type { Current } from './aggregate.js'
import { EntityBuckets } from './buckets.js'
import type { CompiledCatalogue } from './compile.js'
import { LabelFold } from './label-fold.js'
import { isMarked } from './marks.js'
import { AMOUNT_FIELD, CURRENCY_FIELD, type Plan } from './plan.js'
import { digestState } from './state-digest.js'
import { EntityWindows } from './windows.js'

export interface FeatureStateOptions {
  readonly limits: Limits
  /**
   * Key of the hashes of entity values and transaction ids, 16 bytes; the same key gives the same digest. Zero by
   * default.
   */
  readonly hashKey?: Uint8Array
  /** Start of observation, ms; the time of the first folded event where absent. */
  readonly observedSinceMs?: number
}

export interface FeatureStateSize {
  /** Entities held, by entity field. */
  readonly entities: Readonly<Record<string, number>>
  /** Events held, over all entity fields. */
  readonly events: number
  /** Bytes of slabs, tables and label rows in use. */
  readonly bytes: number
  /** Entities with live events that left for want of room. */
  readonly evictions: number
  readonly labelsWaiting: number
  /** Labels whose transaction never came before they had to leave. */
  readonly labelsExpired: number
  /** Transactions too old for a window that they belonged to. */
  readonly late: number
}

export interface FeatureState {
  /**
   * Folds the transaction into its entities' windows and writes the vector, itself included; returns bits of
   * FEATURE_FLAGS.
   */
  fold(tx: Transaction, ordinal: number, clockMs: number, out: Float64Array, outAt: number): number
  /**
   * The same of a transaction that was folded before, and is not folded again: its windows hold it once. The flags say
   * `folded`. What came since then and happened before it is in them, too.
   */
  revisit(tx: Transaction, clockMs: number, out: Float64Array, outAt: number): number
  /** The vector and flags that `fold` would give now; nothing is changed. */
  evaluate(tx: Transaction, clockMs: number, out: Float64Array, outAt: number): number
  /**
   * Folds a label: true where its transaction is held, false where the label waits for it or has no window to act on.
   */
  label(label: Label, ordinal: number, clockMs: number): boolean
  size(): FeatureStateSize
  /** `sha256:<hex>` over the whole state in canonical order: equal after equal folds. Walks everything. */
  digest(): string
  /** Puts the state into an image, or takes it from that of a state made with the same catalogue, limits and key. */
  serialize(image: Image): Promise<void>
  /** Start of observation, ms; NaN before the first event. */
  observedSinceMs(): number
  /** The latest event time that windows follow, ms; -Infinity before the first event. */
  observedUntilMs(): number
  /** Moves the start of observation back, after history was imported; never forward. */
  observeSince(sinceMs: number): void
  /**
   * Event time from which the feature of that index is warm; -Infinity where it needs no history, NaN before the first
   * event.
   */
  warmFromMs(feature: number): number
}

/** What a transaction says of its entities and values; overwritten by the next. */
export interface Reading {
  readonly current: Current
  /** Per windows of `windows`: whether the transaction names an entity, and the entity's hash. */
  readonly present: Uint8Array
  readonly low: Uint32Array
  readonly high: Uint32Array
}

/** A state whose windows are filled from elsewhere, entity by entity (shared-windows.ts). */
export interface OpenWindows extends FeatureState {
  readonly windows: readonly (EntityWindows | EntityBuckets)[]
  read(tx: Transaction): Reading
  /** Windows follow event time up to here from now on. Returns how far they do. */
  advance(untilMs: number): number
}

/** An empty state whose windows are filled from elsewhere. The same errors. */
export function createOpenWindows(compiled: CompiledCatalogue, options: FeatureStateOptions): OpenWindows {
  return createWindowState(compiled, options)
}

/** An empty state for the catalogue. Throws RangeError where the bounds cannot hold one full entity. */
export function createFeatureState(compiled: CompiledCatalogue, options: FeatureStateOptions): FeatureState {
  return createWindowState(compiled, options)
}

function createWindowState(compiled: CompiledCatalogue, options: FeatureStateOptions): WindowState {
  const limits = compiled.bounded(options.limits)
  const { eventsPerEntityMax, entitiesMax } = limits
  // Prefix counts are kept modulo 2^16.
  if (eventsPerEntityMax < 1 || eventsPerEntityMax >= 1 << 15 || entitiesMax < 1) {
    throw new RangeError('eventsPerEntityMax must lie between 1 and 32767, and entitiesMax be at least 1')
  }
  return new WindowState(compiled, { ...options, limits })
}

/** 52 bits of a hash as a number. */
function kept(low: number, high: number): number {
  return (high & 0xfffff) * 2 ** 32 + low
}

// A class: identity, private state and speed meet. Nothing is allocated per transaction.
class WindowState implements OpenWindows {
  readonly #plan: Plan
  readonly #size: number
  readonly #limits: Limits
  readonly #hasher: Hasher
  readonly windows: readonly (EntityWindows | EntityBuckets)[]
  readonly #labels: LabelFold
  readonly #current: Current
  readonly #raw: Float64Array
  readonly #spanMs: number
  /** Per source the entity field whose hash it can use, or -1. */
  readonly #hashedBy: Int32Array
  /** What was read ahead: kept so that the reading is not left out. */
  #readAhead = 0
  // Per entity field, of the transaction at hand: whether it names an entity, the entity's hash, its place or -1, and
  // whether its event is to be held.
  readonly #present: Uint8Array
  readonly #low: Uint32Array
  readonly #high: Uint32Array
  readonly #entity: Int32Array
  readonly #accepted: Uint8Array
  /** The latest min(event time, clock) folded. */
  #frontierMs = -Infinity
  #observedSinceMs: number
  #late = 0
  readonly #reading: Reading

  constructor(compiled: CompiledCatalogue, options: FeatureStateOptions) {
    const { limits, hashKey = new Uint8Array(16) } = options
    const { plan } = compiled
    this.#plan = plan
    this.#size = compiled.size
    this.#limits = limits
    this.#hasher = createHasher(hashKey)
    this.#hasher.string('distinct values')
    const exact = plan.fields.map((field) => new EntityWindows(field, limits, this.#hasher.a))
    const buckets = plan.buckets.map((each) => new EntityBuckets(each, limits))
    this.windows = [...exact, ...buckets]
    this.#labels = new LabelFold({ plan, exact, buckets, hasher: this.#hasher, limits })
    this.#current = {
      timeMs: 0,
      adds: true,
      amount: NaN,
      idLow: 0,
      idHigh: 0,
      masks: new Uint8Array(plan.masks.length),
      values: new Float64Array(plan.sources.length),
    }
    this.#raw = new Float64Array(compiled.size)
    this.#spanMs = plan.spanMs
    this.#present = new Uint8Array(this.windows.length)
    this.#low = new Uint32Array(this.windows.length)
    this.#high = new Uint32Array(this.windows.length)
    this.#entity = new Int32Array(this.windows.length)
    this.#accepted = new Uint8Array(this.windows.length)
    this.#hashedBy = Int32Array.from(plan.sources, (source) =>
      this.windows.findIndex(({ plan }) => plan.field === source.field),
    )
    this.#observedSinceMs = options.observedSinceMs ?? NaN
    this.#reading = { current: this.#current, present: this.#present, low: this.#low, high: this.#high }
  }

  fold(tx: Transaction, _ordinal: number, clockMs: number, out: Float64Array, outAt: number): number {
    this.#frontierMs = Math.max(this.#frontierMs, Math.min(tx.occurredAtMs, clockMs))
    if (Number.isNaN(this.#observedSinceMs)) this.#observedSinceMs = this.#frontierMs
    const flags = this.#score(tx, this.#frontierMs, false, out, outAt)
    const t = tx.occurredAtMs
    const { idLow, idHigh } = this.#current
    let held = false
    for (let i = 0; i < this.windows.length; i++) {
      if (this.#present[i] === 0) continue
      const windows = this.windows[i]
      const heldFrom = this.#heldFrom(i, this.#frontierMs)
      if (this.#accepted[i] === 1) {
        windows.insert(this.#entity[i], this.#low[i], this.#high[i], this.#current, heldFrom)
        held ||= windows instanceof EntityWindows && windows.plan.marked.length > 0
      } else if (t > heldFrom) windows.miss(this.#entity[i], t)
    }
    if (held) this.#labels.hold(idLow, idHigh, t)
    if ((flags & FEATURE_FLAGS.late) !== 0) this.#late++
    return flags
  }

  revisit(tx: Transaction, clockMs: number, out: Float64Array, outAt: number): number {
    const frontierMs = Math.max(this.#frontierMs, Math.min(tx.occurredAtMs, clockMs))
    return this.#score(tx, frontierMs, true, out, outAt) | FEATURE_FLAGS.folded
  }

  evaluate(tx: Transaction, clockMs: number, out: Float64Array, outAt: number): number {
    return this.#score(tx, Math.max(this.#frontierMs, Math.min(tx.occurredAtMs, clockMs)), false, out, outAt)
  }

  label(label: Label, _ordinal: number, _clockMs: number): boolean {
    return this.#labels.fold(label, this.#frontierMs)
  }

  size(): FeatureStateSize {
    const windows = this.windows
    return {
      entities: this.#entitiesHeld(),
      events: windows.reduce((sum, field) => sum + field.events, 0),
      bytes: windows.reduce((sum, field) => sum + field.bytes, 0) + this.#labels.bytes,
      evictions: windows.reduce((sum, field) => sum + field.evictions, 0),
      labelsWaiting: this.#labels.waiting,
      labelsExpired: this.#labels.expired,
      late: this.#late,
    }
  }

  /** By entity field; where it has buckets beside exact windows, or of several widths, the most of them. */
  #entitiesHeld(): Record<string, number> {
    const held: Record<string, number> = {}
    for (const { plan, entities } of this.windows) held[plan.name] = Math.max(held[plan.name] ?? 0, entities)
    return held
  }

  digest(): string {
    const hash = createHash('sha256')
    digestState((bytes) => hash.update(bytes), {
      facts: [this.#frontierMs, this.#observedSinceMs, this.#late, this.#labels.expired],
      fields: this.windows.map((windows, i) => ({ windows, heldFrom: this.#heldFrom(i, this.#frontierMs) })),
      labels: this.#labels,
    })
    return `sha256:${hash.digest('hex')}`
  }

  async serialize(image: Image): Promise<void> {
    this.#frontierMs = await image.number(this.#frontierMs)
    this.#observedSinceMs = await image.number(this.#observedSinceMs)
    this.#late = await image.number(this.#late)
    for (const windows of this.windows) await windows.serialize(image)
    await this.#labels.serialize(image)
  }

  read(tx: Transaction): Reading {
    this.#hashEntities(tx)
    this.#readCurrent(tx)
    return this.#reading
  }

  advance(untilMs: number): number {
    this.#frontierMs = Math.max(this.#frontierMs, untilMs)
    return this.#frontierMs
  }

  observedSinceMs(): number {
    return this.#observedSinceMs
  }

  observedUntilMs(): number {
    return this.#frontierMs
  }

  observeSince(sinceMs: number): void {
    if (!(this.#observedSinceMs <= sinceMs)) this.#observedSinceMs = sinceMs
  }

  warmFromMs(feature: number): number {
    const span = this.#plan.spansMs[feature]
    return span === 0 ? -Infinity : this.#observedSinceMs + span
  }

  /** Events of a field at or before this time are no longer held. */
  #heldFrom(field: number, frontierMs: number): number {
    return frontierMs - this.windows[field].plan.spanMs - this.#limits.lateMsMax
  }

  /**
   * The vector and flags at this frontier; leaves the transaction's entities in the scratch, for `fold`. `folded`: it
   * is where it was held then, unless it had to leave.
   */
  #score(tx: Transaction, frontierMs: number, folded: boolean, out: Float64Array, outAt: number): number {
    const { scalars, derived, missing } = this.#plan
    const raw = this.#raw
    const t = tx.occurredAtMs
    this.#hashEntities(tx)
    this.#readCurrent(tx)
    this.#findEntities()
    let flags = this.#inputsAbsent(tx) ? FEATURE_FLAGS.missing : 0
    // A window that begins before observation did may lack what nobody saw.
    const since = Number.isNaN(this.#observedSinceMs) ? frontierMs : this.#observedSinceMs
    if (this.#spanMs > 0 && t - this.#spanMs < since) flags |= FEATURE_FLAGS.cold
    for (let i = 0; i < scalars.length; i++) raw[scalars[i].feature] = scalars[i].value(tx)
    for (let i = 0; i < this.windows.length; i++)
      flags |= this.#scoreField(tx, i, this.#heldFrom(i, frontierMs), folded)
    for (let i = 0; i < derived.length; i++) {
      const { feature, ratio, left, right } = derived[i]
      const value = ratio ? raw[left] / raw[right] : raw[left] - raw[right]
      raw[feature] = Number.isFinite(value) ? value : NaN
    }
    for (let i = 0; i < this.#size; i++) out[outAt + i] = Number.isNaN(raw[i]) ? missing[i] : raw[i]
    return flags
  }

  #hashEntities(tx: Transaction): void {
    const hasher = this.#hasher
    for (let i = 0; i < this.windows.length; i++) {
      const value = tx.fields[this.windows[i].plan.field]
      this.#present[i] = typeof value === 'string' ? 1 : 0
      if (typeof value !== 'string') continue
      hasher.string(value)
      this.#low[i] = hasher.a
      this.#high[i] = hasher.b
    }
  }

  /** Step by step for all fields: what one waits for is fetched beside what the others wait for. */
  #findEntities(): void {
    const windows = this.windows
    for (let i = 0; i < windows.length; i++) {
      this.#entity[i] = this.#present[i] === 1 ? windows[i].find(this.#low[i], this.#high[i]) : -1
    }
    for (let i = 0; i < windows.length; i++) this.#readAhead ^= windows[i].reach(this.#entity[i], this.#current)
  }

  #scoreField(tx: Transaction, index: number, heldFrom: number, folded: boolean): number {
    const windows = this.windows[index]
    if (this.#present[index] === 0) {
      const { aggregates } = windows.plan
      for (let i = 0; i < aggregates.length; i++) this.#raw[aggregates[i].feature] = NaN
      return 0
    }
    const entity = this.#entity[index]
    this.#current.adds = !folded || !windows.holds(entity, tx.occurredAtMs, heldFrom)
    windows.compute(entity, this.#current, heldFrom, this.#raw)
    const accepted = windows.accepts(entity, tx.occurredAtMs, heldFrom)
    this.#accepted[index] = accepted ? 1 : 0
    return (
      (windows.truncated(entity, tx.occurredAtMs, heldFrom) ? FEATURE_FLAGS.truncated : 0) |
      (accepted ? 0 : FEATURE_FLAGS.late)
    )
  }

  #readCurrent(tx: Transaction): void {
    const { masks, sources } = this.#plan
    const current = this.#current
    const amount = tx.amountBaseMinor
    current.timeMs = tx.occurredAtMs
    current.amount = amount > this.#limits.amountSummedMax ? this.#limits.amountSummedMax : amount
    let marks = 0
    if (this.#labels.any) {
      this.#hasher.string(tx.transactionId)
      current.idLow = this.#hasher.a
      current.idHigh = this.#hasher.b
      marks = this.#labels.marks(current.idLow, current.idHigh)
    }
    for (let i = 0; i < masks.length; i++) {
      const { tests, needsAmount, marks: wanted } = masks[i]
      let passes = (!needsAmount || !Number.isNaN(amount)) && isMarked(wanted, marks) === 1
      for (let k = 0; passes && k < tests.length; k++) passes = tests[k](tx)
      current.masks[i] = passes ? 1 : 0
    }
    for (let i = 0; i < sources.length; i++) current.values[i] = this.#valueOf(tx, sources[i].field, this.#hashedBy[i])
  }

  /** The number kept of a field: itself, or 52 bits of a string's keyed hash; NaN where absent. */
  #valueOf(tx: Transaction, field: number, hashedBy: number): number {
    if (hashedBy >= 0 && this.#present[hashedBy] === 1) return kept(this.#low[hashedBy], this.#high[hashedBy])
    if (field === AMOUNT_FIELD) return tx.amountBaseMinor
    const value = field === CURRENCY_FIELD ? tx.currency : tx.fields[field]
    if (value === null) return NaN
    if (typeof value !== 'string') return Number(value)
    this.#hasher.string(value)
    return kept(this.#hasher.a, this.#hasher.b)
  }

  #inputsAbsent(tx: Transaction): boolean {
    const { inputs } = this.#plan
    for (let i = 0; i < inputs.length; i++) {
      if (inputs[i] === AMOUNT_FIELD ? Number.isNaN(tx.amountBaseMinor) : tx.fields[inputs[i]] === null) return true
    }
    return false
  }
}
