// Payments that do not stop while one server after the other takes over: what each client saw, after one retry as the
// page for clients has it. Shared by the test and the proof.
import { Agent, request } from 'node:http'
import { setTimeout as delay } from 'node:timers/promises'
import { CLI, startServer } from '../../bench/server.js'
import { freePort } from '../clients/clients.js'

export interface TakeOverRun {
  /** Answered with a decision, and the decision of each transaction. */
  readonly decisions: ReadonlyMap<string, string>
  /** Requests that were sent again, by what had come: a status or the code of an error. */
  readonly retries: ReadonlyMap<string, number>
  /** Of requests that got no decision after that. */
  readonly failures: readonly string[]
  /** Of each take-over: milliseconds without any answer, and the longest that one payment took, its retry included. */
  readonly takeOvers: readonly { readonly pauseMs: number; readonly slowestMs: number }[]
}

export interface TakeOverOptions {
  readonly dataDir: string
  readonly times: number
  readonly ratePerSecond: number
  readonly connections: number
  readonly env?: Readonly<Record<string, string>>
  /** Called on the port of operations before each take-over. */
  readonly before?: (operationsPort: number) => Promise<void>
}

const FOLLOWS = [process.execPath, CLI, 'serve', '--take-over']
/** Milliseconds of payments between a take-over and the next. */
const BETWEEN_MS = 1_000
const ANSWER_MS_MAX = 5_000
const BUSY = '503 ASSAY_OVERLOADED'
const TRIES_MAX = 100

interface Answered {
  readonly atMs: number
  readonly tookMs: number
}

/** Runs it on ports of its own; the last server is stopped. */
export async function runTakeOvers(options: TakeOverOptions): Promise<TakeOverRun> {
  const { dataDir, times, ratePerSecond, connections } = options
  const [score, operations] = [await freePort(), await freePort()]
  const ports = { ASSAY_PROCESS__HTTP__PORT: String(score), ASSAY_PROCESS__OPERATIONS__PORT: String(operations) }
  const env = { ...options.env, ...ports }
  let server = await startServer({ dataDir, env })
  const paying = pay(score, { ratePerSecond, connections })
  const takeOvers: { pauseMs: number; slowestMs: number }[] = []
  try {
    for (let i = 0; i < times; i++) {
      await delay(BETWEEN_MS)
      await options.before?.(operations)
      const from = performance.now()
      const old = server
      server = await startServer({ dataDir, env, command: FOLLOWS })
      const code = await old.ended()
      if (code !== 0) throw new Error(`the server before it ended with ${code}:\n${old.output()}`)
      await delay(BETWEEN_MS)
      takeOvers.push(worstOf(paying.answered, from))
    }
  } finally {
    await paying.stop()
    await server.stop()
  }
  const { decisions, retries, failures } = paying
  return { decisions, retries, failures, takeOvers }
}

function worstOf(answered: readonly Answered[], fromMs: number) {
  const since = answered.filter(({ atMs }) => atMs >= fromMs)
  const pauses = since.slice(1).map(({ atMs }, at) => atMs - since[at].atMs)
  return { pauseMs: Math.max(...pauses), slowestMs: Math.max(...since.map(({ tookMs }) => tookMs)) }
}

function pay(port: number, { ratePerSecond, connections }: { ratePerSecond: number; connections: number }) {
  const agent = new Agent({ keepAlive: true, maxSockets: connections })
  const decisions = new Map<string, string>()
  const retries = new Map<string, number>()
  const failures: string[] = []
  const answered: Answered[] = []
  const under = new Set<Promise<void>>()
  let count = 0
  let isOver = false

  async function one(): Promise<void> {
    const id = `payment-${++count}`
    const beganMs = performance.now()
    const body = JSON.stringify({
      ...{ transaction_id: id, occurred_at: new Date().toISOString(), amount_minor: 100 + (count % 900) },
      ...{ currency: 'EUR', customer_id: `c${count % 997}`, terminal_id: `t${count % 97}` },
    })
    let outcome = await sendPatiently(port, agent, body)
    if (typeof outcome === 'object') {
      retries.set(outcome.fault, (retries.get(outcome.fault) ?? 0) + 1)
      outcome = await sendPatiently(port, agent, body)
    }
    if (typeof outcome === 'object') failures.push(`${id}: ${outcome.fault}`)
    else {
      decisions.set(id, outcome)
      answered.push({ atMs: performance.now(), tookMs: performance.now() - beganMs })
    }
  }

  async function run(): Promise<void> {
    const startMs = performance.now()
    for (let sent = 0; !isOver;) {
      for (; sent < ((performance.now() - startMs) / 1_000) * ratePerSecond; sent++) {
        const payment = one()
        under.add(payment)
        void payment.finally(() => under.delete(payment))
      }
      await delay(1)
    }
    await Promise.all(under)
    agent.destroy()
  }

  const running = run()
  return {
    ...{ decisions, retries, failures, answered },
    async stop() {
      isOver = true
      await running
    },
  }
}

/** A busy machine is no take-over: whoever is refused as one too many comes again, and is not counted. */
async function sendPatiently(port: number, agent: Agent, body: string): Promise<string | { fault: string }> {
  for (let tries = 1; ; tries++) {
    const outcome = await send(port, agent, body)
    const isBusy = typeof outcome === 'object' && outcome.fault === BUSY
    if (!isBusy || tries === TRIES_MAX) return outcome
    await delay(20)
  }
}

/** The decision, or what came instead. */
function send(port: number, agent: Agent, body: string): Promise<string | { fault: string }> {
  return new Promise((resolve) => {
    const headers = { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) }
    const sent = request({ port, host: '127.0.0.1', path: '/v1/score', method: 'POST', agent, headers })
    sent.setTimeout(ANSWER_MS_MAX, () => sent.destroy(new Error('no answer')))
    sent.on('error', (error) => resolve({ fault: 'code' in error ? String(error.code) : error.message }))
    sent.on('response', (response) => {
      let text = ''
      response.on('data', (chunk: Buffer) => (text += chunk.toString()))
      response.on('error', (error) => resolve({ fault: error.message }))
      response.on('end', () => {
        const answer = JSON.parse(text) as { decision_id?: string; code?: string }
        resolve(answer.decision_id ?? { fault: `${response.statusCode ?? 0} ${answer.code ?? ''}` })
      })
    })
    sent.end(body)
  })
}
