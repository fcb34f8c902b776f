// How the values of messages are read and written: JSON, or Avro under schemas of the registry. The registry is asked
// before rows are offered, so that offering stays synchronous and in order. What it said is kept, so that it may be
// gone later: known schemas go on, and what is written under another waits.
import assert from 'node:assert'
import { createDecisionAvro } from '../../../contract/decision-avro.js'
import type { KafkaConfig, RegistryConfig } from '../../../contract/kafka.js'
import type { AvroSchema } from '../../../contract/record-schema.js'
import type { Rejection } from '../../../errors.js'
import type { Limits } from '../../../limits.js'
import type { Clock } from '../../../runtime/clock.js'
import { createDecoders, type Reading } from './decoders.js'
import type { InMessage } from './port.js'
import { createRegistry } from './registry.js'
import { framed } from './wire-format.js'

export interface Formats {
  /** Asks whether the registry is there, and registers what is written, once. Throws ASSAY_REGISTRY_UNAVAILABLE. */
  start(): Promise<void>
  /**
   * How the first messages are read: as many as can be told, and one at least. Rejects where nothing can be told of the
   * first, with ASSAY_REGISTRY_UNAVAILABLE or ASSAY_REGISTRY_REFUSED. Null: as JSON, by the pipeline.
   */
  readings(messages: readonly InMessage[]): Promise<Reading[]>
  /** The media type of decisions. */
  readonly decisionType: string
  /** A decision from its JSON. */
  encode(body: string): Buffer
  /** The JSON of the decision that a message holds; null where it holds none that could be written again. */
  bodyOf(message: InMessage): Promise<string | null>
}

export interface FormatsDeps {
  readonly clock: Clock
  readonly limits: Limits
  /** The schema of a transaction under the policy. */
  readonly transaction: AvroSchema
  /** Aborts what is asked of the registry. */
  readonly signal: AbortSignal
  /** A schema is not taken; said again when it is asked for again. */
  readonly onRefused: (schema: string, rejection: Rejection) => void
}

type Config = Pick<KafkaConfig, 'registry' | 'decisions_format'>

/** Connects nothing yet. Throws ASSAY_CONFIG_INVALID where a file cannot be read. */
export function createFormats({ registry, decisions_format: format }: Config, deps: FormatsDeps): Formats {
  return registry === null ? JSON_ONLY : createRegistered(registry, format, deps)
}

const JSON_ONLY: Formats = {
  start: () => Promise.resolve(),
  readings: (messages) => Promise.resolve(messages.map(() => null)),
  decisionType: 'application/json',
  encode: (body) => Buffer.from(body),
  bodyOf: ({ value }) => Promise.resolve(value?.toString('utf8') ?? null),
}

function createRegistered(config: RegistryConfig, format: Config['decisions_format'], deps: FormatsDeps): Formats {
  const { limits, signal, onRefused } = deps
  const { subjects } = config
  const registry = createRegistry(config, limits, signal)
  const decision = createDecisionAvro()
  const decoders = { registry, limits, onRefused }
  const transactionIn = createDecoders({ ...decoders, subject: subjects.transactions, ours: deps.transaction })
  const decisionIn = createDecoders({ ...decoders, subject: subjects.decisions, ours: decision.schema })
  let isStarted = false
  /** Of our schema of decisions. */
  let id: number | null = null

  return {
    async start() {
      if (isStarted) return
      await registry.check(subjects.transactions)
      if (format === 'avro') id = await registry.register(subjects.decisions, JSON.stringify(decision.schema))
      isStarted = true
    },
    async readings(messages) {
      const readings: Reading[] = []
      const endMs = deps.clock.monoMs() + limits.registryAnswerMsMax
      for (const message of messages) {
        if (readings.length > 0 && deps.clock.monoMs() > endMs) break
        try {
          readings.push(await transactionIn(message))
        } catch (error) {
          if (readings.length === 0) throw error
          break
        }
      }
      return readings
    },
    decisionType: format === 'avro' ? 'application/vnd.confluent.avro' : JSON_ONLY.decisionType,
    encode(body) {
      if (format === 'json') return JSON_ONLY.encode(body)
      const bytes = decision.encode(body)
      assert(id !== null && bytes !== null, 'an answer fits the schema of answers, which is registered')
      return framed(id, bytes)
    },
    async bodyOf(message) {
      const reading = await decisionIn(message)
      if (reading === null) {
        const body = await JSON_ONLY.bodyOf(message)
        return body === null || format === 'json' || decision.encode(body) !== null ? body : null
      }
      const read = reading()
      return 'code' in read ? null : decision.render(read.value)
    },
  }
}
