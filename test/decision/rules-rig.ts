// A policy with every kind of field, for tests of what is decided beside the score, and the subjects to decide on.
import { loadConfig } from '../../src/config.js'
import type { Policy } from '../../src/contract/policy.js'
import type { FieldValue } from '../../src/contract/transaction.js'
import { createSubject, type Subject } from '../../src/decision/condition.js'
import { compileCatalogue } from '../../src/features/compile.js'

export const RULED_FIELDS = [
  { name: 'customer_id', type: 'string', entity: true, sensitive: true, identifier: '^[0-9A-Za-z_-]{1,64}$' },
  { name: 'terminal_id', type: 'string', entity: true, identifier: '^[0-9A-Za-z_-]{1,64}$' },
  { name: 'merchant_category', type: 'string', required: true },
  { name: 'items', type: 'integer' },
  { name: 'distance_km', type: 'number' },
  { name: 'recurring', type: 'boolean' },
] as const

/** The built-in policy with these fields, without its rules, lists and cuts, and what is laid over it. */
export function ruledPolicy(over: Partial<Policy> = {}): Policy {
  const { policy } = structuredClone(loadConfig({ env: {} }))
  const schema = { ...policy.schema, fields: RULED_FIELDS.map((field) => ({ ...field })) }
  return { ...policy, schema, rules: [], lists: {}, segments: [], thresholds: {}, ...over }
}

export function catalogueOf({ catalogue, schema, currencies }: Policy) {
  return compileCatalogue(catalogue, schema, currencies)
}

export interface Seen {
  readonly fields?: { readonly [name: string]: FieldValue }
  readonly features?: { readonly [name: string]: number }
  readonly amountMinor?: number
  readonly currency?: string
  readonly answer?: Partial<Pick<Subject, 'score' | 'role' | 'degraded' | 'model' | 'nowMs'>>
}

/** A subject in which everything that is not named is absent. */
export function subjectOf(policy: Policy, seen: Seen): Subject {
  const { names } = catalogueOf(policy)
  const vectors = Float64Array.from(names, (name) => seen.features?.[name] ?? NaN)
  const subject = createSubject(vectors)
  const { amountMinor = 1000, currency = 'EUR' } = seen
  const fields = RULED_FIELDS.map(({ name }) => seen.fields?.[name] ?? null)
  const transaction = { ...subject.transaction, amountMinor, amountBaseMinor: amountMinor, currency, fields }
  return { ...subject, transaction, ...seen.answer }
}
