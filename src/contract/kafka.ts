// The configuration of the Kafka transport. Without brokers there is none.
import { type Static, Type } from '@sinclair/typebox'

/** Kafka's own rule for topics and, narrower than its own, for client and group. */
const Name = Type.String({ pattern: '^[a-zA-Z0-9._-]{1,249}$' })

export const KafkaConfig = Type.Object(
  {
    /** host:port of brokers to begin with; empty: no stream is read. */
    brokers: Type.Array(Type.String({ pattern: '^[^:\\s]+:[0-9]{1,5}$' }), { maxItems: 64 }),
    client_id: Name,
    group_id: Name,
    topics: Type.Object({ transactions: Name, decisions: Name, dead_letters: Name }, { additionalProperties: false }),
    /** Where a group that has no position begins. */
    start: Type.Union([Type.Literal('earliest'), Type.Literal('latest')]),
    /** Partitions of which a batch is worked on at the same time. */
    partitions_at_once: Type.Integer({ minimum: 1, maximum: 64 }),
  },
  { additionalProperties: false },
)
export type KafkaConfig = Static<typeof KafkaConfig>

export const KAFKA_DEFAULTS: KafkaConfig = {
  ...{ brokers: [], client_id: 'assay', group_id: 'assay', start: 'earliest', partitions_at_once: 4 },
  topics: { transactions: 'transactions', decisions: 'decisions', dead_letters: 'transactions.dlq' },
}
