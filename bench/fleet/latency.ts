// What shared state costs a payment: the open loop against a server with its state in memory, in a Redis on the same
// host over a unix socket and over TCP, and in a Redis 1 ms away each way; turn by turn, so that what the machine does
// meets all of them. Void turns are named and left out of the cleaned figures.
import { measure, type Measurement } from '../measure.js'
import { riseLine, targetLine } from '../report.js'
import { createRequestPool, POPULATION } from '../requests.js'
import type { RunningServer } from '../server.js'
import { type BenchRedis, callsBetween, openDelayedWay, pingMs, startRedis, type Usage } from './redis.js'
import { type Bench, decidedLocally, endMember, heads, medianOf, type Part, row, startMember } from './rig.js'

const DELAY_MS = 1
const PINGS = 1_000
/** What is wanted with the Redis on the host. */
const P99_MS_MAX = 5
const REDIS_US_MAX = 60
/** Per million, as in the bench of one server. */
const WRONG_MAX = 100
const COMMANDS = ['evalsha', 'get', 'set', 'append', 'pexpire', 'time'] as const

const WAYS = ['memory', 'Redis, unix socket', 'Redis, TCP', 'Redis, 1 ms away'] as const
type Way = (typeof WAYS)[number]
const ON_HOST: readonly Way[] = ['Redis, unix socket', 'Redis, TCP']

interface Turn {
  readonly way: Way
  readonly measured: Measurement
  /** CPU of the Redis, µs a score; 0 where there is none. */
  readonly redisUs: number
  readonly netBytes: number
  /** Decided from local windows. */
  readonly localShare: number
}

export interface LatencyData {
  readonly turns: readonly Turn[]
  readonly redisUs: number
  readonly serverUs: number
  readonly netBytes: number
}

export async function measureLatency(bench: Bench): Promise<Part<LatencyData>> {
  const redis = await startRedis()
  const far = await openDelayedWay(redis.port, DELAY_MS)
  const servers = new Map<Way, RunningServer>()
  try {
    const nodes = {
      memory: null,
      'Redis, unix socket': redis.socket,
      'Redis, TCP': redis.tcp,
      'Redis, 1 ms away': far.node,
    }
    const start = async (way: Way, at: number): Promise<void> => {
      // Each is a fleet of its own.
      servers.set(way, await startMember(bench, { name: `latency-${at}`, node: nodes[way], prefix: `way${at}` }))
    }
    await Promise.all(WAYS.map(start))
    const pings = [await pingMs(redis.socket, PINGS), await pingMs(redis.tcp, PINGS), await pingMs(far.node, PINGS)]
    const { turns, usage } = await runTurns(bench, redis, servers)
    for (const server of servers.values()) await endMember(server)
    servers.clear()
    const ways = pings.map(({ p50Ms, p99Ms }, at) => `${WAYS[at + 1]} ${p50Ms.toFixed(2)} (p99 ${p99Ms.toFixed(2)})`)
    const lines = [
      `open loop, ${bench.ratePerSecond}/s, Redis ${redis.version}; ${bench.turns} turns of ${bench.seconds} s each, in turn;`,
      '  medians of turns; cleaned, of those that are not void; the delay in a process of its own on the same cores',
      `  a PING alone, there and back, ms: ${ways.join('; ')}`,
      ...linesOf(turns),
      commandsLine(turns, usage),
      ...targetsOf(turns),
      '',
    ]
    return { lines, data: { turns, ...costsOf(turns) } }
  } finally {
    for (const server of servers.values()) await server.kill()
    await far.stop()
    await redis.stop()
  }
}

/** How often, and for how long, the Redis ran each command in all turns over the socket. */
type Commands = Readonly<Record<string, { calls: number; micros: number }>>

async function runTurns(
  bench: Bench,
  redis: BenchRedis,
  servers: ReadonlyMap<Way, RunningServer>,
): Promise<{ turns: Turn[]; usage: Commands }> {
  const usage: Commands = Object.fromEntries(COMMANDS.map((command) => [command, { calls: 0, micros: 0 }]))
  const turns: Turn[] = []
  let pools = 0
  async function load(way: Way, seconds: number): Promise<{ turn: Turn; from: Usage; until: Usage }> {
    const server = servers.get(way)
    if (server === undefined) throw new Error(`no server: ${way}`)
    pools += 1
    const pool = createRequestPool({ seed: pools, size: 20_000, prefix: `f${pools}-`, ...POPULATION })
    const [from, localFrom] = [await redis.look(), await decidedLocally(server)]
    const measured = await measure({
      ...{
        kind: 'open',
        port: server.scorePort,
        pid: server.pid,
        folder: bench.folder,
        connections: 64,
        seconds,
        pool,
      },
      ratePerSecond: bench.ratePerSecond,
    })
    const [until, localUntil] = [await redis.look(), await decidedLocally(server)]
    const scores = Math.max(1, measured.raw.count)
    const isAlone = way === 'memory'
    const turn = {
      ...{ way, measured, localShare: (localUntil - localFrom) / scores },
      redisUs: isAlone ? 0 : (1e6 * (until.cpuSeconds - from.cpuSeconds)) / scores,
      netBytes: isAlone ? 0 : (until.netBytes - from.netBytes) / scores,
    }
    return { turn, from, until }
  }
  for (const way of WAYS) await load(way, bench.warmUpSeconds)
  for (let at = 0; at < bench.turns; at++) {
    for (const way of at % 2 === 0 ? WAYS : WAYS.toReversed()) {
      const { turn, from, until } = await load(way, bench.seconds)
      turns.push(turn)
      const { raw, cleaned, isVoid } = turn.measured
      bench.say(`p99 ${raw.p99Ms.toFixed(2)} ms, cleaned ${cleaned.p99Ms.toFixed(2)}${isVoid ? ' (void)' : ''}: ${way}`)
      if (way !== 'Redis, unix socket') continue
      for (const command of COMMANDS) {
        const { calls, micros } = callsBetween(from, until, command)
        usage[command].calls += calls
        usage[command].micros += micros
      }
    }
  }
  return { turns, usage }
}

function of(turns: readonly Turn[], way: Way): Turn[] {
  return turns.filter((turn) => turn.way === way)
}

function isValid({ measured }: Turn): boolean {
  return !measured.isVoid
}

function linesOf(turns: readonly Turn[]): string[] {
  const latencies = (list: readonly Turn[], key: 'raw' | 'cleaned'): number[] => {
    const each = list.map(({ measured }) => measured[key])
    return [medianOf(each, 'p50Ms'), medianOf(each, 'p99Ms'), medianOf(each, 'p999Ms')]
  }
  const table = (key: 'raw' | 'cleaned', passes: (turn: Turn) => boolean): string[] => [
    heads(`${key}, ms`, ['p50', 'p99', 'p99.9', 'worst p99']),
    ...WAYS.map((way) => {
      const list = of(turns, way).filter(passes)
      const worst = list.length === 0 ? NaN : Math.max(...list.map(({ measured }) => measured[key].p99Ms))
      return row(way, [...latencies(list, key), worst])
    }),
  ]
  const costs = WAYS.map((way) => {
    const list = of(turns, way)
    const serverUs = medianOf(
      list.map(({ measured }) => measured),
      'serverCpuUs',
    )
    const local = (100 * list.reduce((sum, { localShare }) => sum + localShare, 0)) / list.length
    return row(way, [serverUs, medianOf(list, 'redisUs'), medianOf(list, 'netBytes'), local])
  })
  return [
    ...table('raw', () => true),
    ...table('cleaned', isValid),
    ...voidLines(turns),
    heads('a score', ['server µs', 'Redis µs', 'net bytes', 'local %']),
    ...costs,
  ]
}

function voidLines(turns: readonly Turn[]): string[] {
  const named = WAYS.flatMap((way) =>
    of(turns, way).flatMap((turn, at) =>
      isValid(turn)
        ? []
        : [`  void: ${way}, turn ${at + 1}, ${(100 * turn.measured.leftOutShare).toFixed(2)} % left out`],
    ),
  )
  return named.length > 0 ? named : ['  no turn is void']
}

function commandsLine(turns: readonly Turn[], usage: Commands): string {
  const scores = of(turns, 'Redis, unix socket').reduce((sum, { measured }) => sum + measured.raw.count, 0)
  const each = Object.entries(usage).map(([command, { calls, micros }]) => {
    return `${command} ${(calls / scores).toFixed(2)} × ${(micros / Math.max(1, calls)).toFixed(1)}`
  })
  return `  commands of a score over the socket, calls × µs (evalsha with what its script calls): ${each.join(', ')}`
}

function costsOf(turns: readonly Turn[]): Omit<LatencyData, 'turns'> {
  const list = of(turns, 'Redis, unix socket')
  const measured = list.map((turn) => turn.measured)
  return {
    redisUs: medianOf(list, 'redisUs'),
    netBytes: medianOf(list, 'netBytes'),
    serverUs: medianOf(measured, 'serverCpuUs'),
  }
}

function targetsOf(turns: readonly Turn[]): string[] {
  const wrong = turns.reduce(
    (sum, { measured: { errors, unanswered } }) => sum + Object.values(errors).reduce((a, b) => a + b, unanswered),
    0,
  )
  const answers = turns.reduce((sum, { measured }) => sum + measured.raw.count, 0)
  const memory = of(turns, 'memory')
  const onHost = ON_HOST.flatMap((way) => {
    const list = of(turns, way)
    const valid = list.filter(isValid).map(({ measured }) => measured.cleaned)
    const isVoid = 2 * valid.length < list.length || valid.length === 0
    return [
      targetLine(`${way}: p99, ms, cleaned`, medianOf(valid, 'p99Ms'), { max: P99_MS_MAX }, isVoid),
      targetLine(`${way}: its CPU, µs`, medianOf(list, 'redisUs'), { max: REDIS_US_MAX }),
    ]
  })
  const rises = WAYS.filter((way) => way !== 'memory').map((way) => {
    const pairs = of(turns, way).flatMap((turn, at) =>
      isValid(turn) && isValid(memory[at]) ? [turn.measured.cleaned.p99Ms - memory[at].measured.cleaned.p99Ms] : [],
    )
    return riseLine(`p99, cleaned, against memory: ${way}`, pairs)
  })
  return [
    targetLine('wrong or missing, per million', (1e6 * wrong) / Math.max(1, answers), { max: WRONG_MAX }),
    ...onHost,
    ...rises,
  ]
}
