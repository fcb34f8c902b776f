// Traffic against a listener that answers as the contract says: what is sent, counted, labelled, and how it ends.
import { once } from 'node:events'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import t, { type Test } from 'tap'
import { createTally } from '../../src/simulate/tally.js'
import { trafficCommand } from '../../src/simulate/traffic-command.js'

type Json = Record<string, unknown>

interface Seen {
  readonly path: string
  readonly body: unknown
}

const object = (value: unknown): Json => (typeof value === 'object' && value !== null ? { ...value } : {})

/** A listener on a free port; `answer` gives status and body of each score. */
async function listen(t: Pick<Test, 'teardown'>, answer: (count: number) => [number, unknown]) {
  const seen: Seen[] = []
  let scored = 0
  const server: Server = createServer((request: IncomingMessage, response: ServerResponse) => {
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.on('end', () => {
      // The first request asks only whether anybody is there.
      if (request.method === 'GET') return void response.end('{}')
      const body: unknown = JSON.parse(Buffer.concat(chunks).toString())
      seen.push({ path: request.url ?? '', body })
      const [status, value] = request.url === '/v1/labels' ? [202, {}] : answer(scored++)
      response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(value))
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  const { port } = server.address() as AddressInfo
  return { seen, server, url: `http://127.0.0.1:${port}` }
}

const decision = (action: string, degraded = false): unknown => ({
  action,
  degraded,
  model: { name: 'm', role: 'champion' },
})

async function run(t: Pick<Test, 'capture'>, args: string[]) {
  const out = t.capture(process.stdout, 'write')
  const err = t.capture(process.stderr, 'write')
  const code = await trafficCommand(['--skip-days', '1', '--customers', '300', ...args, '--json'])
  const text = out.args().flat().join('')
  out.restore()
  const lines = err.args().flat().join('')
  err.restore()
  const summary = object(JSON.parse(text))
  return { code, summary, lines }
}

void t.test('a run sends at its rate, labels the frauds, counts the verdicts and ends with 0', async (t) => {
  const { seen, url } = await listen(t, (count) => [
    200,
    decision(count % 10 === 0 ? 'decline' : 'approve', count % 5 === 0),
  ])
  const args = ['--url', url, '--rate', '400', '--for', '2s', '--label-delay', '50ms']
  const { code, summary, lines } = await run(t, [...args, '--attack', '0.5', '--after', '1s'])
  t.equal(code, 0)
  const scores = seen.filter(({ path }) => path === '/v1/score').map(({ body }) => object(body))
  t.ok(Math.abs(scores.length - 800) <= 2, `${scores.length} sent of 800`)
  t.equal(summary.answered, scores.length)
  t.match(summary, { failed: 0, skipped: 0, reason: 'done', errors: {}, actions: { challenge: 0 }, degraded: Number })
  t.equal(new Set(scores.map((wire) => wire.transaction_id)).size, scores.length)
  const early = scores.slice(0, 380).filter((wire) => wire.terminal_id === 't5000').length
  const late = scores.slice(420).filter((wire) => wire.terminal_id === 't5000').length
  t.ok(early < 5 && late > 120, `the attack begins when told: ${early} before, ${late} after`)
  const labels = seen.filter(({ path }) => path === '/v1/labels').flatMap(({ body }) => body as object[])
  t.ok(labels.length > 50 && labels.length === object(summary.labels).sent)
  t.match(labels[0], { transaction_id: /^r/, fraud: true, source: 'chargeback', known_at: /Z$/, occurred_at: /Z$/ })
  t.ok(typeof summary.precision === 'number' && summary.precision > 0 && summary.precision < 1)
  t.match(lines, /^1s of 2s {2}\d+\/s p50 .* p99 .* ms \| approve .*% .* \| precision .* \| degraded \d+/)
})

void t.test('refusals are counted by their code and make the exit code 1', async (t) => {
  const { url } = await listen(t, (count) =>
    count % 2 === 0 ? [200, decision('approve')] : [503, { code: 'ASSAY_OVERLOADED' }],
  )
  const args = ['--url', url, '--rate', '100', '--for', '1s', '--label-delay', 'off']
  const { code, summary } = await run(t, args)
  t.equal(code, 1)
  t.match(summary, { answered: 50, failed: 50, errors: { ASSAY_OVERLOADED: 50 }, labels: { sent: 0 } })
  const tolerant = await run(t, [...args, '--errors-max', '0.5'])
  t.equal(tolerant.code, 0)
})

void t.test('without a server the command ends at once with a code and sends nothing', async (t) => {
  const { server, url } = await listen(t, () => [200, {}])
  server.close()
  await t.rejects(trafficCommand(['--url', url, '--skip-days', '0']), { code: 'ASSAY_SERVER_UNREACHABLE' })
})

void t.test('a server that goes away is an error of each transaction, not a crash', async (t) => {
  const { server, url } = await listen(t, (count) => {
    if (count === 9) setImmediate(() => void server.close().closeAllConnections())
    return [200, decision('approve')]
  })
  const { code, summary } = await run(t, ['--url', url, '--rate', '50', '--for', '1s'])
  t.equal(code, 1)
  t.match(summary, { errors: { ECONNREFUSED: Number } })
  t.ok(Number(summary.answered) >= 9 && Number(summary.answered) + Number(summary.failed) === 50)
})

void t.test('event time never passes the clock: the run ends there and says so', async (t) => {
  const { url } = await listen(t, () => [200, decision('approve')])
  const start = new Date(Date.now() + 86_400_000).toISOString()
  const { code, summary } = await run(t, ['--url', url, '--for', '5s', '--start', start, '--skip-days', '0'])
  t.equal(code, 1)
  t.match(summary, { reason: 'caught_up', answered: 0 })
})

void t.test('a bad command line is refused before anything is sent', async (t) => {
  const wrong = [['--rate', '0'], ['--for', '2d'], ['--for', 'x'], ['--url', 'ftp://x'], ['--spike', '2:x'], ['--what']]
  for (const args of wrong) await t.rejects(trafficCommand(args), { code: 'ASSAY_USAGE' })
  await t.rejects(trafficCommand(['--key-file', '/nowhere/key']), { code: 'ASSAY_INPUT_INVALID' })
})

void t.test('the tally tells decisions from other bodies and bounds the names it keeps', (t) => {
  const tally = createTally()
  const of = { fraud: true, latencyMs: 1 }
  tally.count(
    { status: 200, body: '{"action":"decline","degraded":true,"model":{"role":"baseline","name":"b"}}', failure: null },
    of,
  )
  tally.count({ status: 200, body: 'not json', failure: null }, of)
  for (let code = 0; code < 100; code++) tally.count({ status: 500, body: `{"code":"C${code}"}`, failure: null }, of)
  const summary = tally.summary()
  t.match(summary, { answered: 1, failed: 101, degraded: 1, precision: 1, recall: 1, models: { 'baseline b': 1 } })
  t.equal(Object.keys(summary.errors).length, 33)
  t.end()
})
