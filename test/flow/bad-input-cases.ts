// Requests that must be refused, each with the status, the code and the place that its sender is told. The good
// transaction that all of them spoil stands here too. Bytes are written as they go over the wire. No test.
import { gzipSync } from 'node:zlib'
import { compileTransactionAvro } from '../../src/contract/transaction-avro.js'
import type { TransactionSchema } from '../../src/contract/transaction.js'
import { LIMITS } from '../../src/limits.js'

export interface BadCase {
  readonly name: string
  readonly path: string
  readonly body: string | Uint8Array
  readonly headers: Readonly<Record<string, string>>
  readonly status: number
  readonly code: string
  /** JSON pointer of the fault named first. */
  readonly at: string
}

/** A transaction of the reference policy that is as good as any. */
export function goodTransaction(id: string): Record<string, unknown> {
  return {
    transaction_id: id,
    occurred_at: Date.now() - 1000,
    amount_minor: 16364,
    currency: 'EUR',
    customer_id: '852',
    terminal_id: '5161',
  }
}

const MALFORMED = { status: 400, code: 'ASSAY_BODY_MALFORMED', at: '' }
const UNFIT = { status: 400, code: 'ASSAY_SCHEMA_INVALID' }
const CARD = { status: 422, code: 'ASSAY_CARD_DATA_REFUSED' }
const MEDIA = { status: 415, code: 'ASSAY_MEDIA_TYPE_REFUSED' }
const PAN = '4111 1111 1111 1111'
const HOUR_MS = 3_600_000

type Told = Pick<BadCase, 'status' | 'code' | 'at'>
type Spoilt = readonly [name: string, body: string | Uint8Array, told: Told, headers?: Record<string, string>]

/** All cases against one server; `schema` is that of its policy. */
export function badCases(schema: TransactionSchema): BadCase[] {
  const score = [...malformed(), ...unfit(), ...refused(), ...headersAndMedia()]
  return [
    ...score.map((spoilt) => caseOf('/v1/score', spoilt)),
    ...avro(schema).map((spoilt) => caseOf('/v1/score', spoilt)),
    ...batches().map((spoilt) => caseOf('/v1/score/batch', spoilt)),
    ...labels().map((spoilt) => caseOf('/v1/labels', spoilt)),
  ]
}

function caseOf(path: string, [name, body, told, headers = {}]: Spoilt): BadCase {
  return { name: `${path}: ${name}`, path, body, headers, ...told }
}

function text(change: Record<string, unknown> = {}): string {
  return JSON.stringify({ ...goodTransaction('bad'), ...change })
}

/** The amount's digits replaced by something that JSON.stringify would never write. */
function amount(literal: string): string {
  return text().replace('16364', literal)
}

function malformed(): Spoilt[] {
  const good = text()
  const bytes = (...values: number[]): Uint8Array =>
    Buffer.concat([Buffer.from('{"transaction_id":"'), Buffer.from(values), Buffer.from('"}')])
  const literals = ['NaN', 'Infinity', '-Infinity', '0x10', '016364', '+1', '.5', '1.', '1e', 'undefined', "'1'", '1n']
  return [
    ...literals.map((literal): Spoilt => [`amount ${literal}`, amount(literal), MALFORMED]),
    ['an empty body', '', MALFORMED],
    ['blanks', ' \n\t ', MALFORMED],
    ['cut off', good.slice(0, -1), MALFORMED],
    ['something behind it', `${good}x`, MALFORMED],
    ['two documents', good + good, MALFORMED],
    ['a comma too many', good.replace('}', ',}'), MALFORMED],
    ['a comment', good.replace('{', '{/**/'), MALFORMED],
    ['a bare key', good.replace('"currency"', 'currency'), MALFORMED],
    ['a line end in a text', good.replace('EUR', 'E\nR'), MALFORMED],
    ['a byte order mark', `\ufeff${good}`, MALFORMED],
    ['UTF-16', Buffer.from(good, 'utf16le'), MALFORMED],
    ['a byte that UTF-8 has not', bytes(0xff), MALFORMED],
    ['an overlong form', bytes(0xc0, 0xaf), MALFORMED],
    ['half of a surrogate pair as bytes', bytes(0xed, 0xa0, 0x80), MALFORMED],
    ['a cut character', bytes(0xe2, 0x82), MALFORMED],
    ['zeros', Buffer.alloc(64), MALFORMED],
    ['nesting without end', '['.repeat(500_000), { ...MALFORMED, at: '/0'.repeat(LIMITS.jsonDepthMax) }],
    ['a key twice', good.replace('{', '{"currency":"USD",'), { ...MALFORMED, at: '/currency' }],
    ['a key twice, once escaped', good.replace('{', '{"\\u0063urrency":"USD",'), { ...MALFORMED, at: '/currency' }],
  ]
}

function unfit(): Spoilt[] {
  const at = (path: string): Told => ({ ...UNFIT, at: path })
  const amounts = ['1e400', '-1e400', '9007199254740993', '1e30', '-1', '1.5', '1e-7', '"16364"', 'true', '[]', '{}']
  const times: unknown[] = [
    '2026-02-30T00:00:00Z',
    '2026-11-22T25:00:00Z',
    '2026-11-22T10:00:00',
    '2026-11-22',
    'tomorrow',
    '',
    -1,
    1.5,
    1e300,
    8.64e15 + 1,
    null,
    {},
  ]
  return [
    ...amounts.map((literal): Spoilt => [`amount ${literal}`, amount(literal), at('/amount_minor')]),
    ...times.map((time): Spoilt => [`time ${JSON.stringify(time)}`, text({ occurred_at: time }), at('/occurred_at')]),
    ...['null', '[]', '"text"', '7', 'true'].map((value): Spoilt => [`the value ${value}`, value, at('')]),
    ['no field', '{}', at('/transaction_id')],
    ['no amount', text({ amount_minor: undefined }), at('/amount_minor')],
    ['an id that is a number', text({ transaction_id: 7 }), at('/transaction_id')],
    ['an empty id', text({ transaction_id: '' }), at('/transaction_id')],
    ['a long id', text({ transaction_id: 'x'.repeat(10_000) }), at('/transaction_id')],
    ['an id with half of a surrogate pair', text({ transaction_id: '\ud800' }), at('/transaction_id')],
    ['an id with a zero', text({ transaction_id: 'a\u0000b' }), at('/transaction_id')],
    ['a currency in lower case', text({ currency: 'eur' }), at('/currency')],
    ['a currency too long', text({ currency: 'EURO' }), at('/currency')],
    ['an entity that is an object', text({ customer_id: { deep: [1] } }), at('/customer_id')],
    ['an entity against its pattern', text({ customer_id: 'a b' }), at('/customer_id')],
    ['an unknown field', text({ surprise: 1 }), at('/surprise')],
    ['the name of a prototype', text().replace('{', '{"__proto__":{"amount_minor":1},'), at('/__proto__')],
    ['a constructor', text({ constructor: 1 }), at('/constructor')],
    [
      'thousands of unknown fields',
      JSON.stringify(Object.fromEntries(Array.from({ length: 5000 }, (_, index) => [`f${index}`, index]))),
      at('/transaction_id'),
    ],
  ]
}

function refused(): Spoilt[] {
  const inFuture: Told = { status: 422, code: 'ASSAY_TIME_IN_FUTURE', at: '/occurred_at' }
  return [
    ['a currency that is not listed', text({ currency: 'XTS' }), { ...UNLISTED, at: '/currency' }],
    ['an hour ahead', text({ occurred_at: Date.now() + HOUR_MS }), inFuture],
    ['far ahead, as text', text({ occurred_at: '9998-01-01T00:00:00Z' }), inFuture],
    ['a card number as id', text({ transaction_id: PAN.replaceAll(' ', '') }), { ...CARD, at: '/transaction_id' }],
    ['a card number in an entity', text({ customer_id: PAN }), { ...CARD, at: '/customer_id' }],
    ['a card number in an unknown field', text({ note: `pan ${PAN}.` }), { ...CARD, at: '/note' }],
    ['a card number deep down', text({ note: { of: [PAN] } }), { ...CARD, at: '/note/of/0' }],
    ['a CVV by its name', text({ cvv: '123' }), { ...CARD, at: '/cvv' }],
    ['track data by its name', text({ track2: 'x' }), { ...CARD, at: '/track2' }],
  ]
}

const UNLISTED = { status: 422, code: 'ASSAY_CURRENCY_UNLISTED' }

function headersAndMedia(): Spoilt[] {
  const good = text()
  const media = (type: string): Spoilt => [
    `media type ${type}`,
    good,
    { ...MEDIA, at: '/headers/content-type' },
    { 'Content-Type': type },
  ]
  const header = (name: string, value: string): Spoilt => [
    `${name}: ${value}`,
    good,
    { status: 400, code: 'ASSAY_HEADER_INVALID', at: `/headers/${name.toLowerCase()}` },
    { [name]: value },
  ]
  const coding: Told = { ...MEDIA, at: '/headers/content-encoding' }
  return [
    ...['', 'text/plain', 'application/x-www-form-urlencoded', 'application/jsonp', '*/*'].map(media),
    ['gzip, and it is', gzipSync(good), coding, { 'Content-Encoding': 'gzip' }],
    ['gzip, and it is not', good, coding, { 'Content-Encoding': 'gzip' }],
    ['gzip that nobody announced', gzipSync(good), MALFORMED],
    header('Assay-Mode', 'DECIDE'),
    header('Assay-Mode', PAN),
    ...['0', '-1', '1e3', 'NaN', '99999999999'].map((value) => header('Assay-Timeout-Ms', value)),
    ['too large', ' '.repeat(1 << 20) + good, { status: 413, code: 'ASSAY_BODY_TOO_LARGE', at: '' }],
  ]
}

function avro(schema: TransactionSchema): Spoilt[] {
  const codec = compileTransactionAvro(schema)
  const good = codec.encode(goodTransaction('bad'))
  const headers = { 'Content-Type': 'avro/binary' }
  // A text that claims 2^40 bytes and one that claims fewer than none, zigzag and varint.
  const bomb = Buffer.from([0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01])
  const endless = Buffer.alloc(11, 0xff)
  const wrongText = Buffer.from(good)
  wrongText[1] = 0xff
  const bodies: [string, Uint8Array][] = [
    ['nothing', Buffer.alloc(0)],
    ...Array.from({ length: good.length - 1 }, (_, at): [string, Uint8Array] => [
      `cut to ${at + 1} bytes`,
      good.subarray(0, at + 1),
    ]),
    ['a byte too many', Buffer.concat([good, Buffer.from([0])])],
    ['a length of 2^40', bomb],
    ['a length below nothing', Buffer.from([0x01])],
    ['a number without end', endless],
    ['a text that is not UTF-8', wrongText],
    ['JSON', Buffer.from(text())],
  ]
  const unlisted = codec.encode({ ...goodTransaction('bad'), currency: 'XTS' })
  return [
    ...bodies.map(([name, body]): Spoilt => [`Avro: ${name}`, body, MALFORMED, headers]),
    ['Avro: a currency that is not listed', unlisted, { ...UNLISTED, at: '/currency' }, headers],
  ]
}

function batches(): Spoilt[] {
  const good = text()
  const rows = `[${Array(257).fill(good).join(',')}]`
  const at = (path: string): Told => ({ ...UNFIT, at: path })
  return [
    ['a list', `[${good}]`, at('')],
    ['no list', good, at('')],
    ['an empty list', '{"transactions":[]}', at('/transactions')],
    ['too many rows', `{"transactions":${rows}}`, at('/transactions')],
    ['something beside it', `{"transactions":[${good}],"more":1}`, at('')],
    ['cut off', `{"transactions":[${good}`, MALFORMED],
    [
      'a key twice in one row',
      `{"transactions":[${good},${good.replace('{', '{"currency":"USD",')}]}`,
      { ...MALFORMED, at: '/transactions/1/currency' },
    ],
    ['Avro', good, { ...MEDIA, at: '/headers/content-type' }, { 'Content-Type': 'avro/binary' }],
  ]
}

function labels(): Spoilt[] {
  const label = { transaction_id: 'x', fraud: true, source: 'test', known_at: Date.now() - 1000 }
  const one = (change: object): string => JSON.stringify({ ...label, ...change })
  const at = (path: string): Told => ({ ...UNFIT, at: path })
  return [
    ['empty', '', MALFORMED],
    ['an empty list', '[]', at('')],
    ['a word for fraud', one({ fraud: 'yes' }), at('/fraud')],
    ['known in the future', one({ known_at: Date.now() + HOUR_MS }), at('/known_at')],
    ['no source', one({ source: undefined }), at('/source')],
    ['an unknown field', one({ surprise: 1 }), at('/surprise')],
    ['a card number', one({ customer_id: PAN }), { ...CARD, at: '/customer_id' }],
    ['one bad of two: none is taken', `[${one({})},${one({ fraud: null })}]`, at('/1/fraud')],
  ]
}
