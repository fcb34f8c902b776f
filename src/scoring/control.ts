// Who answers and under which policy, changed while the server runs: one change after the other, each a control record
// with the next revision, that of the routes or that of the policy.
// Invariants: a change is served only once its record is durable, or, where it acts at once, was appended before any
// decision made under it; revisions served never fall; what a transaction began with it keeps (serving.ts).
// It refuses what applyChange refuses, a revision that is no longer the newest, and whatever the log has no room for.
// A model is loaded before its record is written, and taken out once the record that says so is durable. Where the
// routes are a fleet's, it is asked first, and what it has agreed upon is adopted here.
import { digestText } from '../contract/canonical-json.js'
import type { ImportedHistory, Routing } from '../contract/control-state.js'
import { policyDifferences } from '../contract/policy.js'
import { isRejection } from '../contract/problem.js'
import type { RecordCodecs } from '../contract/record.js'
import type { OpenDecisionLog } from '../decision-log/open.js'
import type { EncodeBody } from '../decision-log/port.js'
import { AssayError, errorOf, reject, type Rejection } from '../errors.js'
import type { Limits } from '../limits.js'
import type { Clock } from '../runtime/clock.js'
import type { Audit } from './audit.js'
import { applyChange, AT_ONCE, type Change, type ChangeFacts, isShared, type SharedChange } from './change.js'
import { describeModels } from './control-state.js'
import type { ModelPool } from './model-pool.js'
import { inRoles, type LoadedModel, routable, undecided } from './models.js'
import type { Order } from './order.js'
import { applyPolicyChange, isOfPolicy, type PolicyAsked, preparePolicyChange } from './policy-change.js'
import { createServing, type Serving, type ServingDeps, type Standing } from './serving.js'

/** Who changes something, why, and the revision that it is meant for (null: whichever it is). */
export interface By {
  readonly actor: string
  readonly reason: string
  readonly revision: number | null
  /** Where the request came from; null for the server's own ramp. */
  readonly remoteAddress: string | null
}

/** How a change stands when its operator is answered. */
export interface Outcome {
  readonly revision: number
  /** It serves. */
  readonly effective: boolean
  /** Its record is durable; else it will be, and what waits for that acts then. */
  readonly durable: boolean
  /** Of a fleet alone: every server of it obeys, or will. */
  readonly shared?: boolean
}

/** Several servers with the same routes: they agree on a change before it is adopted. */
export interface Fleet {
  /** The newest that is known of. */
  revision(): number
  /** Who takes the steps of the ramp; `nowhere`: nobody, until an operator resumes it. */
  ramp(): 'here' | 'elsewhere' | 'nowhere'
  change(asked: SharedChange, by: By, done: Done): void
}

export type Done = (result: Outcome | Rejection) => void

/** What is asked of the routing, or of the policy. */
export type Asked = Exclude<Change, { kind: 'load' }> | PolicyAsked

export interface Control {
  /** What transactions are decided under now. */
  serving(): Serving
  /** The newest revision asked for, durable or not: of the routes, and of the policy. */
  revision(): number
  policyRevision(): number
  /** Null: taken, or asked of the fleet, and `done` hears of it once; else why it was not. */
  change(asked: Asked, by: By, done: Done): Rejection | null
  /** Takes a routing over, as it is, by the record of the change that has made it; as `change`. */
  adopt(routing: Routing, asked: Change, by: By, done: (outcome: Outcome) => void): Rejection | null
  /** What stands once everything is durable. */
  standing(): Standing
  /** What changes are judged by. */
  facts(actor: string): ChangeFacts
  /** What a change of the policy would make of it; nothing is changed. */
  preview(asked: PolicyAsked, by: By): Standing | Rejection
  /** Pieces of work to be done before `change` or `preview`, which would do them all at once. */
  prepare(asked: PolicyAsked): Iterator<void>
  /** The same for a model, name@version, that is to be loaded first: until then it may still be refused. */
  load(model: string, by: By, done: Done): Rejection | null
  /** The durable sequence moved. */
  progress(): void
  /** Ten times a second, by a timer of its own: the ramp, and answers that wait too long. */
  tick(): void
  /** The ramp as status shows it, null where there is none. */
  ramp(): { readonly state: string } | null
  close(): void
}

/** A change that is served. */
export interface Changed {
  readonly change: Change | PolicyAsked
  readonly actor: string
  readonly reason: string
  readonly standing: Standing
}

export interface ControlDeps extends ServingDeps {
  readonly loaded: ModelPool
  readonly limits: Pick<Limits, 'modelsMax' | 'approvalsMax'>
  readonly log: Pick<OpenDecisionLog, 'epoch' | 'reserve' | 'append' | 'flush' | 'durableSequence' | 'controlChanged'>
  readonly codecs: Pick<RecordCodecs, 'encodeControl'>
  readonly order: Order
  readonly clock: Clock
  readonly audit: Audit
  readonly makeKey: () => Buffer
  /** Null: the routes are this server's own. */
  readonly fleet: Fleet | null
  /** History was imported: in its place in the order of state, by the record of this sequence. */
  readonly onHistory: (history: ImportedHistory, sequence: number) => void
  /** What later segments begin with. */
  readonly onStanding: (standing: Standing) => void
  readonly onChanged: (changed: Changed) => void
}

/** Milliseconds after which an operator hears that the record is not durable yet. */
const ANSWER_MS_MAX = 2_000
const TICK_MS = 100
/** Changes whose records are not durable yet; more of them are refused. */
const WAITING_MAX = 8
const RAMP = 'ramp'

/** What stands after so many changes of this server. */
interface Numbered extends Standing {
  readonly number: number
}

interface Waiting {
  readonly standing: Numbered
  /** That the operator is told: of the routes or of the policy. */
  readonly revision: number
  readonly sequence: number
  readonly sinceMs: number
  readonly serve: () => void
  done: ((outcome: Outcome) => void) | null
}

/** Starts from what a start serves; the models held open by that are held from here on. */
export function createControl(deps: ControlDeps, start: Serving): Control {
  const { log, codecs, order, clock, limits, loaded, makeKey, fleet } = deps
  let serving = start
  let served = 0
  /** With what is not durable yet. */
  let newest: Numbered = { ...standingOf(start), number: 0 }
  let stepAtMs = clock.monoMs()
  let waiting: Waiting[] = []
  /** Models whose unloading is not durable yet. */
  const leaving = new Set<string>()
  for (const model of loaded.models.values()) holdLane(model, [], start.routing.forced.open)

  function serve(standing: Numbered): void {
    if (standing.number <= served) return
    served = standing.number
    const before = serving.routing
    const { routing } = standing
    serving = createServing(standingOf(standing), deps, serving)
    if (routing !== before) stepAtMs = clock.monoMs()
    for (const model of loaded.models.values()) holdLane(model, before.forced.open, routing.forced.open)
  }

  function outcome({ revision, standing }: Waiting, durable: boolean): Outcome {
    return { revision, durable, effective: served >= standing.number }
  }

  /** Takes the place of the newest routing, with its record behind everything decided so far. */
  function append(asked: Change | PolicyAsked, by: By, standing: Numbered, state: string): number {
    const { kind } = asked
    const { actor, reason, remoteAddress } = by
    const place = { ordinal: order.nextOrdinal(), epoch: log.epoch, foldedAtMs: order.nowMs() }
    const record = { ...place, kind, actor, reason, state, remoteAddress }
    const encode: EncodeBody = (buffer, at) => codecs.encodeControl(record, buffer, at)
    const sequence = log.append('control', encode, roomFor(state))
    if (asked.kind === 'history') deps.onHistory(asked.history, sequence)
    newest = standing
    deps.onStanding(standingOf(standing))
    log.controlChanged()
    log.flush()
    deps.audit.add(record)
    return sequence
  }

  function revision(): number {
    return fleet?.revision() ?? newest.routing.routes.revision
  }

  function facts(actor: string): ChangeFacts {
    const there = new Map([...routable(loaded)].filter(([model]) => !leaving.has(model)))
    const { policy } = newest
    return { policy, loaded: there, undecided: undecided(loaded, policy), limits, makeKey, actor }
  }

  function standingAfter(asked: Change | PolicyAsked, by: By): Numbered | Rejection {
    const [newestOf, what] = isOfPolicy(asked) ? [newest.live.revision, 'policy'] : [revision(), 'routes']
    if (by.revision !== null && by.revision !== newestOf) {
      return reject('ASSAY_REVISION_STALE', `the newest revision is ${newestOf}: read the ${what}, then decide again`)
    }
    const number = newest.number + 1
    if (isOfPolicy(asked)) {
      const standing = applyPolicyChange(newest, asked, loaded)
      return isRejection(standing) ? standing : { ...standing, number }
    }
    const after = applyChange(newest.routing, asked, facts(by.actor))
    if (isRejection(after)) return after
    // What changes here alone leaves the fleet's revision as it is.
    const routing = fleet === null ? after : { ...newest.routing, loaded: after.loaded }
    return { ...newest, routing, number }
  }

  /** The text of a control record: the members that changed. */
  function stateOf(asked: Change | PolicyAsked, standing: Standing): string {
    const models = describeModels(inRoles(loaded, { ...standing, ...standing.routing }))
    if (!isOfPolicy(asked)) return JSON.stringify({ ...standing.routing, models, change: asked })
    const { policy, policyDigest, live } = standing
    const change = { kind: asked.kind, paths: policyDifferences(newest.policy, policy) }
    return JSON.stringify({
      policy,
      policy_fingerprint: digestText(policyDigest),
      policy_standing: live,
      models,
      change,
    })
  }

  function change(asked: Change | PolicyAsked, by: By, done: Done): Rejection | null {
    if (fleet !== null && isShared(asked)) {
      fleet.change(asked, by, done)
      return null
    }
    const standing = standingAfter(asked, by)
    return isRejection(standing) ? standing : take(asked, by, standing, done)
  }

  function take(
    asked: Change | PolicyAsked,
    by: By,
    standing: Numbered,
    done: (outcome: Outcome) => void,
  ): Rejection | null {
    const state = stateOf(asked, standing)
    if (waiting.length >= WAITING_MAX || !log.reserve(roomFor(state))) {
      return reject('ASSAY_LOG_UNAVAILABLE', 'nothing was changed; retry')
    }
    const sequence = append(asked, by, standing, state)
    if (asked.kind === 'unload') leaving.add(asked.model)
    const announce = (): void => {
      serve(standing)
      if (asked.kind === 'unload') letGo(asked.model)
      if (asked.kind === 'load') holdOpen(asked.model)
      deps.onChanged({ change: asked, actor: by.actor, reason: by.reason, standing: standingOf(standing) })
    }
    const isAtOnce = asked.kind === 'policy_rollback' || (!isOfPolicy(asked) && AT_ONCE.has(asked.kind))
    if (isAtOnce) announce()
    const revision = isOfPolicy(asked) ? standing.live.revision : standing.routing.routes.revision
    waiting.push({
      standing,
      revision,
      sequence,
      sinceMs: clock.monoMs(),
      serve: isAtOnce ? () => undefined : announce,
      done,
    })
    return null
  }

  /** A model may be forced before it is loaded. */
  function holdOpen(model: string): void {
    const added = loaded.models.get(model)
    if (added !== undefined) holdLane(added, [], serving.routing.forced.open)
  }

  function letGo(model: string): void {
    leaving.delete(model)
    void loaded.drop(model)
  }

  function load(model: string, by: By, done: Done): Rejection | null {
    const asked = { kind: 'load', model } as const
    const standing = standingAfter(asked, by)
    if (isRejection(standing)) return standing
    loaded.load(model).then(
      () => {
        const rejection = change(asked, by, done)
        if (rejection === null) return
        letGo(model)
        done(rejection)
      },
      (error: unknown) => done(rejectionOf(error)),
    )
    return null
  }

  function progress(): void {
    if (waiting.length === 0) return
    const durable = log.durableSequence()
    const ripe = waiting.filter(({ sequence }) => sequence <= durable)
    waiting = waiting.filter(({ sequence }) => sequence > durable)
    for (const one of ripe) {
      one.serve()
      one.done?.(outcome(one, true))
    }
  }

  function runRamp(): void {
    const { ramp } = newest.routing
    const { watch, routing, policy } = serving
    const guards = policy.ramp_guards
    if (ramp === null || watch === null || guards === undefined || routing !== newest.routing) return
    if (fleet !== null && fleet.ramp() !== 'here') return
    const own = (kind: 'ramp_step' | 'ramp_end' | 'ramp_trip', reason: string): void => {
      change({ kind }, { actor: RAMP, reason, revision: null, remoteAddress: null }, () => undefined)
    }
    const tripped = watch.tripped(guards)
    if (tripped !== null) return own('ramp_trip', tripped)
    if (clock.monoMs() - stepAtMs < ramp.every_ms || !watch.hasSeenEnough(guards)) return
    const count = ramp.steps.length
    if (ramp.step + 1 < count) own('ramp_step', `step ${ramp.step + 2} of ${count}: no guard tripped`)
    else own('ramp_end', `all ${count} steps taken: no guard tripped`)
  }

  function tick(): void {
    progress()
    const latestMs = clock.monoMs() - ANSWER_MS_MAX
    for (const one of waiting) {
      if (one.sinceMs > latestMs || one.done === null) continue
      one.done(outcome(one, false))
      one.done = null
    }
    runRamp()
  }

  const timer = setInterval(tick, TICK_MS)
  timer.unref()
  return {
    serving: () => serving,
    revision,
    policyRevision: () => newest.live.revision,
    change,
    adopt: (routing, asked, by, done) => take(asked, by, { ...newest, routing, number: newest.number + 1 }, done),
    standing: () => standingOf(newest),
    facts,
    preview: standingAfter,
    prepare: (asked) => preparePolicyChange(newest, asked),
    load,
    progress,
    tick,
    ramp() {
      const { ramp } = serving.routing
      if (ramp === null) return null
      const leftMs = Math.max(0, Math.round(ramp.every_ms - (clock.monoMs() - stepAtMs)))
      const running = { state: 'running', next_in_ms: leftMs, ...(serving.watch !== null && serving.watch.shown()) }
      const { paused, ...shown } = ramp
      const taker = fleet?.ramp() ?? 'here'
      if (paused || taker === 'nowhere') return { ...shown, state: 'paused' }
      return { ...shown, ...(taker === 'here' ? running : { state: 'elsewhere' }) }
    },
    close: () => clearInterval(timer),
  }
}

function standingOf({ routing, policy, policyDigest, live }: Standing): Standing {
  return { routing, policy, policyDigest, live }
}

/** Bytes of a control record beside its state. */
const CONTROL_FACTS_BYTES = 4 << 10

function roomFor(state: string): number {
  return Buffer.byteLength(state) + CONTROL_FACTS_BYTES
}

function rejectionOf(error: unknown): Rejection {
  if (error instanceof AssayError) return reject(error.code, error.message, error.errors)
  return reject('ASSAY_INTERNAL', errorOf(error).message)
}

/** The breaker of a lane follows the hand; once released it closes by its own probe. */
function holdLane({ lane, reference }: LoadedModel, before: readonly string[], now: readonly string[]): void {
  if (now.includes(reference) && !before.includes(reference)) lane?.forceOpen()
  if (!now.includes(reference) && before.includes(reference)) lane?.release()
}
