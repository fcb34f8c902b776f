// Conditions as compiled: against the slow reading of the same words, on random conditions and values; what is absent;
// what the record keeps of a feature; lists and their expiry.
import { createHash } from 'node:crypto'
import fc from 'fast-check'
import t from 'tap'
import { holds, rulesFaults } from '../../src/contract/rules-check.js'
import type { Condition, Op, Test } from '../../src/contract/rules.js'
import type { FieldValue } from '../../src/contract/transaction.js'
import { compileConditions, type Subject } from '../../src/decision/condition.js'
import { catalogueOf, ruledPolicy, RULED_FIELDS, subjectOf } from './rules-rig.js'

const lists = {
  categories: { values: [{ value: '5411' }, { value: '7995' }] },
  counts: { values: [{ value: 2 }, { value: 3 }] },
}
const policy = ruledPolicy({ lists })
const columns = catalogueOf(policy)

/** One condition alone, as a function. */
function compile(when: Condition, under = policy): (subject: Subject) => boolean {
  const conditions = compileConditions([when], under, catalogueOf(under))
  return (subject) => {
    conditions.read(subject)
    return conditions.holds(0)
  }
}

const numberTests = (name: object, values: readonly number[]) =>
  fc
    .oneof(
      fc.record({
        op: fc.constantFrom<Op>('eq', 'ne', 'lt', 'le', 'gt', 'ge'),
        value: fc.constantFrom(...values),
      }),
      fc.record({ op: fc.constant<Op>('in'), value: fc.subarray([...values], { minLength: 1 }) }),
      fc.record({ op: fc.constantFrom<Op>('present', 'absent') }),
    )
    .map((test) => ({ ...name, ...test }) as Test)

const textTests = (name: object, values: readonly string[]) =>
  fc
    .oneof(
      fc.record({ op: fc.constantFrom<Op>('eq', 'ne'), value: fc.constantFrom(...values) }),
      fc.record({ op: fc.constant<Op>('in'), value: fc.subarray([...values], { minLength: 1 }) }),
      fc.record({ op: fc.constantFrom<Op>('present', 'absent') }),
    )
    .map((test) => ({ ...name, ...test }) as Test)

const tests = fc.oneof(
  numberTests({ field: 'amount' }, [0, 9.99, 10, 12.5]),
  numberTests({ field: 'amount_minor' }, [999, 1000, 1250]),
  numberTests({ field: 'items' }, [1, 2, 3]),
  numberTests({ field: 'distance_km' }, [-1, 0.5, 3]),
  numberTests({ feature: 'customer_count_1d' }, [1, 2, 3]),
  numberTests({ answer: 'score' }, [0.25, 0.5, 0.75]),
  textTests({ field: 'currency' }, ['EUR', 'USD']),
  textTests({ field: 'merchant_category' }, ['5411', '7995', '0000']),
  textTests({ answer: 'role' }, ['champion', 'baseline']),
  textTests({ answer: 'model' }, ['fraud-xgb@1', 'fraud-lgbm@1']),
  fc
    .record({ op: fc.constantFrom<Op>('eq', 'ne'), value: fc.boolean() })
    .map((of): Test => ({ answer: 'degraded', ...of })),
  fc
    .record({ op: fc.constantFrom<Op>('eq', 'ne'), value: fc.boolean() })
    .map((of): Test => ({ field: 'recurring', ...of })),
  fc.constant<Test>({ field: 'merchant_category', op: 'in_list', value: 'categories' }),
  fc.constant<Test>({ field: 'items', op: 'in_list', value: 'counts' }),
)

const conditions: fc.Arbitrary<Condition> = fc.letrec<{ any: Condition }>((tie) => ({
  any: fc.oneof(
    { maxDepth: 4, withCrossShrink: true },
    tests,
    fc.array(tie('any'), { minLength: 1, maxLength: 4 }).map((all) => ({ all })),
    fc.array(tie('any'), { minLength: 1, maxLength: 4 }).map((any) => ({ any })),
    tie('any').map((not) => ({ not })),
  ),
})).any

const maybe = <Value>(values: readonly Value[]) => fc.option(fc.constantFrom(...values), { nil: null })
const seens = fc.record({
  fields: fc.record({
    merchant_category: fc.constantFrom('5411', '7995', '0000', '1234'),
    items: maybe([1, 2, 3, 4]),
    distance_km: maybe([-1, 0.5, 3, 7.25]),
    recurring: maybe([true, false]),
  }),
  features: fc.record({ customer_count_1d: fc.constantFrom(NaN, 1, 2, 3, 4) }),
  amountMinor: fc.constantFrom(0, 999, 1000, 1250, 5000),
  currency: fc.constantFrom('EUR', 'USD', 'GBP'),
  answer: fc.record({
    score: fc.constantFrom(0, 0.25, 0.5, 0.6, 0.75, 1),
    role: fc.constantFrom<'champion' | 'challenger' | 'baseline'>('champion', 'challenger', 'baseline'),
    degraded: fc.boolean(),
    model: fc.constantFrom('fraud-xgb@1', 'fraud-lgbm@1', 'baseline@1'),
  }),
})

/** What a test is about, read the slow way. */
function valueIn(subject: Subject, test: Test): FieldValue {
  const { transaction } = subject
  const number = (value: number): number | null => (Number.isNaN(value) ? null : value)
  if ('answer' in test) return subject[test.answer]
  if ('feature' in test) return number(subject.vectors[columns.indexOf(test.feature)])
  if (test.field === 'amount') return number(transaction.amountBaseMinor / 100)
  if (test.field === 'amount_minor') return transaction.amountMinor
  if (test.field === 'currency') return transaction.currency
  return transaction.fields[RULED_FIELDS.findIndex(({ name }) => name === test.field)]
}

void t.test('compiled conditions say what their words say', (t) => {
  const isListed = ({ value: list }: Test, value: FieldValue): boolean =>
    lists[list as keyof typeof lists].values.some((entry) => entry.value === value)
  const property = fc.property(conditions, seens, (when, seen) => {
    const subject = subjectOf(policy, seen)
    return compile(when)(subject) === holds(when, (test) => valueIn(subject, test), isListed)
  })
  t.doesNotThrow(() => fc.assert(property, { numRuns: 3_000 }))
  t.end()
})

void t.test('no test but absent holds on what is absent, and `not` turns what is inside', (t) => {
  const subject = subjectOf(policy, {})
  for (const [op, value] of [
    ['eq', 1],
    ['ne', 1],
    ['lt', 1],
    ['ge', 1],
    ['in', [1]],
    ['in_list', 'counts'],
  ] as const) {
    const test: Test = { field: 'items', op, value }
    t.equal(compile(test)(subject), false, op)
    t.equal(compile({ not: test })(subject), true, `not ${op}`)
  }
  t.equal(compile({ feature: 'customer_count_1d', op: 'absent' })(subject), true)
  t.equal(compile({ field: 'distance_km', op: 'present' })(subject), false)
  t.end()
})

void t.test('a feature is held against a bound as the record keeps it: in float32', (t) => {
  const when: Condition = { feature: 'customer_mean_amount_1d', op: 'gt', value: Math.fround(0.1) }
  const subject = subjectOf(policy, { features: { customer_mean_amount_1d: 0.1 + 1e-10 } })
  t.equal(compile(when)(subject), false, 'the excess is less than a float32 can say')
  t.end()
})

void t.test('a value leaves a list at its time; a hashed list knows values by their digest', (t) => {
  const until = '2026-11-22T10:00:00Z'
  const digest = createHash('sha256').update('c-1', 'utf8').digest('hex')
  const own = ruledPolicy({
    lists: {
      shops: { values: [{ value: '5411', until }, { value: '7995' }] },
      people: { hashed: 'sha256', values: [{ value: digest }] },
    },
  })
  const listed = compile({ field: 'merchant_category', op: 'in_list', value: 'shops' }, own)
  const at = (nowMs: number, category: string) =>
    listed(subjectOf(own, { fields: { merchant_category: category }, answer: { nowMs } }))
  const end = Date.parse(until)
  t.same([at(end - 1, '5411'), at(end, '5411'), at(end, '7995'), at(end, '1234')], [true, false, true, false])
  const person = compile({ field: 'customer_id', op: 'in_list', value: 'people' }, own)
  t.same(
    ['c-1', 'c-2', null].map((id) => person(subjectOf(own, { fields: { customer_id: id } }))),
    [true, false, false],
  )
  t.same(rulesFaults(own), [])
  t.end()
})
