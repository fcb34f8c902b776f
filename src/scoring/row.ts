// Features that come in place of a transaction: what the pipeline is given for one, and what becomes of the facts of a
// transaction that there is not. Nothing is folded: its number is one of the second counter.
import type { DecisionFacts } from '../contract/record-types.js'
import type { Transaction } from '../contract/transaction.js'

export interface FeatureRow {
  /** What the record says of it: the id, the entity as a field, and nothing else that is known. */
  readonly transaction: Transaction
  /** Of the catalogue, in its order. */
  readonly values: Float64Array
  /** Picks the bucket; null: the transaction's id does. */
  readonly entity: string | null
  /** It was decided; `sequence` is that of its record, -1 where it has none. The facts are used again afterwards. */
  onDecided(facts: DecisionFacts, sequence: number): void
}

/** Who and when: without a fold. */
export function noteUnfolded(facts: DecisionFacts, epoch: number, ordinal: number, nowMs: number): void {
  facts.unfolded = true
  facts.epoch = epoch
  facts.ordinal = ordinal
  facts.receivedAtMs = facts.foldedAtMs = nowMs
  facts.features = 0
  facts.stages.featuresUs = 0
}

/** Facts of what was taken in and not decided. */
export function clearDecision(facts: DecisionFacts): void {
  facts.bucket = -1
  facts.prescribedModel = facts.experiment = facts.arm = facts.propensity = null
  facts.action = facts.scoreAction = facts.score = facts.scoreRaw = facts.model = facts.thresholds = null
  facts.segment = null
  facts.rules = facts.rulesShadow = []
}
