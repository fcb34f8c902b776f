// From produce to decision consumed, against produce to consumed of the same minutes, pair by pair; and what
// exactly_once adds to it. The same through the no-op loops of two clients: another client cannot save the server more
// than lies between them.
import { connectTopics, type Topics } from '../../test/kafka/topics.js'
import { quantile } from '../control.js'
import { cpuSeconds } from '../proc.js'
import { targetLine, riseLine } from '../report.js'
import { LOOP_CLIENTS, startLoop } from './loop.js'
import { type Bench, endStream, medianOf, type Part, PARTITIONS, row, startStream } from './rig.js'
import { startTraffic, type Traffic, type TrafficReport } from './traffic.js'

/** What the server may add to the p99, ms. */
const RISE_MS_MAX = 6
/** A machine on which the way past the server takes less at p99 is one that the second goal is for, ms. */
const DIRECT_MS_QUICK = 4
const DECIDED_MS_MAX = 10

interface Latency {
  readonly p50Ms: number
  readonly p99Ms: number
  readonly latenessP99Ms: number
  /** CPU of what is between, µs per message; 0 without it. */
  readonly cpuUs: number
  readonly sorted: Float64Array
}

/** Where messages go in, and the process whose CPU that costs. */
interface Way {
  readonly name: string
  readonly topic: string
  readonly pid: number | null
}

async function time(traffic: Traffic, { topic, pid }: Way, rate: number, seconds: number): Promise<Latency> {
  const cpu = (): number => (pid === null ? 0 : cpuSeconds(pid))
  const before = cpu()
  const { latenciesMs, latenessP99Ms }: TrafficReport = await traffic.run(topic, rate, seconds)
  const sorted = latenciesMs.sort()
  return {
    ...{ p50Ms: quantile(sorted, 0.5), p99Ms: quantile(sorted, 0.99), latenessP99Ms, sorted },
    cpuUs: (1e6 * (cpu() - before)) / sorted.length,
  }
}

/** Where nothing is wanted of the result, the fewest that an interval needs do. */
const PAIRS_FEWEST = 6
const fewer = (bench: Bench): Bench => ({ ...bench, pairs: Math.min(bench.pairs, PAIRS_FEWEST) })

interface Compared {
  readonly rate: number
  readonly a: Latency[]
  readonly b: Latency[]
}

/** A B, B A, …: `pairs` of them. */
async function compare(bench: Bench, traffic: Traffic, [a, b]: readonly [Way, Way], rate: number): Promise<Compared> {
  const compared: Compared = { rate, a: [], b: [] }
  for (let pair = 0; pair < bench.pairs; pair++) {
    const order = pair % 2 === 0 ? [a, b] : [b, a]
    for (const way of order) (way === a ? compared.a : compared.b).push(await time(traffic, way, rate, bench.seconds))
    const [p, q] = [compared.a[pair], compared.b[pair]]
    bench.say(`${rate}/s: p99 ${p.p99Ms.toFixed(2)} ms ${a.name}, ${q.p99Ms.toFixed(2)} ms ${b.name}`)
  }
  return compared
}

function figures(list: readonly Latency[]): number[] {
  const all = Float64Array.from(list.flatMap(({ sorted }) => [...sorted])).sort()
  return [medianOf(list, 'p50Ms'), medianOf(list, 'p99Ms'), quantile(all, 0.999), medianOf(list, 'cpuUs')]
}

function lines([a, b]: readonly [Way, Way], compared: Compared): string[] {
  const { rate } = compared
  const late = medianOf([...compared.a, ...compared.b], 'latenessP99Ms')
  return [
    `  ${`${rate}/s, ${compared.a.length} pairs, ms`.padEnd(36)}       p50       p99     p99.9  µs of CPU a message`,
    row(a.name, figures(compared.a)),
    row(b.name, figures(compared.b)),
    `  sends late by ${late.toFixed(2)} ms at p99, in all of these`,
  ]
}

/** Of the pairs whose way past the server was quick. */
function quickLine({ a, b }: Compared): string {
  const quick = b.filter((_, pair) => a[pair].p99Ms < DIRECT_MS_QUICK)
  const name = `p99 where direct is < ${DIRECT_MS_QUICK} ms`
  if (quick.length === 0) return `  ${name}: direct never was`
  return targetLine(`${name} (${quick.length} pairs)`, medianOf(quick, 'p99Ms'), { max: DECIDED_MS_MAX })
}

const rises = ({ a, b }: Compared): number[] => b.map(({ p99Ms }, pair) => p99Ms - a[pair].p99Ms)
const plain = ({ rate, ...sides }: Compared): unknown => {
  const of = (list: readonly Latency[]): unknown => list.map(({ sorted: _, ...latency }) => latency)
  return { rate, a: of(sides.a), b: of(sides.b) }
}

export async function measureLatency(bench: Bench, rates: readonly number[]): Promise<Part> {
  const { address } = bench.broker
  const topics = await Promise.all(['direct', 'decided', 'exact'].map((name) => connectTopics(address, name)))
  for (const one of topics) await one.create(PARTITIONS)
  const [direct, decided, exact] = topics.map(({ names }) => names)
  const outputs = [direct.transactions, decided.decisions, exact.decisions]
  const traffic = await startTraffic(address, 'latency', outputs)
  const server = await startStream(bench, topics[1], { name: 'decided' })
  const past: Way = { name: 'produce → consume', topic: direct.transactions, pid: null }
  const through: Way = { name: 'produce → decided → consume', topic: decided.transactions, pid: server.pid }
  const warmUp = async (way: Way): Promise<void> =>
    void (await time(traffic, way, Math.max(...rates), bench.warmUpSeconds))
  await warmUp(past)
  await warmUp(through)
  const text: string[] = []
  const data: unknown[] = []
  for (const rate of rates) {
    const compared = await compare(bench, traffic, [past, through], rate)
    text.push(...lines([past, through], compared))
    text.push(
      riseLine('p99 through the server, against direct,', rises(compared), RISE_MS_MAX),
      quickLine(compared),
      '',
    )
    data.push(plain(compared))
  }
  const other = await startStream(bench, topics[2], { name: 'exact', exactlyOnce: true })
  const atOnce: Way = { name: '… with exactly_once', topic: exact.transactions, pid: other.pid }
  await warmUp(atOnce)
  const compared = await compare(fewer(bench), traffic, [through, atOnce], Math.max(...rates))
  text.push(...lines([through, atOnce], compared), riseLine('p99 with exactly_once', rises(compared)), '')
  data.push(plain(compared))
  await traffic.close()
  await Promise.all([endStream(server), endStream(other), ...topics.map((one: Topics) => one.close())])
  return { lines: text, data }
}

export async function measureClients(bench: Bench, rate: number): Promise<Part> {
  const { address } = bench.broker
  const topics = await Promise.all(
    LOOP_CLIENTS.map((client) => connectTopics(address, `loop.${client.replace(/\W/g, '')}`)),
  )
  for (const one of topics) await one.create(PARTITIONS)
  const outputs = topics.map(({ names }) => names.decisions)
  const traffic = await startTraffic(address, 'clients', outputs)
  const loops = await Promise.all(LOOP_CLIENTS.map((client, at) => startLoop(client, topics[at])))
  const [kafkajs, platformatic] = LOOP_CLIENTS.map((client, at): Way => ({
    ...{ name: `the loop of ${client}`, topic: topics[at].names.transactions, pid: loops[at].pid },
  }))
  const both = [kafkajs, platformatic] as const
  for (const way of both) await time(traffic, way, rate, bench.warmUpSeconds)
  const compared = await compare(fewer(bench), traffic, both, rate)
  await traffic.close()
  await Promise.all([...loops.map((loop) => loop.stop()), ...topics.map((one) => one.close())])
  return {
    lines: [...lines(both, compared), riseLine(`p99 with ${LOOP_CLIENTS[1]}`, rises(compared)), ''],
    data: plain(compared),
  }
}
