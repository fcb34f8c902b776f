// How the routes of a fleet and what is a server's own make the routing that it serves. Pure.
// Invariant: what a hand has forced on one server alone stays forced there until a hand releases it there, whatever the
// fleet says meanwhile; nothing else of a server's routing differs from the fleet's but what it has loaded.
import type { Forced, Routing } from '../../contract/control-state.js'
import type { SharedRouting } from '../../contract/routes-entry.js'
import type { ChangeFacts, SharedChange } from '../change.js'

const NOTHING: Forced = { baseline: false, open: [] }

/** What the fleet hears of a server's routing. */
export function sharedOf({ routes, previous, forced, forced_here: here, ramp, approvals }: Routing): SharedRouting {
  return { routes, previous, forced: without(forced, here ?? NOTHING), ramp, approvals }
}

/** What a server makes of the fleet's routing. */
export function ownOf(shared: SharedRouting, { loaded }: Pick<Routing, 'loaded'>, here: Forced | null): Routing {
  return { ...shared, forced: both(shared.forced, here), forced_here: here, loaded }
}

/** The routes wait where a server cannot serve them; what is forced does not. */
export function onlyForced(own: Routing, forced: Forced, here: Forced | null): Routing {
  return { ...own, forced: both(forced, here), forced_here: here }
}

export function both(forced: Forced, here: Forced | null): Forced {
  if (here === null) return forced
  const more = here.open.filter((model) => !forced.open.includes(model))
  return { baseline: forced.baseline || here.baseline, open: [...forced.open, ...more] }
}

function without(forced: Forced, here: Forced): Forced {
  const open = forced.open.filter((model) => !here.open.includes(model))
  return { baseline: forced.baseline && !here.baseline, open }
}

/** What is forced here alone, with a model more; null: all of them. */
export function forcedMore(here: Forced | null, model: string | null): Forced {
  const held = here ?? NOTHING
  return model === null ? { ...held, baseline: true } : { ...held, open: [...held.open, model] }
}

/** What is forced here alone after a release of a model, or of everything: null where that is nothing. */
export function forcedLess(here: Forced | null, model: string | null): Forced | null {
  if (here === null || model === null) return null
  const open = here.open.filter((one) => one !== model)
  return here.baseline || open.length > 0 ? { ...here, open } : null
}

/** True where a release of a model, or of everything, gives something back that is forced here alone. */
export function isForcedHere(here: Forced | null, model: string | null): boolean {
  return here !== null && (model === null || here.open.includes(model))
}

/** Why a server cannot serve these routes; null where it can. */
export function obstacleTo({ routes, approvals }: SharedRouting, baseline: string, facts: ChangeFacts): string | null {
  const { policy, loaded, undecided } = facts
  if (routes.baseline !== baseline) return `their baseline is ${routes.baseline}, that of this server ${baseline}`
  for (const model of [routes.champion, routes.challenger]) {
    if (model === null) continue
    const digest = loaded.get(model)
    if (digest === undefined) return `${model} is not loaded here`
    const why = undecided.get(model)
    if (why !== undefined) return `${model} decides nothing here: ${why}`
    const approved = approvals.findLast((one) => one.model === model)
    if (policy.model_approval !== 'required' || approved === undefined || approved.digest === digest) continue
    return `${model} is ${digest} here, approved was ${approved.digest}`
  }
  return null
}

/** After a change the one who was asked takes a ramp's steps, where the change began or resumed it. */
export function runnerAfter({ kind }: SharedChange, { ramp }: Pick<Routing, 'ramp'>, held: Runner): string | null {
  if (ramp === null) return null
  return kind === 'set' || kind === 'resume' ? held.asked : held.runner
}

interface Runner {
  /** Who took them before. */
  readonly runner: string | null
  /** The server that was asked for the change. */
  readonly asked: string
}
