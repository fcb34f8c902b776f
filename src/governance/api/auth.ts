// Who may read: bearer tokens known by their SHA-256 alone, with role viewer or operator.
// Invariant: a token is never kept, logged or shown, and is compared in constant time. It lets nobody in by default:
// a token without a role, or with that of a scorer, opens nothing here.
import { hash, timingSafeEqual } from 'node:crypto'
import type { KeysFile } from '../../config.js'

const TOKEN_CHARS_MAX = 512

export type Access = 'granted' | 'unknown' | 'role_refused'

/** Makes the check of an Authorization header. `null` for keys: whoever reaches the listener may read. */
export function createAccess(keys: KeysFile | null): (authorization: string | undefined) => Access {
  if (keys === null) return () => 'granted'
  const known = keys.keys.map(({ sha256, role }) => ({ digest: Buffer.from(sha256, 'hex'), role }))
  return (authorization = '') => {
    const token = /^bearer /i.test(authorization) ? authorization.slice(7).trim() : ''
    if (token === '' || token.length > TOKEN_CHARS_MAX) return 'unknown'
    const digest = hash('sha256', token, 'buffer')
    // All are compared: how long it takes says nothing about which one it was.
    const found = known.filter((key) => timingSafeEqual(key.digest, digest))
    if (found.length === 0) return 'unknown'
    return found.some(({ role }) => role === 'viewer' || role === 'operator') ? 'granted' : 'role_refused'
  }
}
