// Claims, commits and words of labels over a real Redis: who decides, who waits, who has lost, and what is told where a
// value in the Redis is none of ours.
import { setTimeout as delay } from 'node:timers/promises'
import t, { type Test } from 'tap'
import type { Transaction } from '../../../src/contract/transaction.js'
import { EntryCodec } from '../../../src/features/shared-entry.js'
import type { RedisConnection } from '../../../src/redis/connection.js'
import { joinFleet } from '../../../src/scoring/shared/fleet.js'
import type { Begun, Claim, Committed } from '../../../src/scoring/shared/stage.js'
import { compiled, ROOMY, START } from '../../features/streams.js'
import { answered, openConnection, type RedisServer, skipWithoutRedis, startRedis } from '../../redis/rig.js'
import { createMember, type Member } from './member.js'

const skip = skipWithoutRedis()
const out = new Float64Array(compiled.size)

function tx(id: string, fields: Partial<Transaction> = {}): Transaction {
  return {
    ...{
      transactionId: id,
      occurredAtMs: START,
      offsetMinutes: 0,
      amountMinor: 1,
      currency: 'EUR',
      amountBaseMinor: 1,
    },
    fields: ['c', 's', null, null, null],
    ...fields,
  }
}

interface Rig {
  readonly redis: RedisServer
  readonly connection: RedisConnection
  /** Another server of the same fleet. */
  member(this: void, leaseMs?: number): Member
}

async function start(t: Test): Promise<Rig> {
  const redis = await startRedis(t)
  const { connection } = openConnection(t, redis.config())
  await answered(() => connection.call('ping'))
  return { redis, connection, member: (leaseMs) => createMember(connection, 'fleet', { ...OF, leaseMs }) }
}
const OF = { catalogue: compiled, limits: ROOMY }

function claimOf(begun: Begun): Claim {
  if (begun.kind !== 'folded') throw new Error(begun.kind)
  return begun.claim
}

const begin = (member: Member, transaction: Transaction, becomes: 'D' | 'O' = 'D'): Promise<Begun> =>
  member.begin(transaction, START, out, becomes)
const commit = (member: Member, claim: Claim, body: string): Promise<Committed> => member.commit(claim, body)

void t.test('one decides, the other waits for it and gets its answer', { skip }, async (t) => {
  const { member } = await start(t)
  const [first, second] = [member(), member()]
  const claim = claimOf(await begin(first, tx('a')))
  let isAnswered = false
  const waiting = begin(second, tx('a')).then((begun) => {
    isAnswered = true
    return begun
  })
  await delay(50)
  t.notOk(isAnswered, 'it waits while the claim holds')
  t.same(await commit(first, claim, '{"one":1}'), { kind: 'kept' })
  t.same(await waiting, { kind: 'answered', body: '{"one":1}', isObserved: false })
  t.same(await commit(first, claim, '{"one":1}'), { kind: 'kept' }, 'said again, it stands')
  t.same(await begin(first, tx('a', { amountMinor: 2 })), { kind: 'reused' }, 'other content')
})

void t.test('a claim whose server is gone ends with its lease, and nothing counts twice', { skip }, async (t) => {
  const { member, redis } = await start(t)
  const [first, second] = [member(20), member()]
  const lost = claimOf(await begin(first, tx('a')))
  const begun = await begin(second, tx('a'))
  const claim = claimOf(begun)
  t.equal(out[compiled.indexOf('card_count')], 1, 'the transaction stands in its windows once')
  t.equal(await entriesOf(redis, 'card'), 1)
  t.same(await commit(second, claim, '{"two":2}'), { kind: 'kept' })
  t.same(await commit(first, lost, '{"one":1}'), { kind: 'lost', body: '{"two":2}' }, 'the first comes too late')
})

void t.test('what was observed is decided once, and folded once', { skip }, async (t) => {
  const { member, redis } = await start(t)
  const [first, second] = [member(), member()]
  t.same(await commit(first, claimOf(await begin(first, tx('a'), 'O')), '{"accepted":1}'), { kind: 'kept' })
  t.same(await begin(second, tx('a'), 'O'), { kind: 'answered', body: '{"accepted":1}', isObserved: true })
  const claim = claimOf(await begin(second, tx('a')))
  t.same(await commit(second, claim, '{"two":2}'), { kind: 'kept' })
  t.same(await begin(first, tx('a'), 'O'), { kind: 'answered', body: '{"two":2}', isObserved: false })
  t.equal(await entriesOf(redis, 'card'), 1)
})

void t.test('what stands is told without a claim', { skip }, async (t) => {
  const { member } = await start(t)
  const [first, second] = [member(), member()]
  t.equal(await second.look(tx('a')), null, 'nobody knows it')
  const claim = claimOf(await begin(first, tx('a'), 'O'))
  t.equal(await second.look(tx('a')), null, 'it is under way')
  await commit(first, claim, '{"accepted":1}')
  t.same(await second.look(tx('a')), { body: '{"accepted":1}', isObserved: true })
  await commit(first, claimOf(await begin(first, tx('a'))), '{"é":1}')
  t.same(await second.look(tx('a')), { body: '{"é":1}', isObserved: false })
  t.equal((await begin(second, tx('b'))).kind, 'folded', 'what was looked for is not claimed')
})

void t.test('what was decided alone is written back, and yields to what another has decided', { skip }, async (t) => {
  const { member, redis } = await start(t)
  const [first, second] = [member(), member()]
  t.same(await first.stage.writeBack(tx('a'), 'D', '{"one":1}', START), { kind: 'kept' })
  t.same(await begin(second, tx('a')), { kind: 'answered', body: '{"one":1}', isObserved: false })
  t.same(await commit(second, claimOf(await begin(second, tx('b'))), '{"two":2}'), { kind: 'kept' })
  t.same(await first.stage.writeBack(tx('b'), 'D', '{"one":1}', START), { kind: 'lost', body: '{"two":2}' })
  t.equal(await entriesOf(redis, 'card'), 2, 'each once')
})

void t.test('a transaction that comes again after many others is folded no second time', { skip }, async (t) => {
  const { redis, connection } = await start(t)
  // What is searched begins a second before the event, and windows hold 24.
  const of = { ...OF, limits: { ...ROOMY, eventsPerEntityMax: 4_096, clockAheadMsMax: 1_000 } }
  const [first, second] = [createMember(connection, 'fleet', of), createMember(connection, 'fleet', of)]
  const at = (id: string, number: number): Transaction => tx(id, { occurredAtMs: START + number * 20 })
  const beginAt = (member: Member, number: number): Promise<Begun> =>
    member.begin(at(`t${number}`, number), START + number * 20, out)
  for (let number = 0; number < 1_000; number++) {
    t.equal((await commit(first, claimOf(await beginAt(first, number)), '{"one":1}')).kind, 'kept')
  }
  t.equal(await entriesOf(redis, 'card'), 1_000)
  for (const number of [0, 300, 700, 999]) t.equal((await beginAt(second, number)).kind, 'answered')
  t.equal(await entriesOf(redis, 'card'), 1_000)
  for (let number = 1_000; number < 3_000; number++) await beginAt(first, number)
  const held = await entriesOf(redis, 'card')
  t.ok(held < 1_700, `${held} after a minute: what no window needs has left`)
  t.equal((await beginAt(second, 0)).kind, 'answered')
  t.equal(await entriesOf(redis, 'card'), held, 'nor does it come back')
})

void t.test('a server that knows little of the time hides nothing from a search', { skip }, async (t) => {
  const { redis, connection } = await start(t)
  // Claims end soon, so that nothing waits for one.
  const of = { ...OF, leaseMs: 1, limits: { ...ROOMY, eventsPerEntityMax: 4_096, clockAheadMsMax: 1_000 } }
  const [first, fresh] = [createMember(connection, 'fleet', of), createMember(connection, 'fleet', of)]
  const fold = async (member: Member, id: string, number: number): Promise<void> => {
    const atMs = START + number * 20
    await member.begin(tx(id, { occurredAtMs: atMs }), atMs, out)
  }
  for (let number = 0; number < 300; number++) await fold(first, `t${number}`, number)
  await fold(fresh, 'late', 0)
  // The late one is where the first 256 that are searched begin.
  for (let number = 300; number < 555; number++) await fold(first, `t${number}`, number)
  t.equal(await entriesOf(redis, 'card'), 556)
  await fold(first, 't299', 299)
  t.equal(await entriesOf(redis, 'card'), 556)
})

void t.test('a label counts once, wherever and how often it is told', { skip }, async (t) => {
  const { member, redis } = await start(t)
  const [first, second] = [member(), member()]
  const label = { transactionId: 'a', kind: 'authorisation', value: false, source: 'bank' } as const
  const word = { ...label, knownAtMs: 1, occurredAtMs: null, entities: [null, null] }
  await first.words.deliver(word)
  const begun = await begin(second, tx('a'))
  if (begun.kind === 'folded') await second.words.deliverWaiting(begun.words)
  await first.words.deliver(word)
  await second.words.deliver({ ...word, entities: ['c', 's'] })
  t.equal(await entriesOf(redis, 'card'), 2, 'the transaction and one word')
  await begin(first, tx('b'))
  t.equal(out[compiled.indexOf('card_declined')], 1)
  await first.words.deliver({ ...word, value: true, knownAtMs: 2 })
  await begin(second, tx('c'))
  t.equal(out[compiled.indexOf('card_declined')], 0, 'the bank has thought again')
})

void t.test('values that are none of ours are refused, and nothing is written over them', { skip }, async (t) => {
  const { member, redis, connection } = await start(t)
  const first = member()
  await begin(first, tx('a'))
  const keys = (await redis.cli('keys', 'fleet:*')).trim().split('\n')
  for (const key of keys) await connection.call('set', key, 'ASY2 of a later release')
  t.same(await begin(member(), tx('a')), { kind: 'alone' }, 'the server is on its own')
  for (const key of keys) t.equal(String(await connection.call('get', key)), 'ASY2 of a later release')

  const join = (): Promise<unknown> => joinFleet(connection, 'meta', START)
  await connection.call('set', 'meta', 'somebody else')
  await t.rejects(join(), { code: 'ASSAY_STATE_REFUSED', message: /the key meta is not of Assay/ })
  await connection.call('del', 'meta')
  const fleet = await joinFleet(connection, 'meta', START)
  t.same(await join(), fleet, 'the second takes what the first has made')
  await connection.call('set', 'meta', JSON.stringify({ ...fleet, format: 2 }))
  await t.rejects(join(), { code: 'ASSAY_STATE_REFUSED', message: /later release \(format 2\)/ })
  t.equal((await connection.call('type', 'meta'))?.toString(), 'string')
})

/** Entries in the only list of that field. */
async function entriesOf(redis: RedisServer, field: string): Promise<number> {
  const [key] = (await redis.cli('keys', `fleet:e:*{${field}:*`)).trim().split('\n')
  const bytes = Number((await redis.cli('strlen', key)).trim())
  return (bytes - 16) / new EntryCodec(compiled.plan, Buffer.alloc(16)).bytes
}
