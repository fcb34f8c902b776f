// A real server as a child process on a directory of its own: `assay serve`, ports chosen by the system.
// It is ready when /readyz says so. What it prints is kept (bounded) and shown when it dies on its own.
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

/** The package's root: the compiled tree lies one level under it. */
export const ROOT = join(fileURLToPath(import.meta.url), '..', '..', '..')

/** The command line of the same build: nothing is compiled in the middle of a run. */
export const CLI = fileURLToPath(new URL('../src/cli.js', import.meta.url))

const OUTPUT_CHARS_MAX = 64 << 10
/** A start takes a second; beside brokers and servers that start at the same time it has taken more than 60. */
const READY_MS_MAX = 180_000

export interface RunningServer {
  readonly pid: number
  readonly scorePort: number
  readonly operationsPort: number
  /** Milliseconds from spawn to ready. */
  readonly readyMs: number
  /** What it has printed so far, the newest 64 KiB. */
  output(): string
  /** SIGKILL, and waits until it is gone. */
  kill(): Promise<void>
  /** Waits until it ends by itself; the exit code. */
  ended(): Promise<number>
  /** SIGTERM, and waits for the drain; the exit code. */
  stop(): Promise<number>
}

export interface ServerOptions {
  readonly dataDir: string
  readonly env?: Readonly<Record<string, string>>
  /** Program and arguments; the package's own server by default. */
  readonly command?: readonly string[]
  readonly readyMsMax?: number
}

/** Starts and waits for readiness. Throws with the output where it ends before or takes too long. */
export async function startServer(options: ServerOptions): Promise<RunningServer> {
  const [program = process.execPath, ...args] = options.command ?? [process.execPath, CLI, 'serve']
  const beganMs = performance.now()
  const child = spawn(program, args, {
    cwd: ROOT,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: {
      ...process.env,
      ASSAY_DATA_DIR: options.dataDir,
      ASSAY_PROCESS__HTTP__PORT: '0',
      ASSAY_PROCESS__OPERATIONS__PORT: '0',
      ...options.env,
    },
  })
  let output = ''
  const take = (chunk: Buffer): void => {
    output = (output + chunk.toString()).slice(-OUTPUT_CHARS_MAX)
  }
  child.stdout.on('data', take)
  child.stderr.on('data', take)
  const exited = once(child, 'exit')
  const deadline = beganMs + (options.readyMsMax ?? READY_MS_MAX)
  for (;;) {
    const ports = portsIn(output)
    if (ports !== null && (await isReady(ports.operations))) {
      return {
        pid: child.pid ?? 0,
        scorePort: ports.score,
        operationsPort: ports.operations,
        readyMs: performance.now() - beganMs,
        output: () => output,
        kill: () => end(child, exited, 'SIGKILL').then(() => undefined),
        ended: () => exited.then(codeOf),
        stop: () => end(child, exited, 'SIGTERM'),
      }
    }
    if (child.exitCode !== null || child.signalCode !== null) throw new Error(`the server ended:\n${output}`)
    if (performance.now() > deadline) {
      await end(child, exited, 'SIGKILL')
      throw new Error(`the server was not ready in time:\n${output}`)
    }
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}

/** Ends a measured server and removes its folder; one that ends with an error fails the run. */
export async function endRun(server: RunningServer, folder: string): Promise<void> {
  const code = await server.stop()
  if (code !== 0) {
    console.error(`the server ended with ${code}:\n${server.output()}`)
    process.exitCode = 1
  }
  rmSync(folder, { recursive: true, force: true })
}

async function end(child: ChildProcess, exited: Promise<unknown[]>, signal: 'SIGKILL' | 'SIGTERM'): Promise<number> {
  child.kill(signal)
  return codeOf(await exited)
}

/** 128 where a signal ended it. */
function codeOf([code]: unknown[]): number {
  return typeof code === 'number' ? code : 128
}

/** The two addresses in what the server has printed, or null. */
function portsIn(output: string): { score: number; operations: number } | null {
  const score = /score[^\n]*?127\.0\.0\.1:(\d+)/i.exec(output)
  const operations = /operations[^\n]*?127\.0\.0\.1:(\d+)/i.exec(output)
  return score === null || operations === null ? null : { score: Number(score[1]), operations: Number(operations[1]) }
}

async function isReady(port: number): Promise<boolean> {
  try {
    return (await fetch(`http://127.0.0.1:${port}/readyz`)).status === 200
  } catch {
    return false
  }
}
