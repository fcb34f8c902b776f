// Kafka end to end, beside what the client does on its own in the same minutes: how long from produce to decision
// consumed, against produce to consumed without a server between; and how many a second, against a loop that consumes,
// produces as many bytes and commits.
//   node dist/bench/kafka.js [--pairs 10] [--seconds 10] [--rates 200,2000] [--preload 40000] [--folder DIR]
//                                                                             → bench/results/kafka.txt
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { Kafka, logLevel, type Producer } from 'kafkajs'
import { createSimulator } from '../src/simulate/generator.js'
import { startBroker } from '../test/kafka/broker.js'
import { streamEnv } from '../test/kafka/fault-run.js'
import { connectTopics, type Topics } from '../test/kafka/topics.js'
import { quantile } from './control.js'
import { median, medianInterval } from './interval.js'
import { cpuSeconds, monoMs } from './proc.js'
import { writeReport } from './report.js'
import { ROOT, type RunningServer, startServer } from './server.js'

const { values } = parseArgs({
  options: {
    pairs: { type: 'string', default: '10' },
    seconds: { type: 'string', default: '10' },
    rates: { type: 'string', default: '200,2000' },
    preload: { type: 'string', default: '40000' },
    folder: { type: 'string', default: join(ROOT, 'data') },
  },
})
const [pairs, seconds, preload] = [Number(values.pairs), Number(values.seconds), Number(values.preload)]
const rates = values.rates.split(',').map(Number)
const PARTITIONS = 4
const TICK_MS = 5
/** A decision takes about so many bytes: the loop beside produces as many. */
const DECISION_BYTES = 560
const RISE_MS_MAX = 6
const SHARE_MIN = 0.5
const LOOP = fileURLToPath(new URL('./kafka-loop.js', import.meta.url))

mkdirSync(values.folder, { recursive: true })
const folder = mkdtempSync(join(values.folder, 'assay-bench-kafka-'))
const simulator = createSimulator({
  ...{ seed: 1, customers: 2_000, terminals: 4_000, startMs: Date.now() - 60 * 86_400_000, idPrefix: 'b' },
})
const message = (sequence: number) => {
  const { wire } = simulator.next()
  const headers = { 'correlation-id': String(sequence) }
  return { key: wire.customer_id ?? null, value: JSON.stringify(wire), headers }
}

interface Latency {
  readonly p50: number
  readonly p99: number
  readonly p999: number
}

/** Produces at a steady rate to one topic while another consumer notes when each message comes out of the second. */
async function measure(
  producer: Producer,
  arrivals: Map<string, number>,
  topic: string,
  rate: number,
): Promise<Latency> {
  const count = rate * seconds
  const intended = new Float64Array(count)
  arrivals.clear()
  const startMs = monoMs() + 50
  let sent = 0
  const sends: Promise<unknown>[] = []
  while (sent < count) {
    const due = Math.min(count, Math.floor(((monoMs() - startMs) / 1000) * rate))
    const messages = []
    for (; sent < due; sent++) {
      intended[sent] = startMs + (sent * 1000) / rate
      messages.push(message(sent))
    }
    if (messages.length > 0) sends.push(producer.send({ topic, acks: -1, messages }))
    await delay(TICK_MS)
  }
  await Promise.all(sends)
  const endMs = monoMs() + 30_000
  while (arrivals.size < count && monoMs() < endMs) await delay(50)
  if (arrivals.size < count) throw new Error(`${count - arrivals.size} of ${count} did not come out of ${topic}`)
  const took = intended.map((ms, sequence) => (arrivals.get(String(sequence)) ?? NaN) - ms).sort()
  return { p50: quantile(took, 0.5), p99: quantile(took, 0.99), p999: quantile(took, 0.999) }
}

interface Throughput {
  readonly perSecond: number
  readonly cpuUs: number
}

/** Until all of the input is committed: from when the first was, since joining takes its time. */
async function drain(topics: Topics, pid: number): Promise<Throughput> {
  let first: { done: number; ms: number; cpu: number } | null = null
  for (;;) {
    const done = await topics.committed().catch(() => 0)
    if (first === null && done > 0) first = { done, ms: monoMs(), cpu: cpuSeconds(pid) }
    if (first !== null && done >= preload) {
      const [ms, cpu] = [monoMs() - first.ms, cpuSeconds(pid) - first.cpu]
      return { perSecond: ((done - first.done) * 1000) / ms, cpuUs: (cpu * 1e6) / (done - first.done) }
    }
    await delay(20)
  }
}

async function stop(child: ChildProcess): Promise<void> {
  const exited = once(child, 'exit')
  child.kill('SIGTERM')
  await exited
}

async function compareLatency(address: string, lines: string[]): Promise<unknown> {
  const topics = await connectTopics(address, 'latency')
  await topics.create(PARTITIONS)
  const direct = await connectTopics(address, 'direct')
  await direct.create(PARTITIONS)
  const server = await startServer({ dataDir: join(folder, 'latency'), env: streamEnv({ address }, topics) })
  const kafka = new Kafka({ brokers: [address], clientId: 'bench', logLevel: logLevel.NOTHING })
  const producer = kafka.producer({ allowAutoTopicCreation: false })
  const consumer = kafka.consumer({ groupId: 'bench', maxWaitTimeInMs: 100 })
  const arrivals = new Map<string, number>()
  await Promise.all([producer.connect(), consumer.connect()])
  await consumer.subscribe({ topics: [topics.names.decisions, direct.names.transactions] })
  await consumer.run({
    eachBatch({ batch }) {
      const nowMs = monoMs()
      for (const { headers } of batch.messages) arrivals.set(String(headers?.['correlation-id']), nowMs)
      return Promise.resolve()
    },
  })
  const results: Record<string, { rises: number[]; server: Latency[]; alone: Latency[] }> = {}
  await measure(producer, arrivals, topics.names.transactions, rates[0])
  for (const rate of rates) {
    const result = (results[rate] = { rises: [], server: [], alone: [] } as (typeof results)[string])
    for (let pair = 0; pair < pairs; pair++) {
      const run = async (topic: string, into: Latency[]): Promise<Latency> => {
        const latency = await measure(producer, arrivals, topic, rate)
        into.push(latency)
        return latency
      }
      const withServer = (): Promise<Latency> => run(topics.names.transactions, result.server)
      const alone = (): Promise<Latency> => run(direct.names.transactions, result.alone)
      const [a, b] = pair % 2 === 0 ? [await alone(), await withServer()] : [await withServer(), await alone()]
      const [direct_, through] = pair % 2 === 0 ? [a, b] : [b, a]
      result.rises.push(through.p99 - direct_.p99)
      console.error(`${rate}/s: direct p99 ${direct_.p99.toFixed(2)}, decided p99 ${through.p99.toFixed(2)} ms`)
    }
    lines.push(...latencyLines(rate, result))
  }
  await Promise.all([producer.disconnect(), consumer.disconnect()])
  await endServer(server)
  await Promise.all([topics.close(), direct.close()])
  return results
}

function latencyLines(
  rate: number,
  { rises, server, alone }: { rises: number[]; server: Latency[]; alone: Latency[] },
) {
  const row = (name: string, list: Latency[]): string => {
    const figures = (['p50', 'p99', 'p999'] as const).map((key) => median(list.map((one) => one[key])))
    return `  ${name.padEnd(34)}${figures.map((ms) => ms.toFixed(2).padStart(9)).join('')}`
  }
  const interval = medianInterval(rises)
  const verdict =
    interval === null
      ? 'too few pairs'
      : `${interval.median.toFixed(2)} ms [${interval.low.toFixed(2)}, ${interval.high.toFixed(2)}]; goal ≤ ${RISE_MS_MAX}`
  return [
    `${rate}/s, ${rises.length} pairs of ${seconds} s, medians, ms${' '.repeat(12)}p50      p99    p99.9`,
    row('produce → consume', alone),
    row('produce → decided → consume', server),
    `  p99 through the server above direct: ${verdict}`,
    '',
  ]
}

async function compareRate(address: string, lines: string[]): Promise<unknown> {
  const input = await connectTopics(address, 'rate')
  await input.create(PARTITIONS)
  for (let sent = 0; sent < preload; sent += 500) {
    await input.produce(Array.from({ length: 500 }, (_, at) => message(sent + at)))
  }
  const decided: Throughput[] = []
  const looped: Throughput[] = []
  for (let round = 0; round < Math.min(pairs, 5); round++) {
    const topics = await connectTopics(address, `rate.server${round}`, { input: input.names.transactions })
    await topics.create(PARTITIONS)
    const server = await startServer({ dataDir: join(folder, `rate${round}`), env: streamEnv({ address }, topics) })
    decided.push(await drain(topics, server.pid))
    await endServer(server)
    const loop = await connectTopics(address, `rate.loop${round}`, { input: input.names.transactions })
    await loop.create(PARTITIONS)
    const { names } = loop
    const args = [LOOP, address, names.group, names.transactions, names.decisions, String(DECISION_BYTES)]
    const child = spawn(process.execPath, args, { stdio: ['ignore', 'ignore', 'inherit'] })
    looped.push(await drain(loop, child.pid ?? 0))
    await stop(child)
    await Promise.all([topics.close(), loop.close()])
    console.error(`${decided[round].perSecond.toFixed(0)}/s decided, ${looped[round].perSecond.toFixed(0)}/s looped`)
  }
  await input.close()
  const of = (list: Throughput[], key: keyof Throughput): number => median(list.map((one) => one[key]))
  const share = median(decided.map(({ perSecond }, round) => perSecond / looped[round].perSecond))
  lines.push(
    `consume → score → produce as fast as it goes, ${decided.length} times ${preload} messages, in turn, medians:`,
    `  decided ${of(decided, 'perSecond').toFixed(0)}/s, ${of(decided, 'cpuUs').toFixed(0)} µs of CPU each`,
    `  the client's own loop ${of(looped, 'perSecond').toFixed(0)}/s, ${of(looped, 'cpuUs').toFixed(0)} µs of CPU each`,
    `  ratio ${share.toFixed(2)}; goal ≥ ${SHARE_MIN}`,
  )
  return { decided, looped }
}

async function endServer(server: RunningServer): Promise<void> {
  const code = await server.stop()
  if (code !== 0) throw new Error(`the server ended with ${code}:\n${server.output()}`)
}

const broker = await startBroker(join(folder, 'broker'))
try {
  const lines = ['kafkajs, one broker, its producer and consumer and the server on the same cores', '']
  const latency = await compareLatency(broker.address, lines)
  const rate = await compareRate(broker.address, lines)
  writeReport('kafka', lines, { pairs, seconds, latency, rate })
} finally {
  await broker.stop()
  rmSync(folder, { recursive: true, force: true })
}
