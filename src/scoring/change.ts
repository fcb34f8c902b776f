// What a change makes of the routing: the rules of operators, ramps and guards. Pure.
// Invariant: what it gives has the next revision and can be served: its models are loaded, its shares are in order.
// Only history leaves who answers, and so the revision, as it is. It refuses a change that would change nothing, so
// that every revision says something.
import type { ImportedHistory, LiveRoutes, Ramp, Routing } from '../contract/control-state.js'
import type { Policy } from '../contract/policy.js'
import type { RoutesChange } from '../contract/routes-change.js'
import { faultsText, type InputFault, reject, type Rejection } from '../errors.js'
import type { Limits } from '../limits.js'

/** What is asked: of operators, but for the last four, a fleet's and a ramp's. Stands in the control record. */
export type Change =
  | { readonly kind: 'set'; readonly wanted: RoutesChange }
  | { readonly kind: 'rollback' | 'resume' }
  /** `model` null: all of them. */
  | { readonly kind: 'force' | 'release'; readonly model: string | null }
  /** `load`: of a model that was loaded for it. */
  | { readonly kind: 'load' | 'unload'; readonly model: string }
  | { readonly kind: 'approve'; readonly model: string; readonly digest: string }
  | { readonly kind: 'history'; readonly history: ImportedHistory }
  /** The first routes of a fleet, or the fleet's under a revision above a server's own. */
  | { readonly kind: 'join' }
  | { readonly kind: 'ramp_step' | 'ramp_end' | 'ramp_trip' }
export type ChangeKind = Change['kind']

/** What servers with the same routes agree upon; each has models and windows of its own. */
export type SharedChange = Exclude<Change, { readonly kind: 'load' | 'unload' | 'history' }>

const SHARED: Readonly<Record<SharedChange['kind'], true>> = {
  ...{ set: true, rollback: true, resume: true, force: true, release: true, approve: true, join: true },
  ...{ ramp_step: true, ramp_end: true, ramp_trip: true },
}

/** By its kind; what such a change carries is of this release where its kind is. */
export function isShared(change: { readonly kind: string }): change is SharedChange {
  return Object.hasOwn(SHARED, change.kind)
}

/** Changes that act at once, their record appended first; the others act once their record is durable (semantics 8). */
export const AT_ONCE: ReadonlySet<ChangeKind> = new Set(['rollback', 'force', 'release', 'ramp_trip'])

export interface ChangeFacts {
  readonly policy: Policy
  /** Models that can be routed to: name@version → sha256:… of the bundle. */
  readonly loaded: ReadonlyMap<string, string>
  /** Of these, the ones that decide nothing under the policy, and why not. */
  readonly undecided: ReadonlyMap<string, string>
  readonly limits: Pick<Limits, 'modelsMax' | 'approvalsMax'>
  readonly makeKey: () => Buffer
  /** Who asks. */
  readonly actor: string
}

/** The routing after a change, with the next revision; or why there is none. */
export function applyChange(held: Routing, change: Change, facts: ChangeFacts): Routing | Rejection {
  switch (change.kind) {
    case 'set':
      return setRoutes(held, change.wanted, facts)
    case 'rollback':
      return rollBack(held, facts)
    case 'resume':
      if (held.ramp?.paused !== true) return conflict('no ramp is paused')
      return next(held, { ramp: { ...held.ramp, paused: false } })
    case 'force':
      return force(held, change.model, facts)
    case 'release':
      return release(held, change.model)
    case 'load':
      return loadModel(held, change.model, facts)
    case 'unload':
      return unloadModel(held, change.model, facts)
    case 'approve':
      return approve(held, change, facts)
    case 'history':
    case 'join':
      return held
    case 'ramp_step':
      return held.ramp === null ? conflict('no ramp runs') : step(held, held.ramp)
    case 'ramp_end':
      return next(held, { ramp: null })
    case 'ramp_trip':
      if (facts.policy.ramp_guards?.on_trip === 'hold' || held.previous === null) return next(held, { ramp: null })
      return rolledBack(held, held.previous)
  }
}

function next(held: Routing, over: Partial<Routing>): Routing {
  const routing = { ...held, ...over }
  return { ...routing, routes: { ...routing.routes, revision: held.routes.revision + 1 } }
}

function rollBack(held: Routing, { undecided }: ChangeFacts): Routing | Rejection {
  const { previous } = held
  if (previous === null) return conflict('there is nothing to roll back to: set the routes instead')
  return undecidedConflict(previous, undecided) ?? rolledBack(held, previous)
}

/** A rollback leaves nothing to return to: whoever does it twice does not come back to what was wrong. */
function rolledBack(held: Routing, previous: LiveRoutes): Routing {
  return next(held, { routes: previous, previous: null, ramp: null })
}

function setRoutes(held: Routing, wanted: RoutesChange, facts: ChangeFacts): Routing | Rejection {
  const { routes, previous } = held
  const { champion = routes.champion, experiment = routes.experiment } = wanted
  const challenger = wanted.challenger === undefined ? routes.challenger : wanted.challenger
  const share = wanted.share ?? (challenger === null ? 0 : routes.share)
  const ramp: Ramp | null =
    wanted.ramp === undefined
      ? null
      : { steps: [share, ...wanted.ramp.then], step: 0, every_ms: wanted.ramp.every_ms, paused: false }
  const asked = { champion, challenger, share, experiment }
  const faults = shareFaults(asked, ramp)
  if (faults.length > 0) return reject('ASSAY_SCHEMA_INVALID', faultsText(faults), faults)
  const unknown = modelFaults({ champion, challenger }, facts.loaded)
  if (unknown.length > 0) return reject('ASSAY_MODEL_NOT_LOADED', faultsText(unknown), unknown)
  const conflicting = undecidedConflict({ champion, challenger }, facts.undecided)
  if (conflicting !== null) return conflicting
  const unapproved = approvalFaults({ champion, challenger }, held, facts)
  if (unapproved.length > 0) return reject('ASSAY_MODEL_NOT_APPROVED', faultsText(unapproved), unapproved)
  if (ramp !== null && facts.policy.ramp_guards === undefined) {
    return conflict('the policy states no ramp_guards: a ramp would have nothing to stop it')
  }
  const same = Object.entries(asked).every(([name, value]) => new Map(Object.entries(routes)).get(name) === value)
  if (same && ramp === null && held.ramp === null)
    return conflict(`these are the routes of revision ${routes.revision}`)
  // The key of an experiment never changes within it.
  const known = [routes, ...(previous === null ? [] : [previous])].find((one) => one.experiment === experiment)
  const experiment_key = known?.experiment_key ?? facts.makeKey().toString('hex')
  return next(held, { routes: { ...routes, ...asked, experiment_key }, previous: routes, ramp })
}

function shareFaults(asked: Pick<LiveRoutes, 'champion' | 'challenger' | 'share'>, ramp: Ramp | null): InputFault[] {
  const { champion, challenger, share } = asked
  const faults: InputFault[] = []
  if (champion === challenger) faults.push({ path: '/challenger', message: 'another model than the champion' })
  if (challenger === null && share > 0) faults.push({ path: '/share', message: '0 where there is no challenger' })
  if (ramp === null) return faults
  if (challenger === null) faults.push({ path: '/ramp', message: 'only with a challenger' })
  const rises = ramp.steps.every((at, index) => index === 0 || at > ramp.steps[index - 1])
  if (!rises) faults.push({ path: '/ramp/then', message: 'rising shares above the first' })
  return faults
}

type Roles = Pick<LiveRoutes, 'champion' | 'challenger'>
const ROUTED = ['champion', 'challenger'] as const

function modelFaults(asked: Roles, loaded: ChangeFacts['loaded']): InputFault[] {
  return ROUTED.filter((role) => asked[role] !== null && !loaded.has(asked[role])).map((role) => ({
    path: `/${role}`,
    message: oneOf(loaded),
  }))
}

/** What decides nothing is not routed to. */
function undecidedConflict(asked: Roles, undecided: ChangeFacts['undecided']): Rejection | null {
  const faults = ROUTED.flatMap((role): InputFault[] => {
    const why = undecided.get(asked[role] ?? '')
    return why === undefined ? [] : [{ path: `/${role}`, message: `${asked[role]}: ${why}` }]
  })
  return faults.length === 0 ? null : reject('ASSAY_CHANGE_CONFLICT', faultsText(faults), faults)
}

/** What is routed to already needs no approval to stay, in whichever role. */
function approvalFaults(asked: Roles, { routes, approvals }: Routing, { policy, loaded }: ChangeFacts): InputFault[] {
  if (policy.model_approval !== 'required') return []
  const isApproved = (model: string): boolean =>
    [routes.champion, routes.challenger].includes(model) ||
    approvals.some((one) => one.model === model && one.digest === loaded.get(model))
  return ROUTED.filter((role) => asked[role] !== null && !isApproved(asked[role])).map((role) => ({
    path: `/${role}`,
    message: 'a model whose bundle an approver has approved',
  }))
}

function oneOf(loaded: ChangeFacts['loaded']): string {
  return loaded.size === 0 ? 'none: no model is loaded' : `one of ${[...loaded.keys()].join(', ')}`
}

function notLoaded(loaded: ChangeFacts['loaded']): Rejection {
  const faults = [{ path: '/model', message: oneOf(loaded) }]
  return reject('ASSAY_MODEL_NOT_LOADED', faultsText(faults), faults)
}

/** Asked before the model is loaded, and again once it is. */
function loadModel(held: Routing, model: string, { loaded, limits }: ChangeFacts): Routing | Rejection {
  if (held.loaded.includes(model)) return conflict(`${model} is loaded already`)
  const others = [...loaded.keys()].filter((one) => one !== model)
  if (others.length >= limits.modelsMax) {
    return conflict(`at most ${limits.modelsMax} models are loaded: unload one of ${others.join(', ')}`)
  }
  return next(held, { loaded: [...held.loaded, model] })
}

/** What answers, and what a rollback would return to, stays warm. */
function unloadModel(held: Routing, model: string, { loaded }: ChangeFacts): Routing | Rejection {
  const { routes, previous, forced } = held
  if (!loaded.has(model)) return notLoaded(loaded)
  if (routes.champion === model || routes.challenger === model) return conflict(`the routes name ${model}`)
  if (previous?.champion === model || previous?.challenger === model) {
    return conflict(`a rollback would return to ${model}`)
  }
  const open = forced.open.filter((one) => one !== model)
  return next(held, { loaded: held.loaded.filter((one) => one !== model), forced: { ...forced, open } })
}

function approve(
  held: Routing,
  { model, digest }: { readonly model: string; readonly digest: string },
  { loaded, limits, actor }: ChangeFacts,
): Routing | Rejection {
  const own = loaded.get(model)
  if (own === undefined) return notLoaded(loaded)
  if (own !== digest) return conflict(`${model} is another bundle: ${own}`)
  if (held.approvals.some((one) => one.model === model && one.digest === digest)) {
    return conflict(`${model} is approved already`)
  }
  const approvals = [...held.approvals, { model, digest, actor }]
  return next(held, { approvals: approvals.slice(-limits.approvalsMax) })
}

/** A ramp waits meanwhile: what is forced says nothing of its challenger. */
function force(held: Routing, model: string | null, { loaded }: ChangeFacts): Routing | Rejection {
  const { forced } = held
  const ramp = held.ramp === null ? null : { ...held.ramp, paused: true }
  if (model === null) {
    if (forced.baseline) return conflict('the baseline answers everything already')
    return next(held, { forced: { ...forced, baseline: true }, ramp })
  }
  if (!loaded.has(model)) return notLoaded(loaded)
  if (forced.open.includes(model)) return conflict('the breaker of this model is held open already')
  return next(held, { forced: { ...forced, open: [...forced.open, model] }, ramp })
}

function release(held: Routing, model: string | null): Routing | Rejection {
  const { baseline, open } = held.forced
  if (model === null) {
    if (!baseline && open.length === 0) return conflict('nothing is forced')
    return next(held, { forced: { baseline: false, open: [] } })
  }
  if (!open.includes(model)) return conflict('the breaker of this model is not held open')
  return next(held, { forced: { baseline, open: open.filter((one) => one !== model) } })
}

function step(held: Routing, ramp: Ramp): Routing {
  const at = ramp.step + 1
  return next(held, { routes: { ...held.routes, share: ramp.steps[at] }, ramp: { ...ramp, step: at } })
}

function conflict(detail: string): Rejection {
  return reject('ASSAY_CHANGE_CONFLICT', detail)
}
