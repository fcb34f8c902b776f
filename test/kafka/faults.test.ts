// The short form of bench/kafka-faults.ts: two servers of one group and their broker, under a producer, each killed
// once. Skipped, loudly, without Java and Maven; under CI that fails.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { QUICK_SERVE } from '../flow/quick.js'
import { brokerMissing, startBroker } from './broker.js'
import { judge } from './fault-judge.js'
import { runFaults } from './fault-run.js'

t.setTimeout(400_000)
const unable = brokerMissing()
if (unable !== null && process.env.CI === 'true') t.fail(`no broker: ${unable}`)

void t.test(
  'whatever is killed, each transaction has one decision that stands',
  { skip: unable === null ? false : `no broker: ${unable}` },
  async (t) => {
    const folder = mkdtempSync(join(tmpdir(), 'assay-kafka-faults-'))
    const broker = await startBroker(join(folder, 'broker'))
    t.teardown(async () => {
      await broker.stop()
      rmSync(folder, { recursive: true, force: true })
    })
    const run = await runFaults({
      ...{ name: 'short', seed: 1, servers: 2, partitions: 2, perSecond: 200, broker, folder },
      faults: ['server', 'broker', 'join'],
      command: QUICK_SERVE,
    })
    const { findings, transactions } = await judge(run, { pausesAllowed: false })
    await run.topics.close()
    t.same(findings, [])
    t.ok(transactions >= run.sent && run.sent > 1_000, `${run.sent} were sent`)
  },
)
