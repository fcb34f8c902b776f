// The feature state against the naive one on random streams, and what must hold of the fold itself.
import fc from 'fast-check'
import t from 'tap'
import { FEATURE_FLAGS } from '../../src/contract/decision.js'
import type { Transaction } from '../../src/contract/transaction.js'
import { createFeatureState } from '../../src/features/state.js'
import { type Limits, LIMITS, TINY } from '../../src/limits.js'
import { NaiveState } from './naive.js'
import {
  SCHEMA,
  CATALOGUE,
  compiled,
  START,
  streams,
  apply,
  bucketed,
  labelOf,
  differences,
  agrees,
  RUNS,
  ROOMY,
  CRAMPED,
  type Step,
  type Word,
} from './streams.js'

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

void t.test('a transaction that is looked at again stands in its windows once, and moves nothing', (t) => {
  for (const [catalogue, limits] of [
    [compiled, ROOMY],
    [bucketed, { ...ROOMY, clockAheadMsMax: 6_000 }],
  ] as const) {
    // A bucket knows of its newest event only the time: there the transaction itself is the one before.
    const compared = catalogue.names.map((name) => catalogue === compiled || !name.includes('time_since_last'))
    const check = (steps: readonly Step[]): void => {
      const state = createFeatureState(catalogue, { limits })
      const [out, again] = [new Float64Array(catalogue.size), new Float64Array(catalogue.size)]
      steps.forEach((step, ordinal) => {
        const flags = apply(state, step, ordinal, out)
        if (step.kind !== 'tx') return
        const digest = state.digest()
        const seen = state.revisit(step.tx, step.clockMs, again, 0)
        if (seen !== (flags | FEATURE_FLAGS.folded)) throw new Error(`step ${ordinal}: flags ${seen}, ${flags}`)
        const isFar = (value: number, at: number): boolean =>
          compared[at] && !Object.is(value, again[at]) && !(Math.abs(value - again[at]) < 1e-9)
        const far = out.findIndex(isFar)
        if (far >= 0) throw new Error(`step ${ordinal}: ${catalogue.names[far]}: ${out[far]}, again ${again[far]}`)
        if (state.digest() !== digest) throw new Error(`step ${ordinal}: it moved the state`)
      })
    }
    fc.assert(fc.property(streams(3), check), { numRuns: Math.ceil(RUNS.numRuns / 3) })
  }
  t.pass('equal')
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
  const tell = (id: string, word: Word, knownAtMs: number, source: string) =>
    state.label(labelOf({ kind: 'label', id, source, word, knownAtMs, of: null }), 0, START)
  const say = (id: string, fraud: boolean, knownAtMs: number, source = 'bank') =>
    tell(id, fraud ? 'fraud' : 'no fraud', knownAtMs, source)
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
  const declined = () => {
    look()
    return out[compiled.indexOf('card_declined')]
  }
  t.equal(tell('t0', 'declined', 1, 'bank'), true, "an issuer's answer is another word of the same source")
  t.equal(look(), 0.5, 'and none on fraud')
  t.equal(declined(), 1)
  tell('t0', 'approved', 3, 'scheme')
  t.equal(declined(), 0, 'of several answers the latest holds')
  tell('t0', 'declined', 3, 'switch')
  t.equal(declined(), 1, 'of those known at once the refusal')
  for (let i = 0; i < 10; i++) tell(`unknown${i}`, 'declined', 1, 'bank')
  t.equal(state.size().labelsWaiting, 2 * TINY.labelsUnmatchedMax, 'answers push no report of fraud out')
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
