// Reads Avro that was written under another schema as ours: fields that we do not have are skipped, those that the
// writer lacks get our default, narrower numbers are widened. The schema is as little believed as the bytes: its size
// and its nesting are looked at before it is compiled, and the bytes are walked by it before anything is built.
import { Buffer } from 'node:buffer'
import avsc from 'avsc'
import { reject, type Rejection } from '../errors.js'
import type { Limits } from '../limits.js'
import { createAvroGuard } from './avro-guard.js'
import type { AvroSchema } from './record-schema.js'

/** The value under our names, or ASSAY_BODY_MALFORMED. */
export type AvroDecode = (bytes: Uint8Array) => { readonly value: unknown } | Rejection

type Schema = Parameters<typeof avsc.Type.forSchema>[0]

/** A reader of what is written under the schema `writer` (JSON text), or ASSAY_SCHEMA_INCOMPATIBLE. */
export function compileAvroReader(
  ours: AvroSchema,
  writer: string,
  limits: Pick<Limits, 'schemaBytesMax' | 'schemaDepthMax'>,
): AvroDecode | Rejection {
  const incompatible = (detail: string): Rejection => reject('ASSAY_SCHEMA_INCOMPATIBLE', detail.slice(0, 400))
  if (writer.length > limits.schemaBytesMax) return incompatible(`a schema of over ${limits.schemaBytesMax} bytes`)
  try {
    const schema: unknown = JSON.parse(writer)
    if (!isWithin(schema, limits.schemaDepthMax)) return incompatible(`nested over ${limits.schemaDepthMax} levels`)
    const type = avsc.Type.forSchema(schema as Schema, { registry: {} })
    return readerOf(namedAlike(ours, type), type)
  } catch (error) {
    return incompatible(error instanceof Error ? error.message : String(error))
  }
}

function readerOf(ours: AvroSchema, writer: avsc.Type): AvroDecode {
  const type = avsc.Type.forSchema(ours as Schema, { registry: {} })
  const resolver = type.createResolver(writer)
  const guard = createAvroGuard(writer)
  const malformed = reject('ASSAY_BODY_MALFORMED', 'The bytes are not one record of their schema')
  return (bytes) => {
    if (guard(bytes, 0, bytes.length) !== bytes.length) return malformed
    try {
      const decoded: unknown = type.fromBuffer(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength), resolver)
      return { value: decoded }
    } catch {
      return malformed
    }
  }
}

/** Whatever the writer calls its record: which schemas are taken is said by their subject, not by a name in them. */
function namedAlike(ours: AvroSchema, { name }: avsc.Type): AvroSchema {
  return typeof ours === 'object' && !Array.isArray(ours) && name !== undefined ? { ...ours, aliases: [name] } : ours
}

function isWithin(value: unknown, levels: number): boolean {
  if (typeof value !== 'object' || value === null) return true
  return levels > 0 && Object.values(value).every((member) => isWithin(member, levels - 1))
}
