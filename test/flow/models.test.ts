// Models that block, throw and give NaN behind a whole server: every request is decided in time by the next model that
// fits, says which path it took, is counted, and the model answers again when its golden rows match. Threads that end
// or hang: models-threads.test.ts.
import { setTimeout as pause } from 'node:timers/promises'
import t from 'tap'
import { busyFor, path, POISON, startModels, tallied } from './models-flow.js'
import { type Evidence, judge } from './models-judge.js'

t.setTimeout(240_000)

/** A second and more on a machine that is twice as fast as the one on which `hangs` was measured. */
const A_SECOND = busyFor(2_500)

void t.test('a challenger blocked for a second inside session.run, with a full ring behind it', async (t) => {
  const rig = await startModels(t, {
    ...{ champion: 'linear@1', challenger: 'hangs@1', probeAfterMs: 100 },
    limits: { laneRowsMax: 16 },
  })
  await rig.answeredBy('hangs')
  const beganMs = performance.now()
  const blocker = rig.pay(A_SECOND)
  await rig.queued('hangs@1', 1)
  const inRing = rig.payAll(Array<number>(8).fill(20))
  await rig.queued('hangs@1', 9)
  const overflowing = await rig.payAll(Array<number>(17).fill(30))
  t.same([...tallied(overflowing)].sort(), [
    ['hangs@1:deadline linear', 7],
    ['hangs@1:queue_full linear', 10],
  ])
  for (const one of [await blocker, ...(await inRing)]) t.equal(path(one), 'hangs@1:deadline linear')
  await rig.queued('hangs@1', 16)
  const paths = [path(await rig.pay(40)), path(await rig.pay(41)), path(await rig.pay(42))]
  const isFull = 'hangs@1:queue_full linear'
  t.same(paths, [isFull, isFull, 'hangs@1:breaker_open linear'], 'nobody waits for what fills the ring: it failed')
  t.ok(Number(await rig.breaker('hangs@1')) > 0)
  await rig.healed('hangs@1')
  t.ok(performance.now() - beganMs > 1_000, 'the golden rows were answered when the run was over')
  await rig.answeredBy('hangs')
  const evidence = await rig.finish()
  await t.test('and the judgement finds what would be wrong', (t) => {
    t.same(missed(evidence), [])
    t.end()
  })
})

/** Changes the evidence of a good run in each way that a bad server would, and returns what is not found. */
function missed(good: Evidence): string[] {
  const [first, ...told] = good.told.filter(({ path }) => path.length > 0)
  const [decision, ...decisions] = good.decisions
  const { facts } = decision
  const lateMs = first.deadlineMs + 7
  const late = { ...facts, stages: { ...facts.stages, validateUs: 0 }, decidedAtMs: facts.receivedAtMs + lateMs }
  const moved = { ...facts, fallback: facts.fallback.map((hop) => ({ ...hop, reason: 'forced' as const })) }
  const named = { ...facts, fallback: [{ model: 'x@1', role: 'champion' as const, reason: 'forced' as const }] }
  const wrong: Record<string, Partial<Evidence>> = {
    'no record': { decisions },
    'a record too many': { decisions: [...good.decisions, decision] },
    'a late decision': { decisions: [{ ...decision, facts: late }, ...decisions], gaps: [] },
    'another path in the log': { decisions: [{ ...decision, facts: facts.degraded ? moved : named }, ...decisions] },
    'a hop that is not counted': { counted: new Map([...good.counted].slice(1)) },
    'a hop counted twice': { counted: new Map([...good.counted].map(([labels, count]) => [labels, count + 1])) },
    'a hop that is not told': { told: [...good.told.filter((one) => one !== first), { ...first, path: [] }] },
    'an error': { told: [{ ...first, refused: 'ASSAY_INTERNAL' }, ...told] },
    'nothing but refusals': { told: good.told.map((one) => ({ ...one, refused: 'ASSAY_OVERLOADED' })), decisions: [] },
  }
  return Object.keys(wrong).filter((name) => judge({ ...good, ...wrong[name] }).findings.length === 0)
}

void t.test('a champion blocked for a second, before requests that have the default deadline of 8 ms', async (t) => {
  const rig = await startModels(t, { champion: 'hangs@1', challenger: null, probeAfterMs: 100 })
  await rig.answeredBy('hangs')
  const beganMs = performance.now()
  // Its own deadline is long: one that passes before a starved thread takes the row would leave nothing to run.
  const blocker = rig.pay(A_SECOND)
  await rig.queued('hangs@1', 1)
  const behind: string[] = []
  while (behind.length < 4 && !behind.includes('hangs@1:breaker_open scorecard')) {
    const taken = path(await rig.pay(20, 8))
    // A starved server refuses what it cannot decide in 8 ms: that is no flight.
    if (taken !== '') behind.push(taken)
  }
  // The third failed flight is one of these, or the blocker's.
  t.match(behind.join(), /^(hangs@1:deadline scorecard,){2,3}hangs@1:breaker_open scorecard$/)
  for (let more = 0; more < 20 && (await rig.breaker('hangs@1')) !== 0; more++) await rig.pay(30, 8)
  t.equal(path(await blocker), 'hangs@1:deadline scorecard')
  await rig.healed('hangs@1')
  t.ok(performance.now() - beganMs > 1_000, 'the golden rows were answered when the run was over')
  await rig.answeredBy('hangs')
  await rig.finish()
})

void t.test('one NaN row in a batch fails alone, goes to a champion that throws, and to the baseline', async (t) => {
  const rig = await startModels(t, { champion: 'throws@1', challenger: 'nan-rows@1', probeAfterMs: 3_000 })
  await rig.answeredBy('nan-rows')
  const batch = await rig.payAll([10, 11, 12, POISON, 14, 15, 16, 17])
  t.same(
    batch.map(path),
    Array.from({ length: 8 }, (_, at) =>
      at === 3 ? 'nan-rows@1:invalid_output throws@1:model_error scorecard' : 'nan-rows',
    ),
  )
  t.same([await rig.breaker('nan-rows@1'), await rig.breaker('throws@1')], [0, 0], 'one row opens no breaker')

  const alone = []
  for (let sent = 0; sent < 4; sent++) alone.push(path(await rig.pay(POISON)))
  t.same(alone, [
    'nan-rows@1:invalid_output throws@1:model_error scorecard',
    'nan-rows@1:invalid_output throws@1:model_error scorecard',
    'nan-rows@1:invalid_output throws@1:breaker_open scorecard',
    'nan-rows@1:breaker_open throws@1:breaker_open scorecard',
  ])
  await rig.healed('nan-rows@1')
  await rig.healed('throws@1')
  await rig.answeredBy('nan-rows')
  await rig.finish()
})

void t.test('a champion that throws on every row, at one request a second', async (t) => {
  const rig = await startModels(t, { champion: 'throws@1', challenger: null, probeAfterMs: 5_000 })
  const paths: string[] = []
  const states: (number | undefined)[] = []
  for (let second = 0; second < 4; second++) {
    if (second > 0) await pause(1_000)
    paths.push(path(await rig.pay(POISON)))
    states.push(await rig.breaker('throws@1'))
  }
  const failed = 'throws@1:model_error scorecard'
  t.same(paths, [failed, failed, failed, 'throws@1:breaker_open scorecard'], 'three in a row, far below the volume')
  t.same(states, [0, 0, 2, 2])
  t.match((await rig.operations('/readyz')).body, { reasons: [/throws@1: breaker/] })
  await rig.healed('throws@1')
  await rig.answeredBy('throws')
  await rig.finish()
})
