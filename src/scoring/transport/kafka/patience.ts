// How long the transport waits for brokers: until they do what is asked, the partition is given up, or the client is.
import { setTimeout as delay } from 'node:timers/promises'
import { AssayError } from '../../../errors.js'
import type { Limits } from '../../../limits.js'
import type { Membership } from './port.js'

export interface PatienceOptions {
  readonly limits: Limits
  /** Something that is tried again was refused by the brokers, in words. */
  readonly onFault: (detail: string, error: unknown) => void
  /** The client does not even refuse: another one is to be made. */
  readonly onStuck: (error: unknown) => void
}

/** null: the partition was given up, or it was refused. */
type Done<Result> = { readonly value: Result } | null

export interface Patience {
  /** Nothing more is to be done of the partition. */
  readonly isOver: (membership: Membership) => boolean
  /** Tries until it succeeds or the partition is given up. */
  readonly untilDone: <Result>(
    membership: Membership,
    what: string,
    act: () => Promise<Result>,
  ) => Promise<Done<Result>>
  /** Tries once. */
  readonly once: <Result>(membership: Membership, what: string, act: () => Promise<Result>) => Promise<Done<Result>>
  /** Everything is over. */
  readonly stop: () => void
}

/** Milliseconds before the second try of what the brokers refused; doubled with each. */
const RETRY_MS = 100
/** Milliseconds between two looks at the group while the brokers take their time. */
const BEAT_MS = 500

export function createPatience({ limits, onFault, onStuck }: PatienceOptions): Patience {
  let isStopped = false
  const isOver = (membership: Membership): boolean => isStopped || membership.isRevoked()

  /**
   * Waits, and stays in the group meanwhile; ends the membership where the client neither does it nor refuses to. One
   * timer for both: this runs for every part of a batch.
   */
  async function beating<Result>(membership: Membership, acting: Promise<Result>): Promise<Result> {
    let timer: NodeJS.Timeout | undefined
    let waitedMs = 0
    const late = new Promise<never>((_, reject) => {
      timer = setInterval(() => {
        void membership.heartbeat().catch(() => undefined)
        waitedMs += BEAT_MS
        if (waitedMs < limits.kafkaAnswerMsMax) return
        const error = new AssayError('ASSAY_KAFKA_UNAVAILABLE', `no answer within ${limits.kafkaAnswerMsMax} ms`)
        onStuck(error)
        reject(error)
      }, BEAT_MS)
    })
    try {
      return await Promise.race([acting, late])
    } finally {
      clearInterval(timer)
    }
  }

  async function once<Result>(membership: Membership, what: string, act: () => Promise<Result>): Promise<Done<Result>> {
    try {
      return { value: await beating(membership, act()) }
    } catch (error) {
      onFault(what, error)
      return null
    }
  }

  return {
    isOver,
    once,
    async untilDone(membership, what, act) {
      for (let waitMs = RETRY_MS; !isOver(membership); waitMs = Math.min(2 * waitMs, limits.kafkaRetryMsMax)) {
        const done = await once(membership, what, act)
        if (done !== null) return done
        await delay(waitMs)
        await membership.heartbeat()
      }
      return null
    },
    stop: () => void (isStopped = true),
  }
}
