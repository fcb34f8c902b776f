// Records other than decisions as rows of the store's tables, and what every record says of itself.
// Invariant: a row follows from the record and the policy it was written under alone.
import { withoutPolicy } from '../../contract/control-state.js'
import type { FieldSpec } from '../../contract/transaction.js'
import type { Control, DerivedRow, TailRecord } from '../port.js'

/**
 * The rows of a record that is no decision: one, but for replies, which have one per entry, and for what was consumed
 * of a stream, which has none.
 */
export function rowsOf({ record, control, epoch, sequence }: TailRecord): DerivedRow[] {
  const place = { sequence, epoch }
  switch (record.type) {
    case 'decision':
    case 'observed':
    case 'inference':
    case 'consumed':
      return []
    case 'label': {
      const { ordinal, foldedAtMs, label } = record.label
      const row = {
        ...{ ...place, ordinal, folded_at_ms: foldedAtMs, transaction_id: label.transactionId, kind: label.kind },
        ...{ value: label.value, source: label.source, known_at_ms: label.knownAtMs },
        occurred_at_ms: label.occurredAtMs,
        entities: entitiesText(label.entities, control.policy.schema.fields),
      }
      return [{ table: 'labels', row }]
    }
    case 'control': {
      const { ordinal, foldedAtMs, kind, actor, reason, state, remoteAddress } = record.control
      const row = { ...place, ordinal, folded_at_ms: foldedAtMs, kind, actor, reason, state: withoutPolicy(state) }
      return [{ table: 'controls', row: { ...row, remote_address: remoteAddress } }]
    }
    case 'reply': {
      const { atMs, entries } = record.reply
      return entries.map(({ ordinal, unfolded, told }) => ({
        table: 'replies',
        row: { ...place, at_ms: atMs, ordinal, unfolded, told },
      }))
    }
    case 'superseded': {
      const { ordinal, supersededEpoch, supersededOrdinal, atMs, reason } = record.superseded
      const row = { superseded_epoch: supersededEpoch, superseded_ordinal: supersededOrdinal, at_ms: atMs, reason }
      return [{ table: 'superseded', row: { ...place, ordinal, ...row } }]
    }
  }
}

/** When a record was written, by the server's clock: windows and days close on it. */
export function recordedAtMs({ record }: TailRecord): number {
  switch (record.type) {
    case 'decision':
    case 'observed':
    case 'inference':
      return record.facts.decidedAtMs
    case 'label':
      return record.label.foldedAtMs
    case 'control':
      return record.control.foldedAtMs
    case 'reply':
      return record.reply.atMs
    case 'superseded':
      return record.superseded.atMs
    case 'consumed':
      return record.consumed.atMs
  }
}

/** Names of the fields that a policy declares as entities. */
export function entityNames(control: Control): string[] {
  return control.policy.schema.fields.filter(({ entity }) => entity === true).map(({ name }) => name)
}

function entitiesText(values: readonly (string | null)[], fields: readonly FieldSpec[]): string | null {
  const names = fields.filter(({ entity }) => entity === true).map(({ name }) => name)
  const known = names.flatMap((name, at) => (typeof values[at] === 'string' ? [[name, values[at]]] : []))
  return known.length === 0 ? null : JSON.stringify(Object.fromEntries(known))
}
