// What stands in full at the head of every segment: policy, routes and models, so that any decision in the segment can
// be recomputed from it and the bundles alone. JSON, with a format of its own.
import { AssayError } from '../errors.js'
import type { PolicyStanding } from './policy-live.js'
import type { Policy, Routes } from './policy.js'
import type { HistoryChange } from './routes-change.js'

/** Routes as they are served: the policy's seed or the last control record, with the key of their experiment. */
export interface LiveRoutes extends Routes {
  revision: number
  /** 32 random bytes as hex, made with the experiment; never changed within it. */
  experiment_key: string
}

/** A model as the control state names it; `digest` is all zeros where the bundle was refused. */
export interface ControlModel {
  reference: string
  role: string
  digest: string
  thresholds: { challenge_at: number | null; review_at: number | null; decline_at: number | null }
}

/** What an operator's hand has taken from models that would answer; the fallback's reason is `forced`. */
export interface Forced {
  /** Every decision is the baseline's. */
  baseline: boolean
  /** name@version of the models whose breaker is held open. */
  open: string[]
}

/** Shares that a challenger is raised to by the server itself, one after the other. */
export interface Ramp {
  /** In 1/10,000, rising; the routes hold the one that `step` points at. */
  steps: number[]
  step: number
  every_ms: number
  /** After a restart it waits for an operator. */
  paused: boolean
}

/** A bundle that an approver has looked at: it may be routed to where the policy wants approvals. */
export interface Approval {
  /** name@version. */
  model: string
  /** sha256:… of its model file. */
  digest: string
  actor: string
}

/** What changes while a server runs; all of it is one revision, that of the routes. */
export interface Routing {
  routes: LiveRoutes
  /** What a rollback returns to; null where there is nothing. */
  previous: LiveRoutes | null
  forced: Forced
  /** The part of `forced` that is this server's alone, since its fleet could not be told; null: nothing is. */
  forced_here?: Forced | null
  ramp: Ramp | null
  /** name@version of what operators loaded beside the models of the routes: a start loads it as well. */
  loaded: string[]
  /** Newest last. */
  approvals: Approval[]
}

/** As it stands in the log. */
export interface ControlState extends Partial<Omit<Routing, 'routes'>> {
  format: 1
  policy: Policy
  policy_fingerprint: string
  /** Absent in those of earlier releases, and where the policy was never changed: it is the file's. */
  policy_standing?: PolicyStanding
  routes: LiveRoutes
  models: ControlModel[]
}

/**
 * The part of a control state that operators change. Members are absent in those of earlier releases, and where nothing
 * was ever changed: nothing forced, no ramp, nothing to return to.
 */
export function routingOf(state: Pick<ControlState, keyof Routing>): Routing {
  const { routes, previous = null, forced = { baseline: false, open: [] }, ramp = null, forced_here: here } = state
  const { loaded = [], approvals = [] } = state
  return { routes, previous, forced, ...(here !== undefined && { forced_here: here }), ramp, loaded, approvals }
}

/** Routes as anybody may see them: without the experiment's key, which would let one choose ids for a bucket. */
export type ShownRoutes = Omit<LiveRoutes, 'experiment_key'>

export function withoutKey<R extends LiveRoutes>({ experiment_key: _, ...routes }: R): ShownRoutes {
  return routes
}

/** The members that changed, and what was asked for; absent in records of earlier releases. */
interface ControlRecordState extends Partial<ControlState> {
  change?: { kind: string; model?: string | null; history?: ImportedHistory }
}

/** History that was imported to its end. */
export type ImportedHistory = Omit<HistoryChange, 'reason'>

/** What the text of a control record says was imported; null where it is about something else. */
export function importedHistory(text: string): ImportedHistory | null {
  const { change } = JSON.parse(text) as ControlRecordState
  return change?.kind === 'history' ? (change.history ?? null) : null
}

/** The text of a control record as it is kept to be shown: without the policy, which the log holds in full. */
export function withoutPolicy(text: string): string {
  const { policy: _, policy_standing: standing, ...state } = JSON.parse(text) as ControlRecordState
  return JSON.stringify({
    ...state,
    ...(standing !== undefined && { policy_standing: { ...standing, previous: null } }),
  })
}

/** What the text of a control record says of the routing, without keys. */
export function shownControl(text: string): object {
  const { change, ...state } = JSON.parse(text) as ControlRecordState
  const { routes, previous, forced, forced_here, ramp, loaded, approvals, policy_fingerprint: fingerprint } = state
  return {
    ...(fingerprint !== undefined && { policy: fingerprint, policy_revision: state.policy_standing?.revision }),
    ...(change !== undefined && { change }),
    ...(routes !== undefined && { routes: withoutKey(routes) }),
    ...(previous !== undefined && { previous: previous === null ? null : withoutKey(previous) }),
    ...(forced !== undefined && { forced }),
    ...(forced_here !== undefined && { forced_here }),
    ...(ramp !== undefined && { ramp }),
    ...(loaded !== undefined && { loaded }),
    ...(approvals !== undefined && { approvals }),
  }
}

/** The state after a control record, whose text holds the members that changed. Throws as `parseControlState` does. */
export function stateAfter(state: ControlState, text: string): ControlState {
  const members: unknown = JSON.parse(text)
  const { change: _, ...overlay }: ControlRecordState = typeof members === 'object' && members !== null ? members : {}
  return parseControlState(JSON.stringify({ ...state, ...overlay }))
}

/**
 * Reads what `JSON.stringify` of a control state wrote. Throws ASSAY_LOG_DAMAGED where it is none of this release's.
 */
export function parseControlState(text: string): ControlState {
  const state: unknown = JSON.parse(text)
  if (!isControlState(state))
    throw new AssayError('ASSAY_LOG_DAMAGED', 'a control state has a format this release does not read')
  return state
}

// The checksum of the segment's head vouches for the rest: only this code writes it.
function isControlState(value: unknown): value is ControlState {
  return typeof value === 'object' && value !== null && 'format' in value && value.format === 1 && 'routes' in value
}
