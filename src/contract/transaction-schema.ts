// The JSON Schema of a transaction under a policy: the core and the declared fields. The one declaration from which
// validation, the byte parser, error texts and the OpenAPI document are made.
import { type TObject, type TProperties, type TSchema, Type } from '@sinclair/typebox'
import type { Limits } from '../limits.js'
import { TIME_ALLOWED, TIME_MS_MAX, TIME_MS_MIN, TIME_PATTERN } from './time.js'
import type { FieldSpec, TransactionSchema } from './transaction.js'

export const CORE_FIELDS = ['transaction_id', 'occurred_at', 'amount_minor', 'currency'] as const
export const ID_CHARS_MAX = 128

/** Largest magnitude of a declared integer: Avro's zigzag doubles it, and twice this is still exact in a double. */
const INTEGER_MAX = 2 ** 52 - 1

/** Printable: no control, format, separator or unpaired surrogate that would hide or break an id where it is shown. */
export const ID_PATTERN =
  '^[^\\u0000-\\u001f\\u007f-\\u009f\\u00ad\\u061c\\u200b-\\u200f\\u2028-\\u202e\\u2060-\\u206f\\ufeff\\ufff9-\\ufffb]+$'

/** Instants as they come in. */
export const TimeSchema = Type.Union(
  [Type.String({ pattern: TIME_PATTERN, maxLength: 35 }), Type.Integer({ minimum: TIME_MS_MIN, maximum: TIME_MS_MAX })],
  { description: TIME_ALLOWED },
)

export function idSchema(): TSchema {
  return Type.String({
    minLength: 1,
    maxLength: ID_CHARS_MAX,
    pattern: ID_PATTERN,
    description: `a text of 1 to ${ID_CHARS_MAX} printable characters`,
  })
}

/** Descriptions say what is allowed: they are the error texts. */
export function transactionJsonSchema(schema: TransactionSchema, limits: Limits): TObject {
  const properties: TProperties = {
    transaction_id: idSchema(),
    occurred_at: TimeSchema,
    amount_minor: Type.Integer({
      minimum: 0,
      maximum: limits.amountMinorMax,
      description: `an integer of minor units from 0 to ${limits.amountMinorMax}`,
    }),
    currency: Type.String({ pattern: '^[A-Z]{3}$', description: 'three capital letters by ISO 4217' }),
  }
  for (const field of schema.fields) {
    const base = declaredSchema(field, limits)
    const { description } = base
    properties[field.name] =
      field.required === true
        ? base
        : Type.Optional(Type.Union([base, Type.Null()], { description: `${description}, or null` }))
  }
  return Type.Object(properties, schema.unknown_fields === 'refuse' ? { additionalProperties: false } : {})
}

function declaredSchema(field: FieldSpec, limits: Limits): TSchema {
  switch (field.type) {
    case 'string': {
      const pattern = field.identifier === undefined ? {} : { pattern: field.identifier }
      const matching = field.identifier === undefined ? '' : ' that match the pattern of the policy'
      const description = `a text of at most ${limits.stringCharsMax} characters${matching}`
      return Type.String({ maxLength: limits.stringCharsMax, ...pattern, description })
    }
    case 'number':
      return Type.Number({ description: 'a finite number' })
    case 'integer':
      return Type.Integer({
        minimum: -INTEGER_MAX,
        maximum: INTEGER_MAX,
        description: 'an integer within ±(2^52 − 1)',
      })
    case 'boolean':
      return Type.Boolean({ description: 'true or false' })
  }
}
