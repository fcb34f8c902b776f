// The generator of bench/overload.ts, a thread: offers requests at a fixed rate over many kept-alive connections, one
// request out on each (the server refuses pipelining). A request whose turn comes while every connection is busy is not
// offered, and counted. As cheap as Node allows: sockets share one reading buffer; of a reply status and end are read.
import { connect, type Socket } from 'node:net'
import { parentPort, workerData } from 'node:worker_threads'
import { monoMs } from './proc.js'
import { createRequestPool, POPULATION } from './requests.js'

export interface OverloadOrder {
  readonly port: number
  readonly connections: number
  readonly ratePerSecond: number
  readonly seconds: number
  readonly seed: number
  /** The first part is not counted: queues fill. */
  readonly settleSeconds: number
}

export interface OverloadCount {
  readonly seconds: number
  readonly due: number
  readonly sent: number
  /** Replies by status. */
  readonly replies: Readonly<Record<string, number>>
  readonly lost: number
  /** Milliseconds from write to reply of each 200, ascending. */
  readonly okMs: Float64Array
  readonly cpuSeconds: number
}

const order = workerData as OverloadOrder
const LENGTH = /\r\ncontent-length: *(\d+)/i
const POOL_SIZE = 20_000
const OK_MAX = 2_000_000
const SPIN_RATE_MIN = 10_000

const pool = createRequestPool({ seed: order.seed, size: POOL_SIZE, prefix: `o${order.seed}-`, ...POPULATION })
const shared = Buffer.allocUnsafe(64 << 10)
const sockets: Socket[] = []
const idle: number[] = []
const sentAt = new Float64Array(order.connections)
const carried: string[] = new Array<string>(order.connections).fill('')
const okMs = new Float64Array(OK_MAX)
const replies: Record<string, number> = {}
let ok = 0
let lost = 0
let sent = 0
let counting = false

function onBytes(connection: number, bytes: number): void {
  const text = carried[connection] + shared.toString('latin1', 0, bytes)
  const headEnd = text.indexOf('\r\n\r\n')
  const length = headEnd === -1 ? null : LENGTH.exec(text)
  if (length === null || text.length < headEnd + 4 + Number(length[1])) {
    carried[connection] = text
    return
  }
  carried[connection] = ''
  idle.push(connection)
  if (!counting) return
  const status = text.slice(9, 12)
  replies[status] = (replies[status] ?? 0) + 1
  if (status === '200' && ok < OK_MAX) okMs[ok++] = monoMs() - (sentAt[connection] ?? 0)
}

function open(connection: number): Promise<void> {
  return new Promise((resolve) => {
    const socket = connect({
      ...{ host: '127.0.0.1', port: order.port, noDelay: true },
      onread: {
        buffer: shared,
        callback(bytes) {
          onBytes(connection, bytes)
          return true
        },
      },
    })
    sockets[connection] = socket
    socket.once('connect', () => {
      idle.push(connection)
      resolve()
    })
    socket.on('error', () => undefined)
    socket.once('close', () => void (lost += 1))
  })
}

for (let from = 0; from < order.connections; from += 100) {
  const to = Math.min(order.connections, from + 100)
  await Promise.all(Array.from({ length: to - from }, (_, offset) => open(from + offset)))
}
const cpu = process.cpuUsage()
const beganMs = monoMs()
const countFromMs = beganMs + order.settleSeconds * 1e3
const endMs = countFromMs + order.seconds * 1e3
let due = 0
let countedDue = 0
let countedSent = 0

/** One turn: sends what is due as far as connections are free, then lets replies in. */
function turn(): void {
  const now = monoMs()
  const before = due
  due = Math.floor(((now - beganMs) / 1e3) * order.ratePerSecond)
  if (!counting && now >= countFromMs) {
    counting = true
    countedDue = due
    countedSent = sent
    parentPort?.postMessage('counting')
  }
  const wallMs = Date.now()
  for (let at = before; at < due; at++) {
    // The one that rests longest, so that none rests into the server's timeout.
    const connection = idle.shift()
    if (connection === undefined) break
    sentAt[connection] = monoMs()
    sockets[connection]?.write(pool.next(wallMs))
    sent += 1
  }
  if (now >= endMs) finish()
  // A spinning thread would take a core from the server: at low rates it sleeps, and sends what has become due.
  else if (order.ratePerSecond < SPIN_RATE_MIN) setTimeout(turn, 1)
  else setImmediate(turn)
}

function finish(): void {
  const used = process.cpuUsage(cpu)
  const count: OverloadCount = {
    seconds: order.seconds,
    due: due - countedDue,
    sent: sent - countedSent,
    replies,
    lost,
    okMs: okMs.slice(0, ok).sort(),
    cpuSeconds: (used.user + used.system) / 1e6,
  }
  parentPort?.postMessage(count)
  for (const socket of sockets) socket.destroy()
}

turn()
