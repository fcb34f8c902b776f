// What becomes of keys and of those who present them, for events, metrics and the audit: one in each process.
// Invariant: nothing of a key stands in it, and nothing in it grows, however many are turned away: counts under closed
// sets of labels, the newest refusals, some events a second. Whoever presents no known key cannot push out the refusals
// of those who do. It refuses to write to the decision log, which anybody could then fill; so a restart forgets them.
import { isoTime } from '../contract/time.js'
import type { ErrorCode } from '../errors.js'
import type { Limits } from '../limits.js'
import type { Clock } from '../runtime/clock.js'
import type { Logger } from '../telemetry/logger.js'
import type { ReadMetric } from '../telemetry/metrics.js'
import type { ReadOutcome } from './held-keys.js'

export type ListenerName = 'score' | 'operations' | 'governance'

/** Somebody who was turned away, or whose change was not taken. */
export interface Refusal {
  readonly code: ErrorCode
  /** Null where nobody known. */
  readonly actor: string | null
  /** Method and path, without what stands for a single thing. */
  readonly act: string
  readonly remoteAddress: string
}

export interface Ledger {
  refused(listener: ListenerName, refusal: Refusal): void
  /** A changed file of keys was read. */
  keysRead(listener: ListenerName, file: string, outcome: ReadOutcome): void
  /** The newest refusals, at most `limit`, and how many there were since the start. */
  shown(limit: number): { readonly refusals: readonly object[]; readonly refusals_total: number }
  readonly counters: readonly ReadMetric[]
  readonly gauges: readonly ReadMetric[]
}

export interface LedgerDeps {
  readonly logger: Logger
  readonly clock: Clock
  readonly limits: Pick<Limits, 'refusalsHeldMax' | 'refusalEventsMax'>
}

const SECOND_MS = 1_000
const UNKNOWN = 'unknown'

/** Makes an empty one. */
export function createLedger(deps: LedgerDeps): Ledger {
  const refusals = createRefusals(deps)
  const reads = { taken: new Map<ListenerName, number>(), refused: new Map<ListenerName, number>() }
  const stale = new Map<ListenerName, number>()
  const samples = (counts: ReadonlyMap<ListenerName, number>, more: Readonly<Record<string, string>> = {}) =>
    [...counts].map(([listener, value]) => ({ labels: { listener, ...more }, value }))
  return {
    refused: refusals.add,
    shown: refusals.shown,
    keysRead(listener, file, outcome) {
      const isRefused = 'refused' in outcome
      const counts = isRefused ? reads.refused : reads.taken
      counts.set(listener, (counts.get(listener) ?? 0) + 1)
      stale.set(listener, isRefused ? 1 : 0)
      if (isRefused) deps.logger.event('KeysRefused', { listener, file, detail: outcome.refused })
      else deps.logger.event('KeysReplaced', { listener, file, keys: outcome.keys })
    },
    counters: [
      refusals.counter,
      {
        name: 'assay_keys_reads_total',
        help: 'Changed files of keys that were read, by listener and result (taken, refused)',
        labels: ['listener', 'result'],
        read: () => [...samples(reads.taken, { result: 'taken' }), ...samples(reads.refused, { result: 'refused' })],
      },
    ],
    gauges: [
      {
        name: 'assay_keys_stale',
        help: '1 while a file of keys is gone or not valid, and the keys before it stand',
        labels: ['listener'],
        read: () => samples(stale),
      },
    ],
  }
}

interface Held extends Refusal {
  readonly listener: ListenerName
  readonly atMs: number
}

interface Refusals extends Pick<Ledger, 'shown'> {
  readonly add: Ledger['refused']
  readonly counter: ReadMetric
}

/** Known callers and unknown ones have room of their own, so that guesses hide nothing that known ones did. */
interface Room {
  readonly held: Held[]
  secondEndMs: number
  told: number
  untold: number
}

function createRefusals({ logger, clock, limits }: LedgerDeps): Refusals {
  const room = (): Room => ({ held: [], secondEndMs: 0, told: 0, untold: 0 })
  const rooms = { known: room(), unknown: room() }
  const counts = new Map<string, { readonly labels: { listener: ListenerName; code: ErrorCode }; value: number }>()
  let total = 0

  function tell(room: Room, { listener, code, actor, act, remoteAddress }: Held): void {
    const nowMs = clock.monoMs()
    if (nowMs >= room.secondEndMs) {
      room.secondEndMs = nowMs + SECOND_MS
      room.told = 0
    }
    if (room.told >= limits.refusalEventsMax) {
      room.untold++
      return
    }
    room.told++
    const who = { actor: actor ?? UNKNOWN, remote_address: remoteAddress }
    logger.event('AccessRefused', { listener, code, act, ...who, untold_before: room.untold })
    room.untold = 0
  }

  return {
    add(listener, { code, actor, act, remoteAddress }) {
      const refusal = { listener, code, actor, act, remoteAddress, atMs: clock.nowMs() }
      const room = actor === null ? rooms.unknown : rooms.known
      room.held.push(refusal)
      if (room.held.length > limits.refusalsHeldMax) room.held.shift()
      const count = counts.get(`${listener} ${code}`) ?? { labels: { listener, code }, value: 0 }
      count.value++
      counts.set(`${listener} ${code}`, count)
      total++
      tell(room, refusal)
    },
    shown(limit) {
      const held = [...rooms.known.held, ...rooms.unknown.held]
      const newest = held.sort((left, right) => right.atMs - left.atMs).slice(0, limit)
      const refusals = newest.map(({ atMs, actor, remoteAddress, ...rest }) => {
        return { at: isoTime(atMs), ...rest, actor: actor ?? UNKNOWN, remote_address: remoteAddress }
      })
      return { refusals, refusals_total: total }
    },
    counter: {
      name: 'assay_access_refusals_total',
      help: 'Turned away for the key or its role, and changes that were not taken, by listener and code',
      labels: ['listener', 'code'],
      read: () => [...counts.values()],
    },
  }
}
