// Whether what the console shows can be trusted: lag, position, findings, sizes, versions.
import { statfsSync, statSync } from 'node:fs'
import { join } from 'node:path'
import type * as wire from '../../../contract/governance.js'
import { STORE_FILE } from '../../store/open.js'
import * as cells from './cells.js'
import type { Held } from './held.js'
import { findings } from './tables.js'

export interface HealthFacts {
  readonly version: string
  /** Where the store lies. */
  readonly directory: string
  readonly streams: () => number
}

const TABLES = ['decisions', 'labels', 'controls', 'findings'] as const

export async function health(held: Held, { version, directory, streams }: HealthFacts): Promise<wire.Health> {
  const facts = held.facts()
  const counts = TABLES.map((table) => `(SELECT count(*) FROM ${table}) AS ${table}`)
  // Health answers most of all when the store cannot.
  const [rows, control, found] = held.isOpen()
    ? await Promise.all([held.queries().select(`SELECT ${counts.join(', ')}`), held.control(), findings(held)])
    : [[], null, []]
  const { logId, epoch, sequence } = facts
  return {
    ...{ ready: facts.ready, reasons: [...facts.troubles], at: cells.time(held.clock.nowMs()) },
    ...{ version, node: process.version },
    lag: { records: facts.lagRecords, seconds: facts.lagSeconds },
    position: logId === null || sequence < 0 ? null : { log_id: logId, epoch, sequence },
    records: Object.fromEntries(TABLES.map((table) => [table, cells.number(rows[0] ?? {}, table)])),
    findings: found,
    store_bytes: sizeOf(join(directory, STORE_FILE)),
    disk_free_bytes: freeOf(directory),
    policy: control?.policy_fingerprint ?? null,
    streams: streams(),
  }
}

function sizeOf(file: string): number | null {
  return statSync(file, { throwIfNoEntry: false })?.size ?? null
}

function freeOf(directory: string): number | null {
  try {
    const { bavail, bsize } = statfsSync(directory)
    return bavail * bsize
  } catch {
    return null
  }
}
