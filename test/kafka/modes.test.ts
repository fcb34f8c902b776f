// What is read otherwise than to be decided: history that a new group takes in, transactions that come too late,
// labels. Over a real broker. Skipped, loudly, without Java and Maven; under CI that fails.
import { setTimeout as delay } from 'node:timers/promises'
import t from 'tap'
import { readLog } from '../flow/server-rig.js'
import { held, kafkaRig, message, transactions } from './rig.js'

const { skip, openTopics, startReading } = kafkaRig()

interface Decision {
  readonly transaction_id: string
  readonly features?: readonly string[]
}

void t.test('a new group takes history in as observed, and decides what came after', { skip }, async (t) => {
  const topics = await openTopics(t, 'history', 2)
  const sent = transactions(11, 120)
  const [before, history, after] = [sent.slice(0, 20), sent.slice(20, 100), sent.slice(100)]
  await topics.produce(before.map(message))
  await delay(50)
  const from = new Date().toISOString()
  await delay(50)
  await topics.produce(history.map(message))
  const edit: Parameters<typeof startReading>[2] = {
    edit: ({ process: { kafka } }) => void (kafka.bootstrap_from = from),
  }
  const first = await startReading(t, topics, edit)
  await held(async () => (await topics.committed()) === 100, 'history is taken in')
  t.equal(await topics.count('decisions'), 0, 'nothing of it is decided')
  const outcomes = await first.metric('assay_kafka_messages_total')
  t.same(
    [outcomes.get('outcome="observed"'), outcomes.get('outcome="decided"')],
    [80, 0],
    'from the time on that was given',
  )
  await first.stop()
  await topics.produce(after.map(message))
  const second = await startReading(t, topics, { ...edit, dataDir: first.dataDir })
  await held(async () => (await topics.committed()) === 120, 'all is done')
  const decided = (await topics.read('decisions')).map(({ value }) => JSON.parse(value) as Decision)
  t.same(decided.map(({ transaction_id: id }) => id).sort(), after.map(({ transaction_id: id }) => id).sort())
  await second.stop()
  const { decisions } = await readLog(second.logDir)
  t.equal(decisions.filter(({ facts }) => facts.mode === 'observe').length, 80)
})

void t.test('what comes too late is flagged, or only observed', { skip }, async (t) => {
  for (const whenOlder of ['flag', 'observe'] as const) {
    const topics = await openTopics(t, `late-${whenOlder}`, 1)
    const [old, young] = transactions(12, 2)
    await topics.produce([message(old)])
    await delay(1_500)
    const rig = await startReading(t, topics, {
      edit({ process: { kafka } }) {
        kafka.max_age_ms = 1_000
        kafka.when_older = whenOlder
      },
    })
    await held(async () => (await topics.committed()) === 1, 'the old one is done')
    await topics.produce([message(young)])
    await held(async () => (await topics.committed()) === 2, 'both are done')
    const decided = (await topics.read('decisions')).map(({ value }) => JSON.parse(value) as Decision)
    const flagged = decided.map(({ transaction_id: id, features = [] }) => [id, features.includes('stale')])
    const now = [young.transaction_id, false]
    t.same(flagged, whenOlder === 'flag' ? [[old.transaction_id, true], now] : [now])
    await rig.stop()
  }
})

void t.test('labels are taken as over HTTP; one that nobody can take is a dead letter', { skip }, async (t) => {
  const topics = await openTopics(t, 'labelled', 1)
  const [wire] = transactions(13, 1)
  const labels = await openTopics(t, 'labels', 1)
  const label = {
    transaction_id: wire.transaction_id,
    fraud: true,
    source: 'chargeback',
    known_at: '2026-01-01T00:00:00Z',
  }
  await labels.produce([
    { key: null, value: JSON.stringify(label) },
    { key: null, value: JSON.stringify({ ...label, fraud: 'perhaps' }) },
    { key: null, value: '{' },
    { key: null, value: JSON.stringify({ labels: [label, { ...label, source: 'analyst' }] }) },
  ])
  await topics.produce([message(wire)])
  const rig = await startReading(t, topics, {
    edit: ({ process: { kafka } }) => void (kafka.topics.labels = labels.names.transactions),
  })
  const outcomes = async (): Promise<(number | undefined)[]> => {
    const counted = await rig.metric('assay_kafka_messages_total')
    return ['label', 'dead', 'decided'].map((outcome) => counted.get(`outcome="${outcome}"`))
  }
  await held(async () => String(await outcomes()) === '2,2,1', 'all are done')
  const dead = await topics.read('dead')
  t.match(
    dead.map(({ headers }) => [headers['assay-topic'], headers['assay-offset'], headers['assay-error-code']]),
    [
      [labels.names.transactions, '1', 'ASSAY_SCHEMA_INVALID'],
      [labels.names.transactions, '2', 'ASSAY_BODY_MALFORMED'],
    ],
  )
  await rig.stop()
  t.equal((await readLog(rig.logDir)).labels.length, 3, 'a repeat is logged, and counts once')
})
