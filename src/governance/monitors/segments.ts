// The segments that monitors count beside all decisions: those that the policy in the log declares where a decision
// stands, so that a rebuild counts the same ones whatever the sidecar was started with.
// Invariant: counts of two meanings never meet under one name. A segment whose field or values change begins anew.
import type { Policy, Segment } from '../../contract/policy.js'
import { fieldReader, type FieldValue, type Transaction } from '../../contract/transaction.js'
import type { Control } from '../port.js'

/** Follows the declarations through the log. */
export interface Segments {
  /** As of the last control followed. */
  declared(): readonly Segment[]
  /** Whether a decision under the control followed last lies in the declared segment at this place. */
  holds(at: number, transaction: Transaction): boolean
  /** Takes what this control declares; the names that mean something else now, or nothing any more. */
  follow(control: Control): ReadonlySet<string>
  /** Goes on from a checkpoint; the control is followed with the next record. */
  restore(declared: readonly Segment[]): void
}

type Test = (transaction: Transaction) => boolean

const NONE: ReadonlySet<string> = new Set()

export function createSegments(): Segments {
  let declared: readonly Segment[] = []
  let tests: readonly Test[] = []
  let followed = ''
  return {
    declared: () => declared,
    holds: (at, transaction) => tests[at]?.(transaction) === true,
    follow({ policy, policy_fingerprint: fingerprint }) {
      if (fingerprint === followed) return NONE
      const before = declared
      followed = fingerprint
      declared = policy.governance?.segments ?? []
      tests = declared.map((segment) => testOf(segment, policy))
      return changedNames(before, declared)
    },
    restore(state) {
      declared = state
      tests = []
      followed = ''
    },
  }
}

function testOf({ field, values }: Segment, policy: Policy): Test {
  const read = fieldReader(policy.schema, field)
  const wanted = new Set<FieldValue>(values)
  return (transaction) => read !== null && wanted.has(read(transaction))
}

function changedNames(before: readonly Segment[], after: readonly Segment[]): Set<string> {
  const kept = before.filter((one) => after.some((other) => isSame(one, other))).map(({ name }) => name)
  const names = new Set([...before, ...after].map(({ name }) => name))
  for (const name of kept) names.delete(name)
  return names
}

function isSame(one: Segment, other: Segment): boolean {
  const [values, others] = [new Set(one.values), new Set(other.values)]
  const isEqual = values.size === others.size && [...values].every((value) => others.has(value))
  return isEqual && one.name === other.name && one.field === other.field
}
