// Decoders by the schema that values are written under, each asked of the registry and compiled once, however many ask
// for it at the same time. Those of a subject are few; what is refused is kept for a while, so that a stream of it does
// not become a stream of questions.
import { LRUCache } from 'lru-cache'
import { type AvroDecode, compileAvroReader } from '../../../contract/avro-reader.js'
import type { AvroSchema } from '../../../contract/record-schema.js'
import type { Rejection } from '../../../errors.js'
import type { Limits } from '../../../limits.js'
import type { InMessage } from './port.js'
import type { Registry } from './registry.js'
import { framingOf } from './wire-format.js'

/** Decodes the value of one message; null where it names no schema. */
export type Reading = (() => { readonly value: unknown } | Rejection) | null

export interface DecodersOptions {
  readonly registry: Pick<Registry, 'schemaOf'>
  /** The only subject whose schemas are taken. */
  readonly subject: string
  /** The schema that values are read as. */
  readonly ours: AvroSchema
  readonly limits: Limits
  readonly onRefused: (schema: string, rejection: Rejection) => void
}

/** Gives the reading of a message. Rejects where the registry does not say. */
export function createDecoders(options: DecodersOptions): (message: InMessage) => Promise<Reading> {
  const { registry, subject, ours, limits } = options
  const held = new LRUCache<string, AvroDecode | Rejection>({ max: limits.schemasHeldMax })
  const asked = new Map<string, Promise<AvroDecode | Rejection>>()

  async function ask(schema: string): Promise<AvroDecode | Rejection> {
    const answer = await registry.schemaOf(schema, subject)
    const decoder = typeof answer === 'string' ? compileAvroReader(ours, answer, limits) : answer
    if (typeof decoder === 'function') {
      held.set(schema, decoder)
    } else {
      held.set(schema, decoder, { ttl: limits.schemaRefusedMs })
      options.onRefused(schema, decoder)
    }
    return decoder
  }

  function load(schema: string): Promise<AvroDecode | Rejection> {
    const asking = asked.get(schema) ?? ask(schema).finally(() => asked.delete(schema))
    asked.set(schema, asking)
    return asking
  }

  return async (message) => {
    const framing = framingOf(message)
    if (framing === null || message.value === null) return null
    if ('code' in framing) return () => framing
    const bytes = message.value.subarray(framing.from)
    const decoder = held.get(framing.schema) ?? (await load(framing.schema))
    return typeof decoder === 'function' ? () => decoder(bytes) : () => decoder
  }
}
