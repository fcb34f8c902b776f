// What of a policy decides on features alone, where there is no transaction: rules and segments that ask for one of its
// fields hold nowhere there, also where they ask for its absence. They keep their places. Pure.
import type { Policy } from '../contract/policy.js'
import type { Condition } from '../contract/rules.js'

/** It holds nowhere. */
const NEVER: Condition = { any: [] }

/** The policy for rows of features; its fingerprint is not that of the policy, and nobody is told it. */
export function withoutTransaction(policy: Policy): Policy {
  const { rules = [], segments = [] } = policy
  const silenced = <Asking extends { readonly when: Condition }>(one: Asking): Asking =>
    asksForField(one.when) ? { ...one, when: NEVER } : one
  return { ...policy, rules: rules.map(silenced), segments: segments.map(silenced) }
}

function asksForField(condition: Condition): boolean {
  if ('not' in condition) return asksForField(condition.not)
  if ('all' in condition) return condition.all.some(asksForField)
  if ('any' in condition) return condition.any.some(asksForField)
  return 'field' in condition
}
