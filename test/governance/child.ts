// Programs of the package as child processes of a test, which end with it. No test.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import type { Test } from 'tap'

export interface Child {
  readonly process: ChildProcess
  /** Its exit code; null where a signal ended it. */
  readonly exited: Promise<number | null>
  /** What it has printed so far, on both streams. */
  output(): string
}

/** Starts it; the governance store has no floor of free bytes, so that a small disk does not matter. */
export function child(t: Test, program: string, args: readonly string[], env: Record<string, string>): Child {
  const started: ChildProcess = spawn(program, args, {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, ASSAY_PROCESS__GOVERNANCE__DISK_FREE_BYTES_MIN: '0', ...env },
  })
  t.teardown(() => void started.kill('SIGKILL'))
  let output = ''
  started.stdout?.on('data', (chunk: Buffer) => void (output += chunk.toString()))
  started.stderr?.on('data', (chunk: Buffer) => void (output += chunk.toString()))
  const exited = once(started, 'exit').then(([code]) => code as number | null)
  return { process: started, exited, output: () => output }
}
