// The routes of a fleet: one change, one revision, adopted by every server in the order of the stream, which is that of
// routes-stream.ts.
// Invariants: whatever a server adopts stands in the stream first, but for what is forced on it alone; its revision
// never falls; what it cannot serve or cannot read it passes by, keeps its last routes and says so.
// A change is asked of the stream behind the newest entry that was read, and so refused where somebody was quicker.
import { randomUUID } from 'node:crypto'
import { canonicalJson } from '../../contract/canonical-json.js'
import type { Forced, Routing } from '../../contract/control-state.js'
import { isRejection } from '../../contract/problem.js'
import type { RoutesEntry, SharedRouting } from '../../contract/routes-entry.js'
import { AssayError, errorOf, reject, type Rejection } from '../../errors.js'
import type { Clock } from '../../runtime/clock.js'
import type { Logger } from '../../telemetry/logger.js'
import { applyChange, isShared, type SharedChange } from '../change.js'
import type { By, Control, Done, Fleet, Outcome } from '../control.js'
import {
  both,
  forcedLess,
  forcedMore,
  isForcedHere,
  obstacleTo,
  onlyForced,
  ownOf,
  runnerAfter,
  sharedOf,
} from './routes-rules.js'
import type { Found, RoutesStream } from './routes-stream.js'

export interface FleetRoutes extends Fleet {
  /** The revision behind which news is waited for; null before the stream was seen. */
  position(): number | null
  /**
   * What an empty log begins with: the newest routes, or its own, which are the first then. Throws
   * ASSAY_STATE_UNAVAILABLE and ASSAY_STATE_REFUSED.
   */
  begin(own: Routing): Promise<Routing>
  /** From here on it adopts; `baseline` ends every chain of this server. */
  attach(control: Control, baseline: string): void
  /** What was read from the stream, oldest first. */
  take(found: readonly Found[]): void
  /** Compares what is known with the newest entry, and sets right what the stream or this server lacks. */
  look(): Promise<void>
  /** What could not be adopted before. */
  retry(): void
  /** It adopts nothing more. */
  detach(): void
  /** Servers that are there, as the last beat has said. */
  present(ids: ReadonlySet<string>): void
  /** The newest revision that is known of, and why it is not served. */
  shown(): { readonly newest: number | null; readonly heldBack: HeldBack | null }
}

export interface HeldBack {
  readonly revision: number
  readonly why: string
}

export interface FleetDeps {
  readonly stream: Pick<RoutesStream, 'write' | 'newest' | 'after'>
  /** Id of this server. */
  readonly server: string
  readonly clock: Clock
  readonly logger: Pick<Logger, 'event'>
  readonly heldMax: number
}

/** Times that a change which names no revision is asked for again, when others were quicker. */
const TRIES_MAX = 8
const JOIN = { kind: 'join' } as const
const NEWER = 'the newest routes in Redis are of a newer release, or of another application'

interface Asking {
  readonly asked: SharedChange
  readonly by: By
  readonly done: Done
}

export function createFleetRoutes(deps: FleetDeps): FleetRoutes {
  const { stream, server, logger } = deps
  let control: Control | null = null
  let baseline = ''
  /** The newest entry, adopted or not; null before the stream was seen. */
  let newest: RoutesEntry | null = null
  /** Revision of a newer one that cannot be read. */
  let unread: number | null = null
  let waiting: RoutesEntry[] = []
  let held: { readonly entry: RoutesEntry; readonly why: string } | null = null
  let servers: ReadonlySet<string> = new Set([server])
  /** Changes that were asked of this server, by the id of their entry. */
  const asking = new Map<string, Asking>()
  let isStepping = false
  let isDetached = false

  function own(): Control {
    if (control === null) throw new Error('the fleet has no control yet')
    return control
  }

  function known(): number {
    return Math.max(unread ?? -1, newest?.routing.routes.revision ?? -1)
  }

  function take(found: readonly Found[]): void {
    for (const { revision, entry } of found) {
      if (revision <= known()) continue
      if (entry === null || !isShared(entry.change)) {
        unread = revision
        const fault = new AssayError('ASSAY_STATE_REFUSED', NEWER)
        logger.event('RoutesRefused', { revision, fault })
        continue
      }
      unread = null
      newest = entry
      waiting.push(entry)
    }
    adoptWaiting()
  }

  /** In their order; where the log takes nothing they wait. */
  function adoptWaiting(): void {
    waiting = isDetached ? [] : waiting.slice(-deps.heldMax)
    while (waiting.length > 0 && adopt(waiting[0])) waiting.shift()
  }

  /** False where it is to be tried again. */
  function adopt(entry: RoutesEntry): boolean {
    const { routing, change, actor, reason } = entry
    const { revision } = routing.routes
    const one = asking.get(entry.id)
    const before = own().standing().routing
    if (!isShared(change) || revision < before.routes.revision) return true
    const here = hereAfter(before, one)
    const why = obstacleTo(routing, baseline, own().facts(actor))
    const after = why === null ? ownOf(routing, before, here) : onlyForced(before, routing.forced, here)
    const finish = ({ effective, durable }: Pick<Outcome, 'effective' | 'durable'>): void => {
      // What is forced acts here, where the rest is held back.
      const acts = effective && (why === null || change.kind === 'force' || change.kind === 'release')
      one?.done({ revision, durable, effective: acts, shared: true })
      adoptWaiting()
    }
    const by = one?.by ?? { actor, reason, revision: null, remoteAddress: null }
    const isNews = !isSame(before, after)
    if (isNews && own().adopt(after, change, by, finish) !== null) {
      one?.done({ revision, durable: false, effective: false, shared: true })
      if (one !== undefined) asking.set(entry.id, { ...one, done: () => undefined })
      return false
    }
    asking.delete(entry.id)
    hold(why === null ? null : { entry, why })
    if (!isNews) one?.done({ revision, durable: why === null, effective: why === null, shared: true })
    return true
  }

  function hold(now: typeof held): void {
    const isNew = now !== null && (held?.entry.id !== now.entry.id || held.why !== now.why)
    held = now
    if (isNew) logger.event('RoutesHeldBack', { revision: now.entry.routing.routes.revision, detail: now.why })
  }

  function entryOf(routing: SharedRouting, change: SharedChange, over: Partial<RoutesEntry> = {}): RoutesEntry {
    const id = randomUUID()
    const joined = { actor: 'server', reason: 'joined the fleet', runner: null }
    return { format: 1, id, routing, change, ...joined, server, at_ms: deps.clock.nowMs(), ...over }
  }

  async function begin(mine: Routing): Promise<Routing> {
    if ((await stream.write(entryOf(sharedOf(mine), JOIN), -1)) === null) return mine
    const entry = (await stream.newest())?.entry ?? null
    if (entry === null || !isShared(entry.change)) throw new AssayError('ASSAY_STATE_REFUSED', NEWER)
    return ownOf(entry.routing, mine, null)
  }

  async function look(): Promise<void> {
    const found = await stream.newest()
    const first = own().standing().routing
    const mine = newest ?? entryOf(sharedOf(first), JOIN)
    const { revision } = mine.routing.routes
    if (found === null || (newest !== null && found.revision < revision)) {
      // A fleet that begins, or a Redis that has lost its newest entries.
      if ((await stream.write(mine, found?.revision ?? -1)) === null) newest ??= mine
      return
    }
    if (found.revision > revision) return take(newest === null ? [found] : await stream.after(known()))
    if (found.entry === null || !isShared(found.entry.change)) return take([found])
    if (newest === null && found.revision === revision && isSameRoutes(found.entry.routing, first)) return take([found])
    if (newest !== null && newest.id === found.entry.id) {
      unread = null
      return
    }
    // Two meanings of one revision, or a server whose own log is further on: the stream's routes get a new one.
    const { routes } = found.entry.routing
    const routing = { ...found.entry.routing, routes: { ...routes, revision: revision + 1 } }
    const next = entryOf(routing, JOIN, { runner: found.entry.runner })
    if ((await stream.write(next, found.revision)) === null) take([{ revision: revision + 1, entry: next }])
  }

  function hereAlone(routing: Routing, { asked, by, done }: Asking, isToldToAll: boolean): void {
    const rejection = own().adopt(routing, asked, by, (outcome) => done({ ...outcome, shared: isToldToAll }))
    if (rejection !== null) done(rejection)
  }

  /** The panic button acts, whatever has become of Redis. */
  function forceHere(one: Asking, model: string | null): void {
    const before = own().standing().routing
    const after = applyChange(before, one.asked, own().facts(one.by.actor))
    if (isRejection(after)) return one.done(after)
    const { forced, ramp } = after
    const here = forcedMore(before.forced_here ?? null, model)
    hereAlone({ ...before, forced, ramp, forced_here: here }, one, false)
  }

  function releaseHere(one: Asking, model: string | null, isToldToAll: boolean): void {
    const before = own().standing().routing
    const here = forcedLess(before.forced_here ?? null, model)
    const forced = both((newest?.routing ?? sharedOf(before)).forced, here)
    hereAlone({ ...before, forced, forced_here: here }, one, isToldToAll)
  }

  /** Asks the stream for what the change makes of the newest entry; `again`: others were quicker. */
  async function ask(one: Asking): Promise<Rejection | 'taken' | 'again'> {
    const { asked, by } = one
    if (unread !== null) throw new AssayError('ASSAY_STATE_REFUSED', NEWER)
    if (newest === null) throw new AssayError('ASSAY_STATE_UNAVAILABLE', 'this server has not seen its fleet yet')
    const { routing, runner } = newest
    const { revision } = routing.routes
    if (by.revision !== null && by.revision !== revision) {
      return reject('ASSAY_REVISION_STALE', `the newest revision is ${revision}: read the routes, then decide again`)
    }
    const before = ownOf(routing, own().standing().routing, null)
    const ramp = before.ramp !== null && rampAt() === 'nowhere' ? { ...before.ramp, paused: true } : before.ramp
    const after = applyChange({ ...before, ramp }, asked, own().facts(by.actor))
    if (isRejection(after)) return after
    const { actor, reason } = by
    const next = runnerAfter(asked, after, { runner, asked: server })
    const entry = entryOf(sharedOf(after), asked, { actor, reason, runner: next })
    asking.set(entry.id, one)
    try {
      if ((await stream.write(entry, revision)) === null) {
        take([{ revision: entry.routing.routes.revision, entry }])
        return 'taken'
      }
      asking.delete(entry.id)
    } catch (error) {
      asking.delete(entry.id)
      throw error
    }
    await look()
    return 'again'
  }

  async function askAgain(one: Asking): Promise<void> {
    for (let tries = 0; tries < TRIES_MAX; tries++) {
      const said = await ask(one)
      if (said === 'taken') return
      if (said === 'again') continue
      const { asked, done } = one
      const here = own().standing().routing.forced_here ?? null
      const isConflict = said.code === 'ASSAY_CHANGE_CONFLICT'
      if (asked.kind !== 'release' || !isConflict || !isForcedHere(here, asked.model)) return done(said)
      // Only here, as far as is known.
      const before = newest
      await look()
      if (newest === before) return releaseHere(one, asked.model, true)
    }
    one.done(reject('ASSAY_REVISION_STALE', 'others change the routes at this moment: read them, then decide again'))
  }

  function withoutFleet(one: Asking, thrown: unknown): void {
    const { asked, done } = one
    const { forced_here: here = null } = own().standing().routing
    if (asked.kind === 'force') return forceHere(one, asked.model)
    if (asked.kind === 'release' && isForcedHere(here, asked.model)) return releaseHere(one, asked.model, false)
    const { message } = errorOf(thrown)
    const code = thrown instanceof AssayError ? thrown.code : 'ASSAY_INTERNAL'
    done(reject(code, `${message}; read the routes before you decide again`))
  }

  function rampAt(): ReturnType<Fleet['ramp']> {
    if (newest?.runner === server) return held === null ? 'here' : 'nowhere'
    return newest !== null && newest.runner !== null && servers.has(newest.runner) ? 'elsewhere' : 'nowhere'
  }

  return {
    begin,
    attach(given, reference) {
      control = given
      baseline = reference
    },
    position: () => (newest === null ? null : known()),
    revision: () => Math.max(known(), control?.standing().routing.routes.revision ?? 0),
    ramp: rampAt,
    change(asked, by, done) {
      const isStep = asked.kind.startsWith('ramp_')
      if (isStep && isStepping) return
      isStepping ||= isStep
      const one = { asked, by, done }
      void askAgain(one)
        .catch((error: unknown) => withoutFleet(one, error))
        .finally(() => {
          if (isStep) isStepping = false
        })
    },
    take,
    look,
    retry() {
      if (held !== null && waiting.length === 0 && !isDetached) adopt(held.entry)
      adoptWaiting()
    },
    detach: () => void (isDetached = true),
    present: (ids) => void (servers = ids),
    shown: () => ({ newest: newest === null ? null : known(), heldBack: heldBackOf(held, unread) }),
  }
}

/** What is forced here alone once an entry is adopted: a release that was asked of this server is for it as well. */
function hereAfter({ forced_here: here = null }: Routing, one: Asking | undefined): Forced | null {
  return one?.asked.kind === 'release' ? forcedLess(here, one.asked.model) : here
}

function heldBackOf(held: { entry: RoutesEntry; why: string } | null, unread: number | null): HeldBack | null {
  if (unread !== null) return { revision: unread, why: NEWER }
  return held === null ? null : { revision: held.entry.routing.routes.revision, why: held.why }
}

/** A restart pauses a ramp, which says nothing of the fleet's. */
function isSame(before: Routing, after: Routing): boolean {
  const textOf = ({ ramp, forced_here: here = null, ...rest }: Routing): string =>
    canonicalJson({ ...rest, here, ramp: ramp === null ? null : { ...ramp, paused: null } })
  return textOf(before) === textOf(after)
}

function isSameRoutes({ routes }: SharedRouting, own: Routing): boolean {
  return canonicalJson(routes) === canonicalJson(own.routes)
}
