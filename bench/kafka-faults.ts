// The full form of the Kafka fault test: random kills, pauses and rebalances of servers and broker while a producer
// sends, then what the broker and the logs hold against the promise of delivery.
// test/kafka/faults.test.ts is the short form.
// With --shared: two servers that share their state, under the same faults and those of their Redis.
//   node dist/bench/kafka-faults.js [--faults 300] [--seed N] [--per-second 500] [--folder DIR] [--shared]
//                                                    → bench/results/kafka-faults.txt, kafka-faults-shared.txt
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { startBroker } from '../test/kafka/broker.js'
import { compareFeatures, judge } from '../test/kafka/fault-judge.js'
import { type Fault, runFaults } from '../test/kafka/fault-run.js'
import { judgeShared } from '../test/kafka/shared-judge.js'
import { FLEET_ENVIRONMENT } from '../test/flow/fleet-run.js'
import { startRedis } from '../test/redis/rig.js'
import { referencePolicy } from '../test/reference-policy.js'
import { createOwner } from './owner.js'
import { writeReport } from './report.js'
import { ROOT } from './server.js'

const { values } = parseArgs({
  options: {
    faults: { type: 'string', default: '300' },
    seed: { type: 'string', default: '1' },
    'per-second': { type: 'string', default: '500' },
    folder: { type: 'string', default: join(ROOT, 'data') },
    only: { type: 'string' },
    shared: { type: 'boolean', default: false },
  },
})
mkdirSync(values.folder, { recursive: true })
const [faults, seed, perSecond] = [Number(values.faults), Number(values.seed), Number(values['per-second'])]

interface Setup {
  readonly servers: 1 | 2
  readonly partitions: number
  readonly exactlyOnce: boolean
}

const SHARED: readonly Setup[] = Array.from({ length: 3 }, () => ({ servers: 2, partitions: 4, exactlyOnce: false }))

/** Each round takes a tenth of the faults: what is to be compared is held in memory. */
const ALONE: readonly Setup[] = [
  ...Array.from({ length: 4 }, () => ({ servers: 2, partitions: 4, exactlyOnce: false }) as const),
  ...Array.from({ length: 2 }, () => ({ servers: 2, partitions: 4, exactlyOnce: true }) as const),
  ...Array.from({ length: 2 }, () => ({ servers: 1, partitions: 4, exactlyOnce: false }) as const),
  ...Array.from({ length: 2 }, () => ({ servers: 1, partitions: 1, exactlyOnce: false }) as const),
]
const SETUPS = (values.shared ? SHARED : ALONE).filter(
  (setup) => values.only === undefined || values.only === titleOf(setup),
)

function titleOf({ servers, partitions, exactlyOnce }: Setup): string {
  return `${servers}x${partitions}${exactlyOnce ? ' exactly once' : ''}`
}

/** Half of the entities go to the other model: lanes of unequal speed put ordinals out of order in the log. */
const ENVIRONMENT = values.shared ? FLEET_ENVIRONMENT : { ASSAY_POLICY__ROUTES__SHARE: '5000' }

const catalogue: { features: { name: string; entity?: string }[] } = referencePolicy().catalogue
const folder = mkdtempSync(join(values.folder, 'assay-kafka-'))
const environmentOf = ({ exactlyOnce }: Setup): Record<string, string> => ({
  ...ENVIRONMENT,
  ASSAY_PROCESS__KAFKA__EXACTLY_ONCE: String(exactlyOnce),
})
const owner = createOwner()
const broker = await startBroker(join(folder, 'broker'))
const redis = values.shared ? await startRedis(owner, { persistent: true }) : undefined
const findings: string[] = []
const kinds: Partial<Record<Fault, number>> = {}
const rounds: string[] = []
const sums = { transactions: 0, repeats: 0, later: 0, superseded: 0, takenOver: 0, seconds: 0 }
try {
  for (const [round, setup] of SETUPS.entries()) {
    const run = await runFaults({
      ...{ ...setup, broker, redis, perSecond, folder, env: environmentOf(setup) },
      ...{ name: `r${round}`, seed: seed + round },
      faults: Math.ceil(faults / SETUPS.length),
      onFault: (number, fault, victim) => console.error(`round ${round}, fault ${number}: ${fault} (${victim})`),
    })
    const pausesAllowed = setup.servers > 1 && !setup.exactlyOnce
    const judged = await judge(run, { pausesAllowed, isShared: values.shared })
    for (const [fault, count] of Object.entries(run.faults) as [Fault, number][]) {
      kinds[fault] = (kinds[fault] ?? 0) + count
    }
    for (const key of ['transactions', 'repeats', 'later', 'superseded', 'takenOver'] as const) sums[key] += judged[key]
    sums.seconds += run.seconds
    findings.push(...judged.findings.map((finding) => `round ${round}: ${finding}`))
    let features = ''
    if (setup.servers === 1) {
      const isCompared = ({ entity }: { entity?: string }): boolean =>
        setup.partitions === 1 || entity !== 'terminal_id'
      const differing = await compareFeatures(run, broker, {
        ...{ folder: join(folder, `calm${round}`), env: environmentOf(setup) },
        features: catalogue.features.map((feature) => (isCompared(feature) ? feature.name : null)),
      })
      findings.push(...differing.map((feature) => `round ${round}: features differ: ${feature}`))
      features = `, features ${differing.length === 0 ? 'equal' : 'DIFFER FROM'} those of a run without faults`
    }
    if (redis !== undefined) {
      const shared = await judgeShared(run, redis)
      findings.push(...shared.findings.map((finding) => `round ${round}: ${finding}`))
      features = `, ${shared.findings.length} of lists and features: ${shared.exact} equal at their place, ${shared.later} later`
      features += `; ${shared.local} decided without the Redis`
    }
    rounds.push(
      `  ${titleOf(setup).padEnd(18)} ${judged.transactions} transactions in ` +
        `${run.seconds.toFixed(0)} s, ${judged.findings.length} findings${features}`,
    )
    console.error(rounds.at(-1))
    await run.topics.close()
  }
} finally {
  await broker.stop()
  await owner.end()
}
const lines = [
  `seed ${seed}: ${Object.values(kinds).reduce((sum, count) => sum + count, 0)} faults under ${perSecond} transactions/s, a real broker and disk:`,
  `  ${Object.entries(kinds)
    .map(([fault, count]) => `${count} × ${fault}`)
    .join(', ')}`,
  '  servers x partitions:',
  ...rounds,
  '',
  `  ${sums.transactions} transactions; ${sums.repeats} decisions came again on the output, the same ones`,
  `  ${sums.takenOver} were taken over from the output by another server`,
  `  ${sums.later} later decisions of a server that had been paused, ${sums.superseded} logged as superseded`,
  '',
  findings.length === 0
    ? 'kept: every transaction has one decision that stands, in order per key, none committed before it was decided'
    : `NOT kept: ${findings.length} findings`,
  ...findings.slice(0, 50).map((finding) => `  ${finding}`),
]
const name = values.shared ? 'kafka-faults-shared' : 'kafka-faults'
writeReport(name, lines, { seed, perSecond, kinds, ...sums, findings: findings.length })
if (findings.length === 0) rmSync(folder, { recursive: true, force: true })
else process.exitCode = 1
