// A Redis of several nodes, where one takes over from another: a cluster and sentinels. Commands fail meanwhile, and
// work again without a restart of whoever sends them.
import assert from 'node:assert/strict'
import t from 'tap'
import { checkRedis, script } from '../../src/redis/connection.js'
import { openProxy } from './proxy.js'
import { answered, openConnection, skipWithoutRedis, startCluster, startSentinels } from './rig.js'

t.setTimeout(300_000)
const skip = skipWithoutRedis()
const WAIT_MS = 60_000
const SECRET = 'the-right-one'
const PUT = script("redis.call('SET', KEYS[1], ARGV[1]) return redis.call('GET', KEYS[1])")
/** Its slot is 0. */
const FIRST = '{06S}'

void t.test('all slots are reached at once, and those of a dead node from its replica', { skip }, async (t) => {
  const cluster = await startCluster(t, { replicas: 1, password: SECRET })
  t.equal(await cluster.nodes[0].cli('cluster', 'keyslot', FIRST), '0')
  // One of its nodes names the others.
  const config = cluster.config({ nodes: [cluster.nodes[4].node] })
  const { connection, states } = openConnection(t, config)
  await answered(() => checkRedis(connection, config, WAIT_MS))
  const keys = Array.from({ length: 1_000 }, (_, index) => `assay:{${index}}`)
  const put = await Promise.all(keys.map((key) => connection.run(PUT, [key], [key])))
  t.same(
    put,
    keys.map((key) => Buffer.from(key)),
    'from the first moment, and whether or not a node has the script',
  )
  for (const node of cluster.nodes.slice(0, 3)) {
    t.ok(Number(await node.cli('dbsize')) > 100, 'they lie on all three')
  }

  const before = await cluster.primaryOf(0)
  await connection.call('set', FIRST, 'v')
  await cluster.untilCopied()
  const flight = failing(() => connection.call('get', FIRST))
  const next = await cluster.failover()
  t.not(next, before)
  t.same(await answered(() => connection.call('get', FIRST)), Buffer.from('v'))
  const failed = await flight.stop()
  t.ok(failed.length > 0, 'the slots of the dead node were gone for a while')
  t.same(
    failed.filter(({ code }) => code !== 'ASSAY_STATE_UNAVAILABLE'),
    [],
  )
  const again = await Promise.all(keys.map((key) => answered(() => connection.run(PUT, [key], [key]))))
  t.same(
    again,
    keys.map((key) => Buffer.from(key)),
  )

  await before?.restart()
  await cluster.untilWhole()
  await cluster.untilCopied()
  // A vote may come too late on a busy machine.
  await before?.cli('cluster', 'failover', 'takeover')
  await answered(async () => assert.equal((await cluster.primaryOf(0))?.node, before?.node))
  t.same(await answered(() => connection.call('get', FIRST)), Buffer.from('v'), 'and back')
  t.same(states, ['up'])
})

void t.test('what the sentinels name is served, before and after a failover', { skip }, async (t) => {
  const rig = await startSentinels(t, { password: SECRET, sentinelPassword: 'of-the-sentinels' })
  const config = rig.config({ database: 3 })
  const { connection, states } = openConnection(t, config)
  await checkRedis(connection, config, WAIT_MS)
  await connection.call('set', 'assay:k', 'before')
  await answered(async () => assert.equal(await rig.replica.cli('-n', '3', 'get', 'assay:k'), 'before'))

  const flight = failing(() => connection.call('set', 'assay:k', 'v'))
  const next = await rig.failover()
  await answered(() => connection.run(PUT, ['assay:k'], ['after']))
  const failed = await flight.stop()
  t.ok(failed.length > 0)
  t.same(
    failed.filter(({ code }) => code !== 'ASSAY_STATE_UNAVAILABLE'),
    [],
  )
  await answered(() => connection.run(PUT, ['assay:k'], ['last']))
  t.equal(await next.cli('-n', '3', 'get', 'assay:k'), 'last', 'in the same database')
  t.equal(states[0], 'up')
  t.equal(states.at(-1), 'up')

  const refused = async (edit: object, message: RegExp) => {
    const wrong = rig.config(edit)
    const { connection } = openConnection(t, wrong)
    await t.rejects(checkRedis(connection, wrong, WAIT_MS), { code: 'ASSAY_STATE_REFUSED', message })
    connection.close()
  }
  await refused({ master_name: 'unheard-of' }, /\/master_name: /)
  await refused({ sentinel_password_file: null }, /\/sentinel_password_file: /)
  await refused({ sentinel_password_file: config.password_file }, /\/sentinel_password_file: /)
  await refused({ password_file: config.sentinel_password_file }, /\/password_file: /)
})

void t.test('a failover that is heard of while a slow sentinel is asked is survived', { skip }, async (t) => {
  const rig = await startSentinels(t)
  // One of them asks just then, however long a failover takes.
  const delays = [250, 310, 370, 430, 480]
  const proxies = await Promise.all(delays.map(() => openProxy(rig.sentinels[0].port)))
  t.teardown(() => proxies.forEach((proxy) => proxy.close()))
  const connections = await Promise.all(
    proxies.map(async ({ port }) => {
      const config = rig.config({ nodes: [`127.0.0.1:${port}`] })
      const { connection } = openConnection(t, config)
      await checkRedis(connection, config, WAIT_MS)
      return connection
    }),
  )
  proxies.forEach((proxy, index) => proxy.delay(delays[index]))
  await rig.failover()
  for (const connection of connections) {
    t.same(await answered(() => connection.run(PUT, ['assay:k'], ['v'])), Buffer.from('v'))
  }
})

void t.test('a node that takes connections and answers none is given up by a cluster', { skip }, async (t) => {
  const cluster = await startCluster(t, { replicas: 1 })
  const config = cluster.config()
  const { connection } = openConnection(t, config)
  await checkRedis(connection, config, WAIT_MS)
  await answered(() => connection.call('set', FIRST, 'v'))
  await cluster.untilCopied()
  const before = await cluster.primaryOf(0)
  before?.pause()
  t.teardown(() => before?.resume())
  const late = connection.call('get', FIRST)
  await t.rejects(late, { code: 'ASSAY_STATE_UNAVAILABLE' })
  t.same(await answered(() => connection.call('get', FIRST)), Buffer.from('v'), 'from its replica')
})

void t.test('a cluster that is gone as a whole is there again by itself', { skip }, async (t) => {
  const cluster = await startCluster(t, { persistent: true })
  const config = cluster.config()
  const { connection, states } = openConnection(t, config)
  await checkRedis(connection, config, WAIT_MS)
  await answered(() => connection.call('set', FIRST, 'v'))
  await Promise.all(cluster.nodes.map((node) => node.kill()))
  await answered(async () => {
    await assert.rejects(connection.call('get', FIRST))
    assert.equal(connection.isUp(), false)
  })
  t.not(states.at(-1), 'up')
  await Promise.all(cluster.nodes.map((node) => node.restart()))
  t.same(await answered(() => connection.call('get', FIRST)), Buffer.from('v'))
  t.equal(states.at(-1), 'up')
})

/** Asks over and over, and keeps what was thrown. */
function failing(ask: () => Promise<unknown>): { stop(): Promise<{ code: string }[]> } {
  const failed: { code: string }[] = []
  let isOver = false
  const asking = (async () => {
    while (!isOver) {
      await ask().catch((error: { code: string }) => failed.push(error))
      await new Promise((resolve) => setTimeout(resolve, 10))
    }
  })()
  return {
    async stop() {
      isOver = true
      await asking
      return failed
    },
  }
}
