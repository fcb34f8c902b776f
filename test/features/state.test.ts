// The feature state against the naive one on random streams, and what must hold of the fold itself.
import fc from 'fast-check'
import t from 'tap'
import type { Catalogue } from '../../src/contract/catalogue.js'
import { FEATURE_FLAGS } from '../../src/contract/decision.js'
import type { Currencies } from '../../src/contract/policy.js'
import type { Transaction, TransactionSchema } from '../../src/contract/transaction.js'
import { compileCatalogue } from '../../src/features/compile.js'
import { createFeatureState, type FeatureState } from '../../src/features/state.js'
import { type Limits, LIMITS, TINY } from '../../src/limits.js'
import { NaiveState } from './naive.js'

const SCHEMA: TransactionSchema = {
  unknown_fields: 'refuse',
  fields: [
    { name: 'card', type: 'string', entity: true },
    { name: 'shop', type: 'string', entity: true },
    { name: 'channel', type: 'string' },
    { name: 'risk', type: 'number' },
    { name: 'present', type: 'boolean' },
  ],
}
const CURRENCIES: Currencies = {
  base: 'EUR',
  unlisted: 'missing',
  list: { EUR: { exponent: 2, rate: 1 } },
}
const WEB = [{ field: 'channel', op: 'eq', value: 'web' }] as const
const CATALOGUE: Catalogue = {
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
    { name: 'r1', kind: 'ratio', numerator: 'amount', denominator: 'card_mean', missing: 'nan' },
    { name: 'd1', kind: 'difference', minuend: 'card_web', subtrahend: 'shops', missing: 'nan' },
  ],
}
const compiled = compileCatalogue(CATALOGUE, SCHEMA, CURRENCIES)
const START = Date.UTC(2026, 2, 8, 6, 59, 30)

type Step =
  | { kind: 'tx' | 'look'; tx: Transaction; clockMs: number }
  | { kind: 'label'; id: string; source: string; fraud: boolean; knownAtMs: number }

/** Streams that run forward with events out of order, equal in time, late, and ahead of the clock. */
function streams(entities: number): fc.Arbitrary<Step[]> {
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
    fraud: fc.boolean(),
    knownAtMs: fc.integer({ min: 0, max: 5 }),
  })
  return fc
    .array(fc.oneof({ weight: 5, arbitrary: tx }, { weight: 1, arbitrary: label }), { minLength: 1, maxLength: 120 })
    .map((drafts) => {
      let nowMs = START
      let count = 0
      return drafts.map((draft): Step => {
        if (draft.kind === 'label') {
          const { target, ...rest } = draft
          return { ...rest, id: `t${count + target}` }
        }
        nowMs += draft.stepMs
        const { card, shop, channel, risk, present, minor, offsetMinutes } = draft
        return {
          kind: draft.kind,
          clockMs: nowMs,
          tx: {
            transactionId: draft.kind === 'tx' ? `t${count++}` : 'looked',
            occurredAtMs: nowMs - draft.backMs * 500,
            offsetMinutes,
            amountMinor: Number.isNaN(minor) ? 1 : minor,
            currency: Number.isNaN(minor) ? 'XTS' : 'EUR',
            amountBaseMinor: minor,
            fields: [card, shop, channel, risk, present],
          },
        }
      })
    })
}

function flagNames(bits: number): string[] {
  return Object.entries(FEATURE_FLAGS)
    .filter(([, bit]) => (bits & bit) !== 0)
    .map(([name]) => name)
    .sort()
}

function apply(state: FeatureState, step: Step, ordinal: number, out: Float64Array): number {
  if (step.kind === 'label') {
    state.label(labelOf(step), ordinal, START)
    return -1
  }
  if (step.kind === 'tx') return state.fold(step.tx, ordinal, step.clockMs, out, 0)
  return state.evaluate(step.tx, step.clockMs, out, 0)
}

function labelOf({ id, source, fraud, knownAtMs }: Extract<Step, { kind: 'label' }>) {
  const kind = 'fraud' as const
  return { transactionId: id, kind, value: fraud, source, knownAtMs, occurredAtMs: null, entities: [] }
}

function differences(got: Float64Array, wanted: readonly number[]): string[] {
  return wanted.flatMap((value, i) =>
    Object.is(got[i], value) || Math.abs(got[i] - value) <= 1e-9 * Math.max(1, Math.abs(value))
      ? []
      : [`${CATALOGUE.features[i].name}: ${got[i]}, naive ${value}`],
  )
}

function agrees(steps: readonly Step[], limits: Limits): void {
  const state = createFeatureState(compiled, { limits })
  const naive = new NaiveState(CATALOGUE, SCHEMA, limits, 100)
  const out = new Float64Array(compiled.size)
  steps.forEach((step, ordinal) => {
    const flags = apply(state, step, ordinal, out)
    if (step.kind === 'label') {
      naive.label(step.id, step.source, { knownAt: step.knownAtMs, fraud: step.fraud })
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

const RUNS = { numRuns: Number(process.env['ASSAY_FUZZ_RUNS'] ?? 300) }
const LABELS = { labelsUnmatchedMax: 500, labelsHeldMax: 500 }
const ROOMY: Limits = {
  ...LIMITS,
  ...LABELS,
  entitiesMax: 1000,
  featureEventsMax: 1 << 14,
  eventsPerEntityMax: 200,
  lateMsMax: 4000,
}
// Labels keep their room here: which label leaves first has its own test.
const CRAMPED: Limits = { ...TINY, ...LABELS, lateMsMax: 4000 }

void t.test('windows equal a naive filter over all transactions on random streams', (t) => {
  fc.assert(
    fc.property(streams(3), (steps) => agrees(steps, ROOMY)),
    RUNS,
  )
  fc.assert(
    fc.property(streams(40), (steps) => agrees(steps, ROOMY)),
    RUNS,
  )
  t.pass('streams with few and with many entities agree')
  t.end()
})

void t.test('windows equal the naive ones where events and entities hit their bounds', (t) => {
  const events = { ...CRAMPED, eventsPerEntityMax: 3, featureEventsMax: 1 << 10 }
  fc.assert(
    fc.property(streams(2), (steps) => agrees(steps, events)),
    RUNS,
  )
  const entities = { ...CRAMPED, entitiesMax: 4, eventsPerEntityMax: 5, featureEventsMax: 1 << 10 }
  fc.assert(
    fc.property(streams(12), (steps) => agrees(steps, entities)),
    RUNS,
  )
  t.pass('the same events and entities leave, with the same flags')
  t.end()
})

void t.test('a naive state with a fault is told apart', (t) => {
  const wrong: Limits = { ...ROOMY, lateMsMax: 60_000 }
  const check = fc.check(
    fc.property(streams(3), (steps) => {
      const state = createFeatureState(compiled, { limits: wrong })
      const naive = new NaiveState(CATALOGUE, SCHEMA, ROOMY, 100)
      const out = new Float64Array(compiled.size)
      return steps.every((step, i) => {
        if (step.kind !== 'tx') return true
        state.fold(step.tx, i, step.clockMs, out, 0)
        return differences(out, naive.fold(step.tx, step.clockMs).vector).length === 0
      })
    }),
    // The first stream that shows it will do.
    { numRuns: 2000, endOnFailure: true },
  )
  t.equal(check.failed, true, 'another bound on lateness shows')
  t.end()
})

void t.test('the fold is deterministic, evaluating changes nothing, and the digest tells states apart', (t) => {
  fc.assert(
    fc.property(streams(6), (steps) => {
      const first = createFeatureState(compiled, { limits: CRAMPED })
      const second = createFeatureState(compiled, { limits: CRAMPED })
      const a = new Float64Array(compiled.size)
      const b = new Float64Array(compiled.size)
      steps.forEach((step, ordinal) => {
        const flags = apply(first, step, ordinal, a)
        if (step.kind === 'look') return
        if (step.kind === 'tx') {
          const before = second.digest()
          const looked = second.evaluate(step.tx, step.clockMs, b, 0)
          if (second.digest() !== before) throw new Error('evaluate changed the state')
          if (looked !== flags || !a.every((value, i) => Object.is(value, b[i])))
            throw new Error('evaluate differs from fold')
        }
        const again = apply(second, step, ordinal, b)
        if (again !== flags || (step.kind === 'tx' && !a.every((value, i) => Object.is(value, b[i])))) {
          throw new Error('the second fold differs')
        }
      })
      if (first.digest() !== second.digest()) throw new Error('digests differ after equal folds')
      const last = steps.findLast((step) => step.kind === 'tx')
      if (last?.kind !== 'tx' || last.tx.fields[0] === null) return
      const digest = first.digest()
      const later = { ...last.tx, occurredAtMs: last.clockMs + 1 }
      first.fold(later, 0, last.clockMs + 1, a, 0)
      if (first.digest() === digest) throw new Error('a fold left the digest as it was')
    }),
    { numRuns: 100 },
  )
  t.pass('equal calls, equal vectors and digests')
  t.end()
})

function tx(id: string, seconds: number, fields: Partial<Transaction> = {}): Transaction {
  return {
    transactionId: id,
    occurredAtMs: START + seconds * 1000,
    offsetMinutes: 0,
    amountMinor: 100,
    currency: 'EUR',
    amountBaseMinor: 100,
    fields: ['c', 's', 'web', 1, false],
    ...fields,
  }
}

void t.test('a full slab evicts the least recently seen entities and says truncated to those that come back', (t) => {
  const limits = { ...TINY, entitiesMax: 1000, eventsPerEntityMax: 8, featureEventsMax: 64 }
  const state = createFeatureState(compiled, { limits })
  const out = new Float64Array(compiled.size)
  const card = (name: string) => ({ fields: [name, null, 'web', 1, false] })
  for (let i = 0; i < 40; i++) state.fold(tx(`t${i}`, i / 100, card(`c${i}`)), i, START + i * 10, out, 0)
  const size = state.size()
  t.ok(size.evictions > 0, 'entities left')
  t.ok(size.events <= 64, 'events stay within the slab')
  const flags = state.fold(tx('again', 1, card('c0')), 41, START + 1000, out, 0)
  t.ok(flags & FEATURE_FLAGS.truncated, 'who may have been evicted is truncated')
  t.equal(out[compiled.indexOf('card_count')], 1)
  const later = state.fold(tx('later', 60, card('c0')), 42, START + 60_000, out, 0)
  t.notOk(later & FEATURE_FLAGS.truncated, 'once the windows have passed it is whole again')
  t.end()
})

void t.test('labels wait in a bounded table, a later word of a source replaces, false reverses', (t) => {
  const state = createFeatureState(compiled, { limits: TINY })
  const out = new Float64Array(compiled.size)
  const rate = compiled.indexOf('fraud_now')
  const say = (id: string, fraud: boolean, knownAtMs: number, source = 'bank') =>
    state.label(labelOf({ kind: 'label', id, source, fraud, knownAtMs }), 0, START)
  const look = () => {
    state.evaluate(tx('look', 1), START + 1000, out, 0)
    return out[rate]
  }
  t.equal(say('t0', true, 5), false, 'a label before its transaction waits')
  t.equal(state.size().labelsWaiting, 1)
  state.fold(tx('t0', 0), 0, START, out, 0)
  t.equal(out[rate], 1, 'and acts as soon as it is there')
  t.equal(state.size().labelsWaiting, 0)
  t.equal(look(), 0.5)
  t.equal(say('t0', false, 5), true, 'held')
  t.equal(look(), 0.5, 'a repeat at the same known_at has no effect')
  say('t0', false, 4)
  t.equal(look(), 0.5, 'nor has an earlier word')
  say('t0', false, 6)
  t.equal(look(), 0, 'a later word reverses')
  say('t0', true, 1, 'analyst')
  t.equal(look(), 0.5, 'another source speaks for itself')
  for (let i = 0; i < 10; i++) say(`unknown${i}`, true, 1)
  t.equal(state.size().labelsWaiting, TINY.labelsUnmatchedMax)
  t.equal(state.size().labelsExpired, 10 - TINY.labelsUnmatchedMax)
  const authorisation = {
    ...labelOf({ kind: 'label', id: 't0', source: 'x', fraud: true, knownAtMs: 1 }),
    kind: 'authorisation' as const,
  }
  const digest = state.digest()
  state.label(authorisation, 0, START)
  t.equal(state.digest(), digest, "an issuer's answer is no word on fraud")
  t.end()
})

void t.test('one clock far ahead empties no window', (t) => {
  const state = createFeatureState(compiled, { limits: { ...TINY, lateMsMax: 1000 } })
  const out = new Float64Array(compiled.size)
  const count = compiled.indexOf('card_count')
  state.fold(tx('a', 0), 0, START, out, 0)
  state.fold(tx('ahead', 86_400), 1, START + 1000, out, 0)
  state.fold(tx('b', 2), 2, START + 2000, out, 0)
  t.equal(out[count], 2, 'the event before it is still there, the one ahead is not')
  t.end()
})

void t.test('sums stay exact in the minor unit after amounts up to the bound', (t) => {
  const state = createFeatureState(compiled, { limits: { ...ROOMY, lateMsMax: 1000 } })
  const out = new Float64Array(compiled.size)
  const sum = compiled.indexOf('card_sum')
  const max = LIMITS.amountSummedMax
  for (let i = 0; i < 6000; i++) {
    state.fold(tx(`big${i}`, i / 10, { amountMinor: max, amountBaseMinor: max }), i, START + i * 100, out, 0)
  }
  for (let i = 0; i < 3; i++) {
    const seconds = 3000 + i
    state.fold(tx(`small${i}`, seconds, { amountMinor: 1, amountBaseMinor: 1 }), i, START + seconds * 1000, out, 0)
  }
  t.equal(out[sum], 0.03)
  t.end()
})

void t.test('cold ends when the longest window has been observed, and history moves it back', (t) => {
  const state = createFeatureState(compiled, { limits: ROOMY })
  const out = new Float64Array(compiled.size)
  const flags = (seconds: number) => state.fold(tx(`t${seconds}`, seconds), 0, START + seconds * 1000, out, 0)
  t.ok(flags(0) & FEATURE_FLAGS.cold)
  t.ok(flags(19.999) & FEATURE_FLAGS.cold)
  t.notOk(flags(20) & FEATURE_FLAGS.cold)
  t.equal(state.warmFromMs(compiled.indexOf('card_count')), START + 20_000)
  t.equal(state.warmFromMs(compiled.indexOf('amount')), -Infinity)
  const imported = createFeatureState(compiled, { limits: ROOMY, observedSinceMs: START })
  imported.observeSince(START - 20_000)
  t.equal(imported.fold(tx('x', 0), 0, START, out, 0) & FEATURE_FLAGS.cold, 0)
  imported.observeSince(START)
  t.equal(imported.observedSinceMs(), START - 20_000, 'never forward')
  t.end()
})

void t.test('bounds that cannot hold an entity are refused', (t) => {
  t.throws(() => createFeatureState(compiled, { limits: { ...TINY, eventsPerEntityMax: 1 << 16 } }), RangeError)
  t.end()
})
