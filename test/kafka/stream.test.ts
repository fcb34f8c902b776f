// Transactions in, decisions out, over a real broker: the same decisions as over HTTP, in the partition and under the
// key of their transaction, each once in effect. Skipped, loudly, without Java and Maven; under CI that fails.
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { startServer } from '../../bench/server.js'
import { decisionId } from '../../src/contract/decision.js'
import { TINY } from '../../src/limits.js'
import { createRecall } from '../../src/scoring/recall.js'
import { verifyReplay } from '../../src/scoring/verify-replay.js'
import { readLog, startRig } from '../flow/server-rig.js'
import { QUICK_SERVE } from '../flow/quick.js'
import { streamEnv } from './fault-run.js'
import { held, kafkaRig, message, served, transactions } from './rig.js'

const { skip, openTopics, startReading } = kafkaRig()

void t.test(
  'what is produced is decided, in its partition, in order, and logged with its source',
  { skip },
  async (t) => {
    const topics = await openTopics(t, 'plain')
    const sent = transactions(1, 400)
    await topics.produce(sent.map(message))
    const rig = await startReading(t, topics, { allModels: true })
    await held(async () => (await topics.count('decisions')) === sent.length, 'all are decided')

    const inputs = await topics.read('transactions')
    const outputs = await topics.read('decisions')
    const idOf = (text: string): unknown => (JSON.parse(text) as { transaction_id: unknown }).transaction_id
    const rows = (list: typeof inputs): unknown[] =>
      list.map(({ partition, key, value }) => [partition, key, idOf(value)])
    t.same(rows(outputs), rows(inputs), 'partition, key and order of each are those of its transaction')
    t.ok(new Set(outputs.map(({ partition }) => partition)).size > 1, 'several partitions took part')
    t.ok(outputs.every(({ headers }) => headers.replayed === undefined))

    const one = JSON.parse(outputs[0].value) as { decision_id: string; logged: string }
    t.equal(one.logged, 'synced', 'the decision was durable before it was sent')
    t.match((await rig.get(`/v1/decisions/${one.decision_id}`)).body, { decision_id: one.decision_id })
    await held(async () => (await topics.committed()) === sent.length, 'positions are committed')
    t.equal((await rig.metric('assay_kafka_messages_total')).get('outcome="decided"'), sent.length)
    t.ok([...(await rig.metric('assay_kafka_lag')).values()].every((lag) => lag === 0))
    await rig.stop()
    const { decisions } = await readLog(rig.logDir)
    t.equal(decisions.length, sent.length)
    const sources = new Set(
      decisions.map(({ personal: { source } }) => `${source?.topic} ${source?.partition} ${source?.offset}`),
    )
    t.same(
      sources,
      new Set(inputs.map(({ partition, offset }) => `${topics.names.transactions} ${partition} ${offset}`)),
    )
  },
)

void t.test('what comes again is answered by its first decision, and counted nowhere again', { skip }, async (t) => {
  const topics = await openTopics(t, 'again')
  const sent = transactions(2, 200)
  await topics.produce(sent.map(message))
  const first = await startReading(t, topics)
  await held(async () => (await topics.committed()) === sent.length, 'all are done')
  await first.stop()
  await topics.rewind()
  const second = await startReading(t, topics, { dataDir: first.dataDir })
  await held(async () => (await topics.count('decisions')) === 2 * sent.length, 'all come again')
  const outputs = await topics.read('decisions')
  const bodies = new Map<string, Set<string>>()
  for (const { value } of outputs) {
    const { transaction_id: id, decision_id: decision } = JSON.parse(value) as Record<string, string>
    bodies.set(id, (bodies.get(id) ?? new Set()).add(decision))
  }
  t.equal(bodies.size, sent.length)
  t.ok(
    [...bodies.values()].every((decisions) => decisions.size === 1),
    'one distinct decision each',
  )
  t.equal(outputs.filter(({ headers }) => headers.replayed === 'true').length, sent.length)
  await second.stop()
  t.equal((await readLog(second.logDir)).decisions.length, sent.length)
})

void t.test(
  'what another server has decided is taken over, and its own second decision is superseded',
  { skip },
  async (t) => {
    const topics = await openTopics(t, 'moved', 1)
    const sent = transactions(6, 20)
    await topics.produce(sent.map(message))
    const former = await startReading(t, topics)
    await held(async () => (await topics.committed()) === sent.length, 'the former owner decides all')
    await former.stop()
    const decided = (await topics.read('decisions')).map(({ value }) => JSON.parse(value) as Record<string, string>)

    const alone = await startRig()
    t.teardown(() => alone.remove())
    const own = (await alone.score(sent[3])).body as Record<string, string>
    await alone.stop()
    await topics.rewind()
    let owner = await startReading(t, topics, { dataDir: alone.dataDir })
    await held(async () => (await topics.committed()) === sent.length, 'the new owner is through')
    const outputs = await topics.read('decisions')
    const replayed = outputs.slice(sent.length)
    t.same(
      replayed.map(({ value }) => (JSON.parse(value) as Record<string, string>).decision_id),
      decided.map(({ decision_id: id }) => id),
      'nothing is decided again',
    )
    t.ok(replayed.every(({ headers }) => headers.replayed === 'true'))
    t.equal((await owner.metric('assay_kafka_messages_total')).get('outcome="taken_over"'), sent.length - 1)
    t.equal((await owner.metric('assay_kafka_superseded_total')).get(''), 1)
    const answered = (id: string) => owner.get(`/v1/decisions?transaction_id=${id}`)
    t.same((await answered(sent[5].transaction_id)).body, decided[5], 'it answers as the former owner did')
    const repeat = async (): Promise<boolean> => (await owner.score(sent[5])).text === JSON.stringify(decided[5])
    await held(repeat, 'a repeat over HTTP, too')
    await owner.stop()
    const { decisions, superseded } = await readLog(owner.logDir)
    t.same(
      decisions.map(({ personal }) => personal.transaction.transactionId).sort(),
      sent.map(({ transaction_id: id }) => id).sort(),
      'each was folded once',
    )
    t.match(superseded, [{ supersededEpoch: 1, reason: new RegExp(decided[3].decision_id) }])
    t.not(own.decision_id, decided[3].decision_id)
    owner = await startReading(t, topics, { dataDir: alone.dataDir })
    t.same((await answered(sent[5].transaction_id)).body, decided[5], 'after a restart, too')
  },
)

void t.test('what nobody can decide goes to dead letters with its reason, and blocks nobody', { skip }, async (t) => {
  const topics = await openTopics(t, 'dead', 1)
  const [good, second] = transactions(3, 2)
  const card = JSON.stringify({ ...good, transaction_id: 'card-1', note: '4111 1111 1111 1111' })
  await topics.produce([
    { key: 'a', value: 'not JSON' },
    { key: 'b', value: null },
    { key: 'c', value: card },
    { key: 'd', value: JSON.stringify({ ...good, amount: -1 }) },
    { key: 'e', value: JSON.stringify(good), headers: { 'assay-mode': 'guess' } },
    { key: 'f', value: 'pan=4111111111111111' },
    { key: 'g', value: JSON.stringify(good), headers: { traceparent: `00-${'a'.repeat(32)}-${'b'.repeat(16)}-01` } },
    { key: 'h', value: JSON.stringify(second), headers: { 'assay-mode': 'observe' } },
  ])
  const rig = await startReading(t, topics)
  await held(async () => (await topics.committed()) === 8, 'all are done')
  const dead = await topics.read('dead')
  t.match(
    dead.map(({ key, value, headers }) => [key, value, headers['assay-error-code'], headers['assay-offset']]),
    [
      ['a', 'not JSON', 'ASSAY_BODY_MALFORMED', '0'],
      ['b', '', 'ASSAY_BODY_MALFORMED', '1'],
      [null, '', /ASSAY_/, '2'],
      ['d', /"amount":-1/, 'ASSAY_SCHEMA_INVALID', '3'],
      ['e', /transaction_id/, 'ASSAY_HEADER_INVALID', '4'],
      [null, '', 'ASSAY_BODY_MALFORMED', '5'],
    ],
    'bytes as they came, but for card data',
  )
  t.match(dead[3].headers, {
    'assay-error-path': '/amount',
    'assay-topic': topics.names.transactions,
    'assay-partition': '0',
    'assay-time': /Z$/,
    'assay-attempt': '1',
  })
  t.notMatch(JSON.stringify(dead), /4111/)
  const decided = await topics.read('decisions')
  t.equal(decided.length, 1, 'an observed transaction has no decision')
  t.match(decided[0], { key: 'g', headers: { traceparent: /^00-a{32}/ } })
  const messages = await rig.metric('assay_kafka_messages_total')
  t.same([messages.get('outcome="dead"'), messages.get('outcome="observed"')], [6, 1])
})

void t.test(
  'topics that do not fit are named, requests are served meanwhile, and a mended topic is taken',
  { skip },
  async (t) => {
    const topics = await openTopics(t, 'misfit', 0)
    const rig = await startReading(t, topics)
    const failed = (code: string): boolean =>
      rig.events.some(({ name, fields }) => name === 'KafkaFailed' && (fields.error as { code?: string }).code === code)
    await held(() => failed('ASSAY_TOPIC_REFUSED'), 'a missing topic is refused')
    const nowhere = await startRig({ edit: ({ process }) => void (process.kafka.brokers = ['127.0.0.1:1']) })
    t.teardown(() => nowhere.remove())
    const codes = (): unknown[] =>
      nowhere.events.map(({ fields }) => (fields.error as { code?: string } | undefined)?.code)
    await held(() => codes().includes('ASSAY_KAFKA_UNAVAILABLE'), 'brokers that do not answer')
    const [wire] = transactions(4, 1)
    await served(rig, wire)
    await topics.create(1)
    await held(() => rig.events.some(({ name }) => name === 'KafkaJoined'), 'the stream is read')
  },
)

/** So little is remembered that only the log itself knows most of what was decided. */
const FORGETFUL: Parameters<typeof startReading>[2] = {
  edit: ({ policy }) => void (policy.idempotency.ids_max = 8),
  limits: { kafkaStandingMax: 8, kafkaRowsMax: 4 },
}

void t.test(
  'what comes again after the index forgot it is answered by the log, and never decided again',
  { skip },
  async (t) => {
    const topics = await openTopics(t, 'forgotten', 1)
    const sent = transactions(7, 60)
    const [odd, none] = transactions(8, 2)
    const observed = { ...message(odd), headers: { 'assay-mode': 'observe' } }
    const evaluated = { ...message(odd), headers: { 'assay-mode': 'evaluate' } }
    const first = await startReading(t, topics, FORGETFUL)
    // The repeat is the last: it may have to wait until its first decision is durable.
    await topics.transact([observed, ...sent.slice(0, 30).map(message), message(sent[29])], 'commit')
    await held(async () => (await topics.committed()) === 32, 'the first are done')
    await topics.transact([message(none)], 'abort')
    await topics.transact([{ key: 'x', value: 'not JSON' }, evaluated, ...sent.slice(30).map(message)], 'commit')
    // Beside the messages three markers, and what was aborted.
    const end = 68
    await held(async () => (await topics.committed()) === end - 1, 'all are done')
    t.match((await first.operations('/v1/status')).body.streams, [{ from: 0, bound: end - 1, ranges_above: 0 }])
    await first.stop()
    const before = await topics.read('decisions')
    t.equal(before.length, sent.length + 2, 'the repeat and the evaluation, too')
    const [log, folded] = [await readLog(first.logDir), await verifyReplay(first.logDir)]
    const recall = createRecall({
      directory: first.logDir,
      logId: log.logId,
      logged: 'synced',
      newest: () => 0,
      limits: TINY,
    })
    const [{ personal }] = log.decisions
    const ask = (...offsets: number[]): ReturnType<typeof recall> =>
      recall(offsets.map((offset) => ({ ...personal.source!, offset })))
    const answered = async (...offsets: number[]): Promise<number[]> => {
      let told = await ask(...offsets)
      while (told === null) told = await ask(...offsets)
      return [...told.keys()]
    }
    t.same(await answered(60, 61), [60, 61], 'the log is asked where a place is')
    t.equal(await ask(5), null, 'one before it takes another round, which is given up')
    t.same(await answered(40), [40])
    t.same(await answered(5, 36, 1_000), [5, 36], 'what it does not hold is not made up')
    t.match(folded.decided, [{ topic: topics.names.transactions, from: 0, bound: end - 1, ranges_above: 0 }])

    await topics.rewind()
    const second = await startReading(t, topics, { ...FORGETFUL, dataDir: first.dataDir })
    await held(async () => (await topics.committed()) === end - 1, 'all come again')
    const idsOf = (list: typeof before): unknown[] =>
      list.map(({ value }) => (JSON.parse(value) as { decision_id: string }).decision_id)
    const again = (await topics.read('decisions')).slice(before.length)
    t.same(new Set(idsOf(again)), new Set(idsOf(before)), 'by the same decisions')
    t.ok(again.every(({ headers }) => headers.replayed === 'true'))
    t.equal(again.length, sent.length + 1, 'but for the repeat, which has no decision of its own')
    t.equal(await topics.count('dead'), 1, 'no dead letter is written again')
    const outcomes = await second.metric('assay_kafka_messages_total')
    t.same(
      ['decided', 'dead', 'consumed'].map((outcome) => outcomes.get(`outcome="${outcome}"`)),
      [0, 0, 2],
    )
    t.equal((await second.metric('assay_kafka_missing_total')).get(''), 0)
    await second.stop()
    const [logAfter, foldedAfter] = [await readLog(second.logDir), await verifyReplay(second.logDir)]
    t.same([logAfter.decisions.length, logAfter.consumed.length], [log.decisions.length, log.consumed.length])
    t.same(
      log.consumed.map(({ code }) => code),
      [null, 'ASSAY_BODY_MALFORMED'],
    )
    t.equal(foldedAfter.state, folded.state, 'nothing was folded again')

    await topics.rewind()
    const stranger = await startReading(t, topics, FORGETFUL)
    await held(async () => (await topics.committed()) === end - 1, 'another server is through')
    const anew = (await stranger.metric('assay_kafka_messages_total')).get('outcome="decided"') ?? 0
    t.ok(anew > 0, `one whose log does not hold them has to decide ${anew} again`)
    await stranger.stop()
  },
)

void t.test('a topic that was made again under its name is decided anew', { skip }, async (t) => {
  const topics = await openTopics(t, 'remade', 1)
  const [first, second] = [20, 21].map((seed) => transactions(seed, 12))
  // Shorter than what was read: the client otherwise goes on where it was.
  const third = transactions(22, 5)
  await topics.produce(first.map(message))
  let rig = await startReading(t, topics)
  await held(async () => (await topics.committed()) === 12, 'the first topic is done')
  await rig.stop()
  await topics.remake('transactions', 1)
  await topics.produce(second.map(message))
  rig = await startReading(t, topics, { dataDir: rig.dataDir })
  await held(async () => (await topics.count('decisions')) === 24, 'the second one, too')
  await topics.remake('transactions', 1)
  await topics.produce(third.map(message))
  await held(async () => (await topics.count('decisions')) === 29, 'the third one, made under a server that reads')
  const decided = await topics.read('decisions')
  const idOf = (value: string): string => (JSON.parse(value) as { transaction_id: string }).transaction_id
  t.same(
    decided.map(({ value }) => idOf(value)),
    [...first, ...second, ...third].map(({ transaction_id: id }) => id),
  )
  t.ok(decided.every(({ headers }) => headers.replayed === undefined))
  const streams = (await rig.operations('/v1/status')).body.streams as { topic_id: string; bound: number }[]
  t.same(
    streams.map(({ bound }) => bound),
    [12, 12, 5],
  )
  t.equal(new Set(streams.map(({ topic_id: id }) => id)).size, 3)
})

void t.test('what was logged and not sent when the server was killed goes out, once', { skip }, async (t) => {
  const topics = await openTopics(t, 'unsent', 1)
  const sent = transactions(22, 40)
  await topics.refuse('decisions', true)
  await topics.produce(sent.map(message))
  const dataDir = mkdtempSync(join(tmpdir(), 'assay-unsent-'))
  const env = { ...streamEnv(topics, topics), ASSAY_POLICY__IDEMPOTENCY__IDS_MAX: '8' }
  const killed = await startServer({ dataDir, env, command: QUICK_SERVE })
  const isLogged = async (): Promise<boolean> => {
    const metrics = await (await fetch(`http://127.0.0.1:${killed.operationsPort}/metrics`)).text()
    return metrics.includes(`\nassay_log_appended_total ${sent.length}\n`) && /KafkaFailed/.test(killed.output())
  }
  await held(isLogged, 'all are logged, and cannot be sent')
  await killed.kill()
  t.equal(await topics.count('decisions'), 0)
  await topics.refuse('decisions', false)
  const rig = await startReading(t, topics, { ...FORGETFUL, dataDir })
  await held(async () => (await topics.committed()) === sent.length, 'they are done')
  const outputs = await topics.read('decisions')
  t.ok(outputs.every(({ headers }) => headers.replayed === 'true'))
  await rig.stop()
  const { logId, decisions } = await readLog(rig.logDir)
  // Two models are not equally quick: the log is not quite in the order of the offsets.
  const ids = decisions
    .map(({ facts }) => facts)
    .sort((a, b) => a.ordinal - b.ordinal)
    .map(({ epoch, ordinal, unfolded }) => decisionId(logId, epoch, ordinal, unfolded))
  t.equal(ids.length, sent.length, 'none was decided again')
  t.same(
    outputs.map(({ value }) => (JSON.parse(value) as { decision_id: string }).decision_id),
    ids,
  )
})

void t.test('what was decided and is in the log no longer is passed over, and said', { skip }, async (t) => {
  const topics = await openTopics(t, 'pruned', 1)
  const sent = transactions(23, 300)
  await topics.produce(sent.map(message))
  const limits = { kafkaStandingMax: 1, segmentBytes: TINY.segmentBytes }
  const first = await startReading(t, topics, { ...FORGETFUL, limits })
  await held(async () => (await topics.committed()) === sent.length, 'all are done')
  await first.stop()
  await topics.rewind()
  await topics.remake('dead', 0)
  const second = await startReading(t, topics, { ...FORGETFUL, limits, dataDir: first.dataDir })
  await held(() => second.events.some(({ name }) => name === 'KafkaFailed'), 'it has to wait for a topic')
  const segments = readdirSync(second.logDir)
    .filter((name) => name.endsWith('.segment'))
    .sort()
  rmSync(join(second.logDir, segments[0]))
  await topics.remake('dead', 1)
  await held(async () => (await topics.committed()) === sent.length, 'all come again')
  const missing = (await second.metric('assay_kafka_missing_total')).get('') ?? 0
  t.ok(
    missing > 0 && missing < sent.length,
    `${missing} of ${sent.length} stood in ${segments[0]} of ${segments.length}`,
  )
  t.equal(await topics.count('decisions'), 2 * sent.length - missing)
  const said = second.events.find(({ name }) => name === 'KafkaDecisionMissing')
  t.match(said?.fields, {
    topic: topics.names.transactions,
    partition: 0,
    offset: 0,
    error: { code: 'ASSAY_DECISION_UNKNOWN' },
  })
  await second.stop()
  t.equal((await verifyReplay(second.logDir)).compared, sent.length - missing, 'none was decided again')
})
