// Bad input against a whole server: each piece is a 4xx with a code and a place, nothing is logged, no state moves, and
// a good transaction is scored afterwards. Then senders that are slow or gone, framing that is no HTTP, and a fuzz
// over bytes and headers whose seed is printed.
import { once } from 'node:events'
import fc from 'fast-check'
import t from 'tap'
import { openRaw, post, type Raw } from '../scoring/http-raw.js'
import { badCases, goodTransaction } from './bad-input-cases.js'
import { verifyWithReplay } from './kill-verify.js'
import { readLog, type Rig, startRig, until } from './server-rig.js'

const SEED = Number(process.env['FUZZ_SEED'] ?? Date.now() % 2 ** 31)
t.comment(`FUZZ_SEED=${SEED}`)
t.setTimeout(110_000)

/** A busy machine must not turn an answer into a 503: what is tested here is not time. */
const rig = await startRig({
  limits: { bodyTimeoutMs: 400 },
  edit: ({ policy }) => Object.assign(policy.budgets, { deadline_ms: 5_000, log_wait_ms: 20_000 }),
})
const port = Number(new URL(rig.server.scoreUrl).port)
/** Ids that were answered 200 or 202 and so must be all that the log holds. */
const scored = new Set<string>()

t.teardown(() => rig.remove())

interface ShownProblem {
  readonly code: string
  readonly status: number
  readonly errors?: readonly { readonly path: string; readonly message: string }[]
}

/** Everything that a decision moves: windows, the index, the counters, the log. */
async function stateOf(from: Rig): Promise<object> {
  const { body } = await from.operations('/v1/status')
  const { features, idempotency, decisions, degraded, lost, pending } = body as Record<string, unknown>
  const appended = [...(await from.metric('assay_log_appended_total'))]
  const counted = [...(await from.metric('assay_decisions_total'))]
  return { features, idempotency, decisions, degraded, lost, pending, appended, counted }
}

async function scoreGood(id: string): Promise<void> {
  const { status, text } = await rig.score(goodTransaction(id))
  t.equal(status, 200, `a good transaction is scored: ${text}`)
  scored.add(id)
}

const lines: Raw[] = []
/** One kept connection for all that leaves it open. */
async function line(): Promise<Raw> {
  const held = lines.at(-1)
  if (held !== undefined && !held.socket.destroyed && held.socket.readable) return held
  const opened = await openRaw(port)
  lines.push(opened)
  return opened
}

async function send(path: string, body: string | Uint8Array, headers: Readonly<Record<string, string>>) {
  const raw = await line()
  const length = { 'Content-Length': String(Buffer.byteLength(body)) }
  raw.write(Buffer.concat([Buffer.from(post(path, '', { ...length, ...headers })), Buffer.from(body)]))
  return raw.next()
}

void t.test('bad input is a 4xx that names code and place, and leaves no trace', async (t) => {
  await scoreGood('good-1')
  const before = await stateOf(rig)
  for (const { name, path, body, headers, status, code, at } of badCases(rig.config.policy.schema)) {
    const answer = await send(path, body, headers)
    const problem = JSON.parse(answer.body) as ShownProblem
    const told = { status: answer.status, code: problem.code, at: problem.errors?.[0]?.path }
    t.same(told, { status, code, at }, name)
    t.equal(problem.status, status)
    t.equal(answer.headers['content-type'], 'application/problem+json')
    t.notMatch(answer.body, /4111/, 'no card number is repeated')
  }
  t.same(await stateOf(rig), before, 'no window, no index, no counter and no log has moved')
  t.equal(lines.length, 1, 'and all came over one connection')
  await scoreGood('good-2')
})

void t.test('methods that an address does not take are told which it takes', async (t) => {
  const before = await stateOf(rig)
  const raw = await line()
  for (const method of ['OPTIONS', 'PUT', 'DELETE', 'PATCH', 'TRACE', 'GET']) {
    raw.write(`${method} /v1/score HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}`)
    const answer = await raw.next()
    t.match(answer, { status: 405, headers: { allow: 'POST' }, body: /ASSAY_METHOD_REFUSED/ }, method)
  }
  raw.write('HEAD /v1/score HTTP/1.1\r\nHost: h\r\n\r\n')
  t.match(await raw.nextHead(), { status: 405, headers: { allow: 'POST' } })
  for (const path of ['/v1/decisions/d_x', '/v1/decisions?transaction_id=never', '/v1/nothing']) {
    t.equal((await rig.get(path)).status, 404, path)
  }
  t.equal((await rig.get('/v1/decisions')).status, 400)
  t.same(await stateOf(rig), before)
})

void t.test('senders that are slow, gone or speak no HTTP cost nobody anything', async (t) => {
  const before = await stateOf(rig)
  const head = post('/v1/score', '', { 'Content-Length': '200' })
  const half = head + JSON.stringify(goodTransaction('slow')).slice(0, 50)
  for (const start of [head, half, post('/v1/score', '').replace('Content-Length: 0', 'Transfer-Encoding: chunked')]) {
    const slow = await openRaw(port)
    slow.write(start)
    t.match(await slow.next(), { status: 408, headers: { connection: 'close' }, body: /ASSAY_BODY_TIMEOUT.*"path":""/ })
    await slow.closed()
    const gone = await openRaw(port)
    gone.write(start)
    gone.socket.resetAndDestroy()
    await once(gone.socket, 'close')
  }
  const good = JSON.stringify(goodTransaction('framed'))
  const framed = (headers: string, body: string) =>
    `POST /v1/score HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n${headers}\r\n\r\n${body}`
  for (const [name, bytes] of [
    ['both lengths', framed(`Content-Length: 5\r\nTransfer-Encoding: chunked`, `0\r\n\r\n`)],
    ['a length below nothing', framed('Content-Length: -1', good)],
    ['a length that is a word', framed('Content-Length: all', good)],
    ['a chunk that is a word', framed('Transfer-Encoding: chunked', `all\r\n${good}\r\n0\r\n\r\n`)],
    ['a header without a colon', framed('Nonsense', good)],
    ['a name with a blank', framed('A b: c', good)],
    ['no version', 'POST /v1/score\r\n\r\n'],
    ['TLS', Buffer.from([0x16, 3, 1, 0, 5, 1, 0, 0, 1, 3, 13, 10, 13, 10])],
    ['noise', Buffer.alloc(200_000, 'x')],
  ] as const) {
    const raw = await openRaw(port)
    raw.write(bytes)
    raw.socket.end()
    const answer = await raw.next().catch(() => null)
    t.ok(answer === null || (answer.status >= 400 && answer.status < 500), `${name}: ${answer?.status ?? 'closed'}`)
    raw.destroy()
  }
  t.same(await stateOf(rig), before)
  await scoreGood('good-3')
})

void t.test('a batch answers in order, each row with its own status; labels are one or many', async (t) => {
  const rows = [
    goodTransaction('row-1'),
    { ...goodTransaction('row-2'), currency: 'XTS' },
    7,
    goodTransaction('row-3'),
    { ...goodTransaction('row-4'), customer_id: '4111 1111 1111 1111' },
  ]
  const repeated = { ...goodTransaction('good-1'), amount_minor: 1 }
  const { status, body } = await rig.send('/v1/score/batch', { transactions: [...rows, repeated, rows[0]] })
  t.equal(status, 200)
  const shown = body as { status: number; replayed?: boolean; body: { transaction_id?: string; code?: string } }[]
  t.same(
    shown.map((row) => [row.status, row.body.transaction_id ?? row.body.code, row.replayed ?? false]),
    [
      [200, 'row-1', false],
      [422, 'ASSAY_CURRENCY_UNLISTED', false],
      [400, 'ASSAY_SCHEMA_INVALID', false],
      [200, 'row-3', false],
      [422, 'ASSAY_CARD_DATA_REFUSED', false],
      [422, 'ASSAY_TRANSACTION_REUSED', false],
      [200, 'row-1', true],
    ],
  )
  for (const id of ['row-1', 'row-3']) scored.add(id)
  const label = (id: string) => ({ transaction_id: id, fraud: true, source: 'test', known_at: Date.now() - 500 })
  t.match(await rig.send('/v1/labels', label('row-1')), { status: 202, body: { accepted: 1, logged: 'synced' } })
  t.match(await rig.send('/v1/labels', [label('row-3'), label('unseen')]), { status: 202, body: { accepted: 2 } })
  t.match(await rig.send('/v1/labels', { labels: [label('good-1')] }), { status: 202, body: { accepted: 1 } })
})

/** Changes of a body: bytes replaced, left out or put in, anywhere. */
const edits = fc.array(
  fc.record({
    at: fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
    cut: fc.nat(8),
    put: fc.oneof(
      fc.uint8Array({ maxLength: 8 }),
      fc
        .constantFrom('NaN', '1e400', '\\u0000', '"', '{', ']', ',', '\ufeff', '-', '\\')
        .map((put) => Buffer.from(put)),
    ),
  }),
  { minLength: 1, maxLength: 4 },
)

function edited(text: string, changes: readonly { at: number; cut: number; put: Uint8Array }[]): Buffer {
  let bytes = Buffer.from(text)
  for (const { at, cut, put } of changes) {
    const from = Math.floor(at * bytes.length)
    bytes = Buffer.concat([bytes.subarray(0, from), put, bytes.subarray(from + cut)])
  }
  return bytes
}

void t.test('whatever the bytes and headers are, the answer is a decision or a 4xx', async (t) => {
  const headerValue = fc.string({
    unit: fc.constantFrom(...' !"*,-./0123456789:;=Aadegijlnopstuvz~\t\xff'),
    maxLength: 24,
  })
  const headers = fc.dictionary(
    fc.constantFrom('Assay-Mode', 'Assay-Timeout-Ms', 'traceparent', 'Content-Type', 'Idempotency-Key', 'Expect'),
    headerValue,
    { maxKeys: 2 },
  )
  const path = fc.constantFrom('/v1/score', '/v1/score', '/v1/score/batch')
  let count = 0
  let refused = 0
  const property = fc.asyncProperty(edits, headers, path, async (changes, more, target) => {
    const good = JSON.stringify(goodTransaction(`fuzz-${count++}`))
    const body = edited(target === '/v1/score' ? good : `{"transactions":[${good}]}`, changes)
    const answer = await send(target, body, more)
    if (answer.status === 200 || answer.status === 202) note(answer.body)
    else if (answer.status >= 400 && answer.status < 500) refused += 1
    else throw new Error(`${answer.status} ${answer.body} for ${body.toString('latin1')}`)
  })
  await fc.assert(property, { seed: SEED, numRuns: 3_000, interruptAfterTimeLimit: 6_000, endOnFailure: true })
  t.ok(refused > 0, `${refused} of ${count} were refused`)
  await scoreGood('good-4')
})

/** Notes what was decided, or observed, in one answer or in the rows of a batch. */
function note(body: string): void {
  const value = JSON.parse(body) as { transaction_id?: string; status?: number; body?: object } | object[]
  if (Array.isArray(value)) return value.forEach((row) => note(JSON.stringify(row)))
  if (value.transaction_id !== undefined) scored.add(value.transaction_id)
  else if (value.body !== undefined && (value.status ?? 500) < 300) note(JSON.stringify(value.body))
  else if ((value.status ?? 500) >= 500) throw new Error(`a row was answered ${body}`)
}

void t.test('the log holds what was answered with a decision and nothing else', async (t) => {
  const faults = rig.events.filter(({ name }) => name === 'RequestFailed')
  t.same(faults, [], 'no handler threw')
  for (const raw of lines) raw.destroy()
  await until(async () => (await rig.metric('assay_log_appended_total')).size > 0, 'the metrics still answer')
  await rig.stop()
  const logged = (await readLog(rig.logDir)).decisions.map(({ personal }) => personal.transaction.transactionId)
  t.same(logged.sort(), [...scored].sort())
  const verified = await verifyWithReplay(rig.dataDir)
  t.equal(verified.code, 0, verified.output)
})
