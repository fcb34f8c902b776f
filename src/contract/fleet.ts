// What the servers of a fleet agree on, as it stands in the shared state and in the copy that each keeps.
import { type Static, Type } from '@sinclair/typebox'
import type { Label } from './label.js'
import { shapeFaults } from './shape.js'

const Fleet = Type.Object({
  application: Type.Literal('assay'),
  format: Type.Integer({ minimum: 1 }),
  /** Of entities and ids, 16 bytes in hex. */
  hash_key: Type.String({ pattern: '^[0-9a-f]{32}$' }),
  /** Windows before it may lack what nobody saw, ms. */
  observed_since_ms: Type.Integer({ minimum: 0 }),
})
export type Fleet = Static<typeof Fleet>

/** Null where the text is nothing of the kind. */
export function fleetFromText(text: string): Fleet | null {
  const value = parsed(text)
  return shapeFaults(Fleet, value).length > 0 ? null : (value as Fleet)
}

/** A label that waits for its transaction, without the entities: the transaction will name them. */
const Word = Type.Object(
  {
    transaction_id: Type.String(),
    kind: Type.Union([Type.Literal('fraud'), Type.Literal('authorisation')]),
    value: Type.Boolean(),
    source: Type.String(),
    known_at_ms: Type.Number(),
  },
  { additionalProperties: false },
)

/** One line. */
export function wordText({ transactionId, kind, value, source, knownAtMs }: Label): string {
  const word: Static<typeof Word> = { transaction_id: transactionId, kind, value, source, known_at_ms: knownAtMs }
  return JSON.stringify(word)
}

/** Those of lines that are whole: the first may have lost its beginning. */
export function wordsFromText(text: string): Label[] {
  return text.split('\n').flatMap((line) => wordFromText(line) ?? [])
}

function wordFromText(text: string): Label | null {
  const word = parsed(text)
  if (shapeFaults(Word, word).length > 0) return null
  const { transaction_id: transactionId, kind, value, source, known_at_ms: knownAtMs } = word as Static<typeof Word>
  return { transactionId, kind, value, source, knownAtMs, occurredAtMs: null, entities: [] }
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return null
  }
}
