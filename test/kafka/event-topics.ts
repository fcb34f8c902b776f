// The topics of the sidecar's events as a consumer and an administrator see them. No test.
import { Kafka, logLevel } from 'kafkajs'
import type { EventKind } from '../../src/governance/publish/cloud-events.js'
import { endsOf, type Read, readTopic } from './topics.js'

export const KINDS: readonly EventKind[] = ['predictions', 'drift', 'shadow', 'alerts']

export interface EventTopics {
  readonly names: Readonly<Record<EventKind, string>>
  /** What makes a sidecar publish to them. */
  readonly env: Readonly<Record<string, string>>
  create(kinds?: readonly EventKind[]): Promise<void>
  count(kind: EventKind): Promise<number>
  read(kind: EventKind): Promise<Read[]>
  close(): Promise<void>
}

export async function connectEventTopics(address: string, name: string): Promise<EventTopics> {
  process.env.KAFKAJS_NO_PARTITIONER_WARNING = '1'
  const kafka = new Kafka({ brokers: [address], clientId: `test-${name}`, logLevel: logLevel.NOTHING })
  const admin = kafka.admin()
  await admin.connect()
  const topicOf = (kind: EventKind): string => `${name}.${kind}`
  const names = { predictions: topicOf('predictions'), drift: topicOf('drift') }
  const more = { shadow: topicOf('shadow'), alerts: topicOf('alerts') }
  const own = 'ASSAY_PROCESS__GOVERNANCE__KAFKA__'
  return {
    names: { ...names, ...more },
    env: {
      [`${own}BROKERS`]: `["${address}"]`,
      ...Object.fromEntries(KINDS.map((kind) => [`${own}TOPICS__${kind.toUpperCase()}`, topicOf(kind)])),
    },
    async create(kinds = KINDS) {
      await admin.createTopics({ topics: kinds.map((kind) => ({ topic: topicOf(kind), numPartitions: 3 })) })
    },
    async count(kind) {
      return [...(await endsOf(admin, topicOf(kind))).values()].reduce((all, one) => all + one, 0)
    },
    read: async (kind) => readTopic(kafka, topicOf(kind), await endsOf(admin, topicOf(kind))),
    close: () => admin.disconnect(),
  }
}
