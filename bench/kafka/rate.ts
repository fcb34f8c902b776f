// How many a second go through consume → score → produce, against the no-op loops of two clients: all of them from the
// same messages, which were there before.
import { setTimeout as delay } from 'node:timers/promises'
import { connectTopics, type Topics } from '../../test/kafka/topics.js'
import { median } from '../interval.js'
import { cpuSeconds, monoMs } from '../proc.js'
import { targetLine } from '../report.js'
import { type LoopClient, startLoop } from './loop.js'
import { type Bench, endStream, medianOf, type Part, PARTITIONS, row, startStream } from './rig.js'
import { createMessages } from './traffic.js'

const SHARE_MIN = 0.5
const PRODUCED_AT_ONCE = 500
/** Of the messages: joining, first fetches and code that is not compiled yet are not the rate. */
const WARM_UP_SHARE = 0.25

interface Throughput {
  readonly perSecond: number
  readonly cpuUs: number
}

/** Until all of the input is committed. */
async function drain(topics: Topics, pid: number, total: number): Promise<Throughput> {
  let first: { done: number; ms: number; cpu: number } | null = null
  for (;;) {
    const done = await topics.committed().catch(() => 0)
    const [ms, cpu] = [monoMs(), cpuSeconds(pid)]
    if (first === null && done >= total * WARM_UP_SHARE) first = { done, ms, cpu }
    if (first !== null && done >= total) {
      const messages = done - first.done
      return { perSecond: (messages * 1_000) / (ms - first.ms), cpuUs: ((cpu - first.cpu) * 1e6) / messages }
    }
    await delay(20)
  }
}

type Measure = (bench: Bench, topics: Topics, total: number) => Promise<Throughput>

function decide(exactlyOnce: boolean): Measure {
  return async (bench, topics, total) => {
    const server = await startStream(bench, topics, { name: topics.names.group, exactlyOnce })
    const throughput = await drain(topics, server.pid, total)
    await endStream(server)
    return throughput
  }
}

function pass(client: LoopClient): Measure {
  return async (_, topics, total) => {
    const loop = await startLoop(client, topics)
    const throughput = await drain(topics, loop.pid, total)
    await loop.stop()
    return throughput
  }
}

/** Each on a group and an output of its own. */
const KINDS = {
  decided: decide(false),
  'with exactly_once': decide(true),
  'the loop of kafkajs': pass('kafkajs'),
  'the loop of @platformatic/kafka': pass('@platformatic/kafka'),
}
type Kind = keyof typeof KINDS

export async function measureRate(bench: Bench, rounds: number, total: number): Promise<Part> {
  const { address } = bench.broker
  const input = await connectTopics(address, 'rate')
  await input.create(PARTITIONS)
  const message = createMessages('rate')
  for (let sent = 0; sent < total; sent += PRODUCED_AT_ONCE) {
    await input.produce(Array.from({ length: PRODUCED_AT_ONCE }, (_, at) => message(sent + at)))
  }
  const kinds = Object.keys(KINDS) as Kind[]
  const measured: Record<Kind, Throughput[]> = {
    ...{ decided: [], 'with exactly_once': [] },
    ...{ 'the loop of kafkajs': [], 'the loop of @platformatic/kafka': [] },
  }
  for (let round = 0; round < rounds; round++) {
    // Each is the first as often as another.
    for (const at of kinds.keys()) {
      const kind = kinds[(at + round) % kinds.length]
      const topics = await connectTopics(address, `rate.${round}.${at}`, { input: input.names.transactions })
      await topics.create(PARTITIONS)
      const throughput = await KINDS[kind](bench, topics, total)
      measured[kind].push(throughput)
      bench.say(`${throughput.perSecond.toFixed(0)}/s, ${throughput.cpuUs.toFixed(0)} µs: ${kind}`)
      await topics.close()
    }
  }
  await input.close()
  const share = (a: Kind, b: Kind): number =>
    median(measured[a].map(({ perSecond }, round) => perSecond / measured[b][round].perSecond))
  return {
    lines: [
      `  ${`as fast as it goes, ${rounds} × ${total}, in turn`.padEnd(36)}  a second  µs of CPU a message`,
      ...kinds.map((kind) => row(kind, [medianOf(measured[kind], 'perSecond'), medianOf(measured[kind], 'cpuUs')], 0)),
      targetLine('decided / loop', share('decided', 'the loop of kafkajs'), { min: SHARE_MIN }),
      `  with exactly_once / decided: ${share('with exactly_once', 'decided').toFixed(2)}`,
      '',
    ],
    data: measured,
  }
}
