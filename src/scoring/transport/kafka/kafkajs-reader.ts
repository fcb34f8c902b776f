// Reads one topic's partitions from a place to their end. kafkajs consumes as a member of a group only, so that each
// reader has a group of its own, which holds no positions and is gone with it. Between two readings all is paused.
import type { Admin, EachBatchHandler, Kafka, KafkaMessage } from 'kafkajs'
import { AssayError } from '../../../errors.js'

export interface PartitionReader {
  /**
   * Hands over what the range holds, and resolves with its end. One reading of a partition at a time. Rejects where the
   * brokers do not answer.
   */
  read(partition: number, range: ReadRange, onMessage: (message: KafkaMessage) => void): Promise<number>
  close(): Promise<void>
}

/** Offsets from `from` on, up to `before` or else the partition's end, of which the last `max` are read. */
export interface ReadRange {
  readonly from: number
  readonly before?: number
  readonly max: number
}

interface Reading {
  readonly start: number
  readonly end: number
  readonly onMessage: (message: KafkaMessage) => void
  readonly resolve: (end: number) => void
  readonly reject: (error: unknown) => void
}

/** Milliseconds that a fetch waits, and that a reader at rest takes to see that there is something to read. */
const FETCH_WAIT_MS = 100

/** Joins its group. `admin` is connected, and stays the caller's. After `onCrash` it reads no more. */
export async function openPartitionReader(
  kafka: Kafka,
  admin: Admin,
  { topic, groupId, onCrash }: { topic: string; groupId: string; onCrash: (error: unknown) => void },
): Promise<PartitionReader> {
  const consumer = kafka.consumer({
    ...{ groupId, maxWaitTimeInMs: FETCH_WAIT_MS, allowAutoTopicCreation: false },
    retry: { restartOnFailure: () => Promise.resolve(false) },
  })
  const readings = new Map<number, Reading>()
  let ended: unknown = null

  function fail(error: unknown): void {
    for (const { reject } of readings.values()) reject(error)
    readings.clear()
  }

  function end(error: unknown): void {
    ended = error
    fail(error)
  }

  /** Joins; resolves with the topic's partitions, none of which is fetched yet. */
  function run(): Promise<void> {
    return new Promise((resolve, reject) => {
      consumer.on(consumer.events.CRASH, ({ payload }) => {
        end(payload.error)
        onCrash(payload.error)
        reject(payload.error)
      })
      consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => {
        // Where it had to join again, places are forgotten: what was being read is to be read again.
        fail(new Error('the reader had to join its group again'))
        consumer.pause([{ topic, partitions: payload.memberAssignment[topic] ?? [] }])
        resolve()
      })
      // Told of batches that hold nothing but transaction markers, too, which no handler sees.
      consumer.on(consumer.events.END_BATCH_PROCESS, ({ payload: { partition, lastOffset } }) => {
        const reading = readings.get(partition)
        if (reading === undefined || Number(lastOffset) + 1 < reading.end) return
        readings.delete(partition)
        consumer.pause([{ topic, partitions: [partition] }])
        reading.resolve(reading.end)
      })
      const eachBatch: EachBatchHandler = ({ batch }) => {
        const reading = readings.get(batch.partition)
        for (const message of reading === undefined ? [] : batch.messages) {
          const offset = Number(message.offset)
          if (reading !== undefined && offset >= reading.start && offset < reading.end) reading.onMessage(message)
        }
        return Promise.resolve()
      }
      consumer.run({ autoCommit: false, eachBatch }).catch(reject)
    })
  }

  try {
    await consumer.connect()
    await consumer.subscribe({ topics: [topic], fromBeginning: true })
    await run()
  } catch (error) {
    await consumer.disconnect().catch(() => undefined)
    throw error
  }

  return {
    async read(partition, { from, before = Infinity, max }, onMessage) {
      if (ended !== null) throw new AssayError('ASSAY_KAFKA_UNAVAILABLE', `${topic} is not read`, { cause: ended })
      const bounds = (await admin.fetchTopicOffsets(topic)).find((held) => held.partition === partition)
      if (bounds === undefined) throw new AssayError('ASSAY_TOPIC_REFUSED', `${topic} has no partition ${partition}`)
      const end = Math.min(Number(bounds.high), before)
      const start = Math.max(Number(bounds.low), from, end - max)
      if (start >= end) return end
      return new Promise((resolve, reject) => {
        readings.set(partition, { start, end, onMessage, resolve, reject })
        consumer.seek({ topic, partition, offset: String(start) })
        consumer.resume([{ topic, partitions: [partition] }])
      })
    },
    async close() {
      end(new Error('the reader was closed'))
      await consumer.disconnect()
    },
  }
}
