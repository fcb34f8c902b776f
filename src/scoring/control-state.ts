// The control state of a start: from the policy, the models that were loaded and what the log held last.
import {
  type ControlModel,
  type ControlState,
  type LiveRoutes,
  type Routing,
  routingOf,
} from '../contract/control-state.js'
import { digestText } from '../contract/canonical-json.js'
import { FROM_FILE, livePart, withLivePart } from '../contract/policy-live.js'
import { policyFaults } from '../contract/policy-check.js'
import { type Policy, policyDifferences, type Routes } from '../contract/policy.js'
import { AssayError, faultsText } from '../errors.js'
import type { Standing } from './serving.js'
import type { Fields } from '../telemetry/logger.js'
import type { ModelSet, ServedModel } from './models.js'

/** The whole control state, as segments begin with it. */
export function controlStateOf({ policy, policyDigest, live, routing }: Standing, models: ModelSet): ControlState {
  return {
    format: 1,
    policy,
    policy_fingerprint: digestText(policyDigest),
    ...(live.revision > 0 && { policy_standing: live }),
    models: describeModels(models),
    ...routing,
  }
}

/** The policy of a start, and what to tell the operator about it; null where log and file agree. */
export interface StartPolicy extends Pick<Standing, 'policy' | 'live'> {
  readonly event: { readonly name: 'PolicyDiffered' | 'PolicyChanged'; readonly fields: Fields } | null
}

/**
 * What operators have changed live stands over the file's, which says the rest; a difference is told. Only `fromFile`,
 * the operator's explicit wish, takes the file's again, as the next revision. Throws ASSAY_CONFIG_INVALID where the two
 * do not fit together any more.
 */
export function policyAtStart(file: Policy, last: ControlState | null, fromFile: boolean): StartPolicy {
  const live = last?.policy_standing ?? FROM_FILE
  if (last === null || live.revision === 0) return { policy: file, live: FROM_FILE, event: null }
  const held = livePart(last.policy)
  const policy = withLivePart(file, held)
  const differing = policyDifferences(file, policy)
  const fields = { revision: live.revision, differing: differing.join(' ') }
  if (fromFile) {
    const next = { revision: live.revision + 1, previous: held }
    return {
      policy: file,
      live: next,
      event: { name: 'PolicyChanged', fields: { ...fields, ...next, previous: null } },
    }
  }
  const faults = policyFaults(policy)
  if (faults.length === 0)
    return { policy, live, event: differing.length === 0 ? null : { name: 'PolicyDiffered', fields } }
  throw new AssayError(
    'ASSAY_CONFIG_INVALID',
    `the policy that operators have set (revision ${live.revision}) does not fit this configuration: ${faultsText(faults)}; ` +
      `\`assay serve --policy-from-file\` takes the file's instead`,
    { errors: faults },
  )
}

/** The models in their roles, as control states name them. */
export function describeModels({ champion, challenger, baseline }: ModelSet): ControlModel[] {
  return [champion, challenger, baseline].filter((model) => model !== null).map(describe)
}

function describe({ reference, answeredBy, cuts }: ServedModel): ControlModel {
  const { thresholds } = cuts.own
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

/** The routing of a start: a ramp goes on only by an operator's word, routes taken from the file can be rolled back. */
export function routingAtStart(last: Routing | null, routes: LiveRoutes): Routing {
  if (last === null) return routingOf({ routes })
  if (routes !== last.routes) return { ...last, routes, previous: last.routes, ramp: null }
  return { ...last, ramp: last.ramp === null ? null : { ...last.ramp, paused: true } }
}

/** The routes of a start, and what to tell the operator about them; null where log and file agree. */
export interface StartRoutes {
  readonly routes: LiveRoutes
  readonly event: { readonly name: 'RoutesDiffered' | 'RoutesChanged'; readonly fields: Fields } | null
}

/**
 * The file's routes seed an empty log as revision 0. Afterwards the last logged ones stand, so that a restart never
 * changes who answers; a difference is told. Only `fromFile`, the operator's explicit wish, takes the file's routes, as
 * the next revision. The key of an experiment is kept as long as its name is.
 */
export function routesAtStart(
  policy: Policy,
  last: LiveRoutes | null,
  options: { readonly fromFile: boolean; readonly makeKey: () => Buffer },
): StartRoutes {
  const newKey = (): string => options.makeKey().toString('hex')
  if (last === null) return { routes: { ...policy.routes, revision: 0, experiment_key: newKey() }, event: null }
  const differing = routeDifferences(last, policy.routes)
  if (differing.length === 0) return { routes: last, event: null }
  const differ = differing.map(
    ({ field, live, file }) => `${field}: ${String(live)} in the log, ${String(file)} in the file`,
  )
  if (!options.fromFile) {
    const detail = 'the log wins; assay serve --routes-from-file takes the routes of the file'
    return { routes: last, event: { name: 'RoutesDiffered', fields: { revision: last.revision, differ, detail } } }
  }
  const experiment_key = last.experiment === policy.routes.experiment ? last.experiment_key : newKey()
  const routes = { ...policy.routes, revision: last.revision + 1, experiment_key }
  return { routes, event: { name: 'RoutesChanged', fields: { revision: routes.revision, differ } } }
}

export interface RouteDifference {
  readonly field: string
  readonly live: unknown
  readonly file: unknown
}

/** Where the live routes are not those of the configuration; empty where they are. */
export function routeDifferences(live: LiveRoutes, configured: Routes): RouteDifference[] {
  const { revision: _, experiment_key: __, ...logged } = live
  const [left, right] = [logged, configured].map((routes) => new Map<string, unknown>(Object.entries(routes)))
  return [...new Set([...left.keys(), ...right.keys()])]
    .map((field) => ({ field, live: left.get(field) ?? null, file: right.get(field) ?? null }))
    .filter(({ live: ours, file }) => ours !== file)
}
