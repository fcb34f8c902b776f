// Three members of a group restarted one after the other under load, as a new release would be: the longest time
// without a decision, of any partition and of each.
import { setTimeout as delay } from 'node:timers/promises'
import { Kafka, logLevel } from 'kafkajs'
import { connectTopics } from '../../test/kafka/topics.js'
import { quantile } from '../control.js'
import { type Bench, endStream, type Part, row, startStream } from './rig.js'
import { startTraffic } from './traffic.js'

const MEMBERS = 3
/** Two each. */
const PARTITIONS = 6
const JOINED_MS_MAX = 60_000

export async function measureRolling(bench: Bench, ratePerSecond: number): Promise<Part> {
  const { address } = bench.broker
  const topics = await connectTopics(address, 'rolling')
  await topics.create(PARTITIONS)
  const kafka = new Kafka({ brokers: [address], clientId: 'rolling', logLevel: logLevel.NOTHING })
  const admin = kafka.admin()
  await admin.connect()
  const traffic = await startTraffic(address, 'rolling', [topics.names.decisions])

  /** All of them have their share. */
  async function joined(): Promise<void> {
    const endMs = Date.now() + JOINED_MS_MAX
    for (;;) {
      const { groups } = await admin.describeGroups([topics.names.group])
      if (groups[0]?.state === 'Stable' && groups[0].members.length === MEMBERS) return
      if (Date.now() > endMs) throw new Error('the members did not join')
      await delay(50)
    }
  }
  const start = (member: number): ReturnType<typeof startStream> =>
    startStream(bench, topics, { name: `member${member}` })
  const servers = await Promise.all(Array.from({ length: MEMBERS }, (_, member) => start(member)))
  await joined()
  const calm = await traffic.run(topics.names.transactions, ratePerSecond, bench.seconds)
  const running = traffic.start(topics.names.transactions, ratePerSecond)
  await delay(1_000)
  const beganMs = performance.now()
  for (const member of servers.keys()) {
    await endStream(servers[member])
    servers[member] = await start(member)
    await joined()
    bench.say(`member ${member + 1} of ${MEMBERS} was restarted`)
  }
  const seconds = (performance.now() - beganMs) / 1_000
  await delay(1_000)
  const rolled = await running.stop()
  await traffic.close()
  await Promise.all([...servers.map(endStream), admin.disconnect(), topics.close()])
  const slowest = ({ latenciesMs }: typeof calm): number => quantile(latenciesMs.slice().sort(), 1)
  const gaps = rolled.partitionGapsMs.map((ms) => ms.toFixed(0)).join(', ')
  return {
    lines: [
      `  ${`rolling restart of ${MEMBERS} at ${ratePerSecond}/s, ms`.padEnd(36)}  longest gap  of a partition  slowest`,
      ...(
        [
          ['before', calm],
          ['meanwhile', rolled],
        ] as const
      ).map(([name, report]) =>
        row(name, [report.longestGapMs, Math.max(...report.partitionGapsMs), slowest(report)], 0),
      ),
      `  by partition ${gaps}; ${seconds.toFixed(0)} s for all; ${rolled.repeats} decisions came again`,
      '',
    ],
    data: {
      ...{ ratePerSecond, seconds, repeats: rolled.repeats, partitionGapsMs: rolled.partitionGapsMs },
      ...{ longestGapMs: rolled.longestGapMs, slowestMs: slowest(rolled) },
    },
  }
}
