// The short form of bench/kafka-faults.ts: two servers of one group and their broker, under a producer, each killed
// once; and two that share their state, whose Redis goes away as well. Skipped, loudly, without Java and Maven; under
// CI that fails.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { FLEET_ENVIRONMENT } from '../flow/fleet-run.js'
import { QUICK_SERVE } from '../flow/quick.js'
import { skipWithoutRedis, startRedis } from '../redis/rig.js'
import { brokerMissing, startBroker } from './broker.js'
import { judge } from './fault-judge.js'
import { type FaultOptions, runFaults } from './fault-run.js'
import { judgeShared } from './shared-judge.js'

t.setTimeout(600_000)
const unable = brokerMissing()
if (unable !== null && process.env.CI === 'true') t.fail(`no broker: ${unable}`)
const skip = unable === null ? false : `no broker: ${unable}`

/** What both runs have. */
async function start(t: Test): Promise<Omit<FaultOptions, 'name' | 'faults'>> {
  const folder = mkdtempSync(join(tmpdir(), 'assay-kafka-faults-'))
  const broker = await startBroker(join(folder, 'broker'))
  t.teardown(async () => {
    await broker.stop()
    rmSync(folder, { recursive: true, force: true })
  })
  return { seed: 1, servers: 2, partitions: 2, perSecond: 200, broker, folder, command: QUICK_SERVE }
}

void t.test('whatever is killed, each transaction has one decision that stands', { skip }, async (t) => {
  const run = await runFaults({ ...(await start(t)), name: 'short', faults: ['server', 'broker', 'join'] })
  const { findings, transactions } = await judge(run, { pausesAllowed: false })
  await run.topics.close()
  t.same(findings, [])
  t.ok(transactions >= run.sent && run.sent > 1_000, `${run.sent} were sent`)
})

void t.test('servers that share their state fold a stream as one', { skip: skip || skipWithoutRedis() }, async (t) => {
  const redis = await startRedis(t, { persistent: true })
  const run = await runFaults({
    ...{ ...(await start(t)), name: 'shared', redis, env: FLEET_ENVIRONMENT },
    faults: ['server', 'pause', 'redis', 'server'],
  })
  const { findings, transactions, ...figures } = await judge(run, { pausesAllowed: true, isShared: true })
  const shared = await judgeShared(run, redis)
  await run.topics.close()
  const { exact, later, local } = shared
  t.comment(JSON.stringify({ ...figures, features: { exact, later, local } }))
  t.same(findings.slice(0, 20), [], 'one decision of each transaction stands')
  t.same(shared.findings.slice(0, 20), [], 'folded once, with the features of a single state')
  t.ok(transactions >= run.sent && run.sent > 1_000, `${run.sent} were sent`)
  t.ok(exact > 0.5 * transactions)
})
