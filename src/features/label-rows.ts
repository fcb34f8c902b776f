// Labels out of files, each with the time at which it became known: a file of labels, or label columns beside the
// transactions, whose labels name time and entities of their transaction.
import type { Label } from '../contract/label.js'
import type { Transaction, TransactionSchema } from '../contract/transaction.js'
import { AssayError } from '../errors.js'
import { readBoolean, readTime } from './build-rows.js'
import { type ColumnMap, readRows, type Row } from './read-rows.js'

export interface LabelFile {
  readonly path: string
  readonly columns: ColumnMap
  readonly schema: TransactionSchema
  readonly labelsMax: number
  /** Sees each label with its place, and throws where it is not to be taken. */
  readonly check?: (label: Label, place: string) => void
}

/** All labels of a file in the order in which they became known; those known at once keep the order of the file. */
export async function readLabels({ path, columns, schema, labelsMax, check }: LabelFile): Promise<Label[]> {
  const entities = entityNames(schema)
  const names = new Set([
    'transaction_id',
    'kind',
    'fraud',
    'approved',
    'known_at',
    'source',
    'occurred_at',
    ...entities,
  ])
  const labels: Label[] = []
  for await (const row of readRows(path, names, columns)) {
    if (labels.length === labelsMax) {
      throw new AssayError('ASSAY_INPUT_INVALID', `${path}: more than ${labelsMax} labels`)
    }
    const place = `${path}, row ${row.number}`
    const label = readLabel(row, entities, place)
    check?.(label, place)
    labels.push(label)
  }
  return labels.sort((a, b) => a.knownAtMs - b.knownAtMs)
}

function readLabel({ values }: Row, names: readonly string[], place: string): Label {
  const { transaction_id: id, source, occurred_at: occurredAt } = values
  if (typeof id !== 'string' && typeof id !== 'number') {
    throw new AssayError('ASSAY_INPUT_INVALID', `${place}: /transaction_id: a text`)
  }
  const kind = kindOf(values, place)
  return {
    transactionId: String(id),
    kind,
    value:
      kind === 'fraud'
        ? readBoolean(values.fraud, `${place}: /fraud`)
        : readBoolean(values.approved, `${place}: /approved`),
    source: typeof source === 'string' ? source : 'file',
    knownAtMs: readTime(values.known_at, `${place}: /known_at`),
    occurredAtMs: occurredAt === undefined ? null : readTime(occurredAt, `${place}: /occurred_at`),
    entities: names.map((name) => {
      const value = values[name]
      return typeof value === 'string' ? value : typeof value === 'number' ? String(value) : null
    }),
  }
}

/** As the row says, else by which of the two values it has. */
function kindOf({ kind, fraud, approved }: Row['values'], place: string): Label['kind'] {
  if (fraud !== undefined && approved !== undefined) {
    throw new AssayError('ASSAY_INPUT_INVALID', `${place}: /approved: not beside fraud: one label a row`)
  }
  if (kind === undefined) return approved === undefined ? 'fraud' : 'authorisation'
  if (kind === 'fraud' || kind === 'authorisation') return kind
  throw new AssayError('ASSAY_INPUT_INVALID', `${place}: /kind: fraud or authorisation`)
}

/** The label of a label column: what became known of the transaction at that time. */
export function columnLabel(
  tx: Transaction,
  schema: TransactionSchema,
  word: Pick<Label, 'kind' | 'value' | 'source' | 'knownAtMs'>,
): Label {
  const entities = schema.fields.flatMap((field, at) => {
    const value = tx.fields[at]
    return field.entity === true ? [typeof value === 'string' ? value : null] : []
  })
  return { ...word, transactionId: tx.transactionId, occurredAtMs: tx.occurredAtMs, entities }
}

/** A label as a client sends it. */
export function labelOnWire(label: Label, schema: TransactionSchema): Record<string, unknown> {
  const { transactionId, kind, value, source, knownAtMs, occurredAtMs, entities } = label
  const names = entityNames(schema)
  return {
    transaction_id: transactionId,
    ...(kind === 'fraud' ? { fraud: value } : { kind, approved: value }),
    ...{ source, known_at: knownAtMs },
    ...(occurredAtMs === null ? {} : { occurred_at: occurredAtMs }),
    ...Object.fromEntries(entities.flatMap((entity, i) => (entity === null ? [] : [[names[i], entity]]))),
  }
}

function entityNames({ fields }: TransactionSchema): string[] {
  return fields.filter(({ entity }) => entity === true).map(({ name }) => name)
}
