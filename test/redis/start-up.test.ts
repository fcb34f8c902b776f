// What is said at the start of a Redis that will not do, by the path of the configuration that it is about, and never
// with a password; and of one that is not there, which is waited for no longer than was asked.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { inspect } from 'node:util'
import t, { type Test } from 'tap'
import { type RedisConfig, STATE_DEFAULTS } from '../../src/contract/state.js'
import { AssayError } from '../../src/errors.js'
import { checkRedis, connectRedis } from '../../src/redis/connection.js'
import { makeCertificates } from '../access/certificates.js'
import { freePort } from '../clients/clients.js'
import { answered, openConnection, skipWithoutRedis, startCluster, startRedis } from './rig.js'

t.setTimeout(240_000)
const skip = skipWithoutRedis()
const AT = '/process/state/redis'
/** Of what is there; a busy machine may take its time. */
const WAIT_MS = 60_000
const SECRET = 'a-secret-of-nobody'

const folder = await mkdtemp(join(tmpdir(), 'assay-redis-start-'))
t.teardown(() => rm(folder, { recursive: true, force: true }))
async function file(name: string, text: string): Promise<string> {
  await writeFile(join(folder, name), text)
  return join(folder, name)
}

/** Code and text of what the check says. The secret is in nothing that could be shown of it. */
async function checked(t: Test, config: RedisConfig, waitMs = WAIT_MS): Promise<string> {
  const { connection, states } = openConnection(t, config)
  try {
    await checkRedis(connection, config, waitMs)
    return 'ok'
  } catch (error) {
    if (!(error instanceof AssayError)) throw error
    t.notOk(inspect([error, error.cause, states], { depth: 9, showHidden: true }).includes(SECRET))
    return `${error.code} ${error.message}`
  } finally {
    connection.close()
  }
}

/** Answers INFO with this text, and everything else with OK. */
async function startFake(t: Test, info: string): Promise<string> {
  const server = createServer((socket) => {
    socket.on('error', () => undefined)
    socket.on('data', (chunk) => {
      for (const [command] of chunk.toString().matchAll(/\*\d+\r\n(?:\$\d+\r\n[^\r]*\r\n)+/g)) {
        socket.write(/\ninfo\r/i.test(command) ? `$${info.length}\r\n${info}\r\n` : '+OK\r\n')
      }
    })
    t.teardown(() => socket.destroy())
  })
  server.listen(0, '127.0.0.1')
  t.teardown(() => server.close())
  await once(server, 'listening')
  const address = server.address()
  return `127.0.0.1:${typeof address === 'object' && address !== null ? address.port : 0}`
}

void t.test('who may not come in, or not do what is needed, is refused', { skip }, async (t) => {
  const acl = ['user reader on >reader ~* +@all -@scripting', 'user other on >other ~other:* +@all']
  const server = await startRedis(t, { acl: [...acl, 'user default on >right ~* +@all'], databases: 2 })
  const as = (username: string | null, password_file: string) => server.config({ username, password_file })
  const right = await file('right', 'right\n')
  t.equal(await checked(t, as(null, right)), 'ok')
  t.equal(await checked(t, { ...as('default', right), database: 1 }), 'ok')
  const wrong = as(null, await file('wrong', SECRET))
  t.match(await checked(t, wrong), `ASSAY_STATE_REFUSED ${AT}/password_file: `)
  t.match(await checked(t, { ...wrong, username: 'reader' }), `ASSAY_STATE_REFUSED ${AT}/password_file: `)
  t.match(await checked(t, server.config()), `ASSAY_STATE_REFUSED ${AT}/password_file: `, 'none, and it asks for one')
  const reader = as('reader', await file('reader', 'reader'))
  t.match(await checked(t, reader), `ASSAY_STATE_REFUSED ${AT}/username: `, 'no scripts')
  const other = as('other', await file('other', 'other'))
  t.match(await checked(t, other), `ASSAY_STATE_REFUSED ${AT}/username: `, 'no key of this prefix')
  t.equal(await checked(t, { ...other, key_prefix: 'other:x' }), 'ok')

  const far = { ...as(null, right), database: 7 }
  t.match(await checked(t, far), `ASSAY_STATE_REFUSED ${AT}/database: `)
  const { connection } = openConnection(t, far)
  await answered(() => assert.rejects(connection.call('set', 'k', 'v'), { message: /\/database: / }))
  t.equal(connection.isUp(), false)
  const { connection: sound } = openConnection(t, as(null, right))
  t.equal(await answered(() => sound.call('exists', 'k')), 0, 'nothing was written into another database')
})

void t.test('a topology that is another is refused', { skip }, async (t) => {
  const [server, cluster] = await Promise.all([startRedis(t, { tcp: true }), startCluster(t)])
  t.match(await checked(t, server.config({ topology: 'cluster' })), `ASSAY_STATE_REFUSED ${AT}/topology: `)
  t.match(await checked(t, cluster.nodes[0].config()), `ASSAY_STATE_REFUSED ${AT}/topology: `)
  t.equal(await checked(t, cluster.config()), 'ok')
})

void t.test('one that removes keys when it is full is refused', { skip }, async (t) => {
  const settings = { 'maxmemory-policy': 'volatile-lru' }
  const [bounded, unbounded] = await Promise.all([
    startRedis(t, { maxmemory: '64mb', settings }),
    startRedis(t, { settings }),
  ])
  t.match(await checked(t, bounded.config()), `ASSAY_STATE_REFUSED ${AT}/nodes: its maxmemory-policy is volatile-lru`)
  t.equal(await checked(t, unbounded.config()), 'ok', 'it is never full')
})

void t.test('releases that are too old are refused, and Valkey is understood', { skip }, async (t) => {
  const config = (node: string): RedisConfig => ({ ...STATE_DEFAULTS.redis, nodes: [node] })
  for (const [info, said] of [
    ['redis_version:6.0.16\r\nredis_mode:standalone', `ASSAY_STATE_REFUSED ${AT}/nodes: Redis 6.2 or later is needed`],
    ['redis_version:5.0.14\r\nredis_mode:standalone', 'this is 5.0'],
    ['something:else', 'this is 0.0'],
    ['redis_version:6.2.0\r\nredis_mode:standalone', 'ok'],
    ['redis_version:7.2.4\r\nserver_name:valkey\r\nserver_mode:standalone', 'ok'],
    ['redis_version:7.2.4\r\nserver_name:valkey\r\nserver_mode:cluster', `${AT}/topology: this is a node of a cluster`],
  ] as const)
    t.match(await checked(t, config(await startFake(t, info))), said, info)
})

void t.test('who is not there, or does not answer, is waited for as long as was said', { skip }, async (t) => {
  const nobody = `127.0.0.1:${await freePort()}`
  const gone = { ...STATE_DEFAULTS.redis, nodes: [nobody] }
  t.match(await checked(t, gone, 300), new RegExp(`ASSAY_STATE_UNAVAILABLE no answer from ${nobody}: .*ECONNREFUSED`))
  t.match(await checked(t, { ...gone, topology: 'cluster' }, 300), 'ASSAY_STATE_UNAVAILABLE')
  const server = await startRedis(t)
  const config = server.config()
  const { connection } = openConnection(t, config)
  await checkRedis(connection, config, WAIT_MS)
  server.pause()
  const late = { code: 'ASSAY_STATE_UNAVAILABLE', message: /nothing came within 300 ms/ }
  await t.rejects(checkRedis(connection, config, 300), late, 'it was there before')
  t.match(await checked(t, config, 300), 'ASSAY_STATE_UNAVAILABLE', 'it takes the connection, and no more')
  await server.kill()
  t.match(await checked(t, config, 300), 'ASSAY_STATE_UNAVAILABLE')
  await server.restart()
  await checkRedis(connection, config, WAIT_MS)
})

void t.test('over TLS it knows whom it speaks to, and shows who it is', { skip }, async (t) => {
  const { caFile, server, client } = makeCertificates(await mkdtemp(join(folder, 'tls-')))
  const foreign = makeCertificates(await mkdtemp(join(folder, 'foreign-')))
  const port = await freePort()
  await startRedis(t, {
    settings: {
      ...{ 'tls-port': String(port), 'tls-auth-clients': 'yes', 'tls-ca-cert-file': caFile },
      ...{ 'tls-cert-file': server.cert_file, 'tls-key-file': server.key_file },
    },
  })
  const with_ = (tls: RedisConfig['tls'], host = 'localhost'): RedisConfig => ({
    ...STATE_DEFAULTS.redis,
    ...{ nodes: [`${host}:${port}`], tls },
  })
  const { cert_file, key_file } = client
  const good = { ca_file: caFile, cert_file, key_file }
  t.equal(await checked(t, with_(good)), 'ok')
  t.equal(await checked(t, with_(good, '127.0.0.1')), 'ok')
  for (const [bad, what] of [
    [{ ca_file: foreign.caFile, cert_file, key_file }, 'a server of another authority'],
    [{ ca_file: null, cert_file, key_file }, 'a server of no known authority'],
    [{ ca_file: caFile, cert_file: null, key_file: null }, 'a client without a certificate'],
    [{ ca_file: caFile, cert_file: foreign.client.cert_file, key_file: foreign.client.key_file }, 'a foreign client'],
    [null, 'in the clear'],
  ] as const)
    t.match(await checked(t, with_(bad), 1_000), 'ASSAY_STATE_UNAVAILABLE', what)
})

void t.test('files that cannot be read are named', async (t) => {
  const empty = await file('empty', '\n')
  const tls = { ca_file: null, cert_file: null, key_file: null }
  for (const [edit, path] of [
    [{ password_file: join(folder, 'gone') }, 'password_file'],
    [{ password_file: empty }, 'password_file'],
    [{ topology: 'sentinel', master_name: 'm', sentinel_password_file: empty }, 'sentinel_password_file'],
    [{ tls: { ...tls, ca_file: join(folder, 'gone') } }, 'tls/ca_file'],
    [{ tls: { ...tls, cert_file: empty } }, 'tls/cert_file'],
  ] as const) {
    const connect = () => connectRedis({ ...STATE_DEFAULTS.redis, ...edit }, { onState: () => undefined })
    t.throws(connect, { code: 'ASSAY_CONFIG_INVALID', errors: [{ path: `${AT}/${path}` }] }, path)
  }
})
