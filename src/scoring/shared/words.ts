// What a label does to the shared windows: its word goes behind the entries of each entity of its transaction, once.
// The entities are those that the label names, and those of its transaction as long as the shared state remembers it;
// a word on a transaction that is not known yet waits for it. It is delivered at least once, and counts once.
import { wordText } from '../../contract/fleet.js'
import type { Label } from '../../contract/label.js'
import { AssayError } from '../../errors.js'
import type { SharedWindows, WordList } from '../../features/shared-windows.js'
import type { Limits } from '../../limits.js'
import type { RedisConnection } from '../../redis/connection.js'
import { bytesOf, listOf } from '../../redis/reply.js'
import type { Keys } from './keys.js'
import { APPEND, READ, WORD } from './scripts.js'

export interface WordsDeps {
  readonly connection: RedisConnection
  readonly windows: SharedWindows
  readonly keys: Keys
  readonly limits: Pick<Limits, 'wordsWaitingBytesMax'>
  /** Milliseconds that a word waits for its transaction, and that an entity stays after its last word. */
  readonly ttlMs: number
}

export interface Words {
  /** Rejects where the shared state does not answer: then it is to be delivered again. */
  deliver(label: Label): Promise<void>
  /** Delivers what has waited for a transaction. */
  deliverWaiting(words: readonly Label[]): Promise<void>
}

/** Others append to the same list meanwhile; each try that fails means that one of them got through. */
const TRIES_MAX = 64

export function createWords({ connection, windows, keys, limits, ttlMs }: WordsDeps): Words {
  async function append(label: Label, list: WordList): Promise<void> {
    const key = keys.entity(list)
    const blank = Buffer.alloc(windows.entryBytes)
    for (let tries = 0; tries < TRIES_MAX; tries++) {
      const [version, entries] = listOf(await connection.run(READ, [key], [blank, 0, '']))
      const entry = windows.word(label, list.of, bytesOf(entries))
      if (entry === null) return
      if ((await connection.run(APPEND, [key], [entry, Number(version), '', ttlMs])) === 1) return
    }
    throw new AssayError('ASSAY_STATE_UNAVAILABLE', `others appended to ${key} in each of ${TRIES_MAX} tries`)
  }

  async function deliver(label: Label): Promise<void> {
    const id = windows.idHash(label.transactionId)
    const both = [keys.transaction(id), keys.words(id)]
    const waits = `${wordText(label)}\n`
    const refs = bytesOf(await connection.run(WORD, both, [waits, ttlMs, limits.wordsWaitingBytesMax]))
    await Promise.all(windows.listsFor(label, refs).map((list) => append(label, list)))
  }

  return {
    deliver,
    async deliverWaiting(words) {
      for (const label of words) await deliver(label)
    },
  }
}
