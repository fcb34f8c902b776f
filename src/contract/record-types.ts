// The shapes of what stands in the decision log: record types, and the two sections of a decision, facts and personal
// data. Types and the numbers on disk alone; the codecs are in record.ts.
import type { Action, Hop, Reason, Role } from './decision.js'
import type { Label } from './label.js'
import type { Mode, Transaction } from './transaction.js'

/** The type byte of a frame. Numbers are on disk: they never change. */
export const RECORD_TYPES = {
  decision: 1,
  observed: 2,
  inference: 3,
  label: 4,
  control: 5,
  reply: 6,
  superseded: 7,
  consumed: 8,
} as const
export type RecordType = keyof typeof RECORD_TYPES

/** The model that answered. `digest` is the 32 bytes of SHA-256 over its file. One constant object per loaded model. */
export interface AnsweredBy {
  name: string
  version: string
  digest: Uint8Array
  role: Role
  /** The execution provider of its session; null of a model that has none, or in a record of an earlier release. */
  provider: string | null
}

/** Cuts that were applied; null where none is set. */
export interface AppliedThresholds {
  challengeAt: number | null
  reviewAt: number | null
  declineAt: number | null
}

/** Whole microseconds spent in each stage; 0 where a stage was not entered. */
export interface StageTimes {
  receiveUs: number
  validateUs: number
  featuresUs: number
  inferUs: number
  decideUs: number
}

/** Everything of a decision that is not about a person. `observed` and `inference` records have the same facts. */
export interface DecisionFacts {
  /** Order of the fold; of the epoch's second counter where `unfolded`. */
  ordinal: number
  unfolded: boolean
  epoch: number
  mode: Mode
  receivedAtMs: number
  /** The clock at the ordinal: expiry of windows follows it. */
  foldedAtMs: number
  decidedAtMs: number
  /** null where nothing was decided (observed). */
  action: Action | null
  score: number | null
  scoreRaw: number | null
  model: AnsweredBy | null
  /** name@version that the routes prescribed. */
  prescribedModel: string | null
  /** 0 to 9,999; -1 where none was taken. */
  bucket: number
  routesRevision: number
  experiment: string | null
  arm: Role | null
  propensity: number | null
  rules: readonly string[]
  rulesShadow: readonly string[]
  thresholds: AppliedThresholds | null
  segment: string | null
  /** What the score alone would have given. */
  scoreAction: Action | null
  reasons: readonly Reason[]
  /** Bits of FEATURE_FLAGS. */
  features: number
  degraded: boolean
  fallback: readonly Hop[]
  /** Of an observed transaction that another server decided: the answer that it got (JSON); null otherwise. */
  decidedElsewhere: string | null
  /** Fingerprint of the policy, 32 bytes. */
  policy: Uint8Array
  stages: StageTimes
}

/** Decided of a transaction, and folded: neither evaluated, nor of a row of features that came without one. */
export function isOfTransaction({ mode, unfolded }: Pick<DecisionFacts, 'mode' | 'unfolded'>): boolean {
  return mode === 'decide' && !unfolded
}

export interface StreamSource {
  topic: string
  partition: number
  offset: number
  /** As Kafka's tools print it; null where the brokers know no ids, or in a record of an earlier release. */
  topicId: string | null
  /** Offsets right before it that hold no message. */
  skipped: number
}

/** What a person could be known by. */
export interface DecisionPersonal {
  transaction: Transaction
  /** The catalogue's vector as fed, in the types fed. */
  vector: Uint8Array
  traceparent: string | null
  source: StreamSource | null
}

export interface InferencePersonal {
  transactionId: string | null
  entity: string | null
  /** What the model that answered was fed, in its own order: float64, little-endian, whatever the model takes. */
  vector: Uint8Array
  traceparent: string | null
}

/** The row of an inference as numbers. */
export function inferenceVector({ vector }: Pick<InferencePersonal, 'vector'>): Float64Array {
  const view = new DataView(vector.buffer, vector.byteOffset, vector.byteLength)
  return Float64Array.from({ length: vector.length >>> 3 }, (_, at) => view.getFloat64(at * 8, true))
}

export interface LabelRecord {
  ordinal: number
  epoch: number
  foldedAtMs: number
  label: Label
}

/** A change of routes, policy, models or lists. `state` is the JSON that holds from here on. */
export interface ControlRecord {
  ordinal: number
  epoch: number
  foldedAtMs: number
  kind: string
  actor: string
  reason: string
  state: string
  /** Where the request came from; null where nobody asked, or in a record of an earlier release. */
  remoteAddress: string | null
}

/** What clients were told whose record was not durable in time: 503 unconfirmed, or an answer marked pending. */
export interface ReplyRecord {
  epoch: number
  atMs: number
  entries: readonly { ordinal: number; unfolded: boolean; told: 'unconfirmed' | 'pending' }[]
}

/** A record that no longer counts, and the one that stands instead. */
export interface SupersededRecord {
  epoch: number
  ordinal: number
  supersededEpoch: number
  supersededOrdinal: number
  atMs: number
  reason: string
}

/**
 * A message of a stream that is done and has no record of its own: it became a dead letter that the brokers hold
 * (`code`), or its transaction had been decided before, and that decision was sent (null).
 */
export interface ConsumedRecord {
  atMs: number
  source: StreamSource
  code: string | null
}

export type DecodedRecord =
  | { type: 'decision' | 'observed'; facts: DecisionFacts; personal: DecisionPersonal }
  | { type: 'inference'; facts: DecisionFacts; personal: InferencePersonal }
  | { type: 'label'; label: LabelRecord }
  | { type: 'control'; control: ControlRecord }
  | { type: 'reply'; reply: ReplyRecord }
  | { type: 'superseded'; superseded: SupersededRecord }
  | { type: 'consumed'; consumed: ConsumedRecord }
