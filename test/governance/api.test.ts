// The API over a store that a real sidecar fills behind a real server under simulated traffic.
import { createHash } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { request } from 'node:http'
import { join } from 'node:path'
import { FormatRegistry, type TSchema } from '@sinclair/typebox'
import { Value } from '@sinclair/typebox/value'
import t from 'tap'
import * as wire from '../../src/contract/governance.js'
import { Problem } from '../../src/contract/problem.js'
import { AssayError } from '../../src/errors.js'
import { toCsv } from '../../src/governance/api/csv.js'
import { createQueue } from '../../src/governance/api/queue.js'
import { LIMITS } from '../../src/limits.js'
import { type GovernanceRig, startGovernance, until } from './rig.js'

const SCHEMAS: readonly (readonly [string, TSchema])[] = [
  ['summary', wire.Summary],
  ['decisions?limit=20', wire.DecisionRows],
  ['drift', wire.DriftOverview],
  ['drift/amount', wire.DriftDetail],
  ['shadow', wire.ShadowOverview],
  ['shadow/fraud-xgb@1', wire.ShadowDetail],
  ['alerts', wire.Alerts],
  ['audit', wire.Audit],
  ['health', wire.Health],
]

FormatRegistry.Set('date-time', (text) => /^\d{4}-\d\d-\d\dT[\d:.]+Z$/.test(text))

let rig: GovernanceRig

t.before(async () => {
  rig = await startGovernance({ limits: { ...LIMITS, driftWindowRows: 200, driftRowsMin: 100 } })
  await rig.traffic('--rate', '80', '--for', '20s', '--bad-challenger', '--drift', 'amount:3')
  await rig.compared()
})
t.teardown(() => rig.remove())

void t.test('every answer is what its schema says, and holds what the traffic made', async (t) => {
  for (const [path, schema] of SCHEMAS) {
    const answer = await rig.ask(path)
    t.same([...Value.Errors(schema, answer)].slice(0, 3), [], path)
  }
  const [summary, drift, shadow, density] = await Promise.all(
    ['summary', 'drift', 'shadow', 'shadow/fraud-xgb@1'].map((path) => rig.ask(path)),
  )
  t.ok(summary.decisions_held > 1_000, `${summary.decisions_held} decisions`)
  t.equal(summary.routes.champion, 'fraud-lgbm@1')
  t.equal('experiment_key' in summary.routes, false, 'the key of the experiment stays inside')
  t.ok(drift.features.some(({ feature }: { feature: string }) => feature === 'amount'))
  const model = shadow.models.find((each: { model: string }) => each.model === 'fraud-xgb@1')
  t.ok(model.pairs > 0)
  const cells = density.density.cells.reduce((sum: number, cell: { pairs: number }) => sum + cell.pairs, 0)
  const quadrants = density.quadrants.reduce((sum: number, each: { pairs: number }) => sum + each.pairs, 0)
  t.equal(cells, model.pairs, 'each pair lies in one cell of the density')
  t.equal(quadrants, model.pairs, 'and in one quadrant')
})

void t.test('pages of decisions hold each one once, newest first, under any filter', async (t) => {
  const all = await walk('decisions?limit=300')
  const { decisions_held: held } = await rig.ask('summary')
  t.equal(all.length, held)
  t.equal(new Set(all.map(({ decision_id: id }) => id)).size, held)
  const filters: readonly (readonly [string, (row: Row) => boolean])[] = [
    ['action=decline', ({ action }) => action === 'decline'],
    ['score_min=0.01&score_max=0.2', ({ score }) => score >= 0.01 && score <= 0.2],
    ['degraded=false', ({ degraded }) => !degraded],
    ['model=baseline@1', ({ model }) => model === 'baseline@1'],
    [`entity=${all[0].entities.terminal_id}`, ({ entities }) => entities.terminal_id === all[0].entities.terminal_id],
    [`entity=${all[0].entities.customer_id}`, ({ entities }) => entities.customer_id === all[0].entities.customer_id],
    [`since=${all[99].decided_at}`, ({ decided_at: at }) => at >= all[99].decided_at],
    [`until=${all[99].decided_at}`, ({ decided_at: at }) => at < all[99].decided_at],
  ]
  for (const [query, holds] of filters) {
    const found = await walk(`decisions?limit=200&${query}`)
    t.same(
      found.map(({ decision_id: id }) => id),
      all.filter(holds).map(({ decision_id: id }) => id),
      query,
    )
  }
})

void t.test('one decision is found by its id and by its transaction, with what it was decided by', async (t) => {
  const { decisions } = await rig.ask('decisions?limit=1')
  const [row] = decisions
  const one = await rig.ask(`decisions/${row.decision_id}`)
  t.same([...Value.Errors(wire.DecisionDetail, one)], [])
  t.same(await rig.ask(`decisions/${row.transaction_id}`), one)
  t.equal(one.vector.find(({ feature }: { feature: string }) => feature === 'amount').feature, 'amount')
  t.equal(one.stages.length, 5)
  const customer = one.input.find(({ field }: { field: string }) => field === 'customer_id')
  t.equal(customer.masked, true)
  t.match(customer.value, /^m_[0-9a-f]{12}$/, 'a sensitive value is masked')
  const terminal = one.input.find(({ field }: { field: string }) => field === 'terminal_id')
  t.equal(terminal.masked, false)
  await refused(t, 'decisions/no-such-thing', 404, 'ASSAY_DECISION_UNKNOWN')
  await refused(t, `decisions/d_${'a'.repeat(32)}`, 404, 'ASSAY_DECISION_UNKNOWN')
})

void t.test('what does not fit is refused with its code and its place, and nothing else is', async (t) => {
  const cases: readonly (readonly [string, string])[] = [
    ['decisions?actoin=decline', '/actoin'],
    ['decisions?action=refuse', '/action'],
    ['decisions?score_min=2', '/score_min'],
    ['decisions?since=yesterday', '/since'],
    ['decisions?limit=0', '/limit'],
    [`decisions?limit=${LIMITS.pageRowsMax + 1}`, '/limit'],
    ['decisions?limit=1&limit=2', '/limit'],
    ['decisions?after=nowhere', '/after'],
    ['decisions?degraded=perhaps', '/degraded'],
    ['decisions?format=xml', '/format'],
    ['summary?x=1', '/x'],
    ['stream?events=rumour', '/events'],
    [`decisions?entity=${'x'.repeat(257)}`, '/entity'],
  ]
  for (const [path, place] of cases) {
    const { errors } = await refused(t, path, 400, 'ASSAY_SCHEMA_INVALID')
    t.ok(errors?.some((fault: { path: string }) => fault.path === place) ?? place === '/after', `${path}: ${place}`)
  }
  await refused(t, 'nothing', 404, 'ASSAY_ROUTE_UNKNOWN')
  await refused(t, 'drift/no_such_feature', 404, 'ASSAY_ROUTE_UNKNOWN')
  await refused(t, 'shadow/nobody@1', 404, 'ASSAY_ROUTE_UNKNOWN')
  await refused(t, 'decisions/%E0%A4%A', 404, 'ASSAY_ROUTE_UNKNOWN')
  const posted = await fetch(`${rig.url}/api/v1/summary`, { method: 'POST', body: 'x' })
  t.equal(posted.status, 405)
  t.equal(posted.headers.get('allow'), 'GET, HEAD')
  const foreign = await raw(rig.url, { path: '/api/v1/summary', headers: { host: 'evil.example' } })
  t.equal(foreign.status, 404, 'a foreign Host is not served')
  const many = 'decisions?since=2016-01-01T00:00:00Z&until=2026-01-01T00:00:00Z'
  t.same((await rig.ask(many)).decisions, [], 'ten years are a question like any other')
})

void t.test('answers forbid other origins, frames and sniffing', async (t) => {
  const answer = await fetch(`${rig.url}/api/v1/summary`, { headers: { origin: 'http://evil.example' } })
  t.equal(answer.headers.get('access-control-allow-origin'), null)
  for (const { headers } of [answer, await fetch(rig.url), await fetch(`${rig.url}/console/main.js`)]) {
    const policy = headers.get('content-security-policy') ?? ''
    t.match(policy, /default-src 'none'.*frame-ancestors 'none'/)
    t.match(policy, /script-src 'self';.*connect-src 'self';.*form-action 'none'/)
    t.notMatch(policy, /unsafe|\*|http/, 'nothing inline, and nothing of another host')
    t.equal(headers.get('set-cookie'), null, 'there is nothing that a browser sends by itself')
  }
  t.equal(answer.headers.get('x-content-type-options'), 'nosniff')
  t.equal(answer.headers.get('cache-control'), 'no-store')
})

void t.test('a page of another site gets nothing of the API through a browser', async (t) => {
  const asked = (path: string, site?: string) =>
    raw(rig.url, { path, headers: site === undefined ? {} : { 'sec-fetch-site': site } })
  for (const site of ['cross-site', 'same-site']) {
    for (const path of ['/api/v1/summary', '/api/v1/decisions?format=csv', '/api/v1/stream'])
      t.match(await asked(path, site), { status: 403, code: 'ASSAY_ORIGIN_REFUSED' }, `${site} ${path}`)
    t.equal((await asked('/', site)).status, 200, 'a link to the console may be followed')
  }
  for (const site of ['same-origin', 'none', undefined]) t.equal((await asked('/api/v1/summary', site)).status, 200)
})

void t.test('tables come as CSV, and no cell of theirs is a formula', async (t) => {
  const answer = await fetch(`${rig.url}/api/v1/decisions?format=csv&limit=7`)
  t.match(answer.headers.get('content-type'), /text\/csv/)
  const [head, ...lines] = (await answer.text()).trimEnd().split('\r\n')
  t.match(head, /^decision_id,transaction_id,decided_at,.*entities\.terminal_id/)
  t.equal(lines.length, 7)
  t.ok(answer.headers.get('assay-next'), 'where the next page begins')
  for (const path of [
    'drift',
    'drift/amount',
    'shadow',
    'shadow/fraud-xgb@1',
    'audit',
    'alerts',
    'health',
    'summary',
  ]) {
    t.equal((await fetch(`${rig.url}/api/v1/${path}?format=csv`)).status, 200, path)
  }
  await refused(t, `decisions/${'d_'.padEnd(34, 'a')}?format=csv`, 400, 'ASSAY_SCHEMA_INVALID')
  const text = toCsv([{ a: '=1+1', b: { c: 'x,"y"' }, d: [1, 2], e: null }])
  t.equal(text, 'a,b.c,d,e\r\n\'=1+1,"x,""y""",1 2,\r\n')
})

void t.test('the OpenAPI document names what is served, and only that', async (t) => {
  const document = (await (await fetch(`${rig.url}/openapi.json`)).json()) as { paths: Record<string, object> }
  const parameters: Record<string, string> = { id: 'x', feature: 'amount', model: 'fraud-xgb@1' }
  for (const path of Object.keys(document.paths)) {
    const address = path.replace(/\{(\w+)\}/, (_, name: string) => parameters[name])
    const answer = await raw(rig.url, { path: address, method: 'HEAD' })
    t.ok(address.endsWith('/x') ? answer.status === 404 : answer.status === 200, `${path}: ${answer.status}`)
  }
  t.equal((await fetch(`${rig.url}/api/v1/health`)).status, 200)
  const metrics = await (await fetch(`${rig.url}/metrics`)).text()
  t.match(metrics, /^assay_governance_lag_records \d+$/m)
  t.match(metrics, /^assay_governance_lag_seconds /m)
  t.equal((await fetch(`${rig.url}/livez`)).status, 200)
  t.equal((await fetch(`${rig.url}/readyz`)).status, 200)
})

void t.test('health says how long the disks last, and where the configuration is not what decided', async (t) => {
  const health = await rig.ask('health')
  t.ok(health.disk_hours_left > 1, `${health.disk_hours_left} hours`)
  t.same(health.policy_differences, [])
  const { deadline_ms: deadline } = rig.config.policy.budgets
  rig.config.policy.budgets.deadline_ms = deadline + 1
  await rig.stop()
  rig.config.process.log.disk_bytes_max = 1
  await rig.restart()
  await rig.caughtUp()
  t.match(await rig.ask('health'), { disk_hours_left: 0, policy_differences: ['/budgets/deadline_ms'] })
  await rig.stop()
  rig.config.policy.budgets.deadline_ms = deadline
  rig.config.process.log.disk_bytes_max = 2 ** 36
  await rig.restart()
})

void t.test('with a tokens file only viewers and operators read; the page and the probes stay open', async (t) => {
  const file = join(rig.dataDir, 'tokens.json')
  const key = (name: string, role?: string, rest: object = {}) => {
    const sha256 = createHash('sha256').update(name).digest('hex')
    return { name, sha256, ...(role !== undefined && { role }), ...rest }
  }
  const keys = [key('eye', 'viewer'), key('hand', 'operator'), key('till', 'scorer'), key('bare')]
  keys.push(key('seal', 'approver'), key('past', 'viewer', { expires_at: '2026-01-01T00:00:00Z' }))
  writeFileSync(file, JSON.stringify({ keys }))
  await rig.stop()
  rig.config.process.governance.tokens_file = file
  await rig.restart()
  await until(() => rig.sidecar().facts().ready, 'the store is open')
  const metricsText = async (): Promise<string> => (await fetch(`${rig.url}/metrics`)).text()
  const status = async (token: string | null, path = '/api/v1/summary'): Promise<number> => {
    const headers: Record<string, string> = token === null ? {} : { authorization: `Bearer ${token}` }
    return (await fetch(rig.url + path, { headers })).status
  }
  t.equal(await status(null), 401)
  t.equal(await status('guess'), 401)
  t.equal(await status('x'.repeat(600)), 401)
  t.equal(await status('till'), 403)
  t.equal(await status('bare'), 403, 'a token without a role opens nothing')
  t.equal(await status('eye'), 200)
  t.equal(await status('hand'), 200)
  t.equal(await status('seal'), 200)
  t.equal(await status(null, '/api/v1/stream'), 401)
  for (const path of ['/', '/metrics', '/livez', '/readyz', '/openapi.json'])
    t.equal(await status(null, path), 200, path)
  const body = await (await fetch(`${rig.url}/api/v1/summary`, { headers: { authorization: 'Bearer till' } })).json()
  t.match(body, { code: 'ASSAY_ROLE_REFUSED' })
  const past = await fetch(`${rig.url}/api/v1/summary`, { headers: { authorization: 'Bearer past' } })
  t.match(await past.json(), { code: 'ASSAY_KEY_EXPIRED', status: 401 })
  t.match(past.headers.get('www-authenticate'), /invalid_token/)
  // A stream ends with its token: whoever was let in does not stay for ever.
  const stream = await fetch(`${rig.url}/api/v1/stream`, { headers: { authorization: 'Bearer eye' } })
  t.equal(stream.status, 200)
  writeFileSync(file, JSON.stringify({ keys: [key('next', 'viewer')] }))
  await until(async () => (await status('next')) === 200, 'the new token reads')
  t.equal(await status('eye'), 401, 'the one before it does not')
  await rig.traffic('--rate', '5', '--for', '1s')
  await stream.text()
  writeFileSync(file, 'keys: [')
  await until(async () => /assay_keys_stale\{listener="governance"\} 1/.test(await metricsText()), 'it is told of')
  t.equal(await status('next'), 200, 'what is not valid changes nothing')
  await rig.stop()
  rig.config.process.governance.tokens_file = null
  await rig.restart()
})

void t.test('while the store cannot be used, health says why and the rest says that it is not ready', async (t) => {
  await rig.stop()
  rig.config.process.governance.disk_free_bytes_min = Number.MAX_SAFE_INTEGER
  await rig.restart()
  await until(() => rig.sidecar().facts().state === 'paused', 'it pauses')
  await refused(t, 'summary', 503, 'ASSAY_NOT_READY')
  const health = await rig.ask('health')
  t.equal(health.ready, false)
  t.match(health.reasons[0], /disk_free_bytes_min/)
  t.same([...Value.Errors(wire.Health, health)], [])
  const ready = await fetch(`${rig.url}/readyz`)
  t.equal(ready.status, 503)
  t.match(await ready.json(), { code: 'ASSAY_NOT_READY', ready: false })
  await rig.stop()
  rig.config.process.governance.disk_free_bytes_min = 0
  await rig.restart()
  await rig.caughtUp()
  t.equal((await rig.ask('health')).ready, true)
})

void t.test(
  'queries beyond what runs and waits are refused, and one that takes too long keeps its place',
  async (t) => {
    const queue = createQueue({ running: 1, waiting: 1, timeoutMs: 50 })
    let finish: (text: string) => void = () => undefined
    const slow = queue(() => new Promise<string>((resolve) => (finish = resolve)))
    let started = false
    const next = queue(() => {
      started = true
      return Promise.resolve('next')
    })
    const code = (error: unknown): string => (error instanceof AssayError ? error.code : String(error))
    t.equal(await queue(() => Promise.resolve('third')).catch(code), 'ASSAY_OVERLOADED')
    t.equal(await slow.catch(code), 'ASSAY_OVERLOADED', 'too slow')
    t.equal(started, false, 'its place is still taken')
    finish('done')
    t.equal(await next, 'next')
  },
)

type Asserts = Pick<typeof t, 'equal' | 'ok'>

interface Row {
  readonly decision_id: string
  readonly decided_at: string
  readonly action: string
  readonly score: number
  readonly degraded: boolean
  readonly model: string
  readonly entities: { readonly terminal_id: string; readonly customer_id: string }
}

/** All pages. */
async function walk(path: string): Promise<Row[]> {
  const rows: Row[] = []
  for (let after = ''; ;) {
    const page = await rig.ask(`${path}${after}`)
    rows.push(...page.decisions)
    if (page.next === null) return rows
    after = `&after=${page.next}`
  }
}

async function refused(t: Asserts, path: string, status: number, code: string) {
  const answer = await fetch(`${rig.url}/api/v1/${path}`)
  const body = await answer.json()
  t.equal(answer.status, status, path)
  t.equal(answer.headers.get('content-type'), 'application/problem+json', path)
  t.equal((body as { code: string }).code, code, path)
  t.ok(Value.Check(Problem, body), path)
  return body as { errors?: { path: string }[] }
}

interface Asked {
  readonly path: string
  readonly method?: string
  readonly headers?: Record<string, string>
}

/** Without a client that corrects addresses and Host; a stream is let go once it answers. */
function raw(url: string, { path, method = 'GET', headers = {} }: Asked): Promise<{ status: number; code?: string }> {
  return new Promise((resolve, reject) => {
    const sent = request(new URL(url), { path, method, headers }, (response) => {
      const status = response.statusCode ?? 0
      const isProblem = response.headers['content-type'] === 'application/problem+json'
      // A stream has no end to wait for.
      if (!isProblem) {
        resolve({ status })
        response.destroy()
        return
      }
      let text = ''
      response.on('data', (chunk: Buffer) => (text += chunk.toString()))
      response.on('end', () => resolve({ status, ...(text !== '' && (JSON.parse(text) as { code: string })) }))
    })
    sent.on('error', reject)
    sent.end()
  })
}
