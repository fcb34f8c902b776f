// Bad input at the validator: every case of it is a coded rejection with a path, beside the good case it is closest to.
import t from 'tap'
import { parseJson } from '../../src/contract/json.js'
import { compileLabels } from '../../src/contract/label.js'
import { compileCurrencies } from '../../src/contract/money.js'
import { compileTransactionAvro } from '../../src/contract/transaction-avro.js'
import { compileTransaction, isRejection } from '../../src/contract/validate.js'
import { LIMITS, TINY } from '../../src/limits.js'
import { NOW, schema, policy, validator, good, parse, accepted, refusal } from './transactions.js'

void t.test('a transaction of the contract is read whole', (t) => {
  t.same(accepted(parse(good)), {
    transactionId: 't-1',
    occurredAtMs: Date.UTC(2026, 10, 22, 10),
    offsetMinutes: 0,
    amountMinor: 16364,
    currency: 'EUR',
    amountBaseMinor: 16364,
    fields: ['852', 'pos', null, null, null, null],
  })
  const all = { ...good, distance_km: 1.5, attempt: -2, present: false, note: 'grüß 😀 "x"' }
  t.same(accepted(parse(all)).fields, ['852', 'pos', 1.5, -2, false, 'grüß 😀 "x"'])
  t.same(accepted(parse({ ...good, distance_km: null })).fields, ['852', 'pos', null, null, null, null])
  t.equal(accepted(parse({ ...good, attempt: -0 })).fields[3], 0)
  t.equal(accepted(validator.check(good, NOW)).transactionId, 't-1')
  t.end()
})

void t.test('the hidden class of a transaction is the same on both paths', (t) => {
  const keys = [
    'transactionId',
    'occurredAtMs',
    'offsetMinutes',
    'amountMinor',
    'currency',
    'amountBaseMinor',
    'fields',
  ]
  t.same(Object.keys(parse(good)), keys)
  t.same(Object.keys(validator.parseGeneral(Buffer.from(JSON.stringify(good)), NOW)), keys)
  t.end()
})

void t.test('bytes that are not one strict JSON text are malformed, and the detail does not quote them', (t) => {
  const text = JSON.stringify(good)
  const deep = '['.repeat(100_000)
  for (const bad of [
    '',
    ' ',
    '{',
    text.slice(0, -1),
    `${text}x`,
    `\ufeff${text}`,
    '{"a":NaN}',
    '{"a":Infinity}',
    "{'a':1}",
    deep,
  ]) {
    t.equal(refusal(parse(bad))[0], 'ASSAY_BODY_MALFORMED')
  }
  const invalidUtf8 = Buffer.from(text)
  invalidUtf8[text.indexOf('pos')] = 0xff
  t.equal(refusal(validator.parse(invalidUtf8, NOW))[0], 'ASSAY_BODY_MALFORMED')
  t.notMatch(JSON.stringify(parse('{"transaction_id": secretword}')), /secretword/)
  t.ok(accepted(parse(` \t\r\n${text}\n `)))
  t.end()
})

void t.test('a key that stands twice is refused with its path, however it is spelled', (t) => {
  const text = JSON.stringify(good)
  t.same(refusal(parse(text.replace('{', '{"amount_minor":1,'))), ['ASSAY_BODY_MALFORMED', '/amount_minor'])
  t.same(refusal(parse(text.replace('{', '{"amount\\u005fminor":1,'))), ['ASSAY_BODY_MALFORMED', '/amount_minor'])
  const nested = parseJson(Buffer.from('{"a":[{"b":1},{"b":{"c":1,"c":2}}]}'), LIMITS)
  t.same(refusal(nested), ['ASSAY_BODY_MALFORMED', '/a/1/b/c'])
  t.same(parseJson(Buffer.from('{"a":[{"b":1},{"b":{"c":1,"d":2}}]}'), LIMITS), {
    value: { a: [{ b: 1 }, { b: { c: 1, d: 2 } }] },
  })
  t.end()
})

void t.test('nesting up to the bound is read and one level more is refused', (t) => {
  const nest = (depth: number) => Buffer.from('['.repeat(depth) + ']'.repeat(depth))
  t.notOk(isRejection(parseJson(nest(TINY.jsonDepthMax), TINY)))
  t.equal(refusal(parseJson(nest(TINY.jsonDepthMax + 1), TINY))[0], 'ASSAY_BODY_MALFORMED')
  t.end()
})

void t.test('every fault is named at once with its path and never with its value', (t) => {
  const bad = {
    transaction_id: '',
    occurred_at: 'yesterday',
    amount_minor: -1,
    currency: 'eur',
    customer_id: 'a b',
    extra: { x: 'hidden' },
    attempt: 1.5,
  }
  const result = parse(bad)
  const [code, ...paths] = refusal(result)
  t.equal(code, 'ASSAY_SCHEMA_INVALID')
  t.same(paths.sort(), [
    '/amount_minor',
    '/attempt',
    '/channel',
    '/currency',
    '/customer_id',
    '/extra',
    '/occurred_at',
    '/transaction_id',
  ])
  t.notMatch(JSON.stringify(result), /yesterday|hidden|a b/)
  t.equal(refusal(parse(bad, compileTransaction(policy, TINY))).length, 1 + TINY.faultsMax)
  t.end()
})

void t.test('wrong types, numbers out of range and what JSON turns into infinities are schema faults', (t) => {
  const cases: [string, string][] = [
    ['transaction_id', '5'],
    ['transaction_id', '"a\\u0000b"'],
    ['transaction_id', `"${'x'.repeat(129)}"`],
    ['transaction_id', '"a\\ud800b"'],
    ['amount_minor', '1e999'],
    ['amount_minor', '-1'],
    ['amount_minor', '1.5'],
    ['amount_minor', '1000000000000001'],
    ['amount_minor', '"5"'],
    ['amount_minor', 'null'],
    ['amount_minor', '[]'],
    ['currency', '"EURO"'],
    ['channel', 'null'],
    ['channel', `"${'x'.repeat(257)}"`],
    ['distance_km', '1e999'],
    ['distance_km', '"1"'],
    ['attempt', '4503599627370496'],
    ['present', '"true"'],
    ['note', '"\\udc00"'],
  ]
  for (const [name, raw] of cases) {
    const rest = JSON.stringify({ ...good, [name]: undefined }).slice(1)
    t.same(
      refusal(parse(`{"${name}":${raw},${rest}`)),
      ['ASSAY_SCHEMA_INVALID', `/${name}`],
      `${name}: ${raw.slice(0, 20)}`,
    )
  }
  for (const fine of [
    { amount_minor: 0 },
    { amount_minor: 1e15 },
    { transaction_id: 'x'.repeat(128) },
    { transaction_id: 'ß–😀' },
  ]) {
    t.ok(accepted(parse({ ...good, ...fine })))
  }
  t.equal(accepted(parse(JSON.stringify(good).replace('16364', '1.6364e4'))).amountMinor, 16364)
  for (const whole of ['null', '[]', '"x"', '5', 'true']) t.same(refusal(parse(whole)), ['ASSAY_SCHEMA_INVALID', ''])
  t.same(refusal(parse('{"__proto__":{"x":1},' + JSON.stringify(good).slice(1))), [
    'ASSAY_SCHEMA_INVALID',
    '/__proto__',
  ])
  t.end()
})

void t.test('texts that together would not fit a record are refused', (t) => {
  const fields = Array.from({ length: 12 }, (_, index) => ({ name: `f${index}`, type: 'string' as const }))
  const wide = compileTransaction({ ...policy, schema: { unknown_fields: 'refuse', fields } }, LIMITS)
  const fill = (length: number) => Object.fromEntries(fields.map(({ name }) => [name, 'ü'.repeat(length)]))
  const { customer_id: _customer, channel: _channel, ...core } = good
  t.ok(accepted(parse({ ...core, ...fill(120) }, wide)))
  t.same(refusal(parse({ ...core, ...fill(130) }, wide)), ['ASSAY_SCHEMA_INVALID', ''])
  t.end()
})

void t.test('times: the offset is kept, dates that do not exist and times out of range are refused', (t) => {
  const at = (occurredAt: unknown) => parse({ ...good, occurred_at: occurredAt })
  const fine: [unknown, number, number][] = [
    ['2026-11-22T12:30:00+02:30', Date.UTC(2026, 10, 22, 10), 150],
    ['2026-11-21t23:00:00.1239-10:00', Date.UTC(2026, 10, 22, 9, 0, 0, 123), -600],
    ['2024-02-29T00:00:00Z', Date.UTC(2024, 1, 29), 0],
    ['2016-12-31T23:59:60Z', Date.UTC(2017, 0, 1), 0],
    ['2026-11-22T10:00:00-00:00', Date.UTC(2026, 10, 22, 10), 0],
    [1_790_000_000_000, 1_790_000_000_000, 0],
  ]
  for (const [input, ms, offset] of fine) {
    const { occurredAtMs, offsetMinutes } = accepted(at(input))
    t.same([occurredAtMs, offsetMinutes], [ms, offset], String(input))
  }
  const bad = [
    '2023-02-29T00:00:00Z', '2100-02-29T00:00:00Z', '2026-13-01T00:00:00Z', '2026-00-01T00:00:00Z',
    '2026-04-31T00:00:00Z',
    '2026-11-22T24:00:00Z', '2026-11-22T10:60:00Z', '2026-11-22T10:00:61Z', '2026-11-22T10:00:60Z',
    '2026-11-22T10:00:00',
    '2026-11-22 10:00:00Z', '2026-11-22', '2026-11-22T10:00:00.Z', '2026-11-22T10:00:00+24:00',
    '2026-11-22T10:00:00+0200',
    '1969-12-31T23:59:59Z', '0000-01-01T00:00:00Z', '20261-11-22T10:00:00Z', '', 1_790_000_000, 1.79e15, -1,
    1_790_000_000_000.5,
    null, true, {},
  ] // prettier-ignore
  for (const input of bad) t.same(refusal(at(input)), ['ASSAY_SCHEMA_INVALID', '/occurred_at'], JSON.stringify(input))
  t.end()
})

void t.test('a time in the future is refused under clock live and taken under clock replay', (t) => {
  const edge = NOW + LIMITS.clockAheadMsMax
  t.equal(accepted(parse({ ...good, occurred_at: edge })).occurredAtMs, edge)
  t.same(refusal(parse({ ...good, occurred_at: edge + 1 })), ['ASSAY_TIME_IN_FUTURE', '/occurred_at'])
  const replay = compileTransaction({ ...policy, clock: 'replay' }, LIMITS)
  t.equal(accepted(parse({ ...good, occurred_at: edge + 1 }, replay)).occurredAtMs, edge + 1)
  t.end()
})

void t.test('amounts are converted exactly, half to even; an unlisted currency is refused or missing', (t) => {
  const base = (amount: number, currency: string) =>
    accepted(parse({ ...good, amount_minor: amount, currency })).amountBaseMinor
  t.equal(base(1000, 'JPY'), 620)
  t.equal(base(100, 'USD'), 92)
  t.equal(base(1e15, 'USD'), 92e13)
  const halves = compileCurrencies({
    base: 'EUR',
    unlisted: 'refuse',
    list: {
      EUR: { exponent: 2, rate: 1 },
      AAA: { exponent: 2, rate: 0.005 },
      BBB: { exponent: 4, rate: 1e-7 },
      CCC: { exponent: 0, rate: 123.45 },
    },
  })
  t.same(
    [100, 300, 500, 101, 299].map((amount) => halves.get('AAA')?.(amount)),
    [0, 2, 2, 1, 1],
  )
  t.equal(halves.get('BBB')?.(1e15), 1e6)
  t.equal(halves.get('CCC')?.(3), 37035)
  t.ok(Number.isNaN(halves.get('CCC')?.(1e15)))
  t.same(refusal(parse({ ...good, currency: 'XXX' })), ['ASSAY_CURRENCY_UNLISTED', '/currency'])
  const lenient = compileTransaction({ ...policy, currencies: { ...policy.currencies, unlisted: 'missing' } }, LIMITS)
  t.ok(Number.isNaN(accepted(parse({ ...good, currency: 'XXX' }, lenient)).amountBaseMinor))
  t.throws(() => compileCurrencies({ ...policy.currencies, base: 'GBP' }), RangeError)
  t.end()
})

void t.test('card data is refused with its path wherever it stands, and exempt only where declared', (t) => {
  const card = '4111 1111 1111 1111'
  const path = (input: object) => refusal(parse({ ...good, ...input }))
  t.same(path({ transaction_id: card }), ['ASSAY_CARD_DATA_REFUSED', '/transaction_id'])
  t.same(path({ note: `paid with ${card}` }), ['ASSAY_CARD_DATA_REFUSED', '/note'])
  t.same(path({ attempt: 4111111111111111 }), ['ASSAY_CARD_DATA_REFUSED', '/attempt'])
  t.same(path({ occurred_at: card }), ['ASSAY_CARD_DATA_REFUSED', '/occurred_at', '/occurred_at'])
  t.same(path({ extra: { list: [{ deep: card }] } }), ['ASSAY_CARD_DATA_REFUSED', '/extra/list/0/deep', '/extra'])
  t.same(path({ cvv: '123' }), ['ASSAY_CARD_DATA_REFUSED', '/cvv', '/cvv'])
  t.same(path({ '4111111111111111': 1 }), ['ASSAY_CARD_DATA_REFUSED', '/?', '/?'])
  t.notMatch(JSON.stringify(parse({ ...good, '4111111111111111': card, note: card })), /1111/)
  t.ok(accepted(parse({ ...good, customer_id: '4111111111111111' })))
  t.ok(accepted(parse({ ...good, transaction_id: '4111111111111112' })))
  t.end()
})

void t.test('unknown fields are dropped by policy: searched, counted by a bounded set of names, never kept', (t) => {
  const drop = compileTransaction({ ...policy, schema: { ...schema, unknown_fields: 'drop' } }, TINY)
  t.same(accepted(parse({ ...good, a: 1, b: { c: [2] }, d: 3 }, drop)).fields, accepted(parse(good)).fields)
  parse({ ...good, a: 1 }, drop)
  t.same([...drop.dropped], [['a', 2], ['b', 1], ['*', 1]]) // prettier-ignore
  t.same(refusal(parse({ ...good, a: { b: '4111111111111111' } }, drop)), ['ASSAY_CARD_DATA_REFUSED', '/a/b'])
  t.equal(refusal(parse({ ...good, pin_block: 'x' }, drop))[0], 'ASSAY_CARD_DATA_REFUSED')
  t.end()
})

/** Mostly right transactions with a few things changed, as objects and as texts with odd spacing and spelling. */
void t.test('a transaction in Avro is the same transaction; cut, longer or lying bytes are refused', (t) => {
  const avro = compileTransactionAvro(schema)
  const value = { ...good, distance_km: 2.5, attempt: null, present: null, note: null }
  const bytes = avro.encode(value)
  const decoded = avro.decode(bytes)
  if (isRejection(decoded)) throw new Error('refused')
  t.same(validator.check(decoded.value, NOW), parse({ ...good, distance_km: 2.5 }))
  for (let length = 0; length < bytes.length; length++) t.ok(isRejection(avro.decode(bytes.subarray(0, length))))
  t.ok(isRejection(avro.decode(Buffer.concat([bytes, Buffer.from([0])]))))
  t.ok(isRejection(avro.decode(Buffer.from([0xfe, 0xff, 0xff, 0xff, 0x7f, 1, 2, 3]))), 'a text said to be of gigabytes')
  t.end()
})

void t.test('labels: one or many, every fault with its path', (t) => {
  const labels = compileLabels(schema, LIMITS)
  const label = { transaction_id: 't-1', fraud: true, source: 'chargeback', known_at: '2026-11-22T09:00:00Z' }
  const expected = {
    transactionId: 't-1',
    kind: 'fraud',
    value: true,
    source: 'chargeback',
    knownAtMs: Date.UTC(2026, 10, 22, 9),
    occurredAtMs: null,
    entities: [null],
  }
  t.same(labels.check(label, NOW), [expected])
  t.same(labels.check([label, { ...label, fraud: false, customer_id: '852', occurred_at: 1_790_000_000_000 }], NOW), [
    expected,
    { ...expected, value: false, entities: ['852'], occurredAtMs: 1_790_000_000_000 },
  ])
  const { fraud: _fraud, ...issuer } = { ...label, kind: 'authorisation', approved: false }
  t.same(labels.check({ labels: [issuer] }, NOW), [{ ...expected, kind: 'authorisation', value: false }])
  t.same(refusal(labels.check([label, { ...label, known_at: 'soon', fraud: 1, x: 1 }], NOW)).sort(), [
    '/1/fraud',
    '/1/known_at',
    '/1/x',
    'ASSAY_SCHEMA_INVALID',
  ])
  t.same(refusal(labels.check({ ...label, approved: true }, NOW)), ['ASSAY_SCHEMA_INVALID', '/approved'])
  t.same(refusal(labels.check({ ...label, transaction_id: '4111111111111111' }, NOW)), [
    'ASSAY_CARD_DATA_REFUSED',
    '/transaction_id',
  ])
  t.same(refusal(labels.check({ ...label, known_at: NOW + 1e9 }, NOW)), ['ASSAY_SCHEMA_INVALID', '/known_at'])
  t.same(refusal(labels.check([], NOW)), ['ASSAY_SCHEMA_INVALID', ''])
  t.same(
    refusal(
      labels.check(
        Array.from({ length: LIMITS.batchRowsMax + 1 }, () => label),
        NOW,
      ),
    ),
    ['ASSAY_SCHEMA_INVALID', ''],
  )
  t.end()
})
