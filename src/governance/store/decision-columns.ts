// The columns of the table of decisions: name, SQL type, and where the value comes from. One list is the table, its
// order and its filling: rows are read out column by column, and no object per row is made (bench/governance-catch-up).
import { digestText } from '../../contract/canonical-json.js'
import { decisionId } from '../../contract/decision.js'
import {
  type DecisionFacts,
  type DecisionPersonal,
  type InferencePersonal,
  inferenceVector,
} from '../../contract/record-types.js'
import type { FieldSpec, FieldValue } from '../../contract/transaction.js'
import { createVectorCodec, type Dtype } from '../../features/vector.js'
import type { Cell, Control, TailRecord } from '../port.js'

/** What is worked out once per policy. */
export interface UnderPolicy {
  readonly policy: Control['policy']
  readonly decodeVector: (bytes: Uint8Array) => readonly number[]
  readonly fields: readonly FieldSpec[]
  /** Field → its place among the values of a transaction, for fields declared as entities. */
  readonly entities: ReadonlyMap<string, number>
}

/** A decision, observed or inference record on its way into the table. Exactly one of the two sections is there. */
export interface DecisionSource {
  readonly sequence: number
  readonly epoch: number
  readonly kind: 'decision' | 'observed' | 'inference'
  readonly facts: DecisionFacts
  readonly personal: DecisionPersonal | null
  readonly inference: InferencePersonal | null
  readonly under: UnderPolicy
  readonly logId: Uint8Array
}

export type Get = (source: DecisionSource) => Cell
export type DecisionColumn = readonly [name: string, type: string, get: Get]

const textOf = rememberTexts()

export const DECISION_COLUMNS: readonly DecisionColumn[] = [
  ['sequence', 'BIGINT', (s) => s.sequence],
  ['epoch', 'INTEGER', (s) => s.epoch],
  ['ordinal', 'BIGINT', (s) => s.facts.ordinal],
  ['unfolded', 'BOOLEAN', (s) => s.facts.unfolded],
  ['decision_id', 'VARCHAR', (s) => decisionId(s.logId, s.facts.epoch, s.facts.ordinal, s.facts.unfolded)],
  ['kind', 'VARCHAR', (s) => s.kind],
  ['mode', 'VARCHAR', (s) => s.facts.mode],
  ['received_at_ms', 'BIGINT', (s) => s.facts.receivedAtMs],
  ['folded_at_ms', 'BIGINT', (s) => s.facts.foldedAtMs],
  ['decided_at_ms', 'BIGINT', (s) => s.facts.decidedAtMs],
  ['action', 'VARCHAR', (s) => s.facts.action],
  ['score', 'DOUBLE', (s) => s.facts.score],
  ['score_raw', 'DOUBLE', (s) => s.facts.scoreRaw],
  ['model', 'VARCHAR', ({ facts: { model } }) => (model === null ? null : `${model.name}@${model.version}`)],
  ['model_digest', 'VARCHAR', ({ facts: { model } }) => (model === null ? null : textOf(model.digest))],
  ['role', 'VARCHAR', (s) => s.facts.model?.role ?? null],
  ['prescribed_model', 'VARCHAR', (s) => s.facts.prescribedModel],
  ['bucket', 'INTEGER', (s) => s.facts.bucket],
  ['routes_revision', 'BIGINT', (s) => s.facts.routesRevision],
  ['experiment', 'VARCHAR', (s) => s.facts.experiment],
  ['arm', 'VARCHAR', (s) => s.facts.arm],
  ['propensity', 'DOUBLE', (s) => s.facts.propensity],
  ['rules', 'VARCHAR', (s) => listText(s.facts.rules)],
  ['rules_shadow', 'VARCHAR', (s) => listText(s.facts.rulesShadow)],
  ['challenge_at', 'DOUBLE', (s) => s.facts.thresholds?.challengeAt ?? null],
  ['review_at', 'DOUBLE', (s) => s.facts.thresholds?.reviewAt ?? null],
  ['decline_at', 'DOUBLE', (s) => s.facts.thresholds?.declineAt ?? null],
  ['segment', 'VARCHAR', (s) => s.facts.segment],
  ['score_action', 'VARCHAR', (s) => s.facts.scoreAction],
  ['reasons', 'VARCHAR', (s) => listText(s.facts.reasons)],
  ['feature_flags', 'INTEGER', (s) => s.facts.features],
  ['degraded', 'BOOLEAN', (s) => s.facts.degraded],
  ['fallback', 'VARCHAR', (s) => listText(s.facts.fallback)],
  ['policy', 'VARCHAR', (s) => textOf(s.facts.policy)],
  ['receive_us', 'INTEGER', (s) => s.facts.stages.receiveUs],
  ['validate_us', 'INTEGER', (s) => s.facts.stages.validateUs],
  ['features_us', 'INTEGER', (s) => s.facts.stages.featuresUs],
  ['infer_us', 'INTEGER', (s) => s.facts.stages.inferUs],
  ['decide_us', 'INTEGER', (s) => s.facts.stages.decideUs],
  ['total_us', 'INTEGER', (s) => totalUs(s.facts.stages)],
  ['transaction_id', 'VARCHAR', (s) => s.personal?.transaction.transactionId ?? s.inference?.transactionId ?? null],
  ['occurred_at_ms', 'BIGINT', (s) => s.personal?.transaction.occurredAtMs ?? null],
  ['offset_minutes', 'INTEGER', (s) => s.personal?.transaction.offsetMinutes ?? null],
  ['amount_minor', 'BIGINT', (s) => s.personal?.transaction.amountMinor ?? null],
  ['currency', 'VARCHAR', (s) => s.personal?.transaction.currency ?? null],
  ['amount_base_minor', 'BIGINT', (s) => known(s.personal?.transaction.amountBaseMinor)],
  ['fields', 'VARCHAR', (s) => (s.personal === null ? null : restText(s.personal.transaction.fields, s.under.fields))],
  ['inference_entity', 'VARCHAR', (s) => s.inference?.entity ?? null],
  ['traceparent', 'VARCHAR', (s) => s.personal?.traceparent ?? s.inference?.traceparent ?? null],
  ['source_topic', 'VARCHAR', (s) => s.personal?.source?.topic ?? null],
  ['source_partition', 'INTEGER', (s) => s.personal?.source?.partition ?? null],
  ['source_offset', 'BIGINT', (s) => s.personal?.source?.offset ?? null],
  // Of an inference: the model's own row, in its own order.
  ['vector', 'DOUBLE[]', vectorOf],
]

function vectorOf({ personal, inference, under }: DecisionSource): readonly number[] {
  if (personal !== null) return under.decodeVector(personal.vector)
  return inference === null ? [] : Array.from(inferenceVector(inference))
}

/** In front of a field's name: the column of that entity. */
export const ENTITY_PREFIX = 'entity_'

/** The column of a field that some policy declares as an entity. */
export function entityColumn(field: string): DecisionColumn {
  const get: Get = ({ personal, under }) => {
    const at = under.entities.get(field)
    return at === undefined || personal === null ? null : (personal.transaction.fields[at] ?? null)
  }
  return [ENTITY_PREFIX + field, 'VARCHAR', get]
}

export function underPolicy(policy: Control['policy']): UnderPolicy {
  const dtypes = policy.catalogue.features.map((spec): Dtype => spec.dtype ?? 'float32')
  const codec = createVectorCodec(dtypes)
  const { fields } = policy.schema
  return {
    ...{ policy, fields },
    decodeVector: (bytes) => (bytes.length === codec.vectorBytes ? Array.from(codec.decodeVector(bytes)) : []),
    entities: new Map(fields.flatMap(({ name, entity }, at) => (entity === true ? [[name, at] as const] : []))),
  }
}

/** Null for records of other types. */
export function decisionSource(
  { record, sequence, epoch }: TailRecord,
  under: UnderPolicy,
  logId: Uint8Array,
): DecisionSource | null {
  if (record.type === 'inference') {
    return {
      sequence,
      epoch,
      kind: record.type,
      facts: record.facts,
      personal: null,
      inference: record.personal,
      under,
      logId,
    }
  }
  if (record.type !== 'decision' && record.type !== 'observed') return null
  return {
    sequence,
    epoch,
    kind: record.type,
    facts: record.facts,
    personal: record.personal,
    inference: null,
    under,
    logId,
  }
}

function totalUs({ receiveUs, validateUs, featuresUs, inferUs, decideUs }: DecisionFacts['stages']): number {
  return receiveUs + validateUs + featuresUs + inferUs + decideUs
}

function known(value: number | undefined): number | null {
  return value === undefined || Number.isNaN(value) ? null : value
}

/** Most lists are empty, and an empty one is null: nothing is stored. */
function listText(list: readonly unknown[]): string | null {
  return list.length === 0 ? null : JSON.stringify(list)
}

/** Declared fields that are no entities, as JSON; null where none has a value. */
function restText(values: readonly FieldValue[], fields: readonly FieldSpec[]): string | null {
  let rest: Record<string, FieldValue> | null = null
  for (let at = 0; at < fields.length; at++) {
    const spec = fields[at]
    const value = values[at] ?? null
    if (spec === undefined || spec.entity === true || value === null) continue
    rest ??= {}
    rest[spec.name] = value
  }
  return rest === null ? null : JSON.stringify(rest)
}

/** Texts of the last few digests: nearly all rows name the same ones. */
function rememberTexts(): (digest: Uint8Array) => string {
  const held: { readonly digest: Uint8Array; readonly text: string }[] = []
  return (digest) => {
    const found = held.find((one) => Buffer.compare(one.digest, digest) === 0)
    if (found !== undefined) return found.text
    const text = digestText(digest)
    if (held.length >= TEXTS_HELD_MAX) held.shift()
    held.push({ digest: Uint8Array.from(digest), text })
    return text
  }
}

const TEXTS_HELD_MAX = 8
