// The life of the stream beside the listeners: it joins the group once the server is ready, and keeps trying while the
// brokers do not answer or the topics are not as they must be. Requests are served meanwhile.
import { setTimeout as delay } from 'node:timers/promises'
import { parseJson } from '../../../contract/json.js'
import type { KafkaConfig } from '../../../contract/kafka.js'
import type { Policy } from '../../../contract/policy.js'
import { isRejection, problemStatus, renderProblem } from '../../../contract/problem.js'
import { transactionAvroSchema } from '../../../contract/record-schema.js'
import { AssayError, type ErrorCode, errorOf } from '../../../errors.js'
import type { Limits } from '../../../limits.js'
import type { Clock } from '../../../runtime/clock.js'
import type { Logger } from '../../../telemetry/logger.js'
import type { Metrics } from '../../../telemetry/metrics.js'
import type { StreamScoring } from '../../exchange.js'
import { createFormats, type Formats } from './formats.js'
import { createKafkajsClient } from './kafkajs-client.js'
import { createDelivery, createInputDelivery, type DeliveryOptions } from './delivery.js'
import { createPatience, type Patience } from './patience.js'
import type { BatchHandler, StreamClient } from './port.js'
import { countLabels, countTransaction, createStream, keyOf, type StreamCounts } from './stream.js'
import type { Row } from './row.js'
import { createWave, type Wave } from './wave.js'

export interface StreamDeps {
  readonly scoring: StreamScoring
  readonly clock: Clock
  readonly limits: Limits
  readonly logger: Logger
  readonly metrics: Metrics
  readonly deadlineMs: () => number
  readonly policy: Pick<Policy, 'schema'>
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
    ...{ decided: 0, replayed: 0, takenOver: 0, superseded: 0, observed: 0 },
    ...{ labels: 0, dead: 0, consumed: 0, missing: 0 },
    ...{ lag: new Map(), steppedAtMs: new Map() },
  }
  const faults = new Map<ErrorCode, number>()
  const wave = createWave(deps)
  registerMetrics(deps, counts, faults, wave)
  const looking = setInterval(wave.look, LOOK_MS).unref()
  const stop = new AbortController()
  const stopped = new Promise<void>((resolve) => stop.signal.addEventListener('abort', () => resolve()))
  function onFault(detail: string, thrown: unknown): void {
    const error = errorOf(thrown)
    const code = error instanceof AssayError ? error.code : 'ASSAY_INTERNAL'
    faults.set(code, (faults.get(code) ?? 0) + 1)
    logger.event('KafkaFailed', { detail, error })
  }

  const { signal } = stop
  const formats = createFormats(config, {
    ...{ ...deps, signal, transaction: transactionAvroSchema(deps.policy.schema) },
    onRefused: (schema, { code, detail }) => logger.event('SchemaRefused', { schema, code, detail }),
  })

  /** A member until its client ends by itself, which is thrown, or until the server stops. */
  async function takePart(): Promise<void> {
    await formats.start()
    const client = await createKafkajsClient(config, logger)
    let end: (error: unknown) => void = () => undefined
    const ended = new Promise<never>((_, reject) => (end = reject))
    const patience = createPatience({ limits, onFault, onStuck: end })
    try {
      const partitions = await checkTopics(client, config.topics)
      const { transactions: topic } = config.topics
      const topicId = await client.topicId(topic)
      const parts = { ...deps, client, counts, patience, wave, formats, topicId }
      const joined = client.consume(createHandlers(config, parts), end)
      joined
        .then(() => {
          // A partition may be another server's now.
          counts.lag.clear()
          counts.steppedAtMs.clear()
          logger.event('KafkaJoined', { topic, group: config.group_id, partitions })
        })
        .catch(end)
      await Promise.race([ended, stopped])
    } finally {
      ended.catch(() => undefined)
      patience.stop()
      await client.close()
      for (const key of counts.lag.keys()) counts.steppedAtMs.set(key, deps.clock.monoMs())
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

interface Parts extends StreamDeps {
  readonly client: StreamClient
  readonly counts: StreamCounts
  readonly patience: Patience
  readonly wave: Wave
  readonly formats: Formats
  readonly topicId: string | null
}

/** What is done with the batches of each topic that is read. */
function createHandlers(config: KafkaConfig, parts: Parts): Map<string, BatchHandler> {
  const { scoring, limits, counts } = parts
  const { transactions, decisions, dead_letters: deadLetters, labels } = config.topics
  const { bootstrap_from: from } = config
  const delivery: DeliveryOptions = {
    ...parts,
    ...{ topics: { decisions, deadLetters }, copyHeaders: config.copy_headers },
    bootstrapFromMs: from === null ? undefined : from === 'earliest' ? null : Date.parse(from),
    onSuperseded: () => void counts.superseded++,
  }
  const onTransactions = createStream({
    ...{ ...parts, maxAgeMs: config.max_age_ms, whenOlder: config.when_older, count: countTransaction },
    ...{ delivery: createDelivery(delivery), submit: (value, exchange) => scoring.submit(value, exchange) },
    submitValue: (value, exchange) => scoring.submitValue(value, exchange),
    readings: (messages) => parts.formats.readings(messages),
    onMissing: (rows) => sayMissing(parts, rows),
  })
  const handlers = new Map([[transactions, onTransactions]])
  if (labels === null) return handlers
  const onLabels = createStream({
    ...{ ...parts, maxAgeMs: null, whenOlder: 'flag', count: countLabels, delivery: createInputDelivery(delivery) },
    submit(value, exchange) {
      const parsed = parseJson(value, limits)
      if (isRejection(parsed)) exchange.answer(problemStatus(parsed), renderProblem(parsed), false, 0)
      else scoring.submitLabels(parsed.value, exchange)
    },
    submitValue: (value, exchange) => scoring.submitLabels(value, exchange),
    // Labels are JSON.
    readings: (messages) => Promise.resolve(messages.map(() => null)),
    onMissing: () => undefined,
  })
  return handlers.set(labels, onLabels)
}

function sayMissing({ counts, logger }: Parts, rows: readonly Row[]): void {
  counts.missing += rows.length
  const { topic, partition, offset } = rows[0].source
  const detail = `${rows.length} messages from ${topic} ${partition}:${offset} on were decided before`
  const error = new AssayError('ASSAY_DECISION_UNKNOWN', `${detail}, and their records are not in the log any more`)
  logger.event('KafkaDecisionMissing', { topic, partition, offset, messages: rows.length, error })
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
  if (topics.labels !== null && (await count(topics.labels)) > wanted) {
    const detail = `${topics.labels} has more than the ${wanted} partitions of ${topics.dead_letters}`
    throw new AssayError('ASSAY_TOPIC_REFUSED', detail)
  }
  return wanted
}

const OUTCOMES = [
  ['decided', 'decided'],
  ['replayed', 'replayed'],
  ['taken_over', 'takenOver'],
  ['observed', 'observed'],
  ['label', 'labels'],
  ['dead', 'dead'],
  ['consumed', 'consumed'],
] as const

function registerMetrics(
  { metrics, clock, limits }: StreamDeps,
  counts: StreamCounts,
  faults: ReadonlyMap<ErrorCode, number>,
  wave: Wave,
): void {
  metrics.counter({
    name: 'assay_kafka_faults_total',
    help: 'What was refused or not answered and is tried again, by error code',
    labels: ['code'],
    read: () => [...faults].map(([code, value]) => ({ labels: { code }, value })),
  })
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
  metrics.counter({
    name: 'assay_kafka_missing_total',
    help: 'Messages decided before whose decision is held by nobody any more: passed over, and sent nothing for',
    labels: [],
    read: () => [{ labels: {}, value: counts.missing }],
  })
  metrics.gauge({
    name: 'assay_kafka_lag',
    help: 'Messages not yet done when their partition was last fetched',
    labels: ['topic', 'partition'],
    read: () =>
      [...counts.lag.values()].map(({ topic, partition, messages }) => ({
        labels: { topic, partition: String(partition) },
        value: messages,
      })),
  })
  metrics.gauge({
    name: 'assay_kafka_stalled',
    help: '1 where a partition has waited long for brokers, log or lanes',
    labels: ['topic', 'partition'],
    read: () =>
      [...counts.lag.values()].map(({ topic, partition }) => {
        const waitsMs = clock.monoMs() - (counts.steppedAtMs.get(keyOf({ topic, partition })) ?? Infinity)
        return { labels: { topic, partition: String(partition) }, value: waitsMs > limits.kafkaStalledMs ? 1 : 0 }
      }),
  })
  metrics.gauge({
    name: 'assay_kafka_dead_letter_wave',
    help: '1 while more than half of the messages of a minute are dead letters',
    read: () => (wave.isOn() ? 1 : 0),
  })
}
