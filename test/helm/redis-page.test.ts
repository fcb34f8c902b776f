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
import { ROOT } from '../../bench/server.js'
import { loadConfig } from '../../src/config.js'
import { type RedisConfig, STATE_DEFAULTS } from '../../src/contract/state.js'
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
    ['pexpire', key, 60_000],
    ['xadd', 'assay:routes', '1-1', 'revision', 1],
    ['xrange', 'assay:routes', '-', '+'],
    ['xread', 'streams', 'assay:routes', 0],
    ['script', 'load', 'return 1'],
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
