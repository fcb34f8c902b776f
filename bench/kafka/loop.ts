// What the client does without a server: consumes, produces as many messages of so many bytes, commits. A process of
// its own, for bench/kafka.ts.
import { Kafka, logLevel } from 'kafkajs'

const [address, groupId, from, to, bytes] = process.argv.slice(2)
const kafka = new Kafka({ brokers: [address], clientId: 'loop', logLevel: logLevel.NOTHING })
const producer = kafka.producer({ allowAutoTopicCreation: false })
const consumer = kafka.consumer({ groupId, maxWaitTimeInMs: 500 })
const value = Buffer.alloc(Number(bytes), 'x')
/** As many as the server sends at once. */
const SENT_MAX = 512

await Promise.all([producer.connect(), consumer.connect()])
await consumer.subscribe({ topics: [from], fromBeginning: true })
await consumer.run({
  autoCommit: false,
  eachBatchAutoResolve: false,
  partitionsConsumedConcurrently: 4,
  async eachBatch(payload) {
    const { messages, topic, partition } = payload.batch
    for (let at = 0; at < messages.length; at += SENT_MAX) {
      const part = messages.slice(at, at + SENT_MAX)
      await producer.send({ topic: to, acks: -1, messages: part.map(({ key }) => ({ key, value, partition })) })
      const last = Number(part[part.length - 1].offset)
      await consumer.commitOffsets([{ topic, partition, offset: String(last + 1) }])
      payload.resolveOffset(String(last))
      await payload.heartbeat()
    }
  },
})
process.once('SIGTERM', () => {
  void Promise.all([consumer.disconnect(), producer.disconnect()]).then(() => process.exit(0))
})
