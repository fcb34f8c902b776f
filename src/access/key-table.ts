// Keys known by their SHA-256 alone: whose is the one that is presented?
// Invariant: a key itself is never kept, logged or shown, and is compared in constant time. It refuses what is too long
// to be a key before hashing it.
import { hash, timingSafeEqual } from 'node:crypto'
import type { Key } from '../contract/keys.js'
import { instantMs } from '../contract/time.js'

/** Characters of a key; longer ones are refused without hashing. */
const KEY_CHARS_MAX = 512

/** A known key; `isExpired` where its time is over. */
export interface Found {
  readonly key: Key
  readonly isExpired: boolean
}

export interface KeyTable {
  /** Null where nobody's. */
  find(presented: string, nowMs: number): Found | null
  /** Whether the key stands in this table as it is, and has not expired: for whoever was let in earlier. */
  holds(key: Key, nowMs: number): boolean
  readonly size: number
}

interface Known extends Found {
  readonly digest: Buffer
  readonly untilMs: number
}

/**
 * Makes the table. Keys are grouped by the first bytes of their hashes, which tell a caller nothing about any key, so
 * that a thousand cost what one costs.
 */
export function createKeyTable(keys: readonly Key[]): KeyTable {
  const groups = new Map<number, Known[]>()
  for (const key of keys) {
    const digest = Buffer.from(key.sha256, 'hex')
    const untilMs = key.expires_at === undefined ? Infinity : (instantMs(key.expires_at) ?? 0)
    const prefix = digest.readUInt32BE(0)
    const known = { key, digest, untilMs, isExpired: false }
    groups.set(prefix, [...(groups.get(prefix) ?? []), known])
  }
  const find = (digest: Buffer, nowMs: number): Found | null => {
    const candidates = groups.get(digest.readUInt32BE(0))
    if (candidates === undefined) return null
    const same = candidates.filter((known) => timingSafeEqual(digest, known.digest))
    const valid = same.find(({ untilMs }) => nowMs < untilMs)
    if (valid !== undefined) return valid
    return same.length === 0 ? null : { key: same[0].key, isExpired: true }
  }
  return {
    size: keys.length,
    find(presented, nowMs) {
      if (presented === '' || presented.length > KEY_CHARS_MAX) return null
      return find(hash('sha256', presented, 'buffer'), nowMs)
    },
    holds(key, nowMs) {
      const found = find(Buffer.from(key.sha256, 'hex'), nowMs)
      return found !== null && !found.isExpired && found.key.role === key.role
    },
  }
}
