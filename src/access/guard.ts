// Who may pass a listener: the keys that it holds, and why somebody is turned away.
// Invariant: whatever is presented ends as a known key or as a coded refusal. What a key may do beyond that is decided
// where its role is asked for.
import type { Key } from '../contract/keys.js'
import type { ErrorCode } from '../errors.js'
import type { HeldKeys } from './held-keys.js'

/** Why somebody is turned away, and who it was as far as that is known. */
export interface Denied {
  readonly code: ErrorCode
  readonly actor: string | null
}

export interface Guard {
  /** The key's entry; or why it opens nothing. `presented` is '' where there is none. */
  admit(presented: string): Key | Denied
  /** Whether a key that was admitted earlier would be now. */
  holds(key: Key): boolean
  close(): void
}

const UNKNOWN: Denied = { code: 'ASSAY_UNAUTHENTICATED', actor: null }

/** Makes the guard of one listener. */
export function createGuard(keys: HeldKeys): Guard {
  return {
    admit(presented) {
      const found = keys.find(presented)
      if (found === null) return UNKNOWN
      return found.isExpired ? { code: 'ASSAY_KEY_EXPIRED', actor: found.key.name } : found.key
    },
    holds: (key) => keys.holds(key),
    close: () => keys.close(),
  }
}
