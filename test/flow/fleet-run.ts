// Real servers that share one Redis, under clients that never stop, while servers are killed with SIGKILL at random
// moments, others stand still, and the Redis goes away and comes back. Keeps what clients were told and, read at rest,
// what the Redis holds. What came of it is judged in fleet-judge.ts and fleet-features.ts. No test.
import { mkdtemp, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { type RunningServer, startServer } from '../../bench/server.js'
import { scrape } from '../../bench/scrape.js'
import type { RedisConfig } from '../../src/contract/state.js'
import { createRandom } from '../../src/simulate/random.js'
import { type Book, type Clients, createClients } from './fleet-clients.js'
import { fleetCatalogue, type Held, readHeld, readLogs } from './fleet-evidence.js'
import type { FeatureEvidence } from './fleet-features.js'
import type { Evidence } from './fleet-judge.js'
import { until } from './server-rig.js'

export interface FleetOptions {
  readonly seed: number
  readonly servers: number
  readonly perSecond: number
  /** Of each server. */
  readonly connections: number
  /** Milliseconds of event time between a transaction and the next. */
  readonly stepMs: number
  /** Data directories are made in here. */
  readonly folder: string
  readonly redis: RedisConfig
  /** Of each server; the package's own by default. */
  readonly command?: readonly string[]
}

export interface Fleet {
  readonly clients: Clients
  /** So many SIGKILLs, mostly of one server at a time, each started again on its directory. */
  killServers(kills: number, onKill?: (killed: number) => void): Promise<void>
  /** One server at a time stands still for longer than its claims hold: others take over what it was deciding. */
  stallServers(stalls: number): Promise<void>
  /** Resolves when clients have so many more answers. */
  answered(more: number): Promise<void>
  /** Everything is answered and written back, and read; every transaction is asked for once more; all servers end. */
  end(): Promise<FleetRun>
  /** Ends what still runs and removes the directories. */
  close(): Promise<void>
}

export interface FleetRun {
  readonly clients: Clients
  readonly dataDirs: readonly string[]
  /** Before `settled` was asked. */
  readonly held: Held
  /** Entries more that lists hold after it: none, where what comes again is folded once. */
  readonly grown: number
  /** What every transaction's decision is in the end. */
  readonly settled: Book
  readonly findings: readonly string[]
}

/**
 * What becomes of a decision is asked, not how fast a busy machine is. Half of the entities go to the other model:
 * lanes of unequal speed put ordinals out of order in the log.
 */
export const FLEET_ENVIRONMENT: Readonly<Record<string, string>> = {
  ASSAY_POLICY__ROUTES__SHARE: '5000',
  ASSAY_POLICY__BUDGETS__DEADLINE_MS: '500',
  ASSAY_POLICY__BUDGETS__LOG_WAIT_MS: '1000',
  ASSAY_POLICY__STATE__WAIT_MS: '1000',
  ASSAY_POLICY__STATE__ON_UNAVAILABLE: 'local',
}
const BETWEEN_MS = 300
const BETWEEN_MS_MORE = 1_700
const DOWN_MS_MAX = 1_000
/** Longer than the deadline and the wait for the log together, which a claim outlives by little. */
const STALL_MS = 2_500
/** Shares of the kills that take another server along. */
const ALONG = 0.25
const HEAL_MS_MAX = 180_000
/** The gauges are set ten times a second. */
const GAUGES_MS = 500

/** Starts all servers, then the load. */
export async function startFleet(options: FleetOptions): Promise<Fleet> {
  const { redis, folder, perSecond, connections, stepMs } = options
  const random = createRandom(options.seed)
  const places = Array.from({ length: options.servers }, (_, server) => server)
  const dataDirs = await Promise.all(places.map(() => mkdtemp(join(folder, 'assay-fleet-'))))
  const clients = createClients({ connections, perSecond, random, stepMs })
  const start = async (server: number): Promise<RunningServer> => {
    const started = await startServer({
      ...{ dataDir: dataDirs[server], ...(options.command !== undefined && { command: options.command }) },
      env: { ...FLEET_ENVIRONMENT, ...stateEnv(redis) },
    })
    await clients.join(server, started.scorePort)
    return started
  }
  const servers = await Promise.all(places.map(start))
  clients.go()

  async function killOne(server: number, downMs: number): Promise<void> {
    await servers[server].kill()
    clients.leave(server)
    await delay(downMs)
    servers[server] = await start(server)
  }

  /** With what the servers have said, where it fails. */
  async function explained<Value>(doing: Promise<Value>): Promise<Value> {
    try {
      return await doing
    } catch (cause) {
      const outputs = servers.map((server, at) => `server ${at}:\n${server.output().slice(-4_096)}`)
      throw new Error(`the run did not end:\n${outputs.join('\n')}`, { cause })
    }
  }

  async function answered(more: number): Promise<void> {
    const wanted = clients.answers() + more
    await until(() => clients.answers() >= wanted, `${more} more answers`, { msMax: HEAL_MS_MAX, everyMs: 20 })
  }

  async function end(): Promise<FleetRun> {
    await clients.rest()
    await healed(servers)
    const held = await readHeld(redis, clients.sent)
    const settled = await clients.ask(clients.sent.keys())
    await healed(servers)
    const grown = entriesIn(await readHeld(redis, clients.sent)) - entriesIn(held)
    clients.close()
    const findings = await Promise.all(
      servers.map(async (server, at) => {
        const code = await server.stop()
        return code === 0 ? [] : [`server ${at} ended with ${code}:\n${server.output()}`]
      }),
    )
    return { clients, dataDirs, held, grown, settled, findings: [...clients.findings, ...findings.flat()] }
  }

  return {
    clients,
    answered: (more) => explained(answered(more)),
    end: () => explained(end()),
    async killServers(kills, onKill) {
      for (let killed = 0; killed < kills;) {
        await delay(BETWEEN_MS + BETWEEN_MS_MORE * random.uniform())
        const first = random.integer(places.length)
        const along = places.filter((server) => server !== first && random.uniform() < ALONG)
        const victims = [first, ...along].slice(0, kills - killed)
        await Promise.all(victims.map((server) => killOne(server, DOWN_MS_MAX * random.uniform())))
        killed += victims.length
        onKill?.(killed)
      }
    },
    async stallServers(stalls) {
      for (let stalled = 0; stalled < stalls; stalled++) {
        await delay(BETWEEN_MS + BETWEEN_MS_MORE * random.uniform())
        const { pid } = servers[random.integer(places.length)]
        process.kill(pid, 'SIGSTOP')
        await delay(STALL_MS)
        process.kill(pid, 'SIGCONT')
      }
    },
    async close() {
      clients.close()
      await Promise.all(servers.map((server) => server.kill()))
      await Promise.all(dataDirs.map((dataDir) => rm(dataDir, { recursive: true, force: true })))
    },
  }
}

function entriesIn({ lists }: Held): number {
  return lists.reduce((sum, { transactionIds }) => sum + transactionIds.length, 0)
}

/** Resolves when every server sees the Redis, and nothing is left to be written back to it. */
export async function healed(servers: readonly RunningServer[]): Promise<void> {
  const isHealed = async (): Promise<boolean> => {
    await delay(GAUGES_MS)
    const seen = await Promise.all(servers.map(scrape))
    return seen.every((of) => of.get('assay_state_up') === 1 && of.get('assay_state_behind_records') === 0)
  }
  await until(isHealed, 'all is written back', { msMax: HEAL_MS_MAX })
}

/** All that is judged of a run that has ended; `wasAway`: its Redis did not answer for a while. */
export async function gather(
  { clients, dataDirs, held, settled }: FleetRun,
  { wasAway }: { readonly wasAway: boolean },
): Promise<{ evidence: Evidence; features: FeatureEvidence }> {
  const logs = await readLogs(dataDirs)
  const { sent, told } = clients
  const evidence = { sent, told, settled, wasAway, ...logs, lists: held.lists }
  return { evidence, features: { ...fleetCatalogue(), held, logs } }
}

/** A server keeps its state there. */
export function stateEnv({
  topology,
  nodes,
  master_name: master,
  key_prefix: prefix,
}: RedisConfig): Record<string, string> {
  const at = 'ASSAY_PROCESS__STATE__REDIS__'
  return {
    ...{ ASSAY_PROCESS__STATE__KIND: 'redis', [`${at}TOPOLOGY`]: topology, [`${at}NODES`]: JSON.stringify(nodes) },
    ...{ [`${at}KEY_PREFIX`]: prefix, ...(master !== null && { [`${at}MASTER_NAME`]: master }) },
  }
}
