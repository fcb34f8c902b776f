// The configuration of Kafka: of the transport, and of what the sidecar publishes. Without brokers there is none.
// Secrets stand in files that it names.
import { type Static, Type } from '@sinclair/typebox'
import type { InputFault } from '../errors.js'
import { hostOf, isLoopback } from './address.js'

/** Kafka's own rule for topics and, narrower than its own, for client and group. */
const Name = Type.String({ pattern: '^[a-zA-Z0-9._-]{1,249}$' })
const Text = Type.Optional(Type.Union([Type.String({ minLength: 1 }), Type.Null()]))

const Tls = Type.Object(
  {
    /** PEM: whose certificates the brokers may show; null: those that Node.js knows. */
    ca_file: Text,
    /** PEM: this server's own certificate with its chain, and its key. */
    cert_file: Text,
    key_file: Text,
  },
  { additionalProperties: false },
)
export type KafkaTls = Static<typeof Tls>

const Sasl = Type.Object(
  {
    mechanism: Type.Union([
      Type.Literal('plain'),
      Type.Literal('scram-sha-256'),
      Type.Literal('scram-sha-512'),
      Type.Literal('oauthbearer'),
    ]),
    username: Text,
    password_file: Text,
    /** Of oauthbearer; whoever renews the token writes it there. */
    token_file: Text,
  },
  { additionalProperties: false },
)
export type KafkaSasl = Static<typeof Sasl>

const Time = Type.String({ pattern: '^\\d{4}-\\d{2}-\\d{2}T\\d{2}:\\d{2}:\\d{2}(\\.\\d{1,3})?Z$' })
const HeaderName = Type.String({ pattern: '^[A-Za-z0-9._-]{1,64}$' })

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

/** How brokers are reached. */
const BROKERS = {
  /** host:port of brokers to begin with; empty: Kafka is off. */
  brokers: Type.Array(Type.String({ pattern: '^[^:\\s]+:[0-9]{1,5}$' }), { maxItems: 64 }),
  client_id: Name,
  tls: Type.Union([Tls, Type.Null()]),
  sasl: Type.Union([Sasl, Type.Null()]),
}

export const KafkaConfig = Type.Object(
  {
    ...BROKERS,
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
    /** Where the schemas of Avro stand; null: JSON only. */
    registry: Type.Union([RegistryConfig, Type.Null()]),
    decisions_format: Type.Union([Type.Literal('json'), Type.Literal('avro')]),
  },
  { additionalProperties: false },
)
export type KafkaConfig = Static<typeof KafkaConfig>
export type BrokersConfig = Pick<KafkaConfig, keyof typeof BROKERS>

export const KAFKA_DEFAULTS: KafkaConfig = {
  ...{ brokers: [], client_id: 'assay', group_id: 'assay', start: 'earliest', partitions_at_once: 4 },
  ...{ bootstrap_from: null, max_age_ms: null, when_older: 'flag' },
  ...{ exactly_once: false, copy_headers: ['correlation-id'] },
  topics: { transactions: 'transactions', decisions: 'decisions', dead_letters: 'transactions.dlq', labels: null },
  ...{ tls: null, sasl: null, registry: null, decisions_format: 'json' },
}

const Topic = Type.Union([Name, Type.Null()])

/** What the sidecar publishes, to which topics; null: that is not published. */
export const EventsConfig = Type.Object(
  {
    ...BROKERS,
    topics: Type.Object(
      { predictions: Topic, drift: Topic, shadow: Topic, alerts: Topic },
      { additionalProperties: false },
    ),
  },
  { additionalProperties: false },
)
export type EventsConfig = Static<typeof EventsConfig>

export const EVENTS_DEFAULTS: EventsConfig = {
  ...{ brokers: [], client_id: 'assay-governance', tls: null, sasl: null },
  topics: {
    ...{ predictions: 'governance.predictions', drift: 'governance.drift' },
    ...{ shadow: 'governance.shadow', alerts: 'governance.alerts' },
  },
}

const NEEDS = {
  plain: ['username', 'password_file'],
  'scram-sha-256': ['username', 'password_file'],
  'scram-sha-512': ['username', 'password_file'],
  oauthbearer: ['token_file'],
} as const

/** True where whoever listens on the way to the brokers can read the secret. */
export function sendsSecretInClear({ tls, sasl }: Pick<BrokersConfig, 'tls' | 'sasl'>): boolean {
  return tls === null && (sasl?.mechanism === 'plain' || sasl?.mechanism === 'oauthbearer')
}

/** What the schema cannot say: Avro without its schemas, and what `brokersFaults` finds. */
export function kafkaFaults(config: KafkaConfig): InputFault[] {
  return [...registryFaults(config), ...brokersFaults(config, '/process/kafka')]
}

/** Keys without their other half, secrets in the clear; `at` is where the configuration stands. */
export function brokersFaults(config: BrokersConfig, at: string): InputFault[] {
  const { brokers, tls, sasl } = config
  const faults: InputFault[] = []
  const refuse = (key: string, message: string): void => {
    faults.push({ path: `${at}/${key}`, message })
  }
  const [cert, key] = [tls?.cert_file ?? null, tls?.key_file ?? null]
  if (key !== null && cert === null) refuse('tls/cert_file', 'key_file needs the certificate of its key here')
  if (cert !== null && key === null) refuse('tls/key_file', 'cert_file needs the key of its certificate here')
  if (sasl === null) return faults
  for (const need of NEEDS[sasl.mechanism]) {
    if ((sasl[need] ?? null) === null) refuse(`sasl/${need}`, `the mechanism ${sasl.mechanism} needs it`)
  }
  const isRemote = brokers.some((broker) => !isLoopback(hostOf(broker)))
  if (isRemote && sendsSecretInClear(config)) {
    const detail = `${sasl.mechanism} shows its secret to whoever listens on the way: beyond loopback only with tls`
    refuse('sasl/mechanism', detail)
  }
  return faults
}

function registryFaults({ registry, decisions_format: format }: KafkaConfig): InputFault[] {
  const faults: InputFault[] = []
  if (format === 'avro' && registry === null)
    faults.push({ path: '/process/kafka/decisions_format', message: 'avro only with a registry' })
  if ((registry?.username ?? null) === null) return faults
  if ((registry?.password_file ?? null) === null)
    faults.push({ path: '/process/kafka/registry/username', message: 'only with password_file' })
  const authority = /^http:\/\/([^/]*)/.exec(registry?.url ?? '')?.[1]
  if (authority !== undefined && !isLoopback(hostOf(authority))) {
    const message = 'https where a password is sent: beyond loopback http shows it to whoever listens on the way'
    faults.push({ path: '/process/kafka/registry/url', message })
  }
  return faults
}
