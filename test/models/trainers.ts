// The trainers' own libraries, as `models/training` pins them, for tests that export real models: installed once for
// the Python on the PATH, and what runs with them. No test.
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { packageRoot } from '../../src/config.js'
import { cached } from '../kafka/cache.js'

const REQUIREMENTS = join(packageRoot, 'models/training/requirements.txt')

/** Why real models cannot be exported here; false where they can. Under CI=true that is no excuse. */
export function trainersMissing(): string | false {
  const { status } = spawnSync('python3', ['-m', 'pip', '--version'])
  return status === 0 || process.env.CI === 'true' ? false : 'there is no Python with pip on the PATH'
}

/** Runs a script of this repository with the libraries; gives what it printed, throws where it fails. */
export function runTrainer(script: string, ...given: readonly string[]): string {
  const digest = createHash('sha256').update(readFileSync(REQUIREMENTS)).digest('hex').slice(0, 12)
  const libraries = cached(`trainers-${digest}`, (_, fetch) => {
    fetch('python3', '-m', 'pip', 'install', '-q', '--target', '.', '-r', REQUIREMENTS)
  })
  const env = { ...process.env, PYTHONPATH: libraries, PYTHONDONTWRITEBYTECODE: '1', OMP_NUM_THREADS: '2' }
  const ran = spawnSync('python3', [join(packageRoot, script), ...given], { encoding: 'utf8', env })
  if (ran.status === 0) return ran.stdout
  throw new Error(`${script} failed: ${(ran.error?.message ?? '') + ran.stderr.slice(-4_000)}`)
}
