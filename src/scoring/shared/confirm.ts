// The last step where state is shared: what is durable here is committed for the fleet, and answered once it stands
// there. Where another server has decided the same transaction, its decision is the answer, and ours is superseded.
import { decisionIdOf } from '../../contract/decision-answer.js'
import type { Supersede } from '../supersede.js'
import type { Claim, Stage } from './stage.js'

export type Confirmed =
  /** It is answered as it is. */
  | { readonly kind: 'stands' }
  /** Another server has decided it, and this is its answer. */
  | { readonly kind: 'lost'; readonly body: string }
  /** Another server decides it, or may have: nobody knows the answer yet. */
  | { readonly kind: 'unknown' }

export type Confirm = (committing: Committing, done: (confirmed: Confirmed) => void) => void

/** A record that is durable, with the answer that it gives. */
export interface Committing {
  readonly claim: Claim
  readonly body: string
  readonly sequence: number
}

export interface ConfirmDeps {
  readonly stage: Stage
  readonly supersede: Supersede
  /** Its record is to be written back. */
  readonly onLeftBehind: (sequence: number) => void
  readonly onSuperseded: () => void
}

export function createConfirm({ stage, supersede, onLeftBehind, onSuperseded }: ConfirmDeps): Confirm {
  return ({ claim, body, sequence }, done) => {
    stage.commit(claim, body, (committed) => {
      if (committed.kind === 'kept') return done({ kind: 'stands' })
      if (committed.kind === 'unconfirmed' || committed.kind === 'unknown') {
        onLeftBehind(sequence)
        return done({ kind: committed.kind === 'unknown' ? 'unknown' : 'stands' })
      }
      const own = decisionIdOf(body)
      // It was written back under another claim meanwhile.
      if (own !== null && committed.body !== null && decisionIdOf(committed.body) === own) {
        return done({ kind: 'stands' })
      }
      if (own !== null) {
        onSuperseded()
        if (!supersede(own, 'another server has decided it')) onLeftBehind(sequence)
      }
      done(committed.body === null ? { kind: 'unknown' } : { kind: 'lost', body: committed.body })
    })
  }
}
