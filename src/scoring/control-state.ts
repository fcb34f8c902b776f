// What stands in full at the head of every segment: policy, routes and models, so that any decision in the segment can
// be recomputed from it and the bundles alone. JSON, with a format of its own.
import { canonicalJson } from '../contract/canonical-json.js'
import type { Policy } from '../contract/policy.js'
import { AssayError } from '../errors.js'
import type { ModelSet, ServedModel } from './models.js'
import type { LiveRoutes } from './route.js'

/** A model as the control state names it; `digest` is all zeros where the bundle was refused. */
export interface ControlModel {
  reference: string
  role: string
  digest: string
  thresholds: { challenge_at: number | null; review_at: number | null; decline_at: number | null }
}

export interface ControlState {
  format: 1
  policy: Policy
  policy_fingerprint: string
  routes: LiveRoutes
  models: ControlModel[]
}

/** The control state of a start. */
export function controlStateOf(
  policy: { readonly policy: Policy; readonly fingerprint: string },
  routes: LiveRoutes,
  models: ModelSet,
): ControlState {
  const all: (ServedModel | null)[] = [models.champion, models.challenger, models.baseline]
  return {
    format: 1,
    policy: policy.policy,
    policy_fingerprint: policy.fingerprint,
    routes,
    models: all.filter((model) => model !== null).map(describe),
  }
}

function describe({ reference, answeredBy, thresholds }: ServedModel): ControlModel {
  return {
    reference,
    role: answeredBy.role,
    digest: `sha256:${Buffer.from(answeredBy.digest).toString('hex')}`,
    thresholds: {
      challenge_at: thresholds.challengeAt,
      review_at: thresholds.reviewAt,
      decline_at: thresholds.declineAt,
    },
  }
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

/**
 * The routes of a start: those of the policy. With nothing logged they are revision 0; where they differ from the last
 * logged ones the revision rises by one. The key of an experiment is kept as long as its name is.
 */
export function routesAtStart(policy: Policy, last: LiveRoutes | null, makeKey: () => Buffer): LiveRoutes {
  if (last === null) return { ...policy.routes, revision: 0, experiment_key: makeKey().toString('hex') }
  const { revision, experiment_key, ...logged } = last
  if (canonicalJson(logged) === canonicalJson(policy.routes)) return last
  const key = last.experiment === policy.routes.experiment ? experiment_key : makeKey().toString('hex')
  return { ...policy.routes, revision: revision + 1, experiment_key: key }
}
