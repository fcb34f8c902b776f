// The topic of dead letters as the command line reads it, beside a server that writes to it: in a group of its own,
// which holds no positions. Every act is bounded in time, since a client may try for ever. It writes to the input topic
// only, and creates no topic.
import { randomBytes } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import type { Admin, Producer } from 'kafkajs'
import type { KafkaConfig } from '../../../contract/kafka.js'
import { AssayError } from '../../../errors.js'
import type { Limits } from '../../../limits.js'
import { type Connection, createConnection } from '../../../kafka/connection.js'
import { countPartitions, plainMessage } from './kafkajs-client.js'
import { openPartitionReader, type ReadRange } from './kafkajs-reader.js'
import { type Letter, letterOf, type Place } from './letters.js'
import type { InMessage, OutMessage } from './port.js'

export interface LetterBox {
  /** Partitions of the input topic. */
  readonly inputPartitions: number
  /** The newest letters, of one partition or of all, and how many older ones were not looked at. */
  summaries(partition: number | null): Promise<{ letters: Letter[]; older: number }>
  /** The message at a place. Throws ASSAY_LETTER_UNKNOWN. */
  read(place: Place): Promise<InMessage>
  /** What a partition holds at these offsets, which ascend. */
  readAt(partition: number, offsets: readonly number[]): Promise<InMessage[]>
  /** Messages of one partition to the input topic; resolves with the offset of the first. */
  send(messages: readonly OutMessage[]): Promise<number>
  close(): Promise<void>
}

type BoxLimits = Pick<Limits, 'kafkaAnswerMsMax' | 'kafkaLettersMax'>

/** Milliseconds that leaving may take. */
const CLOSE_MS_MAX = 3_000

/** Throws ASSAY_CONFIG_INVALID without brokers, ASSAY_KAFKA_UNAVAILABLE, ASSAY_TOPIC_REFUSED. */
export async function openLetterBox(config: KafkaConfig, limits: BoxLimits): Promise<LetterBox> {
  if (config.brokers.length === 0) {
    throw new AssayError('ASSAY_CONFIG_INVALID', 'process.kafka.brokers names none: there is no stream')
  }
  const connection = await createConnection(config, () => undefined)
  const admin = connection.kafka.admin()
  const leaving: (() => Promise<void>)[] = [() => admin.disconnect()]
  async function close(): Promise<void> {
    connection.refuse()
    const left = Promise.allSettled(leaving.map((leave) => leave()))
    await Promise.race([left, delay(CLOSE_MS_MAX, undefined, { ref: false })])
    connection.destroy()
  }
  try {
    return await open({ config, limits, connection, admin, leaving, close })
  } catch (error) {
    await close()
    throw error
  }
}

interface Parts {
  readonly config: KafkaConfig
  readonly limits: BoxLimits
  readonly connection: Connection
  readonly admin: Admin
  /** Ends what was opened. */
  readonly leaving: (() => Promise<void>)[]
  readonly close: () => Promise<void>
}

async function open({ config, limits, connection, admin, leaving, close }: Parts): Promise<LetterBox> {
  const { kafka } = connection
  const { transactions, dead_letters: topic } = config.topics
  const answered = <Result>(act: (heard: () => void) => Promise<Result>): Promise<Result> =>
    withinTime(connection, limits.kafkaAnswerMsMax, act)
  await answered(() => admin.connect())
  const partitionsOf = async (name: string): Promise<number> => {
    const partitions = await answered(() => countPartitions(admin, name))
    if (partitions === null) throw new AssayError('ASSAY_TOPIC_REFUSED', `there is no topic ${name}`)
    return partitions
  }
  const partitions = await partitionsOf(topic)
  const inputPartitions = await partitionsOf(transactions)
  // Whoever reads then hears of it.
  const onCrash = (): void => undefined
  const groupId = `${config.group_id}.dead-letters.${randomBytes(8).toString('hex')}`
  const reader = await answered(() => openPartitionReader(kafka, admin, { topic, groupId, onCrash }))
  leaving.push(() => reader.close())
  let producer: Producer | null = null

  const read = (partition: number, range: ReadRange, onMessage: (message: InMessage) => void): Promise<number> =>
    answered((heard) =>
      reader.read(partition, range, (message) => {
        heard()
        onMessage(plainMessage(message))
      }),
    )
  async function readAt(partition: number, offsets: readonly number[]): Promise<InMessage[]> {
    const wanted = new Set(offsets)
    const from = offsets[0]
    const before = offsets[offsets.length - 1] + 1
    const held: InMessage[] = []
    // What lies between them is not kept.
    await read(partition, { from, before, max: before - from }, (message) => {
      if (wanted.has(message.offset)) held.push(message)
    })
    return held
  }
  async function connectProducer(): Promise<Producer> {
    const made = kafka.producer({ allowAutoTopicCreation: false, maxInFlightRequests: 1 })
    leaving.push(() => made.disconnect())
    await answered(() => made.connect())
    return made
  }

  return {
    inputPartitions,
    readAt,
    close,
    async summaries(only) {
      if (only !== null && only >= partitions) throw unknownLetter(`${topic} has ${partitions} partitions`)
      const wanted = only === null ? [...Array(partitions).keys()] : [only]
      const max = Math.ceil(limits.kafkaLettersMax / wanted.length)
      const held = await answered(() => admin.fetchTopicOffsets(topic))
      const letters: Letter[] = []
      let older = 0
      for (const { partition, low, high } of held.filter((each) => wanted.includes(each.partition))) {
        older += Math.max(0, Number(high) - Number(low) - max)
        await read(partition, { from: 0, max }, (message) => letters.push(letterOf(partition, message)))
      }
      return { letters, older }
    },
    async read({ partition, offset }) {
      if (partition >= partitions) throw unknownLetter(`${topic} has ${partitions} partitions`)
      const [message] = await readAt(partition, [offset])
      if (message === undefined) throw unknownLetter(`${topic} holds nothing at ${partition}:${offset}`)
      return message
    },
    async send(messages) {
      const sender = (producer ??= await connectProducer())
      const [sent] = await answered(() =>
        sender.send({
          ...{ topic: transactions, acks: -1 },
          messages: messages.map(({ headers, ...message }) => ({ ...message, headers: { ...headers } })),
        }),
      )
      return Number(sent.baseOffset)
    },
  }
}

function unknownLetter(detail: string): AssayError {
  return new AssayError('ASSAY_LETTER_UNKNOWN', detail)
}

/** Throws ASSAY_KAFKA_UNAVAILABLE where it fails, or where nothing was heard for so long. */
async function withinTime<Result>(
  connection: Connection,
  msMax: number,
  act: (heard: () => void) => Promise<Result>,
): Promise<Result> {
  let fail: (error: Error) => void = () => undefined
  const late = new Promise<never>((_, reject) => (fail = reject))
  const timer = setTimeout(() => fail(new Error(`nothing within ${msMax} ms`)), msMax)
  try {
    return await Promise.race([act(() => timer.refresh()), late])
  } catch (error) {
    throw connection.faultOf('the dead letters', error)
  } finally {
    clearTimeout(timer)
  }
}
