// The stages in their order, over throw-away parts: every rung of the ladder with its exit.
import t, { type Test } from 'tap'
import type { Policy } from '../../src/contract/policy.js'
import { LIMITS } from '../../src/limits.js'
import { START_MS, createHarness, type Answer, type Harness, type HarnessOptions } from './harness.js'

function withHarness(t: Test, options?: HarnessOptions): Harness {
  const harness = createHarness(options)
  t.teardown(() => harness.close())
  return harness
}

/** Everything that is ready to happen happens: lanes answer with this score, records become durable. */
function settle(harness: Harness, score = 0.1): void {
  harness.assembly.pipeline.flush()
  harness.champion.answerAll(score)
  harness.challenger.answerAll(score)
  harness.log.sync()
  harness.assembly.progress()
}

const serveAndCount = (policy: Policy): Policy => ({ ...policy, on_log_unavailable: 'serve_and_count' })
const allToChallenger = (policy: Policy): Policy => ({ ...policy, routes: { ...policy.routes, share: 10_000 } })

void t.test('the answer leaves after the score and after the sync, not before', (t) => {
  const h = withHarness(t)
  const answers = h.send()
  h.assembly.pipeline.flush()
  t.equal(h.champion.waiting.length, 1)
  h.champion.answerAll(0.95)
  h.assembly.progress()
  t.same(answers, [], 'appended is not durable')
  h.log.sync()
  h.assembly.progress()
  t.equal(answers.length, 1)
  const [{ status, body, replayed }] = answers
  t.match(
    { status, body, replayed },
    {
      status: 200,
      replayed: false,
      body: {
        action: 'decline',
        score: 0.95,
        degraded: false,
        logged: 'synced',
        routes_revision: 3,
        model: { name: 'champ', role: 'champion' },
      },
    },
  )
  t.equal(h.assembly.pending(), 0)
  t.end()
})

void t.test('a repeat gets the same body, whether it comes before the score, before the sync or after', (t) => {
  const h = withHarness(t)
  const first = h.send()
  const early = h.send()
  h.assembly.pipeline.flush()
  h.champion.answerAll(0.6)
  const middle = h.send()
  t.same([first, early, middle].flat(), [])
  h.log.sync()
  h.assembly.progress()
  const late = h.send()
  t.equal(first[0].body.action, 'review')
  for (const repeat of [early, middle, late]) {
    t.equal(repeat.length, 1)
    t.equal(repeat[0].replayed, true)
    t.same(repeat[0].body, first[0].body)
  }
  t.equal(h.log.records.length, 1, 'one record')
  t.equal(h.champion.offered, 1, 'one inference')
  t.end()
})

void t.test('the same id with other content is refused, whatever field differs, and changes nothing', (t) => {
  const h = withHarness(t)
  h.send()
  settle(h)
  for (const over of [
    { amount_minor: 1_001 },
    { customer_id: 'c2' },
    { currency: 'USD' },
    { occurred_at: START_MS - 1 },
  ]) {
    t.match(h.send(over), [{ status: 422, body: { code: 'ASSAY_TRANSACTION_REUSED' } }])
  }
  t.equal(h.log.records.length, 1)
  t.end()
})

void t.test('at most eight repeats wait for one decision, the next is refused with 409', (t) => {
  const h = withHarness(t)
  h.send()
  const repeats = Array.from({ length: 9 }, () => h.send())
  t.match(repeats[8], [{ status: 409, body: { code: 'ASSAY_DUPLICATES_WAITING' } }])
  settle(h)
  for (const repeat of repeats.slice(0, 8)) t.match(repeat, [{ status: 200, replayed: true }])
  t.end()
})

void t.test('a lane that refuses, fails or is late is left for the next model, each hop with its reason', (t) => {
  const h = withHarness(t, { challenger: true, policy: allToChallenger })
  h.challenger.refuses = 'breaker_open'
  const refused = h.send({ transaction_id: 'a' })
  settle(h)
  t.match(refused[0].body, {
    degraded: true,
    model: { name: 'champ', role: 'champion' },
    fallback: [{ model: 'chall@2', role: 'challenger', reason: 'breaker_open' }],
  })
  h.challenger.refuses = null
  const failed = h.send({ transaction_id: 'b' })
  h.challenger.fail(h.challenger.waiting.splice(0)[0], 'invalid_output')
  settle(h)
  t.match(failed[0].body, { model: { name: 'champ' }, fallback: [{ reason: 'invalid_output' }] })

  const late = h.send({ transaction_id: 'c' })
  h.wait(3)
  t.equal(h.challenger.expired.length, 0, 'a challenger has half of the deadline of 8 ms')
  h.wait(2)
  t.equal(h.challenger.expired.length, 1)
  t.equal(h.champion.waiting.length, 1, 'the champion is tried: its time fits')
  h.wait(4)
  h.log.sync()
  h.assembly.progress()
  t.match(late[0].body, {
    model: { name: 'base', role: 'baseline' },
    score: 0.02,
    reasons: [{ code: 'amount', contribution: 0.5 }],
    fallback: [
      { model: 'chall@2', reason: 'deadline' },
      { model: 'champ@1', reason: 'deadline' },
    ],
  })
  t.end()
})

void t.test('after a hand-over the champion is passed over when its predicted time does not fit', (t) => {
  const h = withHarness(t, { challenger: true, policy: allToChallenger })
  const answers = h.send()
  h.champion.predicted = 3.5
  h.wait(5)
  h.log.sync()
  h.assembly.progress()
  t.equal(h.champion.offered, 0)
  t.match(answers[0].body, {
    model: { role: 'baseline' },
    fallback: [{ model: 'chall@2' }, { model: 'champ@1', reason: 'deadline' }],
  })
  t.end()
})

void t.test('a result that comes after its row was given up changes nothing', (t) => {
  const h = withHarness(t)
  const answers = h.send()
  const [ticket] = h.champion.waiting
  h.wait(9)
  settle(h)
  t.match(answers[0].body, { model: { role: 'baseline' } })
  h.champion.answer(ticket, 0.99)
  settle(h)
  t.equal(answers.length, 1)
  t.equal(h.log.records.length, 1)
  t.end()
})

void t.test('without room in the log `reject` folds nothing and `serve_and_count` answers without a record', (t) => {
  const rejecting = withHarness(t)
  rejecting.log.roomFor = 0
  t.match(rejecting.send(), [{ status: 503, retryAfterS: 1, body: { code: 'ASSAY_LOG_UNAVAILABLE' } }])
  t.equal(rejecting.live.features.size().events, 0)
  rejecting.log.roomFor = 1
  const retried = rejecting.send()
  settle(rejecting)
  t.match(retried, [{ status: 200, replayed: false }])

  const serving = withHarness(t, { policy: serveAndCount })
  serving.log.isHealthy = false
  const answers = serving.send()
  serving.champion.answerAll(0.1)
  t.match(answers, [{ status: 200, body: { logged: 'none' } }])
  t.equal(serving.live.features.size().events, 0)
  t.equal(serving.live.index.coverage().ids, 0)
  t.same(serving.metrics.summary().lost, { log_failing: 1 })
  t.end()
})

void t.test(
  'a record that is not durable in time is unconfirmed or pending, by the policy, and a reply record says so',
  (t) => {
    for (const [policy, told] of [
      [undefined, 'unconfirmed'],
      [serveAndCount, 'pending'],
    ] as const) {
      const h = withHarness(t, policy === undefined ? {} : { policy })
      const answers = h.send()
      h.champion.answerAll(0.7)
      h.wait(49)
      t.same(answers, [])
      h.wait(2)
      if (told === 'unconfirmed') t.match(answers, [{ status: 503, body: { code: 'ASSAY_DECISION_UNCONFIRMED' } }])
      else t.match(answers, [{ status: 200, body: { logged: 'pending', action: 'review' } }])
      t.equal(answers.length, 1)
      h.wait(2)
      const decision = h.decoded()[0]
      const reply = h.decoded()[1]
      const ordinal = decision.type === 'decision' ? decision.facts.ordinal : -1
      t.match(reply, { type: 'reply', reply: { entries: [{ ordinal, unfolded: false, told }] } })
      settle(h)
      t.match(h.send(), [{ status: 200, replayed: true, body: { logged: 'synced', action: 'review', score: 0.7 } }])
    }
    t.end()
  },
)

void t.test('evaluate leaves no trace in windows and index; observe is folded and not scored', (t) => {
  const h = withHarness(t)
  const evaluated = h.send({}, 'evaluate')
  settle(h)
  t.match(evaluated, [{ status: 200, body: { action: 'approve' } }])
  t.equal(h.live.features.size().events, 0)
  t.equal(h.live.index.coverage().ids, 0)
  const observed = h.send({}, 'observe')
  settle(h)
  t.match(observed, [{ status: 202, body: { accepted: 1, logged: 'synced' } }])
  t.equal(h.champion.offered, 1, 'only the evaluated one was scored')
  t.ok(h.live.features.size().events > 0)
  t.match(h.decoded(), [
    { type: 'decision', facts: { mode: 'evaluate', unfolded: true } },
    { type: 'observed', facts: { mode: 'observe', unfolded: false, action: null } },
  ])
  t.end()
})

void t.test('a deadline that the champion cannot meet is refused before anything is folded', (t) => {
  const h = withHarness(t)
  h.champion.predicted = 9
  const first = h.send()
  t.match(h.send({ transaction_id: 't-2' }), [{ status: 503, body: { code: 'ASSAY_OVERLOADED' } }])
  settle(h)
  t.match(first, [{ status: 200 }], 'a lane where nothing waits is tried however slow it is')
  t.same([h.log.records.length, h.live.features.size().events], [1, 2])
  t.end()
})

void t.test('the stages stand in Server-Timing where the policy says so, and only there', (t) => {
  for (const server_timing of [true, false]) {
    const h = withHarness(t, { policy: (policy) => ({ ...policy, server_timing }) })
    const answers = h.send()
    settle(h)
    const expected = server_timing
      ? /^receive;dur=\d+\.\d{3}, validate;dur=.*features;dur=.*infer;dur=.*decide;dur=.*log;dur=/
      : null
    t.match(answers, [{ status: 200, serverTiming: expected }])
  }
  t.end()
})

void t.test('labels are answered once logged, all or none', (t) => {
  const h = withHarness(t)
  const label = (id: string) => ({ transaction_id: id, fraud: true, source: 'bank', known_at: h.clock.nowMs() })
  h.send()
  settle(h)
  const answers = h.label([label('t-1'), label('t-2')])
  t.same(answers, [])
  h.log.sync()
  h.assembly.progress()
  t.match(answers, [{ status: 202, body: { accepted: 2, logged: 'synced' } }])
  h.log.roomFor = 1
  t.match(h.label([label('t-3'), label('t-4')]), [{ status: 503, body: { code: 'ASSAY_LOG_UNAVAILABLE' } }])
  t.equal(h.log.records.length, 3)
  t.end()
})

void t.test('a held decision is found by its id and by its transaction, and nothing else is', (t) => {
  const h = withHarness(t)
  const answers = h.send()
  settle(h)
  const id = String(answers[0].body.decision_id)
  const { scoring } = h.assembly
  t.equal(scoring.findDecision({ decisionId: id }), JSON.stringify(answers[0].body))
  t.equal(scoring.findDecision({ transactionId: 't-1' }), JSON.stringify(answers[0].body))
  t.equal(scoring.findDecision({ transactionId: 't-2' }), null)
  t.equal(scoring.findDecision({ decisionId: `${id.slice(0, -1)}${id.endsWith('a') ? 'b' : 'a'}` }), null)
  t.end()
})

/** A small seeded generator, so that a failure can be repeated (mulberry32, public domain). */
function random(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

for (const policy of ['reject', 'serve_and_count'] as const) {
  void t.test(
    `1,000 transactions, three retries each, unequal lanes, a stalling log, ${policy}: each counts once`,
    (t) => {
      const h = withHarness(t, {
        challenger: true,
        limits: { ...LIMITS, inFlightMax: 256 },
        policy: (base) => ({ ...base, on_log_unavailable: policy, routes: { ...base.routes, share: 5_000 } }),
      })
      const next = random(policy.length)
      const sends: number[] = []
      for (let copy = 0; copy < 4; copy++) for (let id = 0; id < 1_000; id++) sends.push(id)
      // Shuffled over a few hundred places, so that retries overlap their first.
      sends.sort(() => 0)
      for (let at = sends.length - 1; at > 0; at--) {
        const other = Math.max(0, at - Math.floor(next() * 400))
        ;[sends[at], sends[other]] = [sends[other], sends[at]]
      }
      const answers = new Map<number, Answer[][]>()
      const at = h.clock.nowMs()
      h.log.roomFor = 60
      let stalledFor = 0
      sends.forEach((id, place) => {
        const over = {
          transaction_id: `t-${id}`,
          customer_id: `c${id % 37}`,
          terminal_id: `p${id % 11}`,
          occurred_at: at + id,
          amount_minor: 100 + id,
        }
        answers.set(id, [...(answers.get(id) ?? []), h.send(over)])
        if (next() < 0.6) h.champion.answerAll(next())
        if (next() < 0.1) h.challenger.answerAll(next())
        if (stalledFor === 0 && next() < 0.005) stalledFor = 300
        if (stalledFor > 0) stalledFor--
        else {
          h.log.sync()
          h.assembly.progress()
        }
        if (place % 3 === 0) h.wait(1)
      })
      for (let step = 0; step < 20; step++) {
        h.wait(10)
        settle(h)
      }
      // What the log holds, each once.
      const decisions = h.decoded().flatMap((record) => (record.type === 'decision' ? [record] : []))
      const ids = decisions.map(({ personal }) => personal.transaction.transactionId)
      t.equal(new Set(ids).size, ids.length, 'no transaction stands twice in the log')
      // Counts and sums of the state against one plain pass over the transactions of the log.
      const { features, vectors } = h.refold()
      t.equal(features.size().events, h.live.features.size().events)
      t.equal(features.digest(), h.live.features.digest(), 'state equals the fold of its log')
      const plain = new Map<string, { count: number; sum: number }>()
      for (const { personal } of decisions) {
        const customer = String(personal.transaction.fields[0])
        const held = plain.get(customer) ?? { count: 0, sum: 0 }
        plain.set(customer, { count: held.count + 1, sum: held.sum + personal.transaction.amountMinor })
      }
      for (const [customer, { count, sum }] of plain) {
        const probe = {
          ...decisions[0].personal.transaction,
          transactionId: 'probe',
          occurredAtMs: at + 2_000,
          amountBaseMinor: 0,
        }
        const vector = new Float64Array(h.catalogue.size)
        h.live.features.evaluate({ ...probe, fields: [customer, null] }, h.clock.nowMs() + 10_000, vector, 0)
        t.equal(vector[h.catalogue.indexOf('customer_count_1d')], count + 1)
        t.ok(Math.abs(vector[h.catalogue.indexOf('customer_mean_amount_1d')] * (count + 1) - sum / 100) < 1e-6)
      }
      let different = 0
      for (const { facts, personal } of decisions) {
        const logged = h.catalogue.decodeVector(personal.vector)
        const replayed = vectors.get(facts.ordinal) ?? new Float64Array()
        if (logged.some((value, index) => !Object.is(value, Math.fround(replayed[index])))) different++
      }
      t.equal(different, 0, 'every logged vector equals the one that replay computes')
      // One decision per transaction, whatever a client was told on the way.
      const held = new Map(decisions.map(({ facts, personal }) => [personal.transaction.transactionId, facts]))
      let confirmed = 0
      for (const [id, lists] of answers) {
        for (const list of lists) {
          t.equal(list.length, 1)
          const [{ status, body }] = list
          if (status !== 200 || body.logged === 'none') continue
          confirmed++
          if (held.get(`t-${id}`)?.score !== body.score) t.fail(`t-${id} was answered with another score`)
        }
      }
      t.ok(confirmed > 500, `${confirmed} answers held a decision`)
      const codes = new Set([...answers.values()].flat(2).map(({ body }) => body.code ?? body.logged))
      const expected =
        policy === 'reject' ? ['ASSAY_DECISION_UNCONFIRMED', 'ASSAY_LOG_UNAVAILABLE'] : ['none', 'pending']
      for (const code of expected) t.ok(codes.has(code), `${code} was told: ${[...codes].sort().join(', ')}`)
      t.end()
    },
  )
}
