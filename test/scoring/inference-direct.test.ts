// Direct calls beside payments, shown by what lanes are given and by counters: no batch while a payment waits, one
// batch at a time and none larger than a run, bounds of their own, and nothing that they do opens a breaker.
import t from 'tap'
import { createRecordCodecs } from '../../src/contract/record.js'
import { inferenceVector } from '../../src/contract/record-types.js'
import { isRejection } from '../../src/contract/problem.js'
import type { Rejection } from '../../src/errors.js'
import { LIMITS, type Limits } from '../../src/limits.js'
import { createDirect, type Direct, type Scores } from '../../src/scoring/inference/direct.js'
import type { DirectRows, Lane } from '../../src/scoring/lane/port.js'
import type { LoadedBaseline, LoadedModel } from '../../src/scoring/models.js'
import { createOrder } from '../../src/scoring/order.js'
import type { Serving } from '../../src/scoring/serving.js'
import { createMetrics } from '../../src/telemetry/metrics.js'
import { referencePolicy } from '../reference-policy.js'
import { ManualClock, ScriptedLog } from './harness.js'
import { createRig } from './lane-rig.js'

/** A lane that says what it was given, and answers when told. */
class OneLane {
  readonly given: DirectRows[] = []
  readonly expired: number[] = []
  payments = 0
  perRun = 4
  refuses: ReturnType<Lane['offerDirect']> = null
  private under: DirectRows | null = null
  queuedRows = (): number => this.payments + (this.under?.count ?? 0)
  rowsPerRun = (): number => this.perRun
  state = (): 'ready' => 'ready'
  offerDirect = (direct: DirectRows): ReturnType<Lane['offerDirect']> => {
    if (this.refuses !== null) return this.refuses
    this.given.push(direct)
    this.under = direct
    return null
  }
  expire = (ticket: number): void => void this.expired.push(ticket)
  /** Answers the batch: each row by its first column, but NaN as a row that fails. */
  answer(direct: Direct): void {
    const { under } = this
    this.under = null
    if (under === null) return
    for (let row = 0; row < under.count; row++) {
      const score = under.rows[under.at + row * 2]
      const ticket = under.ticket - row
      if (Number.isNaN(score)) return direct.onFailure(this as unknown as Lane, ticket, 'invalid_output')
      direct.onScore(this as unknown as Lane, ticket, score, score * 2)
    }
  }
}

function createBench(over: Partial<Limits> = {}) {
  const limits = { ...LIMITS, ...over }
  const [clock, log, lane] = [new ManualClock(), new ScriptedLog(), new OneLane()]
  const metrics = createMetrics(limits, { nodeMetrics: false })
  const answeredBy = { name: 'm', version: '1', digest: Buffer.alloc(32), provider: 'cpu' }
  const none = { stated: undefined, takesOwn: false, tensors: null }
  const facts = { reference: 'm@1', answeredBy, metric: metrics.model('m@1'), ...none }
  const model = { ...facts, lane: lane as unknown as Lane } as LoadedModel
  const serving = { routes: { revision: 1, champion: 'm@1', baseline: 'b@1' }, policyDigest: Buffer.alloc(32) }
  const codecs = createRecordCodecs(referencePolicy().schema)
  const direct = createDirect({
    ...{ limits, clock, log, codecs, metrics, order: createOrder(clock, { ordinal: 0, ms: 0 }), wake: () => undefined },
    serving: () => serving as unknown as Serving,
    loaded: { models: new Map([['m@1', model]]), lanes: [], baseline: {} as LoadedBaseline },
  })
  /** Rows whose first columns are these. */
  function ask(...firsts: number[]): (Scores | Rejection)[] {
    const outcomes: (Scores | Rejection)[] = []
    const values = Float64Array.from(firsts.flatMap((first) => [first, 7]))
    const none = firsts.map(() => null)
    const rows = { count: firsts.length, columns: 2, values }
    direct.ask({
      model,
      rows,
      transactionIds: none,
      entities: none,
      traceparent: null,
      onDone: (one) => outcomes.push(one),
    })
    return outcomes
  }
  const sync = (): void => {
    log.sync()
    direct.progress()
  }
  return { limits, clock, log, lane, direct, codecs, ask, sync, close: () => metrics.close() }
}

const scoresOf = (outcomes: (Scores | Rejection)[]): number[] | string | null => {
  const [outcome] = outcomes
  return outcome === undefined ? null : isRejection(outcome) ? outcome.code : [...outcome.scores]
}

void t.test('no direct row is handed over while a payment waits for the lane', (t) => {
  const { lane, direct, ask, sync, close } = createBench()
  t.teardown(close)
  lane.payments = 1
  const asked = ask(0.1)
  for (let ms = 0; ms < 5; ms++) direct.tick()
  t.equal(lane.given.length, 0)
  lane.payments = 0
  direct.tick()
  t.equal(lane.given.length, 1)
  lane.answer(direct)
  t.same(asked, [], 'its record is not durable')
  sync()
  t.same(scoresOf(asked), [0.1])
  t.end()
})

void t.test('one batch at a time, none larger than a run, and calls take turns', (t) => {
  const { lane, direct, ask, sync, close } = createBench()
  t.teardown(close)
  const long = ask(...Array.from({ length: 10 }, (_, at) => at / 10))
  const short = ask(0.5)
  for (let turn = 0; turn < 8; turn++) {
    direct.tick()
    direct.tick()
    lane.answer(direct)
    if (turn === 2) sync()
    if (turn === 2)
      t.same([scoresOf(long), scoresOf(short)], [null, [0.5]], 'the short one did not wait for the long one')
  }
  sync()
  t.same(
    scoresOf(long),
    Array.from({ length: 10 }, (_, at) => at / 10),
  )
  t.same(
    lane.given.map(({ count }) => count),
    [4, 4, 1, 2],
  )
  t.equal(direct.waiting(), 0)
  t.end()
})

void t.test('each row leaves a record of what the model was given; a row that fails refuses its call alone', (t) => {
  const { lane, log, direct, codecs, ask, sync, close } = createBench()
  t.teardown(close)
  const bad = ask(0.1, NaN, 0.3)
  const good = ask(0.4)
  direct.tick()
  lane.answer(direct)
  t.match(bad, [{ code: 'ASSAY_INFERENCE_FAILED', detail: /row 1/ }])
  direct.tick()
  lane.answer(direct)
  sync()
  t.same(scoresOf(good), [0.4])
  const records = log.records.map(({ type, body }) => codecs.decode(type, body))
  t.match(records, [
    {
      type: 'inference',
      facts: { unfolded: true, ordinal: 1, score: 0.1, scoreRaw: 0.2, model: { role: 'champion' } },
    },
    { type: 'inference', facts: { unfolded: true, ordinal: 2, score: 0.4, action: null, mode: 'evaluate' } },
  ])
  const [first] = records
  t.same(first.type === 'inference' ? [...inferenceVector(first.personal)] : [], [0.1, 7])
  t.ok(log.reserve(), 'what was reserved for the rows that failed was given back')
  t.end()
})

void t.test('bounds of its own: values held, rows in the log, and time', (t) => {
  const { lane, log, direct, clock, ask, sync, close } = createBench({
    inferValuesMax: 12,
    directRowsMax: 3,
    directWaitMs: 20,
  })
  t.teardown(close)
  const first = ask(0.1, 0.2, 0.3, 0.4, 0.5)
  t.match(ask(0.1, 0.2), [{ code: 'ASSAY_OVERLOADED' }], 'more values than are held')
  lane.answer(direct)
  direct.tick()
  t.same(
    lane.given.map(({ count }) => count),
    [3],
    'no more rows than may be undurable',
  )
  sync()
  lane.answer(direct)
  sync()
  t.same(scoresOf(first), [0.1, 0.2, 0.3, 0.4, 0.5])
  lane.payments = 1
  const busy = ask(0.1)
  lane.payments = 0
  log.roomFor = 0
  direct.tick()
  clock.ms += 21
  direct.tick()
  t.match(busy, [{ code: 'ASSAY_OVERLOADED' }], 'nobody took it in time')
  log.roomFor = Infinity
  const slow = ask(0.1)
  clock.ms += 21
  direct.tick()
  t.match(slow, [{ code: 'ASSAY_MODEL_UNAVAILABLE' }], 'its model did not answer in time')
  t.same(lane.expired.length, 1)
  lane.answer(direct)
  const undurable = ask(0.2)
  lane.answer(direct)
  clock.ms += 21
  direct.tick()
  t.match(undurable, [{ code: 'ASSAY_LOG_UNAVAILABLE' }], 'its record was not durable in time')
  sync()
  lane.refuses = 'breaker_open'
  t.match(ask(0.3), [{ code: 'ASSAY_MODEL_UNAVAILABLE', detail: /breaker_open/ }])
  t.equal(direct.waiting(), 0)
  t.end()
})

void t.test(
  'a real lane: rows in the order of the model, no more than a run, and failures that no breaker counts',
  async (t) => {
    const rig = await createRig('nan-rows', { limits: { laneRowsMax: 8 } })
    const { lane, bundle, heard } = rig
    const { columns } = bundle.golden
    const rowsOf = (...firsts: number[]) =>
      Float64Array.from(firsts.flatMap((first) => [first, ...bundle.golden.values.subarray(1, columns)]))
    t.ok(lane.rowsPerRun() >= 1 && lane.rowsPerRun() <= 4, `${lane.rowsPerRun()} rows a run`)
    const payment = await rig.score(10)
    t.equal(lane.offerDirect({ ticket: -1, rows: rowsOf(10, 20), at: 0, count: 2 }), null)
    await rig.until(() => heard.has(-2))
    t.same(heard.get(-1), [payment], 'the same score as a payment with these features')
    for (let ticket = -3; ticket > -23; ticket--) {
      t.equal(lane.offerDirect({ ticket, rows: rowsOf(0, -1), at: columns, count: 1 }), null)
      await rig.until(() => heard.has(ticket))
    }
    t.same(heard.get(-3), ['invalid_output'])
    t.same([lane.breakerState(), lane.counters.flightsFailed], ['closed', 0])
    t.equal(
      lane.offerDirect({ ticket: -30, rows: rowsOf(...new Array<number>(9).fill(1)), at: 0, count: 9 }),
      'queue_full',
    )
    t.equal(await rig.score(10), payment, 'payments are answered as before')
    lane.forceOpen()
    t.equal(lane.offerDirect({ ticket: -40, rows: rowsOf(1), at: 0, count: 1 }), 'forced')
    await lane.close(5_000)
    t.equal(lane.offerDirect({ ticket: -41, rows: rowsOf(1), at: 0, count: 1 }), 'not_loaded')
  },
)
