// A transaction as avro/binary: the schema that the policy's fields make, and the decoder. The bytes are walked by the
// schema before anything is built, so that no declared length is believed; what comes out goes through `check` like any
// other value. Names are those of the wire.
import { Buffer } from 'node:buffer'
import avsc from 'avsc'
import { reject, type Rejection } from '../errors.js'
import { createAvroGuard } from './avro-guard.js'
import { transactionAvroSchema } from './record-schema.js'
import type { TransactionSchema } from './transaction.js'

export interface TransactionAvro {
  /** The Avro schema as JSON text, for a registry or for `GET /openapi.json`. */
  readonly schema: string
  /** The value to hand to `TransactionValidator.check`, or ASSAY_BODY_MALFORMED. */
  readonly decode: (bytes: Uint8Array) => { readonly value: unknown } | Rejection
  /** Encodes a value of the wire's names; for clients and tests. Throws where it does not fit the schema. */
  encode(value: unknown): Buffer
}

/** Compiles the Avro side of a policy's schema. */
export function compileTransactionAvro(schema: TransactionSchema): TransactionAvro {
  const avroSchema = transactionAvroSchema(schema)
  const type = avsc.Type.forSchema(avroSchema as Parameters<typeof avsc.Type.forSchema>[0], { registry: {} })
  const guard = createAvroGuard(type)
  return {
    schema: JSON.stringify(avroSchema),
    encode: (value) => type.toBuffer(value),
    decode: (bytes) => {
      if (guard(bytes, 0, bytes.length) !== bytes.length) {
        return reject('ASSAY_BODY_MALFORMED', 'The body is not a transaction in Avro', [
          { path: '', message: 'the bytes of one record of the transaction schema, and nothing behind them' },
        ])
      }
      const decoded: unknown = type.fromBuffer(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength))
      return { value: decoded }
    },
  }
}
