// The configuration: layers, refusals with paths, and what may listen where.
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { configCommand, loadConfig, loadKeys } from '../src/config.js'
import { AssayError } from '../src/errors.js'

const directory = t.testdir({})

function fileOf(text: string | object): string {
  const file = join(directory, 'config.yaml')
  writeFileSync(file, typeof text === 'string' ? text : JSON.stringify(text))
  return file
}

/** Path → message of every fault of a configuration that is refused. */
function faults(text: string | object, env = {}): Record<string, string> {
  try {
    loadConfig({ file: fileOf(text), env })
  } catch (error) {
    if (error instanceof AssayError) return Object.fromEntries(error.errors.map((fault) => [fault.path, fault.message]))
    throw error
  }
  return {}
}

void t.test('without a file the built-in defaults and the reference policy hold, frozen to the last leaf', (t) => {
  const { process, policy } = loadConfig({ env: {} })
  t.match(process, { http: { host: '127.0.0.1', port: 8080 }, operations: { port: 8081 }, data_dir: './data' })
  t.equal(policy.routes.champion, 'fraud-lgbm@1')
  t.ok(Object.isFrozen(policy.catalogue.features[0]))
  t.end()
})

void t.test('the file is laid on the defaults and the environment on both', (t) => {
  const file = fileOf('process:\n  http: { port: 9000 }\npolicy:\n  budgets: { deadline_ms: 20 }\n')
  const env = {
    ASSAY_PROCESS__HTTP__PORT: '9001',
    ASSAY_POLICY__CURRENCIES__LIST__USD__RATE: '0.5',
    ASSAY_PROCESS__HTTP__KEYS_FILE: '/run/keys',
    ASSAY_DATA_DIR: '/data',
    ASSAY_MODELS_DIR: '/models',
    ASSAY_HANDBOOK: 'not ours',
  }
  const { process, policy } = loadConfig({ file, env })
  t.match(process, {
    http: { port: 9001, host: '127.0.0.1', keys_file: '/run/keys' },
    data_dir: '/data',
    models_dir: '/models',
  })
  t.same(policy.budgets, { deadline_ms: 20, log_wait_ms: 50 })
  t.equal(policy.currencies.list.USD?.rate, 0.5)
  t.equal(loadConfig({ env: { ASSAY_CONFIG: file } }).process.http.port, 9000)
  t.end()
})

void t.test('a map of the user’s own keys is replaced as a whole', (t) => {
  const list = { EUR: { exponent: 2, rate: 1 } }
  const { policy } = loadConfig({ file: fileOf({ policy: { currencies: { list } } }), env: {} })
  t.same(Object.keys(policy.currencies.list), ['EUR'])
  t.end()
})

void t.test(
  'a file with rules or what they ask for of its own takes no rules and cuts of the reference policy',
  (t) => {
    const load = (policy: object) => loadConfig({ file: fileOf({ policy }), env: {} }).policy
    const reference = loadConfig({ env: {} }).policy
    const ruled = ({ rules, lists, segments, thresholds }: object & Partial<typeof reference>) => ({
      ...{ rules, lists, segments, thresholds },
    })
    t.same(ruled(load({ budgets: { deadline_ms: 20 } })), ruled(reference))
    const cuts = { 'fraud-lgbm@1': { decline_at: 0.8 } }
    t.same(ruled(load({ thresholds: cuts })), { ...ruled(reference), thresholds: cuts })
    t.same(ruled(load({ schema: { unknown_fields: 'drop' } })), ruled(reference))

    const none = { rules: undefined, lists: undefined, segments: undefined, thresholds: {} }
    const { schema, catalogue, currencies } = structuredClone(reference)
    const list = { USD: { exponent: 2, rate: 1 } }
    t.same(ruled(load({ currencies: { base: 'USD', list } })), none)
    t.same(ruled(load({ catalogue: { features: catalogue.features.slice(0, 3) } })), none)
    t.same(ruled(load({ schema: { fields: schema.fields.slice(0, 1) }, catalogue })), none)
    t.same(ruled(load({ rules: [] })), { ...none, rules: [] })
    t.same(ruled(load({ lists: { wave: { values: [] } } })), { ...none, lists: { wave: { values: [] } } })
    t.same(ruled(load({ segments: [] })), { ...none, segments: [] })
    t.same(
      Object.keys(load({ currencies })).length,
      Object.keys(reference).length - 3,
      'said in full, it is their own too',
    )
    t.end()
  },
)

void t.test('unknown keys are refused with their path and the nearest known key', (t) => {
  t.match(faults({ process: { htpp: {} } }), { '/process/htpp': /nearest known is http/ })
  t.match(faults({ policy: { budgets: { deadline: 8 } } }), {
    '/policy/budgets/deadline': /nearest known is deadline_ms/,
  })
  t.match(faults({}, { ASSAY_PROCESS__HTTP__PROT: '1' }), { '/process/http/prot': /nearest known is port/ })
  t.match(faults({ zzzzzzzzzz: 1 }), { '/zzzzzzzzzz': /^an unknown key$/ })
  t.match(faults('{"__proto__": {"a": 1}}'), { '/__proto__': /unknown/ })
  t.end()
})

void t.test('wrong values are refused with their path, all at once', (t) => {
  const found = faults({
    process: { http: { port: 70_000 } },
    policy: { clock: 'wall', budgets: { deadline_ms: 'x' } },
  })
  t.same(Object.keys(found).sort(), ['/policy/budgets/deadline_ms', '/policy/clock', '/process/http/port'])
  t.match(found['/policy/clock'], /live, replay/)
  t.match(faults('a: [1'), { '': /neither YAML nor JSON/ })
  t.match(faults('a: &x 1\nb: *x\n'), { '': /neither YAML nor JSON/ }, 'aliases are not expanded')
  t.throws(() => loadConfig({ file: join(directory, 'none.yaml'), env: {} }), { code: 'ASSAY_CONFIG_INVALID' })
  t.end()
})

void t.test('silences name the place where their times or ids make no sense', (t) => {
  const silence = (change: object) => ({
    ...{ id: 's', kind: 'drift', labels: {}, from: '2026-11-22T10:00:00Z', until: '2026-11-22T12:00:00+01:00' },
    ...change,
  })
  const silences = (...list: object[]) => faults({ process: { governance: { alerts: { silences: list } } } })
  const at = '/process/governance/alerts/silences'
  t.same(silences(silence({}), silence({ id: 'other', kind: null, labels: { model: 'm@1' } })), {})
  t.match(silences(silence({ until: '2026-11-22T11:00:00+01:00' })), { [`${at}/0/until`]: /after from/ })
  t.match(silences(silence({ from: 'yesterday' })), { [`${at}/0/from`]: /RFC 3339/ })
  t.match(silences(silence({}), silence({})), { [`${at}/1/id`]: /another silence/ })
  t.match(silences(silence({ kind: 'weather' })), { [`${at}/0/kind`]: /one of: drift, shadow, log, lag, loss/ })
  t.end()
})

void t.test('the way to Kafka brokers has all that it needs, and shows no secret in the clear', (t) => {
  const at = '/process/kafka'
  const refused = (tls: object | null, sasl: object | null, broker = 'kafka.example:9093') =>
    faults({ process: { kafka: { brokers: ['127.0.0.1:9092', broker], tls, sasl } } })
  const [ca, plain] = [{ ca_file: '/ca.pem' }, { mechanism: 'plain', username: 'assay', password_file: '/secret' }]
  t.same(refused(ca, plain), {})
  t.same(refused({ ...ca, cert_file: '/c.pem', key_file: '/k.pem' }, null), {})
  t.match(refused({ ...ca, key_file: '/k.pem' }, null), { [`${at}/tls/cert_file`]: /certificate of its key/ })
  t.match(refused({ ...ca, cert_file: '/c.pem' }, null), { [`${at}/tls/key_file`]: /key of its certificate/ })
  t.match(refused(ca, { mechanism: 'scram-sha-512', password_file: '/secret' }), {
    [`${at}/sasl/username`]: /needs it/,
  })
  t.match(refused(ca, { mechanism: 'plain', username: 'assay' }), { [`${at}/sasl/password_file`]: /needs it/ })
  t.match(refused(ca, { mechanism: 'oauthbearer' }), { [`${at}/sasl/token_file`]: /oauthbearer needs it/ })
  t.match(refused(ca, { mechanism: 'gssapi' }), { [`${at}/sasl/mechanism`]: /one of: plain, scram-sha-256/ })
  t.match(refused(null, plain), {
    [`${at}/sasl/mechanism`]: /whoever listens on the way: beyond loopback only with tls/,
  })
  t.match(refused(null, { mechanism: 'oauthbearer', token_file: '/token' }), { [`${at}/sasl/mechanism`]: /tls/ })
  t.same(refused(null, { ...plain, mechanism: 'scram-sha-256' }), {}, 'which never sends the password')
  t.same(refused(null, plain, 'localhost:9092'), {})
  const env = { ASSAY_PROCESS__KAFKA__TLS__CA_FILE: '/ca.pem', ASSAY_PROCESS__KAFKA__SASL__MECHANISM: 'plain' }
  t.match(faults({}, env), { [`${at}/sasl/username`]: /needs it/ }, 'the environment reaches them, too')
  t.end()
})

void t.test('events of the sidecar go to brokers of their own, and nowhere unless these are named', (t) => {
  const at = '/process/governance/kafka'
  const { kafka } = loadConfig({ env: {} }).process.governance
  t.same(kafka.brokers, [])
  t.equal(kafka.topics.predictions, 'governance.predictions')
  const refused = (over: object): Record<string, string> => faults({ process: { governance: { kafka: over } } })
  const brokers = ['kafka.example:9093']
  t.same(refused({ brokers, topics: { drift: null, alerts: 'risk.alerts' } }), {})
  t.match(refused({ brokers: ['kafka.example'] }), { [`${at}/brokers/0`]: /./ })
  t.match(refused({ topics: { drift: 'a topic' } }), { [`${at}/topics/drift`]: /./ })
  t.match(refused({ topics: { decisions: 'x' } }), { [`${at}/topics/decisions`]: /unknown key/ })
  t.match(refused({ brokers, tls: { key_file: '/k.pem' } }), { [`${at}/tls/cert_file`]: /certificate of its key/ })
  const plain = { mechanism: 'plain', username: 'assay', password_file: '/secret' }
  t.match(refused({ brokers, sasl: plain }), { [`${at}/sasl/mechanism`]: /beyond loopback only with tls/ })
  t.match(refused({ brokers, sasl: { ...plain, password_file: null } }), { [`${at}/sasl/password_file`]: /needs it/ })
  t.end()
})

void t.test('a policy that fits its schema but makes no sense is refused', (t) => {
  const schema = (field: object) => ({
    policy: { schema: { fields: [{ name: 'customer_id', type: 'string', entity: true }, field] } },
  })
  t.same(faults(schema({ name: 'device', type: 'string' })), {})
  const many = Array.from({ length: 65 }, (_, at) => ({ name: `device_${at}`, type: 'string' }))
  t.match(faults({ policy: { schema: { fields: many } } }), { '/policy/schema/fields': /less or equal to 64/ })
  const features = Array.from({ length: 257 }, (_, at) => ({
    name: `f${at}`,
    kind: 'field',
    field: 'amount',
    missing: 0,
  }))
  t.match(faults({ policy: { catalogue: { features } } }), { '/policy/catalogue/features': /less or equal to 256/ })
  t.match(faults(schema({ name: 'amount_minor', type: 'string' })), { '/policy/schema/fields/1/name': /core/ })
  t.match(faults(schema({ name: 'customer_id', type: 'string' })), { '/policy/schema/fields/1/name': /once/ })
  t.match(faults(schema({ name: 'card_cvv', type: 'string' })), { '/policy/schema/fields/1/name': /never/ })
  t.match(faults(schema({ name: 'device', type: 'number', entity: true })), {
    '/policy/schema/fields/1/entity': /strings/,
  })
  t.match(faults(schema({ name: 'device', type: 'string', identifier: '[' })), {
    '/policy/schema/fields/1/identifier': /\^/,
  })
  t.match(faults(schema({ name: 'device', type: 'string', identifier: '^(x$' })), {
    '/policy/schema/fields/1/identifier': /expression/,
  })
  t.match(faults({ policy: { currencies: { base: 'XXX' } } }), { '/policy/currencies': /not in the list/ })
  t.match(faults({ policy: { routes: { sticky_by: 'nobody' } } }), { '/policy/routes/sticky_by': /entity/ })
  t.match(faults({ policy: { routes: { challenger: null, share: 5 } } }), { '/policy/routes/share': /challenger/ })
  t.end()
})

void t.test('segments name a field that the policy declares and values that it can have', (t) => {
  const fields = [
    { name: 'customer_id', type: 'string', entity: true, sensitive: true },
    { name: 'terminal_id', type: 'string', entity: true },
    { name: 'is_recurring', type: 'boolean' },
    { name: 'category', type: 'integer' },
    { name: 'weight', type: 'number' },
  ]
  const segment = (...segments: object[]) => faults({ policy: { schema: { fields }, governance: { segments } } })
  const of = (field: string, ...values: unknown[]) => segment({ name: 'some', field, values })
  t.same(of('currency', 'EUR', 'USD'), {})
  t.same(of('is_recurring', true), {})
  t.same(of('category', 5411, 5412), {})
  t.same(of('weight', 0.5), {})
  t.same(of('terminal_id', 't-1'), {})
  const at = '/policy/governance/segments'
  t.match(of('merchant', 'x'), { [`${at}/0/field`]: /declared field/ })
  t.match(of('amount_minor', 5), { [`${at}/0/field`]: /declared field/ }, 'a measured quantity is no segment')
  t.match(of('customer_id', 'c-1'), { [`${at}/0/field`]: /not sensitive/ })
  t.match(of('is_recurring', true, 'true'), { [`${at}/0/values/1`]: /boolean/ })
  t.match(of('category', 1.5), { [`${at}/0/values/0`]: /integer/ })
  t.match(of('currency', 'GBX'), { [`${at}/0/values/0`]: /of the list/ })
  t.match(of('currency', 978), { [`${at}/0/values/0`]: /capital letters/ })
  t.match(of('terminal_id', '4111 1111 1111 1111'), { [`${at}/0/values/0`]: /never card data/ })
  t.match(of('currency'), { [`${at}/0/values`]: /greater or equal to 1/ })
  t.match(of('category', ...Array.from({ length: 65 }, (_, value) => value)), { [`${at}/0/values`]: /equal to 64/ })
  const named = (name: string) => ({ name, field: 'currency', values: ['EUR'] })
  t.match(segment(named('a'), named('b'), named('a')), { [`${at}/2/name`]: /once/ })
  for (const name of ['', '*', '(other)', 'A']) t.match(segment(named(name)), { [`${at}/0/name`]: /./ }, name)
  t.match(segment(...Array.from({ length: 17 }, (_, each) => named(`s${each}`))), { [at]: /equal to 16/ })
  t.match(segment({ ...named('a'), value: 'EUR' }), { [`${at}/0/value`]: /nearest known is values/ })
  t.match(faults({ policy: { governance: { segment: [] } } }), { '/policy/governance/segment': /known is segments/ })
  const { policy } = loadConfig({ env: { ASSAY_POLICY__GOVERNANCE__SEGMENTS: JSON.stringify([named('euros')]) } })
  t.same(policy.governance?.segments, [named('euros')])
  t.equal('governance' in loadConfig({ env: {} }).policy, false, 'none are declared unless somebody does')
  t.end()
})

void t.test('a listener beyond loopback needs keys, or insecure written out', (t) => {
  const http = (more: object) => ({ process: { http: { host: '0.0.0.0', ...more } } })
  t.match(faults(http({})), { '/process/http/host': /insecure: true/ })
  t.match(faults({ process: { operations: { host: '::' } } }), { '/process/operations/host': /tokens_file/ })
  t.same(faults(http({ insecure: true })), {})
  t.same(faults(http({ keys_file: 'keys.json' })), {})
  for (const host of ['127.0.0.1', '127.9.9.9', '::1', 'localhost']) t.same(faults({ process: { http: { host } } }), {})
  t.ok('/process/http/host' in faults({ process: { http: { host: '127.0.0.1.example.org' } } }))
  t.end()
})

void t.test('keys stand in their file as hashes only', (t) => {
  const keys = { keys: [{ name: 'shop', sha256: 'a'.repeat(64), role: 'scorer' }] }
  t.same(loadKeys(fileOf(keys)), keys)
  t.throws(() => loadKeys(fileOf({ keys: [{ name: 'shop', key: 'secret' }] })), { code: 'ASSAY_CONFIG_INVALID' })
  t.end()
})

void t.test('config check and config print answer with text and an exit code', (t) => {
  const said: string[] = []
  const io = { env: {}, out: (text: string) => said.push(text), err: (text: string) => said.push(text) }
  const run = (...args: string[]) => [configCommand(args, io), said.splice(0).join('')] as const
  t.match(run('check', fileOf({})), [0, /valid/])
  t.match(run('check', fileOf({ nope: 1 })), [1, /ASSAY_CONFIG_INVALID[^]*\/nope/])
  t.match(run('print'), [0, /port: 8080/])
  t.match(run('print', '--json'), [0, /^\{/])
  t.match(run('check'), [2, /ASSAY_USAGE/])
  t.match(run('--help'), [0, /config print/])
  t.end()
})

void t.test('a schema registry: whole or not at all, no password in it, and Avro only with one', (t) => {
  const subjects = { transactions: 'transactions-value', decisions: 'decisions-value' }
  const registry = { url: 'https://schemas.example:8081/apis/ccompat/v7', subjects }
  const kafka = (over: object): Record<string, string> => faults({ process: { kafka: over } })
  t.same(kafka({ registry, decisions_format: 'avro' }), {})
  t.same(kafka({ registry: { ...registry, username: 'assay', password_file: '/run/password' } }), {})
  t.same(Object.keys(kafka({ decisions_format: 'avro' })), ['/process/kafka/decisions_format'])
  t.same(Object.keys(kafka({ registry: { ...registry, username: 'assay' } })), ['/process/kafka/registry/username'])
  for (const [part, bad] of [
    ['url', { url: 'ftp://schemas.example' }],
    ['url', { url: 'https://assay:secret@schemas.example' }],
    ['subjects/decisions', { subjects: { ...subjects, decisions: 'a/b' } }],
    ['password', { password: 'secret' }],
  ] as const)
    t.same(Object.keys(kafka({ registry: { ...registry, ...bad } })), [`/process/kafka/registry/${part}`])
  const clear = { ...registry, url: 'http://schemas.example/apis', username: 'assay', password_file: '/run/password' }
  t.same(Object.keys(kafka({ registry: clear })), ['/process/kafka/registry/url'], 'no password in the clear')
  for (const url of ['http://localhost:8081', 'http://127.0.0.1', 'http://[::1]:8081'])
    t.same(kafka({ registry: { ...clear, url } }), {})
  t.same(kafka({ registry: { ...registry, url: clear.url } }), {}, 'without one nothing is hidden')
  const env = {
    ASSAY_PROCESS__KAFKA__REGISTRY__URL: registry.url,
    ASSAY_PROCESS__KAFKA__REGISTRY__SUBJECTS__TRANSACTIONS: subjects.transactions,
    ASSAY_PROCESS__KAFKA__REGISTRY__SUBJECTS__DECISIONS: subjects.decisions,
  }
  t.same(loadConfig({ env }).process.kafka.registry, registry)
  t.end()
})
