// The Avro schemas of every record of the decision log, and of a transaction as a request body.
// Names on disk are snake_case; in code the same types are built with camelCase names. Avro's bytes hold no names, so
// that costs nothing. A field may be added with a default, never removed, renamed or moved within one format version.
import { ACTIONS, FALLBACK_REASONS, ROLES } from './decision.js'
import { type FieldSpec, MODES, type TransactionSchema } from './transaction.js'

export type AvroSchema = string | AvroSchema[] | { [key: string]: unknown }

interface AvroField {
  name: string
  type: AvroSchema
  default?: unknown
}

export const TOLD = ['unconfirmed', 'pending'] as const
export const LABEL_KINDS = ['fraud', 'authorisation'] as const

const MS: AvroSchema = { type: 'long', logicalType: 'timestamp-millis' }

function nullable(type: AvroSchema): AvroSchema {
  return ['null', type]
}

function field(name: string, type: AvroSchema): AvroField {
  return Array.isArray(type) && type[0] === 'null' ? { name, type, default: null } : { name, type }
}

function record(name: string, fields: AvroField[]): AvroSchema {
  return { type: 'record', name, fields }
}

function listOf(items: AvroSchema): AvroSchema {
  return { type: 'array', items }
}

const answeredBy = record('AnsweredBy', [
  field('name', 'string'),
  field('version', 'string'),
  field('digest', { type: 'fixed', name: 'Digest', size: 32 }),
  field('role', { type: 'enum', name: 'Role', symbols: [...ROLES] }),
  field('provider', nullable('string')),
])

const thresholds = record('Thresholds', [
  field('challenge_at', nullable('double')),
  field('review_at', nullable('double')),
  field('decline_at', nullable('double')),
])

const reason = record('Reason', [
  field('code', 'string'),
  field('detail', nullable('string')),
  field('contribution', nullable('double')),
])

const hop = record('Hop', [
  field('model', 'string'),
  field('role', 'Role'),
  field('reason', { type: 'enum', name: 'FallbackReason', symbols: [...FALLBACK_REASONS] }),
])

const stages = record('Stages', [
  field('receive_us', 'int'),
  field('validate_us', 'int'),
  field('features_us', 'int'),
  field('infer_us', 'int'),
  field('decide_us', 'int'),
])

const decisionFacts = record('DecisionFacts', [
  field('ordinal', 'long'),
  field('unfolded', 'boolean'),
  field('epoch', 'long'),
  field('mode', { type: 'enum', name: 'Mode', symbols: [...MODES] }),
  field('received_at_ms', MS),
  field('folded_at_ms', MS),
  field('decided_at_ms', MS),
  field('action', nullable({ type: 'enum', name: 'Action', symbols: [...ACTIONS] })),
  field('score', nullable('double')),
  field('score_raw', nullable('double')),
  field('model', nullable(answeredBy)),
  field('prescribed_model', nullable('string')),
  field('bucket', 'int'),
  field('routes_revision', 'long'),
  field('experiment', nullable('string')),
  field('arm', nullable('Role')),
  field('propensity', nullable('double')),
  field('rules', listOf('string')),
  field('rules_shadow', listOf('string')),
  field('thresholds', nullable(thresholds)),
  field('segment', nullable('string')),
  field('score_action', nullable('Action')),
  field('reasons', listOf(reason)),
  field('features', 'int'),
  field('degraded', 'boolean'),
  field('fallback', listOf(hop)),
  field('policy', 'Digest'),
  field('stages', stages),
  field('decided_elsewhere', nullable('string')),
])

const source = record('Source', [
  field('topic', 'string'),
  field('partition', 'int'),
  field('offset', 'long'),
  field('topic_id', nullable('string')),
  { ...field('skipped', 'long'), default: 0 },
])

const FIELD_TYPES = { string: 'string', number: 'double', integer: 'long', boolean: 'boolean' } as const

function declaredFields(fields: readonly FieldSpec[]): AvroSchema {
  return record(
    'Fields',
    fields.map((spec) => field(spec.name, nullable(FIELD_TYPES[spec.type]))),
  )
}

function decisionPersonal(fields: readonly FieldSpec[]): AvroSchema {
  return record('DecisionPersonal', [
    field('transaction_id', 'string'),
    field('occurred_at_ms', MS),
    field('offset_minutes', 'int'),
    field('amount_minor', 'long'),
    field('currency', 'string'),
    field('amount_base_minor', nullable('long')),
    field('fields', declaredFields(fields)),
    field('vector', 'bytes'),
    field('traceparent', nullable('string')),
    field('source', nullable(source)),
  ])
}

const inferencePersonal = record('InferencePersonal', [
  field('transaction_id', nullable('string')),
  field('entity', nullable('string')),
  field('vector', 'bytes'),
  field('traceparent', nullable('string')),
])

const labelFacts = record('LabelFacts', [
  field('ordinal', 'long'),
  field('epoch', 'long'),
  field('folded_at_ms', MS),
  field('kind', { type: 'enum', name: 'LabelKind', symbols: [...LABEL_KINDS] }),
  field('value', 'boolean'),
  field('source', 'string'),
  field('known_at_ms', MS),
])

function labelPersonal(fields: readonly FieldSpec[]): AvroSchema {
  return record('LabelPersonal', [
    field('transaction_id', 'string'),
    field('occurred_at_ms', nullable(MS)),
    field('entities', declaredFields(fields.filter((spec) => spec.entity === true))),
  ])
}

const control = record('Control', [
  field('ordinal', 'long'),
  field('epoch', 'long'),
  field('folded_at_ms', MS),
  field('kind', 'string'),
  field('actor', 'string'),
  field('reason', 'string'),
  field('state', 'string'),
  field('remote_address', nullable('string')),
])

const reply = record('Reply', [
  field('epoch', 'long'),
  field('at_ms', MS),
  field(
    'entries',
    listOf(
      record('ReplyEntry', [
        field('ordinal', 'long'),
        field('unfolded', 'boolean'),
        field('told', { type: 'enum', name: 'Told', symbols: [...TOLD] }),
      ]),
    ),
  ),
])

const superseded = record('Superseded', [
  field('epoch', 'long'),
  field('ordinal', 'long'),
  field('superseded_epoch', 'long'),
  field('superseded_ordinal', 'long'),
  field('at_ms', MS),
  field('reason', 'string'),
])

const consumed = record('Consumed', [field('at_ms', MS), field('source', source), field('code', nullable('string'))])

/** Every section of every record type under this policy schema, in the names of the disk. */
export function recordSchemas(schema: TransactionSchema): Record<SectionName, AvroSchema> {
  return {
    decision_facts: decisionFacts,
    decision_personal: decisionPersonal(schema.fields),
    inference_personal: inferencePersonal,
    label_facts: labelFacts,
    label_personal: labelPersonal(schema.fields),
    control,
    reply,
    superseded,
    consumed,
  }
}

export const SECTION_NAMES = [
  'decision_facts',
  'decision_personal',
  'inference_personal',
  'label_facts',
  'label_personal',
  'control',
  'reply',
  'superseded',
  'consumed',
] as const
export type SectionName = (typeof SECTION_NAMES)[number]

/** The schema of a transaction sent as avro/binary: wire names; occurred_at as milliseconds or RFC 3339. */
export function transactionAvroSchema(schema: TransactionSchema): AvroSchema {
  return record('Transaction', [
    field('transaction_id', 'string'),
    field('occurred_at', [{ type: 'long', logicalType: 'timestamp-millis' }, 'string']),
    field('amount_minor', 'long'),
    field('currency', 'string'),
    ...schema.fields.map((spec) => {
      const type = FIELD_TYPES[spec.type]
      return spec.required === true ? field(spec.name, type) : field(spec.name, nullable(type))
    }),
  ])
}

/** The same schema with the record fields of the fixed part named in camelCase; names declared in a policy stay. */
export function camelNames(schema: AvroSchema): AvroSchema {
  if (typeof schema === 'string') return schema
  if (Array.isArray(schema)) return schema.map(camelNames)
  if (schema.type === 'array') return { ...schema, items: camelNames(schema.items as AvroSchema) }
  if (schema.type !== 'record' || schema.name === 'Fields') return schema
  const fields = (schema.fields as AvroField[]).map((member) => ({
    ...member,
    name: member.name.replace(/_([a-z0-9])/g, (_, letter: string) => letter.toUpperCase()),
    type: camelNames(member.type),
  }))
  return { ...schema, fields }
}
