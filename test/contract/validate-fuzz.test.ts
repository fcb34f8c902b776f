// Arbitrary texts and bytes: both paths of validation agree, and nothing throws.
import assert from 'node:assert/strict'
import fc from 'fast-check'
import t from 'tap'
import { compileLabels } from '../../src/contract/label.js'
import { renderProblem } from '../../src/contract/problem.js'
import { compileTransactionAvro } from '../../src/contract/transaction-avro.js'
import { compileTransaction, isRejection } from '../../src/contract/validate.js'
import { LIMITS } from '../../src/limits.js'

import { FUZZ, NOW, schema, policy, validator, good } from './transactions.js'
const value = fc.oneof(
  fc.constantFrom<unknown>(
    '852',
    'pos',
    'EUR',
    'USD',
    'JPY',
    'XXX',
    '2026-11-22T10:00:00Z',
    '2026-11-22T12:00:00.5+02:00',
    0,
    1,
    1.5,
    -1,
    1e15,
  ),
  fc.constantFrom<unknown>(
    1_790_000_000_000,
    null,
    true,
    false,
    '',
    '4111111111111111',
    '4111-1111-1111-1111',
    'a"b',
    'ü',
    '2124000000000000000',
  ),
  fc.string(),
  fc.double(),
  fc.maxSafeInteger(),
  fc.jsonValue({ maxDepth: 3 }),
)
const name = fc.oneof(
  fc.constantFrom(...Object.keys(good), ...schema.fields.map((field) => field.name)),
  fc.string({ maxLength: 12 }),
)
const changed = fc
  .tuple(
    fc.dictionary(name, value, { maxKeys: 2 }),
    fc.array(fc.constantFrom(...Object.keys(good), 'x', 'y'), { maxLength: 1 }),
    fc.boolean(),
  )
  .map(([changes, without, isReversed]) => {
    const entries = Object.entries({ ...good, ...changes }).filter(([key]) => !without.includes(key))
    return Object.fromEntries(isReversed ? entries.reverse() : entries)
  })
const right = fc.record(
  {
    transaction_id: fc.oneof(fc.uuid(), fc.ulid(), fc.string({ minLength: 1, maxLength: 20 })),
    occurred_at: fc.oneof(
      fc.date({ min: new Date(NOW - 1e12), max: new Date(NOW), noInvalidDate: true }),
      fc.integer({ min: NOW - 1e12, max: NOW }),
    ),
    amount_minor: fc.oneof(fc.nat(), fc.integer({ min: 0, max: 1e15 })),
    currency: fc.constantFrom('EUR', 'USD', 'JPY'),
    customer_id: fc.stringMatching(/^[0-9A-Za-z_-]{1,64}$/),
    channel: fc.string(),
    distance_km: fc.oneof(fc.nat(), fc.double({ noNaN: true, noDefaultInfinity: true }), fc.constant(null)),
    attempt: fc.oneof(fc.integer(), fc.maxSafeInteger()),
    present: fc.boolean(),
    note: fc.oneof(fc.string(), fc.constant(null)),
  },
  { requiredKeys: ['transaction_id', 'occurred_at', 'amount_minor', 'currency', 'channel'] },
)
const text = fc
  .tuple(
    fc.oneof(right, changed),
    fc.constantFrom(undefined, 1, '\t'),
    fc.array(fc.tuple(fc.nat(1000), fc.constantFrom(...' ,:{}[]"\\0-1e.ü')), { maxLength: 1 }),
  )
  .map(([object, space, edits]) =>
    edits.reduce(
      (json, [at, letter]) => json.slice(0, at) + letter + json.slice(at + 1),
      JSON.stringify(object, null, space),
    ),
  )

void t.test('the fast path and the general path agree on every text: same refusal or same transaction', (t) => {
  const drop = compileTransaction({ ...policy, schema: { ...schema, unknown_fields: 'drop' } }, LIMITS)
  let passed = 0
  let runs = 0
  fc.assert(
    fc.property(text, (json) => {
      const bytes = Buffer.from(json)
      runs++
      for (const each of [validator, drop]) {
        const fast = each.parse(bytes, NOW)
        assert.deepStrictEqual(fast, each.parseGeneral(bytes, NOW))
        if (!isRejection(fast)) passed++
      }
    }),
    FUZZ,
  )
  t.ok(passed * 5 > runs, `${passed} of ${2 * runs} were accepted: the comparison means something`)
  t.end()
})

void t.test('arbitrary bytes and arbitrary JSON never throw, and a refusal renders', (t) => {
  const avro = compileTransactionAvro(schema)
  const labels = compileLabels(schema, LIMITS)
  const never = (run: () => object) => {
    const result = run()
    if (isRejection(result)) JSON.parse(renderProblem(result))
  }
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
      never(() => validator.parse(bytes, NOW))
      never(() => avro.decode(bytes))
    }),
    FUZZ,
  )
  fc.assert(
    fc.property(fc.oneof(fc.jsonValue(), fc.object()), (input) => {
      never(() => validator.check(input, NOW))
      never(() => labels.check(input, NOW))
    }),
    FUZZ,
  )
  t.pass('nothing was thrown')
  t.end()
})
