// What the servers of a fleet agree on before any of them scores: the key of their hashes, and since when they watch.
// The first one makes it; each keeps a copy beside its log, so that it starts without the Redis, too.
import { randomBytes } from 'node:crypto'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type Fleet, fleetFromText } from '../../contract/fleet.js'
import { AssayError } from '../../errors.js'
import type { RedisConnection } from '../../redis/connection.js'

/** Of entries and transactions as scripts.ts writes them. */
const FORMAT = 1
const FILE = 'fleet.json'

/**
 * The fleet under that key. Throws ASSAY_STATE_REFUSED where the key holds something else, or what a later release
 * wrote, and what the connection throws.
 */
export async function joinFleet(connection: RedisConnection, key: string, nowMs: number): Promise<Fleet> {
  const own = { application: 'assay', format: FORMAT, hash_key: randomBytes(16).toString('hex') }
  await connection.call('set', key, JSON.stringify({ ...own, observed_since_ms: nowMs }), 'NX')
  const text = String(await connection.call('get', key))
  return parseFleet(text, `the key ${key}`)
}

/** The copy of an earlier start; null where there is none. */
export function lastFleet(dataDir: string): Fleet | null {
  const path = join(dataDir, FILE)
  let text: string
  try {
    text = readFileSync(path, 'utf8')
  } catch {
    return null
  }
  return parseFleet(text, path)
}

/** It holds the key of the hashes: whoever reads it could choose ids that meet. */
export function keepFleet(dataDir: string, fleet: Fleet): void {
  mkdirSync(dataDir, { recursive: true, mode: 0o750 })
  writeFileSync(join(dataDir, FILE), `${JSON.stringify(fleet)}\n`, { mode: 0o600 })
}

function parseFleet(text: string, where: string): Fleet {
  const fleet = fleetFromText(text)
  if (fleet === null) throw refused(`${where} is not of Assay: choose another /process/state/redis/key_prefix`)
  if (fleet.format > FORMAT) throw refused(`${where} was written by a later release (format ${fleet.format})`)
  return fleet
}

function refused(detail: string): AssayError {
  return new AssayError('ASSAY_STATE_REFUSED', detail)
}
