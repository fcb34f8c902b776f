// Payments that do not stop while one server after the other takes over: what each client saw, after one retry as the
// page for clients has it. Shared by the test and the proof.
import { setTimeout as delay } from 'node:timers/promises'
import { type More, openClient } from '../../bench/client.js'
import { CLI, startServer } from '../../bench/server.js'
import { freePort } from '../clients/clients.js'

export interface TakeOverRun {
  /** Answered with a decision, and the decision of each transaction. */
  readonly decisions: ReadonlyMap<string, string>
  /** Requests that were sent again, and connections that were opened again, by what had come. */
  readonly retries: ReadonlyMap<string, number>
  /** Of requests that got no decision after that. */
  readonly failures: readonly string[]
  /** Answers that the server was busy: sent again until there is another. */
  readonly busy: number
  /** Of each take-over: milliseconds without any answer, and the longest that one payment took, its retry included. */
  readonly takeOvers: readonly { readonly pauseMs: number; readonly slowestMs: number }[]
}

export interface TakeOverOptions {
  readonly dataDir: string
  readonly times: number
  readonly ratePerSecond: number
  readonly connections: number
  readonly env?: Readonly<Record<string, string>>
  /** The command lines of the builds that take over in turn; this one without. */
  readonly builds?: readonly string[]
  /** Called before each take-over, without load: the port of operations, and the build that will follow. */
  readonly before?: (operationsPort: number, build: string) => Promise<void>
}

/** Milliseconds that the preparation beside a server under load may take. */
const READY_MS_MAX = 400_000
/** Milliseconds of payments between a take-over and the next. */
const BETWEEN_MS = 1_000
/** A busy machine is no take-over: whoever is refused as one too many comes again, and is counted apart. */
const BUSY = 'ASSAY_OVERLOADED'
const BUSY_MS = 20
/** What the page for clients tells them to wait. */
const RETRY_MS = 200
const DECISION_ID = /"decision_id":"(d_[^"]+)"/

interface Answered {
  readonly atMs: number
  readonly tookMs: number
}

/** Runs it on ports of its own; the last server is stopped. */
export async function runTakeOvers(options: TakeOverOptions): Promise<TakeOverRun> {
  const { dataDir, times, ratePerSecond, connections, builds = [CLI] } = options
  const [score, operations] = [await freePort(), await freePort()]
  const ports = { ASSAY_PROCESS__HTTP__PORT: String(score), ASSAY_PROCESS__OPERATIONS__PORT: String(operations) }
  const env = { ...options.env, ...ports }
  let server = await startServer({ dataDir, env })
  const paying = await pay(score, { ratePerSecond, connections })
  const takeOvers: { pauseMs: number; slowestMs: number }[] = []
  try {
    for (let i = 0; i < times; i++) {
      const build = builds[i % builds.length] ?? CLI
      paying.pause(true)
      await options.before?.(operations, build)
      paying.pause(false)
      await delay(BETWEEN_MS)
      const from = performance.now()
      const old = server
      const command = [process.execPath, build, 'serve', '--take-over']
      server = await startServer({ dataDir, env, command, readyMsMax: READY_MS_MAX })
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
  return { decisions, retries, failures, busy: paying.busy(), takeOvers }
}

function worstOf(answered: readonly Answered[], fromMs: number) {
  const since = answered.filter(({ atMs }) => atMs >= fromMs)
  const worst = { pauseMs: 0, slowestMs: 0 }
  since.forEach(({ atMs, tookMs }, at) => {
    worst.pauseMs = Math.max(worst.pauseMs, atMs - (since[at - 1]?.atMs ?? atMs))
    worst.slowestMs = Math.max(worst.slowestMs, tookMs)
  })
  return worst
}

interface Payment {
  readonly id: string
  readonly bytes: Buffer
  /** When it was to be sent. */
  readonly dueMs: number
  /** What came in place of a decision; null before. */
  fault: string | null
}

/** Sends payments at a rate over kept connections; one is sent again once, at any fault but that of a busy server. */
async function pay(port: number, { ratePerSecond, connections }: { ratePerSecond: number; connections: number }) {
  const decisions = new Map<string, string>()
  const retries = new Map<string, number>()
  const failures: string[] = []
  const answered: Answered[] = []
  const free = Array.from({ length: connections }, (_, connection) => connection)
  const sent = new Map<number, Payment>()
  const waiting: Payment[] = []
  let busy = 0
  let open = 0
  let isPaused = false
  let isOver = false
  let onAllAnswered = (): void => undefined

  function end(): void {
    open--
    if (isOver && open === 0) onAllAnswered()
  }

  function next(): void {
    while (waiting.length > 0 && free.length > 0) {
      const payment = waiting.shift()
      const connection = free.pop()
      if (payment === undefined || connection === undefined) return
      sent.set(connection, payment)
      client.send(connection, payment.bytes)
    }
  }

  function take(connection: number): Payment | null {
    const payment = sent.get(connection) ?? null
    sent.delete(connection)
    return payment
  }

  function failed(payment: Payment, fault: string): void {
    if (payment.fault === null) {
      payment.fault = fault
      count(retries, fault)
      setTimeout(() => waiting.push(payment), RETRY_MS)
      return
    }
    failures.push(`${payment.id}: ${fault}`)
    end()
  }

  function onReply(connection: number, status: number, { body, closes }: More): void {
    const payment = take(connection)
    if (!closes) free.push(connection)
    if (payment === null) return
    const decision = DECISION_ID.exec(body)?.[1]
    if (status === 200 && decision !== undefined) {
      decisions.set(payment.id, decision)
      answered.push({ atMs: performance.now(), tookMs: performance.now() - payment.dueMs })
      end()
    } else if (body.includes(BUSY)) {
      busy++
      setTimeout(() => waiting.push(payment), BUSY_MS)
    } else failed(payment, `${status} ${body}`)
  }

  const client = await openClient(
    { port, connections, bodies: true },
    {
      onReply: (connection, status, _decided, more) => onReply(connection, status, more),
      onLost(connection, _busy, code) {
        const at = free.indexOf(connection)
        if (at >= 0) free.splice(at, 1)
        const payment = take(connection)
        if (payment !== null) failed(payment, code ?? 'the connection was closed')
        else if (code !== null) count(retries, code)
      },
      onOpen: (connection) => void free.push(connection),
    },
  )
  let made = 0
  let nextMs = performance.now()
  const timer = setInterval(() => {
    const nowMs = performance.now()
    if (isPaused || isOver) nextMs = nowMs
    for (; nextMs < nowMs; nextMs += 1_000 / ratePerSecond, open++) waiting.push(paymentAt(made++, nextMs))
    next()
  }, 1)
  return {
    ...{ decisions, retries, failures, answered },
    busy: () => busy,
    pause: (paused: boolean) => void (isPaused = paused),
    async stop() {
      isOver = true
      if (open > 0) await new Promise<void>((resolve) => (onAllAnswered = resolve))
      clearInterval(timer)
      client.close()
    },
  }
}

function count(counts: Map<string, number>, what: string): void {
  counts.set(what, (counts.get(what) ?? 0) + 1)
}

function paymentAt(at: number, dueMs: number): Payment {
  const id = `payment-${at}`
  const body = JSON.stringify({
    ...{ transaction_id: id, occurred_at: new Date().toISOString(), amount_minor: 100 + (at % 900) },
    ...{ currency: 'EUR', customer_id: `c${at % 997}`, terminal_id: `t${at % 97}` },
  })
  const head = `POST /v1/score HTTP/1.1\r\nHost: paying\r\nContent-Type: application/json\r\n`
  const bytes = Buffer.from(`${head}Content-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`)
  return { id, bytes, dueMs, fault: null }
}
