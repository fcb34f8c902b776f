// The configuration of the Kafka transport. Without brokers there is none.
import { type Static, Type } from '@sinclair/typebox'

/** Kafka's own rule for topics and, narrower than its own, for client and group. */
const Name = Type.String({ pattern: '^[a-zA-Z0-9._-]{1,249}$' })

const Time = Type.String({ pattern: '^\\d{4}-\\d{2}-\\d{2}T\\d{2}:\\d{2}:\\d{2}(\\.\\d{1,3})?Z$' })
const HeaderName = Type.String({ pattern: '^[A-Za-z0-9._-]{1,64}$' })

export const KafkaConfig = Type.Object(
  {
    /** host:port of brokers to begin with; empty: no stream is read. */
    brokers: Type.Array(Type.String({ pattern: '^[^:\\s]+:[0-9]{1,5}$' }), { maxItems: 64 }),
    client_id: Name,
    group_id: Name,
    topics: Type.Object(
      {
        transactions: Name,
        decisions: Name,
        dead_letters: Name,
        /** Labels as POST /v1/labels takes them; null: none are read. */
        labels: Type.Union([Name, Type.Null()]),
      },
      { additionalProperties: false },
    ),
    /** Where a group that has no position begins. */
    start: Type.Union([Type.Literal('earliest'), Type.Literal('latest')]),
    /** The history that a group without a position takes in as observed, up to what is there then; null: none. */
    bootstrap_from: Type.Union([Type.Literal('earliest'), Time, Type.Null()]),
    /** Milliseconds from a message's timestamp after which its transaction is old; null: none ever is. */
    max_age_ms: Type.Union([Type.Integer({ minimum: 1 }), Type.Null()]),
    /** What becomes of an old one: only observed, or decided with `stale` among the features. */
    when_older: Type.Union([Type.Literal('observe'), Type.Literal('flag')]),
    /** Decisions, dead letters and positions in transactions, which readers see as a whole or not at all. */
    exactly_once: Type.Boolean(),
    /** Headers that go out with the decision as they came; never one that holds card data. */
    copy_headers: Type.Array(HeaderName, { maxItems: 16 }),
    /** Partitions of which a batch is worked on at the same time. */
    partitions_at_once: Type.Integer({ minimum: 1, maximum: 64 }),
  },
  { additionalProperties: false },
)
export type KafkaConfig = Static<typeof KafkaConfig>

export const KAFKA_DEFAULTS: KafkaConfig = {
  ...{ brokers: [], client_id: 'assay', group_id: 'assay', start: 'earliest', partitions_at_once: 4 },
  ...{ bootstrap_from: null, max_age_ms: null, when_older: 'flag' },
  ...{ exactly_once: false, copy_headers: ['correlation-id'] },
  topics: { transactions: 'transactions', decisions: 'decisions', dead_letters: 'transactions.dlq', labels: null },
}
