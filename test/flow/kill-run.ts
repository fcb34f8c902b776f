// The kill test's other half: a real server under load of unique transactions, repeats and labels, killed with SIGKILL
// at random moments and started again on the same directory. Keeps in a ledger what its clients were told.
// Event times climb over less than 30 days, so that no window expires and every window edge is met.
import { mkdtemp, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { openClient, type Client } from '../../bench/client.js'
import { httpRequest } from '../../bench/requests.js'
import { startServer, type RunningServer } from '../../bench/server.js'
import { createRandom, type Random } from '../../src/simulate/random.js'
import { createLedger, noteAnswer, type Ledger } from './kill-ledger.js'

export interface KillOptions {
  readonly seed: number
  readonly kills: number
  /** Replies after which a life ends at the latest; the real number is drawn from 1 to this. */
  readonly repliesMax: number
  readonly connections: number
  /** The directory is made in here; on the disk that is to be tested. */
  readonly folder: string
  /** Of the server; the package's own by default. */
  readonly command?: readonly string[]
  readonly onLife?: (life: number, ledger: Ledger, readyMs: number) => void
}

export interface KillRun {
  readonly ledger: Ledger
  readonly dataDir: string
  /** Milliseconds until ready, of each start. */
  readonly readyMs: readonly number[]
  /** Requests that were out when their server was killed. */
  readonly cutOff: number
  remove(): Promise<void>
}

/** Half of the entities go to the other model: lanes of unequal speed put ordinals out of order in the log. */
const ENVIRONMENT = { ASSAY_POLICY__ROUTES__SHARE: '5000' }
const CUSTOMERS = 400
const TERMINALS = 800
/** The kill follows the last counted reply after up to this long. */
const KILL_AFTER_MS_MAX = 5
const SPAN_MS = 29 * 86_400_000
/** Answers that promise nothing and are no fault: overload, not ready, unconfirmed, too many duplicates. */
const PATIENCE = new Set([409, 503])

/** One request of a script: a transaction, a repeat of one, or a label. */
interface Item {
  readonly kind: 'score' | 'label'
  readonly id: string
  readonly body: string
  readonly knownAtMs: number
}

/** Runs all lives, ends with one that answers every open question and drains. */
export async function runKills(options: KillOptions): Promise<KillRun> {
  const random = createRandom(options.seed)
  const dataDir = await mkdtemp(join(options.folder, 'assay-kill-'))
  const ledger = createLedger()
  const script = createScript(options, random, ledger)
  const start = (): Promise<RunningServer> => startServer({ ...options, dataDir, env: ENVIRONMENT })
  const readyMs: number[] = []
  let cutOff = 0
  for (let life = 0; life < options.kills; life++) {
    const server = await start()
    readyMs.push(server.readyMs)
    const until = 1 + random.integer(options.repliesMax)
    const unanswered = [...ledger.sent.keys()].filter((id) => !ledger.told.has(id)).map((id) => script.repeat(id))
    cutOff += await live(server, {
      options,
      ledger,
      until,
      killAfterMs: KILL_AFTER_MS_MAX * random.uniform(),
      next: () => unanswered.pop() ?? script.next(),
    })
    options.onLife?.(life, ledger, server.readyMs)
  }
  const last = await start()
  readyMs.push(last.readyMs)
  const repeats = [...ledger.sent.keys()].map((id) => script.repeat(id))
  await live(last, {
    options,
    ledger,
    until: Infinity,
    killAfterMs: 0,
    next: () => repeats.pop() ?? null,
    again: (item) => repeats.unshift(item),
  })
  const code = await last.stop()
  if (code !== 0) ledger.findings.push(`the drain ended with ${code}:\n${last.output()}`)
  for (const id of ledger.sent.keys()) if (!ledger.told.has(id)) ledger.findings.push(`${id}: never answered`)
  return { ledger, dataDir, readyMs, cutOff, remove: () => rm(dataDir, { recursive: true, force: true }) }
}

interface Life {
  readonly options: KillOptions
  readonly ledger: Ledger
  readonly until: number
  readonly killAfterMs: number
  readonly next: () => Item | null
  /** Gets what was answered with nothing but patience; it may come again. */
  readonly again?: (item: Item) => void
}

/** Keeps all connections busy until so many replies are there, then kills; or until the script is out. */
async function live(
  server: RunningServer,
  { options, ledger, until, killAfterMs, next, again }: Life,
): Promise<number> {
  const out = new Map<number, Item>()
  let replies = 0
  let over = false
  let done: () => void = () => undefined
  const finished = new Promise<void>((resolve) => (done = resolve))
  const kill = (): void => {
    over = true
    void server.kill().then(done)
  }
  const send = (client: Client, connection: number): void => {
    const item = next()
    if (item === null) {
      if (out.size === 0) done()
      return
    }
    out.set(connection, item)
    client.send(connection, httpRequest(item.kind === 'score' ? '/v1/score' : '/v1/labels', item.body))
  }
  const client = await openClient(
    { port: server.scorePort, connections: options.connections, bodies: true, reopen: false },
    {
      onReply(connection, status, _decided, { body }) {
        const item = out.get(connection)
        out.delete(connection)
        if (item === undefined) ledger.findings.push(`a reply that nobody waits for: ${status} ${body}`)
        else if (PATIENCE.has(status)) again?.(item)
        else settle(ledger, item, status, body)
        replies += 1
        // The load goes on while the signal is on its way: what is under way dies with the server.
        if (replies === until) setTimeout(kill, killAfterMs)
        send(client, connection)
      },
      onLost(connection) {
        if (!over) ledger.findings.push(`connection ${connection} was lost by a living server:\n${server.output()}`)
        over = true
        done()
      },
      onOpen: () => undefined,
    },
  )
  for (let connection = 0; connection < options.connections; connection++) send(client, connection)
  await finished
  client.close()
  return out.size
}

function settle(ledger: Ledger, item: Item, status: number, body: string): void {
  if (item.kind === 'label') {
    if (status === 202) ledger.labels.push({ transactionId: item.id, knownAtMs: item.knownAtMs })
    else ledger.findings.push(`a label of ${item.id} got ${status} ${body}`)
  } else if (status === 200) noteAnswer(ledger, body)
  else ledger.findings.push(`${item.id} got ${status} ${body}`)
}

function createScript(
  options: KillOptions,
  random: Random,
  ledger: Ledger,
): { next(): Item; repeat(id: string): Item } {
  const startMs = Date.now() - SPAN_MS - 86_400_000
  const stepMs = SPAN_MS / (options.kills * options.repliesMax + 1)
  const ids: string[] = []
  let labels = 0
  const repeat = (id: string): Item => ({ kind: 'score', id, body: ledger.sent.get(id) ?? '', knownAtMs: 0 })
  const fresh = (): Item => {
    const id = `k${options.seed}-${ids.length}`
    const atMs = startMs + Math.floor(ids.length * stepMs)
    const body = JSON.stringify({
      transaction_id: id,
      occurred_at: random.uniform() < 0.5 ? atMs : new Date(atMs).toISOString(),
      amount_minor: 1 + random.integer(50_000),
      currency: random.uniform() < 0.9 ? 'EUR' : 'USD',
      ...(random.uniform() < 0.97 ? { customer_id: `c${random.integer(CUSTOMERS)}` } : {}),
      ...(random.uniform() < 0.97 ? { terminal_id: `t${random.integer(TERMINALS)}` } : {}),
    })
    ids.push(id)
    ledger.sent.set(id, body)
    return { kind: 'score', id, body, knownAtMs: 0 }
  }
  const label = (id: string): Item => {
    const knownAtMs = startMs + labels++
    const fraud = random.uniform() < 0.8
    const at = new Date(knownAtMs).toISOString()
    return {
      kind: 'label',
      id,
      body: JSON.stringify({ transaction_id: id, fraud, source: 'test', known_at: at }),
      knownAtMs,
    }
  }
  return {
    repeat,
    next() {
      const id = ids[random.integer(Math.max(1, ids.length))]
      const draw = random.uniform()
      if (id === undefined || draw < 0.7) return fresh()
      // Half of the repeats are of the newest ids, which may still be under way.
      if (draw < 0.8) return repeat(id)
      if (draw < 0.9) return repeat(ids[Math.max(0, ids.length - 1 - random.integer(8))] ?? id)
      return ledger.told.has(id) ? label(id) : fresh()
    },
  }
}
