// State is a fold of the decision log in the order of ordinals: this is that fold, for a start of the server and for
// `log verify --replay`. Evaluated transactions and inferences have no ordinal and pass by.
import { importedHistory } from '../contract/control-state.js'
import { FEATURE_FLAGS } from '../contract/decision.js'
import type { RecordCodecs } from '../contract/record.js'
import type {
  ControlRecord,
  DecodedRecord,
  DecisionFacts,
  DecisionPersonal,
  LabelRecord,
} from '../contract/record-types.js'
import type { Transaction } from '../contract/transaction.js'
import type { FeatureState } from '../features/state.js'
import type { Limits } from '../limits.js'
import type { Image } from '../runtime/image.js'
import type { DecidedOffsets } from './decided.js'
import { noteHistory } from './history/source.js'
import type { Identity } from './identity.js'
import type { IdIndex, SettledDecision } from './id-index.js'
import { createReorder, type OrdinalGap } from './reorder.js'

/** A folded transaction with the vector that the fold computes (float64, one per catalogue feature). */
export interface Folded {
  readonly facts: DecisionFacts
  readonly personal: DecisionPersonal
  readonly sequence: number
  readonly vector: Float64Array
  /** Bits of FEATURE_FLAGS that the fold gives. */
  readonly flags: number
}

export interface FoldDeps {
  readonly limits: Limits
  readonly features: FeatureState
  readonly vectorSize: number
  /** Null where only the windows are wanted. */
  readonly indexed: { readonly index: IdIndex; readonly identity: Identity; readonly codecs: RecordCodecs } | null
  /** Null where nobody asks what of a stream was decided. */
  readonly decided: DecidedOffsets | null
  /** Sees each change of the routes in its place. */
  readonly onControl?: (control: ControlRecord) => void
  /** Sees each transaction after it was folded; `vector` is overwritten by the next. */
  readonly onFolded?: (folded: Folded) => void
}

export interface Fold {
  /** Takes the next record in the order of the log. */
  take(record: DecodedRecord, sequence: number): void
  /** The log has ended: folds what still waits. */
  end(): void
  /** The highest ordinal and the latest clock seen. */
  last(): { ordinal: number; ms: number }
  counts(): { transactions: number; labels: number }
  /** Records that wait for one with a lower ordinal. */
  waiting(): number
  /** The state was brought on to here by the server that writes the log; nothing may wait. */
  advance(to: { readonly epoch: number; readonly ordinal: number; readonly ms: number }): void
  /** How far it is, for an image of the state that it folds into; nothing may wait. */
  serialize(image: Image): Promise<void>
  readonly gaps: readonly OrdinalGap[]
}

interface FoldedItem {
  facts: DecisionFacts
  personal: DecisionPersonal
  sequence: number
}
type Item = FoldedItem | { label: LabelRecord } | { control: ControlRecord; sequence: number }

/** Starts from the state given, which is empty or what an earlier fold has left. */
export function createFold(deps: FoldDeps): Fold {
  const { limits, features, indexed } = deps
  const vector = new Float64Array(deps.vectorSize)
  const scratch = Buffer.alloc(limits.recordBytesMax)
  const last = { ordinal: 0, ms: 0 }
  const counts = { transactions: 0, labels: 0 }
  const reorder = createReorder<Item>(apply, { inFlightMax: limits.inFlightMax, gapsMax: limits.gapsMax })

  function apply(item: Item): void {
    if ('label' in item) {
      const { label, ordinal, foldedAtMs } = item.label
      features.label(label, ordinal, foldedAtMs)
      note(ordinal, foldedAtMs)
      counts.labels++
      return
    }
    if ('control' in item) {
      note(item.control.ordinal, item.control.foldedAtMs)
      const history = importedHistory(item.control.state)
      if (history !== null) noteHistory(history, item.sequence, deps)
      deps.onControl?.(item.control)
      return
    }
    const { facts, personal, sequence } = item
    const { transaction } = personal
    // Windows that servers share are no fold of this log.
    const isShared = (facts.features & FEATURE_FLAGS.shared) !== 0
    const flags = isShared ? facts.features : foldWindows(facts, transaction)
    note(facts.ordinal, Math.max(facts.foldedAtMs, facts.decidedAtMs))
    counts.transactions++
    if (indexed !== null) remember(indexed, item)
    if (!isShared) deps.onFolded?.({ facts, personal, sequence, vector, flags })
  }

  function foldWindows({ features: flags, ordinal, foldedAtMs }: DecisionFacts, transaction: Transaction): number {
    return (flags & FEATURE_FLAGS.folded) === 0
      ? features.fold(transaction, ordinal, foldedAtMs, vector, 0)
      : features.revisit(transaction, foldedAtMs, vector, 0)
  }

  function note(ordinal: number, ms: number): void {
    last.ordinal = Math.max(last.ordinal, ordinal)
    last.ms = Math.max(last.ms, ms)
  }

  /** Puts the transaction into the id index as the server did, its facts encoded by this release. */
  function remember(into: NonNullable<FoldDeps['indexed']>, item: FoldedItem): void {
    const { facts, personal, sequence } = item
    const { transactionId } = personal.transaction
    into.identity.of(personal.transaction)
    const entry = into.index.insert(into.identity.hashes, facts.epoch, facts.ordinal, facts.foldedAtMs)
    const end = into.codecs.encodeDecision(facts, personal, scratch, 0)
    const to = end < 0 ? 0 : 4 + scratch.readUInt32LE(0)
    const { epoch, ordinal } = facts
    const settled: SettledDecision = { epoch, ordinal, sequence, transactionId, buffer: scratch, from: 0, to }
    into.index.settle(entry, settled)
  }

  function noteSource(record: DecodedRecord, sequence: number): void {
    if (record.type === 'consumed') deps.decided?.add(record.consumed.source, sequence, record.consumed.code)
    else if (record.type === 'decision' || record.type === 'observed') {
      if (record.personal.source !== null) deps.decided?.add(record.personal.source, sequence)
    }
  }

  return {
    take(record, sequence) {
      noteSource(record, sequence)
      if (record.type === 'control') {
        const { control } = record
        reorder.push(control.epoch, control.ordinal, { control, sequence })
      } else if (record.type === 'label')
        reorder.push(record.label.epoch, record.label.ordinal, { label: record.label })
      else if ((record.type === 'decision' || record.type === 'observed') && !record.facts.unfolded) {
        const { facts, personal } = record
        reorder.push(facts.epoch, facts.ordinal, { facts, personal, sequence })
      }
    },
    end: () => reorder.end(),
    last: () => ({ ...last }),
    counts: () => ({ ...counts }),
    waiting: () => reorder.waiting(),
    advance({ epoch, ordinal, ms }) {
      reorder.advance(epoch, ordinal)
      note(ordinal, ms)
    },
    async serialize(image) {
      last.ordinal = await image.number(last.ordinal)
      last.ms = await image.number(last.ms)
      await reorder.serialize(image)
    },
    gaps: reorder.gaps,
  }
}
