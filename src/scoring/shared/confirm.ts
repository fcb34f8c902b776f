// The last step where state is shared: what is durable here is committed for the fleet, and answered once it stands
// there. Where another server has decided the same transaction, its decision is the answer, and ours is superseded.
import type { Supersede } from '../supersede.js'
import { decisionIdOf } from './admit.js'
import type { Claim, Stage } from './stage.js'

/** What is answered: null where nobody knows yet. */
export interface Confirmed {
  readonly body: string | null
  readonly replayed: boolean
}

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
      if (committed.kind === 'kept') return done({ body, replayed: false })
      if (committed.kind === 'unconfirmed') {
        onLeftBehind(sequence)
        return done({ body, replayed: false })
      }
      const own = decisionIdOf(body)
      if (own !== null) {
        onSuperseded()
        if (!supersede(own, 'another server has decided it')) onLeftBehind(sequence)
      }
      done({ body: committed.body, replayed: true })
    })
  }
}
