// Real servers that read from a real broker while all of them are killed, paused and made to share anew at random
// moments, under a producer that never stops. What came of it is judged in fault-judge.ts. No test.
import { mkdtemp } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { Kafka, logLevel } from 'kafkajs'
import { type RunningServer, startServer } from '../../bench/server.js'
import { createSimulator } from '../../src/simulate/generator.js'
import { createRandom, type Random } from '../../src/simulate/random.js'
import { healed, stateEnv } from '../flow/fleet-run.js'
import { until } from '../flow/server-rig.js'
import type { RedisServer } from '../redis/rig.js'
import type { Broker } from './broker.js'
import { connectTopics, type Topics } from './topics.js'

/**
 * `pause` stops a server for longer than its session lasts; `join` lets a third member in and out again; `redis` stops
 * the Redis for a while, then kills it and starts it again; `outage` leaves the broker away for long, and never comes
 * at random.
 */
export type Fault = 'server' | 'broker' | 'broker pause' | 'restart' | 'join' | 'pause' | 'redis' | 'outage'

export interface FaultOptions {
  /** Names topics, group and folder; unique on the broker. */
  readonly name: string
  readonly seed: number
  readonly servers: 1 | 2
  readonly partitions: number
  readonly perSecond: number
  /** In this order where it is a list; so many at random where it is a number. */
  readonly faults: number | readonly Fault[]
  readonly broker: Broker
  /** The servers share their state in it, under the name. */
  readonly redis?: RedisServer | undefined
  readonly folder: string
  readonly env?: Readonly<Record<string, string>>
  /** Of the server; the package's own by default. */
  readonly command?: readonly string[]
  readonly outageMs?: number
  readonly onFault?: (number: number, fault: Fault, victim: number) => void
}

/** What was committed of each partition at a moment, and where the outputs ended right after. */
export interface Sample {
  readonly committed: ReadonlyMap<number, number>
  readonly outputEnds: ReadonlyMap<number, number>
}

/** What came after an outage, until nothing was left over of it. */
export interface Recovery {
  readonly transactions: number
  readonly seconds: number
}

export interface FaultRun {
  readonly topics: Topics
  /** Of each server. */
  readonly dataDirs: readonly string[]
  readonly sent: number
  readonly faults: Readonly<Record<Fault, number>>
  readonly samples: readonly Sample[]
  readonly recoveries: readonly Recovery[]
  readonly seconds: number
}

/** How often each fault comes, of the sum. A pause needs another server, and takes a session's time. */
const WEIGHTS: Readonly<Record<Fault, number>> = {
  ...{ server: 9, restart: 3, join: 3, broker: 2, 'broker pause': 2, pause: 1, redis: 3, outage: 0 },
}
const PAUSE_MS = 12_500
const REDIS_AWAY_MS_MAX = 2_000
/** Brokers need half a minute to start on a busy machine, a session takes ten seconds to end. */
const RECOVERY_MS_MAX = 120_000
const OUTAGE_RECOVERY_MS_MAX = 600_000
const BATCH_MAX = 500

export async function runFaults(options: FaultOptions): Promise<FaultRun> {
  const { broker, name, perSecond, servers: count } = options
  const random = createRandom(options.seed)
  const topics = await connectTopics(broker.address, name, { idempotent: false })
  await topics.create(options.partitions)
  const dataDirs = await Promise.all(
    Array.from({ length: count }, () => mkdtemp(join(options.folder, 'assay-faults-'))),
  )
  const { redis } = options
  const state = redis === undefined ? {} : stateEnv(redis.config({ key_prefix: name }))
  const env = { ...streamEnv(broker, topics), ...state, ...options.env }
  const start = (server: number): Promise<RunningServer> => startServer({ ...options, dataDir: dataDirs[server], env })
  const servers = await Promise.all(dataDirs.map((_, server) => start(server)))
  const producing = produce(topics, options)
  const made = { server: 0, broker: 0, 'broker pause': 0, restart: 0, join: 0, pause: 0, redis: 0, outage: 0 }
  const samples: Sample[] = []
  const recoveries: Recovery[] = []
  const beganMs = performance.now()

  const makeFault: Readonly<Record<Fault, (victim: number) => Promise<void>>> = {
    async server(victim) {
      await servers[victim].kill()
      await delay(1_000 * random.uniform())
      servers[victim] = await start(victim)
    },
    async restart(victim) {
      await servers[victim].stop()
      servers[victim] = await start(victim)
    },
    async broker() {
      await broker.kill()
      await delay(2_000 * random.uniform())
      await broker.restart()
    },
    async 'broker pause'() {
      broker.pause()
      await delay(1_000 + 3_000 * random.uniform())
      broker.resume()
    },
    async join() {
      await passBy(broker, topics, 1_000 + 2_000 * random.uniform())
    },
    async pause(victim) {
      process.kill(servers[victim].pid, 'SIGSTOP')
      await delay(PAUSE_MS)
      process.kill(servers[victim].pid, 'SIGCONT')
    },
    async redis() {
      if (redis === undefined) throw new Error('there is no Redis')
      redis.pause()
      await delay(REDIS_AWAY_MS_MAX * random.uniform())
      redis.resume()
      await redis.kill()
      await delay(REDIS_AWAY_MS_MAX * random.uniform())
      await redis.restart()
    },
    async outage() {
      const before = await answered(() => topics.committed())
      await broker.kill()
      await delay(options.outageMs ?? 0)
      await broker.restart()
      const sinceMs = performance.now()
      let done = before
      const isLevel = async (): Promise<boolean> => {
        done = await known(topics.committed(), done)
        return done >= (await known(topics.count('transactions'), Infinity)) - perSecond && producing.due() < perSecond
      }
      await until(isLevel, 'nothing is left over of the outage', { msMax: OUTAGE_RECOVERY_MS_MAX, everyMs: 200 })
      recoveries.push({ transactions: done - before, seconds: (performance.now() - sinceMs) / 1000 })
    },
  }

  try {
    const faults = options.faults
    const total = typeof faults === 'number' ? faults : faults.length
    for (let number = 0; number < total; number++) {
      const fault = typeof faults === 'number' ? pick(random, options) : faults[number]
      const victim = random.integer(count)
      options.onFault?.(number, fault, victim)
      await delay(1_500 * random.uniform())
      samples.push(await sample(topics))
      const before = await answered(() => topics.count('decisions'))
      await makeFault[fault](victim)
      made[fault]++
      const decides = async (): Promise<boolean> => (await known(topics.count('decisions'), 0)) > before
      await until(decides, `decisions after ${number} (${fault})`, { msMax: RECOVERY_MS_MAX, everyMs: 200 })
    }
    const sent = await producing.stop()
    const isDone = async (): Promise<boolean> =>
      (await known(topics.committed(), 0)) >= (await known(topics.count('transactions'), Infinity))
    await until(isDone, 'all is done', { msMax: RECOVERY_MS_MAX, everyMs: 200 })
    const seconds = (performance.now() - beganMs) / 1000
    if (redis !== undefined) await healed(servers)
    for (const server of servers) await server.stop()
    return { topics, dataDirs, sent, faults: made, samples, recoveries, seconds }
  } catch (error) {
    const outputs = servers.map((server) => server.output().slice(-4_096)).join('\n')
    for (const server of servers) await server.kill()
    throw new Error(`the run did not end:\n${outputs}`, { cause: error })
  } finally {
    await producing.stop()
  }
}

/** A server reads these topics. */
export function streamEnv({ address }: Pick<Broker, 'address'>, { names }: Topics): Record<string, string> {
  return {
    ASSAY_PROCESS__KAFKA__BROKERS: JSON.stringify([address]),
    ASSAY_PROCESS__KAFKA__GROUP_ID: names.group,
    ASSAY_PROCESS__KAFKA__TOPICS__TRANSACTIONS: names.transactions,
    ASSAY_PROCESS__KAFKA__TOPICS__DECISIONS: names.decisions,
    ASSAY_PROCESS__KAFKA__TOPICS__DEAD_LETTERS: names.dead,
  }
}

function pick(random: Random, { servers, redis }: FaultOptions): Fault {
  const isPossible = (fault: string): boolean =>
    fault === 'pause' ? servers > 1 : fault !== 'redis' || redis !== undefined
  const kinds = Object.entries(WEIGHTS).filter(([fault]) => isPossible(fault)) as [Fault, number][]
  let left = random.uniform() * kinds.reduce((sum, [, weight]) => sum + weight, 0)
  return kinds.find(([, weight]) => (left -= weight) < 0)?.[0] ?? 'server'
}

interface Producing {
  /** Transactions that should have been sent by now, and were not. */
  due(): number
  /** The number sent. */
  stop(): Promise<number>
}

/** Sends at a steady rate; what a broker that is away leaves over is sent when it is back. */
function produce(topics: Topics, { seed, perSecond, name }: FaultOptions): Producing {
  const startMs = Date.now() - 60 * 86_400_000
  const simulator = createSimulator({ seed, customers: 20_000, terminals: 20_000, startMs, idPrefix: `${name}-` })
  const sinceMs = performance.now()
  let sent = 0
  let isStopped = false
  const due = (): number => Math.floor(((performance.now() - sinceMs) / 1000) * perSecond) - sent
  async function run(): Promise<void> {
    while (!isStopped) {
      const wires = Array.from({ length: Math.min(due(), BATCH_MAX) }, () => simulator.next().wire)
      const messages = wires.map((wire) => ({ key: wire.customer_id ?? null, value: JSON.stringify(wire) }))
      while (
        messages.length > 0 &&
        (await known(
          topics.produce(messages).then(() => true),
          false,
        )) === false
      ) {
        await delay(200)
      }
      sent += messages.length
      await delay(20)
    }
  }
  const running = run()
  return {
    due,
    async stop() {
      isStopped = true
      await running
      return sent
    },
  }
}

/** A member of the group that takes its share, does nothing with it and leaves. */
async function passBy(broker: Broker, { names }: Topics, stayMs: number): Promise<void> {
  const kafka = new Kafka({ brokers: [broker.address], clientId: 'passer-by', logLevel: logLevel.NOTHING })
  const consumer = kafka.consumer({ groupId: names.group, sessionTimeout: 10_000, heartbeatInterval: 1_000 })
  await consumer.connect()
  await consumer.subscribe({ topics: [names.transactions] })
  await consumer.run({ autoCommit: false, eachBatchAutoResolve: false, eachBatch: () => delay(200) })
  await delay(stayMs)
  await consumer.disconnect()
}

async function sample(topics: Topics): Promise<Sample> {
  const committed = await answered(() => topics.positions())
  return { committed, outputEnds: await answered(() => topics.ends('decisions')) }
}

/** Asks until the broker, or the group's coordinator on it, answers. */
async function answered<Answer>(ask: () => Promise<Answer>): Promise<Answer> {
  const endMs = performance.now() + RECOVERY_MS_MAX
  for (;;) {
    try {
      return await ask()
    } catch (error) {
      if (performance.now() > endMs) throw error
    }
    await delay(200)
  }
}

/** What the broker says, or something else where it does not answer. */
function known<Answer>(asked: Promise<Answer>, otherwise: Answer): Promise<Answer> {
  return asked.catch(() => otherwise)
}
