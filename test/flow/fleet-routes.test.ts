// Servers that share their routes through a real Redis: what one is asked for all obey; what becomes of it where Redis
// is away, where a server lacks a model, and where the routes are of a newer release.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import t, { type Test } from 'tap'
import { CLI, ROOT } from '../../bench/server.js'
import { type RedisServer, skipWithoutRedis, startCluster, startRedis, startSentinels } from '../redis/rig.js'
import { type Answer, answer, type Edit, FIXTURE_MODELS, request, type Rig, startRig, until } from './server-rig.js'
import { readRoutesLog } from './routes-judge.js'

t.setTimeout(600_000)

const skip = skipWithoutRedis()

async function start(t: Test, redis: Pick<RedisServer, 'config'>, dataDir?: string, edit?: Edit): Promise<Rig> {
  const rig = await startRig({
    ...(dataDir !== undefined && { dataDir }),
    edit(config) {
      const { process, policy } = config
      process.state = { kind: 'redis', redis: redis.config() }
      process.models_dir = FIXTURE_MODELS
      policy.routes = { ...policy.routes, champion: 'linear@1', challenger: null, share: 0, baseline: 'scorecard@1' }
      policy.budgets = { deadline_ms: 1_000, log_wait_ms: 10_000 }
      policy.ramp_guards = {
        ...{ samples_min: 20, errors_above: 0.05, degraded_above: 0.5, declines_above: 1, latency_p95_ms_above: 1_000 },
        on_trip: 'roll_back',
      }
      policy.catalogue.features.push({
        ...{ name: 'customer_sum_30d', kind: 'aggregate', entity: 'customer_id', function: 'sum' },
        ...{ of: 'amount', window: '30d', missing: 'nan' },
      })
      edit?.(config)
    },
  })
  t.teardown(() => rig.remove())
  return rig
}

/** One after the other: a loop that they share is held up less. */
async function startTwo(t: Test, redis: Pick<RedisServer, 'config'>): Promise<[Rig, Rig]> {
  return [await start(t, redis), await start(t, redis)]
}

const reason = 'a test'

/** `PUT /v1/routes`, or `POST /v1/routes:<verb>`. */
function change(rig: Rig, verb: string, body: object = {}, revision?: number): Promise<Answer> {
  const [method, path] = verb === 'set' ? (['PUT', ''] as const) : (['POST', `:${verb}`] as const)
  const headers = { 'content-type': 'application/json', ...(revision !== undefined && { 'if-match': `"${revision}"` }) }
  const sent = { method, headers, body: JSON.stringify({ ...body, reason }) }
  return answer(fetch(`${rig.server.operationsUrl}/v1/routes${path}`, sent))
}

function load(rig: Rig, model: string): Promise<Answer> {
  return request(`${rig.server.operationsUrl}/v1/models/${model.replace('@', '/')}:load`, { reason })
}

async function assay(rig: Rig, ...args: string[]): Promise<{ code: number; out: string }> {
  const env = { ...process.env, ASSAY_OPERATIONS_URL: rig.server.operationsUrl }
  const child = spawn(process.execPath, [CLI, ...args], { cwd: ROOT, env, stdio: ['ignore', 'pipe', 'inherit'] })
  let out = ''
  child.stdout.on('data', (chunk: Buffer) => (out += chunk.toString()))
  const [code] = (await once(child, 'close')) as [number]
  return { code, out }
}

interface Shown {
  readonly revision: number
  readonly share: number
  readonly forced: { readonly baseline: boolean }
  readonly ramp: { readonly state: string } | null
  readonly fleet: {
    readonly redis_seen: boolean
    readonly newest_revision: number | null
    readonly held_back: object | null
    readonly servers: readonly { readonly revision: number }[]
  }
}

const shown = async (rig: Rig): Promise<Shown> => (await rig.operations('/v1/routes')).body as Shown

function untilShown(rig: Rig, what: string, holds: (body: Shown) => boolean) {
  return until(async () => holds(await shown(rig)), what, { msMax: 60_000, everyMs: 20 })
}

const untilRevision = (rig: Rig, revision: number): Promise<void> =>
  untilShown(rig, `revision ${revision}`, (body) => body.revision === revision)

let sent = 0
async function roleFor(rig: Rig): Promise<string> {
  const customer_id = `c${sent}`
  const transaction = { transaction_id: `t-${sent++}`, occurred_at: new Date().toISOString(), amount_minor: 100 }
  const { body } = await rig.score({ ...transaction, currency: 'EUR', customer_id })
  return body.model.role as string
}

void t.test('what one server is asked every server serves', { skip }, async (t) => {
  const redis = await startRedis(t)
  const [a, b] = await startTwo(t, redis)
  for (const rig of [a, b]) for (const model of ['trees@1', 'flat@1']) t.equal((await load(rig, model)).status, 200)
  t.match(await shown(a), { revision: 0, fleet: { redis_seen: true, newest_revision: 0 } }, 'loading is of one server')

  const set = await change(a, 'set', { challenger: 'trees@1', share: 2_000 }, 0)
  t.match(set, { status: 200, body: { change: { revision: 1, effective: true, durable: true, shared: true } } })
  await untilRevision(b, 1)
  t.match(await shown(b), { challenger: 'trees@1', share: 2_000, last_change: { kind: 'set', actor: 'local', reason } })
  t.equal((await b.operations('/v1/routes')).headers.get('etag'), '"1"')

  const both = await Promise.all([change(a, 'set', { share: 3_000 }, 1), change(b, 'set', { share: 4_000 }, 1)])
  t.same(both.map(({ status }) => status).sort(), [200, 412], 'of two at once one is told of the conflict')
  t.equal(both.find(({ status }) => status === 412)?.body.code as string, 'ASSAY_REVISION_STALE')
  const models = ['linear@1', 'trees@1', 'flat@1', undefined]
  const all = await Promise.all(models.map((model, at) => change([a, b][at % 2], 'force', { model })))
  t.same(
    all.map(({ status }) => status),
    [200, 200, 200, 200],
    'what names no revision is asked for again',
  )
  t.same(all.map(({ body }) => body.change.revision as number).sort(), [3, 4, 5, 6])
  await Promise.all([untilRevision(a, 6), untilRevision(b, 6)])
  t.match(await shown(b), { forced: { baseline: true } })
  t.equal(await roleFor(b), 'baseline')
  t.equal((await change(b, 'release')).status, 200)
  t.match((await change(b, 'rollback')).body, { share: 2_000, change: { revision: 8, shared: true } })
  await untilRevision(a, 8)
  t.match(await change(a, 'rollback'), { status: 409, body: { code: 'ASSAY_CHANGE_CONFLICT' } })

  await untilShown(
    a,
    'both are there',
    ({ fleet }) => fleet.servers.length === 2 && fleet.servers.every((one) => one.revision === 8),
  )
  t.equal((await a.metric('assay_fleet_servers')).get(''), 2)
  t.equal((await a.metric('assay_fleet_routes_revision')).get(''), 8)
  const status = await assay(a, 'route', 'status')
  t.match(status, { code: 0, out: /fleet {7}newest revision 8, Redis is seen\n/ })
  t.match(status.out, /revision 8, \S+ since \S+, this one\n/)
  await b.stop()
  await untilShown(a, 'one has left', ({ fleet }) => fleet.servers.length === 1)
  await change(a, 'set', { share: 100, challenger: 'flat@1' }, 8)
  const again = await start(t, redis, b.dataDir, ({ policy }) => void (policy.routes.champion = 'trees@1'))
  t.match(await shown(again), { revision: 9, champion: 'linear@1', challenger: 'flat@1' }, 'a start takes the newest')
  await Promise.all([a.stop(), again.stop()])
  const logs = await Promise.all([a, again].map(({ logDir }) => readRoutesLog(logDir)))
  const keys = logs.flatMap(({ routings }) => [...routings.values()].map(({ routes }) => routes.experiment_key))
  t.equal(new Set(keys).size, 1, 'one experiment deals the entities alike everywhere')
})

void t.test('while Redis is away the last routes are kept, and the panic button acts', { skip }, async (t) => {
  const redis = await startRedis(t)
  const [a, b] = await startTwo(t, redis)
  for (const rig of [a, b]) t.equal((await load(rig, 'trees@1')).status, 200)
  t.equal((await change(a, 'set', { challenger: 'trees@1', share: 0 }, 0)).status, 200)
  await untilRevision(b, 1)
  redis.pause()
  t.teardown(() => redis.resume())
  await untilShown(a, 'Redis is missed', ({ fleet }) => fleet.redis_seen === false)
  t.match(await shown(a), { revision: 1 })
  t.match((await a.operations('/v1/status')).body.reasons, ['Redis is not seen: the last routes are kept'])
  t.equal((await a.metric('assay_fleet_seen')).get(''), 0)
  t.ok(a.events.some(({ name }) => name === 'FleetLost'))
  t.equal(await roleFor(a), 'champion')
  for (const [verb, body] of [
    ['set', { share: 1 }],
    ['rollback', {}],
  ] as const) {
    t.match(await change(a, verb, body, 1), { status: 503, body: { code: 'ASSAY_STATE_UNAVAILABLE' } }, verb)
  }
  const panic = await change(a, 'force')
  t.match(panic, { status: 202, body: { change: { revision: 1, effective: true, shared: false } } })
  t.equal(await roleFor(a), 'baseline')
  t.equal(await roleFor(b), 'champion', 'the other one was not told')
  t.match(await change(a, 'release'), { status: 202, body: { change: { shared: false }, forced: { baseline: false } } })
  t.equal(await roleFor(a), 'champion')
  t.match(await assay(a, 'breaker', 'panic', '--reason', reason), { code: 3, out: /on this server alone/ })
  t.match(await change(a, 'force', { model: 'linear@1' }), { status: 202, body: { change: { shared: false } } })
  await a.stop()
  const alone = await start(t, redis, a.dataDir)
  t.match(await shown(alone), { revision: 1, fleet: { redis_seen: false, newest_revision: null } })
  t.equal(await roleFor(alone), 'baseline', 'over a restart, and without Redis')

  redis.resume()
  await untilShown(alone, 'Redis is seen again', ({ fleet }) => fleet.redis_seen && fleet.newest_revision === 1)
  await untilShown(b, 'the other one sees it too', ({ fleet }) => fleet.redis_seen)
  t.ok(alone.events.some(({ name }) => name === 'FleetReached'))
  t.equal((await change(b, 'force', { model: 'linear@1' })).body.change.shared, true)
  await untilRevision(alone, 2)
  t.match(await shown(alone), {
    forced: { baseline: true, open: ['linear@1'] },
    fleet: { forced_here: { baseline: true } },
  })
  t.equal(await roleFor(alone), 'baseline', 'what a hand has forced stays forced')
  t.match(await change(alone, 'release'), { status: 200, body: { change: { revision: 3, shared: true } } })
  t.match(await shown(alone), { forced: { baseline: false, open: [] }, fleet: { forced_here: null } })
  await untilRevision(b, 3)

  await redis.cli('flushall')
  await until(
    async () => (await redis.cli('xlen', 'assay:routes')) === '1',
    'a Redis that lost the routes gets them again',
  )
  t.match(await change(b, 'set', { share: 0 }, 3), { status: 409 }, 'these are the routes')
  t.match(await change(alone, 'set', { share: 7 }, 3), { status: 200, body: { revision: 4 } })

  // A primary that is followed by one without its last entry may give its revision away once more.
  const [, , text = ''] = (await redis.cli('xrevrange', 'assay:routes', '+', '-', 'COUNT', '1')).split('\n')
  const entry = JSON.parse(text) as { id: string; routing: { routes: { share: number } } }
  entry.id = 'another'
  entry.routing.routes.share = 9
  const lua = `redis.call('DEL', KEYS[1]) return redis.call('XADD', KEYS[1], '4-1', 'entry', ARGV[1])`
  await redis.cli('eval', lua, '1', 'assay:routes', JSON.stringify(entry))
  for (const rig of [alone, b]) {
    await untilShown(rig, 'two meanings of a revision become a new one', (body) => body.share === 9)
    t.match(await shown(rig), { revision: 5, last_change: { kind: 'join' } })
  }
})

void t.test('routes that a server cannot serve it passes by, and says so', { skip }, async (t) => {
  const redis = await startRedis(t)
  const [a, b] = await startTwo(t, redis)
  t.equal((await load(a, 'trees@1')).status, 200)
  t.equal((await change(a, 'set', { challenger: 'trees@1', share: 10_000 }, 0)).status, 200)
  await untilShown(b, 'held back', ({ fleet }) => fleet.held_back !== null)
  t.match(await shown(b), {
    ...{ revision: 0, challenger: null, pending_revision: 1 },
    fleet: { newest_revision: 1, held_back: { revision: 1, why: 'trees@1 is not loaded here' } },
  })
  t.equal((await b.metric('assay_fleet_routes_held_back')).get(''), 1)
  t.ok(b.events.some(({ name, fields }) => name === 'RoutesHeldBack' && fields.revision === 1))
  t.equal(await roleFor(b), 'champion')
  t.equal((await change(a, 'force')).status, 200)
  await untilShown(b, 'what is forced does not wait', ({ forced }) => forced.baseline === true)
  t.equal(await roleFor(b), 'baseline')
  const release = await change(b, 'release')
  t.match(release, { status: 200, body: { change: { revision: 3, effective: true, shared: true } } })
  t.equal(await roleFor(b), 'champion')
  await untilRevision(a, 3)
  t.equal((await load(b, 'trees@1')).status, 200)
  await untilRevision(b, 3)
  t.match(await shown(b), { challenger: 'trees@1', fleet: { held_back: null } })
  t.equal(await roleFor(b), 'challenger')

  await t.test('so it does with those of a newer release', async (t) => {
    await redis.cli('xadd', 'assay:routes', '4-1', 'entry', '{"format":2}')
    for (const rig of [a, b]) {
      await untilShown(rig, 'read', ({ fleet }) => fleet.newest_revision === 4)
      t.match(await shown(rig), { revision: 3, fleet: { held_back: { revision: 4, why: /newer release/ } } })
      t.ok(rig.events.some(({ name }) => name === 'RoutesRefused'))
    }
    t.match(await change(a, 'rollback'), { status: 500, body: { code: 'ASSAY_STATE_REFUSED' } })
    t.match(await change(a, 'force'), { status: 202, body: { change: { shared: false } } })
    t.equal(await redis.cli('xlen', 'assay:routes'), '5', 'nothing is written over them')
    await t.rejects(
      start(t, redis, t.testdir()),
      { code: 'ASSAY_STATE_REFUSED' },
      'who has no routes of its own cannot start',
    )
    await b.stop()
    const again = await start(t, redis, b.dataDir)
    t.match(await shown(again), { revision: 3, challenger: 'trees@1' }, 'who has some can')
  })
})

void t.test('one server takes the steps of a ramp, and another only by an operator', { skip }, async (t) => {
  const redis = await startRedis(t)
  const [a, b] = await startTwo(t, redis)
  for (const rig of [a, b]) t.equal((await load(rig, 'trees@1')).status, 200)
  const ramp = { challenger: 'trees@1', share: 100, ramp: { then: [200, 300], every_ms: 3_600_000 } }
  t.match((await change(a, 'set', ramp, 0)).body, { ramp: { state: 'running' } })
  await untilRevision(b, 1)
  await untilShown(b, 'another takes the steps', (body) => body.ramp?.state === 'elsewhere')
  t.match(await change(b, 'resume'), { status: 409, body: { code: 'ASSAY_CHANGE_CONFLICT' } })
  await a.stop()
  await untilShown(b, 'nobody takes the steps', (body) => body.ramp?.state === 'paused')
  t.ok((await b.operations('/v1/status')).body.reasons.includes('a ramp is paused: assay route resume'))
  t.match(await change(b, 'resume'), { status: 200, body: { revision: 2, ramp: { state: 'running', step: 0 } } })
  const again = await start(t, redis, a.dataDir)
  await untilShown(
    again,
    'the other one has taken over',
    (body) => body.revision === 2 && body.ramp?.state === 'elsewhere',
  )

  const short = { challenger: 'trees@1', share: 4_000, ramp: { then: [5_000], every_ms: 1_000 } }
  t.match(await change(b, 'set', short, 2), { status: 200, body: { ramp: { state: 'running' } } })
  await until(
    async () => {
      // By its own decisions: the other one gets none.
      await Promise.all(Array.from({ length: 32 }, () => roleFor(b)))
      return (await shown(b)).ramp === null
    },
    'the end of the ramp',
    { msMax: 120_000 },
  )
  await untilRevision(again, 5)
  t.match(await shown(again), { share: 5_000, ramp: null, last_change: { kind: 'ramp_end', actor: 'ramp' } })
})

void t.test('a start that cannot join its fleet says why', { skip }, async (t) => {
  const redis = await startRedis(t)
  await redis.kill()
  const dataDir = t.testdir()
  await t.rejects(start(t, redis, dataDir), { code: 'ASSAY_STATE_UNAVAILABLE' }, 'an empty log, and nobody to ask')
  await redis.restart()
  await redis.cli('set', 'assay:routes', 'of another application')
  await t.rejects(start(t, redis, dataDir), { code: 'ASSAY_STATE_REFUSED' })
  await redis.cli('del', 'assay:routes')
  const file = startRig({
    ...{ dataDir, routesFromFile: true },
    edit: ({ process }) => void (process.state = { kind: 'redis', redis: redis.config() }),
  })
  await t.rejects(file, { code: 'ASSAY_USAGE' })
})

void t.test(
  'a server with routes of its own gives them to a fleet, or gets those of the fleet',
  { skip },
  async (t) => {
    const redis = await startRedis(t)
    const memory: Edit = ({ process }) => void (process.state.kind = 'memory')
    const old = await start(t, redis, undefined, memory)
    t.notOk('fleet' in (await shown(old)), 'alone nothing of it is there')
    t.equal((await load(old, 'trees@1')).status, 200)
    t.equal((await change(old, 'set', { challenger: 'trees@1', share: 50 }, 1)).status, 200)
    await old.stop()
    const other = await start(t, redis)
    t.match(await shown(other), { revision: 0, share: 0 })
    const joined = await start(t, redis, old.dataDir)
    t.match(await shown(joined), { revision: 3, challenger: null, share: 0 }, 'theirs, above every revision of its own')
    await untilRevision(other, 3)
    t.match(await shown(other), { last_change: { kind: 'join' } })
    await Promise.all([joined.stop(), other.stop()])
    await redis.cli('del', 'assay:routes')
    const first = await start(t, redis, joined.dataDir)
    t.match(await shown(first), { revision: 3 })
    t.match(await redis.cli('xrange', 'assay:routes', '-', '+'), /^3-1\n/, 'an empty stream begins with what it has')
  },
)

void t.test('a cluster of Redis does as well', { skip }, async (t) => {
  const [a, b] = await startTwo(t, await startCluster(t))
  t.match(await change(a, 'force'), { status: 200, body: { change: { revision: 1, shared: true } } })
  await untilRevision(b, 1)
  t.match(await change(b, 'release'), { status: 200, body: { change: { revision: 2, shared: true } } })
  await untilShown(a, 'both are there', ({ revision, fleet }) => revision === 2 && fleet.servers.length === 2)
})

void t.test('a fail-over of Redis is waited for, and the routes go on', { skip }, async (t) => {
  const redis = await startSentinels(t)
  const [a, b] = await startTwo(t, redis)
  t.match(await change(a, 'force'), { status: 200, body: { change: { revision: 1, shared: true } } })
  await redis.failover()
  await until(async () => (await change(b, 'release')).status === 200, 'a release', { msMax: 60_000, everyMs: 200 })
  await untilRevision(a, 2)
  t.match(await shown(a), { forced: { baseline: false, open: [] } })
})
