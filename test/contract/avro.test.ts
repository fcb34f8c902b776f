// Avro under schemas of others: what differs is resolved or refused, bombs cost nothing, and a decision comes back as
// the text that it was.
import avsc from 'avsc'
import fc from 'fast-check'
import t from 'tap'
import { compileAvroReader, type AvroDecode } from '../../src/contract/avro-reader.js'
import { ACTIONS, FALLBACK_REASONS, FEATURE_FLAGS, ROLES } from '../../src/contract/decision.js'
import { DecisionAnswer, renderDecision } from '../../src/contract/decision-answer.js'
import { createDecisionAvro } from '../../src/contract/decision-avro.js'
import type { DecisionFacts } from '../../src/contract/record-types.js'
import { transactionAvroSchema } from '../../src/contract/record-schema.js'
import type { TransactionSchema } from '../../src/contract/transaction.js'
import type { Rejection } from '../../src/errors.js'
import { LIMITS, TINY } from '../../src/limits.js'

const SEED = Number(process.env.FUZZ_SEED ?? Date.now() % 2 ** 31)
const FUZZ = { seed: SEED, numRuns: 2_000, interruptAfterTimeLimit: 3_000 }
t.comment(`FUZZ_SEED=${SEED}`)

const schema: TransactionSchema = {
  unknown_fields: 'refuse',
  fields: [
    { name: 'customer_id', type: 'string', entity: true },
    { name: 'distance_km', type: 'number' },
    { name: 'attempt', type: 'integer' },
  ],
}
const ours = transactionAvroSchema(schema)

type Fields = Record<string, unknown>
const BASE: Fields = { transaction_id: 'string', occurred_at: 'long', amount_minor: 'long', currency: 'string' }
const VALUE = { transaction_id: 't-1', occurred_at: 1_795_341_600_000, amount_minor: 250, currency: 'EUR' }

function writerOf(fields: Fields, name = 'com.acme.Payment'): { text: string; type: avsc.Type } {
  const text = JSON.stringify({
    ...{ type: 'record', name },
    fields: Object.entries(fields).map(([field, type]) => ({ name: field, type })),
  })
  return { text, type: avsc.Type.forSchema(JSON.parse(text) as 'string', { registry: {} }) }
}

function readerOf(text: string, limits = LIMITS): AvroDecode {
  const reader = compileAvroReader(ours, text, limits)
  if (typeof reader !== 'function') throw new Error(reader.detail)
  return reader
}

const codeOf = (read: AvroDecode | Rejection | { value: unknown }): string | null => ('code' in read ? read.code : null)

/** What a value written under these fields is read as. */
function resolved(fields: Fields, value: object): unknown {
  const { text, type } = writerOf(fields)
  const read = readerOf(text)(type.toBuffer(value))
  return 'code' in read ? read.code : { ...(read.value as object) }
}

void t.test('fields come and go, and numbers widen', (t) => {
  const nulls = { customer_id: null, distance_km: null, attempt: null }
  t.same(resolved(BASE, VALUE), { ...VALUE, ...nulls }, 'what the writer lacks has its default')
  const more = { ...BASE, note: 'string', tags: { type: 'map', values: { type: 'array', items: 'int' } } }
  t.same(resolved(more, { ...VALUE, note: 'x', tags: { a: [1, 2] } }), { ...VALUE, ...nulls }, 'more is skipped')
  const narrow = { ...BASE, amount_minor: 'int', distance_km: 'float', attempt: ['null', 'int'], customer_id: 'string' }
  t.same(
    resolved(narrow, { ...VALUE, distance_km: 1.5, attempt: 3, customer_id: '852' }),
    { ...VALUE, distance_km: 1.5, attempt: 3, customer_id: '852' },
    'int → long, float → double, not null → nullable',
  )
  t.same(resolved({ ...BASE, occurred_at: 'string' }, { ...VALUE, occurred_at: '2026-11-22T10:00:00Z' }), {
    ...{ ...VALUE, ...nulls },
    occurred_at: '2026-11-22T10:00:00Z',
  })
  t.end()
})

void t.test('a schema that cannot be read as ours is refused, and so is one that costs too much to look at', (t) => {
  const { currency: _, ...lacking } = BASE
  const deep = (levels: number): unknown => (levels === 0 ? 'int' : { type: 'array', items: deep(levels - 1) })
  const texts = {
    'a required field is missing': writerOf(lacking).text,
    'another type': writerOf({ ...BASE, amount_minor: 'string' }).text,
    'a narrower type here': writerOf({ ...BASE, attempt: 'double' }).text,
    'no record': '"string"',
    'no schema': '{"type":"recrod"}',
    'no JSON': '{',
    'too deep': writerOf({ ...BASE, deep: deep(LIMITS.schemaDepthMax) }).text,
    'deep beyond any stack': `${'['.repeat(100_000)}${']'.repeat(100_000)}`,
    'too long': `${' '.repeat(LIMITS.schemaBytesMax)}"string"`,
  }
  for (const [what, text] of Object.entries(texts))
    t.equal(codeOf(compileAvroReader(ours, text, LIMITS)), 'ASSAY_SCHEMA_INCOMPATIBLE', what)
  const { text } = writerOf({ ...BASE, deep: deep(16) })
  t.equal(codeOf(compileAvroReader(ours, text, LIMITS)), null)
  t.equal(codeOf(compileAvroReader(ours, text, TINY)), 'ASSAY_SCHEMA_INCOMPATIBLE', 'the bound is the one given')
  t.end()
})

/** The least of several times, in microseconds: other work on the machine is not counted. */
function leastUs(work: () => void): number {
  const times = Array.from({ length: 50 }, () => {
    const from = process.hrtime.bigint()
    work()
    return Number(process.hrtime.bigint() - from) / 1_000
  })
  return Math.min(...times)
}

void t.test('bombs are refused in microseconds', (t) => {
  const node = { type: 'record', name: 'Node', fields: [{ name: 'next', type: ['null', 'Node'] }] }
  const nulls = { type: 'array', items: { type: 'array', items: 'null' } }
  const { text, type } = writerOf({ ...BASE, list: { type: 'array', items: 'string' }, node, nulls })
  const read = readerOf(text)
  const whole = type.toBuffer({ ...VALUE, list: [], node: { next: null }, nulls: [] })
  t.equal(codeOf(read(whole)), null)
  const head = whole.subarray(0, whole.length - 3)
  const bytes = (...parts: (number[] | Buffer)[]): Buffer => Buffer.concat(parts.map((part) => Buffer.from(part)))
  const long = (value: number): Buffer => avsc.Type.forSchema('long').toBuffer(value)
  const bombs = {
    'ten million items': bytes(head, long(10_000_000)),
    'ten million items in a block': bytes(head, long(-10_000_000), long(1)),
    'a block that leads back to itself': bytes(head, long(-1), long(-2), long(0), [0, 0, 0]),
    'a block that is longer than it says': bytes(head, long(-1), long(1), long(2), [65, 65, 0, 0, 0]),
    'a text of gigabytes': bytes(head, long(1), long(2 ** 31), [0, 0, 0]),
    'nested for as long as it goes': bytes(head, [0], Buffer.alloc(60_000, 2), [0, 0]),
    'nothing, again and again': bytes(head, [0, 0], long(60_000), long(60_000), [0], long(60_000), [0, 0]),
  }
  for (const [what, bomb] of Object.entries(bombs)) {
    t.equal(codeOf(read(bomb)), 'ASSAY_BODY_MALFORMED', what)
    const us = leastUs(() => read(bomb))
    t.ok(us < 1_000, `${what}: ${us.toFixed(1)} µs`)
  }
  t.ok(leastUs(() => read(bombs['ten million items'])) < 100)
  t.equal(codeOf(read(bytes(head, long(-1), long(2), [2, 65], [0, 0, 0]))), null, 'an honest block')
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 64 }), fc.nat({ max: whole.length }), (noise, at) => {
      const got = read(bytes(whole.subarray(0, at), Buffer.from(noise)))
      return 'code' in got ? got.code === 'ASSAY_BODY_MALFORMED' : typeof got.value === 'object'
    }),
    FUZZ,
  )
  t.end()
})

const text = fc.oneof(fc.string(), fc.string({ unit: 'grapheme' }))
const number = fc.double({ noNaN: true, noDefaultInfinity: true })
const role = fc.constantFrom(...ROLES)
const digest = fc.uint8Array({ minLength: 32, maxLength: 32 })
const nullable = <Value>(one: fc.Arbitrary<Value>): fc.Arbitrary<Value | null> => fc.option(one, { nil: null })

const decided = fc.record({
  action: fc.constantFrom(...ACTIONS),
  score: fc.double({ min: 0, max: 1, noNaN: true }),
  model: fc.record({ name: text, version: text, role, digest }),
  reasons: fc.array(fc.record({ code: text, detail: nullable(text), contribution: nullable(number) }), {
    maxLength: 4,
  }),
  degraded: fc.boolean(),
  fallback: fc.array(fc.record({ model: text, role, reason: fc.constantFrom(...FALLBACK_REASONS) }), { maxLength: 3 }),
  features: fc.nat({ max: 2 ** Object.keys(FEATURE_FLAGS).length - 1 }),
  decidedAtMs: fc.integer({ min: 1_600_000_000_000, max: 4_000_000_000_000 }),
  routesRevision: fc.nat(),
  policy: digest,
})

void t.test('a decision in Avro comes back byte for byte, and has every field of an answer', (t) => {
  const avro = createDecisionAvro()
  const read = compileAvroReader(avro.schema, JSON.stringify(avro.schema), LIMITS)
  if (typeof read !== 'function') throw new Error(read.detail)
  const back = (body: string): string | null => {
    const value = read(avro.encode(body) ?? Buffer.alloc(0))
    return 'code' in value ? null : avro.render(value.value)
  }
  fc.assert(
    fc.property(decided, text, fc.constantFrom('synced', 'buffered'), (facts, transactionId, logged) => {
      const named = { transactionId, decisionId: `d_${'a'.repeat(32)}`, logged } as const
      const body = renderDecision(facts as unknown as DecisionFacts, named)
      t.equal(back(body), body)
    }),
    { ...FUZZ, numRuns: 500 },
  )
  const { fields } = avro.schema as unknown as { fields: { name: string }[] }
  t.same(
    fields.map(({ name }) => name),
    Object.keys(DecisionAnswer.properties),
    'in the same order',
  )
  for (const other of ['{}', 'null', '[]', 'x', '{"decision_id":"d","transaction_id":"t"}'])
    t.equal(avro.encode(other), null, other)
  t.end()
})
