// The transaction as every stage sees it, and the declaration of its fields in the policy.
// Wire names are snake_case; only this folder knows both spellings.
import { type Static, Type } from '@sinclair/typebox'
import { LIMITS } from '../limits.js'

/** One declared field beside the core (transaction_id, occurred_at, amount_minor, currency). */
export const FieldSpec = Type.Object(
  {
    name: Type.String({ pattern: '^[a-z][a-z0-9_]{0,63}$' }),
    type: Type.Union([
      Type.Literal('string'),
      Type.Literal('number'),
      Type.Literal('integer'),
      Type.Literal('boolean'),
    ]),
    required: Type.Optional(Type.Boolean({ description: 'default false' })),
    entity: Type.Optional(Type.Boolean({ description: 'windows may be kept per value of this field; strings only' })),
    identifier: Type.Optional(
      Type.String({ description: 'a pattern that every value matches; exempt from the card search' }),
    ),
    volatile: Type.Optional(Type.Boolean({ description: 'left out of the content hash' })),
    sensitive: Type.Optional(Type.Boolean({ description: 'masked wherever it is shown' })),
  },
  { additionalProperties: false },
)
export type FieldSpec = Static<typeof FieldSpec>

export const TransactionSchema = Type.Object(
  {
    unknown_fields: Type.Union([Type.Literal('refuse'), Type.Literal('drop')], { default: 'refuse' }),
    fields: Type.Array(FieldSpec, { maxItems: LIMITS.fieldsMax }),
  },
  { additionalProperties: false },
)
export type TransactionSchema = Static<typeof TransactionSchema>

export type FieldValue = string | number | boolean | null

/** A validated transaction. The shape is fixed: stages rely on one hidden class. */
export interface Transaction {
  transactionId: string
  /** Event time, integer milliseconds since 1970 UTC. */
  occurredAtMs: number
  /** UTC offset written in occurred_at, minutes; 0 where it came as epoch milliseconds. */
  offsetMinutes: number
  /** Integer ≥ 0 in minor units of `currency`. */
  amountMinor: number
  /** ISO 4217 code, as given. */
  currency: string
  /** Integer minor units of the base currency, rounded half to even; NaN where unlisted and the policy lets it pass. */
  amountBaseMinor: number
  /** Values of the declared fields in the order of the schema; null where absent. */
  fields: FieldValue[]
}

/** How a declared field, or the currency, is read; null where the schema does not have that field. */
export function fieldReader(
  { fields }: TransactionSchema,
  name: string,
): ((transaction: Transaction) => FieldValue) | null {
  if (name === 'currency') return (transaction) => transaction.currency
  const at = fields.findIndex((field) => field.name === name)
  return at < 0 ? null : (transaction) => transaction.fields[at] ?? null
}

export type Mode = 'decide' | 'evaluate' | 'observe'
export const MODES: readonly Mode[] = ['decide', 'evaluate', 'observe']

/** Null where the text names no mode. */
export function parseMode(text: string): Mode | null {
  return MODES.find((mode) => mode === text) ?? null
}
