// The ways in which brokers and this server come to know each other, on a real broker that has a listener for each:
// certificates, passwords, tokens, and who may do what. Each begins with something wrong, which is said and costs no
// request, and is mended without a restart. Skipped, loudly, without Java and Maven; under CI that fails.
import { execFileSync } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { inspect } from 'node:util'
import { Kafka, logLevel } from 'kafkajs'
import t, { type Test } from 'tap'
import { KAFKA_DEFAULTS, type KafkaConfig } from '../../src/contract/kafka.js'
import { createKafkajsClient } from '../../src/scoring/transport/kafka/kafkajs-client.js'
import { createSimulator } from '../../src/simulate/generator.js'
import { freePort } from '../clients/clients.js'
import { type Rig, startRig, until } from '../flow/server-rig.js'
import { type Broker, brokerMissing, startBroker } from './broker.js'
import { served } from './rig.js'
import { connectTopics, type Topics } from './topics.js'

t.setTimeout(400_000)
const unable = brokerMissing()
if (unable !== null && process.env.CI === 'true') t.fail(`no broker: ${unable}`)
const skip = unable === null ? false : `no broker: ${unable}`

const folder = mkdtempSync(join(tmpdir(), 'assay-kafka-security-'))
const file = (name: string): string => join(folder, name)
/** What must never be seen. */
const SECRETS = { plain: 'secret-of-plain', limited: 'secret-of-limited', strong: 'secret-of-strong' }
const ports = { tls: 0, sasl: 0, far: 0 }
let broker: Broker

t.before(async () => {
  if (unable !== null) return
  makeCertificates()
  ports.tls = await freePort()
  ports.sasl = await freePort()
  ports.far = await freePort()
  broker = await startBroker(file('broker'), {
    listeners: [
      { name: 'TLS', protocol: 'SSL', port: ports.tls },
      { name: 'SASL', protocol: 'SASL_SSL', port: ports.sasl },
      { name: 'FAR', protocol: 'SASL_PLAINTEXT', port: ports.far, advertisedHost: '10.255.255.1' },
    ],
    properties: securityProperties(),
    formatWith: [
      ...['--add-scram', `SCRAM-SHA-256=[name=limited,password=${SECRETS.limited}]`],
      ...['--add-scram', `SCRAM-SHA-512=[name=strong,password=${SECRETS.strong}]`],
    ],
  })
})
t.after(async () => {
  if (unable === null) await broker.stop()
  rmSync(folder, { recursive: true, force: true })
})

/** Two authorities; the broker's certificate and a client's by the first, a client's by the second. */
function makeCertificates(): void {
  const make = (name: string, ...rest: string[]): void => {
    const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-keyout', file(`${name}.key`)]
    const out = ['-out', file(`${name}.pem`), '-days', '2', '-subj', `/CN=${name}`]
    execFileSync('openssl', ['req', '-x509', ...key, ...out, ...rest], { stdio: 'ignore' })
  }
  const by = (authority: string): string[] => ['-CA', file(`${authority}.pem`), '-CAkey', file(`${authority}.key`)]
  make('authority')
  make('stranger')
  make('broker', ...by('authority'), '-addext', 'subjectAltName=IP:127.0.0.1')
  make('client', ...by('authority'))
  make('intruder', ...by('stranger'))
  writeFileSync(
    file('keystore.pem'),
    readFileSync(file('broker.key'), 'utf8') + readFileSync(file('broker.pem'), 'utf8'),
  )
}

function securityProperties(): Record<string, string> {
  const security = 'org.apache.kafka.common.security'
  const unsecured = `${security}.oauthbearer.internals.unsecured.OAuthBearerUnsecured`
  const onBearer = 'listener.name.sasl.oauthbearer'
  const plain = `${security}.plain.PlainLoginModule required user_plain="${SECRETS.plain}";`
  const scram = `${security}.scram.ScramLoginModule required;`
  const bearer = `${security}.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub="broker";`
  return {
    'ssl.keystore.type': 'PEM',
    'ssl.keystore.location': file('keystore.pem'),
    'ssl.truststore.type': 'PEM',
    'ssl.truststore.location': file('authority.pem'),
    'listener.name.tls.ssl.client.auth': 'required',
    'listener.name.sasl.sasl.enabled.mechanisms': 'PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER',
    'listener.name.sasl.plain.sasl.jaas.config': plain,
    'listener.name.sasl.scram-sha-256.sasl.jaas.config': scram,
    'listener.name.sasl.scram-sha-512.sasl.jaas.config': scram,
    [`${onBearer}.sasl.jaas.config`]: bearer,
    [`${onBearer}.sasl.login.callback.handler.class`]: `${unsecured}LoginCallbackHandler`,
    [`${onBearer}.sasl.server.callback.handler.class`]: `${unsecured}ValidatorCallbackHandler`,
    // kafkajs authenticates anew ten seconds before its time is up.
    [`${onBearer}.connections.max.reauth.ms`]: '12000',
    'listener.name.far.sasl.enabled.mechanisms': 'PLAIN',
    'listener.name.far.plain.sasl.jaas.config': plain,
    'authorizer.class.name': 'org.apache.kafka.metadata.authorizer.StandardAuthorizer',
    'super.users': 'User:ANONYMOUS;User:CN=client;User:plain;User:strong;User:bearer',
  }
}

/** RFC 7515, unsecured. */
function tokenUntil(endMs: number): string {
  const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url')
  const seconds = Math.floor(endMs / 1000)
  return `${part({ alg: 'none' })}.${part({ sub: 'bearer', iat: seconds - 3600, exp: seconds })}.`
}

/** Numbers of Kafka's protocol: the enumerations of kafkajs cannot be imported by name. */
const [TOPIC, GROUP, READ, WRITE, DESCRIBE] = [2, 3, 3, 4, 8]
const [LITERAL, PREFIXED, DENY, ALLOW] = [3, 4, 2, 3]

const SENT = 3
const QUIET = { event: () => undefined, flush: () => undefined }

function transactions(idPrefix: string, count: number): { transaction_id: string }[] {
  const startMs = Date.now() - 60 * 86_400_000
  const simulator = createSimulator({ ...{ seed: 1, customers: 40, terminals: 60 }, startMs, idPrefix })
  return Array.from({ length: count }, () => simulator.next().wire)
}

function messages(idPrefix: string, count: number): { key: null; value: string }[] {
  return transactions(idPrefix, count).map((wire) => ({ key: null, value: JSON.stringify(wire) }))
}

/** Topics of a test's own, with transactions in them. */
async function openTopics(t: Test, name: string): Promise<Topics> {
  const topics = await connectTopics(broker.address, name)
  t.teardown(() => topics.close())
  await topics.create(1)
  await topics.produce(messages(`${name}-`, SENT))
  return topics
}

async function startReading(t: Test, { names }: Topics, port: number, kafka: Partial<KafkaConfig>): Promise<Rig> {
  const rig = await startRig({
    limits: { kafkaRetryMsMax: 500 },
    edit({ process, policy }) {
      // One small model: what is decided is not looked at here.
      policy.routes.champion = 'baseline@1'
      policy.routes.challenger = null
      Object.assign(process.kafka, { brokers: [`127.0.0.1:${port}`], group_id: names.group, ...kafka })
      const { transactions, decisions, dead } = names
      process.kafka.topics = { transactions, decisions, dead_letters: dead, labels: null }
    },
  })
  t.teardown(() => rig.remove())
  return rig
}

const held = (holds: () => boolean | Promise<boolean>, what: string): Promise<void> =>
  until(holds, what, { msMax: 60_000, everyMs: 100 })

/** Waits until it is refused with a code and words, in an event after so many. */
async function refused(t: Test, rig: Rig, code: string, words: RegExp, after = 0): Promise<void> {
  const said = (): boolean =>
    rig.events.slice(after).some(({ name, fields: { error } }) => {
      const isCoded = name === 'KafkaFailed' && error instanceof Error && 'code' in error && error.code === code
      return isCoded && words.test(error.message)
    })
  await held(said, `${code} ${String(words)}`)
  t.ok(((await rig.metric('assay_kafka_faults_total')).get(`code="${code}"`) ?? 0) > 0, `${code} is counted`)
  t.equal((await rig.operations('/readyz')).status, 200, 'the server is ready all the same')
  await served(rig, transactions(`${randomUUID()}-`, 1)[0])
}

async function decided(t: Test, rig: Rig, topics: Topics, secrets: readonly string[] = []): Promise<void> {
  await held(async () => (await topics.count('decisions')) === SENT, 'all are decided')
  await held(async () => (await topics.committed()) === SENT, 'positions are committed')
  const seen = inspect(rig.events, { depth: Infinity, maxStringLength: Infinity, maxArrayLength: Infinity })
  for (const secret of secrets) t.notOk(seen.includes(secret), 'no event holds the secret')
}

const TLS = { ca_file: file('authority.pem') }

void t.test('certificates: neither side takes one by a stranger', { skip }, async (t) => {
  const topics = await openTopics(t, 'tls')
  const files = { ca_file: file('trusted'), cert_file: file('own'), key_file: file('own.key') }
  copyFileSync(file('stranger.pem'), files.ca_file)
  copyFileSync(file('intruder.pem'), files.cert_file)
  copyFileSync(file('client.key'), files.key_file)
  const rig = await startReading(t, topics, ports.tls, { tls: files })
  await refused(t, rig, 'ASSAY_CONFIG_INVALID', /^\/process\/kafka\/tls: .*own\.key.* the key is not/)
  copyFileSync(file('intruder.key'), files.key_file)
  await refused(t, rig, 'ASSAY_KAFKA_REFUSED', /certificate/)
  copyFileSync(file('authority.pem'), files.ca_file)
  await refused(t, rig, 'ASSAY_KAFKA_REFUSED', /alert/)
  copyFileSync(file('client.pem'), files.cert_file)
  copyFileSync(file('client.key'), files.key_file)
  await decided(t, rig, topics)
})

void t.test('files that do not do are named before anything is sent', async (t) => {
  const connect = (change: Partial<KafkaConfig>) =>
    createKafkajsClient({ ...KAFKA_DEFAULTS, brokers: ['127.0.0.1:1'], ...change }, QUIET)
  const refused = (change: Partial<KafkaConfig>, message: RegExp) =>
    t.rejects(connect(change), { code: 'ASSAY_CONFIG_INVALID', message })
  writeFileSync(file('empty.pem'), '\n')
  writeFileSync(file('other.pem'), '-----BEGIN NOTHING-----\n')
  await refused({ tls: { ca_file: file('none.pem') } }, /^\/process\/kafka\/tls\/ca_file: .*none\.pem cannot be read/)
  await refused({ tls: { ca_file: file('empty.pem') } }, /^\/process\/kafka\/tls\/ca_file: .*empty\.pem is empty/)
  await refused({ tls: { ca_file: file('other.pem') } }, /^\/process\/kafka\/tls: .*other\.pem one is not PEM/)
  const sasl = { mechanism: 'oauthbearer', token_file: file('none') } as const
  await refused({ sasl }, /^\/process\/kafka\/sasl\/token_file: .*none cannot be read/)
})

void t.test('plain: a wrong password', { skip }, async (t) => {
  const topics = await openTopics(t, 'plain')
  writeFileSync(file('plain'), 'wrong')
  const sasl = { mechanism: 'plain', username: 'plain', password_file: file('plain') } as const
  const rig = await startReading(t, topics, ports.sasl, { tls: TLS, sasl })
  await refused(t, rig, 'ASSAY_KAFKA_REFUSED', /Invalid username or password/)
  writeFileSync(file('plain'), `${SECRETS.plain}\n`)
  await decided(t, rig, topics, [SECRETS.plain])
})

void t.test('plain: a broker that names another beyond loopback is not sent the password', { skip }, async (t) => {
  writeFileSync(file('far'), SECRETS.plain)
  const sasl = { mechanism: 'plain', username: 'plain', password_file: file('far') } as const
  const config = { ...KAFKA_DEFAULTS, brokers: [`127.0.0.1:${ports.far}`], sasl }
  const client = await createKafkajsClient(config, QUIET)
  t.teardown(() => client.close())
  const refusal = { code: 'ASSAY_KAFKA_REFUSED', message: /10\.255\.255\.1 would be sent a secret in the clear/ }
  await t.rejects(client.position(KAFKA_DEFAULTS.topics.transactions, 0), refusal)
})

void t.test('scram-sha-512: no file', { skip }, async (t) => {
  const topics = await openTopics(t, 'strong')
  const sasl = { mechanism: 'scram-sha-512', username: 'strong', password_file: file('strong') } as const
  const rig = await startReading(t, topics, ports.sasl, { tls: TLS, sasl })
  await refused(t, rig, 'ASSAY_CONFIG_INVALID', /^\/process\/kafka\/sasl\/password_file: .*strong cannot be read/)
  writeFileSync(file('strong'), '\n')
  await refused(t, rig, 'ASSAY_CONFIG_INVALID', /strong is empty/)
  writeFileSync(file('strong'), SECRETS.strong)
  await decided(t, rig, topics, [SECRETS.strong])
})

void t.test(
  'oauthbearer: a token that has expired, and one that takes its place while messages flow',
  { skip },
  async (t) => {
    const topics = await openTopics(t, 'bearer')
    const [old, fresh] = [tokenUntil(Date.now() - 60_000), tokenUntil(Date.now() + 3_600_000)]
    writeFileSync(file('token'), old)
    const sasl = { mechanism: 'oauthbearer', token_file: file('token') } as const
    const rig = await startReading(t, topics, ports.sasl, { tls: TLS, sasl })
    await refused(t, rig, 'ASSAY_KAFKA_REFUSED', /do not accept the token/)
    writeFileSync(file('token'), fresh)
    await decided(t, rig, topics, [old, fresh])
    writeFileSync(file('token'), old)
    await refused(t, rig, 'ASSAY_KAFKA_REFUSED', /do not accept the token/, rig.events.length)
    writeFileSync(file('token'), fresh)
    await topics.produce(messages(`${randomUUID()}-`, 1))
    await held(async () => (await topics.committed()) === SENT + 1, 'it is read on')
  },
)

void t.test('scram-sha-256: what the README lists is allowed, and what of it lacks is said', { skip }, async (t) => {
  const topics = await openTopics(t, 'limited')
  const { names } = topics
  const kafka = new Kafka({ brokers: [broker.address], logLevel: logLevel.NOTHING })
  const [admin, producer] = [kafka.admin(), kafka.producer()]
  await Promise.all([admin.connect(), producer.connect()])
  t.teardown(() => Promise.all([admin.disconnect(), producer.disconnect()]))
  const entry = (resourceType: number, resourceName: string, operation: number) => ({
    ...{ principal: 'User:limited', host: '*', permissionType: ALLOW, resourcePatternType: LITERAL },
    ...{ resourceType, resourceName, operation },
  })
  const allow = (type: number, name: string, operation: number) =>
    admin.createAcls({ acl: [entry(type, name, operation)] })
  writeFileSync(file('limited'), SECRETS.limited)
  const sasl = { mechanism: 'scram-sha-256', username: 'limited', password_file: file('limited') } as const
  const rig = await startReading(t, topics, ports.sasl, { tls: TLS, sasl })
  const lacks = (words: RegExp): Promise<void> => refused(t, rig, 'ASSAY_KAFKA_REFUSED', words, rig.events.length)
  await lacks(/the topic limited\.transactions .*Not authorized/)
  await allow(TOPIC, names.transactions, READ)
  await lacks(/the topic limited\.decisions .*Not authorized/)
  await allow(TOPIC, names.decisions, WRITE)
  await lacks(/the topic limited\.dead .*Not authorized/)
  await allow(TOPIC, names.dead, WRITE)
  await lacks(/the group limited\.group\.output\.\* .*Not authorized/)
  const readers = { ...entry(GROUP, `${names.group}.output.`, READ), resourcePatternType: PREFIXED }
  await admin.createAcls({ acl: [readers] })
  await lacks(/the group limited\.group .*Not authorized/)
  await allow(GROUP, names.group, READ)
  await decided(t, rig, topics, [SECRETS.limited])

  const denial = { ...entry(TOPIC, names.transactions, READ), permissionType: DENY }
  await admin.createAcls({ acl: [denial, { ...denial, operation: DESCRIBE, permissionType: ALLOW }] })
  await topics.produce(messages(`${randomUUID()}-`, 1))
  await lacks(/the topic limited\.transactions in the group limited\.group .*Not authorized/)
  // A decision by somebody else, which has to be read.
  await producer.send({ topic: names.decisions, messages: [{ value: '{}' }] })
  await admin.deleteAcls({ filters: [denial] })
  await lacks(/the topic limited\.decisions in the group limited\.group\.output\.\* .*Not authorized/)
  await allow(TOPIC, names.decisions, READ)
  await held(async () => (await topics.committed()) === SENT + 1, 'it is read on')
})
