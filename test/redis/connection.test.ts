// The way to one Redis: what goes out and comes back, in which order and how often it is sent, and what becomes of it
// while the Redis is slow, full, paused, gone and back.
import assert from 'node:assert/strict'
import { setImmediate } from 'node:timers/promises'
import t from 'tap'
import { script } from '../../src/redis/connection.js'
import { answered, openConnection, type RedisServer, skipWithoutRedis, startRedis } from './rig.js'
import { openProxy } from './proxy.js'

t.setTimeout(240_000)
const skip = skipWithoutRedis()
const UNAVAILABLE = { code: 'ASSAY_STATE_UNAVAILABLE' }
const BYTES = Buffer.from([0, 13, 10, 36, 42, 255, 254, 128])
const APPEND = script("return {redis.call('APPEND', KEYS[1], ARGV[1]), redis.call('GET', KEYS[1]), ARGV[2]}")

async function counted(server: RedisServer, name: string): Promise<number> {
  return Number(new RegExp(`^${name}:(\\d+)$`, 'm').exec(await server.cli('info', 'stats'))?.[1])
}

void t.test('bytes go and come back as they are, and replies as Redis gives them', { skip }, async (t) => {
  const server = await startRedis(t)
  const { connection, states } = openConnection(t, server.config())
  t.equal(connection.isUp(), false)
  await answered(() => connection.call('ping'))
  t.equal(connection.isUp(), true)
  const key = `assay:{${BYTES.toString('latin1')}}`
  t.same(await connection.call('set', key, BYTES), Buffer.from('OK'))
  t.same(await connection.call('get', key), BYTES)
  t.equal(await connection.call('get', 'assay:none'), null)
  t.equal(await connection.call('append', key, Buffer.alloc(0)), BYTES.length)
  const twice = Buffer.concat([BYTES, BYTES])
  t.same(await connection.run(APPEND, [key], [BYTES, 7]), [16, twice, Buffer.from('7')])
  await connection.call('hset', 'assay:h', 'a', BYTES, 'b', 2)
  const pairs = [Buffer.from('a'), BYTES, Buffer.from('b'), Buffer.from('2')]
  t.same(await connection.call('hgetall', 'assay:h'), pairs, 'no object is made of it')
  t.same(states, ['up'])

  const wrong = { code: 'ASSAY_STATE_REFUSED', message: /^\/process\/state\/redis\/nodes: WRONGTYPE/ }
  await t.rejects(connection.call('incr', 'assay:h'), wrong, 'a key of something else')
  await t.rejects(connection.run(script('return nothing('), [key], []), { code: 'ASSAY_STATE_REFUSED' })
  const other = connection.duplicate()
  t.teardown(() => other.close())
  const waiting = answered(() => other.call('blpop', 'assay:list', 5))
  await answered(async () => assert.match(await server.cli('info', 'clients'), /blocked_clients:1/))
  t.same(await connection.call('get', key), twice, 'who waits is not in the way')
  await connection.call('rpush', 'assay:list', 'x')
  t.same(await waiting, [Buffer.from('assay:list'), Buffer.from('x')])
  connection.close()
  await t.rejects(connection.call('ping'), UNAVAILABLE)
})

void t.test('replies come in the order of sending, and a script that was forgotten goes again', { skip }, async (t) => {
  const server = await startRedis(t)
  const { connection } = openConnection(t, server.config())
  await answered(() => connection.call('ping'))
  const order: number[] = []
  const sent = Array.from({ length: 1_000 }, async (_, index) => {
    const reply = await connection.call('incr', 'assay:n')
    order.push(index)
    return reply
  })
  const upTo = (count: number) => Array.from({ length: count }, (_, index) => index)
  t.same(
    await Promise.all(sent),
    upTo(1_000).map((index) => index + 1),
  )
  t.same(order, upTo(1_000))
  const add = script("return redis.call('INCRBY', KEYS[1], ARGV[1])")
  t.equal(await connection.run(add, ['assay:n'], [1]), 1_001)
  await server.cli('script', 'flush')
  const burst = await Promise.all(upTo(100).map(() => connection.run(add, ['assay:n'], [1])))
  t.same(
    burst,
    upTo(100).map((index) => 1_002 + index),
    'each once, in order',
  )
})

void t.test('commands of one turn leave in one write', { skip }, async (t) => {
  const server = await startRedis(t)
  const { connection } = openConnection(t, server.config())
  await answered(() => connection.call('ping'))
  const before = await counted(server, 'total_reads_processed')
  const [rounds, perRound] = [200, 3]
  for (let round = 0; round < rounds; round++) {
    await Promise.all(Array.from({ length: perRound }, () => connection.run(APPEND, ['assay:k'], [BYTES, ''])))
    await connection.call('del', 'assay:k')
  }
  // The first round asks once more for its script, which is not known yet; what the command line asks is read too.
  const reads = (await counted(server, 'total_reads_processed')) - before
  t.ok(reads >= 2 * rounds && reads < 2 * rounds + 10, `${reads} reads of ${(perRound + 1) * rounds} commands`)
})

void t.test('a Redis that is killed fails what is asked, and is there again by itself', { skip }, async (t) => {
  const server = await startRedis(t, { persistent: true })
  const { connection, states } = openConnection(t, server.config())
  await answered(() => connection.call('set', 'assay:k', 'v'))
  server.pause()
  const inFlight = connection.call('get', 'assay:k')
  server.resume()
  t.same(await inFlight, Buffer.from('v'), 'a pause is only slow')

  server.pause()
  const lost = connection.call('get', 'assay:k')
  // It is on its way then.
  await setImmediate()
  await Promise.all([t.rejects(lost, { ...UNAVAILABLE, message: /closed|ECONNRESET/ }), server.kill()])
  await t.rejects(connection.call('get', 'assay:k'), UNAVAILABLE)
  t.equal(connection.isUp(), false)
  await server.restart()
  t.same(await answered(() => connection.call('get', 'assay:k')), Buffer.from('v'))
  t.match(states, ['up', /closed|ECONNRESET/])
  t.equal(states.at(-1), 'up')
  t.ok(states.length <= 5, 'each state is said once, not at each try')
})

void t.test('what is slow is answered, what is silent given up, and nothing is sent twice', { skip }, async (t) => {
  const server = await startRedis(t, { tcp: true })
  const proxy = await openProxy(server.port)
  t.teardown(() => proxy.close())
  const { connection, states } = openConnection(t, server.config({ nodes: [`127.0.0.1:${proxy.port}`] }))
  await answered(() => connection.call('ping'))
  proxy.delay(2_500)
  const slow = [1, 2, 3].map(() => connection.call('incr', 'assay:slow'))
  t.same(await Promise.all(slow), [1, 2, 3], 'after five seconds')

  proxy.delay(0)
  proxy.hold()
  const silent = connection.call('incr', 'assay:silent')
  await t.rejects(silent, { ...UNAVAILABLE, message: /Socket timeout/ })
  t.equal(connection.isUp(), false)
  proxy.release()
  await answered(() => connection.call('ping'))

  proxy.delay(2_000)
  const cut = connection.call('incr', 'assay:cut')
  await answered(async () => assert.equal(await server.cli('get', 'assay:cut'), '1'))
  proxy.cut()
  await t.rejects(cut, UNAVAILABLE, 'it was carried out, and the answer is lost')
  proxy.delay(0)
  proxy.refuse()
  await answered(() => Promise.resolve(assert.match(states.at(-1) ?? '', /ECONNREFUSED/)))
  await t.rejects(connection.call('ping'), { ...UNAVAILABLE, message: /ECONNREFUSED/ })
  await proxy.accept()
  await answered(() => connection.call('ping'))
  t.equal(await server.cli('get', 'assay:cut'), '1')
})

void t.test('a Redis without room, or of another role now, helps later', { skip }, async (t) => {
  const server = await startRedis(t, { tcp: true, maxmemory: '3mb' })
  const { connection } = openConnection(t, server.config())
  await answered(() => connection.call('ping'))
  const fill = async (): Promise<void> => {
    for (let index = 0; index < 1_000; index++) await connection.call('set', `assay:${index}`, Buffer.alloc(65_536))
  }
  await t.rejects(fill(), { ...UNAVAILABLE, message: /OOM/ })
  // Buffers that were needed meanwhile may have left room for something small.
  await server.cli('config', 'set', 'maxmemory', '1mb')
  await t.rejects(connection.run(APPEND, ['assay:0'], [BYTES, '']), { ...UNAVAILABLE, message: /OOM/ })
  t.ok(await connection.call('get', 'assay:0'), 'it still reads')
  await server.cli('config', 'set', 'maxmemory', '64mb')
  await connection.call('set', 'assay:0', 'v')

  // Of a primary that answers nobody.
  await server.cli('replicaof', '127.0.0.1', '1')
  await t.rejects(connection.run(APPEND, ['assay:0'], [BYTES, '']), { ...UNAVAILABLE, message: /READONLY/ })
  await server.cli('replicaof', 'no', 'one')
  await answered(() => connection.call('set', 'assay:0', 'w'))
})
