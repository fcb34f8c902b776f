// What a decision is: the closed sets, its id, and the answer that a client gets, built from the facts that are logged.
// Pure: the same facts give the same text, so that a replay from the log or the index answers byte for byte alike. The
// field order is that of the contract; the schema for OpenAPI stands beside it.
// An id is `d_` and 32 base32 characters (RFC 4648, lower case) of 20 bytes: log id (8), epoch (4), ordinal (8, big-endian,
// its top bit says that it is one of the epoch's second counter, `unfolded`).
import { Buffer } from 'node:buffer'
import { Type } from '@sinclair/typebox'
import { digestText } from './canonical-json.js'
import type { DecisionFacts } from './record.js'
import { isoTime } from './time.js'

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

function oneOf(values: readonly string[]) {
  return Type.Union(values.map((value) => Type.Literal(value)))
}

const Digest = Type.String({ pattern: '^sha256:[0-9a-f]{64}$' })

export const ReasonSchema = Type.Object({
  code: Type.String(),
  detail: Type.Optional(Type.String()),
  contribution: Type.Optional(Type.Number()),
})

/** 200 of POST /v1/score. */
export const DecisionAnswer = Type.Object({
  decision_id: Type.String({ pattern: '^d_[a-z2-7]{32}$' }),
  transaction_id: Type.String(),
  action: oneOf(ACTIONS),
  score: Type.Number({ minimum: 0, maximum: 1 }),
  reasons: Type.Array(ReasonSchema, { maxItems: 4 }),
  model: Type.Object({ name: Type.String(), version: Type.String(), role: oneOf(ROLES), digest: Digest }),
  degraded: Type.Boolean(),
  fallback: Type.Optional(
    Type.Array(Type.Object({ model: Type.String(), role: oneOf(ROLES), reason: oneOf(FALLBACK_REASONS) }), {
      description: 'present when degraded: who was tried before, in order, and why it did not answer',
    }),
  ),
  features: Type.Optional(Type.Array(oneOf(Object.keys(FEATURE_FLAGS)))),
  logged: oneOf(['synced', 'buffered', 'pending', 'none']),
  decided_at: Type.String({ format: 'date-time' }),
  routes_revision: Type.Integer({ minimum: 0 }),
  policy: Digest,
})

/** 202 of a transaction sent with Assay-Mode: observe, and of labels. */
export const AcceptedAnswer = Type.Object({
  transaction_id: Type.Optional(Type.String()),
  accepted: Type.Integer({ minimum: 1 }),
  logged: oneOf(['synced', 'buffered', 'pending', 'none']),
})

/** The JSON body for a decision. Facts without an action or model (observed) have no such answer: a RangeError. */
export function renderDecision(
  facts: DecisionFacts,
  transactionId: string,
  decisionId: string,
  logged: Logged,
): string {
  const { action, score, model } = facts
  if (action === null || score === null || model === null) throw new RangeError('these facts hold no decision')
  return (
    `{"decision_id":"${decisionId}","transaction_id":${quote(transactionId)},"action":"${action}","score":${score},` +
    `"reasons":${renderReasons(facts)},"model":{"name":${quote(model.name)},"version":${quote(model.version)},` +
    `"role":"${model.role}","digest":"${digestText(model.digest)}"},"degraded":${facts.degraded}` +
    renderFallback(facts) +
    (facts.features === 0 ? '' : `,"features":["${featureFlagNames(facts.features).join('","')}"]`) +
    `,"logged":"${logged}","decided_at":"${isoTime(facts.decidedAtMs)}",` +
    `"routes_revision":${facts.routesRevision},"policy":"${digestText(facts.policy)}"}`
  )
}

function renderReasons(facts: DecisionFacts): string {
  if (facts.reasons.length === 0) return '[]'
  const items = facts.reasons.map(({ code, detail, contribution }) => {
    const more = detail === null ? '' : `,"detail":${quote(detail)}`
    return `{"code":${quote(code)}${more}${contribution === null ? '' : `,"contribution":${contribution}`}}`
  })
  return `[${items.join(',')}]`
}

function renderFallback(facts: DecisionFacts): string {
  if (facts.fallback.length === 0) return ''
  const hops = facts.fallback.map(
    (hop) => `{"model":${quote(hop.model)},"role":"${hop.role}","reason":"${hop.reason}"}`,
  )
  return `,"fallback":[${hops.join(',')}]`
}

/** A JSON string; most need no escape, and looking is cheaper than JSON.stringify. */
function quote(text: string): string {
  for (let index = 0; index < text.length; index++) {
    const unit = text.charCodeAt(index)
    if (unit < 32 || unit === 34 || unit === 92 || unit > 126) return JSON.stringify(text)
  }
  return `"${text}"`
}
