// The other end of traffic.ts: produces on the grid of a clock, whether or not earlier messages have come out, and
// notes when each is consumed. A message that never comes out fails the run.
import net from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { Kafka, logLevel } from 'kafkajs'
import { quantile, startTicker, type Ticker } from '../control.js'
import { monoMs } from '../proc.js'
import { createMessages, TICK_MS, type TrafficOrder, type TrafficReport } from './traffic.js'

/** Milliseconds without anything coming out after which the rest is given up. */
const LOST_MS = 60_000

interface Run {
  readonly topic: string
  readonly ratePerSecond: number
  /** Number of its first message. */
  readonly first: number
  readonly pace: Ticker
  beganMs: number
  readonly intendedMs: number[]
  /** NaN until it came out. */
  readonly latenciesMs: number[]
  readonly latenessMs: number[]
  readonly sends: Promise<unknown>[]
  arrived: number
  repeats: number
  lastMs: number
  longestGapMs: number
  readonly partitions: Map<number, { lastMs: number; longestGapMs: number }>
}

process.env.KAFKAJS_NO_PARTITIONER_WARNING = '1'
const [address, name, ...outputs] = process.argv.slice(2)
const kafka = new Kafka({
  ...{ brokers: [address], clientId: name, logLevel: logLevel.NOTHING },
  // Nagle's algorithm is on otherwise, and would be part of the latency.
  socketFactory: ({ host, port, onConnect }) => net.connect({ host, port }, onConnect).setNoDelay(true),
})
const producer = kafka.producer({ allowAutoTopicCreation: false })
const consumer = kafka.consumer({ groupId: `${name}.traffic`, maxWaitTimeInMs: 500 })
const message = createMessages(name)
let next = 0
let run: Run | null = null

/** Notes when something came out of a partition. */
function noteGap(of: Run, partition: number, nowMs: number): void {
  const { lastMs, longestGapMs } = of.partitions.get(partition) ?? { lastMs: nowMs, longestGapMs: 0 }
  of.partitions.set(partition, { lastMs: nowMs, longestGapMs: Math.max(longestGapMs, nowMs - lastMs) })
  of.longestGapMs = Math.max(of.longestGapMs, nowMs - of.lastMs)
  of.lastMs = nowMs
}

/** What has fallen due by now, in one send. */
function send(of: Run): void {
  const nowMs = monoMs()
  if (of.beganMs === 0) of.beganMs = of.pace.data.gaps[0] ?? 0
  const messages = []
  for (;;) {
    const tick = Math.ceil((of.intendedMs.length * 1_000) / of.ratePerSecond / TICK_MS)
    const intendedMs = of.beganMs + tick * TICK_MS
    if (intendedMs > nowMs) break
    of.intendedMs.push(intendedMs)
    of.latenciesMs.push(NaN)
    of.latenessMs.push(nowMs - intendedMs)
    messages.push(message(next++))
  }
  if (messages.length === 0) return
  of.sends.push(
    producer.send({
      ...{ topic: of.topic, acks: -1 },
      messages: messages.map(({ headers = {}, ...one }) => ({ ...one, headers: { ...headers } })),
    }),
  )
}

function start(topic: string, ratePerSecond: number): void {
  const pace = startTicker('pace', TICK_MS)
  const started: Run = {
    ...{ topic, ratePerSecond, pace, first: next, beganMs: 0, arrived: 0, repeats: 0, lastMs: monoMs() },
    ...{ intendedMs: [], latenciesMs: [], latenessMs: [], sends: [], longestGapMs: 0, partitions: new Map() },
  }
  pace.worker.on('message', () => send(started))
  run = started
}

async function stop(of: Run): Promise<TrafficReport> {
  await of.pace.stop()
  await Promise.all(of.sends)
  const sent = of.intendedMs.length
  while (of.arrived < sent) {
    if (monoMs() - of.lastMs > LOST_MS) throw new Error(`${sent - of.arrived} of ${sent} did not come out`)
    await delay(10)
  }
  run = null
  return {
    latenciesMs: Float64Array.from(of.latenciesMs),
    latenessP99Ms: quantile(Float64Array.from(of.latenessMs).sort(), 0.99),
    longestGapMs: of.longestGapMs,
    partitionGapsMs: [...of.partitions].sort(([a], [b]) => a - b).map(([, { longestGapMs }]) => longestGapMs),
    repeats: of.repeats,
  }
}

async function obey(order: TrafficOrder): Promise<void> {
  if (order !== 'stop') start(order.topic, order.ratePerSecond)
  else if (run !== null) process.send?.(await stop(run))
}

await Promise.all([producer.connect(), consumer.connect()])
await consumer.subscribe({ topics: outputs, fromBeginning: true })
await consumer.run({
  eachBatch({ batch: { messages, partition } }) {
    const nowMs = monoMs()
    if (run === null) return Promise.resolve()
    for (const { headers } of messages) {
      const at = Number(String(headers?.['correlation-id'])) - run.first
      if (Number.isNaN(run.latenciesMs[at] ?? 0)) {
        run.latenciesMs[at] = nowMs - run.intendedMs[at]
        run.arrived++
      } else run.repeats++
    }
    noteGap(run, partition, nowMs)
    return Promise.resolve()
  },
})
process.on('message', (order: TrafficOrder) => {
  obey(order).catch((error: unknown) => {
    console.error(error)
    process.exit(1)
  })
})
process.once('SIGTERM', () => {
  void Promise.all([consumer.disconnect(), producer.disconnect()]).then(() => process.exit(0))
})
process.send?.('ready')
