// What decisions are made under: policy, routes, the models in their roles, the buckets of the experiment. A snapshot,
// never changed: a change replaces it as a whole, and a transaction under way keeps the one that it began with.
import type { LiveRoutes, Routing } from '../contract/control-state.js'
import type { PolicyStanding } from '../contract/policy-live.js'
import type { Policy } from '../contract/policy.js'
import type { Columns } from '../decision/condition.js'
import { createDecider, type Decider } from '../decision/decide.js'
import { withoutTransaction } from '../decision/without-transaction.js'
import { inRoles, type LoadedModels, type ModelSet } from './models.js'
import { createRampWatch, type RampWatch } from './ramp-watch.js'
import { BUCKETS, createBuckets } from './route.js'

/** What operators change, as it holds at one time. */
export interface Standing {
  readonly routing: Routing
  readonly policy: Policy
  /** Its fingerprint, 32 bytes. */
  readonly policyDigest: Buffer
  readonly live: PolicyStanding
}

export interface Serving extends Standing {
  readonly decider: Decider
  /** Of rows that are features without a transaction: what asks for its fields does not hold there. */
  readonly rowDecider: Decider
  readonly routes: LiveRoutes
  readonly models: ModelSet
  readonly bucketOf: (entity: string) => number
  /** Place of the sticky field among the declared fields; -1 where it is the transaction's id. */
  readonly stickyField: number
  /** Chance of the challenger. */
  readonly propensity: number
  /** Counts the arms of a step of a ramp; null while none runs. */
  readonly watch: RampWatch | null
}

export interface ServingDeps {
  readonly catalogue: Columns
  readonly loaded: LoadedModels
  readonly bucketsHeldMax: number
}

/** Makes the snapshot; `before` is the one that it replaces. */
export function createServing(standing: Standing, deps: ServingDeps, before: Serving | null): Serving {
  const { routing, policy, policyDigest, live } = standing
  const { routes, forced, ramp } = routing
  const { catalogue, loaded, bucketsHeldMax } = deps
  const isSameKey = before?.routes.experiment_key === routes.experiment_key
  const watched = ramp !== null && ramp.step > 0 ? (before?.watch ?? null) : null
  const { decider, rowDecider } = before?.policy === policy ? before : createDeciders(policy, catalogue)
  // Member by member, as in models.ts: one shape for all snapshots.
  return {
    routing,
    policy,
    policyDigest,
    live,
    decider,
    rowDecider,
    routes,
    models: inRoles(loaded, { policy, routes, forced }),
    bucketOf:
      before !== null && isSameKey
        ? before.bucketOf
        : createBuckets(Buffer.from(routes.experiment_key, 'hex'), bucketsHeldMax),
    stickyField: policy.schema.fields.findIndex((field) => field.name === routes.sticky_by),
    propensity: routes.share / BUCKETS,
    watch: ramp === null || ramp.paused ? null : createRampWatch(watched),
  }
}

function createDeciders(policy: Policy, catalogue: Columns): Pick<Serving, 'decider' | 'rowDecider'> {
  return {
    decider: createDecider(policy, catalogue),
    rowDecider: createDecider(withoutTransaction(policy), catalogue),
  }
}
