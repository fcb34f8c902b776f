// The policy, changed while a whole server runs: what is taken and from when on, what is refused and how, what a
// restart makes of it, and that each decision is recomputed from the policy that it names.
import t, { type Test } from 'tap'
import type { Config } from '../../src/config.js'
import { LIMITS } from '../../src/limits.js'
import { type Verdict, verifyDecisions } from '../../src/scoring/verify-decision.js'
import { type Answer, answer, readLog, type Rig, type RigOptions, startRig } from './server-rig.js'

t.setTimeout(300_000)

/** Time enough, and none of the reference policy's own rules, lists and cuts. */
const patient = ({ policy }: Config): void => {
  policy.budgets = { deadline_ms: 1000, log_wait_ms: 10_000 }
  delete policy.rules
  delete policy.lists
  delete policy.segments
  policy.thresholds = {}
}
const stop = { id: 'stop', action: 'decline', reason: 'card_testing', state: 'enforce' } as const
const WAVE = { ...stop, when: { field: 'terminal_id', op: 'in_list', value: 'wave' } }
const LISTS = { wave: { values: [{ value: 't-13' }] } }

let sent = 0
const pay = (rig: Rig, terminal = 't-13') =>
  rig.score({
    ...{ transaction_id: `p-${++sent}`, occurred_at: Date.now(), amount_minor: 5_000, currency: 'EUR' },
    ...{ customer_id: `c-${sent}`, terminal_id: terminal },
  })

async function change(
  rig: Rig,
  path: string,
  body: object,
  tag: string | null = null,
  method = 'PUT',
): Promise<Answer> {
  const held = tag ?? (await rig.operations('/v1/policy')).headers.get('etag') ?? ''
  return answer(
    fetch(rig.server.operationsUrl + path, {
      ...{ method, body: JSON.stringify({ reason: 'a test', ...body }) },
      headers: { 'content-type': 'application/json', 'if-match': held },
    }),
  )
}

async function start(t: Test, options: RigOptions = {}): Promise<Rig> {
  const rig = await startRig({ edit: patient, ...options })
  t.teardown(() => rig.remove())
  return rig
}

async function verdicts(rig: Rig): Promise<Verdict[]> {
  const found: Verdict[] = []
  const places = { directory: rig.logDir, modelsDir: rig.config.process.models_dir }
  await verifyDecisions(places, { sinceMs: 0, untilMs: Infinity }, (verdict) => void found.push(verdict))
  return found
}

void t.test('a change holds for what begins after it, and its decisions name it', async (t) => {
  const rig = await start(t)
  const before = await pay(rig)
  const set = await change(rig, '/v1/policy', { policy: { rules: [WAVE], lists: LISTS } })
  t.match(set, { status: 200, body: { revision: 1, change: { revision: 1, effective: true, durable: true } } })
  t.same(set.body.differs_from_config, ['/rules', '/lists'])
  const after = await pay(rig)
  t.match(after.body, { action: 'decline', reasons: [{ code: 'card_testing' }], policy: set.body.fingerprint })
  t.not(before.body.policy, after.body.policy)
  t.match((await rig.operations('/v1/status')).body, { policy: set.body.fingerprint, policy_revision: 1 })
  t.ok([...(await rig.metric('assay_build_info')).keys()].some((labels) => labels.includes(set.body.fingerprint)))

  const list = await change(rig, '/v1/lists/wave', { values: [{ value: 't-14', until: '2100-01-01T00:00:00Z' }] })
  t.match(list, { status: 200, body: { revision: 2 } })
  t.match([(await pay(rig, 't-14')).body.action, (await pay(rig, 't-13')).body.rules], ['decline', undefined])
  const back = await change(rig, '/v1/policy:rollback', {}, null, 'POST')
  t.match(back, { status: 200, body: { revision: 3, fingerprint: set.body.fingerprint, can_roll_back: false } })
  t.equal((await pay(rig)).body.action, 'decline')
  const audit = (await rig.operations('/v1/audit')).body
  t.same(
    audit.controls.map((control: { kind: string }) => control.kind),
    ['policy_rollback', 'policy_list', 'policy'],
  )
  t.match(audit.controls[1], { change: { paths: ['/lists/wave/values/0/value', '/lists/wave/values/0/until'] } })
  t.notMatch(JSON.stringify(audit), /"when"/, 'the audit names what changed, the log holds it')
  await rig.stop()
  const all = await verdicts(rig)
  t.same([all.length, all.filter(({ result }) => result !== 'equal')], [5, []])
})

void t.test('what is refused changes nothing, and says where and what is allowed', async (t) => {
  const rig = await start(t)
  const refused = async (policy: object, status: number, code: string, path: string): Promise<void> => {
    const { status: given, body } = await change(rig, '/v1/policy', { policy })
    t.match({ given, body }, { given: status, body: { code, errors: [{ path }] } }, path)
  }
  const when = { field: 'amout', op: 'gt', value: 1 }
  await refused({ rules: [{ ...stop, when }] }, 400, 'ASSAY_SCHEMA_INVALID', '/policy/rules/0/when/field')
  await refused({ rules: [{ ...stop, when: 1 }] }, 400, 'ASSAY_SCHEMA_INVALID', '/policy/rules/0/when')
  await refused({ rules: [WAVE] }, 400, 'ASSAY_SCHEMA_INVALID', '/policy/rules/0/when/value')
  await refused({ rulez: [] }, 409, 'ASSAY_CHANGE_CONFLICT', '/policy/rulez')
  await refused({ clock: 'replay' }, 409, 'ASSAY_CHANGE_CONFLICT', '/policy/clock')
  await refused({ thresholds: null }, 400, 'ASSAY_SCHEMA_INVALID', '/policy/thresholds')
  const cuts = { 'fraud-lgbm@1': { review_at: 0.9, decline_at: 0.2 } }
  await refused({ thresholds: cuts }, 400, 'ASSAY_SCHEMA_INVALID', '/policy/thresholds/fraud-lgbm@1/decline_at')
  const many = Array.from({ length: LIMITS.listValuesMax + 1 }, (_, at) => ({ value: `t${at}` }))
  await refused({ lists: { wave: { values: many } } }, 400, 'ASSAY_SCHEMA_INVALID', '/policy/lists/wave/values')
  const same = await change(rig, '/v1/policy', { policy: rig.config.policy })
  t.match(same, { status: 409, body: { code: 'ASSAY_CHANGE_CONFLICT', detail: /holds already/ } })
  t.match(await change(rig, '/v1/policy:rollback', {}, null, 'POST'), { status: 409 })
  t.match(await change(rig, '/v1/lists/Not%20a%20name', { values: [] }), { status: 400 })
  t.match(await change(rig, '/v1/policy', { policy: {} }, '"7"'), {
    status: 412,
    body: { code: 'ASSAY_REVISION_STALE' },
  })
  t.match(await change(rig, '/v1/policy', { policy: {} }, ''), { status: 428 })
  t.match((await rig.operations('/v1/policy')).body, { revision: 0, differs_from_config: [] })
})

void t.test('a dry run says what the newest decisions would have been, and changes nothing', async (t) => {
  const rig = await start(t)
  for (let i = 0; i < 6; i++) await pay(rig, i < 4 ? 't-13' : 't-7')
  const policy = { rules: [WAVE, { ...WAVE, id: 'trial', state: 'shadow' }], lists: LISTS }
  const tried = await change(rig, '/v1/policy?dry_run=true', { policy }, '')
  t.match(tried, { status: 200, body: { dry_run: true, revision: 0, decisions: 6, not_recomputed: 0 } })
  t.same(tried.body.differences, ['/rules', '/lists'])
  t.equal(tried.body.would_change, 4)
  t.same(
    tried.body.changes.map(({ to, decisions }: { to: string; decisions: number }) => [to, decisions]),
    [['decline', 4]],
  )
  t.equal(tried.body.changes[0].amount_minor, 4 * 5_000)
  t.match(tried.body.rules, [
    { id: 'stop', state: 'enforce', decisions: 4 },
    { id: 'trial', state: 'shadow', decisions: 4 },
  ])
  const newest = await change(rig, '/v1/policy?dry_run=true&last=3', { policy }, '')
  t.match(newest.body, { decisions: 3, would_change: 1 })
  t.match(await change(rig, '/v1/lists/wave?dry_run=true', { values: [] }, ''), {
    status: 200,
    body: { would_change: 0 },
  })
  for (const query of ['dry_run=maybe', 'dry_run=true&last=0', 'dry_run=true&last=1e9']) {
    t.match(await change(rig, `/v1/policy?${query}`, { policy }, ''), {
      status: 400,
      body: { code: 'ASSAY_SCHEMA_INVALID' },
    })
  }
  t.match(await change(rig, '/v1/policy?dry_run=true', { policy: { rules: [WAVE] } }, ''), { status: 400 })
  t.match((await rig.operations('/v1/policy')).body, { revision: 0, differs_from_config: [] })
  t.equal((await pay(rig)).body.rules, undefined)
})

void t.test('two operators at once: one is told that the policy has changed', async (t) => {
  const rig = await start(t)
  const tag = (await rig.operations('/v1/policy')).headers.get('etag')
  const [one, other] = await Promise.all(
    ['a', 'b'].map((value) => change(rig, '/v1/policy', { policy: { lists: { [value]: { values: [] } } } }, tag)),
  )
  t.same([one.status, other.status].sort(), [200, 412])
})

void t.test('the largest policy passes through the log, and payments beside it', async (t) => {
  const rig = await start(t)
  const value = (at: number): string => `terminal-${String(at).padStart(8, '0')}`
  const values = Array.from({ length: 9_000 }, (_, at) => ({ value: value(at) }))
  const paying = Promise.all(Array.from({ length: 20 }, () => pay(rig)))
  const set = await change(rig, '/v1/policy', { policy: { rules: [WAVE], lists: { wave: { values } } } })
  t.match(set, { status: 200, body: { revision: 1 } })
  t.match(await change(rig, '/v1/lists/wave', { values: values.slice(1) }), { status: 200 })
  await paying
  t.equal((await pay(rig, value(8_999))).body.action, 'decline')
  t.not((await pay(rig, value(0))).body.reasons[0]?.code, 'card_testing')
  await rig.stop()
  const all = await verdicts(rig)
  t.same([all.length, all.filter(({ result }) => result !== 'equal')], [22, []])
})

void t.test('a restart keeps what was set, over the file; only an explicit wish takes the file again', async (t) => {
  const first = await start(t)
  const set = await change(first, '/v1/policy', { policy: { rules: [WAVE], lists: LISTS } })
  await first.stop()
  const { dataDir } = first
  const guarded = (config: Config): void => {
    patient(config)
    config.policy.rules = [{ ...stop, when: { field: 'amount', op: 'gt', value: 1e6 } }]
  }
  const second = await start(t, { dataDir, edit: guarded })
  t.equal((await pay(second)).body.policy, set.body.fingerprint)
  t.match(second.events.find(({ name }) => name === 'PolicyDiffered')?.fields, { revision: 1 })
  t.match(await change(second, '/v1/policy:rollback', {}, null, 'POST'), { status: 200, body: { revision: 2 } })
  t.not((await pay(second)).body.action, 'decline')
  await second.stop()
  const third = await start(t, { dataDir, edit: guarded, policyFromFile: true })
  t.match((await third.operations('/v1/policy')).body, { revision: 3, differs_from_config: [], can_roll_back: true })
  await third.stop()
  const { decisions } = await readLog(third.logDir)
  t.equal(decisions.length, 2)
  t.same(
    (await verdicts(third)).map(({ result }) => result),
    ['equal', 'equal'],
  )
  const withChannel = (config: Config): void => {
    patient(config)
    config.policy.schema.fields.push({ name: 'channel', type: 'string' })
  }
  const last = await start(t, { dataDir, edit: withChannel })
  const when = { field: 'channel', op: 'eq', value: 'web' }
  t.match(await change(last, '/v1/policy', { policy: { rules: [{ ...stop, when }] } }), { status: 200 })
  await last.stop()
  await t.rejects(startRig({ dataDir, edit: patient }), {
    ...{ code: 'ASSAY_CONFIG_INVALID', message: /revision 4.*rules\/0\/when\/field.*--policy-from-file/ },
  })
  const mended = await start(t, { dataDir, edit: withChannel })
  t.match(await change(mended, '/v1/policy', { policy: { rules: [] } }), { status: 200 })
  await mended.stop()
  const narrowed = await start(t, { dataDir })
  const back = await change(narrowed, '/v1/policy:rollback', {}, null, 'POST')
  t.match(back, { status: 400, body: { errors: [{ path: '/policy/rules/0/when/field' }] } }, 'nor is it rolled back to')
})
