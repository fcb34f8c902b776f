// A decision as Avro, for topics: the fields of DecisionAnswer under the names of the wire. What is optional in JSON is
// null here, or an empty list. Reading gives the text that was written, byte for byte; a field may be added with a
// default, never removed, renamed or retyped.
import avsc from 'avsc'
import type { Static } from '@sinclair/typebox'
import { ACTIONS, ROLES } from './decision.js'
import type { DecisionAnswer } from './decision-answer.js'
import type { AvroSchema } from './record-schema.js'
import { instantMs, isoTime } from './time.js'

const nullableOf = (type: AvroSchema) => ({ type: ['null', type], default: null })
const listOf = (items: AvroSchema) => ({ type: { type: 'array', items }, default: [] })
const enumOf = (name: string, symbols: readonly string[]): AvroSchema => ({ type: 'enum', name, symbols: [...symbols] })
const recordOf = (name: string, fields: AvroSchema[]): AvroSchema => ({ type: 'record', name, fields })

const reason = recordOf('Reason', [
  { name: 'code', type: 'string' },
  { name: 'detail', ...nullableOf('string') },
  { name: 'contribution', ...nullableOf('double') },
])

const model = recordOf('Model', [
  { name: 'name', type: 'string' },
  { name: 'version', type: 'string' },
  { name: 'role', type: enumOf('Role', ROLES) },
  { name: 'digest', type: 'string' },
  { name: 'provider', ...nullableOf('string') },
])

const hop = recordOf('Hop', [
  { name: 'model', type: 'string' },
  { name: 'role', type: 'Role' },
  { name: 'reason', type: 'string' },
])

/** In the order of the JSON. */
const schema = recordOf('Decision', [
  { name: 'decision_id', type: 'string' },
  { name: 'transaction_id', type: 'string' },
  { name: 'action', type: enumOf('Action', ACTIONS) },
  { name: 'score', type: 'double' },
  { name: 'reasons', ...listOf(reason) },
  { name: 'model', type: model },
  { name: 'degraded', type: 'boolean' },
  { name: 'fallback', ...listOf(hop) },
  { name: 'features', ...listOf('string') },
  { name: 'logged', type: enumOf('Logged', ['synced', 'buffered', 'pending', 'none']) },
  { name: 'decided_at', type: { type: 'long', logicalType: 'timestamp-millis' } },
  { name: 'routes_revision', type: 'long' },
  { name: 'policy', type: 'string' },
])

type Answer = Static<typeof DecisionAnswer>
type Nullable<Value> = { [Name in keyof Value]-?: undefined extends Value[Name] ? Value[Name] | null : Value[Name] }
type AvroDecision = Omit<Required<Answer>, 'decided_at' | 'reasons' | 'model'> & {
  decided_at: number
  model: Nullable<Answer['model']>
  reasons: Nullable<Answer['reasons'][number]>[]
}

export interface DecisionAvro {
  readonly schema: AvroSchema
  /** From the JSON of an answer; null where it is none. */
  encode(body: string): Buffer | null
  /** The JSON of a decoded decision. */
  render(value: unknown): string
}

export function createDecisionAvro(): DecisionAvro {
  const type = avsc.Type.forSchema(schema as Parameters<typeof avsc.Type.forSchema>[0], { registry: {} })
  return {
    schema,
    encode(body) {
      try {
        return type.toBuffer(valueOf(JSON.parse(body) as Answer))
      } catch {
        return null
      }
    },
    render: (value) => JSON.stringify(answerOf(value as AvroDecision)),
  }
}

function valueOf({ decided_at: at, reasons, model, fallback = [], features = [], ...rest }: Answer): AvroDecision {
  return {
    ...rest,
    model: { ...model, provider: model.provider ?? null },
    reasons: reasons.map(({ code, detail = null, contribution = null }) => ({ code, detail, contribution })),
    ...{ fallback, features, decided_at: instantMs(at) ?? NaN },
  }
}

/** Member by member, since their order is that of the text. */
function answerOf(value: AvroDecision): Answer {
  const { fallback, features, reasons } = value
  const { provider, ...model } = value.model
  return {
    decision_id: value.decision_id,
    transaction_id: value.transaction_id,
    action: value.action,
    score: value.score,
    reasons: reasons.map(({ code, detail, contribution }) => {
      return { code, ...(detail !== null && { detail }), ...(contribution !== null && { contribution }) }
    }),
    model: { ...model, ...(provider !== null && { provider }) },
    degraded: value.degraded,
    ...(fallback.length > 0 && { fallback }),
    ...(features.length > 0 && { features }),
    logged: value.logged,
    decided_at: isoTime(value.decided_at),
    routes_revision: value.routes_revision,
    policy: value.policy,
  }
}
