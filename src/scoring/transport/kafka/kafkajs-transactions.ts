// Deliveries in transactions, over kafkajs: one transactional id per input partition, whoever owns it. Who takes an id
// fences everybody who had it before. kafkajs commits positions without naming the member, so that the caller is to
// prove that it is one after it has taken the id.
import type { Kafka, Producer } from 'kafkajs'
import type { Transactions } from './port.js'

/** Milliseconds after which the brokers end a transaction whose producer is gone; readers wait for it meanwhile. */
const TRANSACTION_MS = 30_000

export interface KafkajsTransactions extends Transactions {
  close(): Promise<void>
}

export function createTransactions(
  kafka: Kafka,
  { groupId, topic }: { groupId: string; topic: string },
): KafkajsTransactions {
  const producers = new Map<number, Producer>()

  async function drop(partition: number): Promise<void> {
    const producer = producers.get(partition)
    producers.delete(partition)
    await producer?.disconnect().catch(() => undefined)
  }

  return {
    async fence(partition) {
      await drop(partition)
      const producer = kafka.producer({
        ...{ transactionalId: `${groupId}.${topic}.${partition}`, transactionTimeout: TRANSACTION_MS },
        ...{ idempotent: true, maxInFlightRequests: 1, allowAutoTopicCreation: false },
      })
      producers.set(partition, producer)
      await producer.connect()
      const transaction = await producer.transaction()
      await transaction.abort()
    },
    async deliver(partition, sends, position) {
      const producer = producers.get(partition)
      if (producer === undefined) throw new Error(`partition ${partition} was not fenced`)
      const transaction = await producer.transaction()
      try {
        for (const { topic: to, messages } of sends) {
          await transaction.send({ topic: to, acks: -1, messages: [...messages] })
        }
        const committed = { partition, offset: String(position.offset), metadata: position.metadata }
        await transaction.sendOffsets({ consumerGroupId: groupId, topics: [{ topic, partitions: [committed] }] })
        await transaction.commit()
      } catch (error) {
        // Whether it came to an end is not known: the next owner of the id, which may be this server, finds out.
        await drop(partition)
        throw error
      }
    },
    async close() {
      await Promise.all([...producers.keys()].map(drop))
    },
  }
}
