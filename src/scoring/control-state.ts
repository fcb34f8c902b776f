// The control state of a start: from the policy, the models that were loaded and what the log held last.
import { canonicalJson } from '../contract/canonical-json.js'
import type { ControlModel, ControlState, LiveRoutes } from '../contract/control-state.js'
import type { Policy } from '../contract/policy.js'
import type { ModelSet, ServedModel } from './models.js'

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
