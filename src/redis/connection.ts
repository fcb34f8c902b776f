// How the shared state reaches a Redis or Valkey: standalone, behind sentinels, or a cluster. Commands go out at once
// over one connection a node, and their replies come in the order in which they were sent; nothing is sent twice.
// Without a connection a command fails at once: what becomes of a payment then is not decided here.
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import type { ConnectionOptions } from 'node:tls'
import { Cluster, Redis } from 'ioredis'
import { hostOf, isSocket, type RedisConfig } from '../contract/state.js'
import { AssayError, errorOf } from '../errors.js'

/** A script of one slot. */
export interface Script {
  readonly lua: string
  readonly sha: string
}

export function script(lua: string): Script {
  return { lua, sha: createHash('sha1').update(lua).digest('hex') }
}

export type Reply = Buffer | number | null | readonly Reply[]
export type Argument = string | number | Buffer

export interface RedisConnection {
  /**
   * Runs a script over keys of one slot. Rejects with ASSAY_STATE_UNAVAILABLE where there is no answer, or none that
   * helps now, and with ASSAY_STATE_REFUSED where it will not help later either. It waits for as long as it takes.
   */
  run(script: Script, keys: readonly string[], args: readonly Argument[]): Promise<Reply>
  /** A single command whose first argument is its key; the same errors. */
  call(command: string, ...args: Argument[]): Promise<Reply>
  isUp(): boolean
  /** Another connection of the same kind, for commands that wait. */
  duplicate(): RedisConnection
  close(): void
}

export interface ConnectionDeps {
  /** Hears that the connection is there, or why it is not. */
  readonly onState: (isUp: boolean, detail: string) => void
}

const CONNECT_MS_MAX = 2_000
/** The oldest release with all that the scripts ask for. */
const VERSION_MIN = [6, 2] as const
/** What a reply of Redis begins with where another try can help. */
const PASSING = /^(LOADING|READONLY|MASTERDOWN|CLUSTERDOWN|TRYAGAIN|BUSY|OOM|MISCONF|NOREPLICAS|UNBLOCKED|MOVED|ASK)\b/
const AT = '/process/state/redis'

/** Connects in the background. Throws ASSAY_CONFIG_INVALID where a file does not do. */
export function connectRedis(config: RedisConfig, deps: ConnectionDeps): RedisConnection {
  const client = createClient(config)
  let isOpen = true
  let last = ''
  const say = (isUp: boolean, detail: string): void => {
    const text = `${isUp} ${detail}`
    if (!isOpen || text === last) return
    last = text
    deps.onState(isUp, detail)
  }
  client.on('ready', () => say(true, ''))
  client.on('error', (error: unknown) => say(false, errorOf(error).message))
  client.on('close', () => say(false, 'the connection was closed'))

  async function send(command: string, args: readonly Argument[]): Promise<Reply> {
    try {
      return (await client.callBuffer(command, [...args])) as Reply
    } catch (error) {
      throw faultOf(error, config)
    }
  }

  return {
    async run({ lua, sha }, keys, args) {
      const rest = [keys.length, ...keys, ...args]
      try {
        return (await client.callBuffer('evalsha', [sha, ...rest])) as Reply
      } catch (error) {
        if (!errorOf(error).message.startsWith('NOSCRIPT')) throw faultOf(error, config)
        return send('eval', [lua, ...rest])
      }
    },
    call: (command, ...args) => send(command, args),
    isUp: () => client.status === 'ready',
    duplicate: () => connectRedis(config, { onState: () => undefined }),
    close() {
      isOpen = false
      client.disconnect()
    },
  }
}

/** Waits until it is up and looks whether it will do. Throws ASSAY_STATE_UNAVAILABLE or ASSAY_STATE_REFUSED. */
export async function checkRedis(connection: RedisConnection, config: RedisConfig, waitMs: number): Promise<void> {
  const text = await firstInfo(connection, waitMs)
  const version = /^redis_version:(\d+)\.(\d+)/m.exec(text)
  const [major, minor] = version === null ? [0, 0] : [Number(version[1]), Number(version[2])]
  if (major < VERSION_MIN[0] || (major === VERSION_MIN[0] && minor < VERSION_MIN[1])) {
    throw refused(`/nodes: Redis ${VERSION_MIN.join('.')} or later is needed, this is ${major}.${minor}`)
  }
  const isCluster = /^redis_mode:cluster/m.test(text)
  if (isCluster !== (config.topology === 'cluster')) {
    throw refused(`/topology: ${isCluster ? 'this is a node of a cluster' : 'this is no node of a cluster'}`)
  }
}

async function firstInfo(connection: RedisConnection, waitMs: number): Promise<string> {
  const untilMs = performance.now() + waitMs
  for (;;) {
    try {
      return String(await connection.call('info', 'server'))
    } catch (error) {
      const isRefused = error instanceof AssayError && error.code === 'ASSAY_STATE_REFUSED'
      if (isRefused || performance.now() > untilMs) throw error
      await new Promise((resolve) => setTimeout(resolve, 50))
    }
  }
}

function createClient(config: RedisConfig): Redis | Cluster {
  const { topology, nodes, username, password_file: file, database } = config
  const common = {
    ...(username === null ? {} : { username }),
    ...(file === null ? {} : { password: secretOf(file, 'password_file') }),
    ...tlsOf(config),
    // A command that was sent may have been carried out: whoever sent it decides what to do.
    ...{ autoResendUnfulfilledCommands: false, enableOfflineQueue: false, maxRetriesPerRequest: 0 },
    ...{ connectTimeout: CONNECT_MS_MAX, disableClientInfo: true, protocol: 2 as const },
    connectionName: 'assay',
    // A primary that has become a replica: the next connection finds the new one.
    reconnectOnError: (error: Error) => error.message.startsWith('READONLY'),
  }
  const retryStrategy = (times: number): number => Math.min(50 * times, 1_000)
  if (topology === 'cluster') {
    const { enableOfflineQueue, ...redisOptions } = common
    return new Cluster(nodes.map(addressOf), {
      ...{ redisOptions, enableOfflineQueue, clusterRetryStrategy: retryStrategy, maxRedirections: 3 },
      ...{ clusterNodeRetryStrategy: retryStrategy, retryDelayOnFailover: 0, retryDelayOnClusterDown: 0 },
    })
  }
  const options = { ...common, retryStrategy, db: database }
  if (topology === 'sentinel') {
    const { sentinel_password_file: sentinelFile, master_name: name } = config
    const sentinelPassword = sentinelFile === null ? undefined : secretOf(sentinelFile, 'sentinel_password_file')
    return new Redis({
      ...{ ...options, sentinels: nodes.map(addressOf), name: name ?? '', failoverDetector: true },
      ...{ sentinelRetryStrategy: retryStrategy, sentinelPassword, enableTLSForSentinelMode: config.tls !== null },
    })
  }
  const [node] = nodes
  return new Redis(isSocket(node) ? { ...options, path: node.slice('unix:'.length) } : { ...options, ...addressOf(node) })
}

function addressOf(node: string): { host: string; port: number } {
  const host = hostOf(node)
  return { host: host.replace(/^\[(.*)\]$/, '$1'), port: Number(node.slice(host.length + 1)) }
}

function tlsOf({ tls }: RedisConfig): { tls?: ConnectionOptions } {
  if (tls === null) return {}
  const pem = (file: string | null, key: string): string | undefined =>
    file === null ? undefined : read(file, `tls/${key}`)
  const [ca, cert, key] = [pem(tls.ca_file, 'ca_file'), pem(tls.cert_file, 'cert_file'), pem(tls.key_file, 'key_file')]
  return { tls: { ca, cert, key, rejectUnauthorized: true } }
}

function secretOf(file: string, key: string): string {
  return read(file, key).replace(/\r?\n$/, '')
}

function read(file: string, key: string): string {
  const path = `${AT}/${key}`
  const fault = (message: string, cause?: unknown): AssayError =>
    new AssayError('ASSAY_CONFIG_INVALID', `${path}: ${message}`, { cause, errors: [{ path, message }] })
  let text: string
  try {
    text = readFileSync(file, 'utf8')
  } catch (cause) {
    throw fault(`the file ${file} cannot be read`, cause)
  }
  if (text.trim() === '') throw fault(`the file ${file} is empty`)
  return text
}

function refused(detail: string, cause?: unknown): AssayError {
  return new AssayError('ASSAY_STATE_REFUSED', `${AT}${detail}`, { cause })
}

/** What the client threw, with its code. */
function faultOf(thrown: unknown, { nodes }: RedisConfig): AssayError {
  const { name, message } = errorOf(thrown)
  if (/^(WRONGPASS|NOAUTH)/.test(message)) return refused('/password_file: the Redis does not accept it', thrown)
  if (/^NOPERM/.test(message)) return refused(`/username: it may not do what is needed: ${message}`, thrown)
  if (/^(ERR DB index|ERR SELECT)/.test(message)) return refused(`/database: ${message}`, thrown)
  if (name === 'ReplyError' && !PASSING.test(message)) return refused(`/nodes: ${message}`, thrown)
  return new AssayError('ASSAY_STATE_UNAVAILABLE', `no answer from ${nodes.join(', ')}: ${message}`, { cause: thrown })
}
