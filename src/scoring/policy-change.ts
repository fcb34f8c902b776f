// What a change makes of the policy that serves: rules, lists, cuts and guards, all of them one revision of their own.
// Pure. Invariant: what it gives can be served: it has no fault, and no loaded model loses its cuts under it.
import {
  asGiven,
  changedPolicy,
  type ListChange,
  livePart,
  type PolicyChange,
  prepareChange,
} from '../contract/policy-live.js'
import { type Policy, policyFingerprint } from '../contract/policy.js'
import { isRejection } from '../contract/problem.js'
import { NO_CUTS } from '../decision/decide.js'
import { reject, type Rejection } from '../errors.js'
import { cutsUnder, type LoadedModels } from './models.js'
import type { Standing } from './serving.js'

/** What is asked of the policy. */
export type PolicyAsked =
  | { readonly kind: 'policy'; readonly given: PolicyChange['policy'] }
  /** The whole list; without values it is taken out. */
  | { readonly kind: 'policy_list'; readonly name: string; readonly list: Omit<ListChange, 'reason'> }
  | { readonly kind: 'policy_rollback' }

/** Of whichever kind something is asked. */
export function isOfPolicy(asked: { readonly kind: string }): asked is PolicyAsked {
  return asked.kind === 'policy' || asked.kind === 'policy_list' || asked.kind === 'policy_rollback'
}

/** What stands after the change, with the next revision of the policy; or why it is not taken. */
export function applyPolicyChange(held: Standing, asked: PolicyAsked, loaded: LoadedModels): Standing | Rejection {
  const policy = policyAfter(held, asked)
  if (isRejection(policy)) return policy
  const loser = [loaded.baseline, ...loaded.models.values()].find(
    (model) => cutsUnder(policy, model) === NO_CUTS && cutsUnder(held.policy, model) !== NO_CUTS,
  )
  if (loser !== undefined) {
    const path = `/policy/thresholds/${loser.reference}`
    const message = 'cuts of a loaded model whose manifest states none'
    return reject('ASSAY_CHANGE_CONFLICT', `${path}: ${message}`, [{ path, message }])
  }
  const previous = asked.kind === 'policy_rollback' ? null : livePart(held.policy)
  return {
    ...held,
    policy,
    policyDigest: policyFingerprint(policy),
    live: { revision: held.live.revision + 1, previous },
  }
}

/** What can be done of a change before it is made, in pieces that a thread has time for between two payments. */
export function preparePolicyChange({ policy, live }: Standing, asked: PolicyAsked): Iterator<void> {
  if (asked.kind === 'policy') return prepareChange(policy, asked.given)
  // A list has no conditions of its own.
  if (asked.kind === 'policy_list' || live.previous === null) return [].values()
  return prepareChange(policy, asGiven(live.previous))
}

function policyAfter({ policy, live }: Standing, asked: PolicyAsked): Policy | Rejection {
  if (asked.kind === 'policy') return changedPolicy(policy, asked.given)
  if (asked.kind === 'policy_list') return changedPolicy(policy, { lists: listsAfter(policy, asked) })
  if (live.previous !== null) return changedPolicy(policy, asGiven(live.previous))
  return reject('ASSAY_CHANGE_CONFLICT', 'there is nothing to roll back to: set the policy instead')
}

type ListAsked = Extract<PolicyAsked, { kind: 'policy_list' }>

function listsAfter({ lists = {} }: Policy, { name, list }: ListAsked): unknown {
  const others = Object.entries(lists).filter(([own]) => own !== name)
  return Object.fromEntries(list.values === undefined ? others : [...others, [name, list]])
}
