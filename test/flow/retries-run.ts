// Drives the test of retries: transactions in waves against a whole server with lanes of unequal speed, every second
// wave while no sync of its log returns; each is sent four times and until it has a decision that is logged. Keeps
// every answer in the order of the sendings. Holds no test.
import { type Answer, FIXTURE_MODELS, readLog, type Rig, startRig } from './server-rig.js'
import { decisionId } from '../../src/contract/decision.js'
import type { Policy } from '../../src/contract/policy.js'
import { createRandom } from '../../src/simulate/random.js'
import { type Attempt, type Evidence, foldingAttempt } from './retries-judge.js'

const WAVES = 4
const WAVE_ROWS = 250
/** Transactions of one request; each stands in it twice, the repeat right behind the first. */
const BATCH = 12
const BATCHES_OUT = 3
const CUSTOMERS = 40
const SPAN_MS = 20 * 86_400_000
/** Repeats of one id at once, of which eight may wait. */
const CROWD = 16
/** An amount that keeps `hangs` busy for about 3 ms; `linear` takes it as any other. */
const SLOW_MINOR = (1e6 + 2_500) * 100

export interface RetriesRun {
  readonly rig: Rig
  readonly evidence: Evidence
  /** Syncs that had to wait. */
  readonly stalled: number
}

interface Client {
  readonly attempts: Map<string, Attempt[]>
  sendPairs(transactions: readonly Sent[]): Promise<void>
  send(transaction: Sent): Promise<void>
  look(transaction: Sent): Promise<void>
}

interface Sent {
  readonly transaction_id: string
  readonly occurred_at: number
  readonly amount_minor: number
  readonly currency: string
  readonly customer_id: string
  readonly terminal_id: string
}

/** Runs all waves under one policy; the server is drained and its log read at the end. */
export async function runRetries(policy: Policy['on_log_unavailable']): Promise<RetriesRun> {
  const order = new Int32Array(new SharedArrayBuffer(8))
  const rig = await startStalling(policy, order)
  const stall = (on: boolean): void => {
    Atomics.store(order, 0, on ? 1 : 0)
    Atomics.notify(order, 0)
  }
  const client = createClient(rig)
  const sent = transactions()
  const before = await countersOf(rig)
  for (let wave = 0; wave < WAVES; wave++) {
    const rows = sent.slice(wave * WAVE_ROWS, (wave + 1) * WAVE_ROWS)
    stall(wave % 2 === 1)
    await eachOf(batchesOf(rows), BATCHES_OUT, (batch) => client.sendPairs(batch))
    await eachOf(rows, 2 * BATCH, (row) => client.send(row))
    if (wave % 2 === 1) await crowd(client, rows)
  }
  stall(false)
  await eachOf(sent, BATCH, (row) => client.send(row))
  // Refused four times over: until it has a decision that is logged, and once more to see that one again.
  const isOpen = (row: Sent): boolean =>
    (client.attempts.get(row.transaction_id) ?? []).every(({ logged }) => !isKept(logged))
  for (let open = sent.filter(isOpen); open.length > 0; open = sent.filter(isOpen)) {
    await eachOf(open, 2, (row) => client.send(row))
  }
  await eachOf(sent, BATCH, (row) => client.send(row))
  const after = await countersOf(rig)
  for (let customer = 0; customer < CUSTOMERS; customer++) await client.look(lookAt(customer))
  await rig.stop()
  return { rig, evidence: await gather(rig, client, { before, after }), stalled: Atomics.load(order, 1) }
}

function isKept(logged: string | null): boolean {
  return logged !== null && logged !== 'none'
}

function startStalling(policy: Policy['on_log_unavailable'], order: Int32Array): Promise<Rig> {
  return startRig({
    threads: {
      log: { threadEntry: new URL('../decision-log/stalling-thread.js', import.meta.url), threadExtra: order },
    },
    // A ring that a stalled wave fills; a client in the same event loop is no overload.
    limits: {
      ...{ logRingBytes: 128 << 10, recordBytesMax: 4 << 10, controlBytesMax: 4 << 10 },
      ...{ transactionTextBytesMax: 1 << 10, laneStopMs: 60_000 },
    },
    edit(config) {
      config.process.models_dir = FIXTURE_MODELS
      const live = config.policy
      live.on_log_unavailable = policy
      live.routes = {
        ...live.routes,
        champion: 'linear@1',
        challenger: 'hangs@1',
        share: 5_000,
        baseline: 'scorecard@1',
      }
      live.budgets = { deadline_ms: 100, log_wait_ms: 150 }
      live.catalogue.features.push({
        ...{ name: 'customer_sum_30d', kind: 'aggregate', entity: 'customer_id', function: 'sum' },
        ...{ of: 'amount', window: '30d', missing: 'nan' },
      })
    },
  })
}

/** Event times climb with some disorder; a quarter of the amounts is slow for the challenger. */
function transactions(): Sent[] {
  const random = createRandom(11)
  const startMs = Date.now() - SPAN_MS - 86_400_000
  return Array.from({ length: WAVES * WAVE_ROWS }, (_, at) => ({
    transaction_id: `retried-${at}`,
    occurred_at: Math.floor(startMs + ((at + 4 * random.uniform()) / (WAVES * WAVE_ROWS)) * SPAN_MS),
    amount_minor: (random.integer(4) === 0 ? SLOW_MINOR : 100) + random.integer(50_000),
    currency: 'EUR',
    customer_id: `customer-${random.integer(CUSTOMERS)}`,
    terminal_id: `terminal-${random.integer(60)}`,
  }))
}

function lookAt(customer: number): Sent {
  const at = { customer_id: `customer-${customer}`, terminal_id: `terminal-${customer}` }
  return { transaction_id: `look-${customer}`, occurred_at: Date.now(), amount_minor: 700, currency: 'EUR', ...at }
}

/** More repeats at once than may wait for one decision, of transactions that were folded and are not durable. */
async function crowd(client: Client, rows: readonly Sent[]): Promise<void> {
  const folded = rows.filter((row) => foldingAttempt(client.attempts.get(row.transaction_id) ?? []) >= 0)
  for (const row of folded.slice(0, 3)) await Promise.all(Array.from({ length: CROWD }, () => client.send(row)))
}

function createClient(rig: Rig): Client {
  const attempts = new Map<string, Attempt[]>()
  const note = (id: string, attempt: Attempt): void => void attempts.set(id, [...(attempts.get(id) ?? []), attempt])
  return {
    attempts,
    async sendPairs(rows) {
      const got = await rig.send('/v1/score/batch', { transactions: rows.flatMap((row) => [row, row]) })
      if (got.status !== 200) throw new Error(`a batch was refused as a whole: ${got.text}`)
      const parts: { status: number; replayed?: boolean; body: Record<string, unknown> }[] = got.body
      parts.forEach((part, at) => note(rows[at >> 1].transaction_id, attemptOf(part, part.replayed === true)))
    },
    async send(row) {
      const got = await rig.score(row)
      note(row.transaction_id, attemptOf(got, got.headers.get('idempotent-replayed') === 'true'))
    },
    async look(row) {
      const got = await rig.score(row, { 'assay-mode': 'evaluate' })
      if (got.status !== 200 && got.status !== 503) throw new Error(got.text)
    },
  }
}

function attemptOf({ status, body }: Pick<Answer, 'status' | 'body'>, replayed: boolean): Attempt {
  const { logged = null, ...decision } = body as Record<string, string | null>
  const code = status === 200 ? null : (decision['code'] ?? 'no code')
  return {
    status,
    code,
    replayed,
    logged,
    decision: JSON.stringify(decision),
    decisionId: decision['decision_id'] ?? null,
  }
}

type Counters = Evidence['counted']

async function countersOf(rig: Rig): Promise<Counters> {
  const rejected = await rig.metric('assay_requests_rejected_total')
  const sum = async (name: string): Promise<number> => {
    let total = 0
    for (const value of (await rig.metric(name)).values()) total += value
    return total
  }
  const byCode = [...rejected].map(([label, count]) => [label.slice('code="'.length, -1), count] as const)
  return {
    rejected: new Map(byCode),
    pending: await sum('assay_records_pending_total'),
    lost: await sum('assay_records_lost_total'),
  }
}

async function gather(rig: Rig, client: Client, read: { before: Counters; after: Counters }): Promise<Evidence> {
  const { before, after } = read
  const { logId, decisions, replies } = await readLog(rig.logDir)
  const named = decisions.map((decision) => {
    const { epoch, ordinal, unfolded } = decision.facts
    return { ...decision, decisionId: decisionId(logId, epoch, ordinal, unfolded) }
  })
  const rejected = [...after.rejected].map(([code, count]) => [code, count - (before.rejected.get(code) ?? 0)] as const)
  return {
    policy: rig.config.policy,
    attempts: client.attempts,
    decisions: named.filter(({ facts }) => !facts.unfolded),
    looks: named.filter(({ facts }) => facts.mode === 'evaluate'),
    replies: replies.flatMap(({ entries }) => entries).filter(({ unfolded }) => !unfolded),
    counted: {
      rejected: new Map(rejected.filter(([, count]) => count > 0)),
      pending: after.pending - before.pending,
      lost: after.lost - before.lost,
    },
  }
}

function batchesOf(rows: readonly Sent[]): Sent[][] {
  return Array.from({ length: Math.ceil(rows.length / BATCH) }, (_, at) => rows.slice(at * BATCH, (at + 1) * BATCH))
}

/** Handles every item, at most `out` at once. */
async function eachOf<Item>(items: readonly Item[], out: number, handle: (item: Item) => Promise<void>): Promise<void> {
  let next = 0
  const worker = async (): Promise<void> => {
    while (next < items.length) await handle(items[next++])
  }
  await Promise.all(Array.from({ length: out }, worker))
}
