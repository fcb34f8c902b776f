// The client that publishes events, over kafkajs: one send at a time, acknowledged by all in-sync replicas. Idempotent,
// so that what the client sends again by itself stands once. Whatever it could not send ends it: only under a new
// producer id can the brokers not take other events for those that may have arrived.
import { setTimeout as delay } from 'node:timers/promises'
import type { EventsConfig } from '../../contract/kafka.js'
import { AssayError, errorOf } from '../../errors.js'
import { createConnection } from '../../kafka/connection.js'
import type { CloudEvent } from './cloud-events.js'

export interface EventProducer {
  /**
   * Without events it looks whether there is such a topic. Throws ASSAY_TOPIC_REFUSED, ASSAY_KAFKA_REFUSED or
   * ASSAY_KAFKA_UNAVAILABLE.
   */
  send(topic: string, events: readonly CloudEvent[]): Promise<void>
  /** False once something could not be sent: another one is to be made. */
  isUsable(): boolean
  close(): Promise<void>
}

export interface ProducerDeps {
  readonly kafkaAnswerMsMax: number
  readonly onWarning: (detail: string) => void
  /** Nothing is waited for any more. */
  readonly signal: AbortSignal
}

/** Milliseconds that leaving may take. */
const CLOSE_MS_MAX = 1_000
/** What kafkajs warns of is what ends the client here. */
const OF_RETRIES = /Limiting retries for the idempotent producer/
const MISSING = 'UNKNOWN_TOPIC_OR_PARTITION'
const TOO_LARGE = new Set(['MESSAGE_TOO_LARGE', 'RECORD_LIST_TOO_LARGE'])

/** Connects. Throws ASSAY_KAFKA_UNAVAILABLE, ASSAY_KAFKA_REFUSED, or ASSAY_CONFIG_INVALID for a file. */
export async function openEventProducer(config: EventsConfig, deps: ProducerDeps): Promise<EventProducer> {
  const hear = (detail: string): void => (OF_RETRIES.test(detail) ? undefined : deps.onWarning(detail))
  const connection = await createConnection(config, hear, '/process/governance/kafka')
  const { kafka } = connection
  const admin = kafka.admin()
  const producer = kafka.producer({ allowAutoTopicCreation: false, idempotent: true, maxInFlightRequests: 1 })
  const known = new Set<string>()
  let isUsable = true

  async function close(): Promise<void> {
    isUsable = false
    connection.refuse()
    const left = Promise.allSettled([producer.disconnect(), admin.disconnect()])
    await Promise.race([left, delay(CLOSE_MS_MAX, undefined, { ref: false })])
    connection.destroy()
  }

  async function answered<Result>(what: string, acting: Promise<Result>): Promise<Result> {
    const isDone = new AbortController()
    const signal = AbortSignal.any([isDone.signal, deps.signal])
    const late = delay(deps.kafkaAnswerMsMax, undefined, { signal }).then(
      () => Promise.reject(new AssayError('ASSAY_KAFKA_UNAVAILABLE', `${what}: no answer`)),
      () => Promise.reject(new AssayError('ASSAY_KAFKA_UNAVAILABLE', `${what}: the sidecar ends`)),
    )
    late.catch(() => undefined)
    try {
      return await Promise.race([acting, late])
    } catch (thrown) {
      throw topicFault(what, thrown) ?? connection.faultOf(what, thrown)
    } finally {
      isDone.abort()
    }
  }

  try {
    await answered('connecting', Promise.all([admin.connect(), producer.connect()]))
  } catch (error) {
    await close()
    throw error
  }
  return {
    isUsable: () => isUsable,
    async send(topic, events) {
      const what = `the topic ${topic}`
      // A topic that is not there, or not for us, is found out before the producer comes to harm by it.
      if (!known.has(topic)) await answered(what, admin.fetchTopicMetadata({ topics: [topic] }))
      known.add(topic)
      if (events.length === 0) return
      const messages = events.map(({ key, value, headers }) => ({ key, value, headers: { ...headers } }))
      try {
        await answered(what, producer.send({ topic, acks: -1, messages }))
      } catch (error) {
        isUsable = false
        throw error
      }
    },
    close,
  }
}

/** What the brokers say of the topic alone; null for anything else. */
function topicFault(what: string, thrown: unknown): AssayError | null {
  const type = thrown instanceof Error && 'type' in thrown ? String(thrown.type) : ''
  if (type === MISSING) return new AssayError('ASSAY_TOPIC_REFUSED', `${what} is not there`, { cause: thrown })
  if (!TOO_LARGE.has(type)) return null
  const detail = `${what} takes no messages as long as these: ${errorOf(thrown).message}`
  return new AssayError('ASSAY_TOPIC_REFUSED', detail, { cause: thrown })
}
