// What the sidecar publishes, on a real broker: every event with its headers and an id that stays, masked; after
// kill -9, a restart, a rebuild, an outage, a topic that was missing or not allowed, records taken back.
// One broker for all.
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Kafka, logLevel } from 'kafkajs'
import t, { type Test } from 'tap'
import { CLI } from '../../bench/server.js'
import { loadConfig } from '../../src/config.js'
import { derivingParts, eventsOf } from '../../src/govern-command.js'
import type { GovernDeps } from '../../src/govern.js'
import { openGovernanceApi } from '../../src/governance/api/open.js'
import type { EventKind } from '../../src/governance/publish/cloud-events.js'
import type { Places } from '../../src/governance/publish/event-places.js'
import { freePort } from '../clients/clients.js'
import { child } from '../governance/child.js'
import { folder, type GovernRig, reached, SIDECAR, startSidecar } from '../governance/govern-rig.js'
import { openWriter, type WriterOptions, writeToTakeBack } from '../governance/written-log.js'
import { type Broker, brokerMissing, startBroker } from './broker.js'
import { connectEventTopics, type EventTopics, KINDS } from './event-topics.js'
import { held } from './rig.js'
import type { Read } from './topics.js'

// Jars may have to be fetched.
t.setTimeout(400_000)
const unable = brokerMissing()
if (unable !== null && process.env.CI === 'true') t.fail(`no broker: ${unable}`)
const skip = unable === null ? false : `no broker: ${unable}`

const SECRET = 'secret-of-limited'
const home = mkdtempSync(join(tmpdir(), 'assay-kafka-events-'))
let broker: Broker
let saslPort = 0

t.before(async () => {
  if (unable !== null) return
  saslPort = await freePort()
  const scram = 'org.apache.kafka.common.security.scram.ScramLoginModule required;'
  broker = await startBroker(join(home, 'broker'), {
    listeners: [{ name: 'SASL', protocol: 'SASL_PLAINTEXT', port: saslPort }],
    properties: {
      'listener.name.sasl.sasl.enabled.mechanisms': 'SCRAM-SHA-256',
      'listener.name.sasl.scram-sha-256.sasl.jaas.config': scram,
      'authorizer.class.name': 'org.apache.kafka.metadata.authorizer.StandardAuthorizer',
      'super.users': 'User:ANONYMOUS',
    },
    formatWith: ['--add-scram', `SCRAM-SHA-256=[name=limited,password=${SECRET}]`],
  })
})
t.after(async () => {
  if (unable === null) await broker.stop()
  rmSync(home, { recursive: true, force: true })
})

async function openTopics(t: Test, name: string, kinds: readonly EventKind[] = KINDS): Promise<EventTopics> {
  const topics = await connectEventTopics(broker.address, name)
  t.teardown(() => topics.close())
  if (kinds.length > 0) await topics.create(kinds)
  return topics
}

async function write(dataDir: string, decisions: number, options: WriterOptions = {}): Promise<void> {
  const writer = await openWriter(join(dataDir, 'decision-log'), options)
  await writer.decisions(decisions)
  await writer.close()
}

const ONE_SHADOW = shadowing('one', ['fraud-xgb@1'])
const NO_SHADOW = shadowing('none', [])

function shadowing(name: string, shadows: readonly string[]): { ASSAY_CONFIG: string } {
  const file = join(home, `${name}.json`)
  writeFileSync(file, JSON.stringify({ process: { governance: { shadows } } }))
  return { ASSAY_CONFIG: file }
}

/** What the release derives, with a shadow model, in this process. */
async function release(dataDir: string): Promise<Partial<GovernDeps>> {
  const config = loadConfig({ env: { ASSAY_DATA_DIR: dataDir, ...ONE_SHADOW } })
  const logger = { event: () => undefined, flush: () => undefined }
  return { ...(await derivingParts(config, { logger, lag: () => 0 })), createEvents: eventsOf }
}

const EVENTS_ALONE = { createEvents: eventsOf }

const idsOf = (read: readonly Read[]): string[] => read.map(({ headers }) => headers.ce_id ?? '')

async function decisionIds(sidecar: GovernRig): Promise<string[]> {
  const rows = await sidecar.queries()?.select("SELECT decision_id FROM decisions WHERE kind = 'decision'")
  return (rows ?? []).map(({ decision_id: id }) => String(id)).sort()
}

async function rowsIn(sidecar: GovernRig, table: string): Promise<number> {
  const rows = await sidecar.queries()?.select(`SELECT count(*) AS n FROM ${table}`)
  return Number(rows?.[0]?.n)
}

const published = (topics: EventTopics, kind: EventKind, atLeast: number): Promise<void> =>
  held(async () => (await topics.count(kind)) >= atLeast, `${atLeast} ${kind}`)

/** How far was published; nothing before anything was. */
function placeIn(dataDir: string): Partial<Places> {
  const file = join(dataDir, 'governance/events.json')
  return existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as Places) : {}
}

/** The sidecar has a fault of this code in words, counts it, and is ready all the same. */
async function refused(t: Test, sidecar: GovernRig, code: string, words: RegExp): Promise<void> {
  const said = (): boolean => sidecar.facts().troubles.some((one) => one.startsWith(`kafka: `) && words.test(one))
  await held(said, `${code} ${String(words)}`)
  t.ok(sidecar.facts().troubles.some((one) => one.includes(code)))
  t.ok(sidecar.events.some(({ name, fields: { error } }) => name === 'KafkaFailed' && error instanceof Error))
  t.equal(sidecar.facts().ready, true)
  const metrics = await (await fetch(`${sidecar.url}/metrics`)).text()
  const count = new RegExp(`^assay_governance_events_faults_total\\{code="${code}"\\} ([0-9]+)$`, 'm').exec(metrics)
  t.ok(Number(count?.[1]) > 0, `${code} is counted`)
}

void t.test(
  'everything derived is published once, with its headers, masked, also over restart and rebuild',
  { skip },
  async (t) => {
    const dataDir = folder(t)
    const topics = await openTopics(t, 'whole')
    // Two hours, so that windows close; ten decisions a minute.
    await write(dataDir, 1_300, { stepMs: 6_000 })
    const env = { ...topics.env, ASSAY_PROCESS__GOVERNANCE__PORT: '0' }
    const deps = { ...(await release(dataDir)), createApi: openGovernanceApi }
    const first = await startSidecar(t, dataDir, deps, env)
    await reached(first, 1_300)
    const counts = new Map<EventKind, number>([['predictions', 1_300]])
    counts.set('drift', await rowsIn(first, 'drift'))
    counts.set('shadow', await rowsIn(first, 'shadow_windows'))
    counts.set('alerts', await rowsIn(first, 'alerts'))
    for (const kind of KINDS) await published(topics, kind, counts.get(kind) ?? 0)
    const before = new Map<EventKind, Read[]>()
    for (const kind of KINDS) {
      const read = await topics.read(kind)
      before.set(kind, read)
      t.ok(read.length > 0 && read.length === counts.get(kind), `${read.length} ${kind}`)
      t.equal(new Set(idsOf(read)).size, read.length, 'each with an id of its own')
    }
    const predictions = before.get('predictions') ?? []
    t.same(idsOf(predictions).sort(), await decisionIds(first))
    const [one] = predictions
    const logId = first.facts().logId ?? ''
    t.match(one?.headers, {
      ...{ 'content-type': 'application/json', ce_specversion: '1.0', ce_type: 'assay.prediction' },
      ...{ ce_source: `urn:assay:log:${logId}`, ce_subject: /^t-\d+$/, ce_time: /^2026-11-20T1\d:\d\d:\d\d\.\d{3}Z$/ },
      ...{ ce_assayepoch: '1', ce_assaysequence: /^\d+$/ },
    })
    const shown: unknown = await (await fetch(`${first.url}/api/v1/decisions?id=${one?.headers.ce_id ?? ''}`)).json()
    t.match(shown, { decisions: [JSON.parse(one?.value ?? '')] }, 'it says what the API says, masks too')
    t.match(one?.key, /^m_[0-9a-f]{12}$/, 'the key is masked as the value is')
    for (const { value, key, headers } of predictions) {
      const text = `${key ?? ''} ${value} ${JSON.stringify(headers)}`
      if (/\bc\d+\b/.test(text)) t.fail(`a customer is shown: ${text}`)
      if (!/"terminal_id":"t\d+"/.test(text)) t.fail(`a terminal is not shown: ${text}`)
    }
    const partitions = new Map<string | null, number>()
    for (const { key, partition } of predictions) {
      if ((partitions.get(key) ?? partition) !== partition) t.fail('one key lies in two partitions')
      partitions.set(key, partition)
    }
    t.match(before.get('drift')?.[0]?.headers, {
      ce_type: 'assay.drift',
      ce_subject: /^[a-z]/,
      ce_id: /^w_[0-9a-f]{20}$/,
    })
    t.match(JSON.parse(before.get('shadow')?.[0]?.value ?? ''), {
      champion: 'fraud-lgbm@1',
      flip_share: { value: Number },
    })
    t.match(before.get('alerts')?.[0]?.headers, { ce_type: 'assay.alert', ce_id: /^a_[0-9a-f]{20}-opened-\d+$/ })
    const metrics = await (await fetch(`${first.url}/metrics`)).text()
    t.match(metrics, /^assay_governance_events_published_total\{kind="predictions"\} 1300$/m)
    t.match(metrics, /^assay_governance_events_lag_records\{kind="predictions"\} 0$/m)
    t.same(first.facts().troubles, [])
    await first.close(5_000)

    // A rebuild has all rows again, and the events that follow are the only new ones.
    const logging = { ASSAY_DATA_DIR: dataDir, ASSAY_PROCESS__LOGGER__LEVEL: 'error', ...ONE_SHADOW }
    const rebuild = child(t, process.execPath, [CLI, 'govern', 'rebuild'], { ...logging, ...topics.env })
    t.equal(await rebuild.exited, 0, rebuild.output())
    await write(dataDir, 5, { startMs: Date.UTC(2026, 10, 20, 14, 11), ordinal: 1_301 })
    const second = await startSidecar(t, dataDir, deps, env)
    await reached(second, 1_305)
    await published(topics, 'predictions', 1_305)
    t.same(idsOf(await topics.read('predictions')).sort(), await decisionIds(second), 'each is there once')
    await second.close(5_000)

    // Without the place all that is held is published again: each under the id and with the value that it had.
    rmSync(join(dataDir, 'governance/events.json'))
    const third = await startSidecar(t, dataDir, deps, env)
    await reached(third, 1_305)
    await published(topics, 'predictions', 2_610)
    for (const kind of ['drift', 'alerts'] as const) await published(topics, kind, 2 * (counts.get(kind) ?? 0))
    for (const kind of ['predictions', 'drift', 'alerts'] as const) {
      const [again, known] = [await topics.read(kind), new Map<string, string>()]
      for (const { headers, value } of again) known.set(headers.ce_id ?? '', value)
      t.equal(again.length, 2 * known.size, `${again.length} ${kind} under ${known.size} ids`)
      for (const { headers, value } of again) if (known.get(headers.ce_id ?? '') !== value) t.fail('another value')
    }
  },
)

void t.test(
  'killed at any moment, the sidecar publishes everything, and what it repeats under the same id',
  { skip },
  async (t) => {
    const dataDir = folder(t)
    const topics = await openTopics(t, 'killed')
    await write(dataDir, 6_000)
    const env = { ASSAY_DATA_DIR: dataDir, ...NO_SHADOW, ...topics.env }
    for (const sent of [1, 2_000]) {
      const killed = child(t, process.execPath, [SIDECAR], env)
      await published(topics, 'predictions', sent)
      killed.process.kill('SIGKILL')
      t.equal(await killed.exited, null)
    }
    const last = await startSidecar(t, dataDir, EVENTS_ALONE, { ...topics.env })
    await reached(last, 6_000)
    const ids = await decisionIds(last)
    await held(() => placeIn(dataDir).predictions?.sequence === 6_000, 'the end')
    const [read, values] = [await topics.read('predictions'), new Map<string, Set<string>>()]
    for (const { headers, value, key } of read) {
      const id = headers.ce_id ?? ''
      values.set(id, (values.get(id) ?? new Set()).add(`${key ?? ''} ${value} ${JSON.stringify(headers)}`))
    }
    t.same([...values.keys()].sort(), ids, `nothing is missing; ${read.length} events of ${ids.length}`)
    t.ok(
      [...values.values()].every(({ size }) => size === 1),
      'what came again is the same in everything',
    )
  },
)

void t.test('while the broker is away the sidecar goes on, and everything arrives afterwards', { skip }, async (t) => {
  const dataDir = folder(t)
  const topics = await openTopics(t, 'away')
  await broker.kill()
  const writer = await openWriter(join(dataDir, 'decision-log'))
  t.teardown(() => writer.close())
  await writer.decisions(700)
  const env = { ...topics.env, ASSAY_PROCESS__GOVERNANCE__PORT: '0' }
  const sidecar = await startSidecar(t, dataDir, { ...EVENTS_ALONE, createApi: openGovernanceApi }, env)
  await reached(sidecar, 700)
  await refused(t, sidecar, 'ASSAY_KAFKA_UNAVAILABLE', /ECONNREFUSED|no answer/)
  t.match(await (await fetch(`${sidecar.url}/metrics`)).text(), /events_lag_records\{kind="predictions"\} 700/)
  await broker.restart()
  await published(topics, 'predictions', 700)
  await held(() => sidecar.facts().troubles.length === 0, 'it says that all is well')
  broker.pause()
  await writer.decisions(700)
  await reached(sidecar, 1_400)
  broker.resume()
  await published(topics, 'predictions', 1_400)
  t.same([...new Set(idsOf(await topics.read('predictions')))].sort(), await decisionIds(sidecar))
})

void t.test('a topic that is missing or not allowed is coded, counted, and holds up no other', { skip }, async (t) => {
  const dataDir = folder(t)
  const topics = await openTopics(t, 'refused', ['predictions', 'drift', 'shadow'])
  await write(dataDir, 40)
  const at = 'ASSAY_PROCESS__GOVERNANCE__KAFKA__'
  const password = join(home, 'password')
  const env = {
    ...{ ...topics.env, [`${at}BROKERS`]: `["127.0.0.1:${saslPort}"]`, ASSAY_PROCESS__GOVERNANCE__PORT: '0' },
    ...{ [`${at}SASL__MECHANISM`]: 'scram-sha-256', [`${at}SASL__USERNAME`]: 'limited' },
    [`${at}SASL__PASSWORD_FILE`]: password,
  }
  const deps = { ...(await release(dataDir)), createApi: openGovernanceApi }
  const sidecar = await startSidecar(t, dataDir, deps, env)
  await reached(sidecar, 40)
  await refused(
    t,
    sidecar,
    'ASSAY_CONFIG_INVALID',
    /\/process\/governance\/kafka\/sasl\/password_file: .* cannot be read/,
  )
  writeFileSync(password, 'wrong')
  await refused(t, sidecar, 'ASSAY_KAFKA_REFUSED', /[Aa]uthentication/)
  writeFileSync(password, SECRET)
  await refused(t, sidecar, 'ASSAY_KAFKA_REFUSED', /connecting .*[Cc]luster authorization/)
  const kafka = new Kafka({ brokers: [broker.address], logLevel: logLevel.NOTHING })
  const admin = kafka.admin()
  await admin.connect()
  t.teardown(() => admin.disconnect())
  const [TOPIC, WRITE, DESCRIBE, ALLOW, LITERAL, PREFIXED] = [2, 4, 8, 3, 3, 4]
  const acl = { resourceType: TOPIC, principal: 'User:limited', host: '*', permissionType: ALLOW }
  const writing = (resourceName: string) =>
    admin.createAcls({ acl: [{ ...acl, operation: WRITE, resourceName, resourcePatternType: LITERAL }] })
  await writing(topics.names.drift)
  await refused(t, sidecar, 'ASSAY_KAFKA_REFUSED', /the topic refused\.predictions .*[Nn]ot authorized/)
  const describing = { ...acl, operation: DESCRIBE, resourceName: 'refused.', resourcePatternType: PREFIXED }
  await admin.createAcls({ acl: [describing] })
  await refused(t, sidecar, 'ASSAY_TOPIC_REFUSED', /the topic refused\.alerts is not there/)
  await refused(t, sidecar, 'ASSAY_KAFKA_REFUSED', /the topic refused\.predictions .*[Nn]ot authorized/)
  await writing(topics.names.predictions)
  await published(topics, 'predictions', 40)
  t.equal((await topics.read('predictions')).length, 40, 'once, whatever was refused before')
  await topics.create(['alerts'])
  await held(() => sidecar.facts().troubles.length === 0, 'it says that all is well')
  t.notOk(JSON.stringify(sidecar.events).includes(SECRET))
})

void t.test(
  'where the log took records back, those in their place are published under ids of their own',
  { skip },
  async (t) => {
    const dataDir = folder(t)
    const topics = await openTopics(t, 'back')
    const logDir = join(dataDir, 'decision-log')
    const takeBack = await writeToTakeBack(logDir, { kept: 150, lost: 200 })
    const before = await startSidecar(t, dataDir, EVENTS_ALONE, topics.env)
    await published(topics, 'predictions', 350)
    await reached(before, 350)
    // One that ends before it knows that the brokers have them publishes them again.
    await held(() => placeIn(dataDir).predictions?.sequence === 350, 'the end')
    await before.close(5_000)
    takeBack()
    await write(dataDir, 100, { seed: 2, ordinal: 151 })
    const after = await startSidecar(t, dataDir, EVENTS_ALONE, topics.env)
    await published(topics, 'predictions', 450)
    await reached(after, 250)
    const read = await topics.read('predictions')
    const ids = await decisionIds(after)
    t.equal(new Set(idsOf(read)).size, 450, 'no id stands for two events')
    const now = read.filter(({ headers }) => ids.includes(headers.ce_id ?? ''))
    t.equal(now.length, ids.length, 'what the log holds now was published once')
    const gone = read.filter(({ headers }) => !ids.includes(headers.ce_id ?? '')).map(({ headers }) => headers)
    t.ok(gone.every(({ ce_assayepoch: epoch, ce_assaysequence: sequence }) => epoch === '1' && Number(sequence) > 150))
  },
)
