// The stream client over kafkajs. Its traps are kept here: it does not batch, so one send carries what one batch
// produced; positions are committed by the transport alone, never by a timer.
import { randomBytes } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import type { Admin, IHeaders, KafkaMessage } from 'kafkajs'
import type { KafkaConfig } from '../../../contract/kafka.js'
import { AssayError } from '../../../errors.js'
import type { Logger } from '../../../telemetry/logger.js'
import { createConnection, isUnauthenticated } from '../../../kafka/connection.js'
import { createReach } from './kafkajs-reach.js'
import { openPartitionReader, type PartitionReader } from './kafkajs-reader.js'
import { fetchTopicId } from './kafkajs-topic-id.js'
import { createTransactions } from './kafkajs-transactions.js'
import type { InMessage, StreamClient } from './port.js'

/** Milliseconds that a fetch waits for a first message: leaving the group takes as long. */
const FETCH_WAIT_MS = 500
/** Milliseconds after which the partitions of a member that died go to others. */
const SESSION_MS = 10_000
/** Milliseconds that leaving may take: brokers that do not answer would hold up the end of the process. */
const CLOSE_MS_MAX = 5_000
/** How late this member sees that the partitions are to be shared anew. */
const HEARTBEAT_MS = 1_000

/** Connects. Throws ASSAY_KAFKA_UNAVAILABLE, ASSAY_KAFKA_REFUSED, or ASSAY_CONFIG_INVALID for a file. */
export async function createKafkajsClient(config: KafkaConfig, logger: Logger): Promise<StreamClient> {
  const { group_id: groupId } = config
  const connection = await createConnection(config, (detail) => logger.event('KafkaWarned', { detail }))
  const { kafka } = connection
  const admin = kafka.admin()
  const producer = kafka.producer({ allowAutoTopicCreation: false, maxInFlightRequests: 1 })
  const consumer = kafka.consumer({
    ...{ groupId, sessionTimeout: SESSION_MS, heartbeatInterval: HEARTBEAT_MS, maxWaitTimeInMs: FETCH_WAIT_MS },
    allowAutoTopicCreation: false,
    // Not every crash would be restarted: the transport makes another client instead, whatever it was.
    retry: { restartOnFailure: () => Promise.resolve(false) },
  })
  let reader: PartitionReader | null = null
  const transactions = config.exactly_once
    ? createTransactions(kafka, { groupId, topic: config.topics.transactions })
    : null
  let generation = 0
  let end: (error: unknown) => void = () => undefined
  const reach = createReach(consumer)
  consumer.on(consumer.events.GROUP_JOIN, () => void generation++)
  const close = async (): Promise<void> => {
    connection.refuse()
    const left = Promise.allSettled([
      consumer.disconnect(),
      producer.disconnect(),
      admin.disconnect(),
      reader?.close(),
      transactions?.close(),
    ])
    await Promise.race([left, delay(CLOSE_MS_MAX, undefined, { ref: false })])
    connection.destroy()
  }
  try {
    await Promise.all([admin.connect(), producer.connect(), consumer.connect()])
  } catch (cause) {
    await close()
    throw connection.faultOf('connecting', cause)
  }

  /** Whoever is no longer accepted needs another client: it reads the files again. */
  async function coded<Result>(what: string, acting: Promise<Result>): Promise<Result> {
    try {
      return await acting
    } catch (thrown) {
      const fault = connection.faultOf(what, thrown)
      if (isUnauthenticated(thrown)) end(fault)
      throw fault
    }
  }

  return {
    async partitions(topic) {
      try {
        return await countPartitions(admin, topic)
      } catch (error) {
        throw connection.faultOf(`the topic ${topic}`, error)
      }
    },
    topicId: (topic) => coded(`the topic ${topic}`, fetchTopicId(kafka, topic)),
    async consume(handlers, onEnd) {
      end = onEnd
      const topics = [...handlers.keys()]
      const [input, output] = [
        nameOf(topics.join(', '), groupId),
        nameOf(config.topics.decisions, `${groupId}.output.*`),
      ]
      const opening = openPartitionReader(kafka, admin, {
        ...{ topic: config.topics.decisions, groupId: `${groupId}.output.${randomBytes(8).toString('hex')}` },
        onCrash: (error) => onEnd(connection.faultOf(output, error)),
      })
      reader = await coded(output, opening)
      consumer.on(consumer.events.CRASH, ({ payload }) => onEnd(connection.faultOf(input, payload.error)))
      // History is to be seen where it is to be taken in.
      const fromBeginning = config.start === 'earliest' || config.bootstrap_from !== null
      await coded(input, consumer.subscribe({ topics, fromBeginning }))
      const running = consumer.run({
        autoCommit: false,
        eachBatchAutoResolve: false,
        partitionsConsumedConcurrently: config.partitions_at_once,
        async eachBatch(payload) {
          const { topic, partition, messages, highWatermark } = payload.batch
          const onBatch = handlers.get(topic)
          if (onBatch === undefined) return
          const joined = generation
          const isRevoked = (): boolean => !payload.isRunning() || payload.isStale() || joined !== generation
          const from = reach.before(payload.batch)
          await onBatch(
            { topic, partition, endOffset: Number(highWatermark), from, messages: messages.map(plainMessage) },
            {
              ...{ generation, isRevoked },
              heartbeat: () => payload.heartbeat(),
              async commit(offset, metadata) {
                if (isRevoked()) throw new Error(`partition ${partition} is another member's`)
                await consumer.commitOffsets([{ topic, partition, offset: String(offset), metadata }])
                payload.resolveOffset(String(offset - 1))
              },
              advance: (offset) => payload.resolveOffset(String(offset - 1)),
            },
          )
        },
      })
      await coded(input, running)
    },
    async bounds(topic, partition, sinceMs) {
      const bounds = (await admin.fetchTopicOffsets(topic)).find((known) => known.partition === partition)
      if (bounds === undefined) throw new AssayError('ASSAY_TOPIC_REFUSED', `${topic} has no partition ${partition}`)
      const end = Number(bounds.high)
      if (sinceMs === null) return { start: Number(bounds.low), end }
      const since = (await admin.fetchTopicOffsetsByTimestamp(topic, sinceMs)).find(
        (known) => known.partition === partition,
      )
      return { start: Number(since?.offset ?? end), end }
    },
    async position(topic, partition) {
      const [held] = await coded(`the group ${groupId}`, admin.fetchOffsets({ groupId, topics: [topic] }))
      const known = held.partitions.find((one) => one.partition === partition)
      return { offset: Number(known?.offset ?? -1), metadata: known?.metadata ?? '' }
    },
    readBack(partition, from, max, onMessage) {
      if (reader === null) throw new Error('a reader is there once the group is joined')
      const reading = reader.read(partition, { from, max }, (message) => onMessage(plainMessage(message)))
      return coded(`the topic ${config.topics.decisions}`, reading)
    },
    async send(topic, messages) {
      const sending = producer.send({ topic, acks: -1, messages: [...messages] })
      const [sent] = await coded(`the topic ${topic}`, sending)
      return Number(sent.baseOffset)
    },
    transactions,
    close,
  }
}

function nameOf(topic: string, groupId: string): string {
  return `the topic ${topic} in the group ${groupId}`
}

/** Partitions of a topic; null where there is no such topic. */
export async function countPartitions(admin: Admin, topic: string): Promise<number | null> {
  try {
    const { topics } = await admin.fetchTopicMetadata({ topics: [topic] })
    return topics[0]?.partitions.length ?? null
  } catch (error) {
    if (error instanceof Error && 'type' in error && error.type === 'UNKNOWN_TOPIC_OR_PARTITION') return null
    throw error
  }
}

export function plainMessage({ offset, timestamp, key, value, headers }: KafkaMessage): InMessage {
  return { offset: Number(offset), timestampMs: Number(timestamp), key, value, headers: plainHeaders(headers) }
}

/** Of a header that is given more than once, the last counts. */
function plainHeaders(headers: IHeaders | undefined): Record<string, Buffer> {
  const plain: Record<string, Buffer> = {}
  for (const [name, given] of Object.entries(headers ?? {})) {
    const value = Array.isArray(given) ? given.at(-1) : given
    if (value !== undefined) plain[name] = typeof value === 'string' ? Buffer.from(value) : value
  }
  return plain
}
