// The reference catalogue computed the slow way, for the kill test: every event is kept, every window is a scan over
// all events of the entity, nothing is shared with src/features. Definitions come from the catalogue, rules from
// semantics 6 and 7. It covers what the reference policy uses and throws on the rest: it cannot agree by omission.
import { naiveDecisionId, type NaiveLabel, type NaiveLog } from './kill-log.js'

interface Spec {
  name: string
  kind: string
  field?: string
  part?: string
  in?: number[]
  zone?: string
  entity?: string
  function?: string
  of?: string
  window?: string
  delay?: string
  where?: unknown[]
  bucketed?: unknown
  dtype?: string
  numerator?: string
  denominator?: string
  missing?: 'nan' | number
}

export interface NaiveCatalogue {
  features: Spec[]
}

interface Event {
  id: string
  atMs: number
  amount: number
  fields: Record<string, string | null>
}

type Decision = NaiveLog['decisions'][number]

export interface Mismatch {
  readonly decisionId: string
  readonly features: readonly string[]
  /** True where an ordinal before this one is missing in its epoch: the vector may rest on what died unlogged. */
  readonly excused: boolean
}

export interface NaiveVerdict {
  readonly vectors: number
  readonly mismatches: readonly Mismatch[]
  /** Ordinals that were given and are not in the log, by epoch. */
  readonly missing: ReadonlyMap<number, readonly number[]>
}

const UNIT_MS: Record<string, number> = { ms: 1, s: 1e3, m: 6e4, h: 36e5, d: 864e5 }
const FLOAT32_STEP = 2 ** -23

/** Folds the log in the order of (epoch, ordinal) and compares every logged vector with the one computed here. */
export function foldNaively(log: NaiveLog, catalogue: NaiveCatalogue): NaiveVerdict {
  const events = new Map<string, Event[]>()
  const frauds = new Map<string, boolean>()
  const knownAt = new Map<string, number>()
  const mismatches: Mismatch[] = []
  const missing = new Map<number, number[]>()
  let epoch = 0
  let previous = 0
  let vectors = 0
  for (const item of inOrder(log)) {
    const at = 'facts' in item ? item.facts : item
    // A new epoch continues after the highest ordinal that the log holds, so a gap is always one of its own epoch.
    for (let lost = previous + 1; lost < at.ordinal; lost++) push(missing, at.epoch, lost)
    if (at.ordinal <= previous) throw new Error(`ordinal ${at.ordinal} of epoch ${at.epoch} after ${previous}`)
    epoch = at.epoch
    previous = at.ordinal
    if (!('facts' in item)) {
      applyLabel(item, frauds, knownAt)
      continue
    }
    const event = eventOf(item)
    const vector = compute(catalogue, event, (field) => events.get(`${field} ${event.fields[field]}`) ?? [], frauds)
    const differing = compare(catalogue, vector, item.personal.vector)
    vectors += 1
    if (differing.length > 0) {
      const excused = (missing.get(epoch) ?? []).length > 0
      mismatches.push({ decisionId: naiveDecisionId(log.logId, item.facts), features: differing, excused })
    }
    for (const [field, value] of Object.entries(event.fields))
      if (value !== null) push(events, `${field} ${value}`, event)
  }
  return { vectors, mismatches, missing }
}

function inOrder(log: NaiveLog): (Decision | NaiveLabel)[] {
  const folded = log.decisions.filter(({ facts }) => !facts.unfolded)
  const key = (item: Decision | NaiveLabel): { epoch: number; ordinal: number } => ('facts' in item ? item.facts : item)
  return [...folded, ...log.labels].sort((a, b) => key(a).epoch - key(b).epoch || key(a).ordinal - key(b).ordinal)
}

function push<Key, Value>(map: Map<Key, Value[]>, key: Key, value: Value): void {
  const list = map.get(key)
  if (list === undefined) map.set(key, [value])
  else list.push(value)
}

/** One source only: a later known_at replaces, `false` reverses. */
function applyLabel(label: NaiveLabel, frauds: Map<string, boolean>, knownAt: Map<string, number>): void {
  if (label.kind !== 'fraud') throw new Error(`a label of kind ${label.kind} is not expected here`)
  if ((knownAt.get(label.transaction_id) ?? -Infinity) >= label.known_at_ms) return
  knownAt.set(label.transaction_id, label.known_at_ms)
  frauds.set(label.transaction_id, label.value)
}

function eventOf({ personal }: Decision): Event {
  const { transaction_id: id, occurred_at_ms: atMs, amount_base_minor: minor, fields } = personal
  if (minor === null) throw new Error(`${id} has no amount in the base currency`)
  return { id, atMs, amount: minor / 100, fields: { ...fields } }
}

type Lookup = (field: string) => readonly Event[]

function compute(
  catalogue: NaiveCatalogue,
  event: Event,
  held: Lookup,
  frauds: ReadonlyMap<string, boolean>,
): number[] {
  const byName = new Map<string, number>()
  for (const spec of catalogue.features) {
    let value: number
    if (spec.kind === 'field' && spec.field === 'amount') value = event.amount
    else if (spec.kind === 'calendar') value = calendar(spec, event.atMs)
    else if (spec.kind === 'aggregate') value = aggregate(spec, event, held(spec.entity ?? ''), frauds)
    else if (spec.kind === 'ratio')
      value = (byName.get(spec.numerator ?? '') ?? NaN) / (byName.get(spec.denominator ?? '') ?? NaN)
    else throw new Error(`${spec.name}: the naive fold knows no ${spec.kind}`)
    if (Number.isNaN(value) && typeof spec.missing === 'number') value = spec.missing
    byName.set(spec.name, value)
  }
  return [...byName.values()]
}

function calendar(spec: Spec, atMs: number): number {
  if (spec.zone !== 'utc' || spec.in === undefined) throw new Error(`${spec.name}: only tests in utc`)
  const date = new Date(atMs)
  const part = spec.part === 'hour' ? date.getUTCHours() : spec.part === 'weekday' ? date.getUTCDay() || 7 : NaN
  return spec.in.includes(part) ? 1 : 0
}

function durationMs(text: string | undefined): number {
  if (text === undefined) return 0
  const match = /^(\d+)(ms|s|m|h|d)$/.exec(text)
  return Number(match?.[1]) * (UNIT_MS[match?.[2] ?? ''] ?? NaN)
}

/** The window (t - delay - w, t - delay]; the transaction itself lies in it where there is no delay. */
function aggregate(spec: Spec, event: Event, held: readonly Event[], frauds: ReadonlyMap<string, boolean>): number {
  if ((event.fields[spec.entity ?? ''] ?? null) === null) return NaN
  if (countsAnswers(spec)) return 0
  if (spec.where !== undefined || spec.bucketed !== undefined)
    throw new Error(`${spec.name}: where and bucketed are not known`)
  const until = event.atMs - durationMs(spec.delay)
  const from = until - durationMs(spec.window)
  const before = held.filter(({ atMs }) => atMs > from && atMs <= until)
  const inside = spec.delay === undefined ? [...before, event] : before
  const amounts = inside.map(({ amount }) => Math.round(amount * 100))
  switch (spec.function) {
    case 'count':
      return inside.length
    case 'mean':
      return amounts.reduce((sum, amount) => sum + amount, 0) / amounts.length / 100
    case 'max':
      return Math.max(...amounts) / 100
    case 'distinct':
      return new Set(inside.map(({ fields }) => fields[spec.of ?? '']).filter(isPresent)).size
    case 'time_since_last':
      return before.length === 0 ? NaN : (event.atMs - Math.max(...before.map(({ atMs }) => atMs))) / 1000
    case 'label_rate':
      return inside.filter(({ id }) => frauds.get(id) === true).length / inside.length
    case undefined:
    default:
      throw new Error(`${spec.name}: the naive fold knows no ${spec.function}`)
  }
}

/** A count of what issuers have declined: nothing, since a label of that kind is not expected here. */
function countsAnswers({ function: name, where }: Spec): boolean {
  return name === 'count' && JSON.stringify(where) === '[{"label":"authorisation","is":"declined"}]'
}

function isPresent(value: string | null | undefined): value is string {
  return value !== null && value !== undefined
}

/** Names of the features whose logged float32 is further than one step from the value here. */
function compare(catalogue: NaiveCatalogue, vector: readonly number[], logged: Buffer): string[] {
  if (logged.length !== 4 * vector.length)
    throw new Error(`a vector of ${logged.length} bytes for ${vector.length} features`)
  return catalogue.features
    .filter((spec, i) => {
      if (spec.dtype !== undefined) throw new Error(`${spec.name}: only float32 is known`)
      const expected = vector[i] ?? NaN
      const found = logged.readFloatLE(4 * i)
      if (Number.isNaN(expected) || Number.isNaN(found)) return Number.isNaN(expected) !== Number.isNaN(found)
      return Math.abs(expected - found) > FLOAT32_STEP * Math.abs(expected)
    })
    .map(({ name }) => name)
}
