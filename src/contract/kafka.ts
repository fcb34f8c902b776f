// The configuration of the Kafka transport. Without brokers there is none.
import { type Static, Type } from '@sinclair/typebox'
import type { InputFault } from '../errors.js'

/** Kafka's own rule for topics and, narrower than its own, for client and group. */
const Name = Type.String({ pattern: '^[a-zA-Z0-9._-]{1,249}$' })

const File = Type.Union([Type.String({ minLength: 1 }), Type.Null()])

/** The registry's own rule is wider: slashes and the like would have to be read in addresses and logs. */
const Subject = Type.String({ pattern: '^[a-zA-Z0-9._:-]{1,249}$' })

/** A schema registry that speaks Confluent's HTTP API. */
export const RegistryConfig = Type.Object(
  {
    /** Under which its paths stand; credentials never stand in it. */
    url: Type.String({ pattern: '^https?://[^@?#\\s]+$' }),
    /** No schema of another subject is taken. */
    subjects: Type.Object({ transactions: Subject, decisions: Subject }, { additionalProperties: false }),
    /** Certificates (PEM) to trust instead of the system's. */
    ca_file: Type.Optional(File),
    username: Type.Optional(Type.Union([Type.String({ pattern: '^[^:]{1,256}$' }), Type.Null()])),
    password_file: Type.Optional(File),
  },
  { additionalProperties: false },
)
export type RegistryConfig = Static<typeof RegistryConfig>

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
    /** Where the schemas of Avro stand; null: JSON only. */
    registry: Type.Union([RegistryConfig, Type.Null()]),
    decisions_format: Type.Union([Type.Literal('json'), Type.Literal('avro')]),
  },
  { additionalProperties: false },
)
export type KafkaConfig = Static<typeof KafkaConfig>

export const KAFKA_DEFAULTS: KafkaConfig = {
  ...{ brokers: [], client_id: 'assay', group_id: 'assay', start: 'earliest', partitions_at_once: 4 },
  topics: { transactions: 'transactions', decisions: 'decisions', dead_letters: 'transactions.dlq' },
  ...{ registry: null, decisions_format: 'json' },
}

/** What the shape alone does not say. */
export function kafkaFaults({ registry, decisions_format: format }: KafkaConfig): InputFault[] {
  const faults: InputFault[] = []
  if (format === 'avro' && registry === null)
    faults.push({ path: '/process/kafka/decisions_format', message: 'avro only with a registry' })
  if ((registry?.username ?? null) === null) return faults
  if ((registry?.password_file ?? null) === null)
    faults.push({ path: '/process/kafka/registry/username', message: 'only with password_file' })
  return faults
}
