// The Open Inference Protocol on a whole server: the route decides rows of features as it decides payments, and they
// stand in the log unfolded; models answer under their own names, and leave inferences. What they leave is recomputed.
import t from 'tap'
import { parseDecisionId } from '../../src/contract/decision.js'
import { type DecodedRecord, inferenceVector } from '../../src/contract/record-types.js'
import { logCommand } from '../../src/scoring/log-command.js'
import { readDecisionLog } from '../../src/scoring/restore.js'
import { bucketOf } from '../../src/scoring/route.js'
import { verifyDecisions } from '../../src/scoring/verify-decision.js'
import { verifyReplay } from '../../src/scoring/verify-replay.js'
import { runCommand } from '../run-command.js'
import { type Answer, request, type Rig, startRig } from './server-rig.js'

t.setTimeout(180_000)

/** Would match every row if a row had an amount: rules that ask for the transaction hold nowhere there. */
const CHEAP = {
  id: 'cheap',
  when: { field: 'amount_minor', op: 'lt', value: 1 },
  action: 'decline',
  reason: 'cheap',
} as const
const ABSENT = { id: 'nobody', when: { field: 'terminal_id', op: 'absent' }, action: 'decline', reason: 'no' } as const
const LARGE = {
  id: 'large',
  when: { feature: 'amount', op: 'ge', value: 9_000 },
  action: 'review',
  reason: 'large',
} as const

interface Metadata {
  readonly name: string
  readonly platform: string
  readonly inputs: readonly { readonly name: string; readonly datatype: string; readonly shape: readonly number[] }[]
}

let rig: Rig
t.before(async () => {
  rig = await startRig({
    edit({ policy }) {
      policy.budgets = { deadline_ms: 1_000, log_wait_ms: 10_000 }
      policy.rules = [CHEAP, ABSENT, LARGE].map((rule) => ({ ...rule, state: 'enforce' as const }))
    },
  })
})
t.teardown(() => rig.remove())

const width = (): number => rig.config.policy.catalogue.features.length
/** Rows of the catalogue's features, of which only the amount is set. */
const rows = (...amounts: number[]) => {
  const data = amounts.flatMap((amount) => [amount, ...new Array<number>(width() - 1).fill(0)])
  return [{ name: 'features', datatype: 'FP64', shape: [amounts.length, width()], data }]
}
const ask = (name: string, body: object): Promise<Answer> => rig.send(`/v2/models/${name}/infer`, body)
const route = (amount: number, parameters: object = {}) => ask('fraud', { inputs: rows(amount), parameters })

void t.test('a row is routed by its entity, decided by features and score, and told who decided', async (t) => {
  const answer = await route(10, { entity: 'c-1', transaction_id: 'r-1' })
  t.match(answer, { status: 200, body: { model_name: 'fraud', outputs: [{ name: 'score', shape: [1, 1] }] } })
  t.match(answer.body.parameters, {
    assay_action: 'approve',
    assay_model_version: 'fraud-lgbm@1',
    assay_degraded: false,
  })
  t.ok(parseDecisionId(answer.body.parameters.assay_decision_id as string)?.unfolded)
  const large = await route(9_500)
  t.equal(large.body.parameters.assay_action, 'review', 'a rule on a feature holds')
  const several = await ask('fraud', { inputs: rows(1, 9_500, 2), parameters: { entity: ['a', 'b', 'c'] } })
  t.match(several.body.parameters.assay_action, ['approve', 'review', 'approve'], 'of several rows a list, in order')
  t.equal(several.body.outputs[0].data.length, 3)
})

void t.test('a transaction_id is decided once while it is held', async (t) => {
  const said = { entity: 'c-1', transaction_id: 'once' }
  const [first, again] = await Promise.all([route(10, said), route(10, said)])
  t.equal(first.status, 200)
  t.same(again.body, first.body, 'also where both come at once')
  t.same((await route(10, said)).body, first.body)
  const reused = { status: 422, body: { code: 'ASSAY_TRANSACTION_REUSED', error: /row 0/ } }
  t.match(await route(11, said), reused, 'other features')
  t.match(await route(10, { ...said, entity: 'c-2' }), reused, 'another entity')
  const twice = { inputs: rows(1, 2), parameters: { transaction_id: ['two', 'two'] } }
  t.match(await ask('fraud', twice), { status: 422, body: { error: /row 1/ } }, 'two rows of one request')
  t.equal((await route(1, { transaction_id: 'two' })).status, 200, 'of which none was decided')
  const payment = {
    transaction_id: 'paid',
    occurred_at: Date.now(),
    amount_minor: 1_000,
    currency: 'EUR',
    customer_id: 'c',
  }
  t.equal((await rig.score(payment)).status, 200)
  t.match(await route(10, { transaction_id: 'paid' }), reused, 'an id of a payment')
})

void t.test('a model answers under its name: no decision, the score and what it gave before its map', async (t) => {
  for (const { name, inputs, platform } of await Promise.all(
    ['fraud-lgbm', 'fraud-xgb', 'baseline'].map(
      async (model) => (await rig.get(`/v2/models/${model}`)).body as Metadata,
    ),
  )) {
    const [{ datatype, shape }] = inputs
    const data = new Array<number>(70 * shape[1]).fill(1)
    const body = { inputs: [{ name: inputs[0].name, datatype, shape: [70, shape[1]], data }] }
    const answer = await ask(name, { ...body, parameters: { transaction_id: new Array(70).fill('d') } })
    t.match(answer, { status: 200, body: { model_name: name, model_version: '1' } }, `${name}, ${platform}`)
    const [scores, raw] = answer.body.outputs.map((output: { data: number[] }) => output.data)
    t.ok(scores.length === 70 && new Set(scores).size === 1 && scores[0] > 0 && scores[0] < 1, 'more than one batch')
    if (name === 'baseline') t.ok(Math.abs(1 / (1 + Math.exp(-raw[0])) - scores[0]) < 1e-12, 'log-odds beside it')
    t.notOk('parameters' in answer.body)
    const { model_stats: stats } = (await rig.get(`/v2/models/${name}/versions/1/stats`)).body
    t.match(stats, [{ name, version: '1', inference_count: 70, inference_stats: { success: { count: 1 } } }])
    t.ok(stats[0].execution_count >= 3, 'batches of at most 32')
  }
  const counted = await rig.metric('assay_inferences_total')
  t.same([...counted.values()], [70, 70, 70])
})

void t.test('what is wrong is refused with its code, and with `error`, before anything is logged', async (t) => {
  const cases: readonly (readonly [string, object, number, string])[] = [
    ['nobody', { inputs: rows(1) }, 404, 'ASSAY_MODEL_UNKNOWN'],
    ['fraud-lgbm/versions/2', { inputs: rows(1) }, 404, 'ASSAY_MODEL_UNKNOWN'],
    ['fraud', { inputs: [] }, 400, 'ASSAY_SCHEMA_INVALID'],
    ['fraud', { inputs: [...rows(1), ...rows(1)] }, 400, 'ASSAY_TENSOR_INVALID'],
    ['fraud', { inputs: rows(1), outputs: [{ name: 'label' }] }, 400, 'ASSAY_TENSOR_INVALID'],
    ['fraud', { inputs: rows(1, 2), parameters: { transaction_id: 'one' } }, 400, 'ASSAY_SCHEMA_INVALID'],
    ['fraud', { inputs: rows(4_111_111_111_111_111) }, 422, 'ASSAY_CARD_DATA_REFUSED'],
    ['fraud', { inputs: rows(1e300) }, 400, 'ASSAY_TENSOR_INVALID'],
  ]
  for (const [name, body, status, code] of cases) {
    const answer = await ask(name, body)
    t.match(answer, { status, body: { status, code } }, `${name} ${code}`)
    t.equal(answer.body.error, answer.body.detail)
  }
  const header = (bytes: string) =>
    rig.send('/v2/models/fraud/infer', JSON.stringify({ inputs: rows(1) }), {
      'inference-header-content-length': bytes,
    })
  for (const bytes of ['100000', 'x']) {
    t.match(await header(bytes), { status: 400, body: { code: 'ASSAY_HEADER_INVALID', error: /Inference-Header/ } })
  }
  const observed = await rig.send('/v2/models/fraud/infer', { inputs: rows(1) }, { 'assay-mode': 'observe' })
  t.match(observed, { status: 400, body: { code: 'ASSAY_HEADER_INVALID' } }, 'there is no transaction to observe')
  const untyped = { 'content-type': 'application/x-www-form-urlencoded' }
  t.equal((await rig.send('/v2/models/fraud/infer', JSON.stringify({ inputs: rows(1) }), untyped)).status, 200)
  const ofPage = { ...untyped, origin: 'http://elsewhere.example' }
  t.equal((await rig.send('/v2/models/fraud/infer', JSON.stringify({ inputs: rows(1) }), ofPage)).status, 415)
  t.match(await rig.send('/v2/models/fraud/infer', 'x', { 'content-type': 'text/plain' }), {
    status: 415,
    body: { error: /./ },
  })
  t.match(await rig.get('/v2/models/fraud/infer'), { status: 405, body: { error: 'use POST' } })
  t.match(await rig.get('/v2/models/fraud/labels'), { status: 404, body: { code: 'ASSAY_ROUTE_UNKNOWN', error: /./ } })
  t.match(await rig.send('/v2/repository/index', { ready: 1 }), { status: 400, body: { code: 'ASSAY_SCHEMA_INVALID' } })
  t.notOk('error' in (await rig.get('/v1/nothing')).body, 'elsewhere problems are as they were')
})

void t.test('with the champion taken out the route answers by another model, and says so', async (t) => {
  const change = (verb: string) =>
    request(`${rig.server.operationsUrl}/v1/routes:${verb}`, { model: 'fraud-lgbm@1', reason: 'a test' })
  t.equal((await change('force')).status, 200)
  const answer = await route(10, { transaction_id: 'forced' })
  t.match(answer.body.parameters, { assay_model_version: 'baseline@1', assay_degraded: true })
  t.match(await rig.get('/v2/models/fraud-lgbm/ready'), { status: 503, body: { code: 'ASSAY_MODEL_UNAVAILABLE' } })
  t.equal((await rig.get('/v2/models/fraud/ready')).status, 200, 'the route still takes rows')
  const own = await ask('fraud-lgbm', {
    inputs: [{ name: 'features', datatype: 'FP32', shape: [1, 15], data: new Array(15).fill(0) }],
  })
  t.match(own, { status: 503, body: { code: 'ASSAY_MODEL_UNAVAILABLE', error: /forced/ } })
  t.equal((await change('release')).status, 200)
})

void t.test(
  'the log holds rows unfolded and inferences apart; both are recomputed, and a replay is equal',
  async (t) => {
    const { experiment_key: key } = await keyOf(rig)
    await rig.stop()
    const decided: DecodedRecord[] = []
    const inferred: DecodedRecord[] = []
    await readDecisionLog(rig.logDir, {
      onRecord(record) {
        if (record.type === 'decision' && record.facts.unfolded) decided.push(structuredClone(record))
        if (record.type === 'inference') inferred.push(structuredClone(record))
      },
    })
    const first = decided[0]
    if (first.type !== 'decision') throw new Error('no decision')
    const { transaction } = first.personal
    t.match(transaction, { transactionId: 'r-1', currency: 'XXX', amountMinor: 0, fields: ['c-1', null] })
    t.equal(first.facts.bucket, bucketOf(key, 'c-1'), 'the bucket that a payment of this customer has')
    t.match(first.facts, { mode: 'decide', rules: [], prescribedModel: 'fraud-lgbm@1' })
    t.match(
      decided.map((record) => (record.type === 'decision' ? record.facts.rules : null)).slice(1, 2),
      [['large']],
      'rules that ask for the transaction did not',
    )
    const forced = decided.at(-1)
    t.match(forced, { facts: { degraded: true, fallback: [{ model: 'fraud-lgbm@1', reason: 'forced' }] } })
    t.equal(inferred.length, 3 * 70)
    const [one] = inferred
    if (one.type !== 'inference') throw new Error('no inference')
    t.match(one, { facts: { unfolded: true, action: null }, personal: { transactionId: 'd', entity: null } })
    t.ok(
      [...inferenceVector(one.personal)].every((value) => value === 1),
      'what the model was given',
    )
    const summary = await verifyDecisions(
      { directory: rig.logDir, modelsDir: rig.config.process.models_dir },
      { sinceMs: 0, untilMs: Infinity },
      () => undefined,
    )
    t.match(summary, { equal: decided.length + 3 * 70 + 1, differs: 0, unverifiable: 0 })
    t.match(
      await verifyReplay(rig.logDir),
      { compared: 1, equal: 1, unexplained: 0, gaps: [] },
      'only the payment was folded',
    )
    const { out } = await runCommand(logCommand, ['cat', '--data', rig.dataDir])
    const shown = out.split('\n').flatMap((line) => (line === '' ? [] : [JSON.parse(line) as Record<string, unknown>]))
    t.match(
      shown.find((line) => line.type === 'inference'),
      { transaction_id: 'd', model: { digest: /^sha256:/ } },
    )
    t.match(
      shown.find((line) => line.type === 'decision'),
      { unfolded: true, transaction: { transactionId: 'r-1' } },
    )
  },
)

async function keyOf(of: Rig): Promise<{ experiment_key: Buffer }> {
  let found = Buffer.alloc(0)
  await readDecisionLog(
    of.logDir,
    {
      onSegment: (_header, state) => void (found = Buffer.from(state.routes.experiment_key, 'hex')),
      onRecord: () => undefined,
    },
    { live: true },
  )
  return { experiment_key: found }
}
