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
import { createWave, type Wave } from './wave.js'

export interface StreamDeps {
  readonly scoring: Scoring
  readonly clock: Clock
  readonly limits: Limits
  readonly logger: Logger
  readonly metrics: Metrics
  readonly deadlineMs: () => number
}

const RETRY_MS = 500
/** Milliseconds between two looks at whether a wave of dead letters is over. */
const LOOK_MS = 5_000
/** Milliseconds that the end of the process waits, where even the tries to connect take longer. */
const LEAVE_MS_MAX = 6_000

/** Starts it in the background. The call that it gives ends it, and resolves once the group is left. */
export function openStream(config: KafkaConfig, deps: StreamDeps): () => Promise<void> {
  const { logger, limits } = deps
  const counts: StreamCounts = {
    ...{ decided: 0, replayed: 0, observed: 0, dead: 0, takenOver: 0, superseded: 0 },
    ...{ lag: new Map(), steppedAtMs: new Map() },
  }
  const wave = createWave(deps)
  registerMetrics(deps, counts, wave)
  const looking = setInterval(wave.look, LOOK_MS).unref()
  const stop = new AbortController()
  const stopped = new Promise<void>((resolve) => stop.signal.addEventListener('abort', () => resolve()))
  const onFault = (detail: string, error: unknown): void =>
    logger.event('KafkaFailed', { detail, error: errorOf(error) })

  /** A member until its client ends by itself, which is thrown, or until the server stops. */
  async function takePart(): Promise<void> {
    const client = await createKafkajsClient(config, logger)
    const topics = { decisions: config.topics.decisions, deadLetters: config.topics.dead_letters }
    let end: (error: unknown) => void = () => undefined
    const ended = new Promise<never>((_, reject) => (end = reject))
    const stream = createStream({ ...deps, client, topics, counts, wave, onFault, onStuck: end })
    try {
      const partitions = await checkTopics(client, config.topics)
      const { transactions: topic } = config.topics
      const joined = client.consume(topic, (batch, membership) => stream.onBatch(batch, membership), end)
      joined
        .then(() => {
          // A partition may be another server's now.
          counts.steppedAtMs.clear()
          logger.event('KafkaJoined', { topic, group: config.group_id, partitions })
        })
        .catch(end)
      await Promise.race([ended, stopped])
    } finally {
      ended.catch(() => undefined)
      stream.stop()
      await client.close()
      for (const partition of counts.lag.keys()) counts.steppedAtMs.set(partition, deps.clock.monoMs())
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
    clearInterval(looking)
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

function registerMetrics({ metrics, clock, limits }: StreamDeps, counts: StreamCounts, wave: Wave): void {
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
  metrics.gauge({
    name: 'assay_kafka_stalled',
    help: '1 where a partition has waited long for brokers, log or lanes',
    labels: ['partition'],
    read: () =>
      [...new Set([...counts.lag.keys(), ...counts.steppedAtMs.keys()])].map((partition) => {
        const waitsMs = clock.monoMs() - (counts.steppedAtMs.get(partition) ?? Infinity)
        return { labels: { partition: String(partition) }, value: waitsMs > limits.kafkaStalledMs ? 1 : 0 }
      }),
  })
  metrics.gauge({
    name: 'assay_kafka_dead_letter_wave',
    help: '1 while more than half of the messages of a minute are dead letters',
    read: () => (wave.isOn() ? 1 : 0),
  })
}
