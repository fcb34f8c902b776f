// The rules of a change, and what a step of a ramp counts: pure parts of the live routes.
import t from 'tap'
import { loadConfig } from '../../src/config.js'
import { parseControlState, routingOf, stateAfter, type Routing } from '../../src/contract/control-state.js'
import type { RampGuards } from '../../src/contract/policy.js'
import type { DecisionFacts } from '../../src/contract/record-types.js'
import { applyChange, type Change } from '../../src/scoring/change.js'
import { routingAtStart } from '../../src/scoring/control-state.js'
import { modelsToLoad } from '../../src/scoring/load-models.js'
import { createRampWatch } from '../../src/scoring/ramp-watch.js'

const { policy } = loadConfig({ env: {} })
const reason = 'r'
const start: Routing = {
  routes: { ...policy.routes, revision: 7, experiment_key: 'aa' },
  previous: null,
  forced: { baseline: false, open: [] },
  ramp: null,
}
const facts = { policy, loaded: ['fraud-lgbm@1', 'fraud-xgb@1', 'third@1'], makeKey: () => Buffer.from('bb', 'hex') }

/** The routing after these changes, or the code of the first that is refused. */
function after(changes: readonly Change[], from = start): Routing | string {
  let held = from
  for (const change of changes) {
    const next = applyChange(held, change, facts)
    if ('code' in next) return next.code
    if (next.routes.revision !== held.routes.revision + 1) throw new Error('each change has the next revision')
    held = next
  }
  return held
}
const set = (wanted: object): Change => ({ kind: 'set', wanted: { reason, ...wanted } })
const guards: RampGuards = {
  ...{ samples_min: 100, errors_above: 0.01, degraded_above: 0.05, declines_above: 0.1, latency_p95_ms_above: 2 },
  on_trip: 'roll_back',
}
const ramp = { then: [2_500, 10_000], every_ms: 1_000 }

void t.test('what is absent stays; an experiment keeps its key, a new one is dealt anew', (t) => {
  t.match(after([set({ share: 5 })]), { routes: { share: 5, champion: 'fraud-lgbm@1', experiment_key: 'aa' } })
  t.match(after([set({ experiment: 'x' })]), { routes: { experiment: 'x', experiment_key: 'bb' } })
  const back = after([set({ experiment: 'x' }), set({ experiment: 'default' })])
  t.match(back, { routes: { experiment_key: 'aa' } }, 'the one before is still known')
  t.equal(after([set({ challenger: null, share: 5 })]), 'ASSAY_SCHEMA_INVALID')
  t.match(after([set({ share: 5 }), set({ challenger: null })]), { routes: { challenger: null, share: 0 } })
  t.end()
})

void t.test('a ramp is steps from its first share on; what would not rise or cannot stop itself is refused', (t) => {
  const begun = after([set({ share: 500, ramp })])
  t.match(begun, { routes: { share: 500 }, ramp: { steps: [500, 2_500, 10_000], step: 0, paused: false } })
  t.match(after([set({ share: 500, ramp }), { kind: 'ramp_step' }]), { routes: { share: 2_500 }, ramp: { step: 1 } })
  t.match(after([set({ share: 500, ramp }), { kind: 'ramp_trip' }]), { routes: { share: 0 }, ramp: null })
  t.match(after([set({ share: 500, ramp }), { kind: 'rollback' }]), {
    routes: { share: 0 },
    previous: null,
    ramp: null,
  })
  t.match(
    after([set({ share: 500, ramp }), set({ share: 500 })]),
    { routes: { share: 500 }, ramp: null },
    'a set ends it',
  )
  t.equal(after([set({ share: 2_500, ramp })]), 'ASSAY_SCHEMA_INVALID')
  t.equal(after([set({ challenger: null, share: 0, ramp })]), 'ASSAY_SCHEMA_INVALID')
  const { ramp_guards: _, ...unguarded } = policy
  const refused = applyChange(start, set({ share: 5, ramp }), { ...facts, policy: unguarded })
  t.match(refused, { code: 'ASSAY_CHANGE_CONFLICT' })
  const hold = { ...policy, ramp_guards: { ...guards, on_trip: 'hold' as const } }
  const running = after([set({ share: 500, ramp })])
  if (typeof running === 'string') throw new Error(running)
  t.match(applyChange(running, { kind: 'ramp_trip' }, { ...facts, policy: hold }), {
    routes: { share: 500 },
    ramp: null,
  })
  t.end()
})

void t.test('forcing pauses a ramp, and so does a restart; only an operator lets it go on', (t) => {
  const running = after([set({ share: 500, ramp })])
  if (typeof running === 'string') throw new Error(running)
  t.match(after([{ kind: 'force', model: null }], running), { forced: { baseline: true }, ramp: { paused: true } })
  const restarted = routingAtStart(running, running.routes)
  t.match(restarted, { routes: running.routes, ramp: { paused: true, step: 0 } })
  t.match(after([{ kind: 'resume' }], restarted), { ramp: { paused: false } })
  t.equal(after([{ kind: 'resume' }], running), 'ASSAY_CHANGE_CONFLICT')
  const fromFile = routingAtStart(running, { ...running.routes, share: 9, revision: 9 })
  t.match(fromFile, { routes: { share: 9 }, previous: running.routes, ramp: null }, 'routes of the file end it')
  t.same(modelsToLoad({ ...start, previous: { ...start.routes, champion: 'old@1' } }, policy.routes, 8), [
    ...['fraud-lgbm@1', 'fraud-xgb@1', 'old@1'],
  ])
  t.end()
})

void t.test('a control record changes the members that it holds; states of earlier releases hold nothing more', (t) => {
  const state = { format: 1, policy, policy_fingerprint: 'f', routes: start.routes, models: [] }
  const before = parseControlState(JSON.stringify(state))
  t.same(routingOf(before), start)
  const running = after([set({ share: 500, ramp }), { kind: 'force', model: 'third@1' }])
  const later = stateAfter(before, JSON.stringify(running))
  t.same(routingOf(later), running)
  t.equal(later.policy_fingerprint, 'f')
  t.same(routingOf(stateAfter(later, JSON.stringify({ ramp: null }))).ramp, null)
  t.throws(() => stateAfter(before, '{"routes":'), SyntaxError)
  t.throws(() => stateAfter(before, '{"format":2}'), { code: 'ASSAY_LOG_DAMAGED' })
  t.end()
})

const decision = (arm: 'champion' | 'challenger', over: object = {}): DecisionFacts =>
  ({ mode: 'decide', unfolded: false, arm, degraded: false, fallback: [], action: 'approve', ...over }) as never
const hop = (reason: string): object => ({ degraded: true, fallback: [{ model: 'm', role: 'challenger', reason }] })

void t.test('a guard trips on what the challenger does above the champion, and only with enough to go by', (t) => {
  const cases: [string, object, number, RegExp | null][] = [
    ['nothing', {}, 1, null],
    ['errors', hop('model_error'), 1, /^errors: 2\.0 % against 0\.0 %/],
    ['degraded by the deadline', hop('deadline'), 3, /^degraded: 6\.0 % /],
    ['as much as may be', hop('deadline'), 2, null],
    ['declines', { action: 'decline' }, 6, /^declines: 12\.0 % .*in 100 and 100 decisions$/],
  ]
  for (const [name, over, times, expected] of cases) {
    const watch = createRampWatch(null)
    const fill = (arm: 'champion' | 'challenger', rows: number): void => {
      for (let row = 0; row < rows; row++) watch.note(decision(arm), 1_000)
    }
    fill('champion', 100)
    fill('challenger', 99 - 2 * times)
    for (let row = 0; row < 2 * times; row++) watch.note(decision('challenger', over), 1_000)
    t.equal(watch.tripped(guards), null, `${name}: one too few`)
    t.notOk(watch.hasSeenEnough(guards))
    fill('challenger', 1)
    t.ok(watch.hasSeenEnough(guards))
    const found = watch.tripped(guards)
    if (expected === null) t.equal(found, null, name)
    else t.match(found, expected, name)
  }
  t.end()
})

void t.test('latency is held against the champion; evaluations count for nobody', (t) => {
  const watch = createRampWatch(null)
  for (let row = 0; row < 100; row++) {
    watch.note(decision('champion'), 1_000)
    watch.note(decision('challenger'), 3_000)
    watch.note(decision('challenger', { mode: 'evaluate' }), 90_000)
  }
  t.equal(watch.tripped(guards), null)
  for (let row = 0; row < 10; row++) watch.note(decision('challenger'), 3_500)
  t.match(watch.tripped(guards), /^latency: p95 3\.50 ms against 1\.00 ms/)
  const last = createRampWatch(watch)
  for (let row = 0; row < 100; row++) last.note(decision('challenger'), 9_000)
  t.match(last.tripped(guards), /^latency/, 'with no champion left, that of the step before')
  t.equal(createRampWatch(null).tripped(guards), null)
  t.end()
})
