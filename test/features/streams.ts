// What the tests of the feature state share: a catalogue with everything in it, random streams of transactions and
// labels, and the comparison with the naive state. Holds no test.
import fc from 'fast-check'
import type { Catalogue, FeatureSpec } from '../../src/contract/catalogue.js'
import { FEATURE_FLAGS } from '../../src/contract/decision.js'
import type { Label } from '../../src/contract/label.js'
import type { Currencies } from '../../src/contract/policy.js'
import type { Transaction, TransactionSchema } from '../../src/contract/transaction.js'
import { compileCatalogue } from '../../src/features/compile.js'
import { createFeatureState, type FeatureState } from '../../src/features/state.js'
import { type Limits, LIMITS, TINY } from '../../src/limits.js'
import { NaiveState } from './naive.js'

export const SCHEMA: TransactionSchema = {
  unknown_fields: 'refuse',
  fields: [
    { name: 'card', type: 'string', entity: true },
    { name: 'shop', type: 'string', entity: true },
    { name: 'channel', type: 'string' },
    { name: 'risk', type: 'number' },
    { name: 'present', type: 'boolean' },
  ],
}
export const CURRENCIES: Currencies = {
  base: 'EUR',
  unlisted: 'missing',
  list: { EUR: { exponent: 2, rate: 1 } },
}
export const WEB = [{ field: 'channel', op: 'eq', value: 'web' }] as const
export const CATALOGUE: Catalogue = {
  format: 1,
  features: [
    { name: 'r2', kind: 'ratio', numerator: 'r1', denominator: 'card_count', missing: -5 },
    { name: 'amount', kind: 'field', field: 'amount', missing: 'nan' },
    { name: 'risk', kind: 'field', field: 'risk', missing: -1 },
    { name: 'present', kind: 'field', field: 'present', missing: 'nan' },
    { name: 'channel', kind: 'category', field: 'channel', table: { web: 1, pos: 2 }, other: 9, missing: 0 },
    { name: 'hour', kind: 'calendar', part: 'hour', zone: 'America/New_York' },
    { name: 'weekend', kind: 'calendar', part: 'weekday', in: [6, 7], zone: 'offset' },
    { name: 'card_count', kind: 'aggregate', entity: 'card', function: 'count', window: '20s', missing: 'nan' },
    {
      name: 'card_web',
      kind: 'aggregate',
      entity: 'card',
      function: 'count',
      window: '20s',
      where: [...WEB],
      missing: -1,
    },
    {
      name: 'card_sum',
      kind: 'aggregate',
      entity: 'card',
      function: 'sum',
      of: 'amount',
      window: '8s',
      missing: 'nan',
    },
    {
      name: 'card_mean',
      kind: 'aggregate',
      entity: 'card',
      function: 'mean',
      of: 'amount',
      window: '20s',
      where: [{ field: 'amount', op: 'gt', value: 3 }, ...WEB],
      missing: 'nan',
    },
    {
      name: 'card_mean_before',
      kind: 'aggregate',
      entity: 'card',
      function: 'mean',
      of: 'amount',
      window: '9s',
      delay: '3s',
      missing: 0,
    },
    {
      name: 'card_max',
      kind: 'aggregate',
      entity: 'card',
      function: 'max',
      of: 'amount',
      window: '20s',
      where: [...WEB],
      missing: 'nan',
    },
    { name: 'risk_sum', kind: 'aggregate', entity: 'card', function: 'sum', of: 'risk', window: '20s', missing: 'nan' },
    {
      name: 'risk_mean',
      kind: 'aggregate',
      entity: 'shop',
      function: 'mean',
      of: 'risk',
      window: '5s',
      delay: '2s',
      missing: 'nan',
    },
    {
      name: 'shops',
      kind: 'aggregate',
      entity: 'card',
      function: 'distinct',
      of: 'shop',
      window: '12s',
      missing: 'nan',
    },
    {
      name: 'risks',
      kind: 'aggregate',
      entity: 'shop',
      function: 'distinct',
      of: 'risk',
      window: '12s',
      where: [...WEB],
      missing: 'nan',
    },
    { name: 'since', kind: 'aggregate', entity: 'card', function: 'time_since_last', window: '15s', missing: 'nan' },
    {
      name: 'since_web',
      kind: 'aggregate',
      entity: 'shop',
      function: 'time_since_last',
      window: '15s',
      where: [{ field: 'channel', op: 'in', value: ['web', 'app'] }],
      missing: -1,
    },
    {
      name: 'fraud',
      kind: 'aggregate',
      entity: 'shop',
      function: 'label_rate',
      window: '10s',
      delay: '5s',
      missing: 0,
    },
    { name: 'fraud_now', kind: 'aggregate', entity: 'shop', function: 'label_rate', window: '10s', missing: 0 },
    {
      name: 'fraud_shown',
      kind: 'aggregate',
      entity: 'card',
      function: 'label_rate',
      window: '18s',
      where: [{ field: 'present', op: 'ne', value: true }],
      missing: 'nan',
    },
    {
      name: 'card_declined',
      kind: 'aggregate',
      entity: 'card',
      function: 'count',
      window: '20s',
      where: [{ label: 'authorisation', is: 'declined' }],
      missing: 'nan',
    },
    {
      name: 'web_declined_sum',
      kind: 'aggregate',
      entity: 'card',
      function: 'sum',
      of: 'amount',
      window: '14s',
      where: [{ label: 'authorisation', is: 'declined' }, ...WEB],
      missing: 'nan',
    },
    {
      name: 'approved_mean',
      kind: 'aggregate',
      entity: 'shop',
      function: 'mean',
      of: 'amount',
      window: '12s',
      delay: '2s',
      where: [{ label: 'authorisation', is: 'approved' }],
      missing: 'nan',
    },
    {
      name: 'unanswered_shops',
      kind: 'aggregate',
      entity: 'card',
      function: 'distinct',
      of: 'shop',
      window: '12s',
      where: [{ label: 'authorisation', is: 'unanswered' }],
      missing: 'nan',
    },
    {
      name: 'since_declined',
      kind: 'aggregate',
      entity: 'card',
      function: 'time_since_last',
      window: '15s',
      where: [{ label: 'authorisation', is: 'declined' }],
      missing: -1,
    },
    {
      name: 'reported_max',
      kind: 'aggregate',
      entity: 'shop',
      function: 'max',
      of: 'risk',
      window: '10s',
      where: [
        { label: 'fraud', is: 'reported' },
        { label: 'authorisation', is: 'approved' },
      ],
      missing: 'nan',
    },
    {
      name: 'fraud_of_approved',
      kind: 'aggregate',
      entity: 'shop',
      function: 'label_rate',
      window: '10s',
      where: [{ label: 'authorisation', is: 'approved' }],
      missing: -1,
    },
    { name: 'r1', kind: 'ratio', numerator: 'amount', denominator: 'card_mean', missing: 'nan' },
    { name: 'd1', kind: 'difference', minuend: 'card_web', subtrahend: 'shops', missing: 'nan' },
  ],
}
export const compiled = compileCatalogue(CATALOGUE, SCHEMA, CURRENCIES)
export type Aggregate = Extract<FeatureSpec, { kind: 'aggregate' }>

const inBuckets = (entity: string, bucketed: string, rest: Partial<Aggregate>): Aggregate => {
  const name = `${entity}_${bucketed}_${JSON.stringify(rest)
    .toLowerCase()
    .replaceAll(/[^a-z0-9]+/g, '_')}`.slice(0, 64)
  return { name, kind: 'aggregate', entity, bucketed, missing: 'nan', function: 'count', window: '20s', ...rest }
}
const APPROVED = { label: 'authorisation', is: 'approved' } as const
export const BUCKETED: readonly Aggregate[] = [
  inBuckets('card', '4s', {}),
  inBuckets('card', '4s', { where: [...WEB], window: '8s' }),
  inBuckets('card', '4s', { function: 'sum', of: 'amount', where: [...WEB] }),
  inBuckets('card', '4s', { function: 'mean', of: 'amount', delay: '4s' }),
  inBuckets('card', '4s', { function: 'mean', of: 'risk', where: [{ field: 'present', op: 'eq', value: true }] }),
  inBuckets('card', '4s', { function: 'sum', of: 'risk', window: '12s' }),
  inBuckets('card', '4s', { function: 'max', of: 'amount' }),
  inBuckets('card', '4s', { function: 'max', of: 'risk', delay: '8s', window: '12s' }),
  inBuckets('card', '4s', { function: 'time_since_last', where: [...WEB] }),
  inBuckets('card', '4s', { where: [{ label: 'authorisation', is: 'declined' }] }),
  inBuckets('card', '1s', { window: '3s' }),
  inBuckets('shop', '5s', { function: 'label_rate', delay: '5s' }),
  inBuckets('shop', '5s', { function: 'label_rate', window: '10s' }),
  inBuckets('shop', '5s', { function: 'label_rate', where: [APPROVED] }),
]
export const bucketed = compileCatalogue({ format: 1, features: [...BUCKETED] }, SCHEMA, CURRENCIES)
export const START = Date.UTC(2026, 2, 8, 6, 59, 30)

export type Step =
  | { kind: 'tx' | 'look'; tx: Transaction; clockMs: number }
  | { kind: 'label'; id: string; source: string; word: Word; knownAtMs: number; of: Transaction | null }

export type Word = 'fraud' | 'no fraud' | 'approved' | 'declined'

/** Streams that run forward with events out of order, equal in time, late, and ahead of the clock. */
export function streams(entities: number): fc.Arbitrary<Step[]> {
  const name = (prefix: string) =>
    fc.option(
      fc.integer({ min: 1, max: entities }).map((i) => `${prefix}${i}`),
      { freq: 12, nil: null },
    )
  const tx = fc.record({
    kind: fc.constantFrom('tx' as const, 'tx' as const, 'tx' as const, 'look' as const),
    stepMs: fc.constantFrom(0, 0, 500, 1000, 1500, 4000),
    backMs: fc.oneof(
      { weight: 8, arbitrary: fc.constant(0) },
      { weight: 3, arbitrary: fc.integer({ min: -9, max: 60 }) },
    ),
    card: name('c'),
    shop: name('s'),
    channel: fc.constantFrom('web', 'pos', 'app', null),
    risk: fc.constantFrom(0.5, -2, 0.1, 0.3, 7, null),
    present: fc.constantFrom(true, false, null),
    minor: fc.oneof(fc.integer({ min: 0, max: 900 }), fc.constant(NaN)),
    offsetMinutes: fc.constantFrom(0, 330, -480),
  })
  const label = fc.record({
    kind: fc.constant('label' as const),
    target: fc.integer({ min: -25, max: 3 }),
    source: fc.constantFrom('bank', 'analyst'),
    word: fc.constantFrom<Word>('fraud', 'fraud', 'no fraud', 'approved', 'declined', 'declined'),
    knownAtMs: fc.integer({ min: 0, max: 5 }),
  })
  return fc
    .array(fc.oneof({ weight: 5, arbitrary: tx }, { weight: 1, arbitrary: label }), { minLength: 1, maxLength: 120 })
    .map((drafts) => {
      let nowMs = START
      const folded: Transaction[] = []
      return drafts.map((draft): Step => {
        if (draft.kind === 'label') {
          const { target, ...rest } = draft
          const at = folded.length + target
          return { ...rest, id: `t${at}`, of: folded[at] ?? null }
        }
        nowMs += draft.stepMs
        const { card, shop, channel, risk, present, minor, offsetMinutes } = draft
        const tx = {
          transactionId: draft.kind === 'tx' ? `t${folded.length}` : 'looked',
          occurredAtMs: nowMs - draft.backMs * 500,
          offsetMinutes,
          amountMinor: Number.isNaN(minor) ? 1 : minor,
          currency: Number.isNaN(minor) ? 'XTS' : 'EUR',
          amountBaseMinor: minor,
          fields: [card, shop, channel, risk, present],
        }
        if (draft.kind === 'tx') folded.push(tx)
        return { kind: draft.kind, clockMs: nowMs, tx }
      })
    })
}

export function flagNames(bits: number): string[] {
  return Object.entries(FEATURE_FLAGS)
    .filter(([, bit]) => (bits & bit) !== 0)
    .map(([name]) => name)
    .sort()
}

export function apply(state: FeatureState, step: Step, ordinal: number, out: Float64Array): number {
  if (step.kind === 'label') {
    state.label(labelOf(step), ordinal, START)
    return -1
  }
  if (step.kind === 'tx') return state.fold(step.tx, ordinal, step.clockMs, out, 0)
  return state.evaluate(step.tx, step.clockMs, out, 0)
}

/** A label that names time and entities of its transaction, where that came before. */
export function labelOf({ id, source, word, knownAtMs, of }: Extract<Step, { kind: 'label' }>): Label {
  const kind = word === 'fraud' || word === 'no fraud' ? 'fraud' : 'authorisation'
  const value = word === 'fraud' || word === 'approved'
  const entities = [0, 1].map((at) => (typeof of?.fields[at] === 'string' ? of.fields[at] : null))
  return { transactionId: id, kind, value, source, knownAtMs, occurredAtMs: of?.occurredAtMs ?? null, entities }
}

export function differences(got: Float64Array, wanted: readonly number[]): string[] {
  return wanted.flatMap((value, i) =>
    Object.is(got[i], value) || Math.abs(got[i] - value) <= 1e-9 * Math.max(1, Math.abs(value))
      ? []
      : [`${CATALOGUE.features[i].name}: ${got[i]}, naive ${value}`],
  )
}

export function agrees(steps: readonly Step[], limits: Limits): void {
  const state = createFeatureState(compiled, { limits })
  const naive = new NaiveState(CATALOGUE, SCHEMA, limits, 100)
  const out = new Float64Array(compiled.size)
  steps.forEach((step, ordinal) => {
    const flags = apply(state, step, ordinal, out)
    if (step.kind === 'label') {
      naive.label(step.id, step.source, { knownAt: step.knownAtMs, word: step.word })
      return
    }
    const { tx, clockMs } = step
    const frontier = Math.max(naive.frontier, Math.min(tx.occurredAtMs, clockMs))
    if (step.kind === 'look' && Number.isNaN(naive.since)) return
    const wanted = step.kind === 'tx' ? naive.fold(tx, clockMs) : naive.evaluate(tx, frontier)
    const found = differences(out, wanted.vector)
    if (found.length > 0) throw new Error(`step ${ordinal}: ${found.join('; ')}`)
    if (flagNames(flags).join() !== wanted.flags.join()) {
      throw new Error(`step ${ordinal}: flags ${flagNames(flags).join()}, naive ${wanted.flags.join()}`)
    }
  })
  const size = state.size()
  for (const field of naive.fields.values()) {
    if (size.entities[field.name] !== field.entities.size) throw new Error(`${field.name}: entities`)
  }
  const evictions = [...naive.fields.values()].reduce((sum, field) => sum + field.evictions, 0)
  if (size.evictions !== evictions) throw new Error(`evictions ${size.evictions}, naive ${evictions}`)
}

export const RUNS = { numRuns: Number(process.env['ASSAY_FUZZ_RUNS'] ?? 300) }
export const LABELS = { labelsUnmatchedMax: 500, labelsHeldMax: 500 }
export const ROOMY: Limits = {
  ...LIMITS,
  ...LABELS,
  entitiesMax: 1000,
  featureEventsMax: 1 << 14,
  eventsPerEntityMax: 200,
  lateMsMax: 4000,
}
// Labels keep their room here: which label leaves first has its own test.
export const CRAMPED: Limits = { ...TINY, ...LABELS, lateMsMax: 4000 }
