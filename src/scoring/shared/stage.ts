// A transaction's way through the shared state: it is claimed, and folded into its entities' lists, in one round trip;
// once its record is durable its decision is committed, or another's stands. Whatever the Redis does, each call ends
// within its time: then the transaction is scored from what this server has seen, and written back later.
// Invariant: `done` of each call is called once, by a reply, by a failure or by the tick.
import { type StatePolicy, STATE_POLICY_DEFAULTS } from '../../contract/state.js'
import { wordsFromText } from '../../contract/fleet.js'
import type { Label } from '../../contract/label.js'
import type { Policy } from '../../contract/policy.js'
import type { Transaction } from '../../contract/transaction.js'
import { AssayError } from '../../errors.js'
import type { EntityAsked, EntityTold, SharedWindows, VectorPlace } from '../../features/shared-windows.js'
import type { Limits } from '../../limits.js'
import type { RedisConnection, Reply } from '../../redis/connection.js'
import { bytesOf, listOf } from '../../redis/reply.js'
import type { Clock } from '../../runtime/clock.js'
import type { Identity } from '../identity.js'
import { createStateBreaker } from './breaker.js'
import type { Keys } from './keys.js'
import { CLAIM, COMMIT, FOLD, LOOK } from './scripts.js'

/** What a decision is committed under. */
export interface Claim {
  readonly keys: readonly [transaction: string, words: string]
  readonly content: Buffer
  /** Nobody else's: owner and number. */
  readonly token: Buffer
  readonly refs: Buffer
  /** Decided or observed. */
  readonly becomes: 'D' | 'O'
  /** Monotonic ms until which nobody else can have claimed it. */
  heldUntilMs: number
}

/** Where a transaction stands after `begin`. */
export type Begun =
  /** Its vector is written; `flags` are bits of FEATURE_FLAGS. */
  | { readonly kind: 'folded'; readonly flags: number; readonly claim: Claim; readonly words: Labels }
  /** The shared state does not answer in time: `foldAlone`, unless this server has decided it before. */
  | { readonly kind: 'alone' }
  /** Another decided it, or took it in: this is the answer. */
  | { readonly kind: 'answered'; readonly body: string; readonly isObserved: boolean }
  | { readonly kind: 'reused' }
  /** Another has claimed it and has not decided in time. */
  | { readonly kind: 'claimed' }

/** The answer to a transaction that was decided or observed. */
export interface Standing {
  readonly body: string
  readonly isObserved: boolean
}

/** Words of labels that have waited. */
type Labels = readonly Label[]

export type Committed =
  | { readonly kind: 'kept' }
  /** There was no answer; nobody else can have decided it by now. It is to be written back. */
  | { readonly kind: 'unconfirmed' }
  /** There was none, and another may have decided it. It is to be written back. */
  | { readonly kind: 'unknown' }
  /** Another decided it: its answer, or null where that is not known in time. */
  | { readonly kind: 'lost'; readonly body: string | null }

export interface StageDeps {
  readonly policy: Pick<Policy, 'budgets' | 'idempotency' | 'state'>
  readonly limits: Pick<Limits, 'eventsPerEntityMax'>
  readonly clock: Clock
  readonly connection: RedisConnection
  readonly windows: SharedWindows
  readonly keys: Keys
  /** Under the key of the fleet. */
  readonly identity: Identity
  /** 8 bytes of this start of this server. */
  readonly owner: Buffer
  /** After which every key is gone at the latest, ms; absent: as long as it is needed. */
  readonly ttlMsMax?: number
  readonly onReply: (op: 'fold' | 'commit', micros: number) => void
  readonly onFailure: (reason: 'timeout' | 'unavailable' | 'open') => void
  readonly onFault: (error: AssayError) => void
}

export interface Stage {
  readonly onUnavailable: StatePolicy['on_unavailable']
  begin(tx: Transaction, becomes: Claim['becomes'], to: VectorPlace, done: (begun: Begun) => void): void
  /** What stands of it, where its place in a stream says that it was decided before; null where that is not known. */
  look(tx: Transaction, done: (standing: Standing | null) => void): void
  /** Writes the vector of local windows and folds it into them, unless it `isFolded` there; returns flags. */
  foldAlone(tx: Transaction, to: VectorPlace, isFolded: boolean): number
  /** The vector alone; nothing is left behind. */
  peek(tx: Transaction, to: VectorPlace, done: (flags: number, isAlone: boolean) => void): void
  commit(claim: Claim, body: string, done: (committed: Committed) => void): void
  /** Claims, folds and commits what was decided without the shared state. Rejects where that does not answer. */
  writeBack(tx: Transaction, becomes: Claim['becomes'], body: string, clockMs: number): Promise<Committed | 'claimed'>
  isOpen(): boolean
  /** Once a millisecond while anything waits. */
  tick(): void
}

/** A call that waits, for a reply or for its next try. */
interface Waiting {
  untilMs: number
  isLate: boolean
  againAtMs: number
  readonly again: () => void
  readonly giveUp: () => void
}

/** Milliseconds between two looks at a transaction that another has claimed. */
const AGAIN_MS = 2
/** Milliseconds of a lease beyond the deadline and the wait for the log. */
const LEASE_SLACK_MS = 50

export function createStage(deps: StageDeps): Stage {
  const { policy, limits, clock, connection, windows, keys } = deps
  const { wait_ms: waitMs, on_unavailable: onUnavailable } = policy.state ?? STATE_POLICY_DEFAULTS
  const othersMs = policy.budgets.deadline_ms + policy.budgets.log_wait_ms
  const leaseMs = othersMs + LEASE_SLACK_MS
  const windowMs = Math.min(policy.idempotency.window_ms, deps.ttlMsMax ?? Infinity)
  const breaker = createStateBreaker(clock)
  const waiting = new Set<Waiting>()
  let tokens = 0

  function nextToken(): Buffer {
    const token = Buffer.alloc(16)
    deps.owner.copy(token)
    token.writeDoubleLE(++tokens, 8)
    return token
  }

  function admits(): boolean {
    const isUp = connection.isUp()
    if (isUp && breaker.admits()) return true
    deps.onFailure(isUp ? 'open' : 'unavailable')
    return false
  }

  /**
   * Calls until `hear` says that it has heard enough; each reply may ask for another try. `fail` is called in place of
   * it where no reply came in time, or none that helps.
   */
  function ask<Replies>(
    op: 'fold' | 'commit',
    call: () => Promise<Replies>,
    hear: (replies: Replies) => 'done' | 'again' | 'soon',
    fail: (wasHeard: boolean) => void,
  ): void {
    const startMs = clock.monoMs()
    let sinceMs = startMs
    const one: Waiting = {
      ...{ untilMs: startMs + waitMs, isLate: false, againAtMs: Infinity },
      again,
      giveUp() {
        const wasHeard = one.untilMs > startMs + waitMs
        if (!wasHeard) {
          breaker.failed()
          deps.onFailure('timeout')
        }
        fail(wasHeard)
      },
    }
    function again(): void {
      sinceMs = clock.monoMs()
      one.againAtMs = Infinity
      call().then(onReply, onError)
    }
    function onReply(replies: Replies): void {
      breaker.succeeded()
      deps.onReply(op, (clock.monoMs() - sinceMs) * 1000)
      if (!waiting.has(one)) return
      const next = hear(replies)
      if (next === 'done') waiting.delete(one)
      else if (next === 'again') again()
      else {
        one.untilMs = startMs + othersMs
        one.againAtMs = clock.monoMs() + AGAIN_MS
      }
    }
    function onError(error: unknown): void {
      if (!(error instanceof AssayError)) throw error
      breaker.failed()
      deps.onFailure('unavailable')
      deps.onFault(error)
      if (waiting.delete(one)) fail(false)
    }
    waiting.add(one)
    again()
  }

  /**
   * Gives up once the loop has turned: where this process stood still, for a collection or for want of a core, the
   * reply is there and only was not read.
   */
  function late(one: Waiting): void {
    if (one.isLate) return
    one.isLate = true
    const giveUp = (): void => {
      one.isLate = false
      if (one.untilMs <= clock.monoMs() && waiting.delete(one)) one.giveUp()
    }
    setImmediate(() => setImmediate(giveUp))
  }

  function claimOf(tx: Transaction, becomes: Claim['becomes']): Claim {
    const { hashes } = deps.identity
    deps.identity.of(tx)
    const content = Buffer.alloc(8)
    content.writeUInt32LE(hashes[2])
    content.writeUInt32LE(hashes[3], 4)
    const id = windows.idHash(tx.transactionId)
    const both = [keys.transaction(id), keys.words(id)] as const
    return { keys: both, content, token: nextToken(), refs: windows.refs(tx), becomes, heldUntilMs: 0 }
  }

  function claim(own: Claim): Promise<Reply> {
    const { keys: both, content, token, refs, becomes } = own
    own.heldUntilMs = clock.monoMs() + leaseMs
    return connection.run(CLAIM, both, [content, token, leaseMs, windowMs, becomes, refs])
  }

  function commit({ keys: [key], content, token, refs, becomes }: Claim, body: string): Promise<Reply> {
    return connection.run(COMMIT, [key], [content, token, windowMs, becomes, refs, body])
  }

  function fold(asked: EntityAsked, appends: boolean): Promise<Reply> {
    const { entry, known, mark, heldMs, cameAfterMs } = asked
    const ttlMs = Math.min(heldMs + windowMs, deps.ttlMsMax ?? Infinity)
    const bounds = [heldMs, ttlMs, limits.eventsPerEntityMax]
    return connection.run(FOLD, [keys.entity(asked)], [entry, known, mark, ...bounds, appends ? '1' : '0', cameAfterMs])
  }

  return {
    onUnavailable,
    begin(tx, becomes, to, done) {
      const alone = (): void => done({ kind: 'alone' })
      if (!admits()) return alone()
      const own = claimOf(tx, becomes)
      let asked: EntityAsked[] = []
      const call = (): Promise<Reply[]> => {
        asked = windows.ask(tx, to)
        return Promise.all([claim(own), ...asked.map((entity) => fold(entity, true))])
      }
      const hear = ([first, ...rest]: Reply[]): 'done' | 'again' | 'soon' => {
        const [kind, value] = listOf(first)
        switch (String(kind)) {
          case 'N': {
            const words = wordsFromText(String(value))
            windows.foretell(words)
            const flags = windows.take(tx, asked, rest.map(toldOf), to)
            if (flags < 0) return 'again'
            done({ kind: 'folded', flags, claim: own, words })
            return 'done'
          }
          case 'B':
            return 'soon'
          case 'R':
            done({ kind: 'reused' })
            return 'done'
          default:
            done({ kind: 'answered', body: String(value), isObserved: String(kind) === 'O' })
            return 'done'
        }
      }
      ask('fold', call, hear, (wasHeard) => (wasHeard ? done({ kind: 'claimed' }) : alone()))
    },
    look(tx, done) {
      if (!admits()) return done(null)
      const call = (): Promise<Reply> => connection.run(LOOK, [keys.transaction(windows.idHash(tx.transactionId))], [])
      const hear = (reply: Reply): 'done' => {
        const [kind, body] = listOf(reply)
        done(kind === undefined ? null : { body: String(body), isObserved: String(kind) === 'O' })
        return 'done'
      }
      ask('fold', call, hear, () => done(null))
    },
    foldAlone: (tx, to, isFolded) => windows.takeAlone(tx, to, isFolded),
    peek(tx, to, done) {
      const alone = (): void => done(windows.takeAlone(tx, to, false), true)
      if (!admits()) return alone()
      let asked: EntityAsked[] = []
      const call = (): Promise<Reply[]> => {
        asked = windows.ask(tx, to)
        return Promise.all(asked.map((entity) => fold(entity, false)))
      }
      const hear = (replies: Reply[]): 'done' | 'again' => {
        const flags = windows.take(tx, asked, replies.map(toldOf), to)
        if (flags < 0) return 'again'
        done(flags, false)
        return 'done'
      }
      ask('fold', call, hear, alone)
    },
    commit(own, body, done) {
      const alone = (): void => done({ kind: clock.monoMs() < own.heldUntilMs ? 'unconfirmed' : 'unknown' })
      if (!admits()) return alone()
      const call = (): Promise<Reply> => commit(own, body)
      const hear = (reply: Reply): 'done' | 'soon' => {
        const [kind, value] = listOf(reply)
        if (String(kind) === 'B') return 'soon'
        done(String(kind) === 'K' ? { kind: 'kept' } : { kind: 'lost', body: String(value) })
        return 'done'
      }
      ask('commit', call, hear, (wasHeard) => (wasHeard ? done({ kind: 'lost', body: null }) : alone()))
    },
    async writeBack(tx, becomes, body, clockMs) {
      const own = claimOf(tx, becomes)
      const [kind, other] = listOf(await claim(own))
      if (String(kind) === 'B') return 'claimed'
      if (String(kind) !== 'N') return { kind: 'lost', body: String(kind) === 'R' ? null : String(other) }
      await Promise.all(windows.ask(tx, { clockMs, peeks: false }).map((entity) => fold(entity, true)))
      const [outcome, winner] = listOf(await commit(own, body))
      if (String(outcome) === 'B') return 'claimed'
      return String(outcome) === 'K' ? { kind: 'kept' } : { kind: 'lost', body: String(winner) }
    },
    isOpen: () => breaker.isOpen(),
    tick() {
      const nowMs = clock.monoMs()
      for (const one of waiting) {
        if (one.untilMs <= nowMs) late(one)
        else if (one.againAtMs <= nowMs) one.again()
      }
    },
  }
}

function toldOf(reply: Reply): EntityTold {
  const [isFolded, isAppended, from, isWhole, floor, entries] = listOf(reply)
  return {
    ...{ isFolded: isFolded === 1, isAppended: isAppended === 1, from: Number(from), isWhole: isWhole === 1 },
    ...{ floorMs: bytesOf(floor).readDoubleLE(0), entries: bytesOf(entries) },
  }
}
