// The part of a policy that changes while a server runs, and what a change of it must be: rules, lists, segments, cuts
// and guards. Everything else is built into what runs (schema, catalogue, budgets) and needs a restart.
import { type Static, Type } from '@sinclair/typebox'
import { faultsText, type InputFault, reject, type Rejection } from '../errors.js'
import { LIMITS } from '../limits.js'
import { canonicalJson } from './canonical-json.js'
import { policyFaults } from './policy-check.js'
import { Policy, policyDifferences } from './policy.js'
import { Reason } from './routes-change.js'
import { tryConditions } from './rules-check.js'
import { shapeFaults } from './shape.js'

// prettier-ignore
export const LIVE_KEYS = [
  'thresholds', 'segments', 'lists', 'rules', 'ramp_guards', 'model_approval', 'governance',
] as const
export type LivePolicy = Pick<Policy, (typeof LIVE_KEYS)[number]>

function isLive(key: string): boolean {
  return LIVE_KEYS.some((live) => live === key)
}

/** How often the live part was changed, and what it was before. Revision 0 is what the file says. */
export interface PolicyStanding {
  readonly revision: number
  /** What a rollback returns to; null where there is nothing. */
  readonly previous: LivePolicy | null
}

export const FROM_FILE: PolicyStanding = { revision: 0, previous: null }

/** `PUT /v1/policy`: keys that are given replace those that hold, null takes an optional one out, the rest stays. */
export const PolicyChange = Type.Object(
  { policy: Type.Record(Type.String(), Type.Unknown(), { description: 'keys of the policy' }), reason: Reason },
  { additionalProperties: false },
)
export type PolicyChange = Static<typeof PolicyChange>

/** `PUT /v1/lists/{name}`: the whole list; without values it is taken out. It is checked as a part of the policy. */
export const ListChange = Type.Object(
  {
    values: Type.Optional(Type.Unknown({ description: 'entries {value, until?}' })),
    hashed: Type.Optional(Type.Literal('sha256', { description: 'sha256, or absent' })),
    reason: Reason,
  },
  { additionalProperties: false },
)
export type ListChange = Static<typeof ListChange>

export function livePart(policy: Policy): LivePolicy {
  return Object.fromEntries(LIVE_KEYS.map((key) => [key, policy[key]])) as LivePolicy
}

/** The policy with another live part. */
export function withLivePart(policy: Policy, live: LivePolicy): Policy {
  const rest = Object.entries(policy).filter(([key]) => !isLive(key))
  const present = Object.entries(live).filter(([, value]) => value !== undefined)
  return Object.fromEntries([...rest, ...present]) as Policy
}

/** As a change that gives all of it. */
export function asGiven(live: LivePolicy): PolicyChange['policy'] {
  return Object.fromEntries(LIVE_KEYS.map((key) => [key, live[key] ?? null]))
}

/**
 * The policy after a change, or every fault of what was given. A key that needs a restart is refused by name, unless it
 * says what holds anyway, so that what `GET /v1/policy` shows can be sent back.
 */
export function changedPolicy(policy: Policy, given: PolicyChange['policy']): Policy | Rejection {
  const fixed = Object.entries(given).filter(([key]) => !isLive(key))
  const refused = fixed.flatMap(([key, value]) => fixedFaults(policy, key, value))
  if (refused.length > 0) return reject('ASSAY_CHANGE_CONFLICT', textOf(refused), refused)
  const changed = merged(policy, given)
  const shape = shapeFaults(Policy, changed, '/policy')
  if (shape.length > 0) return invalid(shape)
  const faults = policyFaults(changed)
  if (faults.length > 0) return invalid(faults)
  if (policyDifferences(policy, changed).length > 0) return changed
  return reject('ASSAY_CHANGE_CONFLICT', 'this is the policy that holds already')
}

/** Does what takes longest of `changedPolicy`, piece by piece; what it finds then stands in its way no more. */
export function* prepareChange(policy: Policy, given: PolicyChange['policy']): Generator<void> {
  const changed = merged(policy, given)
  if (shapeFaults(Policy, changed, '/policy').length === 0) yield* tryConditions(changed)
}

/** Not checked: of the shape of a policy where what is given is. */
function merged(policy: Policy, given: PolicyChange['policy']): Policy {
  const members = { ...policy, ...Object.fromEntries(Object.entries(given).filter(([key]) => isLive(key))) }
  return Object.fromEntries(Object.entries(members).filter(([, value]) => value !== null)) as Policy
}

function fixedFaults(policy: Policy, key: string, value: unknown): InputFault[] {
  const path = `/policy/${key}`
  const known = new Map<string, unknown>(Object.entries(policy))
  if (!known.has(key)) return [{ path, message: `no key that can be changed: ${LIVE_KEYS.join(', ')}` }]
  if (key === 'routes') return [] // The seed of an empty log: who answers is changed by /v1/routes.
  const isSame = value !== null && canonicalJson(known.get(key)) === canonicalJson(value)
  return isSame ? [] : [{ path, message: 'needs a restart with another configuration' }]
}

function invalid(faults: readonly InputFault[]): Rejection {
  return reject('ASSAY_SCHEMA_INVALID', textOf(faults), faults.slice(0, LIMITS.faultsMax))
}

const FAULTS_TOLD = 8

function textOf(faults: readonly InputFault[]): string {
  const more = faults.length - FAULTS_TOLD
  return `${faultsText(faults.slice(0, FAULTS_TOLD))}${more > 0 ? `; and ${more} more` : ''}`
}
