// Records on disk: what is encoded decodes equal, damaged bytes are refused; and what is made from records: ids,
// answers, the canonical form, fingerprints. Bytes of earlier releases are in golden.test.ts.
import fc from 'fast-check'
import t from 'tap'
import { createCanonicalWriter } from '../../src/contract/content.js'
import { renderDecision } from '../../src/contract/decision-answer.js'
import { codecsFromSchemas, createRecordCodecs, factsBytes } from '../../src/contract/record.js'
import {
  type DecisionFacts,
  type DecisionPersonal,
  RECORD_TYPES,
  type RecordType,
} from '../../src/contract/record-types.js'
import { isoTime } from '../../src/contract/time.js'
import type { TransactionSchema } from '../../src/contract/transaction.js'
import { plain } from './plain.js'

const SEED = Number(process.env.FUZZ_SEED ?? Date.now() % 2 ** 31)
const FUZZ = { seed: SEED, numRuns: 2_000, interruptAfterTimeLimit: 3_000 }
t.comment(`FUZZ_SEED=${SEED}`)

const schema: TransactionSchema = {
  unknown_fields: 'refuse',
  fields: [
    { name: 'customer_id', type: 'string', entity: true },
    { name: 'distance_km', type: 'number' },
    { name: 'attempt', type: 'integer' },
    { name: 'present', type: 'boolean' },
    { name: 'note', type: 'string', volatile: true },
  ],
}
const codecs = createRecordCodecs(schema)

const facts: DecisionFacts = {
  ordinal: 2 ** 40 + 3,
  unfolded: false,
  epoch: 7,
  mode: 'decide',
  receivedAtMs: 1_795_341_600_000,
  foldedAtMs: 1_795_341_600_001,
  decidedAtMs: 1_795_341_600_004,
  action: 'review',
  score: 0.41,
  scoreRaw: -0.36,
  model: { name: 'fraud-lgbm', version: '1', digest: Buffer.alloc(32, 0xab), role: 'champion', provider: 'cpu' },
  prescribedModel: 'fraud-xgb@1',
  bucket: 9_999,
  routesRevision: 3,
  experiment: 'default',
  arm: 'challenger',
  propensity: 0.05,
  rules: ['velocity', 'länge'],
  rulesShadow: [],
  thresholds: { challengeAt: null, reviewAt: 0.4, declineAt: 0.9 },
  segment: null,
  scoreAction: 'approve',
  reasons: [
    { code: 'R1', detail: 'a "detail"', contribution: null },
    { code: 'R2', detail: null, contribution: -0.25 },
  ],
  features: 1 | 16,
  degraded: true,
  fallback: [{ model: 'fraud-xgb@1', role: 'challenger', reason: 'breaker_open' }],
  decidedElsewhere: null,
  policy: Buffer.alloc(32, 0xcd),
  stages: { receiveUs: 12, validateUs: 3, featuresUs: 4, inferUs: 210, decideUs: 2 },
}

const personal: DecisionPersonal = {
  transaction: {
    transactionId: 't-1–ü',
    occurredAtMs: 1_795_341_599_000,
    offsetMinutes: -330,
    amountMinor: 1e15,
    currency: 'EUR',
    amountBaseMinor: NaN,
    fields: ['852', 1.5, -7, false, null],
  },
  vector: Buffer.from(Float32Array.of(1, NaN, -0.5).buffer),
  traceparent: null,
  source: { topic: 'transactions', partition: 3, offset: 2 ** 33, topicId: 'srjjoAmDTs-gOxfFYs75Qw', skipped: 2 },
}

const buffer = Buffer.alloc(4096)

function encoded(encode: (target: Buffer, at: number) => number): Buffer {
  const end = encode(buffer, 100)
  t.ok(end > 100, 'it fits')
  return Buffer.from(buffer.subarray(100, end))
}

const samples: { readonly [type in RecordType]: (target: Buffer, at: number) => number } = {
  decision: (target, at) => codecs.encodeDecision(facts, personal, target, at),
  observed: (target, at) =>
    codecs.encodeObserved(
      { ...facts, mode: 'observe', action: null, score: null, scoreRaw: null, model: null },
      personal,
      target,
      at,
    ),
  inference: (target, at) =>
    codecs.encodeInference(
      facts,
      { transactionId: null, entity: '852', vector: Buffer.from([1]), traceparent: null },
      target,
      at,
    ),
  label: (target, at) => codecs.encodeLabel(label, target, at),
  control: (target, at) => codecs.encodeControl(control, target, at),
  reply: (target, at) => codecs.encodeReply(reply, target, at),
  superseded: (target, at) => codecs.encodeSuperseded(superseded, target, at),
  consumed: (target, at) => codecs.encodeConsumed(consumed, target, at),
}
const label = {
  ordinal: 5,
  epoch: 1,
  foldedAtMs: 1_795_341_600_000,
  label: {
    transactionId: 't-1',
    kind: 'authorisation' as const,
    value: false,
    source: 'issuer',
    knownAtMs: 1_795_341_600_000,
    occurredAtMs: null,
    entities: ['852'],
  },
}
const control = {
  ordinal: 6,
  epoch: 1,
  foldedAtMs: 1,
  kind: 'routes',
  actor: 'ops',
  reason: 'ramp',
  state: '{"share":100}',
  remoteAddress: '2001:db8::7',
}
const reply = { epoch: 1, atMs: 2, entries: [{ ordinal: 5, unfolded: true, told: 'unconfirmed' as const }] }
const superseded = {
  epoch: 1,
  ordinal: 8,
  supersededEpoch: 1,
  supersededOrdinal: 2,
  atMs: 3,
  reason: 'observed before',
}

const consumed = {
  atMs: 4,
  source: { topic: 'transactions', partition: 0, offset: 17, topicId: null, skipped: 0 },
  code: 'ASSAY_BODY_MALFORMED',
}

function bodyOf(type: RecordType): Buffer {
  return encoded(samples[type])
}

void t.test('every record type decodes to what was encoded', (t) => {
  const decision = codecs.decode('decision', bodyOf('decision'))
  t.same(plain(decision), plain({ type: 'decision', facts, personal }))
  t.ok(decision.type === 'decision' && Number.isNaN(decision.personal.transaction.amountBaseMinor))
  t.match(codecs.decode('observed', bodyOf('observed')), { type: 'observed', facts: { mode: 'observe', model: null } })
  t.match(codecs.decode('inference', bodyOf('inference')), { personal: { transactionId: null, entity: '852' } })
  t.same(plain(codecs.decode('label', bodyOf('label'))), plain({ type: 'label', label }))
  t.same(plain(codecs.decode('control', bodyOf('control'))), plain({ type: 'control', control }))
  t.same(plain(codecs.decode('reply', bodyOf('reply'))), plain({ type: 'reply', reply }))
  t.same(plain(codecs.decode('superseded', bodyOf('superseded'))), plain({ type: 'superseded', superseded }))
  t.same(plain(codecs.decode('consumed', bodyOf('consumed'))), plain({ type: 'consumed', consumed }))
  t.same(plain(codecs.decodeFacts(bodyOf('decision'))), plain(facts))
  t.end()
})

void t.test('the facts stand alone in front of the personal section', (t) => {
  const body = bodyOf('decision')
  const section = factsBytes(body)
  t.ok(section.length > 100 && section.length < body.length - 4)
  t.notOk(Buffer.from(section).includes('t-1'), 'nothing of the person is in them')
  t.ok(body.includes('t-1'))
  t.throws(() => factsBytes(Buffer.from([9, 0, 0, 0, 1])), { code: 'ASSAY_LOG_DAMAGED' })
  t.end()
})

void t.test('a record that does not fit gives a negative position and writes nothing beyond the end', (t) => {
  const size = bodyOf('decision').length
  for (let length = 0; length < size; length += 7) {
    t.ok(codecs.encodeDecision(facts, personal, Buffer.alloc(length), 0) < 0)
  }
  t.equal(codecs.encodeDecision(facts, personal, Buffer.alloc(size), 0), size)
  t.end()
})

void t.test('any integers, doubles and texts survive', (t) => {
  const text = fc.oneof(fc.string({ unit: 'grapheme', maxLength: 150 }), fc.string({ maxLength: 150 }))
  fc.assert(
    fc.property(
      fc.integer({ min: 1 - 2 ** 52, max: 2 ** 52 - 1 }),
      fc.double(),
      text,
      fc.option(text),
      fc.uint8Array({ maxLength: 200 }),
      (long, double, id, note, vector) => {
        const transaction = {
          ...personal.transaction,
          transactionId: id,
          occurredAtMs: long,
          fields: [note, double, long, true, id],
        }
        const wellFormed = Buffer.from(id).toString() === id && Buffer.from(note ?? '').toString() === (note ?? '')
        fc.pre(wellFormed)
        const body = Buffer.alloc(4096)
        const end = codecs.encodeDecision(
          { ...facts, ordinal: Math.abs(long), score: double },
          { ...personal, transaction, vector },
          body,
          0,
        )
        const decoded = codecs.decode('decision', body.subarray(0, end))
        if (decoded.type !== 'decision') return false
        const same = Object.is(decoded.facts.score, double) && decoded.facts.ordinal === Math.abs(long)
        const values = decoded.personal.transaction
        return (
          same &&
          values.transactionId === id &&
          values.fields.every((value, index) => Object.is(value, transaction.fields[index]))
        )
      },
    ),
    FUZZ,
  )
  t.pass('all equal')
  t.end()
})

void t.test('cut, longer and flipped bytes are refused or decode to something, and never throw another error', (t) => {
  const names = Object.keys(RECORD_TYPES) as RecordType[]
  for (const type of names) {
    const body = bodyOf(type)
    t.throws(() => codecs.decode(type, body.subarray(0, -1)), { code: 'ASSAY_LOG_DAMAGED' }, type)
    t.throws(() => codecs.decode(type, Buffer.concat([body, Buffer.from([0])])), { code: 'ASSAY_LOG_DAMAGED' }, type)
  }
  const bodies = names.map((type) => ({ type, body: bodyOf(type) }))
  fc.assert(
    fc.property(fc.constantFrom(...bodies), fc.nat(), fc.integer({ min: 0, max: 255 }), ({ type, body }, at, byte) => {
      const changed = Buffer.from(body)
      changed[at % changed.length] = byte
      try {
        codecs.decode(type, changed)
        return true
      } catch (error) {
        return error instanceof Error && 'code' in error && error.code === 'ASSAY_LOG_DAMAGED'
      }
    }),
    FUZZ,
  )
  t.end()
})

void t.test('a record that declares millions of items is refused before anything is built', (t) => {
  const body = Buffer.from([2, 2, 0xfe, 0xff, 0xff, 0xff, 0x0f, 1, 2, 3])
  t.throws(() => codecs.decode('reply', body), { code: 'ASSAY_LOG_DAMAGED' })
  t.end()
})

void t.test('a later schema reads earlier records by field names; a missing or retyped field is null', (t) => {
  const later: TransactionSchema = {
    unknown_fields: 'refuse',
    fields: [
      { name: 'attempt', type: 'string' },
      { name: 'device', type: 'string' },
      { name: 'present', type: 'boolean' },
      { name: 'customer_id', type: 'string', entity: true },
    ],
  }
  const read = codecsFromSchemas(codecs.schemas, later).decode('decision', bodyOf('decision'))
  t.same(read.type === 'decision' && read.personal.transaction.fields, [null, null, false, '852'])
  const own = codecsFromSchemas(codecs.schemas)
  t.same(
    own.fieldNames,
    schema.fields.map((field) => field.name),
  )
  t.same(plain(own.decode('decision', bodyOf('decision'))), plain({ type: 'decision', facts, personal }))
  t.match(codecs.schemas, /"received_at_ms"/, 'names on disk are snake_case')
  t.throws(() => codecsFromSchemas('{"format":2}'), { code: 'ASSAY_LOG_DAMAGED' })
  t.throws(() => codecsFromSchemas('x'), { code: 'ASSAY_LOG_DAMAGED' })
  t.end()
})

void t.test('an answer has the fields of the contract in its order, and only what applies', (t) => {
  const body = renderDecision(facts, { transactionId: 't"1', decisionId: 'd_x', logged: 'synced' })
  t.same(JSON.parse(body), {
    decision_id: 'd_x',
    transaction_id: 't"1',
    action: 'review',
    score: 0.41,
    reasons: [
      { code: 'R1', detail: 'a "detail"' },
      { code: 'R2', contribution: -0.25 },
    ],
    model: { name: 'fraud-lgbm', version: '1', role: 'champion', digest: `sha256:${'ab'.repeat(32)}` },
    degraded: true,
    fallback: [{ model: 'fraud-xgb@1', role: 'challenger', reason: 'breaker_open' }],
    features: ['cold', 'missing'],
    logged: 'synced',
    decided_at: '2026-11-22T10:00:00.004Z',
    routes_revision: 3,
    policy: `sha256:${'cd'.repeat(32)}`,
  })
  const bare = JSON.parse(
    renderDecision(
      { ...facts, fallback: [], features: 0, reasons: [], degraded: false },
      { transactionId: 't', decisionId: 'd_x', logged: 'pending' },
    ),
  ) as object
  t.same(Object.keys(bare), [
    'decision_id', 'transaction_id', 'action', 'score', 'reasons', 'model', 'degraded', 'logged', 'decided_at', 
    'routes_revision', 'policy',
  ]) // prettier-ignore
  t.throws(
    () => renderDecision({ ...facts, action: null }, { transactionId: 't', decisionId: 'd_x', logged: 'synced' }),
    RangeError,
  )
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 253_402_300_799_999 }), (ms) => isoTime(ms) === new Date(ms).toISOString()),
    FUZZ,
  )
  fc.assert(
    fc.property(
      fc.string({ unit: 'binary' }),
      (id) =>
        (
          JSON.parse(renderDecision(facts, { transactionId: id, decisionId: 'd_x', logged: 'synced' })) as {
            transaction_id: string
          }
        ).transaction_id === id,
    ),
    FUZZ,
  )
  t.end()
})

void t.test(
  'the canonical form: same content gives the same bytes, volatile fields and offsets do not count, all else does',
  (t) => {
    const write = createCanonicalWriter(schema)
    const form = (change: object, using = write) => {
      const end = using({ ...personal.transaction, ...change }, buffer)
      return buffer.toString('hex', 0, end)
    }
    const base = form({})
    t.equal(form({ offsetMinutes: 0, amountBaseMinor: 5, fields: ['852', 1.5, -7, false, 'a note'] }), base)
    const reordered = createCanonicalWriter({ ...schema, fields: [...schema.fields].reverse() })
    t.equal(form({ fields: [null, false, -7, 1.5, '852'] }, reordered), base)
    const changes: object[] = [
    { transactionId: 't-2' }, { occurredAtMs: 1 }, { amountMinor: 1 }, { currency: 'USD' }, 
    { fields: ['853', 1.5, -7, false, null] },
    { fields: [null, 1.5, -7, false, null] }, { fields: ['852', 1.5, -7, true, null] }, 
    { fields: ['852', -7, 1.5, false, null] },
  ] // prettier-ignore
    t.equal(new Set([base, ...changes.map((change) => form(change))]).size, changes.length + 1)
    t.equal(write(personal.transaction, Buffer.alloc(10)), -1)
    t.end()
  },
)
