// How many decisions a second one, two and three servers make on one Redis, as fast as it goes, against one server with
// its state in memory. Generator, Redis and servers share the cores: what each of them takes is printed beside, so that
// it can be seen what limits. Budgets are wide: what is counted are whole decisions, not those of a fallback.
import { cpus } from 'node:os'
import { closedLoop } from '../load.js'
import { cpuSeconds, machineSeconds } from '../proc.js'
import { createRequestPool, POPULATION } from '../requests.js'
import type { RunningServer } from '../server.js'
import { type BenchRedis, startRedis } from './redis.js'
import { type Bench, decidedLocally, endMember, heads, medianOf, type Part, row, startMember } from './rig.js'

/** Of all servers together: each gets its share. */
const CONNECTIONS = 24
/** Replies a second that there is room for. */
const RATE_MAX = 50_000
const ENV = {
  ASSAY_POLICY__BUDGETS__DEADLINE_MS: '200',
  ASSAY_POLICY__STATE__WAIT_MS: '100',
  ASSAY_POLICY__STATE__ON_UNAVAILABLE: 'local',
}

interface Run {
  readonly name: string
  readonly perSecond: number
  /** CPU a decision, µs. */
  readonly serversUs: number
  readonly redisUs: number
  readonly generatorUs: number
  readonly busyPercent: number
  readonly localPercent: number
  readonly wrong: number
}

export async function measureRate(bench: Bench, counts: readonly number[]): Promise<Part<{ runs: readonly Run[] }>> {
  const redis = await startRedis()
  const servers: RunningServer[] = []
  try {
    const start = async (name: string, node: string | null): Promise<RunningServer> => {
      const server = await startMember(bench, { name: `rate-${name}`, node, prefix: 'rate', env: ENV })
      servers.push(server)
      return server
    }
    const alone = await start('memory', null)
    const fleet = await Promise.all(
      Array.from({ length: Math.max(...counts) }, (_, at) => start(`${at}`, redis.socket)),
    )
    const states = [
      { name: 'memory, 1 server', servers: [alone] },
      ...counts.map((count) => ({
        name: `Redis, ${count} server${count > 1 ? 's' : ''}`,
        servers: fleet.slice(0, count),
      })),
    ]
    const load = createLoad(redis)
    for (const state of states) await load(state, bench.warmUpSeconds)
    const runs: Run[] = []
    for (let turn = 0; turn < bench.turns; turn++) {
      for (const state of turn % 2 === 0 ? states : states.toReversed()) {
        const run = await load(state, bench.seconds)
        runs.push(run)
        bench.say(`${run.perSecond.toFixed(0)}/s: ${run.name}`)
      }
    }
    for (const server of servers.splice(0)) await endMember(server)
    return { lines: linesOf(runs, bench), data: { runs } }
  } finally {
    for (const server of servers) await server.kill()
    await redis.stop()
  }
}

interface State {
  readonly name: string
  readonly servers: readonly RunningServer[]
}

function createLoad(redis: BenchRedis): (state: State, seconds: number) => Promise<Run> {
  let pools = 0
  const sum = (numbers: readonly number[]): number => numbers.reduce((a, b) => a + b, 0)
  return async ({ name, servers }, seconds) => {
    const look = async () => ({
      own: process.cpuUsage(),
      machine: machineSeconds(),
      servers: sum(servers.map(({ pid }) => cpuSeconds(pid))),
      redis: (await redis.look()).cpuSeconds,
      local: sum(await Promise.all(servers.map(decidedLocally))),
    })
    const pool = (): ReturnType<typeof createRequestPool> => {
      pools += 1
      return createRequestPool({ seed: pools, size: 20_000, prefix: `r${pools}-`, ...POPULATION })
    }
    const options = servers.map(({ scorePort: port }) => ({ port, pool: pool() }))
    const connections = CONNECTIONS / servers.length
    const before = await look()
    const loads = await Promise.all(
      options.map((each) => closedLoop({ ...each, connections, seconds, rateMax: RATE_MAX })),
    )
    const after = await look()
    const scores = Math.max(1, sum(loads.map(({ timeline }) => timeline.count)))
    const [own, machine] = [process.cpuUsage(before.own), after.machine.total - before.machine.total]
    return {
      name,
      perSecond: sum(loads.map(({ timeline, seconds: took }) => timeline.count / took)),
      serversUs: (1e6 * (after.servers - before.servers)) / scores,
      redisUs: (1e6 * (after.redis - before.redis)) / scores,
      generatorUs: (own.user + own.system) / scores,
      busyPercent: 100 * (1 - (after.machine.idle - before.machine.idle) / machine),
      localPercent: (100 * (after.local - before.local)) / scores,
      wrong: sum(loads.map(({ errors, unanswered }) => sum([...errors.values(), unanswered]))),
    }
  }
}

function linesOf(runs: readonly Run[], bench: Bench): string[] {
  const names = [...new Set(runs.map(({ name }) => name))]
  const rows = names.map((name) => {
    const list = runs.filter((run) => run.name === name)
    const keys = ['perSecond', 'serversUs', 'redisUs', 'generatorUs', 'busyPercent', 'localPercent'] as const
    return row(
      name,
      keys.map((key) => medianOf(list, key)),
      1,
    )
  })
  const last = runs.filter(({ name }) => name === names.at(-1))
  const [servers, redis, generator] = [
    medianOf(last, 'serversUs'),
    medianOf(last, 'redisUs'),
    medianOf(last, 'generatorUs'),
  ]
  const cores = cpus().length
  const together = servers + redis + generator
  return [
    `closed loop, ${CONNECTIONS} connections in all, Redis over its socket; medians of ${bench.turns} turns of ${bench.seconds} s`,
    heads('', ['/s', 'server µs', 'Redis µs', 'load µs', 'busy %', 'local %']),
    ...rows,
    `  limits: ${cores} cores for ${together.toFixed(0)} µs a decision (server, Redis, generator) are at most ` +
      `${((cores * 1e6) / together).toFixed(0)}/s here; a core for the Redis alone is ${(1e6 / redis).toFixed(0)}/s`,
    `  refused or wrong: ${runs.reduce((sum, { wrong }) => sum + wrong, 0)}`,
    '',
  ]
}
