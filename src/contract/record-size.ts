// Whether a transaction's record fits the room that is reserved for it, asked before anything is folded: after the
// reservation the record can no longer be refused.
import type { Transaction, TransactionSchema } from './transaction.js'

/** Room for the facts, the core of a transaction, traceparent and source at their longest, and the frame. */
const FIXED_BYTES_MAX = 3_072
/** UTF-8 bytes of one UTF-16 unit at most, and the length before a string. */
const UNIT_BYTES_MAX = 3
const LENGTH_BYTES_MAX = 4
/** A number, a boolean or nothing, with its branch. */
const PLAIN_BYTES_MAX = 11

/**
 * Null where no transaction of this schema can outgrow `recordBytesMax`, else the check: true for one that does.
 * Throws a RangeError where not even an empty transaction fits.
 */
export function createSizeCheck(
  schema: TransactionSchema,
  room: { readonly vectorBytes: number; readonly recordBytesMax: number; readonly stringCharsMax: number },
): ((transaction: Transaction) => boolean) | null {
  const plain = schema.fields.length * PLAIN_BYTES_MAX
  const left = room.recordBytesMax - FIXED_BYTES_MAX - room.vectorBytes - plain
  if (left < 0) throw new RangeError(`vector and fields of this policy need more than ${room.recordBytesMax} bytes`)
  const strings = schema.fields.filter(({ type }) => type === 'string').length
  if (strings * (room.stringCharsMax * UNIT_BYTES_MAX + LENGTH_BYTES_MAX) <= left) return null
  return ({ fields }) => {
    let bytes = 0
    for (const value of fields) if (typeof value === 'string') bytes += Buffer.byteLength(value) + LENGTH_BYTES_MAX
    return bytes > left
  }
}
