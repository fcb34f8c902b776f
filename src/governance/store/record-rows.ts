// One record of the decision log as rows of the store's tables.
// Invariant: a row follows from the record, the policy it was written under and the log's id alone.
import { digestText } from '../../contract/canonical-json.js'
import { decisionId } from '../../contract/decision.js'
import type { DecisionFacts, DecisionPersonal, InferencePersonal } from '../../contract/record-types.js'
import type { FieldSpec, FieldValue } from '../../contract/transaction.js'
import { createVectorCodec, type Dtype } from '../../features/vector.js'
import type { Cell, Control, DerivedRow, TailRecord } from '../port.js'
import { ENTITY_PREFIX } from './tables.js'

export interface RowMaker {
  /** The rows of one record; the first is the record's own. */
  rowsOf(record: TailRecord): DerivedRow[]
}

type Row = Record<string, Cell>

/** What is worked out once per policy. */
interface UnderPolicy {
  readonly policy: Control['policy']
  readonly decodeVector: (bytes: Uint8Array) => readonly number[]
  readonly fields: readonly FieldSpec[]
}

export function createRowMaker(logId: Uint8Array): RowMaker {
  let under: UnderPolicy | null = null

  const underPolicy = (control: Control): UnderPolicy => {
    if (under?.policy !== control.policy) under = preparePolicy(control.policy)
    return under
  }

  const decisionRow = (kind: string, facts: DecisionFacts, personal: Row): DerivedRow => ({
    table: 'decisions',
    row: {
      kind,
      decision_id: decisionId(logId, facts.epoch, facts.ordinal, facts.unfolded),
      ...factCells(facts),
      ...personal,
    },
  })

  return {
    rowsOf({ record, control, epoch, sequence }) {
      const place = { sequence, epoch }
      switch (record.type) {
        case 'decision':
        case 'observed': {
          const cells = { ...place, ...personalCells(record.personal, underPolicy(control)) }
          return [decisionRow(record.type, record.facts, cells)]
        }
        case 'inference': {
          const cells = { ...place, ...inferenceCells(record.personal, underPolicy(control)) }
          return [decisionRow(record.type, record.facts, cells)]
        }
        case 'label': {
          const { ordinal, foldedAtMs, label } = record.label
          const row = {
            ...{ ...place, ordinal, folded_at_ms: foldedAtMs, transaction_id: label.transactionId, kind: label.kind },
            ...{ value: label.value, source: label.source, known_at_ms: label.knownAtMs },
            occurred_at_ms: label.occurredAtMs,
            entities: entitiesText(label.entities, underPolicy(control).fields),
          }
          return [{ table: 'labels', row }]
        }
        case 'control': {
          const { ordinal, foldedAtMs, kind, actor, reason, state } = record.control
          return [
            { table: 'controls', row: { ...place, ordinal, folded_at_ms: foldedAtMs, kind, actor, reason, state } },
          ]
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
    },
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
  }
}

/** Names of the fields that a policy declares as entities. */
export function entityNames(control: Control): string[] {
  return control.policy.schema.fields.filter(({ entity }) => entity === true).map(({ name }) => name)
}

function preparePolicy(policy: Control['policy']): UnderPolicy {
  const dtypes = policy.catalogue.features.map((spec): Dtype => spec.dtype ?? 'float32')
  const { decodeVector, vectorBytes } = createVectorCodec(dtypes)
  return {
    policy,
    fields: policy.schema.fields,
    decodeVector: (bytes) => (bytes.length === vectorBytes ? Array.from(decodeVector(bytes)) : []),
  }
}

function factCells(facts: DecisionFacts): Row {
  const { model, thresholds, stages } = facts
  const { receiveUs, validateUs, featuresUs, inferUs, decideUs } = stages
  return {
    ...{ ordinal: facts.ordinal, unfolded: facts.unfolded, mode: facts.mode, received_at_ms: facts.receivedAtMs },
    ...{ folded_at_ms: facts.foldedAtMs, decided_at_ms: facts.decidedAtMs, action: facts.action },
    ...{ score: facts.score, score_raw: facts.scoreRaw },
    model: model === null ? null : `${model.name}@${model.version}`,
    model_digest: model === null ? null : digestText(model.digest),
    role: model?.role ?? null,
    ...{ prescribed_model: facts.prescribedModel, bucket: facts.bucket, routes_revision: facts.routesRevision },
    ...{ experiment: facts.experiment, arm: facts.arm, propensity: facts.propensity },
    ...{ rules: listText(facts.rules), rules_shadow: listText(facts.rulesShadow) },
    challenge_at: thresholds?.challengeAt ?? null,
    review_at: thresholds?.reviewAt ?? null,
    decline_at: thresholds?.declineAt ?? null,
    ...{ segment: facts.segment, score_action: facts.scoreAction, reasons: listText(facts.reasons) },
    ...{ feature_flags: facts.features, degraded: facts.degraded, fallback: listText(facts.fallback) },
    policy: digestText(facts.policy),
    ...{ receive_us: receiveUs, validate_us: validateUs, features_us: featuresUs, infer_us: inferUs },
    ...{ decide_us: decideUs, total_us: receiveUs + validateUs + featuresUs + inferUs + decideUs },
  }
}

function personalCells(personal: DecisionPersonal, { fields, decodeVector }: UnderPolicy): Row {
  const { transaction, source } = personal
  const cells: Row = {
    ...{ transaction_id: transaction.transactionId, occurred_at_ms: transaction.occurredAtMs },
    ...{ offset_minutes: transaction.offsetMinutes, amount_minor: transaction.amountMinor },
    currency: transaction.currency,
    amount_base_minor: Number.isNaN(transaction.amountBaseMinor) ? null : transaction.amountBaseMinor,
    traceparent: personal.traceparent,
    source_topic: source?.topic ?? null,
    source_partition: source?.partition ?? null,
    source_offset: source?.offset ?? null,
    vector: decodeVector(personal.vector),
  }
  let rest: Record<string, FieldValue> | null = null
  fields.forEach(({ name, entity }, at) => {
    const value = transaction.fields[at] ?? null
    if (entity === true) cells[ENTITY_PREFIX + name] = value
    else if (value !== null) rest = { ...rest, [name]: value }
  })
  cells.fields = rest === null ? null : JSON.stringify(rest)
  return cells
}

function inferenceCells(personal: InferencePersonal, { decodeVector }: UnderPolicy): Row {
  return {
    ...{ transaction_id: personal.transactionId, inference_entity: personal.entity },
    ...{ traceparent: personal.traceparent, vector: decodeVector(personal.vector) },
  }
}

function entitiesText(values: readonly (string | null)[], fields: readonly FieldSpec[]): string | null {
  const names = fields.filter(({ entity }) => entity === true).map(({ name }) => name)
  const known = names.flatMap((name, at) => (values[at] == null ? [] : [[name, values[at]]]))
  return known.length === 0 ? null : JSON.stringify(Object.fromEntries(known))
}

/** Most lists are empty, and an empty one is null: nothing is stored. */
function listText(list: readonly unknown[]): string | null {
  return list.length === 0 ? null : JSON.stringify(list)
}
