// What a server pays that has just joined a fleet: the first transaction of an entity needs its whole list, those that
// follow only what is new. The lists are written before; the server asks for each of them once, at rest, then again.
import { FOLD } from '../../src/scoring/shared/scripts.js'
import { openClient } from '../client.js'
import { quantile } from '../control.js'
import { openLoop } from '../load.js'
import { createRequestPool, httpRequest, POPULATION } from '../requests.js'
import type { RunningServer } from '../server.js'
import { type BenchRedis, scriptMicros, startRedis } from './redis.js'
import { type Bench, decidedLocally, endMember, heads, type Part, row, startMember, untilAnswered } from './rig.js'
import { inBatches, openWriter, transactionOf } from './writer.js'

export interface ColdSizes {
  readonly lengths: readonly number[]
  /** Customers with a list of each length. */
  readonly customers: number
}

interface Asked {
  readonly p50Ms: number
  readonly maxMs: number
  /** Of them decided from local windows: the list did not come in time. */
  readonly local: number
  /** In the Redis, a script on average, µs. */
  readonly scriptUs: number
}

export interface ColdRow {
  readonly length: number
  readonly first: Asked
  readonly again: Asked
}

const PREFIX = 'cold'
/** The span of the lists: shorter than the longest window. */
const SPAN_MS = 20 * 86_400_000
const WARM_RATE = 200

export async function measureCold(bench: Bench, sizes: ColdSizes): Promise<Part<{ rows: readonly ColdRow[] }>> {
  const redis = await startRedis()
  let server: RunningServer | null = null
  try {
    await writeLists(redis, sizes)
    bench.say('lists are written')
    server = await startMember(bench, { name: 'cold', node: redis.socket, prefix: PREFIX })
    const pool = createRequestPool({ seed: 1, size: 1_000, prefix: 'w-', ...POPULATION })
    const load = { connections: 1, ratePerSecond: WARM_RATE, seconds: bench.warmUpSeconds, pool }
    await openLoop({ port: server.scorePort, ...load })
    const rows: ColdRow[] = []
    for (const length of sizes.lengths) {
      const names = Array.from({ length: sizes.customers }, (_, at) => nameOf(length, at))
      const first = await askAll(redis, server, names)
      rows.push({ length, first, again: await askAll(redis, server, names) })
    }
    await endMember(server)
    server = null
    return { lines: linesOf(rows, sizes), data: { rows } }
  } finally {
    await server?.kill()
    await redis.stop()
  }
}

function nameOf(length: number, at: number): string {
  return `long${length}-${at}`
}

/** Of all lengths together, one event of each after the other. */
async function writeLists({ connection }: BenchRedis, { lengths, customers }: ColdSizes): Promise<void> {
  const writer = await openWriter(connection, PREFIX, [FOLD])
  const longest = Math.max(...lengths)
  const startMs = Date.now() - SPAN_MS
  for (let event = 0; event < longest; event++) {
    const timeMs = startMs + Math.floor((event * SPAN_MS) / longest)
    const names = lengths
      .filter((length) => event < length)
      .flatMap((length) => Array.from({ length: customers }, (_, at) => nameOf(length, at)))
    await inBatches(names.length, (at) =>
      writer.fold(transactionOf(`${names[at]}-${event}`, timeMs, [names[at], null])),
    )
  }
}

let asked = 0

/** One transaction of each, one after the other. */
async function askAll(redis: BenchRedis, server: RunningServer, names: readonly string[]): Promise<Asked> {
  let hear: (status: number) => void = () => undefined
  const client = await openClient(
    { port: server.scorePort, connections: 1 },
    { onReply: (_, status) => hear(status), onLost: () => hear(0), onOpen: () => undefined },
  )
  const [from, localFrom] = [await redis.look(), await decidedLocally(server)]
  const times = new Float64Array(names.length)
  for (const [at, customer] of names.entries()) {
    const bytes = requestOf(customer)
    const { ms } = await untilAnswered(async () => {
      const fromMs = performance.now()
      const replied = new Promise<number>((resolve) => (hear = resolve))
      client.send(0, bytes)
      return { status: await replied, ms: performance.now() - fromMs }
    })
    times[at] = ms
  }
  client.close()
  times.sort()
  return {
    ...{ p50Ms: quantile(times, 0.5), maxMs: quantile(times, 1) },
    local: (await decidedLocally(server)) - localFrom,
    scriptUs: scriptMicros(from, await redis.look()),
  }
}

function requestOf(customer: string): Buffer {
  asked += 1
  const amount = { amount_minor: 1_250, currency: 'EUR' }
  const who = { transaction_id: `cold-${asked}`, occurred_at: new Date().toISOString(), customer_id: customer }
  return httpRequest('/v1/score', JSON.stringify({ ...who, ...amount }))
}

function linesOf(rows: readonly ColdRow[], { customers }: ColdSizes): string[] {
  const cells = ({ p50Ms, maxMs, local, scriptUs }: Asked): number[] => [p50Ms, maxMs, local, scriptUs]
  return [
    `a server that has just joined, at rest: a payment each of ${customers} customers with lists of that many events, and`,
    '  again; ms over HTTP; of them decided from local windows; µs of a script in the Redis, commits included',
    heads('', ['p50', 'max', 'local', 'script µs', 'again p50', 'max', 'local', 'script µs']),
    ...rows.map(({ length, first, again }) => row(`${length} events`, [...cells(first), ...cells(again)])),
    '',
  ]
}
