// Models that block, die, throw and give NaN behind a whole server: every request is decided in time by the next model
// that fits, says which path it took, is counted, and the model answers again when its golden rows match.
import { setTimeout as pause } from 'node:timers/promises'
import t from 'tap'
import { busyFor, path, POISON, startModels, tallied } from './models-flow.js'
import { until } from './server-rig.js'

void t.test('a challenger blocked for a second inside session.run, with a full ring behind it', async (t) => {
  const rig = await startModels({
    ...{ champion: 'linear@1', challenger: 'hangs@1', probeAfterMs: 100 },
    limits: { laneRowsMax: 16, laneStopMs: 5_000 },
  })
  t.equal(path(await rig.pay(10)), 'hangs')
  const beganMs = performance.now()
  const blocker = rig.pay(busyFor(1_000))
  const burst = await Promise.all(Array.from({ length: 40 }, () => rig.pay(20)))
  t.equal(path(await blocker), 'hangs@1:deadline linear')
  const paths = tallied(burst)
  t.same([...paths.keys()].sort(), ['hangs@1:deadline linear', 'hangs@1:queue_full linear'])
  t.equal(paths.get('hangs@1:queue_full linear'), 25, 'the ring holds 16 rows, the blocker among them')
  while (performance.now() - beganMs < 900) {
    const one = await rig.pay(30)
    t.match(path(one), /^hangs@1:(deadline|breaker_open) linear$/)
  }
  t.equal(path(await rig.pay(30)), 'hangs@1:breaker_open linear')
  t.ok(Number(await rig.breaker('hangs@1')) > 0)
  await rig.healed('hangs@1')
  t.ok(performance.now() - beganMs > 700, 'the golden rows were answered when the run was over')
  t.equal(path(await rig.pay(40)), 'hangs')
  t.equal(await rig.breaker('hangs@1'), 0)
  t.comment([...tallied(rig.answers)].map(([way, count]) => `${count} × ${way}`).join(', '))
  await rig.finish(t)
})

void t.test('a champion whose thread ends under load', async (t) => {
  const rig = await startModels({ champion: 'hangs@1', challenger: null, probeAfterMs: 100 })
  const [lane] = rig.workers.filter((worker) => worker.threadId >= 0)
  for (const end of ['idle', 'busy'] as const) {
    const before = rig.events.filter(({ name }) => name === 'LaneRestarted').length
    // With a run of 20 ms under way, the thread ends when it is over, and its rows have no answer.
    const under = end === 'busy' ? Array.from({ length: 4 }, () => rig.pay(busyFor(20))) : []
    await pause(5)
    void (rig.workers.at(-1) === lane ? lane : rig.workers.at(-1))?.terminate()
    await until(() => rig.events.filter(({ name }) => name === 'LaneRestarted').length > before, 'the thread ended')
    t.equal(path(await rig.pay(10)), 'hangs@1:not_loaded scorecard', 'no lane while the next thread loads')
    for (const one of await Promise.all(under)) t.match(path(one), /^hangs@1:model_error scorecard$/, end)
    await until(async () => path(await rig.pay(20)) === 'hangs', 'the model answers again')
  }
  t.comment([...tallied(rig.answers)].map(([way, count]) => `${count} × ${way}`).join(', '))
  await rig.finish(t)
})

void t.test(
  'one NaN row in a batch fails alone, and goes on to a champion that throws, and to the baseline',
  async (t) => {
    const rig = await startModels({ champion: 'throws@1', challenger: 'nan-rows@1', probeAfterMs: 100 })
    const now = new Date().toISOString()
    const row = (at: number): object => ({
      ...{ transaction_id: `b-${at}`, occurred_at: now, currency: 'EUR', customer_id: 'c', terminal_id: 't' },
      amount_minor: (at === 3 ? POISON : 10 + at) * 100,
    })
    const batch = await rig.send('/v1/score/batch', { transactions: Array.from({ length: 8 }, (_, at) => row(at)) })
    t.equal(batch.status, 200)
    const answers = batch.body.map((one: { status: number; body: unknown }) => ({ ...batch, ...one }))
    rig.answers.push(...answers)
    answers.forEach((one: typeof batch, at: number) => {
      t.equal(
        path(one),
        at === 3 ? 'nan-rows@1:invalid_output throws@1:model_error scorecard' : 'nan-rows',
        `row ${at}`,
      )
    })
    t.same([await rig.breaker('nan-rows@1'), await rig.breaker('throws@1')], [0, 0], 'one row opens no breaker')

    for (let sent = 0; sent < 12; sent++) await rig.pay(POISON)
    t.equal(path(await rig.pay(POISON)), 'nan-rows@1:breaker_open throws@1:breaker_open scorecard')
    await rig.healed('nan-rows@1')
    await rig.healed('throws@1')
    t.equal(path(await rig.pay(10)), 'nan-rows')
    t.comment([...tallied(rig.answers)].map(([way, count]) => `${count} × ${way}`).join(', '))
    await rig.finish(t)
  },
)

void t.test('a champion that throws on every row, at one request a second', async (t) => {
  const rig = await startModels({ champion: 'throws@1', challenger: null, probeAfterMs: 1_500 })
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
  t.equal(path(await rig.pay(10)), 'throws', 'golden rows matched')
  await rig.finish(t)
})
