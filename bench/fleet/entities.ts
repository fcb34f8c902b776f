// What the Redis holds: bytes of an entity by its events, and of a transaction in the index of recent ones; what each
// script costs it; and how long a fold takes among few entities and among many. Lists are written by the real scripts,
// and memory is that of INFO before and after, so that keys, expiry and what the allocator rounds up are inside.
import { CLAIM, COMMIT, FOLD } from '../../src/scoring/shared/scripts.js'
import { quantile } from '../control.js'
import type { RunningServer } from '../server.js'
import { type BenchRedis, scriptMicros, startRedis } from './redis.js'
import { type Bench, endMember, heads, type Part, row, startMember, untilAnswered } from './rig.js'
import { inBatches, openWriter, transactionOf, type Writer } from './writer.js'

export interface EntitySizes {
  /** Half are customers, half terminals. */
  readonly entities: number
  /** How lists grow, of fewer and fewer entities. */
  readonly long: readonly { readonly entities: number; readonly events: readonly number[] }[]
  /** Transactions of the index. */
  readonly indexed: number
  /** Folds that are timed one by one. */
  readonly timed: number
}

/** Of lists with that many events. */
export interface ListSize {
  readonly entities: number
  readonly events: number
  readonly bytesEach: number
  /** In the Redis, a fold into lists of that length, µs. */
  readonly foldUs: number
}

interface FoldTimes {
  readonly entities: number
  /** Of lists that come whole, and again when they were read before: both folds of a transaction, there and back. */
  readonly wholeP50Us: number
  readonly p50Us: number
  readonly p99Us: number
  readonly redisUs: number
}

export interface EntityData {
  readonly lists: readonly ListSize[]
  readonly times: readonly FoldTimes[]
  readonly claimedBytes: number
  readonly indexBytes: number
  readonly bodyBytes: number
  readonly claimUs: number
  readonly commitUs: number
}

/** As many as an ordinary card has; few enough to write them for a million. */
const EVENTS = [1, 2, 3, 4] as const
/** Event time between two of a list: all of them stay in their windows. */
const STEP_MS = 60_000
const FEW = 100
const TIMED_FOLDS = 500

export async function measureEntities(bench: Bench, sizes: EntitySizes): Promise<Part<EntityData>> {
  const body = await oneAnswer(bench)
  const redis = await startRedis()
  try {
    const few = Math.max(2, Math.floor(sizes.entities / FEW))
    const grown: ListSize[] = []
    const times: FoldTimes[] = []
    for (const [prefix, entities] of [
      ['few', few],
      ['many', sizes.entities],
    ] as const) {
      const { connection } = redis
      const lists = await grow(redis, await openWriter(connection, prefix, [FOLD]), { entities, events: EVENTS })
      if (prefix === 'many') grown.push(...lists)
      const reader = await openWriter(connection, prefix, [FOLD])
      times.push(await timeFolds(redis, reader, { entities, timed: sizes.timed }))
      bench.say(`${entities} entities of ${EVENTS.length} events are written`)
    }
    for (const [at, long] of sizes.long.entries()) {
      const writer = await openWriter(redis.connection, `long${at}`, [FOLD])
      grown.push(...(await grow(redis, writer, { ...long, reads: true })))
      bench.say(`lists of ${Math.max(...long.events)} events are written`)
    }
    const index = await fillIndex(redis, body, sizes.indexed)
    const data: EntityData = { lists: grown, times, bodyBytes: Buffer.byteLength(body), ...index }
    return { lines: linesOf(data, sizes), data }
  } finally {
    await redis.stop()
  }
}

/** What a server answers to a payment: the index keeps it. */
async function oneAnswer(bench: Bench): Promise<string> {
  const server: RunningServer = await startMember(bench, { name: 'one', node: null, prefix: 'one' })
  const payment = {
    transaction_id: 'one-1',
    occurred_at: new Date().toISOString(),
    amount_minor: 1_250,
    currency: 'EUR',
  }
  const wire = JSON.stringify({ ...payment, customer_id: 'c1', terminal_id: 't1' })
  const headers = { 'content-type': 'application/json' }
  const url = `http://127.0.0.1:${server.scorePort}/v1/score`
  const answer = await untilAnswered(() => fetch(url, { method: 'POST', headers, body: wire }))
  const body = await answer.text()
  await endMember(server)
  return body
}

interface Growth {
  readonly entities: number
  /** In rising order: where it is looked. */
  readonly events: readonly number[]
  /** Lists are read as by a server that knows them: for long ones. */
  readonly reads?: boolean
}

/** Each entity of a new prefix gets its events, one round of all after the other. */
async function grow(redis: BenchRedis, writer: Writer, { entities, events, reads }: Growth): Promise<ListSize[]> {
  const start = await redis.look()
  const startMs = Date.now() - STEP_MS * Math.max(...events)
  const pairs = Math.floor(entities / 2)
  const sizes: ListSize[] = []
  // The last rounds before a look are timed: enough of them, and none that is much shorter.
  const timedRounds = Math.ceil(TIMED_FOLDS / (2 * pairs))
  let before = start
  for (let round = 1; round <= Math.max(...events); round++) {
    if (events.includes(round + timedRounds - 1)) before = await redis.look()
    await inBatches(pairs, (at) => {
      const tx = transactionOf(`e${round}-${at}`, startMs + round * STEP_MS, [`c${at}`, `t${at}`])
      return reads === true ? writer.fold(tx) : writer.write(tx, '')
    })
    if (!events.includes(round)) continue
    const now = await redis.look()
    const bytesEach = (now.usedBytes - start.usedBytes) / (2 * pairs)
    sizes.push({ entities: 2 * pairs, events: round, bytesEach, foldUs: scriptMicros(before, now) })
  }
  return sizes
}

/** One after the other, as a server at rest: first of lists that it does not know, then of the same again. */
async function timeFolds(
  redis: BenchRedis,
  reader: Writer,
  { entities, timed }: { entities: number; timed: number },
): Promise<FoldTimes> {
  const pairs = Math.floor(entities / 2)
  const count = Math.min(timed, pairs)
  // Spread over all of them.
  const stride = Math.floor(pairs / count)
  const pass = async (name: string): Promise<Float64Array> => {
    const micros = new Float64Array(count)
    for (let at = 0; at < count; at++) {
      const who = at * stride
      const fromMs = performance.now()
      await reader.fold(transactionOf(`${name}-${at}`, Date.now(), [`c${who}`, `t${who}`]))
      micros[at] = 1_000 * (performance.now() - fromMs)
    }
    return micros.sort()
  }
  const whole = await pass('whole')
  const before = await redis.look()
  const again = await pass('again')
  return {
    ...{ entities, wholeP50Us: quantile(whole, 0.5), redisUs: scriptMicros(before, await redis.look()) },
    ...{ p50Us: quantile(again, 0.5), p99Us: quantile(again, 0.99) },
  }
}

type Index = Pick<EntityData, 'claimedBytes' | 'indexBytes' | 'claimUs' | 'commitUs'>

/** Claims all, then commits all: each by a writer that lets only that through. */
async function fillIndex(redis: BenchRedis, body: string, indexed: number): Promise<Index> {
  const fill = async (writer: Writer): Promise<void> => {
    const nowMs = Date.now()
    await inBatches(indexed, (at) => writer.write(transactionOf(`i${at}`, nowMs, [`c${at}`, `t${at}`]), body))
  }
  const start = await redis.look()
  await fill(await openWriter(redis.connection, 'index', [CLAIM]))
  const claimed = await redis.look()
  await fill(await openWriter(redis.connection, 'index', [COMMIT]))
  const done = await redis.look()
  return {
    claimedBytes: (claimed.usedBytes - start.usedBytes) / indexed,
    indexBytes: (done.usedBytes - start.usedBytes) / indexed,
    claimUs: scriptMicros(start, claimed),
    commitUs: scriptMicros(claimed, done),
  }
}

function linesOf(data: EntityData, { indexed }: EntitySizes): string[] {
  const lists = data.lists.map(({ entities, events, bytesEach, foldUs }) =>
    row(`${entities} entities`, [events, bytesEach, bytesEach / events, foldUs], 1),
  )
  const times = data.times.map(({ entities, wholeP50Us, p50Us, p99Us, redisUs }) =>
    row(`${entities} entities`, [wholeP50Us, p50Us, p99Us, redisUs], 1),
  )
  return [
    'memory of the Redis, of keys, values and expiry; an event stands in two lists, of its customer and of its terminal',
    heads('', ['events', 'B/entity', 'B/event', 'fold µs']),
    ...lists,
    `  index of recent transactions, ${indexed} of them: ${data.indexBytes.toFixed(0)} bytes each with an answer of ` +
      `${data.bodyBytes} bytes, ${data.claimedBytes.toFixed(0)} while claimed; in the Redis a claim takes ` +
      `${data.claimUs.toFixed(1)} µs, a commit ${data.commitUs.toFixed(1)} µs`,
    'both folds of a transaction, one after the other, there and back over the socket; µs',
    heads('', ['whole p50', 'p50', 'p99', 'in Redis']),
    ...times,
    '',
  ]
}
