// History as a source of records: each of its transactions has a place in it, as a message has in a stream, so that the
// decision log itself says which of them it holds, however long ago they were imported. Pure.
import type { ImportedHistory } from '../../contract/control-state.js'
import type { StreamSource } from '../../contract/record-types.js'
import type { FeatureState } from '../../features/state.js'
import type { DecidedOffsets, DecidedPartition } from '../decided.js'

const TOPIC = 'history'

/** Of the transaction at this place. `source` has 32 digits: no id of a Kafka topic does. */
export function historySource(source: string, offset: number): StreamSource {
  return { topic: TOPIC, topicId: source, partition: 0, offset, skipped: 0 }
}

/**
 * All of it was imported: nothing of it is taken again, and windows were observed since its first transaction. Called
 * in the order of state, live and when the log is folded.
 */
export function noteHistory(
  { source, digest, transactions, from_ms: fromMs }: ImportedHistory,
  sequence: number,
  into: { readonly features: FeatureState; readonly decided: DecidedOffsets | null },
): void {
  into.features.observeSince(fromMs)
  into.decided?.add({ ...historySource(source, transactions), skipped: transactions }, sequence)
  into.decided?.add(historySource(digest, 0), sequence)
}

/** Transactions from the first on that the log holds. */
export function placesDone(
  partitions: readonly Pick<DecidedPartition, 'topic' | 'topic_id' | 'from' | 'bound'>[],
  source: string,
): number {
  const known = partitions.find((one) => one.topic === TOPIC && one.topic_id === source)
  return known === undefined || known.from > 0 ? 0 : known.bound
}
