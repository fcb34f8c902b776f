// A broker that is away for ten minutes while transactions go on being made: what was left over is decided afterwards,
// nothing is lost, nothing twice, without a hand. Judged as the other faults are, by what broker and logs hold.
//   node dist/bench/kafka-outage.js [--minutes 10] [--per-second 500] [--folder DIR]
//                                                                     → bench/results/kafka-outage.txt
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { startBroker } from '../test/kafka/broker.js'
import { judge } from '../test/kafka/fault-judge.js'
import { runFaults } from '../test/kafka/fault-run.js'
import { writeReport } from './report.js'
import { ROOT } from './server.js'

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '10' },
    'per-second': { type: 'string', default: '500' },
    folder: { type: 'string', default: join(ROOT, 'data') },
  },
})
const [minutes, perSecond] = [Number(values.minutes), Number(values['per-second'])]
mkdirSync(values.folder, { recursive: true })
const folder = mkdtempSync(join(values.folder, 'assay-outage-'))
const broker = await startBroker(join(folder, 'broker'))
try {
  const run = await runFaults({
    ...{ name: 'outage', seed: 1, servers: 2, partitions: 4, perSecond, broker, folder },
    faults: ['outage'],
    outageMs: minutes * 60_000,
  })
  const { findings, transactions, repeats } = await judge(run, { pausesAllowed: false })
  await run.topics.close()
  const lines = [
    `the broker was away for ${minutes} minutes; two servers, 4 partitions, ${perSecond} transactions/s made meanwhile:`,
    ...run.recoveries.map(
      ({ transactions: left, seconds }) =>
        `  ${left} transactions were left over; decided ${seconds.toFixed(0)} s after it was back, ` +
        `${(left / seconds).toFixed(0)}/s`,
    ),
    `  ${transactions} transactions in all; ${repeats} decisions came again on the output, the same ones`,
    findings.length === 0
      ? 'kept: each has one decision, in order per key, none committed before it was decided'
      : `NOT kept: ${findings.length} findings`,
    ...findings.slice(0, 50).map((finding) => `  ${finding}`),
  ]
  writeReport('kafka-outage', lines, { minutes, perSecond, transactions, recoveries: run.recoveries, findings })
  if (findings.length > 0) process.exitCode = 1
} finally {
  await broker.stop()
  rmSync(folder, { recursive: true, force: true })
}
