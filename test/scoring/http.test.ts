// The listeners by their contract: routes, headers, keys, batches, bad input, probes, expositions.
// Requests are written as bytes and answers read as bytes, so that nothing is hidden by a client library.
import { createHash } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { createGuard } from '../../src/access/guard.js'
import { holdKeys } from '../../src/access/held-keys.js'
import type { Refusal } from '../../src/access/ledger.js'
import { parseJson } from '../../src/contract/json.js'
import { createMetrics } from '../../src/telemetry/metrics.js'
import { LIMITS, TINY } from '../../src/limits.js'
import { systemClock } from '../../src/runtime/clock.js'
import { createAdmit } from '../../src/scoring/transport/http/auth.js'
import { loadBinding } from '../../src/scoring/transport/http/binding.js'
import { createOperationsListener } from '../../src/scoring/transport/http/operations-listener.js'
import { ask, get, openRaw, post } from './http-raw.js'
import { binding, openRig, sample } from './http-rig.js'

const problem = (body: string): { code: string; status: number; errors?: { path: string }[] } =>
  JSON.parse(body) as { code: string; status: number; errors?: { path: string }[] }

void t.test('a binding that does not load is named with its reason, and the start fails', (t) => {
  t.throws(() => loadBinding(['not-there', 'node:path']), {
    code: 'ASSAY_BINDING_MISSING',
    message: /not-there.*node:path/,
  })
  t.match(binding.name, /uws|uwebsockets/i)
  t.end()
})

void t.test('a transaction is answered, now or later, and the connection serves the next', async (t) => {
  const rig = await openRig()
  const raw = await openRaw(rig.port)
  for (const timing of ['now', 'later'] as const) {
    rig.timing = timing
    raw.write(post('/v1/score', sample(timing)))
    const answer = await raw.next()
    t.equal(answer.status, 200)
    t.equal(answer.headers['content-type'], 'application/json')
    t.match(JSON.parse(answer.body), { transaction_id: timing })
  }
  raw.write(post('/v1/score', sample('now')))
  t.equal((await raw.next()).headers['idempotent-replayed'], 'true')
  raw.write(get('/v1/decisions/d_now'))
  t.match(await raw.next(), { status: 200, body: /"transaction_id":"now"/ })
  raw.write(get('/v1/decisions?transaction_id=later'))
  t.match(await raw.next(), { status: 200, body: /"transaction_id":"later"/ })
  raw.write(get('/v1/decisions/d_never'))
  t.equal(problem((await raw.next()).body).code, 'ASSAY_DECISION_UNKNOWN')
  raw.write(get('/v1/decisions'))
  t.match(problem((await raw.next()).body), { code: 'ASSAY_SCHEMA_INVALID', errors: [{ path: '/transaction_id' }] })
  raw.write(get('/openapi.json'))
  t.equal((await raw.next()).body, '{"openapi":"3.1.0"}')
  raw.write(post('/v1/labels', '[{},{}]'))
  t.match(await raw.next(), { status: 202, body: '{"labels":2}' })
  raw.write(post('/v1/score', 'x', { 'Content-Type': 'avro/binary' }))
  t.match(await raw.next(), { status: 200, body: /from-avro/ })
  raw.destroy()
  await rig.listener.close(1000)
})

void t.test('headers choose mode, deadline and trace; bad ones are refused with their path', async (t) => {
  const rig = await openRig()
  const trace = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'
  const score = (headers: Record<string, string>) => ask(rig.port, post('/v1/score', sample('h'), headers))
  t.equal((await score({ 'Assay-Mode': 'observe', traceparent: trace, 'Assay-Timeout-Ms': '3' })).status, 202)
  t.match(rig.accepted.at(-1)?.exchange, { mode: 'observe', traceparent: trace, deadlineMs: 3, source: null })
  await score({ 'Assay-Timeout-Ms': '9000', traceparent: 'nonsense', 'Idempotency-Key': 'k' })
  t.match(rig.accepted.at(-1)?.exchange, { mode: 'decide', traceparent: null, deadlineMs: 8 })
  for (const [name, value] of [
    ['Assay-Mode', 'guess'],
    ['Assay-Timeout-Ms', '-1'],
    ['Assay-Timeout-Ms', '0'],
    ['Assay-Timeout-Ms', 'soon'],
    ['Assay-Timeout-Ms', '2.5'],
    ['Assay-Timeout-Ms', '1e9'],
  ] as const) {
    const answer = await score({ [name]: value })
    t.equal(answer.headers['content-type'], 'application/problem+json')
    t.match(problem(answer.body), {
      status: 400,
      code: 'ASSAY_HEADER_INVALID',
      errors: [{ path: `/headers/${name.toLowerCase()}` }],
    })
  }
  t.equal(rig.rejected.length, 6)
  await rig.listener.close(1000)
})

void t.test('unknown addresses, methods and media types have an answer, and the connection lives', async (t) => {
  const rig = await openRig()
  const raw = await openRaw(rig.port)
  raw.write(get('/nothing'))
  t.match(problem((await raw.next()).body), { status: 404, code: 'ASSAY_ROUTE_UNKNOWN' })
  raw.write('DELETE /v1/score HTTP/1.1\r\nHost: h\r\n\r\n')
  const refused = await raw.next()
  t.equal(refused.headers['allow'], 'POST')
  t.match(problem(refused.body), { status: 405, code: 'ASSAY_METHOD_REFUSED' })
  raw.write(post('/v1/decisions/d_1', '{}'))
  t.equal((await raw.next()).headers['allow'], 'GET')
  raw.write(post('/v1/score', sample('m'), { 'Content-Type': 'text/plain' }))
  t.match(problem((await raw.next()).body), { status: 415, code: 'ASSAY_MEDIA_TYPE_REFUSED' })
  raw.write(post('/v1/labels', '{}', { 'Content-Type': 'avro/binary' }))
  t.equal((await raw.next()).status, 415)
  raw.write(post('/v1/score', sample('m'), { 'Content-Type': 'Application/JSON; charset=utf-8' }))
  t.equal((await raw.next()).status, 200)
  raw.destroy()
  await rig.listener.close(1000)
})

void t.test('keys are checked from the headers, before the gate and the body', async (t) => {
  const key = (name: string, expires_at?: string) => {
    const sha256 = createHash('sha256').update(name).digest('hex')
    return { name, sha256, ...(expires_at !== undefined && { expires_at }) }
  }
  const file = join(t.testdir({}), 'keys.json')
  writeFileSync(file, JSON.stringify({ keys: [key('other'), key('secret'), key('old', '2026-01-01T00:00:00Z')] }))
  const keys = holdKeys(file, { clock: systemClock, limits: LIMITS, onRead: () => t.fail('nothing changes') })
  const deps = { clock: systemClock, limits: LIMITS }
  const denied: Refusal[] = []
  const rig = await openRig({ admit: createAdmit(createGuard(keys, deps), (refusal) => denied.push(refusal)) })
  rig.gate = 'ASSAY_OVERLOADED'
  const score = (headers: Record<string, string>) => ask(rig.port, post('/v1/score', sample('k'), headers))
  for (const headers of [
    {},
    { 'X-API-Key': 'wrong' },
    { Authorization: 'Basic secret' },
    { 'X-API-Key': 'x'.repeat(600) },
  ]) {
    const answer = await score(headers as Record<string, string>)
    t.match(problem(answer.body), { status: 401, code: 'ASSAY_UNAUTHENTICATED' })
    t.equal(answer.headers['www-authenticate'], 'Bearer')
  }
  const expired = await score({ 'X-API-Key': 'old' })
  t.match(problem(expired.body), { status: 401, code: 'ASSAY_KEY_EXPIRED' })
  t.match(expired.headers['www-authenticate'], /invalid_token/)
  t.equal((await ask(rig.port, get('/v1/decisions/d_1'))).status, 401)
  t.match(denied, [
    ...Array.from({ length: 4 }, () => ({ code: 'ASSAY_UNAUTHENTICATED', actor: null, act: 'POST /v1/score' })),
    { code: 'ASSAY_KEY_EXPIRED', actor: 'old' },
    { act: 'GET /v1/decisions', remoteAddress: '127.0.0.1' },
  ])
  t.equal((await score({ 'X-API-Key': 'secret' })).status, 503)
  rig.gate = null
  t.equal((await score({ 'X-API-Key': 'secret' })).status, 200)
  t.equal((await score({ Authorization: 'Bearer secret' })).status, 200)
  keys.close()
  await rig.listener.close(1000)
})

void t.test('a batch answers each row in order with its own status', async (t) => {
  const rig = await openRig()
  rig.timing = 'later'
  const batch = (text: string) => ask(rig.port, post('/v1/score/batch', text))
  const answer = await batch(`{"transactions":[${sample('b1')},{"transaction_id":7},${sample('b2')}]}`)
  t.equal(answer.status, 200)
  t.match(JSON.parse(answer.body), [
    { status: 200, body: { transaction_id: 'b1' } },
    { status: 400, body: { code: 'ASSAY_SCHEMA_INVALID' } },
    { status: 200, body: { transaction_id: 'b2' } },
  ])
  t.match(JSON.parse((await batch(`{"transactions":[${sample('b1')}]}`)).body), [{ replayed: true }])
  for (const [text, path] of [
    ['[]', ''],
    ['{}', '/transactions'],
    ['{"transactions":{}}', '/transactions'],
    ['{"transactions":[]}', '/transactions'],
    ['{"transactions":[1],"more":1}', ''],
    [
      `{"transactions":[${Array(TINY.batchRowsMax + 1)
        .fill('1')
        .join(',')}]}`,
      '/transactions',
    ],
  ] as const) {
    t.match(problem((await batch(text)).body), { status: 400, code: 'ASSAY_SCHEMA_INVALID', errors: [{ path }] })
  }
  t.equal(problem((await batch('{"transactions":[')).body).code, 'ASSAY_BODY_MALFORMED')
  await rig.listener.close(1000)
})

void t.test('bad input is a 4xx with code and path, and never reaches the pipeline as a transaction', async (t) => {
  const rig = await openRig()
  const bodies: (string | Buffer)[] = [
    '',
    '{',
    'null',
    '[]',
    '"text"',
    '{}',
    sample('x').slice(0, -1),
    sample('x', { amount_minor: 'much' }),
    sample('x').replace('16364', 'NaN'),
    sample('x').replace('16364', '1e400'),
    sample('x', { amount_minor: 1e30 }),
    sample('x', { amount_minor: -1 }),
    sample('x', { occurred_at: '2026-02-30T00:00:00Z' }),
    sample('x', { occurred_at: 1e300 }),
    sample('x', { unknown: 1 }),
    sample('x', { customer_id: { deep: 1 } }),
    sample('x').replace('{', '{"transaction_id":"y",'),
    '['.repeat(1000) + ']'.repeat(1000),
    sample('x', { customer_id: 'ÿ'.repeat(200) }),
    Buffer.concat([Buffer.from('{"transaction_id":"'), Buffer.from([0xff, 0xc0]), Buffer.from('"}')]),
    Buffer.from([0, 1, 2, 3]),
    sample('x', { customer_id: undefined, note: '4111 1111 1111 1111' }),
  ]
  for (const body of bodies) {
    const head = post('/v1/score', '', { 'Content-Length': String(Buffer.byteLength(body)) })
    const raw = await openRaw(rig.port)
    raw.write(head)
    raw.write(body)
    const answer = await raw.next()
    const { code, errors } = problem(answer.body)
    t.ok(answer.status >= 400 && answer.status < 500, `${code} for ${String(body).slice(0, 60)}`)
    t.equal(typeof errors?.[0]?.path, 'string')
    raw.destroy()
  }
  t.same(rig.accepted, [])
  t.same(rig.faults, [])
  await rig.listener.close(1000)
})

void t.test('operations: probes, state and both expositions', async (t) => {
  const metrics = createMetrics(LIMITS)
  let ready = false
  const listener = await createOperationsListener(
    {
      uws: binding.uws,
      limits: TINY,
      clock: systemClock,
      scrape: (accept) => metrics.scrape(accept),
      readiness: () => ({ ready, reasons: ready ? ['customer_count_30d is cold'] : ['replaying the log: 10 %'] }),
      status: () => ({ uptime_s: 1 }),
      routes: () => ({ champion: 'm@1' }),
      policy: () => ({}),
      models: () => ({ models: [] }),
      audit: (limit) => ({ controls: [], limit }),
      changes: () => null,
      parseJson: (bytes) => parseJson(bytes, TINY),
      openApi: '{}',
      admit: null,
      onRefused: () => t.fail('nothing is changed here'),
      onRejected: () => undefined,
      onFault: (error) => t.fail(String(error)),
    },
    { host: '127.0.0.1', port: 0 },
  )
  const { port } = listener
  t.equal((await ask(port, get('/livez'))).status, 200)
  t.match(await ask(port, get('/readyz')), { status: 503, body: /replaying/ })
  ready = true
  t.match(await ask(port, get('/readyz')), { status: 200, body: /cold/ })
  t.match(await ask(port, get('/v1/status')), { status: 200, body: '{"uptime_s":1}' })
  t.match(await ask(port, get('/v1/routes')), { status: 200, body: /m@1/ })
  t.match(await ask(port, get('/v1/models')), { status: 200 })
  t.match(await ask(port, get('/metrics')), { status: 200, headers: { 'content-type': /^text\/plain/ } })
  const open = await ask(port, get('/metrics', { Accept: 'application/openmetrics-text; version=1.0.0' }))
  t.match(open.headers['content-type'], /^application\/openmetrics-text/)
  t.match(open.body, /# EOF\n$/)
  t.equal((await ask(port, post('/metrics', ''))).status, 405)
  await listener.close(1000)
  metrics.close()
})
