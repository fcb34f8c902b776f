// Who may pass a listener: the keys that it holds, and why somebody is turned away.
// Invariant: whatever is presented ends as a known key or as a coded refusal; an address that waits costs no hashing.
// What a key may do beyond that is decided where its role is asked for.
import type { Key } from '../contract/keys.js'
import type { ErrorCode } from '../errors.js'
import { type Asker, createFailures, type FailuresDeps } from './failures.js'
import type { HeldKeys } from './held-keys.js'

/** Why somebody is turned away, and who it was as far as that is known. */
export interface Denied {
  readonly code: ErrorCode
  readonly actor: string | null
  /** Seconds after which the same key may be taken; 0 where waiting changes nothing. */
  readonly waitS: number
}

export interface Guard {
  /** The key's entry; or why it opens nothing. `presented` is '' where there is none. */
  admit(presented: string, from: Asker): Key | Denied
  /** Whether a key that was admitted earlier would be now. */
  holds(key: Key): boolean
  close(): void
}

const UNKNOWN: Denied = { code: 'ASSAY_UNAUTHENTICATED', actor: null, waitS: 0 }

/** Makes the guard of one listener. */
export function createGuard(keys: HeldKeys, deps: FailuresDeps): Guard {
  const failures = createFailures(deps)
  return {
    admit(presented, from) {
      const waitS = failures.waitS(from)
      if (waitS > 0) return { code: 'ASSAY_TOO_MANY_FAILURES', actor: null, waitS }
      const found = keys.find(presented)
      if (found === null) {
        if (presented !== '') failures.failed(from)
        return UNKNOWN
      }
      return found.isExpired ? { code: 'ASSAY_KEY_EXPIRED', actor: found.key.name, waitS: 0 } : found.key
    },
    holds: (key) => keys.holds(key),
    close: () => keys.close(),
  }
}
