// The pages of the Redis that servers share: a redis-server runs with the settings and the rights that REDIS.md gives,
// the server's own connection works with them and can do nothing else, one that is full refuses and keeps what it has,
// and the file of TWO-HOSTS.md is a configuration that the server takes.
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { ROOT, startServer } from '../../bench/server.js'
import { loadConfig } from '../../src/config.js'
import { type RedisConfig, STATE_DEFAULTS } from '../../src/contract/state.js'
import { QUICK_SERVE } from '../flow/quick.js'
import { checkRedis, connectRedis, type RedisConnection, script } from '../../src/redis/connection.js'

const page = readFileSync(join(ROOT, 'helm', 'REDIS.md'), 'utf8')
const hosts = readFileSync(join(ROOT, 'helm', 'host', 'TWO-HOSTS.md'), 'utf8')
/** The only block of that kind. */
function block(text: string, kind: string): string {
  const [found, ...more] = [...text.matchAll(new RegExp(`^\`\`\`${kind}\\n([\\s\\S]*?)^\`\`\`$`, 'gm'))]
  if (found?.[1] === undefined || more.length > 0) throw new Error(`not one block of ${kind}`)
  return found[1]
}
const settings = block(page, 'conf')
const rights = block(page, 'acl')

const isThere = spawnSync('redis-server', ['--version']).status === 0
const skip = !isThere && process.env.CI !== 'true' ? 'redis-server is not there' : false
const PASSWORD = 'of the servers'
const STARTS_MS = 20_000

/** A Redis as the page has it, and the way to it; both end with the test. */
async function redisOfPage(t: Test, ...more: string[]) {
  const folder = mkdtempSync(join(tmpdir(), 'assay-redis-'))
  const at = (name: string): string => join(folder, name)
  const hash = createHash('sha256').update(PASSWORD).digest('hex')
  writeFileSync(at('redis.conf'), settings)
  writeFileSync(at('users.acl'), rights.replace('SHA256', hash))
  writeFileSync(at('password'), `${PASSWORD}\n`)
  const where = ['--port', '0', '--unixsocket', at('socket'), '--dir', folder, '--aclfile', at('users.acl')]
  const server: ChildProcess = spawn('redis-server', [at('redis.conf'), ...where, ...more], { stdio: 'ignore' })
  const ended = once(server, 'exit')
  const config: RedisConfig = {
    ...STATE_DEFAULTS.redis,
    ...{ nodes: [`unix:${at('socket')}`], username: 'assay', password_file: at('password') },
  }
  const connection = connectRedis(config, { onState: () => undefined })
  t.teardown(async () => {
    connection.close()
    server.kill('SIGKILL')
    await ended
    rmSync(folder, { recursive: true })
  })
  await checkRedis(connection, config, STARTS_MS)
  return { connection, config }
}

async function infoOf(connection: RedisConnection, section: string): Promise<string> {
  return String(await connection.call('info', section))
}

void t.test('its settings hold, and its rights are enough for the servers', { skip, timeout: 60_000 }, async (t) => {
  const { connection } = await redisOfPage(t)
  t.match(await infoOf(connection, 'memory'), /maxmemory_policy:noeviction/)
  t.match(await infoOf(connection, 'persistence'), /aof_enabled:1/)
  const key = 'assay:{c-1}'
  const commands: readonly (readonly [string, ...(string | number)[]])[] = [
    ['set', key, 'a', 'px', 60_000],
    ['append', key, 'b'],
    ['get', key],
    ['getrange', key, 0, 0],
    ['strlen', key],
    ['pexpire', key, 60_000],
    ['exists', key],
    ['hset', 'assay:servers', 'a', 1],
    ['hgetall', 'assay:servers'],
    ['hdel', 'assay:servers', 'a'],
    ['xadd', 'assay:routes', '1-1', 'revision', 1],
    ['xread', 'streams', 'assay:routes', 0],
    ['xrange', 'assay:routes', '-', '+'],
    ['xrevrange', 'assay:routes', '+', '-'],
    ['time'],
    ['info', 'server'],
  ]
  for (const [name, ...args] of commands) await t.resolves(connection.call(name, ...args), name)
  const read = script(`return redis.call('get', KEYS[1])`)
  for (const how of ['by its text', 'by its sha']) t.same(await connection.run(read, [key], []), Buffer.from('ab'), how)
  const used = new Set([...commands.map(([name]) => name), 'eval', 'evalsha', 'client'])
  const granted = [...rights.matchAll(/ \+([a-z]+)/g)].map(([, name]) => name ?? '')
  t.same(
    granted.filter((name) => !used.has(name)),
    [],
    'none that is not tried here',
  )
})

void t.test('a server scores, labels and is routed with these rights', { skip, timeout: 120_000 }, async (t) => {
  const { config } = await redisOfPage(t)
  const folder = mkdtempSync(join(tmpdir(), 'assay-rights-'))
  const redis = { username: 'assay', password_file: config.password_file, nodes: JSON.stringify(config.nodes) }
  const settings = Object.entries(redis).map(([key, value]) => [`ASSAY_PROCESS__STATE__REDIS__${key}`, value ?? ''])
  // However busy the machine is.
  const patient = { ASSAY_POLICY__STATE__WAIT_MS: '1000', ASSAY_POLICY__STATE__ON_UNAVAILABLE: 'local' }
  const env = { ...Object.fromEntries(settings), ...patient, ASSAY_PROCESS__STATE__KIND: 'redis' }
  const server = await startServer({ dataDir: folder, env, command: QUICK_SERVE })
  t.teardown(async () => {
    await server.kill()
    rmSync(folder, { recursive: true })
  })
  const post = (port: number, path: string, body: object, headers = {}): Promise<Response> =>
    fetch(`http://127.0.0.1:${port}${path}`, {
      ...{ method: 'POST', body: JSON.stringify(body) },
      headers: { 'content-type': 'application/json', ...headers },
    })
  const named = { transaction_id: 'tx-of-rights', occurred_at: new Date().toISOString(), customer_id: 'c1' }
  const payment = { ...named, amount_minor: 100, currency: 'EUR', terminal_id: 't1' }
  const label = { ...named, kind: 'authorisation', approved: false, source: 'issuer', known_at: named.occurred_at }
  t.equal((await post(server.scorePort, '/v1/labels', label)).status, 202)
  for (const replayed of [null, 'true']) {
    const answer = await post(server.scorePort, '/v1/score', payment)
    t.equal(answer.headers.get('idempotent-replayed'), replayed)
    t.match(await answer.json(), { transaction_id: 'tx-of-rights', features: ['cold', 'shared'] })
  }
  t.notMatch(server.output(), /SharedStateFailed|NOPERM|FleetLost/)
})

void t.test('nothing else is allowed: no other key, command or person', { skip, timeout: 60_000 }, async (t) => {
  const { connection, config } = await redisOfPage(t)
  const refused = { code: 'ASSAY_STATE_REFUSED' }
  await t.rejects(connection.call('get', 'sessions:1'), refused)
  await t.rejects(connection.call('set', 'assays', 'x'), refused)
  await t.rejects(connection.run(script(`return redis.call('get', 'sessions:1')`), ['assay:{c-1}'], []), refused)
  for (const args of [['flushall'], ['keys', '*'], ['config', 'get', '*'], ['del', 'assay:{c-1}'], ['acl', 'list']]) {
    const [command = '', ...rest] = args
    await t.rejects(connection.call(command, ...rest), refused, command)
  }
  const nobody = { ...config, username: null, password_file: null }
  const stranger = connectRedis(nobody, { onState: () => undefined })
  t.teardown(() => stranger.close())
  await t.rejects(checkRedis(stranger, nobody, 500), { code: /^ASSAY_STATE_/ })
})

void t.test('one that is full refuses, and keeps what it has', { skip, timeout: 60_000 }, async (t) => {
  const { connection } = await redisOfPage(t, '--maxmemory', '4mb')
  await connection.call('set', 'assay:{first}', 'held', 'px', 600_000)
  const fill = async (): Promise<void> => {
    for (let i = 0; i < 1_000; i++) await connection.call('set', `assay:{c-${i}}`, Buffer.alloc(65_536), 'px', 600_000)
  }
  await t.rejects(fill(), { code: 'ASSAY_STATE_UNAVAILABLE', message: /OOM/ }, 'another try can help')
  t.same(await connection.call('get', 'assay:{first}'), Buffer.from('held'))
  t.match(await infoOf(connection, 'stats'), /evicted_keys:0\r/)
})

void t.test('the file of two hosts is one that the server takes', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'assay-hosts-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  const file = join(folder, 'assay.yaml')
  writeFileSync(file, block(hosts, 'yaml'))
  const { process, policy } = loadConfig({ file, env: {} })
  t.match(process.state, { kind: 'redis', redis: { topology: 'sentinel', master_name: 'assay', username: 'assay' } })
  t.same(policy.state, { wait_ms: 4, on_unavailable: 'local' })
  writeFileSync(file, block(hosts, 'yaml').replace(/^ *tls:.*\n/m, ''))
  t.throws(() => loadConfig({ file, env: {} }), { code: 'ASSAY_CONFIG_INVALID' }, 'no password in the clear')
  t.end()
})

const canVerify = spawnSync('which', ['systemd-analyze']).status === 0
const noVerify = !canVerify && process.env.CI !== 'true' ? 'systemd-analyze is not there' : false

void t.test('what it adds to the unit is valid', { skip: noVerify }, (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'assay-hosts-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  const unit = join(folder, 'assay.service')
  const faults = (added: string): string[] => {
    writeFileSync(unit, `${readFileSync(join(ROOT, 'helm', 'host', 'assay.service'), 'utf8')}\n${added}`)
    const { stderr } = spawnSync('systemd-analyze', ['verify', unit], { encoding: 'utf8' })
    return stderr.split('\n').filter((line) => /assay/.test(line))
  }
  t.same(faults(block(hosts, 'ini')), [])
  t.ok(faults(block(hosts, 'ini').replace('RestartSec', 'RestartSecs')).length > 0, 'a key that is not one')
  t.end()
})
