// What a decision is: the closed sets, the flags of its features, and its id.
// An id is `d_` and 32 base32 characters (RFC 4648, lower case) of 20 bytes: log id (8), epoch (4), ordinal (8,
// big-endian, its top bit says that it is one of the epoch's second counter, `unfolded`).
import { Buffer } from 'node:buffer'

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

/**
 * Bits of the flags that the feature stage returns; the answer lists their names under `features`. `folded`: the
 * transaction was folded before, and is in its windows once. `shared`: its windows are those of several servers, and
 * are not computed anew from this log; `local`: they should have been, and are what this server had seen.
 */
export const FEATURE_FLAGS = {
  ...{ cold: 1, local: 2, truncated: 4, late: 8, missing: 16, stale: 32, folded: 64, shared: 128 },
} as const
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

const ALPHABET = 'abcdefghijklmnopqrstuvwxyz234567'
const PAIRS = Array.from({ length: 1024 }, (_, bits) => ALPHABET[bits >>> 5] + ALPHABET[bits & 31])
const ID_PATTERN = /^d_[a-z2-7]{32}$/
const TOP_BIT = 2 ** 31
const WORD = 2 ** 32

/** Where a decision's record is to be found. */
export interface DecisionRef {
  /** 8 bytes. */
  logId: Buffer
  epoch: number
  ordinal: number
  unfolded: boolean
}

/** The id of a record. Ordinals up to 2^53 − 1. */
export function decisionId(logId: Uint8Array, epoch: number, ordinal: number, unfolded: boolean): string {
  const bytes = Buffer.allocUnsafe(20)
  bytes.set(logId, 0)
  bytes.writeUInt32BE(epoch, 8)
  bytes.writeUInt32BE(Math.floor(ordinal / WORD) + (unfolded ? TOP_BIT : 0), 12)
  bytes.writeUInt32BE(ordinal % WORD, 16)
  let id = 'd_'
  for (let at = 0; at < 20; at += 5) {
    const [a, b, c, d, e] = [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3], bytes[at + 4]]
    id += PAIRS[(a << 2) | (b >>> 6)]
    id += PAIRS[((b & 63) << 4) | (c >>> 4)]
    id += PAIRS[((c & 15) << 6) | (d >>> 2)]
    id += PAIRS[((d & 3) << 8) | e]
  }
  return id
}

/** What an id says, or null where the text is not one. */
export function parseDecisionId(id: string): DecisionRef | null {
  if (!ID_PATTERN.test(id)) return null
  const bytes = Buffer.alloc(20)
  let bits = 0
  let held = 0
  let at = 0
  for (const letter of id.slice(2)) {
    bits = (bits << 5) | ALPHABET.indexOf(letter)
    held += 5
    if (held >= 8) {
      held -= 8
      bytes[at++] = bits >>> held
      bits &= (1 << held) - 1
    }
  }
  const high = bytes.readUInt32BE(12)
  const unfolded = high >= TOP_BIT
  const ordinal = (high - (unfolded ? TOP_BIT : 0)) * WORD + bytes.readUInt32BE(16)
  if (!Number.isSafeInteger(ordinal)) return null
  return { logId: bytes.subarray(0, 8), epoch: bytes.readUInt32BE(8), ordinal, unfolded }
}
