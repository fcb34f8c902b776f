// Windows in buckets against a naive count over all transactions, on random streams; how far they are from exact ones;
// and what they take.
import fc from 'fast-check'
import t from 'tap'
import type { FieldValue, Transaction } from '../../src/contract/transaction.js'
import { compileCatalogue } from '../../src/features/compile.js'
import { createFeatureState } from '../../src/features/state.js'
import type { Limits } from '../../src/limits.js'
import { naiveMs } from './naive.js'
import {
  type Aggregate,
  apply,
  bucketed,
  BUCKETED,
  CURRENCIES,
  flagNames,
  ROOMY,
  RUNS,
  SCHEMA,
  START,
  type Step,
  streams,
} from './streams.js'

const LIMITS: Limits = { ...ROOMY, clockAheadMsMax: 6_000 }

/** All transactions and words, filtered anew for every value. */
class NaiveBuckets {
  frontier = -Infinity
  readonly folded: { readonly tx: Transaction; readonly takenBy: ReadonlySet<Aggregate> }[] = []
  readonly words = new Map<string, { tx: Transaction; said: Map<string, { word: string; knownAt: number }> }>()

  private held(spec: Aggregate, t: number): boolean {
    const width = naiveMs(spec.bucketed)
    // What is held is a matter of all features that share the buckets.
    const spans = BUCKETED.filter((each) => each.entity === spec.entity && each.bucketed === spec.bucketed)
    const span = Math.max(...spans.map((each) => naiveMs(each.window) + naiveMs(each.delay)))
    return Math.floor(t / width) > Math.floor((this.frontier - span - LIMITS.lateMsMax) / width)
  }

  private takes(spec: Aggregate, t: number): boolean {
    return this.held(spec, t) && t <= this.frontier + LIMITS.clockAheadMsMax
  }

  label({ id, source, word, knownAtMs, of: tx }: Extract<Step, { kind: 'label' }>): void {
    const asks = BUCKETED.filter(({ function: name, where }) =>
      word.includes('fraud') ? name === 'label_rate' : where?.some((test) => 'label' in test),
    )
    const entity = (spec: Aggregate): FieldValue => tx?.fields[spec.entity === 'card' ? 0 : 1] ?? null
    if (tx === null || !asks.some((spec) => entity(spec) !== null && this.takes(spec, tx.occurredAtMs))) return
    const entry = this.words.get(id) ?? { tx, said: new Map<string, { word: string; knownAt: number }>() }
    const key = `${source} ${word.includes('fraud')}`
    if (!((entry.said.get(key)?.knownAt ?? -Infinity) >= knownAtMs)) entry.said.set(key, { word, knownAt: knownAtMs })
    this.words.set(id, entry)
  }

  fold(tx: Transaction, clockMs: number): { vector: number[]; isLate: boolean } {
    this.frontier = Math.max(this.frontier, Math.min(tx.occurredAtMs, clockMs))
    const vector = BUCKETED.map((spec) => this.value(spec, tx))
    const present = BUCKETED.filter(({ entity }) => tx.fields[entity === 'card' ? 0 : 1] !== null)
    const takenBy = new Set(present.filter((spec) => this.takes(spec, tx.occurredAtMs)))
    this.folded.push({ tx, takenBy })
    return { vector, isLate: takenBy.size < present.length }
  }

  private value(spec: Aggregate, tx: Transaction): number {
    const at = spec.entity === 'card' ? 0 : 1
    if (tx.fields[at] === null) return NaN
    const width = naiveMs(spec.bucketed)
    const [delay, window] = [naiveMs(spec.delay), naiveMs(spec.window)]
    const inWindow = (event: Transaction): boolean => {
      const bucket = Math.floor(event.occurredAtMs / width)
      return (
        event.fields[at] === tx.fields[at] &&
        this.held(spec, event.occurredAtMs) &&
        bucket > Math.floor((tx.occurredAtMs - delay - window) / width) &&
        bucket <= Math.floor((tx.occurredAtMs - delay) / width)
      )
    }
    const before = this.folded.filter(({ tx, takenBy }) => takenBy.has(spec) && inWindow(tx)).map(({ tx }) => tx)
    const labelled = [...this.words.values()].filter((entry) => inWindow(entry.tx))
    const byLabel = (spec.where ?? []).filter((test) => 'label' in test)
    const marked = labelled.filter((entry) => byLabel.every(({ is }) => answerOf(entry.said) === is))
    const passing = before.filter((event) => passes(spec, event))
    const all = delay === 0 && passes(spec, tx) ? [...passing, tx] : passing
    if (spec.function === 'count') return byLabel.length > 0 ? marked.length : all.length
    if (spec.function === 'label_rate') {
      const count = byLabel.length > 0 ? marked.length : all.length
      const frauds = marked.filter(({ said }) => [...said.values()].some(({ word }) => word === 'fraud'))
      return count === 0 ? NaN : Math.min(1, frauds.length / count)
    }
    if (spec.function === 'time_since_last') {
      if (passing.length === 0) return NaN
      return Math.max(0, tx.occurredAtMs - Math.max(...passing.map((event) => event.occurredAtMs))) / 1000
    }
    const values = all.map((event) => valueOf(spec, event)).filter((value) => !Number.isNaN(value))
    if (spec.function === 'sum') return values.reduce((sum, value) => sum + value, 0)
    if (values.length === 0) return NaN
    if (spec.function === 'max') return Math.max(...values)
    return values.reduce((sum, value) => sum + value, 0) / values.length
  }
}

function answerOf(said: Map<string, { word: string; knownAt: number }>): string {
  const answers = [...said.values()].filter(({ word }) => !word.includes('fraud'))
  answers.sort((a, b) => b.knownAt - a.knownAt || (a.word === 'declined' ? -1 : 1))
  return answers[0]?.word ?? 'unanswered'
}

function passes(spec: Aggregate, event: Transaction): boolean {
  return (spec.where ?? []).every((test) => {
    if ('label' in test) return true
    return event.fields[test.field === 'channel' ? 2 : 4] === test.value
  })
}

function valueOf(spec: Aggregate, event: Transaction): number {
  if (spec.of === 'amount') return event.amountBaseMinor / 100
  const risk = event.fields[3]
  return typeof risk === 'number' ? risk : NaN
}

function agrees(steps: readonly Step[]): void {
  const state = createFeatureState(bucketed, { limits: LIMITS })
  const naive = new NaiveBuckets()
  const out = new Float64Array(bucketed.size)
  steps.forEach((step, ordinal) => {
    const flags = apply(state, step, ordinal, out)
    if (step.kind === 'label') naive.label(step)
    if (step.kind !== 'tx') return
    const { vector, isLate } = naive.fold(step.tx, step.clockMs)
    vector.forEach((value, i) => {
      if (Object.is(out[i], value) || Math.abs(out[i] - value) <= 1e-9 * Math.max(1, Math.abs(value))) return
      throw new Error(`step ${ordinal}: ${BUCKETED[i].name}: ${out[i]}, naive ${value}`)
    })
    if (flagNames(flags).includes('late') !== isLate) throw new Error(`step ${ordinal}: late ${isLate}`)
  })
}

void t.test('buckets equal a naive count over all transactions on random streams', (t) => {
  fc.assert(fc.property(streams(2), agrees), RUNS)
  fc.assert(fc.property(streams(30), agrees), RUNS)
  t.pass('with few and with many entities')
  t.end()
})

/** A transaction of card and shop at so many seconds. */
const at = (id: number, seconds: number, card = 'c', shop = 's'): Transaction => ({
  transactionId: `t${id}`,
  occurredAtMs: START + seconds * 1000,
  offsetMinutes: 0,
  amountMinor: 100,
  currency: 'EUR',
  amountBaseMinor: 100,
  fields: [card, shop, 'web', 1, true],
})
const counts = (window: string, width: string, delay?: string) =>
  compileCatalogue(
    {
      format: 1,
      features: [undefined, width].map((bucketed, i) => ({
        name: `count_${i}`,
        kind: 'aggregate',
        entity: 'card',
        function: 'count',
        window,
        ...(delay === undefined ? {} : { delay }),
        ...(bucketed === undefined ? {} : { bucketed }),
        missing: 'nan',
      })),
    },
    SCHEMA,
    CURRENCIES,
  )

void t.test('a count differs from the exact one by what happened within one width behind an edge', (t) => {
  const [window, width, delay] = [20, 4, 8]
  const compiled = counts(`${window}s`, `${width}s`, `${delay}s`)
  let largest = 0
  const check = (steps: readonly number[]): void => {
    const state = createFeatureState(compiled, { limits: ROOMY })
    const out = new Float64Array(2)
    const seconds: number[] = []
    let now = 0
    for (const step of steps) {
      now += step / 4
      state.fold(at(seconds.length, now), seconds.length, START + now * 1000, out, 0)
      const behind = (edge: number) => seconds.filter((s) => s > now - edge && s < now - edge + width).length
      const [lost, gained] = [behind(delay + window), behind(delay)]
      const difference = out[1] - out[0]
      largest = Math.max(largest, Math.abs(difference))
      if (difference > gained || -difference > lost) {
        throw new Error(`at ${now}: ${out[1]}, exactly ${out[0]}; ${lost} and ${gained} near the edges`)
      }
      seconds.push(now)
    }
  }
  fc.assert(fc.property(fc.array(fc.nat({ max: 9 }), { maxLength: 150 }), check), RUNS)
  t.ok(largest > 0, 'and differ they do')
  t.end()
})

void t.test('memory is that of the entities, whatever they do', (t) => {
  const state = createFeatureState(bucketed, { limits: LIMITS })
  const out = new Float64Array(bucketed.size)
  const bytes = (from: number): number => {
    for (let i = from; i < from + 5_000; i++) state.fold(at(i, i / 100), i, START + i * 10, out, 0)
    return state.size().bytes
  }
  t.equal(bytes(0), bytes(5_000))
  t.equal(state.size().events, 0)
  t.same(state.size().entities, { card: 1, shop: 1 })
  t.end()
})

void t.test('the least recently seen entity leaves first, and is flagged truncated when it comes back', (t) => {
  const state = createFeatureState(bucketed, { limits: { ...LIMITS, entitiesMax: 2 } })
  const out = new Float64Array(bucketed.size)
  const fold = (id: number, seconds: number, card: string): string[] =>
    flagNames(state.fold(at(id, seconds, card, card), id, START + seconds * 1000, out, 0))
  for (const [i, card] of ['a', 'b', 'a', 'c'].entries()) fold(i, i, card)
  t.same(state.size().entities, { card: 2, shop: 2 })
  t.ok(state.size().evictions > 0)
  t.ok(fold(4, 4, 'b').includes('truncated'), 'it left for c')
  t.equal(out[0], 1)
  // One that has nothing left to show leaves in silence.
  fold(5, 100, 'd')
  fold(6, 101, 'e')
  t.notOk(fold(7, 102, 'f').includes('truncated'))
  t.end()
})

void t.test('where labels alone are counted, an entity leaves once nothing can be seen of it', (t) => {
  const declined = BUCKETED.filter(({ where }) => JSON.stringify(where)?.includes('declined') === true)
  const compiled = compileCatalogue({ format: 1, features: [...declined] }, SCHEMA, CURRENCIES)
  const state = createFeatureState(compiled, { limits: LIMITS })
  const out = new Float64Array(1)
  for (let i = 0; i < 200; i++) {
    const tx = at(i, i, `c${i}`)
    state.fold(tx, i, tx.occurredAtMs, out, 0)
    t.equal(state.size().entities.card <= 30, true, 'of the last window, late ones and their bucket')
    const answer = { transactionId: tx.transactionId, kind: 'authorisation' as const, value: false, source: 'issuer' }
    const named = { knownAtMs: i, occurredAtMs: tx.occurredAtMs, entities: [`c${i}`, null] }
    t.ok(state.label({ ...answer, ...named }, i, tx.occurredAtMs))
  }
  t.equal(state.size().evictions, 0)
  t.end()
})

void t.test('a label acts on buckets by the time and the entity that it names, once, and can be taken back', (t) => {
  const state = createFeatureState(bucketed, { limits: LIMITS })
  const out = new Float64Array(bucketed.size)
  const rate = (): number => {
    state.evaluate(at(99, 10), START + 10_000, out, 0)
    return out[BUCKETED.findIndex(({ function: name, window }) => name === 'label_rate' && window === '10s')]
  }
  const told = { transactionId: 't0', kind: 'fraud' as const, source: 'bank', value: true }
  const say = (rest: object): boolean => {
    const named = { knownAtMs: 1, occurredAtMs: START + 5_000, entities: ['c', 's'] }
    return state.label({ ...told, ...named, ...rest }, 0, START)
  }
  state.fold(at(0, 5), 0, START + 5_000, out, 0)
  t.equal(say({ entities: ['c', null] }), false, 'no entity of the buckets')
  t.equal(say({ occurredAtMs: null }), false, 'no time')
  t.equal(rate(), 0)
  t.equal(say({}), true)
  t.equal(rate(), 0.5, 'the one seen and the one looked at')
  t.equal(say({ knownAtMs: 0 }), true, 'an earlier word changes nothing')
  say({})
  t.equal(rate(), 0.5)
  say({ value: false, knownAtMs: 2 })
  t.equal(rate(), 0)
  say({ transactionId: 'unseen' })
  say({ transactionId: 'unseen too' })
  say({ transactionId: 'unseen three' })
  t.equal(rate(), 1, 'frauds that were never seen make no rate above 1')
  t.end()
})
