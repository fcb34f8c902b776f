// The rules of a change, and what a step of a ramp counts: pure parts of the live routes.
import t from 'tap'
import { loadConfig } from '../../src/config.js'
import { parseControlState, routingOf, stateAfter, type Routing } from '../../src/contract/control-state.js'
import type { RampGuards } from '../../src/contract/policy.js'
import type { DecisionFacts } from '../../src/contract/record-types.js'
import { applyChange, type Change, type ChangeFacts } from '../../src/scoring/change.js'
import { routingAtStart } from '../../src/scoring/control-state.js'
import { modelsToLoad } from '../../src/scoring/load-models.js'
import { createRampWatch } from '../../src/scoring/ramp-watch.js'

const { policy } = loadConfig({ env: {} })
const reason = 'r'
const start: Routing = routingOf({ routes: { ...policy.routes, revision: 7, experiment_key: 'aa' } })
const digest = (digit: string): string => `sha256:${digit.repeat(64)}`
const facts: ChangeFacts = {
  ...{ policy, actor: 'ada', makeKey: () => Buffer.from('bb', 'hex') },
  loaded: new Map(['fraud-lgbm@1', 'fraud-xgb@1', 'third@1'].map((model, at) => [model, digest(String(at))])),
  undecided: new Map(),
  limits: { modelsMax: 4, approvalsMax: 2 },
}

/** The routing after these changes, or the code of the first that is refused. */
function after(changes: readonly Change[], from = start, under = facts): Routing | string {
  let held = from
  for (const change of changes) {
    const next = applyChange(held, change, under)
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

void t.test('a model is loaded once, and taken out only where nothing needs it', (t) => {
  const load = (model: string): Change => ({ kind: 'load', model })
  const unload = (model: string): Change => ({ kind: 'unload', model })
  t.match(after([load('new@1')]), { loaded: ['new@1'], routes: { revision: 8 } })
  t.equal(after([load('new@1'), load('new@1')]), 'ASSAY_CHANGE_CONFLICT')
  const full = { ...facts, limits: { ...facts.limits, modelsMax: 3 } }
  t.equal(after([load('new@1')], start, full), 'ASSAY_CHANGE_CONFLICT')
  t.match(after([load('third@1')], start, full), { loaded: ['third@1'] }, 'itself is not in its own way')
  t.match(after([load('third@1'), unload('third@1')]), { loaded: [] })
  t.match(after([{ kind: 'force', model: 'third@1' }, unload('third@1')]), { forced: { open: [] } })
  t.equal(after([unload('new@1')]), 'ASSAY_MODEL_NOT_LOADED')
  t.equal(after([unload('fraud-lgbm@1')]), 'ASSAY_CHANGE_CONFLICT', 'the champion')
  t.equal(after([unload('fraud-xgb@1')]), 'ASSAY_CHANGE_CONFLICT', 'the challenger')
  const moved = [set({ champion: 'third@1' })]
  t.equal(after([...moved, unload('fraud-lgbm@1')]), 'ASSAY_CHANGE_CONFLICT', 'what a rollback returns to')
  t.match(after([...moved, set({ share: 9 }), unload('fraud-lgbm@1')]), { previous: { champion: 'third@1' } })
  t.same(modelsToLoad({ ...start, loaded: ['new@1'] }, policy.routes, 8), ['fraud-lgbm@1', 'fraud-xgb@1', 'new@1'])
  t.end()
})

void t.test('a model without thresholds is loaded and taken out, but neither routed to nor rolled back to', (t) => {
  const without: ChangeFacts = { ...facts, undecided: new Map([['third@1', 'it needs --review-at, or the policy']]) }
  for (const role of ['champion', 'challenger']) {
    const refused = applyChange(start, set({ [role]: 'third@1' }), without)
    t.match(refused, { code: 'ASSAY_CHANGE_CONFLICT', errors: [{ path: `/${role}`, message: /--review-at.*policy/ }] })
    t.match(after([set({ [role]: 'third@1' })]), { routes: { [role]: 'third@1' } }, 'with thresholds it is')
  }
  t.match(after([set({ share: 9 })], start, without), { routes: { share: 9 } }, 'others are')
  t.match(
    after(
      [
        { kind: 'load', model: 'third@1' },
        { kind: 'unload', model: 'third@1' },
      ],
      start,
      without,
    ),
    {
      loaded: [],
    },
  )
  const left = after([set({ champion: 'third@1', challenger: 'fraud-lgbm@1' }), set({ champion: 'fraud-xgb@1' })])
  if (typeof left === 'string') throw new Error(left)
  t.equal(after([{ kind: 'rollback' }], left, without), 'ASSAY_CHANGE_CONFLICT')
  t.match(after([{ kind: 'rollback' }], left), { routes: { champion: 'third@1' } })
  t.end()
})

void t.test('where the policy wants approvals, only an approved bundle is routed to anew', (t) => {
  const approve = (model: string, of: string): Change => ({ kind: 'approve', model, digest: of })
  const strict: ChangeFacts = { ...facts, policy: { ...policy, model_approval: 'required' } }
  const moved = set({ champion: 'third@1' })
  t.match(after([moved]), { routes: { champion: 'third@1' } }, 'none is needed by default')
  t.equal(after([moved], start, strict), 'ASSAY_MODEL_NOT_APPROVED')
  t.match(after([set({ share: 10 })], start, strict), { routes: { share: 10 } }, 'what is routed to may stay')
  const approved = after([approve('third@1', digest('2')), moved], start, strict)
  t.match(approved, { routes: { champion: 'third@1' }, approvals: [{ model: 'third@1', actor: 'ada' }] })
  t.equal(after([approve('third@1', digest('1'))], start, strict), 'ASSAY_CHANGE_CONFLICT', 'another bundle')
  t.equal(after([approve('new@1', digest('1'))], start, strict), 'ASSAY_MODEL_NOT_LOADED')
  const twice = [approve('third@1', digest('2')), approve('third@1', digest('2'))]
  t.equal(after(twice, start, strict), 'ASSAY_CHANGE_CONFLICT')
  const replaced = { ...strict, loaded: new Map([...facts.loaded, ['third@1', digest('f')]]) }
  const held = after([approve('third@1', digest('2'))], start, strict)
  if (typeof held === 'string') throw new Error(held)
  t.equal(after([moved], held, replaced), 'ASSAY_MODEL_NOT_APPROVED', 'the bundle is another one by now')
  const all = [...facts.loaded].map(([model, own]) => approve(model, own))
  t.match(after(all, start, strict), { approvals: { length: 2 } }, 'the newest are remembered')
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
