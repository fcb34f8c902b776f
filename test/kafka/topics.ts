// The topics of one test as a producer, a consumer and an administrator see them, over a client that the server does
// not share. No test.
import { type IHeaders, Kafka, logLevel } from 'kafkajs'

export interface Produced {
  readonly key: string | null
  readonly value: string | null
  readonly headers?: Readonly<Record<string, string>>
}

export interface Read {
  readonly partition: number
  readonly offset: string
  readonly key: string | null
  readonly value: string
  readonly headers: Readonly<Record<string, string>>
}

type Role = 'transactions' | 'decisions' | 'dead'

export interface Topics {
  readonly names: Readonly<Record<Role | 'group', string>>
  create(partitions: number): Promise<void>
  produce(messages: readonly Produced[]): Promise<void>
  /** Messages held now. */
  count(role: Role): Promise<number>
  /** All that is held now, partition by partition, in order. */
  read(role: Role): Promise<Read[]>
  /** Messages before the positions that the server's group has committed. */
  committed(): Promise<number>
  /** Puts the group's positions to the beginning; it must have no members. */
  rewind(): Promise<void>
  close(): Promise<void>
}

export async function connectTopics(address: string, name: string): Promise<Topics> {
  process.env.KAFKAJS_NO_PARTITIONER_WARNING = '1'
  const kafka = new Kafka({ brokers: [address], clientId: `test-${name}`, logLevel: logLevel.NOTHING })
  const names = {
    ...{ transactions: `${name}.transactions`, decisions: `${name}.decisions`, dead: `${name}.dead` },
    group: `${name}.group`,
  }
  const [admin, producer] = [kafka.admin(), kafka.producer({ allowAutoTopicCreation: false })]
  await Promise.all([admin.connect(), producer.connect()])
  const ends = (role: Role) => admin.fetchTopicOffsets(names[role])
  const count = async (role: Role): Promise<number> =>
    (await ends(role)).reduce((sum, { low, high }) => sum + Number(high) - Number(low), 0)

  return {
    names,
    async create(partitions) {
      const topics = [names.transactions, names.decisions, names.dead]
      await admin.createTopics({ topics: topics.map((topic) => ({ topic, numPartitions: partitions })) })
    },
    async produce(messages) {
      await producer.send({
        topic: names.transactions,
        messages: messages.map(({ key, value, headers = {} }) => ({ key, value, headers: { ...headers } })),
      })
    },
    count,
    async read(role) {
      const wanted = await count(role)
      const consumer = kafka.consumer({ groupId: `${name}.reader.${Date.now()}`, maxWaitTimeInMs: 100 })
      await consumer.connect()
      await consumer.subscribe({ topics: [names[role]], fromBeginning: true })
      const read: Read[] = []
      await new Promise<void>((resolve, reject) => {
        if (wanted === 0) resolve()
        const take = (partition: number, message: Omit<Read, 'partition'>): void => {
          read.push({ partition, ...message })
          if (read.length === wanted) resolve()
        }
        consumer
          .run({
            eachMessage: ({ partition, message: { offset, key, value, headers } }) => {
              take(partition, {
                ...{ offset, key: key?.toString() ?? null, value: value?.toString() ?? '', headers: texts(headers) },
              })
              return Promise.resolve()
            },
          })
          .catch(reject)
      })
      await consumer.disconnect()
      return read.sort((a, b) => a.partition - b.partition || Number(a.offset) - Number(b.offset))
    },
    async committed() {
      const [held] = await admin.fetchOffsets({ groupId: names.group, topics: [names.transactions] })
      return held.partitions.reduce((sum, { offset }) => sum + Math.max(0, Number(offset)), 0)
    },
    async rewind() {
      const partitions = (await ends('transactions')).map(({ partition }) => ({ partition, offset: '0' }))
      await admin.setOffsets({ groupId: names.group, topic: names.transactions, partitions })
    },
    async close() {
      await Promise.allSettled([admin.disconnect(), producer.disconnect()])
    },
  }
}

function texts(headers: IHeaders | undefined): Record<string, string> {
  return Object.fromEntries(Object.entries(headers ?? {}).map(([name, value]) => [name, String(value)]))
}
