// An independent, naive feature state: arrays of whole transactions, filtered anew for every value. It shares no code
// with src/features but the declaration of types; where the two differ, one of them is wrong.
import type { Catalogue, FeatureSpec } from '../../src/contract/catalogue.js'
import type { FieldValue, Transaction, TransactionSchema } from '../../src/contract/transaction.js'
import type { Limits } from '../../src/limits.js'

type Aggregate = Extract<FeatureSpec, { kind: 'aggregate' }>

interface Entity {
  events: Transaction[]
  floor: number
}

interface Field {
  name: string
  span: number
  /** In the order in which they were last seen, the newest last. */
  entities: Map<string, Entity>
  evictedUntil: number
  evictions: number
}

interface Said {
  knownAt: number
  word: string
}

const UNITS: Record<string, number> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 }

export function naiveMs(text: string | undefined): number {
  if (text === undefined) return 0
  const unit = text.replace(/[0-9]/g, '')
  return parseInt(text, 10) * UNITS[unit]
}

const FORMATS = new Map<string, Intl.DateTimeFormat>()

function formatOf(timeZone: string): Intl.DateTimeFormat {
  const options = { hourCycle: 'h23', hour: 'numeric', weekday: 'short', day: 'numeric', month: 'numeric' } as const
  const format = FORMATS.get(timeZone) ?? new Intl.DateTimeFormat('en-GB', { timeZone, ...options })
  FORMATS.set(timeZone, format)
  return format
}

export class NaiveState {
  frontier = -Infinity
  since = NaN
  readonly fields = new Map<string, Field>()
  /** transaction → source and kind → latest word. */
  readonly words = new Map<string, Map<string, Said>>()

  constructor(
    readonly catalogue: Catalogue,
    readonly schema: TransactionSchema,
    readonly limits: Limits,
    readonly minorPerMajor: number,
  ) {
    for (const spec of catalogue.features) {
      if (spec.kind !== 'aggregate') continue
      const field = this.fields.get(spec.entity) ?? {
        name: spec.entity,
        span: 0,
        entities: new Map<string, Entity>(),
        evictedUntil: -Infinity,
        evictions: 0,
      }
      field.span = Math.max(field.span, naiveMs(spec.window) + naiveMs(spec.delay))
      this.fields.set(spec.entity, field)
    }
  }

  label(id: string, source: string, said: Said): void {
    const sources = this.words.get(id) ?? new Map<string, Said>()
    const key = `${source} ${said.word.includes('fraud')}`
    const known = sources.get(key)
    if (known === undefined || said.knownAt > known.knownAt) sources.set(key, said)
    this.words.set(id, sources)
  }

  private isFraud(event: Transaction): boolean {
    return [...(this.words.get(event.transactionId)?.values() ?? [])].some(({ word }) => word === 'fraud')
  }

  /** The latest answer; of those known at once a refusal. */
  private answer(event: Transaction): string {
    const answers = [...(this.words.get(event.transactionId)?.values() ?? [])]
      .filter(({ word }) => !word.includes('fraud'))
      .sort((a, b) => b.knownAt - a.knownAt || (a.word === 'declined' ? -1 : 1))
    return answers[0]?.word ?? 'unanswered'
  }

  fold(tx: Transaction, clock: number): { vector: number[]; flags: string[] } {
    this.frontier = Math.max(this.frontier, Math.min(tx.occurredAtMs, clock))
    if (Number.isNaN(this.since)) this.since = this.frontier
    const result = this.evaluate(tx, this.frontier)
    for (const field of this.fields.values()) this.insert(field, tx)
    return result
  }

  evaluate(tx: Transaction, frontier: number): { vector: number[]; flags: string[] } {
    const flags = new Set<string>()
    const t = tx.occurredAtMs
    const span = Math.max(...[...this.fields.values()].map((field) => field.span))
    if (t - span < this.since) flags.add('cold')
    for (const field of this.fields.values()) {
      const value = this.read(tx, field.name)
      if (typeof value !== 'string') continue
      const heldFrom = frontier - field.span - this.limits.lateMsMax
      const entity = field.entities.get(value)
      if (heldFrom > t - field.span || (entity?.floor ?? field.evictedUntil) > t - field.span) flags.add('truncated')
      if (!this.fits(entity, t, heldFrom)) flags.add('late')
    }
    const raw = new Map<string, number>()
    const value = (name: string): number => {
      const known = raw.get(name)
      if (known !== undefined) return known
      const spec = this.catalogue.features.find((feature) => feature.name === name)
      if (spec === undefined) throw new Error(name)
      const found = this.value(spec, tx, { frontier, value, flags })
      raw.set(name, found)
      return found
    }
    const vector = this.catalogue.features.map((spec) => {
      const found = value(spec.name)
      if (!Number.isNaN(found)) return found
      return spec.kind === 'calendar' || spec.missing === 'nan' ? NaN : spec.missing
    })
    return { vector, flags: [...flags].sort() }
  }

  private visible(entity: Entity | undefined, heldFrom: number): Transaction[] {
    return (entity?.events ?? []).filter((event) => event.occurredAtMs > heldFrom)
  }

  private fits(entity: Entity | undefined, t: number, heldFrom: number): boolean {
    const visible = this.visible(entity, heldFrom)
    if (t <= heldFrom) return false
    return visible.length < this.limits.eventsPerEntityMax || t >= Math.min(...visible.map((e) => e.occurredAtMs))
  }

  private insert(field: Field, tx: Transaction): void {
    const value = this.read(tx, field.name)
    if (typeof value !== 'string') return
    const t = tx.occurredAtMs
    const heldFrom = this.frontier - field.span - this.limits.lateMsMax
    let entity = field.entities.get(value)
    if (!this.fits(entity, t, heldFrom)) {
      if (t > heldFrom && entity !== undefined) entity.floor = Math.max(entity.floor, t)
      return
    }
    if (entity === undefined) {
      if (field.entities.size >= this.limits.entitiesMax) this.evict(field)
      entity = { events: [], floor: field.evictedUntil }
    }
    field.entities.delete(value)
    field.entities.set(value, entity)
    entity.events = this.visible(entity, heldFrom)
    if (entity.events.length === this.limits.eventsPerEntityMax) {
      const oldest = entity.events.shift()
      entity.floor = Math.max(entity.floor, oldest?.occurredAtMs ?? -Infinity)
    }
    const before = entity.events.filter((event) => event.occurredAtMs <= t)
    const after = entity.events.filter((event) => event.occurredAtMs > t)
    entity.events = [...before, tx, ...after]
    for (let i = 0; i < 2 && field.entities.size > 1; i++) {
      const [[name, idle]] = field.entities
      if (Math.max(...idle.events.map((e) => e.occurredAtMs)) > heldFrom) break
      field.entities.delete(name)
    }
  }

  private evict(field: Field): void {
    const [[name, entity]] = field.entities
    field.evictedUntil = Math.max(field.evictedUntil, entity.floor, ...entity.events.map((e) => e.occurredAtMs))
    field.evictions++
    field.entities.delete(name)
  }

  private read(tx: Transaction, name: string): FieldValue {
    if (name === 'currency') return tx.currency
    if (name === 'amount') return Number.isNaN(tx.amountBaseMinor) ? null : tx.amountBaseMinor / this.minorPerMajor
    return tx.fields[this.schema.fields.findIndex((field) => field.name === name)]
  }

  private input(tx: Transaction, name: string, flags: Set<string>): FieldValue {
    const value = this.read(tx, name)
    if (value === null) flags.add('missing')
    return value
  }

  private value(
    spec: FeatureSpec,
    tx: Transaction,
    context: { frontier: number; value: (name: string) => number; flags: Set<string> },
  ): number {
    switch (spec.kind) {
      case 'field': {
        const value = this.input(tx, spec.field, context.flags)
        return value === null ? NaN : Number(value)
      }
      case 'category': {
        const value = this.input(tx, spec.field, context.flags)
        return value === null
          ? NaN
          : (Object.entries(spec.table).find(([key]) => key === String(value))?.[1] ?? spec.other)
      }
      case 'calendar': {
        const value = this.calendar(spec.part, spec.zone, tx)
        return spec.in === undefined ? value : Number(spec.in.includes(value))
      }
      case 'ratio': {
        const value = context.value(spec.numerator) / context.value(spec.denominator)
        return Number.isFinite(value) ? value : NaN
      }
      case 'difference':
        return context.value(spec.minuend) - context.value(spec.subtrahend)
      case 'aggregate':
        return this.aggregate(spec, tx, context)
    }
  }

  calendar(part: string, zone: string, tx: Transaction): number {
    const shift = zone === 'offset' ? tx.offsetMinutes * 60_000 : 0
    const name = zone === 'utc' || zone === 'offset' ? 'UTC' : zone
    const format = formatOf(name)
    const parts = new Map(format.formatToParts(tx.occurredAtMs + shift).map(({ type, value }) => [type, value]))
    if (part === 'weekday')
      return ['Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat', 'Sun'].indexOf(parts.get('weekday') ?? '') + 1
    return Number(parts.get(part === 'hour' ? 'hour' : part === 'month' ? 'month' : 'day'))
  }

  private aggregate(spec: Aggregate, tx: Transaction, context: { frontier: number; flags: Set<string> }): number {
    for (const test of spec.where ?? []) if ('field' in test) this.input(tx, test.field, context.flags)
    if (spec.of !== undefined) this.input(tx, spec.of, context.flags)
    const entityValue = this.input(tx, spec.entity, context.flags)
    const field = this.fields.get(spec.entity)
    if (field === undefined || typeof entityValue !== 'string') return NaN
    const t = tx.occurredAtMs
    const end = t - naiveMs(spec.delay)
    const start = end - naiveMs(spec.window)
    const heldFrom = context.frontier - field.span - this.limits.lateMsMax
    const inWindow = this.visible(field.entities.get(entityValue), heldFrom).filter(
      (event) => event.occurredAtMs > start && event.occurredAtMs <= end && this.passes(spec, event),
    )
    const own = spec.delay === undefined && this.passes(spec, tx)
    const all = own ? [...inWindow, tx] : inWindow
    if (spec.function === 'count') return all.length
    if (spec.function === 'time_since_last') {
      return inWindow.length === 0 ? NaN : (t - Math.max(...inWindow.map((event) => event.occurredAtMs))) / 1000
    }
    if (spec.function === 'label_rate') {
      const frauds = all.filter((event) => this.isFraud(event))
      return all.length === 0 ? NaN : frauds.length / all.length
    }
    const known = all.map((event) => this.read(event, spec.of ?? '')).filter((value) => value !== null)
    if (spec.function === 'distinct') return new Set(known).size
    const numbers = known.map(Number)
    const sum = numbers.reduce((total, value) => total + value, 0)
    if (spec.function === 'sum') return sum
    if (numbers.length === 0) return NaN
    return spec.function === 'max' ? Math.max(...numbers) : sum / numbers.length
  }

  private passes(spec: Aggregate, event: Transaction): boolean {
    return (spec.where ?? []).every((test) => {
      if ('label' in test) {
        if (test.label === 'authorisation') return this.answer(event) === test.is
        return this.isFraud(event) === (test.is === 'reported')
      }
      const { field, op, value } = test
      const found = this.read(event, field)
      if (found === null) return false
      if (op === 'in') return Array.isArray(value) && value.some((item) => item === found)
      if (op === 'eq') return found === value
      if (op === 'ne') return found !== value
      const [left, right] = [Number(found), Number(value)]
      return op === 'lt' ? left < right : op === 'le' ? left <= right : op === 'gt' ? left > right : left >= right
    })
  }
}
