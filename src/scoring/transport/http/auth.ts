// Who may call a listener: keys known by their SHA-256 alone.
// Invariant: a key itself is never kept, logged or shown, and is compared in constant time. It refuses requests without
// a key, and keys too long to be one, before hashing them.
import { hash, timingSafeEqual } from 'node:crypto'
import type { UwsRequest } from './binding.js'

/** Characters of a key; longer ones are refused without hashing. */
const KEY_CHARS_MAX = 512

/** True where the request carries a known key. Looks at the headers alone. */
export type Authenticate = (req: UwsRequest) => boolean

/**
 * Makes the check of `Authorization: Bearer` or `X-API-Key` over hashes in hex, as a keys file holds them. They are
 * grouped by their first bytes, which tell a caller nothing about any key, so that a thousand cost what one costs.
 */
export function createAuthenticate(keys: readonly { readonly sha256: string }[]): Authenticate {
  const groups = new Map<number, Buffer[]>()
  for (const { sha256 } of keys) {
    const digest = Buffer.from(sha256, 'hex')
    const prefix = digest.readUInt32BE(0)
    groups.set(prefix, [...(groups.get(prefix) ?? []), digest])
  }
  return (req) => {
    const presented = presentedKey(req)
    if (presented === '' || presented.length > KEY_CHARS_MAX) return false
    const digest = hash('sha256', presented, 'buffer')
    const candidates = groups.get(digest.readUInt32BE(0)) ?? []
    return candidates.some((expected) => timingSafeEqual(digest, expected))
  }
}

function presentedKey(req: UwsRequest): string {
  const direct = req.getHeader('x-api-key')
  if (direct !== '') return direct
  const authorization = req.getHeader('authorization')
  return /^bearer /i.test(authorization) ? authorization.slice(7).trim() : ''
}
