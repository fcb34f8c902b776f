// The sidecar's kill test: a real server under load, a real sidecar beside it, and SIGKILL for one of them or both at
// random moments. Afterwards the sidecar catches up, and everything it derived is compared with a store made afresh
// from the same log; every decision that a client was told must stand in it once. test/governance/kills.test.ts is the
// short form, bench/governance-kills.ts the full one. No test.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { type Client, openClient } from '../../bench/client.js'
import { httpRequest } from '../../bench/requests.js'
import { type RunningServer, startServer } from '../../bench/server.js'
import { readHead } from '../../src/decision-log/chain.js'
import { createDisk } from '../../src/decision-log/disk.js'
import { openDatabase } from '../../src/governance/store/database.js'
import { STORE_FILE } from '../../src/governance/store/open.js'
import { createRandom, type Random } from '../../src/simulate/random.js'
import { type Comparison, compareStores } from './compare.js'

export interface GovernanceKillOptions {
  readonly kills: number
  readonly seed: number
  readonly connections: number
  readonly folder: string
  /** Of the server; the package's own by default. */
  readonly command?: readonly string[]
  /** A kill follows the one before after up to this long. */
  readonly betweenMsMax: number
  readonly onKill?: (kill: number, victim: Victim) => void
}

export type Victim = 'sidecar' | 'server' | 'both'

const VICTIMS: readonly Victim[] = ['sidecar', 'both', 'server']

export interface GovernanceKillRun {
  readonly victims: Readonly<Record<Victim, number>>
  /** Decisions that clients were told. */
  readonly told: number
  readonly lastSequence: number
  readonly comparison: Comparison
  /** Decisions told that the store lacks or holds more than once. */
  readonly wrong: readonly string[]
  /** What went wrong beside: exit codes. */
  readonly faults: readonly string[]
  remove(): Promise<void>
}

const SIDECAR = fileURLToPath(new URL('./sidecar.js', import.meta.url))
const CATCH_UP_MS_MAX = 120_000

export async function runGovernanceKills(options: GovernanceKillOptions): Promise<GovernanceKillRun> {
  const random = createRandom(options.seed)
  const dataDir = await mkdtemp(join(options.folder, 'assay-governance-kills-'))
  const told = new Set<string>()
  const faults: string[] = []
  const victims: Record<Victim, number> = { sidecar: 0, server: 0, both: 0 }
  let ids = 0
  const request = (): Buffer => httpRequest('/v1/score', drawBody(random, `g${options.seed}-${ids++}`))

  const start = (): Promise<RunningServer> => startServer({ ...options, dataDir })
  let server = await start()
  let load = await openLoad(server, options.connections, { request, told })
  let sidecar = startSidecar(dataDir, {})
  for (let kill = 0; kill < options.kills; kill++) {
    await delay(random.uniform() * options.betweenMsMax)
    const victim = VICTIMS[kill % VICTIMS.length] ?? 'both'
    victims[victim] += 1
    if (victim !== 'server') await killProcess(sidecar)
    if (victim !== 'sidecar') {
      load.expectEnd()
      await server.kill()
      load.close()
      server = await start()
      load = await openLoad(server, options.connections, { request, told })
    }
    if (victim !== 'server') sidecar = startSidecar(dataDir, {})
    options.onKill?.(kill, victim)
  }
  load.expectEnd()
  const code = await server.stop()
  load.close()
  if (code !== 0) faults.push(`the drain ended with ${code}: ${server.output()}`)
  await killProcess(sidecar)

  const lastSequence = readHead(createDisk(join(dataDir, 'decision-log'))).head?.writtenSequence ?? 0
  faults.push(...(await catchUp(dataDir, {}, lastSequence)))
  const fresh = join(dataDir, 'fresh')
  faults.push(...(await catchUp(dataDir, { ASSAY_PROCESS__GOVERNANCE__DATA_DIR: fresh }, lastSequence)))
  const comparison = await compareStores(join(dataDir, 'governance'), fresh)
  const wrong = await notOnce(join(dataDir, 'governance'), told)
  const remove = (): Promise<void> => rm(dataDir, { recursive: true, force: true })
  return { victims, told: told.size, lastSequence, comparison, wrong, faults, remove }
}

type Environment = Readonly<Record<string, string>>

function startSidecar(dataDir: string, env: Environment, args: readonly string[] = []): ChildProcess {
  const child = spawn(process.execPath, [SIDECAR, ...args], {
    stdio: ['ignore', 'ignore', 'pipe'],
    env: { ...process.env, ASSAY_DATA_DIR: dataDir, ASSAY_PROCESS__GOVERNANCE__DISK_FREE_BYTES_MIN: '0', ...env },
  })
  child.stderr?.resume()
  return child
}

async function killProcess(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const gone = once(child, 'exit')
  child.kill('SIGKILL')
  await gone
}

/** Runs a sidecar until it has read everything; what was wrong, in words. */
async function catchUp(dataDir: string, env: Environment, lastSequence: number): Promise<string[]> {
  const child = startSidecar(dataDir, env, ['--until', String(lastSequence)])
  const timer = setTimeout(() => child.kill('SIGKILL'), CATCH_UP_MS_MAX)
  const [code, signal] = (await once(child, 'exit')) as [number | null, string | null]
  clearTimeout(timer)
  return code === 0 ? [] : [`a sidecar that should catch up ended with ${code ?? signal}`]
}

interface Load {
  /** From now on lost connections are no fault. */
  expectEnd(): void
  close(): void
}

/** Keeps every connection busy with new transactions; notes the decisions that came back. */
async function openLoad(
  server: RunningServer,
  connections: number,
  { request, told }: { request: () => Buffer; told: Set<string> },
): Promise<Load> {
  let over = false
  const send = (client: Client, connection: number): void => {
    if (!over) client.send(connection, request())
  }
  const client = await openClient(
    { port: server.scorePort, connections, bodies: true, reopen: false },
    {
      onReply(connection, status, decided, { body }) {
        if (status === 200 && decided) told.add(/"decision_id":"(d_[a-z2-7]+)"/.exec(body)?.[1] ?? '')
        send(client, connection)
      },
      onLost: () => undefined,
      onOpen: () => undefined,
    },
  )
  for (let connection = 0; connection < connections; connection++) send(client, connection)
  return { expectEnd: () => void (over = true), close: () => client.close() }
}

function drawBody(random: Random, id: string): string {
  return JSON.stringify({
    transaction_id: id,
    occurred_at: new Date().toISOString(),
    amount_minor: 1 + random.integer(50_000),
    currency: 'EUR',
    customer_id: `c${random.integer(400)}`,
    terminal_id: `t${random.integer(800)}`,
  })
}

async function notOnce(directory: string, told: ReadonlySet<string>): Promise<string[]> {
  const options = {
    directory,
    file: join(directory, STORE_FILE),
    memoryBytesMax: 512 << 20,
    threads: 2,
    queryMsMax: 60_000,
  }
  const database = await openDatabase(options)
  try {
    const rows = await database.select('SELECT decision_id, count(*) AS n FROM decisions GROUP BY 1')
    const held = new Map(rows.map(({ decision_id: id, n }) => [String(id), Number(n)]))
    const twice = [...held].filter(([, n]) => n !== 1).map(([id, n]) => `${id}: ${n} times`)
    return [
      ...twice,
      ...[...told].filter((id) => !held.has(id)).map((id) => `${id}: told to a client, not in the store`),
    ]
  } finally {
    await database.close()
  }
}
