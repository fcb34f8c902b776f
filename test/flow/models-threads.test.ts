// Lanes whose threads end and hang behind a whole server: every request is decided in time by the next model that fits,
// says which path it took, is counted, and the model answers again from the thread that replaces the lost one.
import t from 'tap'
import { MORTAL } from '../scoring/lane-rig.js'
import { busyFor, path, startModels } from './models-flow.js'
import { until } from './server-rig.js'

t.setTimeout(240_000)

void t.test('a champion whose thread ends, at rest and under its rows', async (t) => {
  const rig = await startModels(t, {
    ...{ champion: 'linear@1', challenger: null, probeAfterMs: 100, mortal: true },
    limits: { laneRestartMs: 1_000 },
  })
  const ends = {
    async atRest() {
      await rig.threads('linear@1').at(-1)?.terminate()
      return []
    },
    exits: () => rig.payAll([20, MORTAL.exit, 30, 40]),
    failsUncaught: () => rig.payAll([50, 60, MORTAL.uncaught]),
  }
  let times = 0
  for (const [end, under] of Object.entries(ends)) {
    await rig.answeredBy('linear')
    const ending = under()
    times += 1
    await until(() => rig.named('LaneRestarted').length === times, 'the thread ended')
    t.equal(path(await rig.pay(10)), 'linear@1:not_loaded scorecard', 'no lane while the next thread is on its way')
    for (const one of await ending) t.equal(path(one), 'linear@1:model_error scorecard', end)
  }
  await rig.answeredBy('linear')
  t.equal(rig.threads('linear@1').length, 4)
  await rig.finish()
})

void t.test('a challenger whose thread hangs is given up and replaced once, then a restart is asked for', async (t) => {
  const rig = await startModels(t, {
    ...{ champion: 'linear@1', challenger: 'hangs@1', probeAfterMs: 100 },
    limits: { laneStopMs: 800 },
  })
  const hang = async (times: number): Promise<void> => {
    await rig.answeredBy('hangs')
    for (const one of await rig.payAll([busyFor(2_500), 20])) t.equal(path(one), 'hangs@1:deadline linear')
    // Behind the hanging run: its time is over, or its thread is given up before.
    t.match(path(await rig.pay(30)), /^hangs@1:(deadline|model_error|not_loaded) linear$/)
    await until(() => rig.named('LaneAbandoned').length === times, 'the thread is given up')
  }
  await hang(1)
  t.match(rig.named('LaneAbandoned'), [{ fields: { model: 'hangs@1', replaced: true } }])
  await rig.answeredBy('hangs')
  t.equal(rig.threads('hangs@1').length, 2)
  t.equal((await rig.operations('/v1/status')).body.restart_needed, false)
  t.equal((await rig.metric('assay_restart_needed')).get(''), 0)

  await hang(2)
  t.match(rig.named('LaneAbandoned').at(-1), { fields: { model: 'hangs@1', replaced: false } })
  t.equal(path(await rig.pay(40)), 'hangs@1:not_loaded linear')
  t.equal((await rig.operations('/v1/status')).body.restart_needed, true)
  t.equal((await rig.metric('assay_restart_needed')).get(''), 1)
  const ready = await rig.operations('/readyz')
  t.equal(ready.status, 200, 'others answer')
  t.match(ready.body.reasons.join(), /hangs@1: not_loaded.*hangs: restart the server/)
  t.equal(rig.threads('hangs@1').length, 2)
  await rig.finish()
  await until(() => rig.workers.every(({ threadId }) => threadId === -1), 'what hung came back', { msMax: 100_000 })
})
