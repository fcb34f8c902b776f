// The tables of the store, as SQL types, and what ties a database file to this release.
// Times are milliseconds since 1970 UTC in `…_ms`; lists and structures are JSON text; `sequence` is the place in the
// decision log and orders every table. No table has a key: exactly-once is the position's doing, and an index would
// cost more than all else. Entities have a column each, `entity_<field>`, added when a policy first declares the field.
import { DECISION_COLUMNS } from './decision-columns.js'

export type Columns = Readonly<Record<string, string>>
export type Tables = Readonly<Record<string, Columns>>

/** Raised whenever a table, the meaning of a column or a checkpoint changes; an older store is made anew. */
export const STORE_VERSION = 4

const DECISIONS: Columns = Object.fromEntries(DECISION_COLUMNS.map(([name, type]) => [name, type]))

/** What every record of the log becomes. Tables of monitors stand beside these. */
export const TABLES = {
  /** decision, observed and inference records; `kind` says which. */
  decisions: DECISIONS,
  labels: {
    ...{ sequence: 'BIGINT', epoch: 'INTEGER', ordinal: 'BIGINT', folded_at_ms: 'BIGINT' },
    ...{ transaction_id: 'VARCHAR', kind: 'VARCHAR', value: 'BOOLEAN', source: 'VARCHAR' },
    ...{ known_at_ms: 'BIGINT', occurred_at_ms: 'BIGINT', entities: 'VARCHAR' },
  },
  /** One row per entry of a reply record. */
  replies: {
    ...{ sequence: 'BIGINT', epoch: 'INTEGER', at_ms: 'BIGINT' },
    ...{ ordinal: 'BIGINT', unfolded: 'BOOLEAN', told: 'VARCHAR' },
  },
  controls: {
    ...{ sequence: 'BIGINT', epoch: 'INTEGER', ordinal: 'BIGINT', folded_at_ms: 'BIGINT' },
    ...{ kind: 'VARCHAR', actor: 'VARCHAR', reason: 'VARCHAR', state: 'VARCHAR' },
    remote_address: 'VARCHAR',
  },
  superseded: {
    ...{ sequence: 'BIGINT', epoch: 'INTEGER', ordinal: 'BIGINT', at_ms: 'BIGINT', reason: 'VARCHAR' },
    ...{ superseded_epoch: 'INTEGER', superseded_ordinal: 'BIGINT' },
  },
  /** Every policy and set of models that records were written under: `state` is the control state as JSON. */
  policies: { first_sequence: 'BIGINT', policy: 'VARCHAR', state: 'VARCHAR' },
  findings: {
    ...{ sequence: 'BIGINT', epoch: 'INTEGER', kind: 'VARCHAR', log_segment: 'VARCHAR', log_offset: 'BIGINT' },
    ...{ detail: 'VARCHAR', damage: 'BOOLEAN' },
  },
} as const satisfies Tables

/** Tables about the store itself, which a comparison with a rebuild leaves out. */
export const OWN_TABLES = {
  meta: { name: 'VARCHAR', value: 'VARCHAR' },
  position: { log_id: 'VARCHAR', epoch: 'INTEGER', sequence: 'BIGINT', record_at_ms: 'BIGINT' },
  checkpoints: { name: 'VARCHAR', content: 'BLOB' },
  partitions: { day: 'VARCHAR', decisions: 'BIGINT', last_sequence: 'BIGINT' },
} as const satisfies Tables

/** An identifier in SQL. Names come from this release and from policies, whose pattern allows no quote. */
export function quoted(name: string): string {
  return `"${name.replaceAll('"', '""')}"`
}

export function createStatement(table: string, columns: Columns): string {
  const list = Object.entries(columns).map(([name, type]) => `${quoted(name)} ${type}`)
  return `CREATE TABLE IF NOT EXISTS ${quoted(table)} (${list.join(', ')})`
}
