// Clients and checkers that are written in Python: each in a virtual environment of its own, installed once and kept
// with what tests fetch. No test.
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { cached } from '../kafka/cache.js'

/** As pip names them, with the versions that were tried. */
export const PACKAGES = {
  triton: 'tritonclient[http]==2.73.0',
  kserve: 'kserve==0.21.0',
  schemathesis: 'schemathesis==4.32.0',
} as const

export const PYTHON_SOURCES = join(import.meta.dirname, '../../../test/clients')

/** Whether there is a Python that can make one. */
export function hasPython(): boolean {
  return spawnSync('python3', ['-c', 'import venv, ensurepip']).status === 0
}

/** The interpreter of the environment with that package. */
export function pythonWith(name: keyof typeof PACKAGES): string {
  const folder = cached(`python-${PACKAGES[name].replace(/[^a-z0-9.=]/g, '-')}`, (made, fetch) => {
    fetch('python3', '-m', 'venv', '.')
    fetch(join(made, 'bin/python'), '-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', PACKAGES[name])
  })
  return join(folder, 'bin/python')
}

export interface Output {
  readonly code: number | null
  readonly text: string
}

/**
 * Runs it to its end; what it says on stderr is in the text, too. `onLine` sees each line as it comes. `path`: where
 * modules are found beside its own.
 */
export async function runPython(
  program: string,
  args: readonly string[],
  { cwd, path = '', onLine = () => undefined }: { cwd?: string; path?: string; onLine?: (line: string) => void } = {},
): Promise<Output> {
  const child = spawn(program, args, {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, PYTHONDONTWRITEBYTECODE: '1', PYTHONUNBUFFERED: '1', PYTHONPATH: path },
    ...(cwd !== undefined && { cwd }),
  })
  let text = ''
  let line = ''
  const take = (piece: Buffer): void => {
    text += piece.toString()
    const lines = (line + piece.toString()).split('\n')
    line = lines.pop() ?? ''
    lines.forEach(onLine)
  }
  child.stdout.on('data', take)
  child.stderr.on('data', take)
  const [code] = (await once(child, 'close')) as [number | null]
  return { code, text }
}
