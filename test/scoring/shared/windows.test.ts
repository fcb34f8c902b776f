// Windows that servers share, over a real Redis, against those of one server in memory: equal vectors and flags on
// random streams with labels, late events and events out of order, whichever server is asked, and however little of the
// windows each of them holds.
import fc from 'fast-check'
import t, { type Test } from 'tap'
import type { RedisConfig } from '../../../src/contract/state.js'
import { compileCatalogue, type CompiledCatalogue } from '../../../src/features/compile.js'
import { createFeatureState } from '../../../src/features/state.js'
import type { Limits } from '../../../src/limits.js'
import { answered, openConnection, skipWithoutRedis, startCluster, startRedis } from '../../redis/rig.js'
import {
  apply,
  BUCKETED,
  bucketed,
  CATALOGUE,
  compiled,
  CURRENCIES,
  flagNames,
  labelOf,
  ROOMY,
  SCHEMA,
  START,
  type Step,
  streams,
} from '../../features/streams.js'
import { createMember, HASH_KEY, type Member, SINCE } from './member.js'

const skip = skipWithoutRedis()
const numRuns = Math.ceil(Number(process.env['ASSAY_FUZZ_RUNS'] ?? 60) / 3)
const both = compileCatalogue({ format: 1, features: [...CATALOGUE.features, ...BUCKETED] }, SCHEMA, CURRENCIES)

interface Case {
  readonly catalogue: CompiledCatalogue
  readonly limits: Limits
  readonly servers: number
}

async function agrees(steps: readonly Step[], { catalogue, limits }: Case, members: readonly Member[]): Promise<void> {
  const alone = createFeatureState(catalogue, { limits, hashKey: HASH_KEY, observedSinceMs: SINCE })
  const [wanted, got] = [new Float64Array(catalogue.size), new Float64Array(catalogue.size)]
  for (const [ordinal, step] of steps.entries()) {
    const member = members[ordinal % members.length]
    const flags = apply(alone, step, ordinal, wanted)
    if (step.kind === 'label') {
      await member.words.deliver(labelOf(step))
      continue
    }
    // Time passes on every server.
    for (const { features } of members) features.advance(alone.observedUntilMs())
    const seen = step.kind === 'tx' ? await member.fold(step.tx, step.clockMs, got) : await member.peek(step, got)
    if (flagNames(seen).join() !== flagNames(flags).join()) {
      throw new Error(`step ${ordinal}: flags ${flagNames(seen).join()}, alone ${flagNames(flags).join()}`)
    }
    const far = wanted.findIndex((value, at) => !Object.is(value, got[at]) && !(Math.abs(value - got[at]) < 1e-9))
    if (far >= 0) throw new Error(`step ${ordinal}: ${catalogue.names[far]}: ${got[far]}, alone ${wanted[far]}`)
  }
}

async function check(t: Test, of: Case, entities: number): Promise<void> {
  const redis = await startRedis(t)
  await checkOver(t, redis.config(), of, { entities, runs: numRuns })
}

interface Streams {
  readonly entities: number
  readonly runs: number
}

async function checkOver(t: Test, config: RedisConfig, of: Case, { entities, runs }: Streams): Promise<void> {
  const { connection } = openConnection(t, config)
  await answered(() => connection.call('get', 'any'))
  let run = 0
  await fc.assert(
    fc.asyncProperty(streams(entities), async (steps) => {
      run++
      const members = Array.from({ length: of.servers }, () => createMember(connection, `run${run}`, of))
      await agrees(steps, of, members)
    }),
    { numRuns: runs },
  )
  t.ok(run >= runs, `${run} streams agree`)
}

void t.test('one server: exact windows, buckets, and both', { skip }, async (t) => {
  for (const catalogue of [compiled, bucketed, both]) await check(t, { catalogue, limits: ROOMY, servers: 1 }, 3)
})

void t.test('three servers, each asked in turn', { skip }, async (t) => {
  await check(t, { catalogue: both, limits: ROOMY, servers: 3 }, 3)
})

void t.test('servers that hold the windows of two entities only', { skip }, async (t) => {
  await check(t, { catalogue: both, limits: { ...ROOMY, sharedEntitiesMax: 2 }, servers: 2 }, 12)
})

void t.test('servers over a cluster, whose nodes answer apart', { skip }, async (t) => {
  const cluster = await startCluster(t)
  const of = { catalogue: both, limits: ROOMY, servers: 2 }
  await checkOver(t, cluster.config(), of, { entities: 3, runs: Math.ceil(numRuns / 4) })
})

void t.test('entities at their bound say so, on whichever server', { skip }, async (t) => {
  const redis = await startRedis(t)
  const { connection } = openConnection(t, redis.config())
  await answered(() => connection.call('ping'))
  const of = { catalogue: compiled, limits: { ...ROOMY, eventsPerEntityMax: 16 } }
  const [first, second] = [createMember(connection, 'bound', of), createMember(connection, 'bound', of)]
  const out = new Float64Array(compiled.size)
  const tx = (at: number) => ({
    ...{ transactionId: `t${at}`, occurredAtMs: START + at * 10, offsetMinutes: 0, amountMinor: 1, currency: 'EUR' },
    ...{ amountBaseMinor: 1, fields: ['c', 's', null, null, null] },
  })
  for (let at = 0; at < 40; at++) await first.fold(tx(at), START + at * 10, out)
  const count = compiled.indexOf('card_count')
  const flags = await second.fold(tx(40), START + 400, out)
  t.ok(flagNames(flags).includes('truncated'), 'one that reads the list sees that something was dropped')
  t.ok(out[count] >= 14 && out[count] <= 17, `${out[count]} of those that are kept`)
})

void t.test('what a fail-over has lost is read again from the start', { skip }, async (t) => {
  const redis = await startRedis(t)
  const { connection } = openConnection(t, redis.config())
  await answered(() => connection.call('ping'))
  const of = { catalogue: compiled, limits: ROOMY }
  const [first, second] = [createMember(connection, 'lost', of), createMember(connection, 'lost', of)]
  const out = new Float64Array(compiled.size)
  const count = compiled.indexOf('card_count')
  const tx = (id: string, at: number) => ({
    ...{ transactionId: id, occurredAtMs: START + at, offsetMinutes: 0, amountMinor: 1, currency: 'EUR' },
    ...{ amountBaseMinor: 1, fields: ['c', 's', null, null, null] },
  })
  await first.fold(tx('a', 1), START + 1, out)
  const [key] = (await redis.cli('keys', '*:{card:*')).trim().split('\n')
  const before = await connection.call('get', key)
  for (const [at, id] of ['b', 'c', 'd'].entries()) await first.fold(tx(id, 2 + at), START + 2 + at, out)
  t.equal(out[count], 4)
  await connection.call('set', key, before as Buffer)
  for (const [at, id] of ['x', 'y', 'z', 'u'].entries()) await second.fold(tx(id, 10 + at), START + 10 + at, out)
  await first.fold(tx('v', 20), START + 20, out)
  t.equal(out[count], 6, 'a, x, y, z, u and itself: what is in Redis, and nothing else')
})

void t.test('what was folded alone gives way to the list, in whose order ever it comes there', { skip }, async (t) => {
  const redis = await startRedis(t)
  const { connection } = openConnection(t, redis.config())
  await answered(() => connection.call('ping'))
  const of = { catalogue: compiled, limits: ROOMY }
  const [first, second] = [createMember(connection, 'alone', of), createMember(connection, 'alone', of)]
  const out = new Float64Array(compiled.size)
  const count = compiled.indexOf('card_count')
  const tx = (id: string, at: number) => ({
    ...{ transactionId: id, occurredAtMs: START + at, offsetMinutes: 0, amountMinor: 1, currency: 'EUR' },
    ...{ amountBaseMinor: 1, fields: ['c', 's', null, null, null] },
  })
  await first.fold(tx('o', 0), START, out)
  for (const [at, id] of ['a', 'b'].entries()) {
    first.stage.foldAlone(tx(id, 1 + at), { out, at: 0, clockMs: START + 1 + at, peeks: false }, false)
  }
  t.equal(out[count], 3, 'those that follow see it')
  // The last that was folded alone stands where it was folded, behind others than there.
  await second.fold(tx('x', 5), START + 5, out)
  for (const id of ['b', 'a']) await first.stage.writeBack(tx(id, id === 'a' ? 1 : 2), 'D', '{}', START + 5)
  await first.fold(tx('d', 6), START + 6, out)
  t.equal(out[count], 5, 'o, x, b, a and itself, each once')
})
