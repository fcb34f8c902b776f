// Runs the clients of other languages against the real server, through the delay proxy, and restarts it under them.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'

const ROOT = join(import.meta.dirname, '../../..')
const SOURCES = join(ROOT, 'test/clients')
const CLI = join(import.meta.dirname, '../../src/cli.js')

export type Phase = 'burst' | 'expect' | 'gaps' | 'steady'
export type Mode = 'default' | 'advised'

export interface Result {
  readonly phase: Phase
  readonly requests: number
  readonly answered: number
  readonly retries: number
  readonly replayed: number
  readonly errors: Readonly<Record<string, number>>
}

export interface Client {
  readonly name: string
  /** `onStarted` is called when a steady phase has had its first answer. */
  run(url: string, mode: Mode, phase: Phase, argument: string, onStarted?: () => void): Promise<Result>
}

/** Builds what is to be built. A client whose language is not installed is left out, by name in `missing`. */
export async function buildClients(): Promise<{ clients: Client[]; missing: string[]; close: () => Promise<void> }> {
  const folder = await mkdtemp(join(tmpdir(), 'assay-clients-'))
  const clients: Client[] = []
  const missing: string[] = []
  const add = async (name: string, build: readonly string[], command: readonly string[]) => {
    const code = await exitCode(spawn(build[0], build.slice(1), { cwd: join(SOURCES, 'go'), stdio: 'inherit' }))
    if (code === null) missing.push(name)
    else if (code !== 0) throw new Error(`${build.join(' ')} ended with ${code}`)
    else clients.push({ name, run: (...args) => run(command, args) })
  }
  await add(
    'Java HttpClient',
    ['javac', '-d', folder, join(SOURCES, 'AssayClient.java')],
    ['java', '-Xmx128m', '-cp', folder, 'AssayClient'],
  )
  await add('Go net/http', ['go', 'build', '-o', join(folder, 'client'), '.'], [join(folder, 'client')])
  return { clients, missing, close: () => rm(folder, { recursive: true }) }
}

/** null where the program does not exist. */
async function exitCode(child: ChildProcess): Promise<number | null> {
  const failed = once(child, 'error').then(() => null)
  const ended = once(child, 'exit').then(([code]) => Number(code))
  return Promise.race([failed, ended])
}

type RunArguments = Parameters<Client['run']>

async function run(command: readonly string[], [url, mode, phase, argument, onStarted]: RunArguments): Promise<Result> {
  const child = spawn(command[0], [...command.slice(1), url, mode, phase, argument], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const ended = once(child, 'exit')
  let last = ''
  for await (const line of createInterface({ input: child.stdout })) {
    if (line === 'started') onStarted?.()
    else last = line
  }
  const [code] = (await ended) as [number | null]
  if (code !== 0) throw new Error(`${command[0]} ended with ${code}`)
  return JSON.parse(last) as Result
}

export interface ServerProcess {
  readonly port: number
  /** Ends it in order and starts it again on the same port and data; resolves when it is ready. */
  restart(): Promise<void>
  close(): Promise<void>
}

/** Starts the real server on an empty directory; with another command one under other limits. */
export async function startServer(
  command: readonly string[] = [process.execPath, CLI, 'serve'],
): Promise<ServerProcess> {
  const data = await mkdtemp(join(tmpdir(), 'assay-server-'))
  const port = await freePort()
  const start = (): Promise<ChildProcess> => startReady(command, port, data)
  let child = await start()
  const stop = async () => {
    const ended = once(child, 'exit')
    child.kill('SIGTERM')
    await ended
  }
  return {
    port,
    async restart() {
      await stop()
      child = await start()
    },
    async close() {
      await stop()
      await rm(data, { recursive: true })
    },
  }
}

async function startReady([program, ...args]: readonly string[], port: number, data: string): Promise<ChildProcess> {
  const env = {
    ...process.env,
    ASSAY_DATA_DIR: data,
    ASSAY_PROCESS__HTTP__PORT: String(port),
    ASSAY_PROCESS__OPERATIONS__PORT: '0',
    ASSAY_PROCESS__LOGGER__LEVEL: 'warn',
  }
  const child = spawn(program, args, { env, stdio: ['ignore', 'pipe', 'inherit'] })
  const ready = new Promise<void>((resolve) => {
    createInterface({ input: child.stdout }).on('line', (line) => {
      // The line of a server that is ready, where no terminal reads it.
      if (line.startsWith('{"score"')) resolve()
    })
  })
  const died = once(child, 'exit').then(([code]) => Promise.reject(new Error(`the server ended with ${String(code)}`)))
  await Promise.race([ready, died])
  died.catch(() => undefined)
  return child
}

/** A port that nobody listens on now, for programs that must be told one. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  server.close()
  await once(server, 'close')
  return typeof address === 'object' && address !== null ? address.port : 0
}
