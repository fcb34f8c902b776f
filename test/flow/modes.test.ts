// decide, evaluate and observe on a whole server: what each answers, folds, logs and counts; that an observed payment
// can be decided later, once; and that a restart and the replay of the log see it the same.
import t from 'tap'
import { verifyReplay } from '../../src/scoring/verify-replay.js'
import { type Answer, readLog, type Rig, startRig } from './server-rig.js'

t.setTimeout(120_000)

const START_MS = Date.now() - 60_000

const payment = (id: string, seconds: number): object => ({
  ...{ transaction_id: id, occurred_at: START_MS + seconds * 1000, amount_minor: 5_000, currency: 'EUR' },
  ...{ customer_id: 'c-1', terminal_id: 't-1' },
})
const EVALUATE = { 'assay-mode': 'evaluate' }
const OBSERVE = { 'assay-mode': 'observe' }

const start = (dataDir?: string): Promise<Rig> =>
  startRig({
    ...(dataDir !== undefined && { dataDir }),
    edit: ({ policy }) => void (policy.budgets = { deadline_ms: 1_000, log_wait_ms: 10_000 }),
  })

let rig: Rig
t.before(async () => void (rig = await start()))
t.teardown(() => rig.remove())

const isReplay = ({ headers }: Answer): boolean => headers.get('idempotent-replayed') === 'true'
let decidedLater = ''

void t.test('evaluate scores each time and leaves nothing behind but its record', async (t) => {
  const [first, second] = [await rig.score(payment('e', 0), EVALUATE), await rig.score(payment('e', 0), EVALUATE)]
  for (const answer of [first, second]) t.match(answer, { status: 200, body: { action: 'approve', logged: 'synced' } })
  t.not(second.body.decision_id, first.body.decision_id)
  t.notOk(isReplay(second))
  t.equal((await rig.get('/v1/decisions?transaction_id=e')).status, 404)
  const decided = await rig.score(payment('e', 0))
  t.notOk(isReplay(decided), 'what was only evaluated is new')
  const again = await rig.score(payment('e', 0), EVALUATE)
  t.not(again.body.decision_id, decided.body.decision_id, 'and can be looked at once more')
  t.match(again.body.features, ['cold', 'folded'])
  t.equal(again.body.score, decided.body.score, 'in the same windows')
  t.ok(isReplay(await rig.score(payment('e', 0))))
})

void t.test('observe takes in; the payment is decided later, once', async (t) => {
  t.match(await rig.score(payment('o', 1), OBSERVE), { status: 202, body: { accepted: 1, logged: 'synced' } })
  const repeat = await rig.score(payment('o', 1), OBSERVE)
  t.equal(repeat.status, 202)
  t.ok(isReplay(repeat))
  await rig.score(payment('between', 5))
  const decided = await rig.score(payment('o', 1))
  t.match(decided, { status: 200, body: { action: 'approve', features: ['cold', 'folded'] } })
  t.notOk(isReplay(decided))
  decidedLater = decided.body.decision_id as string
  for (const headers of [{}, OBSERVE]) {
    const after = await rig.score(payment('o', 1), headers)
    t.match(after, { status: 200, body: { decision_id: decidedLater } }, 'now that is its answer')
    t.ok(isReplay(after))
  }
  t.equal((await rig.get('/v1/decisions?transaction_id=o')).body.decision_id, decidedLater)
  t.equal((await rig.get(`/v1/decisions/${decidedLater}`)).status, 200)
  const other = await rig.score({ ...payment('o', 1), amount_minor: 6_000 })
  t.match(other, { status: 422, body: { code: 'ASSAY_TRANSACTION_REUSED' } })
})

void t.test('a batch is of one mode', async (t) => {
  const transactions = [payment('b-1', 6), payment('b-2', 7)]
  const observed = await rig.send('/v1/score/batch', { transactions }, OBSERVE)
  t.match(observed.body.results ?? observed.body, [{ status: 202 }, { status: 202 }])
  const wrong = await rig.score(payment('w', 8), { 'assay-mode': 'watch' })
  t.match(wrong, { status: 400, body: { errors: [{ message: /decide, evaluate, observe|decide \| evaluate/ }] } })
})

void t.test('what is counted: every mode, and as decisions only what was decided', async (t) => {
  t.same(Object.fromEntries(await rig.metric('assay_transactions_total')), {
    'mode="decide"': 3,
    'mode="evaluate"': 3,
    'mode="observe"': 3,
  })
  const decisions = [...(await rig.metric('assay_decisions_total')).values()]
  t.equal(
    decisions.reduce((sum, value) => sum + value, 0),
    3,
  )
})

void t.test('each leaves a record that names it, and its windows hold a payment once', async (t) => {
  await rig.score(payment('last', 9))
  await rig.stop()
  const { decisions } = await readLog(rig.logDir)
  const counts = decisions.map(({ facts, personal: { transaction, vector } }) => [
    `${transaction.transactionId} ${facts.mode}${facts.unfolded ? ', not folded' : ''}`,
    new Float32Array(vector.buffer, vector.byteOffset)[
      rig.config.policy.catalogue.features.findIndex(({ name }) => name === 'customer_count_1d')
    ],
  ])
  t.same(counts, [
    ['e evaluate, not folded', 1],
    ['e evaluate, not folded', 1],
    ['e decide', 1],
    ['e evaluate, not folded', 1],
    ['o observe', 2],
    ['between decide', 3],
    ['o decide', 2],
    ['b-1 observe', 4],
    ['b-2 observe', 5],
    ['last decide', 6],
  ])
})

void t.test('a restart answers as before, and the log replays to the same vectors', async (t) => {
  const { dataDir, logDir } = rig
  const next = await start(dataDir)
  const after = await next.score(payment('o', 1))
  t.match(after, { status: 200, body: { decision_id: decidedLater } })
  t.ok(isReplay(after))
  t.equal((await next.score(payment('b-1', 6), OBSERVE)).status, 202)
  t.match((await next.score(payment('b-1', 6))).body, { features: ['cold', 'folded'] })
  await next.stop()
  t.match(await verifyReplay(logDir), { compared: 8, equal: 8, unexplained: 0 })
})
