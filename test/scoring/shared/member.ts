// One server's part in shared windows, without the server: stage, words and windows over a connection. No test.
import { randomBytes } from 'node:crypto'
import type { Transaction } from '../../../src/contract/transaction.js'
import { FEATURE_FLAGS } from '../../../src/contract/decision.js'
import type { CompiledCatalogue } from '../../../src/features/compile.js'
import { SharedWindows } from '../../../src/features/shared-windows.js'
import { createOpenWindows, type OpenWindows } from '../../../src/features/state.js'
import type { Limits } from '../../../src/limits.js'
import type { RedisConnection } from '../../../src/redis/connection.js'
import { systemClock } from '../../../src/runtime/clock.js'
import { createIdentity } from '../../../src/scoring/identity.js'
import { createKeys } from '../../../src/scoring/shared/keys.js'
import {
  type Begun,
  type Claim,
  type Committed,
  createStage,
  type Stage,
  type Standing,
} from '../../../src/scoring/shared/stage.js'
import { createWords, type Words } from '../../../src/scoring/shared/words.js'
import { SCHEMA, START } from '../../features/streams.js'

export const HASH_KEY = Buffer.alloc(16, 5)
export const SINCE = START - 100_000

export interface Member {
  readonly features: OpenWindows
  readonly words: Words
  readonly stage: Stage
  /** Claims and folds; rejects where it is not to be scored. */
  fold(tx: Transaction, clockMs: number, out: Float64Array): Promise<number>
  peek(step: { tx: Transaction; clockMs: number }, out: Float64Array): Promise<number>
  begin(tx: Transaction, clockMs: number, out: Float64Array, becomes?: 'D' | 'O'): Promise<Begun>
  commit(claim: Claim, body: string): Promise<Committed>
  look(tx: Transaction): Promise<Standing | null>
}

/** Patient: what a busy machine does to a call is not asked here. */
const POLICY = {
  budgets: { deadline_ms: 1_000, log_wait_ms: 20_000 },
  idempotency: { window_ms: 86_400_000, ids_max: 1_000 },
  state: { wait_ms: 20_000, on_unavailable: 'local' as const },
}

export interface MemberOptions {
  readonly catalogue: CompiledCatalogue
  readonly limits: Limits
  /** Shorter than what the budgets give. */
  readonly leaseMs?: number | undefined
}

/** Of the fleet of that prefix. */
export function createMember(connection: RedisConnection, prefix: string, options: MemberOptions): Member {
  const { catalogue, limits, leaseMs } = options
  const budgets = leaseMs === undefined ? POLICY.budgets : { deadline_ms: 1, log_wait_ms: leaseMs }
  const policy = { ...POLICY, budgets }
  const features = createOpenWindows(catalogue, { limits, hashKey: HASH_KEY, observedSinceMs: SINCE })
  const windows = new SharedWindows(catalogue, {
    ...{ state: features, entityNames: ['card', 'shop'], hashKey: HASH_KEY, limits },
  })
  const keys = createKeys(prefix, catalogue.digest)
  const stage = createStage({
    ...{ policy, limits, clock: systemClock, connection, windows, keys, owner: randomBytes(8) },
    identity: createIdentity(SCHEMA, HASH_KEY, limits.recordBytesMax),
    onReply: () => undefined,
    onFailure: () => undefined,
    onFault: () => undefined,
  })
  const words = createWords({ connection, windows, keys, limits, ttlMs: 3_600_000 })
  const ticking = <T>(ask: (done: (value: T) => void) => void): Promise<T> =>
    new Promise((resolve) => {
      const timer = setInterval(() => stage.tick(), 1)
      ask((value) => {
        clearInterval(timer)
        resolve(value)
      })
    })
  const begin: Member['begin'] = (tx, clockMs, out, becomes = 'D') =>
    ticking((done) => stage.begin(tx, becomes, { out, at: 0, clockMs, peeks: false }, done))
  return {
    ...{ features, words, stage, begin },
    look: (tx) => ticking((done) => stage.look(tx, done)),
    commit: (claim, body) => ticking((done) => stage.commit(claim, body, done)),
    async fold(tx, clockMs, out) {
      const begun = await begin(tx, clockMs, out)
      if (begun.kind !== 'folded') throw new Error(`${tx.transactionId}: ${begun.kind}`)
      await words.deliverWaiting(begun.words)
      return begun.flags & ~FEATURE_FLAGS.shared
    },
    peek: ({ tx, clockMs }, out) =>
      ticking((done) => stage.peek(tx, { out, at: 0, clockMs, peeks: true }, (flags) => done(flags))),
  }
}
