// The Avro codecs of what stands in the decision log.
// A body of two sections is [uint32 LE: length of facts][facts][personal], so that a person can be erased without
// losing the count. Encoding goes straight into the caller's buffer; decoding resolves by field names what any earlier
// schema wrote. Refuses bytes that do not fit their schema before it builds anything from them.
import { Buffer } from 'node:buffer'
import avsc, { type Type } from 'avsc'
import { AssayError } from '../errors.js'
import { createAvroGuard } from './avro-guard.js'
import type { Label } from './label.js'
import { createRecordEncoder, type RecordEncoder } from './record-encode.js'
import { type AvroSchema, camelNames, recordSchemas, SECTION_NAMES, type SectionName } from './record-schema.js'
import type {
  ConsumedRecord,
  ControlRecord,
  DecisionFacts,
  DecisionPersonal,
  DecodedRecord,
  InferencePersonal,
  LabelRecord,
  RecordType,
  ReplyRecord,
  StreamSource,
  SupersededRecord,
} from './record-types.js'
import type { FieldValue, Transaction, TransactionSchema } from './transaction.js'

export interface RecordDecoder {
  /** Names of the declared fields, in the order in which `transaction.fields` holds their values. */
  readonly fieldNames: readonly string[]
  /** Reads a whole body. `vector` is a view of the bytes given. Throws ASSAY_LOG_DAMAGED where they do not fit. */
  decode(type: RecordType, body: Uint8Array): DecodedRecord
  /** The facts section of a decision, observed or inference record alone. */
  decodeFacts(body: Uint8Array): DecisionFacts
}

export interface RecordCodecs extends RecordEncoder, RecordDecoder {
  /** JSON text for the head of a segment; `codecsFromSchemas` reads it. */
  readonly schemas: string
}

/** Codecs that write and read under this policy schema. */
export function createRecordCodecs(schema: TransactionSchema): RecordCodecs {
  const schemas = JSON.stringify({ format: 1, sections: recordSchemas(schema) })
  return { schemas, ...createRecordEncoder(schema), ...codecsFromSchemas(schemas, schema) }
}

/** A view of the facts section of a two-section body. Throws ASSAY_LOG_DAMAGED where the length is not true. */
export function factsBytes(body: Uint8Array): Uint8Array {
  return body.subarray(4, factsEnd(body))
}

function factsEnd(body: Uint8Array): number {
  if (body.length < 4) throw damaged('a record is shorter than its head')
  const end = 4 + (body[0] | (body[1] << 8) | (body[2] << 16)) + body[3] * 2 ** 24
  if (end > body.length) throw damaged('the facts of a record are longer than the record')
  return end
}

function damaged(detail: string, cause?: unknown): AssayError {
  return new AssayError('ASSAY_LOG_DAMAGED', detail, { cause })
}

/**
 * Reads records that were written under the schemas of a segment's head. With `schema` the declared fields come in its
 * order (null where the writer had none of that name and type), else in the writer's.
 */
export function codecsFromSchemas(schemasText: string, schema?: TransactionSchema): RecordDecoder {
  const sections = parseSchemas(schemasText)
  const written = fieldsOf(sections.decision_personal)
  const entitiesWritten = fieldsOf(sections.label_personal)
  const current = recordSchemas(schema ?? { unknown_fields: 'refuse', fields: [] })
  const read = (name: SectionName) => createSectionReader(sections[name], current[name])
  const readers = Object.fromEntries(SECTION_NAMES.map((name) => [name, read(name)])) as Record<
    SectionName,
    SectionReader
  >
  const fieldNames = schema?.fields.map((field) => field.name) ?? written
  const entityNames =
    schema?.fields.filter((field) => field.entity === true).map((field) => field.name) ?? entitiesWritten
  const types = new Map(schema?.fields.map((field) => [field.name, field.type]))
  const pick = (values: Record<string, FieldValue | undefined>, name: string) => fit(values[name], types.get(name))

  const decodeFacts = (body: Uint8Array) => readers.decision_facts(body, 4, factsEnd(body)) as DecisionFacts
  const decodePersonal = (body: Uint8Array): DecisionPersonal => {
    const raw = readers.decision_personal(body, factsEnd(body), body.length) as RawPersonal
    const transaction: Transaction = {
      transactionId: raw.transactionId,
      occurredAtMs: raw.occurredAtMs,
      offsetMinutes: raw.offsetMinutes,
      amountMinor: raw.amountMinor,
      currency: raw.currency,
      amountBaseMinor: raw.amountBaseMinor ?? NaN,
      fields: fieldNames.map((name) => pick(raw.fields, name)),
    }
    return { transaction, vector: raw.vector, traceparent: raw.traceparent, source: raw.source }
  }
  const decodeLabel = (body: Uint8Array): LabelRecord => {
    const facts = readers.label_facts(body, 4, factsEnd(body)) as RawLabelFacts
    const personal = readers.label_personal(body, factsEnd(body), body.length) as RawLabelPersonal
    const { ordinal, epoch, foldedAtMs, kind, value, source, knownAtMs } = facts
    const entities = entityNames.map((name) => pick(personal.entities, name) as string | null)
    const { transactionId, occurredAtMs } = personal
    const label = { transactionId, kind, value, source, knownAtMs, occurredAtMs, entities }
    return { ordinal, epoch, foldedAtMs, label }
  }
  const decode = (type: RecordType, body: Uint8Array): DecodedRecord => {
    switch (type) {
      case 'decision':
      case 'observed':
        return { type, facts: decodeFacts(body), personal: decodePersonal(body) }
      case 'inference': {
        const personal = readers.inference_personal(body, factsEnd(body), body.length) as InferencePersonal
        return { type, facts: decodeFacts(body), personal }
      }
      case 'label':
        return { type, label: decodeLabel(body) }
      case 'control':
        return { type, control: readers.control(body, 0, body.length) as ControlRecord }
      case 'reply':
        return { type, reply: readers.reply(body, 0, body.length) as ReplyRecord }
      case 'superseded':
        return { type, superseded: readers.superseded(body, 0, body.length) as SupersededRecord }
      case 'consumed':
        return { type, consumed: readers.consumed(body, 0, body.length) as ConsumedRecord }
    }
  }
  return { fieldNames, decode, decodeFacts }
}

interface RawPersonal {
  transactionId: string
  occurredAtMs: number
  offsetMinutes: number
  amountMinor: number
  currency: string
  amountBaseMinor: number | null
  fields: Record<string, FieldValue>
  vector: Uint8Array
  traceparent: string | null
  source: StreamSource | null
}

type RawLabelFacts = Omit<LabelRecord, 'label'> & Pick<Label, 'kind' | 'value' | 'source' | 'knownAtMs'>
type RawLabelPersonal = Pick<Label, 'transactionId' | 'occurredAtMs'> & { entities: Record<string, FieldValue> }

/** The value as a field of this type; null where another type was written under the same name. */
function fit(value: FieldValue | undefined, type: string | undefined): FieldValue {
  if (value === undefined || value === null) return null
  if (type === undefined) return value
  if (type === 'integer') return Number.isInteger(value) ? value : null
  return typeof value === type ? value : null
}

type SectionReader = (body: Uint8Array, at: number, end: number) => unknown

/** Resolves what the writer's schema says into the shape of this release; declared fields stay as they were written. */
function createSectionReader(writer: AvroSchema, current: AvroSchema): SectionReader {
  const writerType = avroType(camelNames(writer))
  const readerType = avroType(withDeclared(camelNames(current), camelNames(writer)))
  const resolver = readerType.createResolver(writerType)
  const guard = createAvroGuard(writerType)
  return (body, at, end) => {
    if (guard(body, at, end) !== end) throw damaged('a record does not fit its schema')
    const buffer = Buffer.from(body.buffer, body.byteOffset, end)
    const result = readerType.decode(buffer, at, resolver) as { value: unknown }
    return result.value
  }
}

function avroType(schema: AvroSchema): Type {
  return avsc.Type.forSchema(schema as Parameters<typeof avsc.Type.forSchema>[0], { registry: {} })
}

interface RecordSchema {
  type: string
  name: string
  fields: { name: string; type: AvroSchema }[]
}

function isRecord(schema: AvroSchema | undefined): schema is AvroSchema & RecordSchema {
  return typeof schema === 'object' && !Array.isArray(schema) && schema.type === 'record'
}

/** The current schema with the writer's own record of declared fields in place of the policy's. */
function withDeclared(current: AvroSchema, writer: AvroSchema): AvroSchema {
  if (!isRecord(current) || !isRecord(writer)) return current
  const { type, name, fields } = current
  const declared = writer.fields.find((field) => isRecord(field.type) && field.type.name === 'Fields')?.type
  if (declared === undefined) return current
  const swap = (type: AvroSchema) => (isRecord(type) && type.name === 'Fields' ? declared : type)
  return { type, name, fields: fields.map((field) => ({ ...field, type: swap(field.type) })) }
}

function fieldsOf(schema: AvroSchema): string[] {
  const declared = isRecord(schema)
    ? schema.fields.find((field) => isRecord(field.type) && field.type.name === 'Fields')
    : undefined
  return declared !== undefined && isRecord(declared.type) ? declared.type.fields.map((field) => field.name) : []
}

/** Sections that format 1 did not have at first: a segment without them holds no such record. */
const { consumed } = recordSchemas({ unknown_fields: 'refuse', fields: [] })
const ADDED_SINCE: { readonly [name: string]: AvroSchema | undefined } = { consumed }

function parseSchemas(text: string): Record<SectionName, AvroSchema> {
  let parsed: { format?: unknown; sections?: Record<string, AvroSchema> }
  try {
    parsed = JSON.parse(text) as typeof parsed
  } catch (cause) {
    throw damaged('the schemas of a segment are not JSON', cause)
  }
  const sections = { ...ADDED_SINCE, ...parsed.sections }
  if (parsed.format !== 1 || SECTION_NAMES.some((name) => sections[name] === undefined)) {
    throw damaged('the schemas of a segment are of a format that this release does not read')
  }
  return sections as Record<SectionName, AvroSchema>
}
