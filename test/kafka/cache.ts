// What tests fetch from Maven Central: once, then found under the user's cache (or ASSAY_TEST_CACHE). No test.
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, renameSync, rmSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'

/** Runs a command in the folder; throws with what it printed where it fails. */
export type Fetch = (command: string, ...given: readonly string[]) => void

/** The folder of that name, filled where it is not there yet; of two that fill it at once the first is kept. */
export function cached(name: string, fill: (folder: string, fetch: Fetch) => void): string {
  const cache = join(process.env.ASSAY_TEST_CACHE ?? join(homedir(), '.cache', 'assay-tests'), name)
  if (existsSync(cache)) return cache
  mkdirSync(join(cache, '..'), { recursive: true })
  const folder = mkdtempSync(`${cache}-`)
  fill(folder, (command, ...given) => {
    const { status, stdout, stderr } = spawnSync(command, given, { cwd: folder, encoding: 'utf8' })
    if (status !== 0) throw new Error(`${name} cannot be fetched: ${stdout}${stderr}`)
  })
  try {
    renameSync(folder, cache)
  } catch (error) {
    if (!existsSync(cache)) throw error
    rmSync(folder, { recursive: true })
  }
  return cache
}
