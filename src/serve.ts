// Composition root of the scoring server: the only place where its objects are built, and the order of start and end.
// Start: operations listener → decision log locked and recovered → models → replay → warm-up → ready.
// A server that takes over makes models and state ready beside the one before it, listens beside it, holds what comes,
// and asks for the log. End: stop listening → answer what is in flight → decision log → lanes.
import { randomBytes } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import { createGuard, type Guard } from './access/guard.js'
import { holdKeys, type ReadOutcome } from './access/held-keys.js'
import type { ListenerName, Refusal } from './access/ledger.js'
import { readTls } from './access/tls-files.js'
import type { Config } from './config.js'
import { originOf } from './contract/address.js'
import { digestText } from './contract/canonical-json.js'
import { parseJson } from './contract/json.js'
import { policyFingerprint } from './contract/policy.js'
import { compileTransactionAvro } from './contract/transaction-avro.js'
import { askForLock } from './decision-log/lock.js'
import { errorOf } from './errors.js'
import { assemble, type Assembly } from './scoring/assemble.js'
import { type Base, type BaseDeps, createBase, enter } from './scoring/base.js'
import { changeEvent } from './scoring/change-event.js'
import { type Control, createControl } from './scoring/control.js'
import type { Scoring, StreamScoring } from './scoring/exchange.js'
import { forward } from './scoring/forward.js'
import { watchLog } from './scoring/log-view.js'
import {
  catchUp,
  logDirectoryOf,
  openState,
  type OpenState,
  type Prepared,
  prepareState,
  type Threads,
} from './scoring/open-state.js'
import type { HeldServer } from './scoring/history/into-log.js'
import { noteHistory } from './scoring/history/source.js'
import { createOrder, type Order } from './scoring/order.js'
import { openShared, type Shared } from './scoring/shared/open.js'
import { createStatus, isServing, type Status } from './scoring/status.js'
import { createAdmit } from './scoring/transport/http/auth.js'
import type { Listener } from './scoring/transport/http/listener.js'
import type { Relay } from './scoring/transport/http/http-exchange.js'
import { createOperationsListener } from './scoring/transport/http/operations-listener.js'
import { createScoreListener } from './scoring/transport/http/score-listener.js'
import { createTrials, type Trials } from './scoring/policy-trial.js'
import { createRelay } from './scoring/transport/http/relay.js'
import { openStream } from './scoring/transport/kafka/open.js'
import { warmUp } from './scoring/warm-up.js'

export interface Server {
  readonly scoreUrl: string
  readonly operationsUrl: string
  readonly httpBinding: string
  /** Resolves when another server has taken over; this one is then to be closed. */
  readonly left: Promise<void>
  /** Drains and ends; `stuck` where a thread hangs in a native call, so that only SIGKILL ends the process. */
  close(): Promise<{ stuck: boolean }>
}

export interface ServeDeps extends BaseDeps {
  readonly threads?: Threads | undefined
  /** Follows a server that runs on the same directory and addresses, where there is one. */
  readonly takeOver?: boolean
  /** Fills windows that have seen nothing: called where the log is empty, before anybody is answered. */
  readonly fill?: ((server: HeldServer) => Promise<void>) | undefined
}

/** Milliseconds of the drain kept for the lanes and the decision log after the last answer. */
const LOG_CLOSE_MS = 5_000
const WARM_UP_DEADLINE_MS = 1_000
/**
 * Milliseconds for which a server that is followed answers on after it has stopped listening, each answer closing its
 * connection: whoever asks often has gone over by then.
 */
const LEAVE_MS = 30
/** Times that a server which takes over reads to the log's end: each leaves what was written during the one before. */
const CATCH_UPS = 3

/** Starts the server; resolves when it is ready. Throws AssayError with the code of what stands in the way. */
export async function serve(config: Config, deps: ServeDeps): Promise<Server> {
  const base = createBase(config, deps)
  const { logger, starting, fixed } = base
  logger.event('ServerStarted', {
    version: base.version,
    http_binding: base.binding.name,
    policy: digestText(policyFingerprint(fixed.policy)),
  })
  const ends: (() => Promise<void>)[] = [() => Promise.resolve(fixed.metrics.close())]
  let shown: Shown | null = null
  const port = forward(fixed)
  try {
    checkTls(config)
    const prepared = deps.takeOver === true ? await prepare(config, base, deps.threads) : null
    if (prepared !== null) ends.push(() => prepared.close())
    const beside = { shared: prepared !== null }
    const operations = await openOperations(config, base, () => shown, beside)
    ends.push(() => operations.close(0))
    const { http } = config.process
    const score = await openScore({ ...http, ...beside }, base, port)
    ends.push(() => score.close(0))
    ends.push(() => Promise.resolve(port.refuse()))
    const shared = await openShared(config, base)
    ends.push(() => Promise.resolve(shared?.close()))
    if (prepared !== null) {
      port.hold()
      await askForLock(logDirectoryOf(config))
    }
    const asked = createSignal()
    const opening = { threads: deps.threads, prepared, fleet: shared?.routes.start ?? null, onAsked: asked.give }
    const state = await openState(config, base, opening)
    ends.push(
      () => state.log.close(LOG_CLOSE_MS),
      () => state.loaded.close(),
    )
    if (prepared === null) await warm(base, { ...state, identity: state.state.identity, isBeside: false, shared })
    const running = join(base, state, shared)
    await shared?.routes.join(running.control, state.loaded.baseline.reference, operations.port)
    if (deps.fill !== undefined && shared === null && state.log.recovery.nextSequence === 1)
      await deps.fill(heldOf(running))
    shown = { ...running, status: statusOf(config, running) }
    starting.phase = 'ready'
    port.give(running.assembly.scoring)
    logger.event('ServerReady', { score_port: score.port, operations_port: operations.port })
    const leaveStream = joinStream(config, base, running.assembly.scoring)
    const relay = http.tls === null ? createRelay({ host: http.host, port: score.port }) : undefined
    const parts = { ...running, score, operations, leaveStream, relay }
    let ended: Promise<{ stuck: boolean }> | null = null
    const close = (how: 'drain' | 'leave'): Promise<{ stuck: boolean }> =>
      (ended ??= drain(parts, config.process.drain_ms, how))
    return {
      scoreUrl: originOf(config.process.http, score.port),
      operationsUrl: originOf(config.process.operations, operations.port),
      httpBinding: base.binding.name,
      left: asked.given.then(() => void close('leave')),
      close: () => close('drain'),
    }
  } catch (error) {
    for (const end of ends.reverse()) await end().catch(() => undefined)
    throw error
  }
}

function createSignal(): { readonly given: Promise<void>; give(this: void): void } {
  let give = (): void => undefined
  const given = new Promise<void>((resolve) => (give = resolve))
  return { given, give: () => give() }
}

/** Both listeners before either is opened: the binding does not say what is wrong with a certificate. */
function checkTls({ process }: Config): void {
  readTls(process.operations.tls, '/process/operations/tls')
  readTls(process.http.tls, '/process/http/tls')
}

export interface Running {
  readonly base: Base
  readonly state: OpenState
  readonly assembly: Assembly
  readonly control: Control
  readonly trials: Trials
  readonly order: Order
  readonly shared: Shared | null
}

interface Warmed extends Pick<Prepared, 'serving' | 'loaded'> {
  readonly identity: Prepared['folded']['identity']
  readonly isBeside: boolean
  readonly shared: Shared | null
}

interface Shown extends Running {
  readonly status: Status
}

/** All that can be made ready beside a server that writes the log. */
async function prepare(config: Config, base: Base, threads: Threads | undefined): Promise<Prepared> {
  const prepared = await prepareState(config, base, { threads, isBeside: true })
  try {
    await warm(base, { ...prepared, identity: prepared.folded.identity, isBeside: true, shared: null })
    // Again, until little is left: what was written meanwhile is folded while nobody waits.
    for (let i = 0; i < CATCH_UPS; i++) await catchUp(config, base, prepared)
    return prepared
  } catch (error) {
    await prepared.close()
    throw error
  }
}

/** Warms the code up, over listeners and windows of its own. */
async function warm(base: Base, { serving, loaded, identity, isBeside, shared }: Warmed): Promise<void> {
  const { fixed, relay, logger } = base
  const startedMs = fixed.clock.monoMs()
  enter(base, 'warm_up')
  await warmUp(fixed, {
    live: { serving: () => serving, loaded, lanes: loaded.lanes, identity, shared: shared?.state.forWarmUp() ?? null },
    isBeside,
    aim: (listener) => void (relay.target = listener),
    listen: (scoring) =>
      openScore({ host: '127.0.0.1', port: 0, keys_file: null, tls: null }, warmUpBase(base), scoring),
  })
  fixed.metrics.reset()
  logger.event('WarmUpEnded', { ms: Math.round(fixed.clock.monoMs() - startedMs) })
}

/** Joins the real parts. */
export function join(base: Base, state: OpenState, shared: Shared | null = null): Running {
  const { fixed, starting, relay, logger } = base
  const { loaded, log, fold, audit } = state
  const { lanes } = loaded
  const order = createOrder(fixed.clock, fold.last())
  const control = createControl(
    {
      ...fixed,
      ...{ loaded, log, order, audit, onStanding: (standing) => state.onStanding(standing) },
      bucketsHeldMax: fixed.limits.bucketsHeldMax,
      fleet: shared?.routes.fleet ?? null,
      onHistory: (history, sequence) => noteHistory(history, sequence, state.state),
      makeKey: () => randomBytes(32),
      onChanged: (changed) => changeEvent(logger, changed),
    },
    state.serving,
  )
  const assembly = assemble(fixed, {
    ...{ ...state.state, loaded, lanes, log, order, shared: shared?.state.attach(state, order) ?? null },
    serving: () => control.serving(),
    open: () => isServing(starting),
  })
  relay.target = assembly.listener
  state.progress.call = () => {
    control.progress()
    assembly.progress()
  }
  return { base, state, assembly, control, order, shared, trials: createTrials(state, fixed.limits) }
}

/** What history is taken into. */
export function heldOf({ base, state, control, order }: Running): HeldServer {
  return { fixed: base.fixed, live: { ...state.state, order, log: state.log }, control, progress: state.progress }
}

function statusOf(config: Config, { base, state, assembly, control, shared }: Running): Status {
  const { loaded, log, audit } = state
  return createStatus({
    ...base.fixed,
    ...state.state,
    features: shared?.state.features ?? state.state.features,
    ...{ loaded, control, audit, starting: base.starting, log: watchLog(log, base.fixed.clock) },
    ...{ hangs: base.hangs, refused: base.refused, fleet: shared?.routes.view ?? null },
    logUnreadyMs: config.process.log.unready_ms,
    build: { version: base.version, http_binding: base.binding.name },
    load: () => ({ rows_in_flight: assembly.rowsInFlight(), loop_lag_ms: assembly.lagMs() }),
  })
}

/** Cold code is slower than any deadline: nothing may expire meanwhile, or the breakers would open. */
function warmUpBase(base: Base): Base {
  const { policy } = base.fixed
  const budgets = { ...policy.budgets, deadline_ms: WARM_UP_DEADLINE_MS }
  return { ...base, fixed: { ...base.fixed, policy: { ...policy, budgets } } }
}

/** `shared`: beside the server that is to be followed. */
interface Beside {
  readonly shared?: boolean
}
type Address = Pick<Config['process']['http'], 'host' | 'port' | 'keys_file' | 'tls'> & Beside

function openScore(
  { host, port, keys_file, tls, shared = false }: Address,
  base: Base,
  scoring: Scoring,
): Promise<Listener> {
  const { fixed, logger, ledger } = base
  const { limits, clock, policy, metrics } = fixed
  const guard = guardOf('score', keys_file, base)
  const opening = createScoreListener(
    {
      ...{ uws: base.binding.uws, limits, clock, scoring, openApi: base.openApi, version: base.version },
      parseJson: (bytes) => parseJson(bytes, limits),
      parseAvro: compileTransactionAvro(policy.schema).decode,
      deadlineMs: () => policy.budgets.deadline_ms,
      admit: guard === null ? null : createAdmit(guard, (refusal) => ledger.refused('score', refusal)),
      onRejected: (code) => metrics.rejected(code),
      onFault: (error) => logger.event('RequestFailed', { error: errorOf(error) }),
    },
    { host, port, tls, shared },
  )
  return guardedBy(guard, opening)
}

function guardOf(listener: ListenerName, file: string | null, { fixed, ledger }: Base): Guard | null {
  if (file === null) return null
  const onRead = (outcome: ReadOutcome): void => ledger.keysRead(listener, file, outcome)
  return createGuard(holdKeys(file, { ...fixed, onRead }), fixed)
}

/** A listener whose guard ends with it. */
async function guardedBy(guard: Guard | null, opening: Promise<Listener>): Promise<Listener> {
  try {
    const listener = await opening
    return { ...listener, close: (deadlineMs) => listener.close(deadlineMs).finally(() => guard?.close()) }
  } catch (error) {
    guard?.close()
    throw error
  }
}

/** The call that it gives leaves the group. */
function joinStream({ process }: Config, { fixed, logger }: Base, scoring: StreamScoring): () => Promise<void> {
  if (process.kafka.brokers.length === 0) return () => Promise.resolve()
  return openStream(process.kafka, { ...fixed, logger, scoring, deadlineMs: () => fixed.policy.budgets.deadline_ms })
}

function openOperations(
  config: Config,
  base: Base,
  shown: () => Shown | null,
  { shared = false }: Beside,
): Promise<Listener> {
  const { fixed, starting, logger, ledger } = base
  const { host, port, tokens_file, tls } = config.process.operations
  const phase = () => ({ phase: starting.phase, replayed: starting.replayed })
  const status = (): Status | undefined => shown()?.status
  const guard = guardOf('operations', tokens_file, base)
  const onRefused = (refusal: Refusal): void => ledger.refused('operations', refusal)
  const opening = createOperationsListener(
    {
      ...{ uws: base.binding.uws, limits: fixed.limits, clock: fixed.clock, openApi: base.operationsOpenApi },
      scrape: (accept) => fixed.metrics.scrape(accept),
      readiness: () => status()?.readiness() ?? { ready: false, reasons: [`starting: ${starting.phase}`] },
      status: () => status()?.status() ?? phase(),
      routes: () => status()?.routes() ?? phase(),
      models: () => status()?.models() ?? phase(),
      policy: () => status()?.policy() ?? phase(),
      audit: (limit) => ({ ...(shown()?.state.audit.shown(limit) ?? phase()), ...ledger.shown(limit) }),
      changes() {
        const held = shown()
        if (held === null) return null
        const { routes, models, policy } = held.status
        return {
          ...held.control,
          routes,
          models,
          policy,
          tryPolicy: (standing, last) => held.trials.run(held.control.serving(), standing, last),
        }
      },
      parseJson: (bytes) => parseJson(bytes, fixed.limits),
      admit: guard === null ? null : createAdmit(guard, onRefused),
      onRefused,
      onRejected: (code) => fixed.metrics.rejected(code),
      onFault: (error) => logger.event('RequestFailed', { error: errorOf(error) }),
    },
    { host, port, tls, shared },
  )
  return guardedBy(guard, opening)
}

interface Draining extends Running {
  readonly score: Listener
  readonly operations: Listener
  readonly leaveStream: () => Promise<void>
  /** Undefined behind a certificate: late requests are then refused. */
  readonly relay: Relay | undefined
}

/**
 * Readiness falls first; what is open is answered; the log is closed after the last record; lanes end last. A server
 * that is followed (`leave`) lets go of the log as soon as it can, and sends away whoever still comes.
 */
async function drain(running: Draining, drainMs: number, how: 'drain' | 'leave'): Promise<{ stuck: boolean }> {
  const { base, state, assembly, control, score, operations, leaveStream } = running
  const { logger, hangs, fixed } = base
  logger.event('ServerDraining', { drain_ms: drainMs, followed: how === 'leave' })
  base.starting.phase = 'draining'
  const leaving = leaveStream()
  if (how === 'leave') {
    operations.leave()
    score.leave(running.relay)
    await delay(LEAVE_MS)
  } else await Promise.all([score.close(drainMs), leaving])
  base.starting.phase = 'ended'
  const endMs = fixed.clock.monoMs() + drainMs
  while (assembly.pending() > 0 && fixed.clock.monoMs() < endMs) await delay(1)
  assembly.close()
  running.shared?.close()
  const lost = await state.log.close(LOG_CLOSE_MS).then(
    () => null,
    (error: unknown) => errorOf(error),
  )
  if (lost !== null) logger.event('RecordsLost', { error: lost })
  await Promise.all([score.close(drainMs), leaving])
  control.close()
  await state.loaded.close()
  await operations.close(0)
  fixed.metrics.close()
  logger.event('ServerStopped', { stuck_threads: hangs.stuck() })
  logger.flush()
  return { stuck: hangs.stuck() > 0 }
}
