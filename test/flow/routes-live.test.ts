// Routes changed while a server runs: who may, what is refused, from when on a change acts, what is kept. One server
// for all but the restart; the rules of a single change stand in test/scoring/change.test.ts.
import { createHash, randomUUID } from 'node:crypto'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { request as httpRequest } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { type Answer, answer, type Rig, startRig } from './server-rig.js'

t.setTimeout(120_000)

/** A busy machine is no overload here. */
const TOKENS = { operator: 'op-secret', other: 'second-secret', viewer: 'view-secret', approver: 'seal-secret' }

async function start(folder: string, dataDir?: string, share = 0): Promise<Rig> {
  const tokens = join(folder, 'tokens.json')
  const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex')
  const keys = [
    { name: 'ada', sha256: sha256(TOKENS.operator), role: 'operator' },
    { name: 'bob', sha256: sha256(TOKENS.other), role: 'operator' },
    { name: 'eve', sha256: sha256(TOKENS.viewer), role: 'viewer' },
    { name: 'zoe', sha256: sha256(TOKENS.approver), role: 'approver' },
  ]
  await writeFile(tokens, JSON.stringify({ keys }))
  return startRig({
    ...(dataDir !== undefined && { dataDir }),
    edit({ process, policy }) {
      process.operations.tokens_file = tokens
      policy.routes.share = share
      policy.budgets = { deadline_ms: 1_000, log_wait_ms: 10_000 }
    },
  })
}

interface Ask {
  readonly token?: string | null
  readonly revision?: number | string
  readonly headers?: Record<string, string>
}

/** `PUT /v1/routes`, or `POST /v1/routes:<verb>`. */
function change(rig: Rig, verb: string, body: unknown, { token = TOKENS.operator, revision, headers }: Ask = {}) {
  const url = `${rig.server.operationsUrl}/v1/routes${verb === 'set' ? '' : `:${verb}`}`
  return answer(
    fetch(url, {
      method: verb === 'set' ? 'PUT' : 'POST',
      headers: {
        'content-type': 'application/json',
        ...(token !== null && { authorization: `Bearer ${token}` }),
        ...(revision !== undefined && { 'if-match': typeof revision === 'number' ? `"${revision}"` : revision }),
        ...headers,
      },
      body: typeof body === 'string' ? body : JSON.stringify(body),
    }),
  )
}

function show(rig: Rig, path = '/v1/routes'): Promise<Answer> {
  return answer(fetch(rig.server.operationsUrl + path, { headers: { authorization: `Bearer ${TOKENS.viewer}` } }))
}

// eslint-disable-next-line @typescript-eslint/no-explicit-any -- what a server says is looked at field by field
async function score(t: Test, rig: Rig): Promise<any> {
  const transaction = { transaction_id: `t-${randomUUID()}`, occurred_at: new Date().toISOString() }
  const { status, body, text } = await rig.score({
    ...transaction,
    amount_minor: 100,
    currency: 'EUR',
    customer_id: 'c',
  })
  t.equal(status, 200, text)
  return body as unknown
}

void t.test('routes change on a running server, and only as they may', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'assay-routes-'))
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  const rig = await start(folder)
  t.teardown(() => rig.remove())
  const reason = 'week 48 trial'

  await t.test('what is refused names its code and path, and changes nothing', async (t) => {
    const refused: [string, unknown, Ask, number, string, string?][] = [
      ['set', { share: 5, reason }, { token: null }, 401, 'ASSAY_UNAUTHENTICATED'],
      ['set', { share: 5, reason }, { token: 'wrong' }, 401, 'ASSAY_UNAUTHENTICATED'],
      ['set', { share: 5, reason }, { token: TOKENS.viewer, revision: 0 }, 403, 'ASSAY_ROLE_REFUSED'],
      ['rollback', { reason }, { token: TOKENS.viewer }, 403, 'ASSAY_ROLE_REFUSED'],
      ['set', { share: 5, reason }, { token: TOKENS.approver, revision: 0 }, 403, 'ASSAY_ROLE_REFUSED'],
      ['rollback', { reason }, { token: TOKENS.approver }, 403, 'ASSAY_ROLE_REFUSED'],
      ['set', { share: 5, reason }, {}, 428, 'ASSAY_REVISION_MISSING'],
      ['set', { share: 5, reason }, { revision: '*' }, 400, 'ASSAY_HEADER_INVALID', '/headers/if-match'],
      ['set', { share: 5, reason }, { revision: 7 }, 412, 'ASSAY_REVISION_STALE'],
      ['set', { share: 5 }, { revision: 0 }, 400, 'ASSAY_SCHEMA_INVALID', '/reason'],
      ['set', { share: 5, reason: ' ' }, { revision: 0 }, 400, 'ASSAY_SCHEMA_INVALID', '/reason'],
      ['set', { share: 10_001, reason }, { revision: 0 }, 400, 'ASSAY_SCHEMA_INVALID', '/share'],
      ['set', { share: -1, reason }, { revision: 0 }, 400, 'ASSAY_SCHEMA_INVALID', '/share'],
      ['set', { share: 2.5, reason }, { revision: 0 }, 400, 'ASSAY_SCHEMA_INVALID', '/share'],
      ['set', { chalenger: 'a@1', reason }, { revision: 0 }, 400, 'ASSAY_SCHEMA_INVALID', '/chalenger'],
      ['set', { challenger: null, share: 5, reason }, { revision: 0 }, 400, 'ASSAY_SCHEMA_INVALID', '/share'],
      ['set', { champion: 'none@1', reason }, { revision: 0 }, 422, 'ASSAY_MODEL_NOT_LOADED', '/champion'],
      ['set', { champion: 'fraud-xgb@1', reason }, { revision: 0 }, 400, 'ASSAY_SCHEMA_INVALID', '/challenger'],
      ['set', { share: 5, reason: '4111 1111 1111 1111' }, { revision: 0 }, 422, 'ASSAY_CARD_DATA_REFUSED', '/reason'],
      ['set', '{"share":', { revision: 0 }, 400, 'ASSAY_BODY_MALFORMED'],
      ['set', [], { revision: 0 }, 400, 'ASSAY_SCHEMA_INVALID'],
      ['set', { share: 0, reason }, { revision: 0 }, 409, 'ASSAY_CHANGE_CONFLICT'],
      ['rollback', { reason }, {}, 409, 'ASSAY_CHANGE_CONFLICT'],
      ['resume', { reason }, {}, 409, 'ASSAY_CHANGE_CONFLICT'],
      ['release', { reason }, {}, 409, 'ASSAY_CHANGE_CONFLICT'],
      ['force', { model: 'none@1', reason }, {}, 422, 'ASSAY_MODEL_NOT_LOADED', '/model'],
      ['force', { reason }, { headers: { 'content-type': 'text/plain' } }, 415, 'ASSAY_MEDIA_TYPE_REFUSED'],
      ['panic', { reason }, {}, 404, 'ASSAY_ROUTE_UNKNOWN'],
    ]
    for (const [verb, body, ask, status, code, path] of refused) {
      const { status: got, body: problem, text } = await change(rig, verb, body, ask)
      t.equal(got, status, `${verb} ${JSON.stringify(body)}: ${text}`)
      t.match(problem, { code, ...(path !== undefined && { errors: [{ path }] }) })
    }
    const { body } = await show(rig)
    t.match(body, { revision: 0, share: 0, previous: null, last_change: null })
    t.match((await score(t, rig)).model.role, 'champion')
  })

  await t.test('a change acts from the next decision on, and says who, why and since when', async (t) => {
    const { status, body, headers } = await change(rig, 'set', { share: 10_000, reason }, { revision: 0 })
    t.equal(status, 200)
    t.equal(headers.get('etag'), '"1"')
    t.match(body, { revision: 1, share: 10_000, change: { revision: 1, effective: true, durable: true } })
    t.match(body.last_change, { kind: 'set', actor: 'ada', reason, routes: { revision: 1 } })
    t.notMatch(JSON.stringify(body), /experiment_key/)
    t.match(await score(t, rig), { routes_revision: 1, model: { role: 'challenger', name: 'fraud-xgb' } })
    t.equal((await rig.metric('assay_routes_revision')).get(''), 1)
    t.equal((await rig.metric('assay_routes_challenger_ratio')).get(''), 1)
    t.equal((await rig.metric('assay_routes_changes_total')).get('kind="set"'), 1)
    t.match((await show(rig, '/v1/status')).body.routes, { revision: 1, differ_from_config: true })
    t.equal((await show(rig)).headers.get('etag'), '"1"')
  })

  await t.test('of two operators at once one is told of the conflict, and nothing is lost', async (t) => {
    const both = await Promise.all([
      change(rig, 'set', { share: 2_000, reason }, { revision: 1 }),
      change(rig, 'set', { share: 3_000, reason }, { revision: 1, token: TOKENS.other }),
    ])
    const statuses = both.map(({ status }) => status).sort()
    t.same(statuses, [200, 412])
    const won = both.findIndex(({ status }) => status === 200)
    t.match((await show(rig)).body, {
      revision: 2,
      share: [2_000, 3_000][won],
      last_change: { actor: ['ada', 'bob'][won] },
    })
  })

  await t.test('roles can be swapped, and a rollback returns to what was before, once', async (t) => {
    const swap = { champion: 'fraud-xgb@1', challenger: 'fraud-lgbm@1', share: 0, reason }
    t.equal((await change(rig, 'set', swap, { revision: 2 })).status, 200)
    t.match(await score(t, rig), { model: { role: 'champion', name: 'fraud-xgb' }, routes_revision: 3 })
    const { body } = await change(rig, 'rollback', { reason: 'worse' })
    t.match(body, { revision: 4, champion: 'fraud-lgbm@1', challenger: 'fraud-xgb@1', previous: null })
    t.match(await score(t, rig), { routes_revision: 4 })
    t.equal((await change(rig, 'rollback', { reason: 'worse' })).status, 409, 'a second one finds nothing')
  })

  await t.test('a model whose breaker is held open gives way to the next, with its reason', async (t) => {
    await change(rig, 'set', { share: 10_000, reason }, { revision: 4 })
    const { status } = await change(rig, 'force', { model: 'fraud-xgb@1', reason })
    t.equal(status, 200)
    const forced = await score(t, rig)
    t.match(forced, { degraded: true, fallback: [{ model: 'fraud-xgb@1', role: 'challenger', reason: 'forced' }] })
    t.equal(forced.model.role, 'champion')
    t.equal((await rig.metric('assay_model_forced')).get('model="fraud-xgb@1"'), 1)
    t.equal((await rig.metric('assay_breaker_state')).get('model="fraud-xgb@1"'), 2)
    t.equal((await change(rig, 'force', { model: 'fraud-xgb@1', reason })).status, 409)
    await change(rig, 'force', { reason: 'panic' })
    const panic = await score(t, rig)
    t.equal(panic.model.role, 'baseline')
    t.same(
      panic.fallback.map((hop: { role: string; reason: string }) => `${hop.role} ${hop.reason}`),
      ['challenger forced', 'champion forced'],
    )
    t.match((await show(rig, '/v1/status')).body.reasons, ['forced: the baseline answers everything'])
  })

  await t.test('after a restart under another file all of it holds; released, the models answer again', async (t) => {
    const before = await show(rig)
    const changes = (await show(rig, '/v1/audit')).body
    await rig.stop()
    const again = await start(folder, rig.dataDir, 500)
    t.teardown(() => again.stop())
    const { body } = await show(again)
    const { revision, share, forced, previous } = before.body
    t.match(body, { revision, share, forced, previous, last_change: { reason: 'panic', actor: 'ada' } })
    t.match(body.differences, [{ field: 'share', live: 10_000, file: 500 }])
    const { controls, total } = changes
    const none = { refusals: [], refusals_total: 0 }
    t.same((await show(again, '/v1/audit')).body, { controls, total, older: 0, ...none }, 'refusals are forgotten')
    t.match((await show(again, '/v1/audit?limit=2')).body, { controls: { length: 2 }, older: changes.total - 2 })
    t.equal((await score(t, again)).model.role, 'baseline')
    const released = await change(again, 'release', { reason: 'mended' })
    t.match(released.body, { revision: revision + 1, forced: { baseline: false, open: [] } })
    t.match(await score(t, again), { routes_revision: revision + 1 })
    const names = changes.controls.map(({ kind }: { kind: string }) => kind).reverse()
    t.same(names, ['set', 'set', 'set', 'rollback', 'set', 'force', 'force'])
  })
})

void t.test('without tokens whoever reaches loopback changes routes, under a name that says so', async (t) => {
  const rig = await startRig({ edit: ({ policy }) => void (policy.budgets.deadline_ms = 1_000) })
  t.teardown(() => rig.remove())
  const { status, body } = await change(rig, 'set', { share: 100, reason: 'a try' }, { token: null, revision: 0 })
  t.equal(status, 200)
  t.equal(body.last_change.actor, 'local')
  // A page whose name was made to lead here (DNS rebinding) is no operator, though a browser of this machine sends it.
  const asked = { method: 'POST', headers: { host: 'evil.example', 'content-type': 'application/json' } }
  const refused = await new Promise<number | undefined>((resolve, fail) => {
    const sent = httpRequest(`${rig.server.operationsUrl}/v1/routes:force`, asked, (response) => {
      response.resume().once('end', () => resolve(response.statusCode))
    })
    sent.once('error', fail).end(JSON.stringify({ reason: 'panic' }))
  })
  t.equal(refused, 403)
  t.match((await answer(fetch(`${rig.server.operationsUrl}/v1/audit`))).body, {
    refusals: [{ actor: 'unknown', code: 'ASSAY_ROLE_REFUSED', act: 'POST /v1/routes:force' }],
    total: 1,
  })
})
