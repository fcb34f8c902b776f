// The topics of one test as a producer, a consumer and an administrator see them, over a client that the server does
// not share. No test.
import kafkajs, { type Admin, CompressionTypes, type IHeaders, Kafka, logLevel } from 'kafkajs'
import { until } from '../flow/server-rig.js'

export interface Produced {
  readonly key: string | null
  readonly value: string | Buffer | null
  /** By the key's hash where it is not named. */
  readonly partition?: number
  readonly headers?: Readonly<Record<string, string | Buffer>>
}

export interface Read {
  readonly partition: number
  readonly offset: string
  readonly key: string | null
  readonly value: string
  readonly bytes: Buffer
  readonly headers: Readonly<Record<string, string>>
}

type Role = 'transactions' | 'decisions' | 'dead'

export interface Topics {
  readonly name: string
  /** host:port of the broker. */
  readonly address: string
  readonly names: Readonly<Record<Role | 'group', string>>
  create(partitions: number): Promise<void>
  produce(messages: readonly Produced[], options?: { gzip: boolean }): Promise<void>
  /** In one transaction, which is committed or aborted: each leaves a marker that is no message. */
  transact(messages: readonly Produced[], end: 'commit' | 'abort'): Promise<void>
  /** Deletes the topic, and makes it again with so many partitions; 0: leaves it deleted. */
  remake(role: Role, partitions: number): Promise<void>
  /** Brokers take nothing for this topic any more, or whatever they take by default. */
  refuse(role: Role, isRefused: boolean): Promise<void>
  /** Messages held now. */
  count(role: Role): Promise<number>
  /** All that is held now, partition by partition, in order. */
  read(role: Role): Promise<Read[]>
  /** Offsets after the last message, by partition. */
  ends(role: Role): Promise<ReadonlyMap<number, number>>
  /** The positions that the server's group has committed, by partition; 0 where there is none. */
  positions(): Promise<ReadonlyMap<number, number>>
  /** Messages before those positions. */
  committed(): Promise<number>
  /** Puts the group's positions to the beginning; it must have no members. */
  rewind(): Promise<void>
  /** Deletes the topics. */
  remove(): Promise<void>
  close(): Promise<void>
}

export interface TopicOptions {
  /** The transactions of other topics, instead of its own. */
  readonly input?: string
  /** A send that is tried again, as on a topic that is new, otherwise stands there twice. */
  readonly idempotent?: boolean
}

export async function connectTopics(address: string, name: string, options: TopicOptions = {}): Promise<Topics> {
  process.env.KAFKAJS_NO_PARTITIONER_WARNING = '1'
  const kafka = new Kafka({ brokers: [address], clientId: `test-${name}`, logLevel: logLevel.NOTHING })
  const { input, idempotent = true } = options
  const names = {
    ...{ transactions: input ?? `${name}.transactions`, decisions: `${name}.decisions`, dead: `${name}.dead` },
    group: `${name}.group`,
  }
  const [admin, producer] = [
    kafka.admin(),
    kafka.producer({ allowAutoTopicCreation: false, idempotent, maxInFlightRequests: 1 }),
  ]
  await Promise.all([admin.connect(), producer.connect()])
  const ends = (role: Role): Promise<ReadonlyMap<number, number>> => endsOf(admin, names[role])
  const positions = async (): Promise<ReadonlyMap<number, number>> => {
    const [held] = await admin.fetchOffsets({ groupId: names.group, topics: [names.transactions] })
    return new Map(held.partitions.map(({ partition, offset }) => [partition, Math.max(0, Number(offset))]))
  }
  const sum = (numbers: ReadonlyMap<number, number>): number => [...numbers.values()].reduce((all, one) => all + one, 0)
  const count = async (role: Role): Promise<number> => sum(await ends(role))

  return {
    name,
    address,
    names,
    async create(partitions) {
      const topics = [...(input === undefined ? [names.transactions] : []), names.decisions, names.dead]
      // The client itself waits for leaders, but not for a broker that does not know of the topic yet.
      const wanted = topics.map((topic) => ({ topic, numPartitions: partitions }))
      await admin.createTopics({ topics: wanted, waitForLeaders: false })
      const isThere = (): Promise<boolean> =>
        admin.fetchTopicMetadata({ topics }).then(
          () => true,
          () => false,
        )
      await until(isThere, 'the topics are there', { msMax: 60_000, everyMs: 50 })
    },
    async produce(messages, { gzip } = { gzip: false }) {
      await producer.send({
        topic: names.transactions,
        ...(gzip && { compression: CompressionTypes.GZIP }),
        messages: messages.map(({ headers = {}, ...message }) => ({ ...message, headers: { ...headers } })),
      })
    },
    async transact(messages, end) {
      const sender = kafka.producer({ transactionalId: `${name}.tx`, idempotent: true, maxInFlightRequests: 1 })
      await sender.connect()
      const transaction = await sender.transaction()
      const sent = messages.map(({ headers = {}, ...message }) => ({ ...message, headers: { ...headers } }))
      await transaction.send({ topic: names.transactions, messages: sent })
      await transaction[end]()
      await sender.disconnect()
    },
    async remake(role, partitions) {
      const topic = names[role]
      if ((await admin.listTopics()).includes(topic)) await admin.deleteTopics({ topics: [topic] })
      const isThere = async (): Promise<boolean> => (await admin.listTopics()).includes(topic)
      await until(async () => !(await isThere()), `${topic} is deleted`, { everyMs: 50 })
      if (partitions === 0) return
      // Its own waiting gives up where a broker has not heard of the topic yet.
      await admin.createTopics({ topics: [{ topic, numPartitions: partitions }], waitForLeaders: false })
      await until(isThere, `${topic} is there`, { everyMs: 50 })
    },
    async refuse(role, isRefused) {
      const configEntries = [{ name: 'max.message.bytes', value: isRefused ? '1' : '1048588' }]
      const resources = [{ type: kafkajs.ConfigResourceTypes.TOPIC, name: names[role], configEntries }]
      await admin.alterConfigs({ validateOnly: false, resources })
    },
    count,
    ends,
    positions,
    read: async (role) => readTopic(kafka, names[role], await ends(role)),
    committed: async () => sum(await positions()),
    async rewind() {
      const partitions = [...(await ends('transactions')).keys()].map((partition) => ({ partition, offset: '0' }))
      await admin.setOffsets({ groupId: names.group, topic: names.transactions, partitions })
    },
    async remove() {
      const held = new Set(await admin.listTopics())
      const { transactions, decisions, dead } = names
      await admin.deleteTopics({ topics: [transactions, decisions, dead].filter((topic) => held.has(topic)) })
    },
    async close() {
      await Promise.allSettled([admin.disconnect(), producer.disconnect()])
    },
  }
}

/** All that a topic holds before these offsets, by partition, in order. */
export async function readTopic(kafka: Kafka, topic: string, ends: ReadonlyMap<number, number>): Promise<Read[]> {
  const left = new Map([...ends].filter(([, end]) => end > 0))
  const consumer = kafka.consumer({ groupId: `${topic}.reader.${Date.now()}`, maxWaitTimeInMs: 100 })
  await consumer.connect()
  await consumer.subscribe({ topics: [topic], fromBeginning: true })
  const read: Read[] = []
  await new Promise<void>((resolve, reject) => {
    if (left.size === 0) resolve()
    // The last of a partition may be the mark of a transaction, which is no message.
    consumer.on(consumer.events.END_BATCH_PROCESS, ({ payload: { partition, lastOffset } }) => {
      if (Number(lastOffset) + 1 >= (left.get(partition) ?? Infinity)) left.delete(partition)
      if (left.size === 0) resolve()
    })
    consumer
      .run({
        eachMessage: ({ partition, message: { offset, key, value, headers } }) => {
          read.push({
            partition,
            ...{ offset, key: key?.toString() ?? null, value: value?.toString() ?? '', headers: texts(headers) },
            bytes: value ?? Buffer.alloc(0),
          })
          return Promise.resolve()
        },
      })
      .catch(reject)
  })
  await consumer.disconnect()
  return read.sort((a, b) => a.partition - b.partition || Number(a.offset) - Number(b.offset))
}

/** Offsets after the last message of a topic, by partition. */
export async function endsOf(admin: Admin, topic: string): Promise<ReadonlyMap<number, number>> {
  const held = await admin.fetchTopicOffsets(topic)
  return new Map(held.map(({ partition, high }) => [partition, Number(high)]))
}

function texts(headers: IHeaders | undefined): Record<string, string> {
  return Object.fromEntries(Object.entries(headers ?? {}).map(([name, value]) => [name, String(value)]))
}
