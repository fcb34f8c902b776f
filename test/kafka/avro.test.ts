// Avro over a real broker and a real schema registry: what others write under schemas that differ, what cannot be read,
// a registry that is gone, and decisions that come back. Skipped, loudly, without Java and Maven; under CI that fails.
import { randomUUID } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import avsc from 'avsc'
import t, { type Test } from 'tap'
import { createSimulator } from '../../src/simulate/generator.js'
import type { Rig } from '../flow/server-rig.js'
import { prepareRegistry, type TestRegistry } from './registry.js'
import { held, kafkaRig, served } from './rig.js'
import { startRelay } from './relay.js'
import { type Topics } from './topics.js'

const { skip, openTopics, startReading: startPlain } = kafkaRig()
const folder = mkdtempSync(join(tmpdir(), 'assay-avro-'))
// Another registry than this test's own may know these names already.
const run = randomUUID().slice(0, 8)
const SUBJECTS = { transactions: `${run}.transactions-value`, decisions: `${run}.decisions-value` }
let registry: TestRegistry

t.before(async () => {
  if (skip === false) registry = await prepareRegistry(join(folder, 'registry'))
})
t.after(async () => {
  if (skip === false) await registry.kill()
  rmSync(folder, { recursive: true, force: true })
})

interface Settings {
  readonly format?: 'json' | 'avro'
  readonly url?: string
  readonly username?: string
  readonly password_file?: string
}

/** A server whose policy has a number, too, on the topics and the registry. */
function startReading(t: Test, topics: Topics, settings: Settings = {}): Promise<Rig> {
  const { format = 'avro', url = registry.url, ...credentials } = settings
  return startPlain(t, topics, {
    edit({ process: { kafka }, policy }) {
      policy.schema.fields = [...policy.schema.fields, { name: 'distance_km', type: 'number' }]
      kafka.decisions_format = format
      kafka.registry = { url, subjects: SUBJECTS, ...credentials }
    },
  })
}

const failures = (rig: Rig): unknown[] =>
  rig.events.flatMap(({ name, fields }) => (name === 'KafkaFailed' ? [(fields.error as { code?: string }).code] : []))

let seed = 0
function transaction(): Record<string, unknown> {
  const simulator = createSimulator({
    ...{ seed: ++seed, customers: 4, terminals: 6, startMs: Date.now() - 60 * 86_400_000, idPrefix: `a${seed}-` },
  })
  return { ...simulator.next().wire }
}

/** Fields that the policy requires, and one that it has. */
const BASE = {
  ...{ transaction_id: 'string', occurred_at: 'string', amount_minor: 'long', currency: 'string' },
  ...{ customer_id: ['null', 'string'], distance_km: ['null', 'double'] },
}

interface Writer {
  readonly id: number
  /** A value without its frame. */
  bare(value: object): Buffer
  /** Behind the id in four bytes. */
  framed(value: object): Buffer
}

async function writer(fields: object, subject = SUBJECTS.transactions): Promise<Writer> {
  const schema = {
    ...{ type: 'record', name: 'com.acme.Payment' },
    fields: Object.entries(fields).map(([name, type]: [string, unknown]) => ({
      ...{ name, type },
      ...(Array.isArray(type) && { default: null }),
    })),
  }
  const type = avsc.Type.forSchema(schema as unknown as 'string', { registry: {} })
  const id = await registry.register(subject, JSON.stringify(schema))
  const bare = (value: object): Buffer => type.toBuffer(value)
  return { id, bare, framed: (value) => Buffer.concat([idBytes(id), bare(value)]) }
}

function idBytes(id: number): Buffer {
  const bytes = Buffer.alloc(5)
  bytes.writeUInt32BE(id, 1)
  return bytes
}

/** Decisions in Avro as a consumer of its own reads them, by the schema that the registry has. */
async function readDecisions(t: Test, topics: Topics): Promise<{ body: Record<string, unknown>; replayed: boolean }[]> {
  const rows = await topics.read('decisions')
  return Promise.all(
    rows.map(async ({ bytes, headers }) => {
      t.equal(headers['content-type'], 'application/vnd.confluent.avro')
      t.equal(bytes[0], 0)
      const schema = await registry.schemaOf(bytes.readUInt32BE(1))
      const type = avsc.Type.forSchema(JSON.parse(schema) as 'string', { registry: {} })
      const body = type.fromBuffer(bytes.subarray(5)) as Record<string, unknown>
      return { body, replayed: headers.replayed === 'true' }
    }),
  )
}

void t.test('the stream joins once the registry is there, and reads what others write', { skip }, async (t) => {
  const topics = await openTopics(t, 'evolve')
  if (registry.isOwn) {
    const early = await startReading(t, topics)
    await held(() => failures(early).includes('ASSAY_REGISTRY_UNAVAILABLE'), 'a registry that is not there is told of')
    await served(early, transaction())
    await registry.start()
    await held(() => early.events.some(({ name }) => name === 'KafkaJoined'), 'the stream is read')
    await early.remove()
  }
  const same = await writer(BASE)
  const { customer_id: _, ...without } = BASE
  const removed = await writer(without)
  const added = await writer({ ...BASE, channel: 'string', tags: { type: 'array', items: 'string' } })
  const narrow = await writer({ ...BASE, amount_minor: 'int', distance_km: 'float' })
  const wires = Array.from({ length: 6 }, transaction)
  const values = [
    ...[JSON.stringify(wires[0]), same.framed(wires[1]), removed.framed(wires[2])],
    added.framed({ ...wires[3], channel: 'pos', tags: ['a', 'b'] }),
    narrow.framed({ ...wires[4], distance_km: 1.5 }),
  ]
  await topics.produce([
    ...values.map((value) => ({ key: 'k', value })),
    { key: 'k', value: same.bare(wires[5]), headers: { __value_schema_id: idBytes(same.id) } },
  ])
  const rig = await startReading(t, topics)
  await held(async () => (await topics.committed()) === wires.length, 'all are done')
  t.equal(await topics.count('dead'), 0)
  const decisions = await readDecisions(t, topics)
  t.same(
    decisions.map(({ body }) => body.transaction_id),
    wires.map(({ transaction_id: id }) => id),
    'in order',
  )
  for (const { body } of decisions) {
    const { decided_at: at, reasons, fallback, features, ...rest } = body
    const answer = (await rig.get(`/v1/decisions/${String(body.decision_id)}`)).body as Record<string, unknown>
    t.match(answer, rest)
    t.equal(Date.parse(String(answer.decided_at)), at)
    t.equal((answer.reasons as unknown[]).length, (reasons as unknown[]).length)
    t.same([answer.fallback ?? [], answer.features ?? []], [[...(fallback as [])], [...(features as [])]])
  }
  await rig.stop()

  await topics.rewind()
  const other = await startReading(t, topics)
  await held(async () => (await topics.committed()) === wires.length, 'another server is through')
  const all = await topics.read('decisions')
  t.same(
    all.slice(wires.length).map(({ bytes }) => bytes.toString('hex')),
    all.slice(0, wires.length).map(({ bytes }) => bytes.toString('hex')),
    'it reads the decisions back, and sends them again byte for byte',
  )
  t.equal((await other.metric('assay_kafka_messages_total')).get('outcome="taken_over"'), wires.length)
  const [{ body }] = decisions
  t.equal(
    (await other.get(`/v1/decisions?transaction_id=${String(body.transaction_id)}`)).body.decision_id,
    body.decision_id,
  )
})

void t.test('what cannot be read goes to dead letters with its reason', { skip }, async (t) => {
  const topics = await openTopics(t, 'refuse')
  const rig = await startReading(t, topics, { format: 'json' })
  const good = await writer(BASE)
  const elsewhere = await writer({ ...BASE, other: 'int' }, `${run}.elsewhere-value`)
  const { currency: _, ...lacking } = BASE
  const incompatible = await writer(lacking)
  const retyped = await writer({ ...BASE, amount_minor: 'string' })
  const node = { type: 'record', name: 'Node', fields: [{ name: 'next', type: ['null', 'Node'] }] }
  const list = await writer({ ...BASE, list: { type: 'array', items: 'null' }, node })
  const wire = transaction()
  const whole = good.framed(wire)
  const listHead = list.framed({ ...wire, list: [], node: { next: null } }).subarray(0, -2)
  const million = avsc.Type.forSchema('long').toBuffer(10_000_000)
  const guid = Buffer.concat([Buffer.of(1), Buffer.alloc(16, 7), good.bare(wire)])
  const cases: [value: Buffer, code: string, headers?: Record<string, Buffer>][] = [
    [Buffer.concat([Buffer.of(2), whole.subarray(1)]), 'ASSAY_BODY_MALFORMED'],
    [Buffer.concat([idBytes(999_999), good.bare(wire)]), 'ASSAY_SCHEMA_UNKNOWN'],
    [Buffer.concat([idBytes(2 ** 32 - 1), good.bare(wire)]), 'ASSAY_SCHEMA_UNKNOWN'],
    [guid, 'ASSAY_SCHEMA_UNKNOWN'],
    [elsewhere.framed({ ...wire, other: 1 }), 'ASSAY_SUBJECT_REFUSED'],
    [incompatible.framed(wire), 'ASSAY_SCHEMA_INCOMPATIBLE'],
    [retyped.framed({ ...wire, amount_minor: '1' }), 'ASSAY_SCHEMA_INCOMPATIBLE'],
    [whole.subarray(0, 3), 'ASSAY_BODY_MALFORMED'],
    [whole.subarray(0, -1), 'ASSAY_BODY_MALFORMED'],
    [Buffer.concat([listHead, million]), 'ASSAY_BODY_MALFORMED'],
    [Buffer.concat([listHead, Buffer.of(0), Buffer.alloc(30_000, 2), Buffer.of(0)]), 'ASSAY_BODY_MALFORMED'],
    [good.bare(wire), 'ASSAY_HEADER_INVALID', { __value_schema_id: Buffer.from(String(good.id)) }],
    [good.framed({ ...wire, amount_minor: -1 }), 'ASSAY_SCHEMA_INVALID'],
  ]
  await topics.produce([
    ...cases.map(([value, , headers = {}]) => ({ key: 'k', value, headers })),
    { key: 'k', value: whole },
  ])
  await held(async () => (await topics.committed()) === cases.length + 1, 'all are done')
  const dead = await topics.read('dead')
  t.same(
    dead.map(({ headers }) => headers['assay-error-code']),
    cases.map(([, code]) => code),
  )
  t.same(
    dead.map(({ bytes }) => bytes.toString('hex')),
    cases.map(([value]) => value.toString('hex')),
    'bytes as they came',
  )
  t.equal(dead[11].headers['assay-error-path'], '/headers/__value_schema_id')
  t.equal(dead[12].headers['assay-error-path'], '/amount_minor')
  t.match(JSON.parse((await topics.read('decisions'))[0].value), { transaction_id: wire.transaction_id })
  t.match(
    rig.events.filter(({ name }) => name === 'SchemaRefused').map(({ fields }) => fields.code),
    ['ASSAY_SCHEMA_UNKNOWN', 'ASSAY_SCHEMA_UNKNOWN', 'ASSAY_SCHEMA_UNKNOWN', 'ASSAY_SUBJECT_REFUSED'],
  )
})

void t.test('a GUID names a schema, too; each is asked for once, with the password', { skip }, async (t) => {
  const topics = await openTopics(t, 'guid')
  const named = await writer({ ...BASE, by_guid: 'int' })
  const guid = '89791762-2336-4186-9674-299b90a802e2'
  const relay = await startRelay(registry.url, new Map([[guid, named.id]]), 'secret')
  t.teardown(() => relay.close())
  const file = join(folder, 'password')
  writeFileSync(file, 'wrong\n')
  const settings: Settings = { format: 'json', url: relay.url, username: 'assay', password_file: file }
  const refused = await startReading(t, topics, settings)
  await held(() => failures(refused).includes('ASSAY_REGISTRY_REFUSED'), 'another password is refused')
  t.notMatch(JSON.stringify(refused.events), /wrong/)
  await refused.remove()
  writeFileSync(file, 'secret\n')
  await startReading(t, topics, settings)
  const prefix = Buffer.from(`01${guid.replaceAll('-', '')}`, 'hex')
  const wires = Array.from({ length: 40 }, transaction)
  const bytes = wires.map((wire) => named.bare({ ...wire, by_guid: 1 }))
  await topics.produce([
    ...bytes.slice(1).map((value) => ({ key: 'k', value: Buffer.concat([prefix, value]) })),
    { key: 'k', value: bytes[0], headers: { __value_schema_id: prefix } },
  ])
  await held(async () => (await topics.committed()) === wires.length, 'all are done')
  t.same([await topics.count('decisions'), await topics.count('dead')], [wires.length, 0])
  t.equal(relay.asked.filter((path) => path === `/schemas/guids/${guid}`).length, 1)
})

void t.test('while the registry is gone known schemas go on, and another waits for it', { skip }, async (t) => {
  if (!registry.isOwn) return
  const topics = await openTopics(t, 'gone')
  const rig = await startReading(t, topics)
  const known = await writer(BASE)
  const unseen = await writer({ ...BASE, unseen: 'int' })
  const another = await writer({ ...BASE, another: 'int' })
  const wires = Array.from({ length: 6 }, transaction)
  await topics.produce([{ key: 'k', value: known.framed(wires[0]) }])
  await held(async () => (await topics.committed()) === 1, 'the schema is known')
  registry.pause()
  await topics.produce([
    { key: 'k', value: known.framed(wires[1]) },
    { key: 'k', value: unseen.framed({ ...wires[2], unseen: 1 }) },
    { key: 'k', value: known.framed(wires[3]) },
  ])
  await held(() => failures(rig).includes('ASSAY_REGISTRY_UNAVAILABLE'), 'one that does not answer is told of')
  await held(async () => (await topics.committed()) === 2, 'what comes before is decided')
  t.same([await topics.count('decisions'), await topics.count('dead')], [2, 0], 'and nothing behind it')
  registry.resume()
  await held(async () => (await topics.committed()) === 4, 'it is decided once the registry answers')

  await registry.kill()
  const before = failures(rig).length
  await topics.produce([
    { key: 'k', value: known.framed(wires[4]) },
    { key: 'k', value: another.framed({ ...wires[5], another: 1 }) },
  ])
  await held(async () => (await topics.committed()) === 5, 'a known one is decided without a registry')
  await held(() => failures(rig).length > before + 1, 'the other is asked for again and again')
  t.equal(await topics.count('dead'), 0)
  const bodies = (await topics.read('decisions')).map(({ bytes }) => bytes.toString('latin1'))
  t.ok(
    bodies.every((body, at) => body.includes(String(wires[at].transaction_id))),
    'in order',
  )
  await rig.stop()
})
