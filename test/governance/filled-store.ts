// Stores that have read a log of real records, for tests that ask them. No test.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'
import { openStore, type Store } from '../../src/governance/store/open.js'
import { createQueries, type Queries } from '../../src/governance/store/queries.js'
import { LIMITS } from '../../src/limits.js'
import { readAll, storeOptions } from './read-all.js'
import { openWriter, type WriterOptions } from './written-log.js'

export interface Filled {
  readonly logDir: string
  readonly directory: string
  readonly store: Store
  readonly queries: Queries
  readonly logId: Buffer
}

export function folder(t: Test): string {
  const made = mkdtempSync(join(tmpdir(), 'assay-store-'))
  t.teardown(() => rmSync(made, { recursive: true, force: true }))
  return made
}

/** A store that has read a log of so many decisions. */
export async function filled(
  t: Test,
  decisions: number,
  options: WriterOptions & { others?: boolean } = {},
): Promise<Filled> {
  const at = folder(t)
  const [logDir, directory] = [join(at, 'decision-log'), join(at, 'governance')]
  const writer = await openWriter(logDir, options)
  await writer.decisions(decisions)
  if (options.others === true) await writer.others()
  await writer.close()
  await readAll({ logDir, directory })
  return { logDir, directory, ...(await opened(t, directory)), logId: writer.log.logId }
}

export async function opened(t: Test, directory: string): Promise<Pick<Filled, 'store' | 'queries'>> {
  const store = await openStore(storeOptions(directory))
  t.teardown(() => store.close())
  const logId = (): Buffer | null => store.resume()?.position.logId ?? null
  return { store, queries: createQueries(store.database, { logId, limits: LIMITS }) }
}
