// Who may read: bearer tokens that the listener's guard knows, with a role that reads.
// Invariant: it lets nobody in by default: a token without a role, or with that of a scorer, opens nothing here.
import type { Asker } from '../../access/failures.js'
import type { Denied, Guard } from '../../access/guard.js'
import type { Key } from '../../contract/keys.js'

/** Let in, for as long as `stands` says so: a stream outlives the look at its token. */
export interface Granted {
  readonly stands: () => boolean
}

export type Access = Granted | Denied
export type CheckAccess = (authorization: string | undefined, from: Asker) => Access

const READERS: ReadonlySet<Key['role']> = new Set(['viewer', 'approver', 'operator'])
const ALWAYS: Granted = { stands: () => true }

/** Makes the check of an Authorization header. Without a guard whoever reaches the listener may read. */
export function createAccess(guard: Guard | null): CheckAccess {
  if (guard === null) return () => ALWAYS
  return (authorization = '', from) => {
    const verdict = guard.admit(/^bearer /i.test(authorization) ? authorization.slice(7).trim() : '', from)
    if ('code' in verdict) return verdict
    if (!READERS.has(verdict.role)) return { code: 'ASSAY_ROLE_REFUSED', actor: verdict.name, waitS: 0 }
    return { stands: () => guard.holds(verdict) }
  }
}
