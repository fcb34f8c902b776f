// Who may call a listener: keys known by their SHA-256 alone.
// Invariant: a key itself is never kept, logged or shown, and is compared in constant time. It refuses requests without
// a key, and keys too long to be one, before hashing them.
import { hash, timingSafeEqual } from 'node:crypto'
import type { KeysFile } from '../../../config.js'
import type { UwsRequest } from './binding.js'

/** Characters of a key; longer ones are refused without hashing. */
const KEY_CHARS_MAX = 512

/** True where the request carries a known key. Looks at the headers alone. */
export type Authenticate = (req: UwsRequest) => boolean

type Key = KeysFile['keys'][number]

/** Whose key a request carries, and what it may do. */
export type Caller = Pick<Key, 'name' | 'role'>

/** The owner of the key that a request carries; null where it is not known. */
export type Identify = (req: UwsRequest) => Caller | null

/** Whether the key is known, whatever its role. */
export function createAuthenticate(keys: readonly Pick<Key, 'sha256'>[]): Authenticate {
  const identify = createIdentify(keys.map(({ sha256 }) => ({ name: '', sha256 })))
  return (req) => identify(req) !== null
}

/**
 * Makes the check of `Authorization: Bearer` or `X-API-Key` over hashes in hex, as a keys file holds them. They are
 * grouped by their first bytes, which tell a caller nothing about any key, so that a thousand cost what one costs.
 */
export function createIdentify(keys: readonly Key[]): Identify {
  const groups = new Map<number, { readonly digest: Buffer; readonly caller: Caller }[]>()
  for (const { sha256, name, role } of keys) {
    const digest = Buffer.from(sha256, 'hex')
    const prefix = digest.readUInt32BE(0)
    const caller = { name, ...(role !== undefined && { role }) }
    groups.set(prefix, [...(groups.get(prefix) ?? []), { digest, caller }])
  }
  return (req) => {
    const presented = presentedKey(req)
    if (presented === '' || presented.length > KEY_CHARS_MAX) return null
    const digest = hash('sha256', presented, 'buffer')
    const candidates = groups.get(digest.readUInt32BE(0)) ?? []
    return candidates.find((known) => timingSafeEqual(digest, known.digest))?.caller ?? null
  }
}

function presentedKey(req: UwsRequest): string {
  const direct = req.getHeader('x-api-key')
  if (direct !== '') return direct
  const authorization = req.getHeader('authorization')
  return /^bearer /i.test(authorization) ? authorization.slice(7).trim() : ''
}
