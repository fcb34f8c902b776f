// The proof of shared state: three servers and one Redis under clients that never stop. 100 servers are killed with
// SIGKILL at random moments, others stand still; the Redis stops and dies, with every write on disk; a primary that
// keeps nothing on disk dies and its replica takes over, whose losses are counted. test/flow/fleet.test.ts is the short
// form.
//   node dist/bench/fleet-kills.js [--kills 100] [--stalls 20] [--outages 10] [--failovers 3] [--per-second 300]
//                                  [--seed N] [--folder DIR]           → bench/results/fleet-kills.txt
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { createRandom } from '../src/simulate/random.js'
import type { RedisConfig } from '../src/contract/state.js'
import { compareFeatures, type FeatureVerdict } from '../test/flow/fleet-features.js'
import { judgeFleet, lostIn, type Verdict } from '../test/flow/fleet-judge.js'
import { type Fleet, type FleetRun, gather, startFleet } from '../test/flow/fleet-run.js'
import { startRedis, startSentinels } from '../test/redis/rig.js'
import { createOwner, type Owner } from './owner.js'
import { writeReport } from './report.js'
import { ROOT } from './server.js'

const { values } = parseArgs({
  options: {
    kills: { type: 'string', default: '100' },
    stalls: { type: 'string', default: '20' },
    outages: { type: 'string', default: '10' },
    failovers: { type: 'string', default: '3' },
    'per-second': { type: 'string', default: '300' },
    seed: { type: 'string', default: '1' },
    folder: { type: 'string', default: join(ROOT, 'data') },
  },
})
const [kills, outages, failovers] = [Number(values.kills), Number(values.outages), Number(values.failovers)]
const [stalls, perSecond, seed] = [Number(values.stalls), Number(values['per-second']), Number(values.seed)]
mkdirSync(values.folder, { recursive: true })

const CONNECTIONS = 16
/** 100 kills at 300/s take some 200,000 transactions: their event times span less than the windows. */
const STEP_MS = 5_000
const AWAY_ANSWERS_MAX = 1_500

/** One fleet from its start to its end; `under` is what happens under load. */
async function runFleet(owner: Owner, redis: RedisConfig, under: (fleet: Fleet) => Promise<void>): Promise<FleetRun> {
  const load = { servers: 3, perSecond, connections: CONNECTIONS, stepMs: STEP_MS }
  const fleet = await startFleet({ ...load, seed, folder: values.folder, redis })
  owner.teardown(() => fleet.close())
  await fleet.answered(perSecond)
  await under(fleet)
  await fleet.answered(perSecond)
  return fleet.end()
}

function linesOf(title: string, run: FleetRun, { figures }: Verdict, features: FeatureVerdict | null): string[] {
  const refused = [...run.clients.refused].map(([what, times]) => `${times} × ${what}`)
  return [
    title,
    `  ${figures.transactions} transactions, ${figures.answers} answers; came again after: ${refused.join(', ') || '-'}`,
    `  ${figures.decisions} decisions made: ${figures.superseded} superseded, ${figures.untold} of servers that died ` +
      `before they told anybody, ${figures.takenOver} of transactions taken over, ${figures.local} with local features`,
    `  ${figures.observed} answers of one server logged in full by another; ${figures.replaced} transactions were told a ` +
      'decision that another then stood in for',
    `  ${figures.entries} entries in the lists of the entities`,
    ...(features === null
      ? []
      : [`  features: ${features.exact} decisions equal at their place, ${features.later} at a later moment`]),
  ]
}

const lines: string[] = [
  `seed ${seed}: three servers under ${perSecond} transactions/s of 400 customers, 200 terminals`,
]
const findings: string[] = []

async function judged(title: string, run: FleetRun, wasAway: boolean): Promise<void> {
  const { evidence, features } = await gather(run, { wasAway })
  const verdict = judgeFleet(evidence)
  const compared = compareFeatures(features)
  findings.push(...[...run.findings, ...verdict.findings, ...compared.findings].map((line) => `${title}: ${line}`))
  if (run.grown !== 0) findings.push(`${title}: all asked for again, lists hold ${run.grown} entries more`)
  lines.push('', ...linesOf(title, run, verdict, compared))
}

async function killServers(owner: Owner): Promise<void> {
  const redis = await startRedis(owner, { persistent: true })
  const onKill = (killed: number): void => console.error(`${killed} servers killed`)
  const run = await runFleet(owner, redis.config(), async (fleet) => {
    await fleet.killServers(kills, onKill)
    await fleet.stallServers(stalls)
  })
  await judged(`${kills} kills of servers, ${stalls} that stood still for longer than their claims hold`, run, false)
}

async function stopRedis(owner: Owner): Promise<void> {
  const random = createRandom(seed)
  const redis = await startRedis(owner, { persistent: true })
  const run = await runFleet(owner, redis.config(), async (fleet) => {
    for (let outage = 0; outage < outages; outage++) {
      const away = 1 + random.integer(AWAY_ANSWERS_MAX)
      if (outage % 2 === 0) {
        redis.pause()
        await fleet.answered(away)
        redis.resume()
      } else {
        await redis.kill()
        await fleet.answered(away)
        await fleet.killServers(1)
        await redis.restart()
      }
      await fleet.answered(5 * perSecond)
      console.error(`${outage + 1} outages of the Redis`)
    }
  })
  await judged(
    `${outages} outages of the Redis, paused and killed in turn, a server with it; every write on its disk`,
    run,
    true,
  )
}

async function failOver(owner: Owner, round: number): Promise<void> {
  const sentinels = await startSentinels(owner)
  const run = await runFleet(owner, sentinels.config(), async (fleet) => {
    await sentinels.failover()
    await fleet.answered(perSecond)
  })
  const { evidence } = await gather(run, { wasAway: true })
  const lost = lostIn(evidence)
  const verdict = judgeFleet(evidence)
  findings.push(...run.findings)
  lines.push('', ...linesOf(`fail-over ${round + 1} to a replica, nothing on any disk`, run, verdict, null))
  lines.push(`  lost: ${lost.decisions} decisions that clients were told, ${lost.entries} entries of lists`)
}

const parts = [killServers, stopRedis, ...Array.from({ length: failovers }, (_, at) => (o: Owner) => failOver(o, at))]
for (const part of parts) {
  const owner = createOwner()
  try {
    await part(owner)
  } finally {
    await owner.end()
  }
}
lines.push(
  '',
  findings.length === 0
    ? 'kept: every transaction is answered and has one decision that stands, folded once, with features of one state'
    : `NOT kept: ${findings.length} findings`,
  ...findings.slice(0, 50).map((finding) => `  ${finding}`),
)
writeReport('fleet-kills', lines, { seed, perSecond, kills, stalls, outages, failovers, findings: findings.length })
if (findings.length > 0) process.exitCode = 1
