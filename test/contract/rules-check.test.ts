// What is refused of rules, lists and segments, each with its path: names, types, orders, and conditions that cannot
// hold or cannot fail.
import fc from 'fast-check'
import t from 'tap'
import { loadConfig } from '../../src/config.js'
import type { Policy } from '../../src/contract/policy.js'
import { rulesFaults, tryConditions } from '../../src/contract/rules-check.js'
import type { Condition, Rule } from '../../src/contract/rules.js'
import { LIMITS } from '../../src/limits.js'
import { ruledPolicy } from '../decision/rules-rig.js'

const faultsOf = (over: Partial<Policy>): Record<string, string> =>
  Object.fromEntries(rulesFaults(ruledPolicy(over)).map(({ path, message }) => [path, message]))

const rule = (when: Condition, id = 'r'): Rule => ({ id, when, action: 'review', reason: 'why', state: 'enforce' })

const whenFault = (when: Condition, over: Partial<Policy> = {}): string =>
  Object.entries(faultsOf({ rules: [rule(when)], ...over }))
    .map(([path, message]) => `${path.replace('/policy/rules/0/when', '')} ${message}`)
    .join('; ')

void t.test('a test names what there is, and is held against values of its type', (t) => {
  const lists = {
    shops: { values: [{ value: '5411' }] },
    hashed: { hashed: 'sha256' as const, values: [{ value: 'a'.repeat(64) }] },
    numbers: { values: [{ value: 7 }] },
  }
  const of = (when: Condition): string => whenFault(when, { lists })
  t.match(of({ field: 'amout', op: 'gt', value: 1 }), /^\/field no such field; there is amount, /)
  t.match(
    of({ feature: 'customer_count', op: 'gt', value: 1 }),
    /^\/feature no such feature; there is customer_count_1d,/,
  )
  t.match(of({ field: 'items', op: 'eq', value: 'two' }), '/value of the type of items: integer')
  t.match(of({ field: 'merchant_category', op: 'lt', value: '5' }), '/op lt needs a number')
  t.match(of({ field: 'merchant_category', op: 'in', value: '5' }), '/value in takes several values')
  t.match(of({ field: 'items', op: 'eq', value: [1] }), '/value eq takes one value')
  t.match(of({ field: 'items', op: 'gt' }), '/value gt takes one value')
  t.match(of({ field: 'items', op: 'absent', value: 1 }), '/value none')
  t.match(
    of({ field: 'merchant_category', op: 'in_list', value: 'shop' }),
    /the name of a list: shops, hashed, numbers/,
  )
  t.match(of({ field: 'merchant_category', op: 'in_list', value: 'numbers' }), /of the type of the field: string/)
  t.match(of({ field: 'recurring', op: 'in_list', value: 'shops' }), /no list/)
  t.match(of({ field: 'items', op: 'in_list', value: 'hashed' }), /a list that is not hashed/)
  t.match(of({ field: 'customer_id', op: 'in_list', value: 'shops' }), /a list that is hashed/)
  t.match(of({ field: 'customer_id', op: 'eq', value: 'c-1' }), /customer_id is sensitive/)
  t.match(of({ field: 'merchant_category', op: 'eq', value: '4111 1111 1111 1111' }), /never card data/)
  for (const good of [
    { field: 'customer_id', op: 'in_list', value: 'hashed' },
    { field: 'items', op: 'in_list', value: 'numbers' },
    { any: [{ answer: 'score', op: 'gt', value: 0.5 }, { not: { field: 'recurring', op: 'eq', value: true } }] },
  ] as Condition[]) {
    t.equal(of(good), '')
  }
  const inside: Condition = { any: [{ not: { all: [{ field: 'nope', op: 'present' }] } }] }
  t.match(of(inside), /^\/any\/0\/not\/all\/0\/field no such field/)
  t.end()
})

void t.test('a condition that never holds, or always does, is refused', (t) => {
  const never: Condition[] = [
    { answer: 'score', op: 'gt', value: 1 },
    { field: 'amount', op: 'lt', value: 0 },
    { field: 'currency', op: 'eq', value: 'XXX' },
    { answer: 'role', op: 'eq', value: 'superuser' },
    { field: 'merchant_category', op: 'absent' },
    {
      all: [
        { field: 'items', op: 'gt', value: 2 },
        { field: 'items', op: 'lt', value: 3 },
      ],
    },
    {
      all: [
        { field: 'merchant_category', op: 'eq', value: 'a' },
        { field: 'merchant_category', op: 'eq', value: 'b' },
      ],
    },
    {
      all: [
        { field: 'items', op: 'absent' },
        { field: 'items', op: 'ne', value: 2 },
      ],
    },
  ]
  const always: Condition[] = [
    { answer: 'score', op: 'ge', value: 0 },
    { field: 'amount_minor', op: 'ge', value: 0 },
    {
      any: [
        { field: 'merchant_category', op: 'eq', value: 'a' },
        { field: 'merchant_category', op: 'ne', value: 'a' },
      ],
    },
    {
      any: [
        { field: 'amount', op: 'lt', value: 5 },
        { field: 'amount', op: 'gt', value: 4 },
      ],
    },
    {
      not: {
        all: [
          { answer: 'degraded', op: 'eq', value: true },
          { answer: 'degraded', op: 'eq', value: false },
        ],
      },
    },
  ]
  for (const when of never) t.match(whenFault(when), /^ a condition that can hold/, JSON.stringify(when))
  for (const when of always) t.match(whenFault(when), /^ a condition that can fail/, JSON.stringify(when))
  const open: Condition[] = [
    {
      all: [
        { field: 'distance_km', op: 'gt', value: 2 },
        { field: 'distance_km', op: 'lt', value: 3 },
      ],
    },
    {
      any: [
        { field: 'items', op: 'eq', value: 2 },
        { field: 'items', op: 'ne', value: 2 },
      ],
    },
  ]
  for (const when of open) t.equal(whenFault(when), '', JSON.stringify(when))
  t.end()
})

void t.test('the bounds of conditions and rules', (t) => {
  const test: Condition = { field: 'amount', op: 'gt', value: 100 }
  let deep: Condition = { not: test }
  for (let level = 2; level < LIMITS.conditionDepthMax; level++) deep = { not: deep }
  t.equal(whenFault(deep), '')
  t.match(whenFault({ not: deep }), /levels/)
  const many = Array.from({ length: LIMITS.conditionTestsMax }, () => test)
  t.equal(whenFault({ all: many }), '')
  t.match(whenFault({ all: [{ any: many }, test] }), /tests/)
  const rules = [rule(test, 'twice'), rule(test, 'twice')]
  t.match(faultsOf({ rules }), { '/policy/rules/1/id': 'declared once' })
  const long = Array.from({ length: 40 }, (_, at) => rule(test, `${'x'.repeat(60)}${at}`))
  t.match(faultsOf({ rules: long })['/policy/rules'], /characters together/)
  t.end()
})

void t.test('lists: values of one type, each once, times that are times, digests where hashed, never too many', (t) => {
  const value = '5411'
  const values = [{ value }, { value }, { value: 7 }, { value: '1', until: 'soon' }, { value: '4111111111111111' }]
  const lists = { shops: { values }, people: { hashed: 'sha256' as const, values: [{ value: 'c-1' }] } }
  t.match(faultsOf({ lists }), {
    '/policy/lists/shops/values/1/value': 'stands once on a list',
    '/policy/lists/shops/values/2/value': 'of the type of the first value',
    '/policy/lists/shops/values/3/until': 'a time by RFC 3339',
    '/policy/lists/shops/values/4/value': 'never card data',
    '/policy/lists/people/values/0/value': 'SHA-256 in lower-case hex',
  })
  const half = Array.from({ length: LIMITS.listValuesMax / 2 + 1 }, (_, at) => ({ value: `v-${at}` }))
  t.match(faultsOf({ lists: { a: { values: half }, b: { values: half } } })['/policy/lists'], /values in all lists/)
  const names = Array.from({ length: LIMITS.listsMax + 1 }, (_, at) => [`l${at}`, { values: [] }])
  t.match(
    faultsOf({ lists: Object.fromEntries(names) as Policy['lists'] & object })['/policy/lists'],
    /at most .* lists/,
  )
  t.end()
})

void t.test('segments ask for fields alone; cuts ascend, and belong to segments that are declared', (t) => {
  const segments = [
    { name: 'small', when: { field: 'amount', op: 'lt', value: 20 } as const },
    { name: 'sure', when: { answer: 'score', op: 'gt', value: 0.2 } as const },
    { name: 'sure', when: { field: 'amount', op: 'lt', value: 30 } as const },
  ]
  const governance = { segments: [{ name: 'small', field: 'currency', values: ['EUR'] }] }
  const thresholds = {
    'm@1': { review_at: 0.9, decline_at: 0.5, by_segment: { small: { review_at: 0.5, decline_at: 0.5 }, big: {} } },
  }
  t.match(faultsOf({ segments, governance, thresholds }), {
    '/policy/segments/2/name': 'declared once',
    '/policy/segments/0/name': 'a name that no segment under /governance has',
    '/policy/segments/1/when': 'a test on a field',
    '/policy/thresholds/m@1/decline_at': 'above review_at',
    '/policy/thresholds/m@1/by_segment/small/decline_at': 'above review_at',
    '/policy/thresholds/m@1/by_segment/big': 'the name of a segment',
  })
  t.end()
})

void t.test('the shape is checked before its sense: faults of a file name the path, whatever stands there', (t) => {
  const file = (policy: object) => t.testdir({ 'p.json': JSON.stringify({ policy }) }) + '/p.json'
  const load = (policy: object) => () => loadConfig({ file: file(policy), env: {} })
  const of = (when: unknown) => ({ rules: [{ ...rule({ field: 'amount', op: 'gt', value: 1 }), when }] })
  t.throws(load(of({ field: 'amount', op: 'over', value: 1 })), {
    code: 'ASSAY_CONFIG_INVALID',
    message: /rules\/0\/when/,
  })
  t.throws(load(of({ all: [] })), { message: /\/policy\/rules\/0\/when/ })
  t.throws(load(of({ field: 'terminal_id', op: 'lt', value: 3 })), {
    message: /\/policy\/rules\/0\/when\/op: lt needs/,
  })
  t.throws(load({ lists: { 'Not a name': { values: [] } } }), { message: /\/policy\/lists/ })
  t.doesNotThrow(load(of({ field: 'amount', op: 'gt', value: 1 })))
  const anything = fc.letrec((tie) => ({
    any: fc.oneof(
      fc.jsonValue(),
      fc.dictionary(fc.constantFrom('all', 'any', 'not', 'field', 'op', 'value'), tie('any')),
    ),
  })).any
  const property = fc.property(anything, (when) => {
    try {
      load(of(when))()
    } catch (error) {
      return (error as { code?: string }).code === 'ASSAY_CONFIG_INVALID'
    }
    return true
  })
  t.doesNotThrow(() => fc.assert(property, { numRuns: 100 }))
  t.end()
})

void t.test('conditions are tried one by one, each once, with what the check then says', (t) => {
  const always: Condition = {
    any: [
      { field: 'amount', op: 'ge', value: 5 },
      { field: 'amount', op: 'lt', value: 5 },
      { field: 'amount', op: 'absent' },
    ],
  }
  const over = { rules: [rule(always, 'a'), rule({ field: 'amount', op: 'ge', value: 5 }, 'b')] }
  const policy = ruledPolicy(over)
  const pieces = (): number => [...tryConditions(policy)].length
  const wanted = rulesFaults(structuredClone(policy))
  t.equal(pieces(), 2 + (policy.segments?.length ?? 0))
  t.equal(pieces(), 0, 'they are known now')
  t.same(rulesFaults(policy), wanted)
  t.match(wanted, [{ path: '/policy/rules/0/when', message: /always holds/ }])
  const other = { ...policy, schema: { ...policy.schema } }
  t.ok([...tryConditions(other)].length > 0, 'where a payment is something else they are tried again')
  t.end()
})
