// The life of the stream beside the listeners: it joins the group once the server is ready, and keeps trying while the
// brokers do not answer or the topics are not as they must be. Requests are served meanwhile.
import { setTimeout as delay } from 'node:timers/promises'
import type { KafkaConfig } from '../../../contract/kafka.js'
import { AssayError, errorOf } from '../../../errors.js'
import type { Limits } from '../../../limits.js'
import type { Clock } from '../../../runtime/clock.js'
import type { Logger } from '../../../telemetry/logger.js'
import type { Metrics } from '../../../telemetry/metrics.js'
import type { Scoring } from '../../exchange.js'
import { createKafkajsClient } from './kafkajs-client.js'
import type { StreamClient } from './port.js'
import { createStream, type StreamCounts } from './stream.js'

export interface StreamDeps {
  readonly scoring: Scoring
  readonly clock: Clock
  readonly limits: Limits
  readonly logger: Logger
  readonly metrics: Metrics
  readonly deadlineMs: () => number
}

const RETRY_MS = 500
/** Milliseconds that leaving may take: brokers that do not answer would hold up the end of the process. */
const LEAVE_MS_MAX = 5_000

/** Starts it in the background. The call that it gives ends it, and resolves once the group is left. */
export function openStream(config: KafkaConfig, deps: StreamDeps): () => Promise<void> {
  const { logger, limits } = deps
  const counts: StreamCounts = { decided: 0, replayed: 0, observed: 0, dead: 0, lag: new Map() }
  registerMetrics(deps.metrics, counts)
  const stop = new AbortController()
  const onFault = (detail: string, error: unknown): void =>
    logger.event('KafkaFailed', { detail, error: errorOf(error) })

  async function join(): Promise<() => Promise<void>> {
    const client = await createKafkajsClient(config, logger)
    try {
      const topics = { decisions: config.topics.decisions, deadLetters: config.topics.dead_letters }
      const stream = createStream({ ...deps, client, topics, counts, onFault })
      const partitions = await checkTopics(client, config.topics)
      await client.consume(config.topics.transactions, (batch, membership) => stream.onBatch(batch, membership))
      logger.event('KafkaJoined', { topic: config.topics.transactions, group: config.group_id, partitions })
      return async () => {
        stream.stop()
        await client.close()
      }
    } catch (error) {
      await client.close()
      throw error
    }
  }

  async function run(): Promise<() => Promise<void>> {
    for (let waitMs = RETRY_MS; !stop.signal.aborted; waitMs = Math.min(2 * waitMs, limits.kafkaRetryMsMax)) {
      try {
        return await join()
      } catch (error) {
        onFault('the stream is not read', error)
      }
      await delay(waitMs, undefined, { signal: stop.signal }).catch(() => undefined)
    }
    return () => Promise.resolve()
  }

  const running = run()
  return async () => {
    stop.abort()
    await Promise.race([running.then((leave) => leave()), delay(LEAVE_MS_MAX, undefined, { ref: false })])
  }
}

/** Partitions of the input, which the output has too. Throws ASSAY_TOPIC_REFUSED. */
async function checkTopics(client: StreamClient, topics: KafkaConfig['topics']): Promise<number> {
  const count = async (topic: string): Promise<number> => {
    const partitions = await client.partitions(topic)
    if (partitions === null) throw new AssayError('ASSAY_TOPIC_REFUSED', `there is no topic ${topic}`)
    return partitions
  }
  const wanted = await count(topics.transactions)
  for (const topic of [topics.decisions, topics.dead_letters]) {
    const held = await count(topic)
    if (held === wanted) continue
    const detail = `${topic} has ${held} partitions, ${topics.transactions} has ${wanted}: they must be as many`
    throw new AssayError('ASSAY_TOPIC_REFUSED', detail)
  }
  return wanted
}

function registerMetrics(metrics: Metrics, counts: StreamCounts): void {
  metrics.counter({
    name: 'assay_kafka_messages_total',
    help: 'Messages done, by what they came to',
    labels: ['outcome'],
    read: () =>
      (['decided', 'replayed', 'observed', 'dead'] as const).map((outcome) => ({
        labels: { outcome },
        value: counts[outcome],
      })),
  })
  metrics.gauge({
    name: 'assay_kafka_lag',
    help: 'Messages not yet done when their partition was last fetched',
    labels: ['partition'],
    read: () => [...counts.lag].map(([partition, value]) => ({ labels: { partition: String(partition) }, value })),
  })
}
