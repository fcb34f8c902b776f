// The short form of the proof of shared state: three servers, one real Redis, clients that never stop. Servers are
// killed and started again, one stands still; the Redis stops, dies and comes back. bench/fleet-kills.ts is the full
// form. The judgement is tested too.
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { FEATURE_FLAGS } from '../../src/contract/decision.js'
import { type RedisServer, skipWithoutRedis, startRedis } from '../redis/rig.js'
import type { Book, Told } from './fleet-clients.js'
import { compareFeatures, type FeatureEvidence } from './fleet-features.js'
import { type Evidence, judgeFleet } from './fleet-judge.js'
import { type Fleet, gather, startFleet } from './fleet-run.js'
import { QUICK_SERVE } from './quick.js'

t.setTimeout(600_000)
const skip = skipWithoutRedis()

async function start(t: Test, seed: number): Promise<{ fleet: Fleet; redis: RedisServer }> {
  const redis = await startRedis(t, { persistent: true })
  const folder = await mkdtemp(join(tmpdir(), 'assay-fleet-test-'))
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  const fleet = await startFleet({
    ...{ seed, servers: 3, perSecond: 200, connections: 16, stepMs: 60_000, folder },
    ...{ redis: redis.config(), command: QUICK_SERVE },
  })
  t.teardown(() => fleet.close())
  return { fleet, redis }
}

void t.test('three servers that are killed at random answer as one', { skip }, async (t) => {
  const { fleet } = await start(t, 3)
  await fleet.answered(300)
  await fleet.killServers(2)
  await fleet.stallServers(1)
  await fleet.answered(300)
  const run = await fleet.end()
  t.same(run.findings, [])
  t.equal(run.grown, 0, 'what comes again in the end is folded nowhere')
  const { evidence, features } = await gather(run, { wasAway: false })
  const { findings, figures } = judgeFleet(evidence)
  t.comment(JSON.stringify({ ...figures, refused: Object.fromEntries(run.clients.refused) }))
  t.same(findings.slice(0, 20), [], 'one decision of each transaction, logged by whoever told it, folded once')
  t.ok((run.clients.refused.get('connection lost') ?? 0) > 0, 'requests were under way when their server died')
  t.ok(figures.observed > 0, 'servers were asked for what others had decided')

  const compared = compareFeatures(features)
  t.comment(JSON.stringify({ exact: compared.exact, later: compared.later, local: compared.local }))
  t.same(compared.findings.slice(0, 20), [], 'features of a single state that is fed the same order')
  t.ok(compared.exact > 0.9 * figures.transactions)

  t.same(missed(evidence), [], 'the judgement finds what would be wrong')
  t.same(missedIn(features), [], 'and so does the comparison of features')
})

void t.test('without their Redis they answer alone, and are one again when it is back', { skip }, async (t) => {
  const { fleet, redis } = await start(t, 5)
  await fleet.answered(200)
  redis.pause()
  await fleet.answered(200)
  redis.resume()
  await fleet.answered(200)
  await redis.kill()
  await fleet.answered(200)
  await fleet.killServers(1)
  await redis.restart()
  await fleet.answered(200)
  const run = await fleet.end()
  t.same(run.findings, [])
  t.equal(run.grown, 0, 'what comes again in the end is folded nowhere')
  const { evidence, features } = await gather(run, { wasAway: true })
  const { findings, figures } = judgeFleet(evidence)
  t.comment(JSON.stringify({ ...figures, refused: Object.fromEntries(run.clients.refused) }))
  t.same(findings.slice(0, 20), [], 'one decision stands of each transaction, and each is folded once')
  t.ok(figures.local > 0, 'some were decided alone')
  const compared = compareFeatures(features)
  t.same(compared.findings.slice(0, 20), [], 'features of shared windows are those of a single state')
  t.ok(compared.exact > 0 && compared.local === figures.local)
})

/** Changes the evidence of a good run in each way that bad servers would, and returns what is not found. */
function missed(good: Evidence): string[] {
  const { told, settled, superseded, lists } = good
  const wasTold = ({ transactionId, server, text }: Evidence['decisions'][number]): boolean =>
    (told.get(transactionId) ?? []).some((each) => each.server === server && each.text === text)
  const own = good.decisions.find((each) => each.isOwn && wasTold(each))
  const observed = good.decisions.find((each) => !each.isOwn && wasTold(each))
  if (own === undefined || observed === undefined) throw new Error('nothing to spoil')
  const id = own.transactionId
  const [one] = settled.get(id) ?? []
  const other = `d_${'a'.repeat(32)}`
  const text = one.text.replace(own.decisionId, other)
  const as = (book: Book, all: readonly Told[]): Book => new Map([...book, [id, all]])
  const without = (book: Book): Book => new Map([...book].filter(([key]) => key !== id))
  const logged = { ...own, server: one.server, decisionId: other, text }
  const [first, ...rest] = lists.filter(({ transactionIds }) => transactionIds.length > 1)
  const list = (transactionIds: readonly string[]): Partial<Evidence> => ({
    lists: [...lists.filter((each) => each !== first), { ...first, transactionIds }],
  })
  const entries = first.transactionIds
  const second = { wasAway: true, decisions: [...good.decisions, logged], told: as(told, [{ ...one, text }]) }
  const wrong: Record<string, Partial<Evidence>> = {
    'a transaction that nobody answered': { told: without(told) },
    'one that nobody answers in the end': { settled: without(settled) },
    'another decision in the end': { settled: as(settled, [{ ...one, text }]), decisions: second.decisions },
    'two decisions in the end': { ...second, settled: as(settled, [one, { ...one, text }]) },
    'two decisions that stand': second,
    'a decision that stands and is superseded': { superseded: new Set([...superseded, own.decisionId]) },
    'a decision that is not logged': { decisions: good.decisions.filter((each) => each !== own) },
    'an answer of another that is not logged in full': {
      decisions: good.decisions.filter(
        ({ isOwn, server, text }) => isOwn || server !== observed.server || text !== observed.text,
      ),
    },
    'a decision logged twice': { decisions: [...good.decisions, own] },
    'a decision of what nobody sent': { decisions: [...good.decisions, { ...own, transactionId: 'x' }] },
    'a transaction twice in a list': list([...entries, entries[0]]),
    'a transaction that a list lacks': list(entries.slice(1)),
    'a transaction in the list of another': list([...entries, rest[0].transactionIds[0]]),
  }
  return Object.keys(wrong).filter((name) => judgeFleet({ ...good, ...wrong[name] }).findings.length === 0)
}

function missedIn(good: FeatureEvidence): string[] {
  const { catalogue, logs, held } = good
  const isExact = ({ isOwn, flags }: (typeof logs.decisions)[number]): boolean =>
    isOwn && (flags & (FEATURE_FLAGS.local | FEATURE_FLAGS.folded)) === 0
  const exact = new Set(logs.decisions.filter(isExact).map(({ transactionId }) => transactionId))
  const timeOf = (id: string): number => logs.transactions.get(id)?.occurredAtMs ?? 0
  const latestOf = (ids: readonly string[]): string => [...ids].sort((a, b) => timeOf(b) - timeOf(a))[0]
  const [list, ...lists] = held.lists.filter(({ field, transactionIds: ids }) => {
    return field === 'customer_id' && ids.every((id) => exact.has(id)) && latestOf(ids) !== ids[0]
  })
  const id = latestOf(list.transactionIds)
  const moved = (more: number, flag: number): Partial<FeatureEvidence> => {
    const decisions = logs.decisions.map((decision) => {
      if (decision.transactionId !== id || !decision.isOwn) return decision
      const values = catalogue.decodeVector(decision.vector)
      values[catalogue.indexOf('customer_count_30d')] += more
      const vector = Buffer.alloc(catalogue.vectorBytes)
      catalogue.encodeVector(values, 0, vector, 0)
      return { ...decision, vector, flags: decision.flags | flag }
    })
    return { logs: { ...logs, decisions } }
  }
  // The latest of all events comes first: it counts none of the others then.
  const transactionIds = [id, ...list.transactionIds.filter((each) => each !== id)]
  const reordered = { held: { ...held, lists: [...lists, { ...list, transactionIds }] } }
  const wrong: Record<string, Partial<FeatureEvidence>> = {
    'a vector that is moved': moved(1, 0),
    'one of no moment': moved(1_000, FEATURE_FLAGS.folded),
    'another order': reordered,
    'windows that are not shared': {
      logs: { ...logs, decisions: logs.decisions.map((each) => ({ ...each, flags: 0 })) },
    },
  }
  return Object.keys(wrong).filter((name) => compareFeatures({ ...good, ...wrong[name] }).findings.length === 0)
}
