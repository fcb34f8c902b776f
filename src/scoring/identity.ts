// Who a transaction is: a keyed hash of its id and one of its content. Keyed, so that nobody outside can choose ids
// that meet in the index; the key is a start's own, since the index is rebuilt from the log with it.
import { createCanonicalWriter } from '../contract/content.js'
import type { Transaction, TransactionSchema } from '../contract/transaction.js'
import { createHasher } from '../runtime/hash.js'

export interface Identity {
  /** [id low, id high, content low, content high] of the last call; overwritten by the next. */
  readonly hashes: Uint32Array
  /** Hashes id and content. */
  of(transaction: Transaction): void
  /** Hashes an id alone. */
  ofId(transactionId: string): void
}

/** `key` has 16 bytes; a canonical form has at most `bytesMax`, which the limits of a transaction keep. */
export function createIdentity(schema: TransactionSchema, key: Uint8Array, bytesMax: number): Identity {
  const hasher = createHasher(key)
  const writeCanonical = createCanonicalWriter(schema)
  const canonical = Buffer.alloc(bytesMax)
  const hashes = new Uint32Array(4)

  function ofId(transactionId: string): void {
    hasher.string(transactionId)
    hashes[0] = hasher.a
    hashes[1] = hasher.b
  }

  return {
    hashes,
    ofId,
    of(transaction) {
      ofId(transaction.transactionId)
      const end = writeCanonical(transaction, canonical)
      if (end < 0) throw new RangeError(`a canonical form has more than ${bytesMax} bytes`)
      hasher.bytes128(canonical, 0, end)
      hashes[2] = hasher.a
      hashes[3] = hasher.b
    },
  }
}
