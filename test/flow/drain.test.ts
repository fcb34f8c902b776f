// SIGTERM under load, with a real server as a child process: no request that has a connection is cut, none is lost, the
// log ends clean. Connections are kept busy all the time, some of them with bodies that are still on their way when the
// signal comes; what a client was told is then compared with the log.
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { startServer, type RunningServer } from '../../bench/server.js'
import { verifyLog } from '../../src/decision-log/verify.js'
import { openRaw, post, type Raw } from '../scoring/http-raw.js'
import { QUICK_SERVE } from './quick.js'
import { answer, readLog, request, until } from './server-rig.js'

const CONNECTIONS = 32
const STARTED_MS = Date.now()
/** Replies before the signal: the server is warm and its log, lanes and windows are in use. */
const REPLIES_BEFORE = 500
/** A busy machine must not turn an answer into a 503: what is tested here is that each gets its answer, not when. */
const ENVIRONMENT = {
  ASSAY_POLICY__BUDGETS__DEADLINE_MS: '1000',
  ASSAY_POLICY__BUDGETS__LOG_WAIT_MS: '10000',
  ASSAY_PROCESS__DRAIN_MS: '30000',
}

function transaction(id: string): string {
  return JSON.stringify({
    transaction_id: id,
    occurred_at: STARTED_MS,
    amount_minor: 4200,
    currency: 'EUR',
    customer_id: `c${id.length}`,
    terminal_id: '5161',
  })
}

interface Load {
  /** transaction_id → its decision_id, of every request answered 200. */
  readonly told: Map<string, string>
  readonly findings: string[]
  /** Requests written and not answered. */
  out: number
  /** Requests that the gate refused as too many for the machine. */
  overloaded: number
  /** Connections that the server has closed, each after an answer that said so. */
  closed: number
}

/** Keeps every connection busy until an answer says that it ends; one that ends before its answer is a finding. */
async function startLoad(port: number): Promise<Load> {
  const load: Load = { told: new Map(), findings: [], out: 0, overloaded: 0, closed: 0 }
  let count = 0
  const keepBusy = async (raw: Raw): Promise<void> => {
    for (let closing = false; !closing;) {
      const id = `drain-${count++}`
      raw.write(post('/v1/score', transaction(id)))
      load.out += 1
      const { status, headers, body } = await raw.next()
      load.out -= 1
      const shown = JSON.parse(body) as { transaction_id?: string; decision_id?: string; code?: string }
      if (status === 200 && shown.transaction_id === id) load.told.set(id, shown.decision_id ?? '')
      // The gate's own right where the machine keeps the server from its loop; never for the drain's sake.
      else if (shown.code === 'ASSAY_OVERLOADED') load.overloaded += 1
      else load.findings.push(`${id} was answered ${status} ${body}`)
      closing = headers['connection'] === 'close'
    }
    const rest = await raw.closed()
    if (rest !== '') load.findings.push(`after its last answer: ${rest}`)
    load.closed += 1
  }
  const lines = await Promise.all(Array.from({ length: CONNECTIONS }, () => openRaw(port)))
  for (const raw of lines) keepBusy(raw).catch((error: unknown) => load.findings.push(String(error)))
  return load
}

interface Half {
  readonly raw: Raw
  readonly id: string
  readonly rest: string
}

/** Requests whose headers the server has let in, as its 100 says, and whose body it does not have. */
async function startHalves(port: number, count: number): Promise<Half[]> {
  const start = async (id: string): Promise<Half> => {
    const body = transaction(id)
    for (;;) {
      const raw = await openRaw(port)
      raw.write(post('/v1/score', '', { 'Content-Length': String(body.length), Expect: '100-Continue' }))
      if ((await raw.next()).status === 100) return { raw, id, rest: body }
      raw.destroy()
    }
  }
  return Promise.all(Array.from({ length: count }, (_, index) => start(`half-${index}`)))
}

async function readyStatus(server: RunningServer): Promise<{ status: number; text: string }> {
  return answer(fetch(`http://127.0.0.1:${server.operationsPort}/readyz`))
}

async function isRefused(port: number): Promise<boolean> {
  const socket = connect(port, '127.0.0.1')
  const refused = await once(socket, 'connect').then(
    () => false,
    () => true,
  )
  socket.destroy()
  return refused
}

void t.test('SIGTERM under load cuts no request, loses none and ends with 0', { timeout: 110_000 }, async (t) => {
  const dataDir = await mkdtemp(join(tmpdir(), 'assay-drain-'))
  t.teardown(() => rm(dataDir, { recursive: true, force: true }))
  const server = await startServer({ dataDir, env: ENVIRONMENT })
  t.equal((await readyStatus(server)).status, 200)
  const load = await startLoad(server.scorePort)
  await until(() => load.told.size >= REPLIES_BEFORE, 'the load runs', { msMax: 60_000 })
  const halves = await startHalves(server.scorePort, 4)

  const outAtSignal = load.out
  const stopped = server.stop()
  await until(() => isRefused(server.scorePort), 'the listening socket is closed', { msMax: 30_000 })
  const during = await readyStatus(server)
  t.equal(during.status, 503, 'readiness has fallen')
  t.match(during.text, /ASSAY_NOT_READY.*draining/)
  process.kill(server.pid, 'SIGTERM')
  process.kill(server.pid, 'SIGINT')
  for (const { raw, id, rest } of halves) {
    raw.write(rest)
    const reply = await raw.next()
    t.match(reply, { status: 200, headers: { connection: 'close' } }, 'a request that was half there is answered')
    load.told.set(id, (JSON.parse(reply.body) as { decision_id: string }).decision_id)
    t.equal(await raw.closed(), '')
  }
  t.equal(await stopped, 0, `the exit code, in spite of more signals:\n${server.output()}`)

  t.equal(outAtSignal, CONNECTIONS, 'every connection had a request out when the signal came')
  t.same(load.findings, [], 'every request was answered on its connection')
  t.comment(`${load.told.size} decided, ${load.overloaded} refused as overload`)
  t.ok(load.overloaded * 5 < load.told.size, 'with 200, but for what the machine had no time for')
  t.equal(load.closed, CONNECTIONS, 'every connection was closed after an answer that said so')
  await verifyDirectory(t, dataDir, load.told)
  await restartAndRepeat(t, dataDir, load)
})

/** The log ends clean and holds each acknowledged decision once, under the id that its client was told. */
async function verifyDirectory(t: Test, dataDir: string, told: ReadonlyMap<string, string>): Promise<void> {
  const verification = verifyLog(join(dataDir, 'decision-log'))
  t.same(verification.findings, [], 'no torn tail, no gap, no damage')
  const counts = new Map<string, number>()
  for (const { personal } of (await readLog(join(dataDir, 'decision-log'))).decisions) {
    const { transactionId } = personal.transaction
    counts.set(transactionId, (counts.get(transactionId) ?? 0) + 1)
  }
  t.same(
    [...told.keys()].filter((id) => counts.get(id) !== 1),
    [],
    'each acknowledged decision is there once',
  )
}

/** The next server finds a clean end and gives whoever repeats a request of the drain its first decision. */
async function restartAndRepeat(t: Test, dataDir: string, { told }: Load): Promise<void> {
  const server = await startServer({ dataDir, env: ENVIRONMENT, command: QUICK_SERVE })
  for (const [id, decisionId] of [...told].slice(-2 * CONNECTIONS)) {
    const { status, headers, body } = await request(`http://127.0.0.1:${server.scorePort}/v1/score`, transaction(id))
    const seen = [status, headers.get('idempotent-replayed'), (body as { decision_id: string }).decision_id]
    t.same(seen, [200, 'true', decisionId], `${id} again`)
  }
  t.equal(await server.stop(), 0)
  const { findings } = verifyLog(join(dataDir, 'decision-log'))
  t.match(findings, [{ kind: 'epoch_changed', detail: /closed by its server/ }])
  t.equal(findings.length, 1)
}
