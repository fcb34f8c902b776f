// A file of scoring keys or operations tokens, as operators write it: the SHA-256 of a key stands in it, never the key.
// What a role may do is decided where it is asked for.
import { type Static, Type } from '@sinclair/typebox'
import type { InputFault } from '../errors.js'
import { instantMs } from './time.js'

const Role = Type.Union([
  Type.Literal('scorer'),
  Type.Literal('viewer'),
  Type.Literal('approver'),
  Type.Literal('operator'),
])

const Key = Type.Object(
  {
    /** Its owner: the actor of changes. Two keys may have one owner, so that one can follow the other. */
    name: Type.String({ minLength: 1, maxLength: 64 }),
    sha256: Type.String({ pattern: '^[0-9a-f]{64}$' }),
    role: Type.Optional(Role),
    /** RFC 3339 with offset; from then on the key is refused. */
    expires_at: Type.Optional(Type.String()),
  },
  { additionalProperties: false },
)
export type Key = Static<typeof Key>

export const KeysFile = Type.Object(
  { keys: Type.Array(Key, { minItems: 1, maxItems: 1000 }) },
  { additionalProperties: false },
)
export type KeysFile = Static<typeof KeysFile>

/** What is wrong beyond the shape. */
export function keysFaults({ keys }: KeysFile): InputFault[] {
  const message = 'expected a time with offset, such as 2026-11-22T10:00:00Z (RFC 3339)'
  return keys.flatMap(({ expires_at: at }, index) => {
    return at === undefined || instantMs(at) !== null ? [] : [{ path: `/keys/${index}/expires_at`, message }]
  })
}
