// A real Redis for tests: one, a cluster, or one behind sentinels, each in a folder of its own, on a unix socket or on
// free ports of loopback. It can be paused, killed and started again; all of it ends with the test. No test.
import { type ChildProcess, execFile, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { promisify } from 'node:util'
import type { Test } from 'tap'
import { type RedisConfig, STATE_DEFAULTS } from '../../src/contract/state.js'
import { connectRedis, type RedisConnection } from '../../src/redis/connection.js'
import { freePort } from '../clients/clients.js'

/** Ends what was started. */
type Owner = Pick<Test, 'teardown'>
type Edit = Partial<RedisConfig>

export interface RedisOptions {
  /** A free port of loopback beside the socket, or this one; `config` then names the port. */
  readonly tcp?: true | number
  /** Of the user `default`. */
  readonly password?: string
  /** Lines of an ACL file, such as `user x on >secret ~* +@all`; `default` may do all unless one of them says other. */
  readonly acl?: readonly string[]
  /** Such as `3mb`; without eviction. */
  readonly maxmemory?: string
  readonly databases?: number
  /** Every write is on disk before its answer, so that a restart after a kill has all of it; otherwise nothing is. */
  readonly persistent?: boolean
  /** More lines of redis.conf, or others. */
  readonly settings?: Readonly<Record<string, string>>
}

export interface RedisServer {
  /** unix:PATH or host:port, as `nodes` has it. */
  readonly node: string
  /** 0 without tcp. */
  readonly port: number
  /** How a server reaches it alone. */
  config(edit?: Edit): RedisConfig
  /** What redis-cli prints, as the user `default`; rejects where the reply is an error. */
  cli(...args: string[]): Promise<string>
  isRunning(): boolean
  /** SIGSTOP and SIGCONT: connections stay open and nobody answers. */
  pause(): void
  resume(): void
  /** SIGKILL: as a machine that goes away. */
  kill(): Promise<void>
  /** Again, in the same folder and at the same place. */
  restart(): Promise<void>
}

export interface RedisCluster {
  /** Primaries first, as they were at the start. */
  readonly nodes: readonly RedisServer[]
  config(edit?: Edit): RedisConfig
  /** Who serves a slot, as a living node sees it; undefined while nobody does. */
  primaryOf(slot: number): Promise<RedisServer | undefined>
  /** Every living node says that all slots are served. */
  untilWhole(): Promise<void>
  /** Every living primary has a replica with all that was written so far; otherwise a failover loses some. */
  untilCopied(): Promise<void>
  /** Kills the primary of slot 0; resolves with its replica when that serves the slots, and all nodes know. */
  failover(): Promise<RedisServer>
}

export interface RedisSentinels {
  readonly primary: RedisServer
  readonly replica: RedisServer
  readonly sentinels: readonly RedisServer[]
  config(edit?: Edit): RedisConfig
  /** Kills the primary; resolves with the replica when all living sentinels name it. */
  failover(): Promise<RedisServer>
}

const HOST = '127.0.0.1'
const MASTER_NAME = 'payments'
const START_MS_MAX = 60_000
const CHANGE_MS_MAX = 120_000
const CLI_MS_MAX = 60_000
const execute = promisify(execFile)

/** For `skip` of the tests that need it; under CI it is a failure beside. */
export function skipWithoutRedis(): string | false {
  const commands = ['redis-server', 'redis-sentinel', 'redis-cli']
  const missing = commands.find((command) => spawnSync(command, ['--version'], { stdio: 'ignore' }).status !== 0)
  if (missing === undefined) return false
  const why = `${missing} is not there`
  if (process.env.CI === 'true') throw new Error(why)
  return why
}

/** A connection that ends with the test, and what it said of itself: `up`, or why it is not. */
export function openConnection(owner: Owner, config: RedisConfig): { connection: RedisConnection; states: string[] } {
  const states: string[] = []
  const connection = connectRedis(config, { onState: (isUp, detail) => void states.push(isUp ? 'up' : detail) })
  owner.teardown(() => connection.close())
  return { connection, states }
}

/** Asks twenty times a second until it is answered. */
export async function answered<T>(ask: () => Promise<T>): Promise<T> {
  const endMs = Date.now() + CHANGE_MS_MAX
  for (;;) {
    try {
      return await ask()
    } catch (error) {
      if (Date.now() > endMs) throw error
      await delay(50)
    }
  }
}

/** One Redis; it takes commands when this resolves. */
export async function startRedis(owner: Owner, options: RedisOptions = {}): Promise<RedisServer> {
  const folder = await folderOf(owner)
  const { password, acl, maxmemory, databases } = options
  const port = options.tcp === true ? await freePort() : (options.tcp ?? 0)
  const socket = join(folder, 's')
  const settings: Record<string, string> = {
    ...{ dir: folder, bind: HOST, port: String(port), unixsocket: socket, save: '""' },
    // A primary that waits for more replicas before it copies would only make tests longer.
    ...{ 'repl-diskless-sync-delay': '0', 'maxmemory-policy': 'noeviction' },
    ...(options.persistent === true && { appendonly: 'yes', appendfsync: 'always' }),
    ...(password !== undefined && { requirepass: password, masterauth: password }),
    ...(acl !== undefined && { aclfile: join(folder, 'users.acl') }),
    ...(maxmemory !== undefined && { maxmemory }),
    ...(databases !== undefined && { databases: String(databases) }),
    ...options.settings,
  }
  if (acl !== undefined) await writeFile(join(folder, 'users.acl'), lines(acl))
  const conf = Object.entries(settings).map(([name, value]) => `${name} ${value}`)
  return startServer(owner, {
    ...{ command: 'redis-server', folder, conf, port, password, ready: /ready to accept connections/i },
    node: port === 0 ? `unix:${socket}` : `${HOST}:${port}`,
    cliAt: ['-s', socket],
  })
}

/** Three primaries, each with as many replicas, on free ports; whole when this resolves. */
export async function startCluster(
  owner: Owner,
  { replicas = 0, ...options }: Omit<RedisOptions, 'tcp'> & { readonly replicas?: number } = {},
): Promise<RedisCluster> {
  const count = 3 * (1 + replicas)
  // All at once, so that none is given twice.
  const ports = await Promise.all(Array.from({ length: 2 * count }, freePort))
  const nodes = await Promise.all(
    ports.slice(count).map((port, index) => {
      const settings = {
        ...{ 'cluster-enabled': 'yes', 'cluster-port': String(ports[index]) },
        // Short where a replica is to take over; long where a busy machine would only look like a failure.
        'cluster-node-timeout': replicas > 0 ? '2000' : '15000',
        ...options.settings,
      }
      return startRedis(owner, { ...options, tcp: port, settings })
    }),
  )
  const addresses = nodes.map(({ node }) => node)
  const create = ['--cluster', 'create', ...addresses, '--cluster-replicas', String(replicas), '--cluster-yes']
  await redisCli(create, options.password)

  const living = (): RedisServer[] => nodes.filter((node) => node.isRunning())
  const isWhole = async (node: RedisServer): Promise<boolean> => {
    const info = await node.cli('cluster', 'info')
    return info.includes('cluster_state:ok') && info.includes(`cluster_known_nodes:${count}`)
  }
  const isCopied = async (node: RedisServer): Promise<boolean> => {
    const info = await node.cli('info', 'replication')
    const [, copied] = /state=online,offset=(\d+)/.exec(info) ?? []
    return info.includes('master_link_status:up') || info.includes(`\nmaster_repl_offset:${copied}\n`)
  }
  const ownerOf = async (slot: number, seenBy: RedisServer): Promise<RedisServer | undefined> => {
    const port = portOfSlot(await seenBy.cli('cluster', 'nodes'), slot)
    return nodes.find((node) => node.port === port)
  }
  const cluster: RedisCluster = {
    nodes,
    config: (edit) => nodes[0].config({ topology: 'cluster', nodes: addresses, ...edit }),
    primaryOf: (slot) => ownerOf(slot, living()[0]),
    untilWhole: () => all(living, isWhole, 'every node says that the cluster is whole'),
    untilCopied: () => all(living, isCopied, 'every replica has all'),
    async failover() {
      const dead = await cluster.primaryOf(0)
      await dead?.kill()
      const isServed = async (node: RedisServer) => (await ownerOf(0, node))?.isRunning() === true
      await all(living, isServed, 'a replica serves the slots of the dead primary')
      await cluster.untilWhole()
      const next = await cluster.primaryOf(0)
      if (next === undefined) throw new Error('nobody serves slot 0')
      return next
    },
  }
  await cluster.untilWhole()
  if (replicas > 0) await cluster.untilCopied()
  return cluster
}

/** A primary, its replica, and three sentinels that know both and each other. */
export async function startSentinels(
  owner: Owner,
  { sentinelPassword, ...options }: RedisOptions & { readonly sentinelPassword?: string } = {},
): Promise<RedisSentinels> {
  const primary = await startRedis(owner, { ...options, tcp: true })
  const replicaof = `${HOST} ${primary.port}`
  const replica = await startRedis(owner, { ...options, tcp: true, settings: { ...options.settings, replicaof } })
  const sentinels = await Promise.all(
    Array.from({ length: 3 }, () =>
      startSentinel(owner, { primary: primary.port, password: options.password, own: sentinelPassword }),
    ),
  )
  const living = (): RedisServer[] => sentinels.filter((one) => one.isRunning())
  const knowsAll = async (one: RedisServer): Promise<boolean> => {
    const known = (await one.cli('sentinel', 'master', MASTER_NAME)).split('\n')
    const has = (name: string, value: string): boolean => known[known.indexOf(name) + 1] === value
    return has('num-slaves', '1') && has('num-other-sentinels', '2') && has('flags', 'master')
  }
  await all(living, knowsAll, 'every sentinel knows the replica and the other sentinels')
  const secret = sentinels[0].config().password_file
  return {
    ...{ primary, replica, sentinels },
    config: (edit) =>
      primary.config({
        ...{ topology: 'sentinel', master_name: MASTER_NAME, sentinel_password_file: secret },
        ...{ nodes: sentinels.map(({ node }) => node), ...edit },
      }),
    async failover() {
      await primary.kill()
      const namesReplica = async (one: RedisServer): Promise<boolean> => {
        const named = await one.cli('sentinel', 'get-master-addr-by-name', MASTER_NAME)
        return named.split('\n')[1] === String(replica.port)
      }
      await all(living, namesReplica, 'every sentinel names the replica')
      return replica
    },
  }
}

async function startSentinel(
  owner: Owner,
  { primary, password, own }: { primary: number; password?: string; own?: string },
): Promise<RedisServer> {
  const [folder, port] = await Promise.all([folderOf(owner), freePort()])
  const conf = [
    ...[`port ${port}`, `bind ${HOST}`, `dir ${folder}`],
    ...(own === undefined ? [] : [`requirepass ${own}`, `sentinel sentinel-pass ${own}`]),
    `sentinel monitor ${MASTER_NAME} ${HOST} ${primary} 2`,
    ...(password === undefined ? [] : [`sentinel auth-pass ${MASTER_NAME} ${password}`]),
    `sentinel down-after-milliseconds ${MASTER_NAME} 1000`,
    `sentinel failover-timeout ${MASTER_NAME} 5000`,
  ]
  return startServer(owner, {
    ...{ command: 'redis-sentinel', folder, conf, port, password: own, ready: /\+monitor master/ },
    node: `${HOST}:${port}`,
    cliAt: ['-h', HOST, '-p', String(port)],
  })
}

interface ServerOptions {
  readonly command: string
  readonly folder: string
  /** Lines of its configuration. */
  readonly conf: readonly string[]
  readonly port: number
  readonly password: string | undefined
  /** In its output when it takes commands. */
  readonly ready: RegExp
  readonly node: string
  readonly cliAt: readonly string[]
}

async function startServer(owner: Owner, options: ServerOptions): Promise<RedisServer> {
  const { command, folder, port, password, node } = options
  const [confFile, passwordFile] = [join(folder, 'conf'), join(folder, 'password')]
  await writeFile(confFile, lines(options.conf))
  if (password !== undefined) await writeFile(passwordFile, lines([password]))
  let child: ChildProcess | null = null
  const end = async (): Promise<void> => {
    const running = child
    child = null
    if (running === null || running.exitCode !== null || running.signalCode !== null) return
    const exited = once(running, 'exit')
    running.kill('SIGKILL')
    await exited
  }
  const start = async (): Promise<void> => {
    child = spawn(command, [confFile], { cwd: folder, stdio: ['ignore', 'pipe', 'pipe'] })
    await untilReady(child, command, options.ready)
  }
  owner.teardown(end)
  await start()
  return {
    ...{ node, port },
    config: (edit) => ({
      ...{ ...STATE_DEFAULTS.redis, nodes: [node] },
      ...{ password_file: password === undefined ? null : passwordFile, ...edit },
    }),
    cli: (...args) => redisCli([...options.cliAt, '-e', ...args], password),
    isRunning: () => child !== null,
    pause: () => void child?.kill('SIGSTOP'),
    resume: () => void child?.kill('SIGCONT'),
    kill: end,
    async restart() {
      await end()
      await start()
    },
  }
}

function untilReady(child: ChildProcess, command: string, ready: RegExp): Promise<void> {
  return new Promise((resolve, reject) => {
    let output = ''
    const fail = (why: string): void => reject(new Error(`${command} ${why}:\n${output}`))
    const timer = setTimeout(() => fail('did not start in time'), START_MS_MAX)
    const hear = (chunk: Buffer): void => {
      output = (output + chunk.toString()).slice(-8_192)
      if (!ready.test(output)) return
      clearTimeout(timer)
      resolve()
    }
    child.stdout?.on('data', hear)
    child.stderr?.on('data', hear)
    child.once('error', reject)
    child.once('exit', () => {
      clearTimeout(timer)
      fail('ended')
    })
  })
}

async function redisCli(args: readonly string[], password: string | undefined): Promise<string> {
  const env = { ...process.env, ...(password !== undefined && { REDISCLI_AUTH: password }) }
  const { stdout } = await execute('redis-cli', args, { env, timeout: CLI_MS_MAX })
  return stdout.trim().replaceAll('\r', '')
}

/** A folder short enough for the path of a socket. */
async function folderOf(owner: Owner): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'assay-redis-'))
  owner.teardown(() => rm(folder, { recursive: true, force: true }))
  return folder
}

/** From what CLUSTER NODES says: of the primary that serves the slot and is not thought dead. */
function portOfSlot(nodes: string, slot: number): number | null {
  for (const line of nodes.split('\n')) {
    const [, address = '', flags = '', , , , , , ...ranges] = line.split(' ')
    if (!flags.includes('master') || flags.includes('fail')) continue
    const isServed = ranges.some((range) => {
      const [from, to = from] = range.split('-').map(Number)
      return from <= slot && slot <= to
    })
    if (isServed) return Number(/:(\d+)@/.exec(address)?.[1])
  }
  return null
}

/** Waits until it holds of each, asked ten times a second. */
async function all(
  which: () => readonly RedisServer[],
  holds: (server: RedisServer) => Promise<boolean>,
  what: string,
): Promise<void> {
  const endMs = Date.now() + CHANGE_MS_MAX
  for (;;) {
    const held = await Promise.all(which().map(holds))
    if (held.every(Boolean)) return
    if (Date.now() > endMs) throw new Error(`in vain: ${what}`)
    await delay(100)
  }
}

function lines(of: readonly string[]): string {
  return of.map((line) => `${line}\n`).join('')
}
