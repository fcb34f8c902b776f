// The life of the stream beside the listeners: it joins the group once the server is ready, and keeps trying while the
// brokers do not answer or the topics are not as they must be. Requests are served meanwhile.
import { setTimeout as delay } from 'node:timers/promises'
import type { KafkaConfig } from '../../../contract/kafka.js'
import type { Policy } from '../../../contract/policy.js'
import { transactionAvroSchema } from '../../../contract/record-schema.js'
import { AssayError, errorOf } from '../../../errors.js'
import type { Limits } from '../../../limits.js'
import type { Clock } from '../../../runtime/clock.js'
import type { Logger } from '../../../telemetry/logger.js'
import type { Metrics } from '../../../telemetry/metrics.js'
import type { Scoring } from '../../exchange.js'
import { createFormats } from './formats.js'
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
  readonly policy: Pick<Policy, 'schema'>
}

const RETRY_MS = 500
/** Milliseconds that the end of the process waits, where even the tries to connect take longer. */
const LEAVE_MS_MAX = 6_000

/** Starts it in the background. The call that it gives ends it, and resolves once the group is left. */
export function openStream(config: KafkaConfig, deps: StreamDeps): () => Promise<void> {
  const { logger, limits } = deps
  const counts: StreamCounts = {
    ...{ decided: 0, replayed: 0, observed: 0, dead: 0, takenOver: 0, superseded: 0 },
    lag: new Map(),
  }
  registerMetrics(deps.metrics, counts)
  const stop = new AbortController()
  const stopped = new Promise<void>((resolve) => stop.signal.addEventListener('abort', () => resolve()))
  const onFault = (detail: string, error: unknown): void =>
    logger.event('KafkaFailed', { detail, error: errorOf(error) })

  const { signal } = stop
  const formats = createFormats(config, {
    ...{ ...deps, signal, transaction: transactionAvroSchema(deps.policy.schema) },
    onRefused: (schema, { code, detail }) => logger.event('SchemaRefused', { schema, code, detail }),
  })

  /** A member until its client ends by itself, which is thrown, or until the server stops. */
  async function takePart(): Promise<void> {
    await formats.start()
    const client = await createKafkajsClient(config, logger)
    const topics = { decisions: config.topics.decisions, deadLetters: config.topics.dead_letters }
    let end: (error: unknown) => void = () => undefined
    const ended = new Promise<never>((_, reject) => (end = reject))
    const stream = createStream({ ...deps, client, formats, topics, counts, onFault, onStuck: end })
    try {
      const partitions = await checkTopics(client, config.topics)
      const { transactions: topic } = config.topics
      const joined = client.consume(topic, (batch, membership) => stream.onBatch(batch, membership), end)
      joined.then(() => logger.event('KafkaJoined', { topic, group: config.group_id, partitions })).catch(end)
      await Promise.race([ended, stopped])
    } finally {
      ended.catch(() => undefined)
      stream.stop()
      await client.close()
      counts.lag.clear()
    }
  }

  async function run(): Promise<void> {
    let waitMs = RETRY_MS
    while (!stop.signal.aborted) {
      const sinceMs = deps.clock.monoMs()
      try {
        await takePart()
      } catch (error) {
        onFault('the stream is not read', error)
      }
      const lasted = deps.clock.monoMs() - sinceMs > limits.kafkaRetryMsMax
      waitMs = lasted ? RETRY_MS : Math.min(2 * waitMs, limits.kafkaRetryMsMax)
      await delay(waitMs, undefined, { signal: stop.signal }).catch(() => undefined)
    }
  }

  const running = run()
  return async () => {
    stop.abort()
    await Promise.race([running, delay(LEAVE_MS_MAX, undefined, { ref: false })])
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

const OUTCOMES = [
  ['decided', 'decided'],
  ['replayed', 'replayed'],
  ['taken_over', 'takenOver'],
  ['observed', 'observed'],
  ['dead', 'dead'],
] as const

function registerMetrics(metrics: Metrics, counts: StreamCounts): void {
  metrics.counter({
    name: 'assay_kafka_messages_total',
    help: 'Messages done, by what they came to',
    labels: ['outcome'],
    read: () => OUTCOMES.map(([outcome, count]) => ({ labels: { outcome }, value: counts[count] })),
  })
  metrics.counter({
    name: 'assay_kafka_superseded_total',
    help: 'Decisions that do not stand: the output partition holds an earlier one by another server',
    labels: [],
    read: () => [{ labels: {}, value: counts.superseded }],
  })
  metrics.gauge({
    name: 'assay_kafka_lag',
    help: 'Messages not yet done when their partition was last fetched',
    labels: ['partition'],
    read: () => [...counts.lag].map(([partition, value]) => ({ labels: { partition: String(partition) }, value })),
  })
}
