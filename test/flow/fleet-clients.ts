// Clients of several servers that are to answer as one: a transaction goes to a server drawn at random, some of them to
// two at once, some again later; what a server refuses for now, or dies over, goes to another until it is answered.
// Keeps every answer. No test.
import { type Client, type More, openClient } from '../../bench/client.js'
import { httpRequest } from '../../bench/requests.js'
import type { Random } from '../../src/simulate/random.js'
import { until } from './server-rig.js'

export interface Sent {
  readonly transaction_id: string
  readonly occurred_at: number
  readonly amount_minor: number
  readonly currency: string
  readonly customer_id?: string
  readonly terminal_id?: string
}

/** A decision as clients were told it by one server. */
export interface Told {
  readonly server: number
  /** The whole answer but for `logged`. */
  readonly text: string
  times: number
}

/** transaction_id → what was told of it. */
export type Book = ReadonlyMap<string, readonly Told[]>

export interface ClientOptions {
  /** To each server. */
  readonly connections: number
  /** New transactions, to all servers together. */
  readonly perSecond: number
  readonly random: Random
  /** Milliseconds of event time between a transaction and the next. */
  readonly stepMs: number
}

export interface Clients {
  readonly sent: ReadonlyMap<string, Sent>
  readonly told: Book
  /** What came in place of a decision, and how often. */
  readonly refused: ReadonlyMap<string, number>
  /** What no client may get. */
  readonly findings: readonly string[]
  /** Answers with a decision so far. */
  answers(): number
  /** Connects to a server that is ready. */
  join(server: number, port: number): Promise<void>
  /**
   * Of a server that died: what it had goes to others. Its port is not tried, where a connection could meet itself.
   */
  leave(server: number): void
  /** New transactions from now on. */
  go(): void
  /** No new ones; resolves when every copy of each has its decision. */
  rest(): Promise<void>
  /** At rest: each of these once more, to whichever server, and what was told then. */
  ask(transactionIds: Iterable<string>): Promise<Book>
  close(): void
}

/** One sending of a transaction; it comes again until it is answered. */
interface Copy {
  readonly id: string
  readonly bytes: Buffer
  /** The server that had it last, or -1. */
  last: number
}

interface Line {
  readonly client: Client
  readonly free: number[]
  readonly out: Map<number, Copy>
}

const CUSTOMERS = 400
const TERMINALS = 200
/** Event times come out of order by so many steps, each at a millisecond of its own. */
const JITTER_STEPS = 8
const TWINS = 0.2
const LATER = 0.2
const LATER_MS_MAX = 4_000
const RETRY_MS = 20
const TICK_MS = 2
/** Nobody new is sent while so many wait: all servers may be down. */
const OPEN_MAX = 1_000
const ANSWER_MS_MAX = 300_000
const LOGGED = /"logged":"[a-z]+",/
const CODE = /"code":"(ASSAY_[A-Z_]+)"/
/** "Not now" of a server. */
const PATIENCE = [
  'ASSAY_DUPLICATES_WAITING',
  'ASSAY_DECISION_UNCONFIRMED',
  'ASSAY_OVERLOADED',
  'ASSAY_NOT_READY',
  'ASSAY_LOG_UNAVAILABLE',
]

/** Clients without a server; each that joins gets its share. */
export function createClients(options: ClientOptions): Clients {
  const { connections, perSecond, random } = options
  const lines = new Map<number, Line>()
  const sent = new Map<string, Sent>()
  const told = new Map<string, Told[]>()
  const refused = new Map<string, number>()
  const findings: string[] = []
  const waiting: Copy[] = []
  const draw = createDraw(options)
  let book = told
  let [open, answers, isGoing, nextMs] = [0, 0, false, 0]

  function settle(copy: Copy, server: number, status: number, body: string): void {
    const code = CODE.exec(body)?.[1] ?? ''
    if (status === 200) {
      note(book, copy.id, { server, text: body.replace(LOGGED, '') })
      answers++
      open--
    } else if (PATIENCE.includes(code)) {
      count(refused, code)
      setTimeout(() => waiting.push(copy), RETRY_MS)
    } else {
      findings.push(`${copy.id} got ${status} ${body}`)
      open--
    }
  }

  function lose(copy: Copy): void {
    count(refused, 'connection lost')
    waiting.push(copy)
  }

  async function openLine(server: number, port: number): Promise<Line> {
    const free = Array.from({ length: connections }, (_, connection) => connection)
    const out = new Map<number, Copy>()
    const take = (connection: number): Copy | undefined => {
      const copy = out.get(connection)
      out.delete(connection)
      return copy
    }
    const onReply = (connection: number, status: number, _decided: boolean, { body, closes }: More): void => {
      const copy = take(connection)
      if (!closes) free.push(connection)
      if (copy !== undefined) settle(copy, server, status, body)
    }
    const onLost = (connection: number): void => {
      const at = free.indexOf(connection)
      if (at >= 0) free.splice(at, 1)
      const copy = take(connection)
      if (copy !== undefined) lose(copy)
    }
    const onOpen = (connection: number): void => void free.push(connection)
    const client = await openClient({ port, connections, bodies: true }, { onReply, onLost, onOpen })
    return { client, free, out }
  }

  /** To another server than the last, where one has a free connection. */
  function send(copy: Copy): boolean {
    const free = [...lines].filter(([, line]) => line.free.length > 0)
    const others = free.filter(([server]) => server !== copy.last)
    const among = others.length > 0 ? others : free
    if (among.length === 0) return false
    const [server, line] = among[random.integer(among.length)]
    const connection = line.free.pop() ?? 0
    copy.last = server
    line.out.set(connection, copy)
    line.client.send(connection, copy.bytes)
    return true
  }

  function put(copy: Copy): void {
    open++
    if (!send(copy)) waiting.push(copy)
  }

  function begin(): void {
    const transaction = draw()
    const id = transaction.transaction_id
    sent.set(id, transaction)
    const copy = copyOf(transaction)
    put(copy)
    if (random.uniform() < TWINS) put({ ...copy })
    if (random.uniform() >= LATER) return
    open++
    setTimeout(() => waiting.push(copyOf(transaction)), LATER_MS_MAX * random.uniform())
  }

  const timer = setInterval(() => {
    const nowMs = performance.now()
    if (!isGoing || open > OPEN_MAX) nextMs = nowMs
    for (; nextMs < nowMs; nextMs += 1_000 / perSecond) begin()
    while (waiting.length > 0 && send(waiting[0])) waiting.shift()
  }, TICK_MS)

  const waitUntil = (holds: () => boolean): Promise<void> =>
    until(holds, 'every transaction is answered', { msMax: ANSWER_MS_MAX, everyMs: 5 })

  async function rest(): Promise<void> {
    isGoing = false
    await waitUntil(() => open === 0)
  }

  return {
    ...{ sent, told, refused, findings, rest },
    answers: () => answers,
    async join(server, port) {
      lines.set(server, await openLine(server, port))
    },
    leave(server) {
      const line = lines.get(server)
      lines.delete(server)
      line?.client.close()
      for (const copy of line?.out.values() ?? []) lose(copy)
    },
    go: () => void (isGoing = true),
    async ask(transactionIds) {
      book = new Map()
      for (const id of transactionIds) {
        const transaction = sent.get(id)
        if (transaction === undefined) throw new RangeError(`${id} was never sent`)
        put(copyOf(transaction))
        await waitUntil(() => open < OPEN_MAX)
      }
      await rest()
      return book
    },
    close() {
      clearInterval(timer)
      for (const { client } of lines.values()) client.close()
    },
  }
}

function copyOf(transaction: Sent): Copy {
  const bytes = httpRequest('/v1/score', JSON.stringify(transaction))
  return { id: transaction.transaction_id, bytes, last: -1 }
}

function note(book: Map<string, Told[]>, id: string, { server, text }: Omit<Told, 'times'>): void {
  const all = book.get(id) ?? []
  const known = all.find((one) => one.server === server && one.text === text)
  if (known !== undefined) known.times++
  // The same text is held once.
  else all.push({ server, text: all.find((one) => one.text === text)?.text ?? text, times: 1 })
  book.set(id, all)
}

function count(counts: Map<string, number>, what: string): void {
  counts.set(what, (counts.get(what) ?? 0) + 1)
}

/** New transactions of few entities; event times climb, somewhat out of order, over less than what lists hold. */
function createDraw({ random, stepMs }: ClientOptions): () => Sent {
  const spanMs = 28 * 86_400_000
  const startMs = Date.now() - spanMs - 86_400_000
  let made = 0
  return () => {
    const index = made++
    if (index * stepMs > spanMs) throw new RangeError('more transactions than the windows hold')
    const step = index + random.integer(JITTER_STEPS)
    return {
      ...{ transaction_id: `f-${index}`, occurred_at: startMs + step * stepMs + (index % stepMs) },
      ...{ amount_minor: 1 + random.integer(50_000), currency: 'EUR' },
      ...(random.uniform() < 0.97 && { customer_id: `c${random.integer(CUSTOMERS)}` }),
      ...(random.uniform() < 0.97 && { terminal_id: `t${random.integer(TERMINALS)}` }),
    }
  }
}
