// Whether what the console shows can be trusted: lag, position, findings, sizes, versions.
import type * as wire from '../../../contract/governance.js'
import { type Policy, policyDifferences } from '../../../contract/policy.js'
import * as cells from './cells.js'
import { type Disks, freeBytes, hoursLeft, storeBytes } from './disk.js'
import type { Held } from './held.js'
import { findings } from './tables.js'

export interface HealthFacts extends Disks {
  readonly version: string
  /** Of the configuration that the sidecar was started with. */
  readonly policy: Policy
  readonly streams: () => number
}

const TABLES = ['decisions', 'labels', 'controls', 'findings'] as const

export async function health(held: Held, of: HealthFacts): Promise<wire.Health> {
  const { version, directory, streams } = of
  const facts = held.facts()
  const counts = TABLES.map((table) => `(SELECT count(*) FROM ${table}) AS ${table}`)
  // Health answers most of all when the store cannot.
  const [rows, control, found] = held.isOpen()
    ? await Promise.all([held.queries().select(`SELECT ${counts.join(', ')}`), held.control(), findings(held)])
    : [[], null, []]
  const records = Object.fromEntries(TABLES.map((table) => [table, cells.number(rows[0] ?? {}, table)]))
  const { logId, epoch, sequence } = facts
  return {
    ...{ ready: facts.ready, reasons: [...facts.troubles], at: cells.time(held.clock.nowMs()) },
    ...{ version, node: process.version },
    lag: { records: facts.lagRecords, seconds: facts.lagSeconds },
    position: logId === null || sequence < 0 ? null : { log_id: logId, epoch, sequence },
    records,
    findings: found,
    store_bytes: storeBytes(directory),
    disk_free_bytes: freeBytes(directory),
    disk_hours_left: held.isOpen() ? await hoursLeft(held, of, records.decisions) : null,
    policy: control?.policy_fingerprint ?? null,
    policy_differences: control === null ? [] : policyDifferences(control.policy, of.policy),
    streams: streams(),
  }
}
