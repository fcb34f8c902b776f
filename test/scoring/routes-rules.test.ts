// What is a fleet's and what is a server's own of a routing: pure parts of src/scoring/shared.
import t from 'tap'
import { loadConfig } from '../../src/config.js'
import { type Routing, routingOf, shownControl, stateAfter } from '../../src/contract/control-state.js'
import type { ChangeFacts } from '../../src/scoring/change.js'
import {
  forcedLess,
  forcedMore,
  isForcedHere,
  obstacleTo,
  onlyForced,
  ownOf,
  runnerAfter,
  sharedOf,
} from '../../src/scoring/shared/routes-rules.js'

const { policy } = loadConfig({ env: {} })
const own: Routing = {
  ...routingOf({ routes: { ...policy.routes, revision: 7, experiment_key: 'aa' } }),
  loaded: ['third@1'],
}
const { champion, challenger, baseline } = policy.routes
const NOTHING = { baseline: false, open: [] }
const facts: ChangeFacts = {
  ...{ policy, actor: 'ada', makeKey: () => Buffer.from('bb', 'hex'), undecided: new Map() },
  loaded: new Map([champion, challenger ?? '', 'third@1'].map((model) => [model, `sha256:${model}`])),
  limits: { modelsMax: 4, approvalsMax: 2 },
}

void t.test('what is forced on one server alone is added to what the fleet says, and never told to it', (t) => {
  const here = forcedMore(forcedMore(null, 'third@1'), null)
  t.same(here, { baseline: true, open: ['third@1'] })
  const shared = { ...sharedOf(own), forced: { baseline: false, open: [champion] } }
  const served = ownOf(shared, own, here)
  t.same(served.forced, { baseline: true, open: [champion, 'third@1'] })
  t.same([served.loaded, served.forced_here], [['third@1'], here])
  t.same(sharedOf(served).forced, shared.forced)
  t.notOk('loaded' in sharedOf(served) || 'forced_here' in sharedOf(served))
  t.same(ownOf(shared, served, null).forced, shared.forced, 'once it is given back')

  t.same(forcedLess(here, 'third@1'), { baseline: true, open: [] })
  t.equal(forcedLess({ baseline: false, open: ['third@1'] }, 'third@1'), null)
  t.equal(forcedLess(here, null), null)
  t.same(
    [isForcedHere(here, null), isForcedHere(here, 'third@1'), isForcedHere(here, champion), isForcedHere(null, null)],
    [true, true, false, false],
  )
  const waiting = onlyForced(own, { baseline: true, open: [] }, null)
  t.same(
    [waiting.routes, waiting.forced.baseline],
    [own.routes, true],
    'routes that wait hold back nothing that is forced',
  )
  t.end()
})

void t.test('it stands in the log, and is gone from it once it is given back', (t) => {
  const state = {
    ...{ format: 1 as const, policy, policy_fingerprint: '', models: [] },
    ...ownOf(sharedOf(own), own, forcedMore(null, null)),
  }
  t.same(routingOf(state).forced_here, { baseline: true, open: [] })
  t.match(shownControl(JSON.stringify(state)), { forced: { baseline: true }, forced_here: { baseline: true } })
  const after = stateAfter(state, JSON.stringify(ownOf(sharedOf(own), own, null)))
  t.same([routingOf(after).forced, routingOf(after).forced_here], [NOTHING, null])
  t.notOk('forced_here' in own, 'without a fleet it is not there')
  t.end()
})

void t.test('a server names what stands between it and the routes of its fleet', (t) => {
  const shared = sharedOf({ ...own, routes: { ...own.routes, champion: 'third@1' } })
  const under = (over: Partial<ChangeFacts>): string | null => obstacleTo(shared, baseline, { ...facts, ...over })
  t.equal(under({}), null)
  t.equal(obstacleTo(shared, 'other@1', facts), `their baseline is ${baseline}, that of this server other@1`)
  t.equal(under({ loaded: new Map() }), 'third@1 is not loaded here')
  t.equal(under({ undecided: new Map([['third@1', 'no cuts']]) }), 'third@1 decides nothing here: no cuts')
  const approvals = [{ model: 'third@1', digest: 'sha256:other', actor: 'zoe' }]
  const required = { ...facts, policy: { ...policy, model_approval: 'required' as const } }
  t.equal(obstacleTo({ ...shared, approvals }, baseline, facts), null, 'where no approval is wanted')
  t.match(obstacleTo({ ...shared, approvals }, baseline, required), /^third@1 is sha256:third@1 here, approved was/)
  const good = [...approvals, { model: 'third@1', digest: 'sha256:third@1', actor: 'zoe' }]
  t.equal(obstacleTo({ ...shared, approvals: good }, baseline, required), null, 'the newest approval counts')
  t.equal(obstacleTo({ ...shared, routes: { ...shared.routes, challenger: null } }, baseline, facts), null)
  t.end()
})

void t.test(
  'who is asked to begin or resume a ramp takes its steps, whoever is asked for something else does not',
  (t) => {
    const ramp = { steps: [1, 2], step: 0, every_ms: 1_000, paused: false }
    const held = { runner: 'a', asked: 'b' }
    const wanted = { kind: 'set', wanted: { reason: 'r' } } as const
    t.equal(runnerAfter(wanted, { ramp }, held), 'b')
    t.equal(runnerAfter({ kind: 'resume' }, { ramp }, held), 'b')
    t.equal(runnerAfter({ kind: 'force', model: null }, { ramp }, held), 'a')
    t.equal(runnerAfter({ kind: 'ramp_step' }, { ramp }, { runner: 'a', asked: 'a' }), 'a')
    t.equal(runnerAfter(wanted, { ramp: null }, held), null)
    t.end()
  },
)
