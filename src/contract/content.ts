// The canonical form of a transaction: what "same content" means (semantics 4). Bytes for a keyed hash, equal for JSON
// and Avro, HTTP and Kafka. Fields declared `volatile` are left out, so are the offset in which the same instant was
// written and what the policy derives (the base amount). A field that is absent leaves no bytes, so a schema that gains
// a field does not change old contents. Every value is tagged and length-prefixed: two contents never share a form.
import { writeUtf8 } from './avro-writer.js'
import type { FieldValue, Transaction, TransactionSchema } from './transaction.js'

const DOUBLE = new Float64Array(1)
const DOUBLE_BYTES = new Uint8Array(DOUBLE.buffer)

const STRING = 1
const NUMBER = 2
const TRUE = 3
const FALSE = 4

/** Writes the form from 0 and returns its length, or -1 if it did not fit. */
export type WriteCanonical = (transaction: Transaction, buffer: Uint8Array) => number

/** The writer for a policy's schema. Fields come in the order of their names, whatever the order of the schema. */
export function createCanonicalWriter(schema: TransactionSchema): WriteCanonical {
  const fields = schema.fields
    .map((field, index) => ({ name: field.name, index, volatile: field.volatile === true }))
    .filter((field) => !field.volatile)
    .sort((left, right) => (left.name < right.name ? -1 : 1))
  return (transaction, buffer) => {
    let at = writeText(buffer, transaction.transactionId, 0)
    at = writeNumber(buffer, transaction.occurredAtMs, at)
    at = writeNumber(buffer, transaction.amountMinor, at)
    at = writeText(buffer, transaction.currency, at)
    for (const { name, index } of fields) {
      const value = transaction.fields[index]
      if (value !== null && value !== undefined) at = writeValue(buffer, value, writeText(buffer, name, at))
    }
    return at <= buffer.length ? at : -1
  }
}

function writeValue(buffer: Uint8Array, value: Exclude<FieldValue, null>, at: number): number {
  if (typeof value === 'string') {
    buffer[at] = STRING
    return writeText(buffer, value, at + 1)
  }
  if (typeof value === 'number') {
    buffer[at] = NUMBER
    return writeNumber(buffer, value, at + 1)
  }
  buffer[at] = value ? TRUE : FALSE
  return at + 1
}

/** UTF-8 behind its length in two bytes. */
function writeText(buffer: Uint8Array, text: string, at: number): number {
  const end = writeUtf8(buffer, text, at + 2)
  const size = end - at - 2
  buffer[at] = size
  buffer[at + 1] = size >>> 8
  return end
}

function writeNumber(buffer: Uint8Array, value: number, at: number): number {
  DOUBLE[0] = value
  for (let index = 0; index < 8; index++) buffer[at + index] = DOUBLE_BYTES[index]!
  return at + 8
}
