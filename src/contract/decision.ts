// What a decision is: the closed sets, the facts that are logged, and the answer a client gets.

export type Action = 'approve' | 'challenge' | 'review' | 'decline'
export const ACTIONS: readonly Action[] = ['approve', 'challenge', 'review', 'decline']

export type Role = 'champion' | 'challenger' | 'baseline'
export const ROLES: readonly Role[] = ['champion', 'challenger', 'baseline']

export type FallbackReason =
  | 'deadline'
  | 'breaker_open'
  | 'queue_full'
  | 'model_error'
  | 'not_loaded'
  | 'invalid_output'
  | 'forced'
  | 'state_unavailable'
export const FALLBACK_REASONS: readonly FallbackReason[] = [
  'deadline',
  'breaker_open',
  'queue_full',
  'model_error',
  'not_loaded',
  'invalid_output',
  'forced',
  'state_unavailable',
]

/** How far the record was when the answer left. */
export type Logged = 'synced' | 'buffered' | 'pending' | 'none'

/** Bits of the flags that the feature stage returns; the answer lists their names under `features`. */
export const FEATURE_FLAGS = { cold: 1, local: 2, truncated: 4, late: 8, missing: 16, stale: 32 } as const
export type FeatureFlag = keyof typeof FEATURE_FLAGS

export interface Reason {
  code: string
  detail: string | null
  contribution: number | null
}

export interface Hop {
  model: string
  role: Role
  reason: FallbackReason
}

/** Names of the bits set, in the order of FEATURE_FLAGS. */
export function featureFlagNames(bits: number): FeatureFlag[] {
  return FLAG_ENTRIES.filter(([, bit]) => (bits & bit) !== 0).map(([name]) => name)
}

const FLAG_ENTRIES = Object.entries(FEATURE_FLAGS) as [FeatureFlag, number][]
