// What a client does without a server: consumes, produces as many messages of so many bytes under the same key and
// headers, commits. A process of its own on one of two clients, with what they have in common: one fetch for all
// partitions, whose batches are handled at the same time, one send and one commit for at most so many messages.
import net from 'node:net'
import { ConnectionPool, Consumer, type fetchV17, Producer } from '@platformatic/kafka'
import { Kafka, logLevel } from 'kafkajs'
import type { LoopClient } from './loop.js'

const [client, address, groupId, from, to, bytes] = process.argv.slice(2)
const value = Buffer.alloc(Number(bytes), 'x')
/** As many as the server sends at once. */
const SENT_MAX = 512
const FETCH_WAIT_MS = 500

/** Resolves when it is at work, with what ends it. */
async function loopKafkajs(): Promise<() => Promise<unknown>> {
  const kafka = new Kafka({
    ...{ brokers: [address], clientId: 'loop', logLevel: logLevel.NOTHING },
    socketFactory: ({ host, port, onConnect }) => net.connect({ host, port }, onConnect).setNoDelay(true),
  })
  const producer = kafka.producer({ allowAutoTopicCreation: false })
  const consumer = kafka.consumer({ groupId, maxWaitTimeInMs: FETCH_WAIT_MS })
  await Promise.all([producer.connect(), consumer.connect()])
  await consumer.subscribe({ topics: [from], fromBeginning: true })
  await consumer.run({
    ...{ autoCommit: false, eachBatchAutoResolve: false, partitionsConsumedConcurrently: 4 },
    async eachBatch({ batch: { messages, topic, partition }, ...payload }) {
      for (let at = 0; at < messages.length; at += SENT_MAX) {
        const part = messages.slice(at, at + SENT_MAX)
        const sent = part.map(({ key, headers }) => ({ key, headers, value, partition }))
        await producer.send({ topic: to, acks: -1, messages: sent })
        const next = String(Number(part[part.length - 1].offset) + 1)
        await consumer.commitOffsets([{ topic, partition, offset: next }])
        payload.resolveOffset(part[part.length - 1].offset)
        await payload.heartbeat()
      }
    },
  })
  return () => Promise.all([consumer.disconnect(), producer.disconnect()])
}

async function loopPlatformatic(): Promise<() => Promise<unknown>> {
  const common = { clientId: 'loop', bootstrapBrokers: [address] }
  const producer = new Producer({ ...common, acks: -1 })
  const consumer = new Consumer({ ...common, groupId, autocommit: false, maxWaitTime: FETCH_WAIT_MS })
  // On one connection a commit would wait behind a fetch that waits for messages.
  const connectionPool = new ConnectionPool('loop')
  consumer.topics.track(from)
  await consumer.joinGroup({})
  const topic = (await consumer.metadata({ topics: [from] })).topics.get(from)
  const partitions = consumer.assignments?.find((one) => one.topic === from)?.partitions ?? []
  if (topic === undefined) throw new Error(`there is no topic ${from}`)
  const next = new Map(partitions.map((partition) => [partition, 0n]))
  let isOver = false

  async function handle({
    partitionIndex: partition,
    records: batches = [],
  }: fetchV17.FetchResponsePartition): Promise<void> {
    const all = batches.flatMap(({ firstOffset, records }) =>
      records.map((record) => ({ ...record, offset: firstOffset + BigInt(record.offsetDelta) })),
    )
    // A batch is fetched whole, wherever in it was asked for.
    const records = all.filter(({ offset }) => offset >= (next.get(partition) ?? 0n))
    for (let at = 0; at < records.length; at += SENT_MAX) {
      const part = records.slice(at, at + SENT_MAX)
      const messages = part.map(({ key, headers }) => {
        const plain = headers.map(([name, held]): [Buffer, Buffer] => [
          name ?? Buffer.alloc(0),
          held ?? Buffer.alloc(0),
        ])
        return { topic: to, partition, key: key ?? undefined, value, headers: new Map(plain) }
      })
      await producer.send({ messages })
      const offset = part[part.length - 1].offset + 1n
      await consumer.commit({ offsets: [{ topic: from, partition, offset, leaderEpoch: -1 }] })
      next.set(partition, offset)
    }
  }

  async function loop({ id: topicId, partitions: held }: NonNullable<typeof topic>): Promise<void> {
    while (!isOver) {
      const asked = partitions.map((partition) => ({
        ...{ partition, currentLeaderEpoch: -1, lastFetchedEpoch: -1, partitionMaxBytes: 1 << 20 },
        fetchOffset: next.get(partition) ?? 0n,
      }))
      const topics = [{ topicId, partitions: asked }]
      const { responses } = await consumer.fetch({ node: held[0].leader, topics, connectionPool })
      await Promise.all(responses.flatMap(({ partitions: fetched }) => fetched.map(handle)))
    }
  }
  const looping = loop(topic)
  return async () => {
    isOver = true
    await looping
    await Promise.all([consumer.close(), producer.close(), connectionPool.close()])
  }
}

const LOOPS: Readonly<Record<LoopClient, () => Promise<() => Promise<unknown>>>> = {
  kafkajs: loopKafkajs,
  '@platformatic/kafka': loopPlatformatic,
}
const end = await LOOPS[client as LoopClient]()
process.once('SIGTERM', () => void end().then(() => process.exit(0)))
process.send?.('ready')
