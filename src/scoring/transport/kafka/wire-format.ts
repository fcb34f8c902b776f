// Which schema a message says that it is written under, in the three forms of Confluent's wire format: a byte 0 and an
// id in four bytes, or a byte 1 and a GUID in sixteen, before the value or in a header of its own. No JSON begins so.
import { reject, type Rejection } from '../../../errors.js'
import type { InMessage } from './port.js'

/** A schema as the registry's paths name it, and where the value begins. */
export interface Framing {
  readonly schema: string
  readonly from: number
}

const HEADER = '__value_schema_id'
const ID_BYTES = 5
const GUID_BYTES = 17

/** Null where no schema is named. The header goes before what the value begins with. */
export function framingOf({ value, headers }: Pick<InMessage, 'value' | 'headers'>): Framing | Rejection | null {
  const header = headers[HEADER]
  if (header !== undefined) {
    const named = readFraming(header)
    if (named !== null && named.from === header.length) return { schema: named.schema, from: 0 }
    return reject('ASSAY_HEADER_INVALID', 'not the id of a schema', [
      { path: `/headers/${HEADER}`, message: 'a byte 0 and 4 bytes, or a byte 1 and 16 bytes' },
    ])
  }
  if (value === null || value.length === 0 || value[0] > 1) return null
  return readFraming(value) ?? reject('ASSAY_BODY_MALFORMED', 'The value ends within the id of its schema')
}

/** Null where the bytes begin with no such id, or end within it. */
function readFraming(bytes: Buffer): Framing | null {
  if (bytes[0] === 0 && bytes.length >= ID_BYTES) return { schema: `ids/${bytes.readUInt32BE(1)}`, from: ID_BYTES }
  if (bytes[0] !== 1 || bytes.length < GUID_BYTES) return null
  const hex = bytes.toString('hex', 1, GUID_BYTES)
  return { schema: `guids/${hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-')}`, from: GUID_BYTES }
}

/** A value behind the id of its schema. */
export function framed(id: number, value: Buffer): Buffer {
  const head = Buffer.alloc(ID_BYTES)
  head.writeUInt32BE(id, 1)
  return Buffer.concat([head, value])
}
