// How the shared state reaches a Redis or Valkey: standalone, behind sentinels, or a cluster. Commands go out at once
// over one connection a node, and their replies come in the order in which they were sent; nothing is sent twice.
// Without a connection a command fails at once: what becomes of a payment then is not decided here.
import assert from 'node:assert'
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import type { ConnectionOptions } from 'node:tls'
import { Cluster, Redis } from 'ioredis'
import { hostOf } from '../contract/address.js'
import { isSocket, type RedisConfig } from '../contract/state.js'
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
   * helps now, and with ASSAY_STATE_REFUSED where it will not help later either. Who cannot wait keeps the time itself.
   */
  run(script: Script, keys: readonly string[], args: readonly Argument[]): Promise<Reply>
  /** A single command whose first argument is its key; the same errors. */
  call(command: string, ...args: Argument[]): Promise<Reply>
  isUp(): boolean
  /** Another connection of the same kind, for commands that wait, at most 5 s. */
  duplicate(): RedisConnection
  close(): void
}

export interface ConnectionDeps {
  /** Hears that the connection is there, or why it is not. */
  readonly onState: (isUp: boolean, detail: string) => void
}

const CONNECT_MS_MAX = 2_000
/** What is sent and not answered for so long goes with its connection, which a network may have lost without a word. */
const SILENCE_MS_MAX = 10_000
/** After a try that the client gives up on, of itself. */
const RETRY_MS = 1_000
/** How often a cluster is asked which of its nodes serves what, beside when a node says that it does not. */
const SLOTS_MS = 1_000
/** The oldest release with all that the scripts ask for. */
const VERSION_MIN = [6, 2] as const
/** A user who may not run scripts over the keys of this fleet is refused at the start. */
const PROBE = script("return redis.call('EXISTS', KEYS[1])")
/** Replies where another try can help, as they begin; those of a script's commands stand within in older releases. */
const PASSING =
  /(^|: -)(LOADING|READONLY|MASTERDOWN|CLUSTERDOWN|TRYAGAIN|BUSY|OOM|MISCONF|NOREPLICAS|UNBLOCKED|MOVED|ASK|ERR max number of clients)\b/
const AT = '/process/state/redis'
/** What no other try helps, and what of the configuration it is about. */
const REFUSALS: readonly (readonly [RegExp, string])[] = [
  [/^(WRONGPASS|NOAUTH|ERR invalid password)/, 'password_file: the Redis does not accept it'],
  [/^All sentinels .*: (WRONGPASS|NOAUTH)/, 'sentinel_password_file: the sentinels do not accept it'],
  [/^All sentinels .*: ERR No such master/, 'master_name: no sentinel knows it'],
  [/^NOPERM/, 'username: it may not do what is needed'],
  [/^ERR (invalid )?(DB index|SELECT)/, 'database: it cannot be used'],
  [/cluster support disabled/, 'topology: this is no node of a cluster'],
]

/** Connects in the background. Throws ASSAY_CONFIG_INVALID where a file does not do. */
export function connectRedis(config: RedisConfig, deps: ConnectionDeps): RedisConnection {
  const client = createClient(config)
  let isOpen = true
  /** What stands in the way; null while nothing does. */
  let obstacle: Error | null = new Error('it is not connected yet')
  /** Where the database was refused the client is ready all the same, in another. */
  let isBarred = false
  let again: NodeJS.Timeout | undefined
  let last = ''
  const say = (isUp: boolean, detail: string): void => {
    const text = `${isUp} ${detail}`
    if (!isOpen || text === last) return
    last = text
    deps.onState(isUp, detail)
  }
  client.on('connecting', () => {
    isBarred = false
  })
  client.on('error', (error: unknown) => {
    obstacle = obstacleOf(errorOf(error))
    isBarred ||= obstacle.name === 'ReplyError'
    say(false, obstacle.message)
  })
  client.on('ready', () => {
    if (isBarred) return
    obstacle = null
    say(true, '')
  })
  client.on('close', () => {
    obstacle ??= new Error('the connection was closed')
    say(false, obstacle.message)
  })
  // Where a failover is heard of just while the sentinels are asked, ioredis 6.0.0 ends for good.
  client.on('end', () => {
    if (isOpen) again = setTimeout(() => void client.connect().catch(() => undefined), RETRY_MS)
  })

  const refreshing = refreshSlots(client)
  const gather = gatherWrites(client)
  const isUp = (): boolean => client.status === 'ready' && !isBarred

  /** In capitals: the client then leaves replies as they are. Rejects with what Redis said, or with the obstacle. */
  async function exchange(command: string, args: readonly Argument[]): Promise<Reply> {
    // A cluster would keep it, and send it when nobody waits for it any more.
    if (!isUp()) throw obstacle ?? new Error('the connection was closed')
    gather()
    try {
      return replyOf(await client.callBuffer(command.toUpperCase(), [...args]))
    } catch (error) {
      const thrown = errorOf(error)
      throw thrown.name === 'ReplyError' ? thrown : (obstacle ?? thrown)
    }
  }
  const fault = (thrown: unknown): AssayError => faultOf(errorOf(thrown), config)

  return {
    async run({ lua, sha }, keys, args) {
      const rest = [keys.length, ...keys, ...args]
      try {
        return await exchange('EVALSHA', [sha, ...rest])
      } catch (error) {
        if (!errorOf(error).message.startsWith('NOSCRIPT')) throw fault(error)
      }
      return exchange('EVAL', [lua, ...rest]).catch((error: unknown) => Promise.reject(fault(error)))
    },
    call: (command, ...args) => exchange(command, args).catch((error: unknown) => Promise.reject(fault(error))),
    isUp,
    duplicate: () => connectRedis(config, { onState: () => undefined }),
    close() {
      isOpen = false
      clearTimeout(again)
      clearInterval(refreshing)
      client.disconnect()
    },
  }
}

/** The timer of the client itself (ioredis 6.0.0) goes on for ever where it is closed while it asks. */
function refreshSlots(client: Redis | Cluster): NodeJS.Timeout | undefined {
  if (!(client instanceof Cluster)) return undefined
  return setInterval(() => {
    if (client.status === 'ready') client.refreshSlotsCache()
  }, SLOTS_MS)
}

/** Commands of one turn of the loop leave in one write. The nodes of a cluster, each with its socket, write at once. */
function gatherWrites(client: Redis | Cluster): () => void {
  if (client instanceof Cluster) return () => undefined
  let isGathering = false
  return () => {
    if (isGathering) return
    const { stream } = client
    isGathering = true
    stream.cork()
    process.nextTick(() => {
      isGathering = false
      stream.uncork()
    })
  }
}

/** Waits until it is up and looks whether it will do. Throws ASSAY_STATE_UNAVAILABLE or ASSAY_STATE_REFUSED. */
export async function checkRedis(connection: RedisConnection, config: RedisConfig, waitMs: number): Promise<void> {
  const untilMs = performance.now() + waitMs
  const late = faultOf(new Error(`nothing came within ${waitMs} ms`), config)
  const text = await firstInfo(connection, untilMs, late)
  const version = /^redis_version:(\d+)\.(\d+)/m.exec(text)
  const [major, minor] = version === null ? [0, 0] : [Number(version[1]), Number(version[2])]
  if (major < VERSION_MIN[0] || (major === VERSION_MIN[0] && minor < VERSION_MIN[1])) {
    throw refused(`nodes: Redis ${VERSION_MIN.join('.')} or later is needed, this is ${major}.${minor}`)
  }
  // Valkey says server_mode.
  const isCluster = /^(redis|server)_mode:cluster/m.test(text)
  if (isCluster !== (config.topology === 'cluster')) {
    throw refused(`topology: ${isCluster ? 'this is a node of a cluster' : 'this is no node of a cluster'}`)
  }
  const policy = /^maxmemory_policy:(\S+)/m.exec(text)?.[1] ?? 'noeviction'
  if (policy !== 'noeviction' && !/^maxmemory:0\s/m.test(text)) {
    throw refused(`nodes: its maxmemory-policy is ${policy}, which removes keys unasked: noeviction is needed`)
  }
  await inTime(connection.run(PROBE, [`${config.key_prefix}:probe`], []), untilMs, late)
}

async function firstInfo(connection: RedisConnection, untilMs: number, late: Error): Promise<string> {
  for (;;) {
    try {
      return String(await inTime(connection.call('INFO'), untilMs, late))
    } catch (error) {
      const isRefused = error instanceof AssayError && error.code === 'ASSAY_STATE_REFUSED'
      if (isRefused || performance.now() >= untilMs) throw error
      await new Promise((resolve) => setTimeout(resolve, 50))
    }
  }
}

function inTime<T>(promise: Promise<T>, untilMs: number, late: Error): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(reject, Math.max(0, untilMs - performance.now()), late)
    void promise.then(resolve, reject).finally(() => clearTimeout(timer))
  })
}

function createClient(config: RedisConfig): Redis | Cluster {
  const { topology, nodes, username, password_file: file, database } = config
  const tls = tlsOf(config)
  const common = {
    ...(username === null ? {} : { username }),
    ...(file === null ? {} : { password: secretOf(file, 'password_file') }),
    ...(tls === null ? {} : { tls }),
    // A command that was sent may have been carried out: whoever sent it decides what to do.
    ...{ autoResendUnfulfilledCommands: false, maxRetriesPerRequest: 0 },
    ...{ connectTimeout: CONNECT_MS_MAX, socketTimeout: SILENCE_MS_MAX, maxLoadingRetryTime: RETRY_MS },
    ...{ connectionName: 'assay', disableClientInfo: true, protocol: 2 as const },
    // A primary that has become a replica: the next connection finds the new one.
    reconnectOnError: (error: Error) => /(^|: -)READONLY\b/.test(error.message),
  }
  const retryStrategy = (times: number): number => Math.min(50 * times, RETRY_MS)
  if (topology === 'cluster') {
    return new Cluster(nodes.map(addressOf), {
      ...{ redisOptions: common, clusterRetryStrategy: retryStrategy, maxRedirections: 3 },
      ...{ retryDelayOnFailover: 0, retryDelayOnClusterDown: 0 },
    })
  }
  const options = { ...common, retryStrategy, enableOfflineQueue: false, db: database }
  if (topology === 'sentinel') {
    const { sentinel_password_file: sentinelFile, master_name: name } = config
    return new Redis({
      ...{ ...options, sentinels: nodes.map(addressOf), name: name ?? '', failoverDetector: true },
      ...{ sentinelRetryStrategy: retryStrategy, sentinelCommandTimeout: CONNECT_MS_MAX },
      ...(sentinelFile === null ? {} : { sentinelPassword: secretOf(sentinelFile, 'sentinel_password_file') }),
      ...(tls === null ? {} : { sentinelTLS: tls, enableTLSForSentinelMode: true }),
    })
  }
  const [node] = nodes
  const at = isSocket(node) ? { path: node.slice('unix:'.length) } : addressOf(node)
  return new Redis({ ...options, ...at })
}

function addressOf(node: string): { host: string; port: number } {
  return { host: hostOf(node), port: Number(node.slice(node.lastIndexOf(':') + 1)) }
}

function tlsOf({ tls }: RedisConfig): ConnectionOptions | null {
  if (tls === null) return null
  const pem = (file: string | null, key: string): string | undefined =>
    file === null ? undefined : read(file, `tls/${key}`)
  const [ca, cert, key] = [pem(tls.ca_file, 'ca_file'), pem(tls.cert_file, 'cert_file'), pem(tls.key_file, 'key_file')]
  return { ca, cert, key, rejectUnauthorized: true }
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

/** What is behind an error of the client, in words that do not change from one try to the next. */
function obstacleOf(error: Error): Error {
  if ('lastNodeError' in error && error.lastNodeError instanceof Error) return error.lastNodeError
  if (!error.message.startsWith('All sentinels')) return error
  return new Error(error.message.replace(/ Retrying from scratch after \d+ms\./, ''))
}

function replyOf(value: unknown): Reply {
  assert(isReply(value))
  return value
}

function isReply(value: unknown): value is Reply {
  return value === null || typeof value === 'number' || Buffer.isBuffer(value) || Array.isArray(value)
}

function refused(detail: string): AssayError {
  return new AssayError('ASSAY_STATE_REFUSED', `${AT}/${detail}`)
}

/** No `cause`: the error of a command holds its arguments, and so the password or what is known of a customer. */
function faultOf({ name, message }: Error, { nodes }: RedisConfig): AssayError {
  const [, detail] = REFUSALS.find(([said]) => said.test(message)) ?? []
  if (detail !== undefined) return refused(`${detail}: ${message}`)
  if (name === 'ReplyError' && !PASSING.test(message)) return refused(`nodes: ${message}`)
  return new AssayError('ASSAY_STATE_UNAVAILABLE', `no answer from ${nodes.join(', ')}: ${message}`)
}
