// Dead letters as an operator works with them, over a real broker and the real command line: listed, shown, sent again
// once what was wrong is mended. Skipped, loudly, without Java and Maven; under CI that fails.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { type Admin, Kafka, logLevel } from 'kafkajs'
import t, { type Test } from 'tap'
import { KAFKA_DEFAULTS } from '../../src/contract/kafka.js'
import { AssayError } from '../../src/errors.js'
import { LIMITS } from '../../src/limits.js'
import { dlqCommand } from '../../src/scoring/transport/kafka/dlq-command.js'
import { openLetterBox } from '../../src/scoring/transport/kafka/letter-box.js'
import { createSimulator } from '../../src/simulate/generator.js'
import type { Edit } from '../flow/server-rig.js'
import { streamEnv } from './fault-run.js'
import { held, kafkaRig } from './rig.js'
import { connectTopics, type Read, type Topics } from './topics.js'

const CLI = join(import.meta.dirname, '../../src/cli.js')
const CARD = '4111111111111111'
const { skip, openTopics, startReading, address, ownBroker } = kafkaRig()

interface Ended {
  readonly code: number | null
  readonly out: string
  readonly err: string
}

/** Waits until so many letters are held, and nothing is left to do. */
async function heldLetters(topics: Topics, count: number): Promise<void> {
  await held(async () => (await topics.count('dead')) === count, `${count} letters are held`)
  await held(async () => (await topics.committed()) === (await topics.count('transactions')), 'all are done')
}

const envOf = (topics: Topics, more: Record<string, string>): NodeJS.ProcessEnv => ({
  ...{ ...process.env, ASSAY_CONFIG: '', ...streamEnv(topics, topics), ...more },
})

/** Runs `assay dlq …` here: a process for each would take most of the time of this file. */
async function dlq(topics: Topics, args: readonly string[], more: Record<string, string> = {}): Promise<Ended> {
  let text = ''
  const out = (part: string): void => void (text += part)
  try {
    return { code: await dlqCommand(args, { env: envOf(topics, more), out }), out: text, err: '' }
  } catch (error) {
    if (!(error instanceof AssayError)) throw error
    return { code: error.code === 'ASSAY_USAGE' ? 2 : 1, out: text, err: `${error.code}: ${error.message}\n` }
  }
}

/** Runs `assay dlq …` as an operator does. */
async function dlqProcess(topics: Topics, args: readonly string[]): Promise<Ended> {
  const child = spawn(process.execPath, [CLI, 'dlq', ...args], { env: envOf(topics, {}) })
  const [out, err] = [child.stdout, child.stderr].map((stream) => {
    const chunks: Buffer[] = []
    stream.on('data', (chunk: Buffer) => chunks.push(chunk))
    return chunks
  })
  const [code] = (await once(child, 'close')) as [number | null]
  return { code, out: Buffer.concat(out).toString(), err: Buffer.concat(err).toString() }
}

interface Listed {
  readonly count: number
  readonly codes: Record<string, number>
  readonly letters: Record<string, unknown>[]
}

async function listed(topics: Topics, args: readonly string[] = []): Promise<Listed> {
  return JSON.parse((await dlq(topics, ['list', '--json', ...args])).out) as Listed
}

async function connectAdmin(t: Test): Promise<Admin> {
  const admin = new Kafka({ brokers: [address()], logLevel: logLevel.NOTHING }).admin()
  await admin.connect()
  t.teardown(() => admin.disconnect())
  return admin
}

/** One line that begins with the code, and no stack. */
const coded = (code: string): RegExp => new RegExp(`^${code}: [^\\n]+\\n$`)

function transactions(name: string, count: number): Record<string, unknown>[] {
  const simulator = createSimulator({
    ...{ seed: 9, customers: 9, terminals: 9, startMs: Date.now() - 60 * 86_400_000, idPrefix: `${name}-` },
  })
  return Array.from({ length: count }, () => ({ ...simulator.next().wire }))
}

const placeOf = ({ partition, offset }: Read): string => `${partition}:${offset}`

/** The place of the letter of the message under that key; of several the newest. */
async function placeBy(topics: Topics, key: string): Promise<string> {
  const letter = (await topics.read('dead')).filter((each) => each.key === key).at(-1)
  if (letter === undefined) throw new Error(`no letter has the key ${key}`)
  return placeOf(letter)
}

const decidedIds = async (topics: Topics): Promise<unknown[]> =>
  (await topics.read('decisions')).map(({ value }) => (JSON.parse(value) as { transaction_id: string }).transaction_id)

void t.test('letters are listed, shown, mended and sent again', { skip }, async (t) => {
  const topics = await openTopics(t, 'letters', 2)
  const [good, foreign, seen, card, bad] = transactions('letters', 5)
  await topics.produce([
    { key: 'key-text', value: 'not \u001b[31mJSON', partition: 0 },
    { key: 'key-null', value: null, partition: 0 },
    { key: 'key-card', value: JSON.stringify({ ...card, note: CARD }), partition: 1 },
    { key: 'key-bad', value: JSON.stringify({ ...bad, amount_minor: -1 }), partition: 1 },
    { key: 'key-mode', value: JSON.stringify(good), headers: { 'assay-mode': 'guess' }, partition: 1 },
    { key: 'key-foreign', value: JSON.stringify({ ...foreign, currency: 'XOF' }), partition: 0 },
    { key: 'key-bytes', value: Buffer.from([0xff, 0xfe, 0x00]), partition: 0 },
    { key: 'key-long', value: 'x'.repeat(LIMITS.kafkaSendBytesMax), partition: 0 },
  ])
  const observed = { key: 'key-seen', value: JSON.stringify({ ...seen, currency: 'XOF' }), partition: 1 }
  await topics.produce([{ ...observed, headers: { 'assay-mode': 'observe' } }])
  // What one message may be long is judged by the broker after compression.
  const huge = { key: 'key-huge', value: 'y'.repeat(LIMITS.bodyBytesMax + 1), partition: 0 }
  await topics.produce([huge], { gzip: true })
  let rig = await startReading(t, topics)
  await heldLetters(topics, 10)

  await t.test('a listing holds places and reasons, and neither keys nor values', async (t) => {
    const all = await listed(topics)
    t.equal(all.count, 10)
    t.match(all.codes, {
      ASSAY_BODY_MALFORMED: 4,
      ASSAY_SCHEMA_INVALID: /^[12]$/,
      ASSAY_HEADER_INVALID: 1,
      ASSAY_CURRENCY_UNLISTED: 2,
      ASSAY_BODY_TOO_LARGE: 1,
    })
    const times = all.letters.map(({ time }) => String(time))
    t.same(times, [...times].sort().reverse(), 'the newest first')
    const byOrigin = (partition: number, offset: number): unknown =>
      all.letters.find((letter) => letter.partition === partition && letter.offset === offset)
    const { transactions: topic } = topics.names
    t.match(byOrigin(1, 1), { topic, code: 'ASSAY_SCHEMA_INVALID', path: '/amount_minor', attempt: 1, key: 'present' })
    t.match(byOrigin(1, 0), { bytes: Number, key: 'left out', left_out: 'card-data' })
    t.match(byOrigin(0, 4), { bytes: LIMITS.kafkaSendBytesMax, left_out: 'size' })
    t.match(byOrigin(0, 5), { code: 'ASSAY_BODY_TOO_LARGE', bytes: LIMITS.bodyBytesMax + 1, left_out: 'size' })
    t.match(byOrigin(0, 1), { bytes: null, left_out: null })
    const text = await dlqProcess(topics, ['list'])
    t.match(text, {
      code: 0,
      err: '',
      out: new RegExp(`10 of 10 dead letters in ${topics.names.dead}, newest first\n {2}4 ASSAY_BODY_MA`),
    })
    t.notMatch(`${JSON.stringify(all)}${text.out}`, /key-|JSON|letters-\d|4111/)
    t.equal((await listed(topics, ['--partition', '1'])).count, 4)
    t.equal((await listed(topics, ['--code', 'ASSAY_CURRENCY_UNLISTED', '--limit', '1'])).letters.length, 1)
    t.equal((await listed(topics, ['--since', new Date(Date.now() + 60_000).toISOString()])).count, 0)
  })

  await t.test('one letter is shown with its bytes, or says why it has none', async (t) => {
    const shown = async (key: string): Promise<Record<string, unknown>> =>
      JSON.parse((await dlq(topics, ['show', await placeBy(topics, key), '--json'])).out) as Record<string, unknown>
    t.match(await shown('key-bytes'), {
      value: { encoding: 'base64', data: '//4A', cut: 0 },
      key: { data: 'key-bytes' },
    })
    t.match(await shown('key-text'), { value: { encoding: 'utf8', data: 'not \u001b[31mJSON' } })
    const text = await dlq(topics, ['show', await placeBy(topics, 'key-text')])
    t.match(text, {
      code: 0,
      out: /assay-error-code: ASSAY_BODY_MALFORMED\n[^]*value \(utf8\)\nnot \\u\{1b\}\[31mJSON\n$/,
    })
    t.match(await dlq(topics, ['show', await placeBy(topics, 'key-null')]), {
      out: /no value: it came without a value\n/,
    })
    const bare = (await topics.read('dead')).filter(({ headers }) => headers['assay-left-out'] !== undefined)
    const whys = await Promise.all(bare.map(async (letter) => (await dlq(topics, ['show', placeOf(letter)])).out))
    t.match(whys.join(''), /no value: its bytes held card data/)
    t.match(whys.join(''), /no value: its bytes were too many/)
  })

  await t.test('a letter is decided once what was wrong is gone', async (t) => {
    const place = await placeBy(topics, 'key-mode')
    const before = await topics.count('transactions')
    t.match(await dlq(topics, ['replay', place, '--dry-run']), {
      code: 0,
      out: /would go to .*\n1 of 1 would be sent\n$/,
    })
    t.equal(await topics.count('transactions'), before, 'a dry run sends nothing')
    t.match(await dlq(topics, ['replay', place, place]), {
      code: 0,
      out: new RegExp(`sent to ${topics.names.transactions} 1:\\d+\n1 of 1 sent`),
    })
    await held(async () => (await decidedIds(topics)).includes(good.transaction_id), 'it is decided')
    const sent = (await topics.read('transactions')).filter(({ key }) => key === 'key-mode')
    const [partition, offset] = place.split(':')
    t.match(sent.at(-1), {
      value: JSON.stringify(good),
      partition: 1,
      headers: { 'assay-replay-of': `${topics.names.dead}/${partition}/${offset}`, 'assay-attempt': '1' },
    })
    t.equal(sent.at(-1)?.headers['assay-mode'], undefined)
  })

  await t.test('a second failure counts the attempt, and by code only the newer letter goes', async (t) => {
    const first = await placeBy(topics, 'key-bad')
    t.match(await dlq(topics, ['replay', first]), { code: 0 })
    await held(async () => (await placeBy(topics, 'key-bad')) !== first, 'it comes back')
    const [letter] = (await listed(topics, ['--code', 'ASSAY_SCHEMA_INVALID'])).letters
    t.match(letter, { attempt: 2, replay_of: `${topics.names.dead}/${first.replace(':', '/')}` })
    const dry = await dlq(topics, ['replay', '--code', 'ASSAY_SCHEMA_INVALID', '--dry-run'])
    t.match(dry.out, /1 were sent before and came back/)
    t.match(dry.out, new RegExp(`^${String(letter.place)} .* would go to`, 'm'))
    t.notMatch(dry.out, new RegExp(`^${first} `, 'm'))
  })

  await t.test('what has no bytes cannot be sent again, and is named; the rest goes', async (t) => {
    const bare = (await topics.read('dead')).filter(({ headers }) => headers['assay-left-out'] !== undefined)
    const places = [...bare.map(placeOf), await placeBy(topics, 'key-text')]
    const before = await topics.count('transactions')
    const { code, out, err } = await dlq(topics, ['replay', ...places])
    t.equal(code, 1)
    t.match(err, coded('ASSAY_REPLAY_INCOMPLETE'))
    t.match(err, /3 of 4 not sent/)
    for (const place of bare.map(placeOf)) t.match(out, new RegExp(`^${place} .* not sent: its bytes `, 'm'))
    t.equal(await topics.count('transactions'), before + 1)
    const everything = JSON.stringify([await topics.read('dead'), await topics.read('decisions'), out, err])
    t.notMatch(everything, new RegExp(CARD))
  })

  await t.test('a changed policy takes what it refused; what was observed is observed', async (t) => {
    await rig.stop()
    const { dataDir } = rig
    const edit: Edit = ({ policy }) => void (policy.currencies.list.XOF = { exponent: 0, rate: 0.0015 })
    rig = await startReading(t, topics, { dataDir, edit })
    const before = await topics.count('decisions')
    const until = new Date(Date.now() + 60_000).toISOString()
    const replayed = await dlq(topics, ['replay', '--code', 'ASSAY_CURRENCY_UNLISTED', '--until', until])
    t.match(replayed, { code: 0, out: /\n2 of 2 sent\n$/ })
    await held(async () => (await topics.committed()) === (await topics.count('transactions')), 'both are done')
    t.ok((await decidedIds(topics)).includes(foreign.transaction_id))
    t.equal(await topics.count('decisions'), before + 1, 'an observed one has no decision')
    t.equal((await listed(topics, ['--code', 'ASSAY_CURRENCY_UNLISTED'])).count, 2, 'none came back')
  })

  await t.test('what cannot be is one line with its code', async (t) => {
    const nowhere = { ASSAY_PROCESS__KAFKA__TOPICS__DEAD_LETTERS: 'nowhere' }
    const cases: [string[], string, Record<string, string>?][] = [
      [['show', '0:99999'], 'ASSAY_LETTER_UNKNOWN'],
      [['show', '99:0'], 'ASSAY_LETTER_UNKNOWN'],
      [['replay', '0:0', '0:99999'], 'ASSAY_LETTER_UNKNOWN'],
      [['list', '--partition', '99'], 'ASSAY_LETTER_UNKNOWN'],
      [['list'], 'ASSAY_TOPIC_REFUSED', nowhere],
      [['list'], 'ASSAY_KAFKA_UNAVAILABLE', { ASSAY_PROCESS__KAFKA__BROKERS: '[127.0.0.1:1]' }],
      [['list'], 'ASSAY_CONFIG_INVALID', { ASSAY_PROCESS__KAFKA__BROKERS: '[]' }],
    ]
    const before = await topics.count('transactions')
    for (const [args, code, more] of cases)
      t.match(await dlq(topics, args, more), { code: 1, out: '', err: coded(code) }, `${args.join(' ')}: ${code}`)
    t.match(await dlqProcess(topics, ['show', '0:99999']), { code: 1, out: '', err: coded('ASSAY_LETTER_UNKNOWN') })
    t.equal(await topics.count('transactions'), before, 'nothing was sent')
    for (const args of [[], ['show'], ['list', '0:1'], ['replay', '0:1', '--code', 'ASSAY_SCHEMA_INVALID']])
      t.match(await dlq(topics, args), { code: 2, out: '', err: coded('ASSAY_USAGE') }, args.join(' '))
  })
})

void t.test('where the brokers refuse some, it is said which went out', { skip }, async (t) => {
  const topics = await openTopics(t, 'partial', 3)
  await topics.produce([
    { key: 'a', value: 'short', partition: 0 },
    { key: 'b', value: 'x'.repeat(50_000), partition: 1 },
    { key: 'c', value: 'short', partition: 2 },
  ])
  const rig = await startReading(t, topics)
  await heldLetters(topics, 3)
  await rig.stop()
  const admin = await connectAdmin(t)
  // ConfigResourceTypes.TOPIC is 2.
  const configEntries = [{ name: 'max.message.bytes', value: '10000' }]
  await admin.alterConfigs({
    validateOnly: false,
    resources: [{ type: 2, name: topics.names.transactions, configEntries }],
  })
  const { code, out, err } = await dlq(topics, ['replay', '--code', 'ASSAY_BODY_MALFORMED'])
  t.equal(code, 1)
  const lines = ['0:0 .* sent to .* 0:1', '1:0 .* not known: .*', '2:0 .* not sent: .*', '1 of 3 sent', '']
  t.match(out, new RegExp(`^${lines.join('\n')}$`))
  t.match(err, coded('ASSAY_REPLAY_INCOMPLETE'))
  t.match(err, /2 of 3 not sent: 1:0 2:0: /)
  t.same([...(await topics.ends('transactions')).values()].sort(), [1, 1, 2])
})

void t.test('what somebody else wrote among the letters is neither trusted nor shown', { skip }, async (t) => {
  const topics = await openTopics(t, 'others', 1)
  const producer = new Kafka({ brokers: [address()], logLevel: logLevel.NOTHING }).producer()
  await producer.connect()
  t.teardown(() => producer.disconnect())
  const from = { 'assay-topic': topics.names.transactions, 'assay-partition': '0', 'assay-offset': '0' }
  const letters = [
    { value: CARD, headers: {} },
    { value: 'of another', headers: { ...from, 'assay-topic': 'other', 'assay-error-path': '/a\n0:9 \u001b[2J' } },
    { value: `pan ${CARD}`, headers: { ...from, 'assay-error-code': CARD, 'assay-attempt': '99999999' } },
    { value: 'of nowhere', headers: { ...from, 'assay-partition': '7' } },
  ]
  await producer.send({ topic: topics.names.dead, messages: letters })
  const { code, out } = await dlq(topics, ['list'])
  t.equal(code, 0)
  t.equal(out.split('\n').filter((line) => line.startsWith('0:')).length, letters.length, 'one line each')
  const shown = await Promise.all(letters.map(async (_, at) => (await dlq(topics, ['show', `0:${at}`])).out))
  t.match(shown[0], /value \[removed: card data\]\n$/)
  const replayed = await dlq(topics, ['replay', '0:0', '0:1', '0:2', '0:3'])
  t.match(replayed, { code: 1, err: /4 of 4 not sent/ })
  const whys = ['it does not say where', 'it came from other, not', 'it came from partition 7', 'it holds card data']
  t.match(replayed.out.split('\n'), [...whys.map((why) => new RegExp(`not sent: ${why}`)), '0 of 4 sent', ''])
  t.equal(await topics.count('transactions'), 0)
  t.notMatch(`${out}${shown.join('')}${replayed.out}${replayed.err}`, /4111|\u001b/)

  const { transactions, decisions, dead, group } = topics.names
  const config = {
    ...{ ...KAFKA_DEFAULTS, brokers: [address()], group_id: group },
    topics: { transactions, decisions, dead_letters: dead, labels: null },
  }
  const box = await openLetterBox(config, { ...LIMITS, kafkaLettersMax: 3 })
  const { letters: newest, older } = await box.summaries(null)
  await box.close()
  t.same(
    [newest.map(({ place }) => place.offset), older],
    [[1, 2, 3], 1],
    'the newest are looked at, the rest is counted',
  )
  const broker = ownBroker()
  if (broker === null) return
  broker.pause()
  t.teardown(() => broker.resume())
  await t.rejects(openLetterBox(config, { ...LIMITS, kafkaAnswerMsMax: 500 }), { code: 'ASSAY_KAFKA_UNAVAILABLE' })
})

void t.test('a wave raises one alert, and a partition that waits is seen', { skip }, async (t) => {
  const topics = await openTopics(t, 'wave', 1)
  const limits = { kafkaDeadWaveMin: 5, kafkaStalledMs: 1_000 }
  const rig = await startReading(t, topics, { limits })
  const poison = Array.from({ length: 30 }, (_, at) => ({ key: `k${at}`, value: 'no' }))
  const ofName = (name: string) => rig.events.filter((event) => event.name === name)
  await held(() => ofName('KafkaJoined').length > 0, 'it joins')
  for (let at = 0; at < 3; at++) await topics.produce(poison)
  await heldLetters(topics, 90)
  t.match(ofName('KafkaDeadLetterWave'), [
    { fields: { share: 1, newest: new RegExp(`^${topics.names.dead} 0:\\d+$`), codes: [/_MALFORMED \d+$/] } },
  ])
  t.equal((await rig.metric('assay_kafka_dead_letter_wave')).get(''), 1)
  const stalled = async (): Promise<number | undefined> =>
    (await rig.metric('assay_kafka_stalled')).get(`topic="${topics.names.transactions}",partition="0"`)
  t.equal(await stalled(), 0)

  const admin = await connectAdmin(t)
  await admin.deleteTopics({ topics: [topics.names.dead] })
  // A client that has asked for a topic fails once it is gone.
  const anew = await connectTopics(address(), topics.name)
  t.teardown(() => anew.close())
  await anew.produce([{ key: 'late', value: 'no' }])
  await held(async () => (await stalled()) === 1, 'dead letters cannot be written')
  t.equal(await anew.committed(), 90, 'nothing is passed over')
  await admin.createTopics({ topics: [{ topic: topics.names.dead, numPartitions: 1 }] })
  await held(async () => (await anew.committed()) === 91, 'it goes on')
  t.equal(await stalled(), 0)
  t.same(
    (await anew.read('dead')).map(({ key }) => key),
    ['late'],
  )

  const broker = ownBroker()
  if (broker === null) return
  await broker.kill()
  await held(async () => (await stalled()) === 1, 'brokers that are gone')
  await broker.restart()
  await held(() => ofName('KafkaJoined').length > 1, 'it joins again')
  t.not(await stalled(), 1)
})
