// What the tests of validation share: a schema, a good transaction and how it is read. Holds no test.
import t from 'tap'
import type { Transaction, TransactionSchema } from '../../src/contract/transaction.js'
import { compileTransaction, isRejection } from '../../src/contract/validate.js'
import type { TransactionPolicy } from '../../src/contract/validate-bytes.js'
import type { Rejection } from '../../src/errors.js'
import { LIMITS } from '../../src/limits.js'

export const SEED = Number(process.env.FUZZ_SEED ?? Date.now() % 2 ** 31)
export const FUZZ = { seed: SEED, numRuns: 20_000, interruptAfterTimeLimit: 4_000 }
t.comment(`FUZZ_SEED=${SEED}`)

export const NOW = Date.UTC(2026, 10, 22, 10, 0, 5)
export const schema: TransactionSchema = {
  unknown_fields: 'refuse',
  fields: [
    { name: 'customer_id', type: 'string', entity: true, identifier: '^[0-9A-Za-z_-]{1,64}$' },
    { name: 'channel', type: 'string', required: true },
    { name: 'distance_km', type: 'number' },
    { name: 'attempt', type: 'integer' },
    { name: 'present', type: 'boolean' },
    { name: 'note', type: 'string', volatile: true },
  ],
}
export const policy: TransactionPolicy = {
  schema,
  clock: 'live',
  currencies: {
    base: 'EUR',
    unlisted: 'refuse',
    list: { EUR: { exponent: 2, rate: 1 }, USD: { exponent: 2, rate: 0.92 }, JPY: { exponent: 0, rate: 0.0062 } },
  },
}
export const validator = compileTransaction(policy, LIMITS)
export const good = {
  transaction_id: 't-1',
  occurred_at: '2026-11-22T10:00:00.000Z',
  amount_minor: 16364,
  currency: 'EUR',
  customer_id: '852',
  channel: 'pos',
}

export function parse(input: unknown, using = validator): Transaction | Rejection {
  return using.parse(typeof input === 'string' ? Buffer.from(input) : Buffer.from(JSON.stringify(input)), NOW)
}

export function accepted(result: Transaction | Rejection): Transaction {
  if (isRejection(result)) throw new Error(`${result.code} ${JSON.stringify(result.errors)}`)
  return result
}

/** The code and the paths of a rejection. */
export function refusal(result: object): [string, ...string[]] {
  if (!isRejection(result)) throw new Error('it was accepted')
  return [result.code, ...result.errors.map((fault) => fault.path)]
}
