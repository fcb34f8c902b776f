// A redis-server for one part of the bench, empty, without persistence, on a unix socket and on loopback; what it says
// of itself; and the delayed way to it. What is started here ends with `stop`, or with this process.
import { type ChildProcess, fork, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type RedisConfig, STATE_DEFAULTS } from '../../src/contract/state.js'
import { checkRedis, connectRedis, type RedisConnection } from '../../src/redis/connection.js'
import { freePort } from '../../test/clients/clients.js'
import { quantile } from '../control.js'

/** What INFO says, since the Redis was started. */
export interface Usage {
  /** User and system, all threads. */
  readonly cpuSeconds: number
  readonly usedBytes: number
  /** In and out, all connections. */
  readonly netBytes: number
  readonly commands: ReadonlyMap<string, { readonly calls: number; readonly micros: number }>
}

export interface BenchRedis {
  readonly version: string
  /** As `nodes` of a server's configuration has them. */
  readonly socket: string
  readonly tcp: string
  readonly port: number
  /** Of this process, over the socket. */
  readonly connection: RedisConnection
  look(): Promise<Usage>
  stop(): Promise<void>
}

const WAIT_MS_MAX = 60_000
const COMMAND = /^cmdstat_([^:]+):calls=(\d+),usec=(\d+)/gm

export async function startRedis(): Promise<BenchRedis> {
  // Short enough for the path of a socket.
  const folder = mkdtempSync(join(tmpdir(), 'assay-redis-'))
  const [path, port] = [join(folder, 's'), await freePort()]
  const where = ['--unixsocket', path, '--bind', '127.0.0.1', '--port', String(port), '--dir', folder]
  const child = spawn('redis-server', [...where, '--save', '', '--loglevel', 'warning'], { stdio: 'ignore' })
  const end = endWith(child)
  const socket = `unix:${path}`
  const connection = await connect(socket)
  const info = async (): Promise<string> => String(await connection.call('info', 'everything'))
  return {
    ...{ socket, tcp: `127.0.0.1:${port}`, port, connection },
    version: /^redis_version:(\S+)/m.exec(await info())?.[1] ?? 'unknown',
    look: async () => usageOf(await info()),
    async stop() {
      connection.close()
      await end()
      rmSync(folder, { recursive: true, force: true })
    },
  }
}

/** Resolves when it answers. */
export async function connect(node: string): Promise<RedisConnection> {
  const config: RedisConfig = { ...STATE_DEFAULTS.redis, nodes: [node] }
  const connection = connectRedis(config, { onState: () => undefined })
  await checkRedis(connection, config, WAIT_MS_MAX)
  return connection
}

/** From the text of INFO. Throws where a figure is missing. */
export function usageOf(info: string): Usage {
  const figure = (name: string): number => {
    const text = new RegExp(`^${name}:([0-9.]+)\\r?$`, 'm').exec(info)?.[1]
    if (text === undefined) throw new Error(`INFO does not say ${name}`)
    return Number(text)
  }
  const commands = [...info.matchAll(COMMAND)].map(
    ([, name, calls, micros]) => [name, { calls: Number(calls), micros: Number(micros) }] as const,
  )
  return {
    cpuSeconds: figure('used_cpu_user') + figure('used_cpu_sys'),
    usedBytes: figure('used_memory'),
    netBytes: figure('total_net_input_bytes') + figure('total_net_output_bytes'),
    commands: new Map(commands),
  }
}

/** Calls of a command between two looks, and microseconds of all of them. */
export function callsBetween(from: Usage, until: Usage, command: string): { calls: number; micros: number } {
  const none = { calls: 0, micros: 0 }
  const [before, after] = [from.commands.get(command) ?? none, until.commands.get(command) ?? none]
  return { calls: after.calls - before.calls, micros: after.micros - before.micros }
}

/** Microseconds of a script between two looks, on average; NaN where none was run. */
export function scriptMicros(from: Usage, until: Usage): number {
  const { calls, micros } = callsBetween(from, until, 'evalsha')
  return micros / calls
}

/** What a delayed way to a port of loopback costs, and how to end it. */
export interface DelayedWay {
  readonly node: string
  stop(): Promise<void>
}

/** In a process of its own: here it would wait for the generator, and the generator for it. */
export async function openDelayedWay(port: number, delayMs: number): Promise<DelayedWay> {
  const file = fileURLToPath(new URL('./proxy-process.js', import.meta.url))
  const child = fork(file, [String(port), String(delayMs)])
  const end = endWith(child)
  const [own] = (await once(child, 'message')) as [number]
  return { node: `127.0.0.1:${own}`, stop: end }
}

/** Milliseconds of a PING there and back: the median, and the 99th percentile. */
export async function pingMs(node: string, count: number): Promise<{ p50Ms: number; p99Ms: number }> {
  const connection = await connect(node)
  const times = new Float64Array(count)
  for (let i = 0; i < count; i++) {
    const fromMs = performance.now()
    await connection.call('ping')
    times[i] = performance.now() - fromMs
  }
  connection.close()
  times.sort()
  return { p50Ms: quantile(times, 0.5), p99Ms: quantile(times, 0.99) }
}

/** SIGKILL: there is nothing to keep. */
function endWith(child: ChildProcess): () => Promise<void> {
  const exited = once(child, 'exit')
  exited.catch(() => undefined)
  const kill = (): boolean => child.kill('SIGKILL')
  process.once('exit', kill)
  return async () => {
    process.off('exit', kill)
    kill()
    await exited
  }
}
