// The full form of the Kafka fault test: random kills, pauses and rebalances of servers and broker while a producer
// sends, then what the broker and the logs hold against the promise of delivery.
// test/kafka/faults.test.ts is the short form.
//   node dist/bench/kafka-faults.js [--faults 300] [--seed N] [--per-second 500] [--folder DIR]
//                                                                     → bench/results/kafka-faults.txt
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { startBroker } from '../test/kafka/broker.js'
import { compareFeatures, judge } from '../test/kafka/fault-judge.js'
import { type Fault, runFaults } from '../test/kafka/fault-run.js'
import { writeReport } from './report.js'
import { ROOT } from './server.js'

const { values } = parseArgs({
  options: {
    faults: { type: 'string', default: '300' },
    seed: { type: 'string', default: '1' },
    'per-second': { type: 'string', default: '500' },
    folder: { type: 'string', default: join(ROOT, 'data') },
    only: { type: 'string' },
  },
})
mkdirSync(values.folder, { recursive: true })
const [faults, seed, perSecond] = [Number(values.faults), Number(values.seed), Number(values['per-second'])]

/** Each round takes a tenth of the faults: what is to be compared is held in memory. */
const SETUPS = [
  ...Array.from({ length: 6 }, () => ({ servers: 2, partitions: 4 }) as const),
  ...Array.from({ length: 2 }, () => ({ servers: 1, partitions: 4 }) as const),
  ...Array.from({ length: 2 }, () => ({ servers: 1, partitions: 1 }) as const),
].filter(({ servers, partitions }) => values.only === undefined || values.only === `${servers}x${partitions}`)
/** Half of the entities go to the other model: lanes of unequal speed put ordinals out of order in the log. */
const ENVIRONMENT = { ASSAY_POLICY__ROUTES__SHARE: '5000' }

const { catalogue } = JSON.parse(readFileSync(join(ROOT, 'models/policy.json'), 'utf8')) as {
  catalogue: { features: { name: string; entity?: string }[] }
}
const folder = mkdtempSync(join(values.folder, 'assay-kafka-'))
const broker = await startBroker(join(folder, 'broker'))
const findings: string[] = []
const kinds: Partial<Record<Fault, number>> = {}
const rounds: string[] = []
const sums = { transactions: 0, repeats: 0, later: 0, superseded: 0, takenOver: 0, seconds: 0 }
try {
  for (const [round, setup] of SETUPS.entries()) {
    const run = await runFaults({
      ...{ ...setup, broker, perSecond, folder, env: ENVIRONMENT, name: `r${round}`, seed: seed + round },
      faults: Math.ceil(faults / SETUPS.length),
      onFault: (number, fault, victim) => console.error(`round ${round}, fault ${number}: ${fault} (${victim})`),
    })
    const judged = await judge(run, { pausesAllowed: setup.servers > 1 })
    for (const [fault, count] of Object.entries(run.faults) as [Fault, number][]) {
      kinds[fault] = (kinds[fault] ?? 0) + count
    }
    for (const key of ['transactions', 'repeats', 'later', 'superseded', 'takenOver'] as const) sums[key] += judged[key]
    sums.seconds += run.seconds
    findings.push(...judged.findings.map((finding) => `round ${round}: ${finding}`))
    let features = ''
    if (setup.servers === 1) {
      const compared =
        setup.partitions === 1 ? () => true : ({ entity }: { entity?: string }) => entity !== 'terminal_id'
      const differing = await compareFeatures(run, broker, {
        ...{ folder: join(folder, `calm${round}`), env: ENVIRONMENT },
        features: catalogue.features.map((feature) => (compared(feature) ? feature.name : '')),
      })
      const wrong = differing.filter((feature) => !feature.startsWith(' '))
      findings.push(...wrong.map((feature) => `round ${round}: features differ: ${feature}`))
      features = wrong.length === 0 ? ', features equal those of a run without faults' : ', FEATURES DIFFER'
    }
    rounds.push(
      `  ${setup.servers} server(s), ${setup.partitions} partition(s): ${judged.transactions} transactions in ` +
        `${run.seconds.toFixed(0)} s, ${judged.findings.length} findings${features}`,
    )
    console.error(rounds.at(-1))
    await run.topics.close()
  }
} finally {
  await broker.stop()
}
const lines = [
  `seed ${seed}: ${Object.values(kinds).reduce((sum, count) => sum + count, 0)} faults under ${perSecond} transactions/s, a real broker and disk:`,
  `  ${Object.entries(kinds)
    .map(([fault, count]) => `${count} × ${fault}`)
    .join(', ')}`,
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
writeReport('kafka-faults', lines, { seed, perSecond, kinds, ...sums, findings: findings.length })
if (findings.length === 0) rmSync(folder, { recursive: true, force: true })
else process.exitCode = 1
