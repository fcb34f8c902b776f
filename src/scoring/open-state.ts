// The state that a server starts with: locks and recovers the decision log, loads the models that its routes name and
// replays it.
import { randomBytes } from 'node:crypto'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import type { Worker } from 'node:worker_threads'
import type { Config } from '../config.js'
import { type Routing, routingOf } from '../contract/control-state.js'
import { misfitOf, readHead } from '../decision-log/chain.js'
import { createDisk } from '../decision-log/disk.js'
import { isDamage } from '../decision-log/finding.js'
import {
  openDecisionLog,
  type OpenDecisionLog,
  type OpenDeps,
  type OpenOptions,
  startLogThread,
} from '../decision-log/open.js'
import { policyFingerprint } from '../contract/policy.js'
import { AssayError, errorOf } from '../errors.js'
import { catalogueFacts } from '../models/columns.js'
import type { Live } from './assemble.js'
import type { Audit } from './audit.js'
import { createPace } from '../runtime/pace.js'
import { type Base, enter } from './base.js'
import { controlStateOf, policyAtStart, routesAtStart, routingAtStart } from './control-state.js'
import type { Fold } from './fold.js'
import { laneEvent } from './lane/events.js'
import type { ModelThreads } from './lane/threads.js'
import { modelsToLoad } from './load-models.js'
import { foldLive, foldRest, type LogState } from './log-state.js'
import { registerLogMetrics } from './log-view.js'
import { type ModelPool, openModelPool, type PoolDeps } from './model-pool.js'
import { inRoles, type LoadedModels, undecided } from './models.js'
import { createRecall } from './recall.js'
import { type ControlAt, lastControlState } from './restore.js'
import { createServing, type Serving, type Standing } from './serving.js'
import { loadLogState } from './snapshot.js'

/** Other threads than the real ones, for tests: a log over a disk that stalls, lanes that can be told to end. */
export interface Threads {
  readonly log?: OpenDeps
  readonly models?: ModelThreads
}

/** What a start takes from the servers that it joins. */
export interface FleetStart {
  /** Models that their routes name. */
  readonly models: readonly string[]
  /** What an empty log begins with: theirs, or where they have none its own. Rejects where they do not answer. */
  routing(own: Routing): Promise<Routing>
}

export interface OpenStateDeps {
  readonly threads?: Threads | undefined
  readonly prepared?: Prepared | null
  readonly fleet?: FleetStart | null
  readonly onAsked?: () => void
}

export interface OpenState {
  /** Of the decision log. */
  readonly directory: string
  readonly loaded: ModelPool
  /** What is served first. */
  readonly serving: Serving
  readonly audit: Audit
  readonly log: OpenDecisionLog
  readonly state: Pick<Live, 'features' | 'index' | 'identity' | 'decided' | 'recall'>
  readonly fold: Fold
  /** What the log was folded into at the start; its parts live on as `state`. */
  readonly folded: LogState
  readonly progress: { call: () => void }
  /** Segments that begin later begin with it. */
  onStanding(standing: Standing): void
}

/** What a server that takes over has made beside the one before it. */
export interface Prepared {
  readonly loaded: ModelPool
  readonly serving: Serving
  readonly folded: LogState
  /** It waits for its log. */
  readonly logThread: Worker
  /** What the log was routed by when it was last looked at. */
  control: ControlAt | null
  /** Of what no open state has taken over. */
  close(): Promise<void>
}

export interface Loading {
  readonly threads?: Threads | undefined
  /** A server that answers payments needs the cores. */
  readonly isBeside: boolean
}

/** Loads the models and folds the log, that of a running server as far as it is written. */
export async function prepareState(config: Config, base: Base, loading: Loading): Promise<Prepared> {
  const { limits } = base.fixed
  const directory = logDirectoryOf(config)
  const disk = createDisk(directory)
  const restoring = restore(config.process.data_dir, base, readHead(disk).head?.writtenSequence ?? -1)
  const control = lastControlState(directory, { live: true })
  const standing = startStanding(control, base)
  enter(base, 'models')
  const loaded = await loadModels(config, base, standing.routing, loading)
  enter(base, 'replay')
  const folded = await restoring
  const serving = createServing(standing, { ...base.fixed, loaded, bucketsHeldMax: limits.bucketsHeldMax }, null)
  const logThread = startLogThread(loading.threads?.log)
  const close = async (): Promise<void> => {
    await loaded.close()
    await logThread.terminate()
  }
  return { loaded, serving, folded, control, logThread, close }
}

/** Folds what the running server has written meanwhile. */
export async function catchUp(config: Config, { fixed }: Base, prepared: Prepared): Promise<void> {
  const pace = createPace({ clock: fixed.clock, limits: fixed.limits, delay })
  const directory = logDirectoryOf(config)
  await foldLive(prepared.folded, directory, fixed.policy, pace)
  prepared.control = lastControlState(directory, { known: prepared.control, live: true })
}

/**
 * Opens it. `onAsked`: another server wants to take over. Throws what log, bundles and catalogue are refused with.
 */
export async function openState(
  config: Config,
  base: Base,
  { threads = {}, prepared = null, fleet = null, onAsked }: OpenStateDeps,
): Promise<OpenState> {
  const { fixed, logger } = base
  const { policy, limits, codecs } = fixed
  const directory = logDirectoryOf(config)
  const progress = { call: (): void => undefined }
  let opened: { loaded: ModelPool; serving: Serving; state: Buffer; folded: LogState } | null = null
  const control = (): NonNullable<typeof opened> => {
    if (opened === null) throw new Error('the models are not loaded yet')
    return opened
  }
  const stateOf = (standing: Standing, loaded: LoadedModels): Buffer => {
    const models = inRoles(loaded, { ...standing, ...standing.routing })
    return Buffer.from(JSON.stringify(controlStateOf(standing, models)))
  }
  const options: OpenOptions = {
    directory,
    durability: policy.durability,
    limits,
    diskBytesMax: config.process.log.disk_bytes_max,
    onFull: config.process.log.on_full,
    schemas: Buffer.from(codecs.schemas),
    controlState: () => control().state,
    async onRecovered({ epoch, findings, nextSequence }) {
      for (const finding of findings.filter(isDamage)) logger.event('LogRecovered', { ...finding })
      const last = lastControlState(directory, { known: prepared?.control ?? null })
      const own = startStanding(last, base)
      const routing = last === null && fleet !== null ? await fleet.routing(own.routing) : own.routing
      const standing = { ...own, routing }
      const wanted = { ...routing, loaded: [...routing.loaded, ...(fleet?.models ?? [])] }
      const fits = prepared !== null && isOf(prepared.folded, directory, nextSequence - 1)
      // Read while the models are admitted in their threads.
      const restoring = fits ? prepared.folded : restore(config.process.data_dir, base, nextSequence - 1)
      enter(base, 'models')
      const loaded = prepared?.loaded ?? (await loadModels(config, base, wanted, { threads, isBeside: false }))
      await loaded.ensure(modelsToLoad(wanted, policy.routes, limits.modelsMax), routing.approvals)
      tellUndecided(loaded, standing, base)
      const { bucketsHeldMax } = limits
      const serving = createServing(standing, { ...fixed, loaded, bucketsHeldMax }, prepared?.serving ?? null)
      enter(base, 'replay')
      const folded = await restoring
      await replay(directory, base, folded)
      opened = { loaded, serving, state: stateOf(standing, loaded), folded }
      logger.event('LogReplayed', { epoch, ...folded.fold.counts(), gaps: folded.fold.gaps.length })
    },
    readUpTo: prepared?.folded.position ?? null,
    ...(onAsked !== undefined && { onAsked }),
    onProgress: () => progress.call(),
    onFault: (detail) => logger.event('LogFailed', { detail }),
    onDropped: (dropped) => logger.event('SegmentDropped', { ...dropped }),
  }
  const log = await openDecisionLog(options, { ...threads.log, thread: prepared?.logThread ?? null })
  registerLogMetrics(fixed.metrics, log)
  const { loaded, serving, folded } = control()
  const { features, index, identity, decided, audit, fold } = folded
  const newest = (): number => decided.newest()
  const recall = createRecall({ directory, logId: log.logId, logged: policy.durability, newest, limits })
  return {
    ...{ directory, loaded, serving, audit, log, fold, folded, progress },
    state: { features, index, identity, decided, recall },
    onStanding(standing) {
      base.live.policy = standing.policy
      opened = { loaded, serving, state: stateOf(standing, loaded), folded }
    },
  }
}

/** It is made where it is not there. Throws ASSAY_LOG_IO. */
export function logDirectoryOf({ process: { data_dir: dataDir } }: Config): string {
  const directory = join(dataDir, 'decision-log')
  try {
    mkdirSync(directory, { recursive: true, mode: 0o750 })
  } catch (cause) {
    throw new AssayError('ASSAY_LOG_IO', `${directory} cannot be made: ${errorOf(cause).message}`, { cause })
  }
  return directory
}

/** What the log ends with, or the file where there is no log yet; a difference is told. */
function startStanding(control: ControlAt | null, { fixed, live, logger, fromFile }: Base): Standing {
  const last = control?.state ?? null
  const makeKey = (): Buffer => randomBytes(32)
  const { routes, event } = routesAtStart(fixed.policy, last?.routes ?? null, { fromFile: fromFile.routes, makeKey })
  const start = policyAtStart(fixed.policy, last, fromFile.policy)
  for (const told of [event, start.event]) if (told !== null) logger.event(told.name, told.fields)
  live.policy = start.policy
  const routing = routingAtStart(last === null ? null : routingOf(last), routes)
  const { policy } = start
  return { routing, policy, policyDigest: policyFingerprint(policy), live: start.live }
}

/** Routes of a file, or of a log whose thresholds stand in the policy no more, may name models that cannot decide. */
function tellUndecided(loaded: LoadedModels, { policy, routing: { routes } }: Standing, { logger }: Base): void {
  const undecidedHere = undecided(loaded, policy)
  for (const model of [routes.champion, routes.challenger]) {
    const why = model === null ? undefined : undecidedHere.get(model)
    if (model === null || why === undefined) continue
    const detail = `the routes name ${model}, which decides nothing: ${why}`
    const fault = new AssayError('ASSAY_BUNDLE_REFUSED', detail)
    logger.event('ModelRefused', { model, fault })
  }
}

function loadModels(config: Config, base: Base, routing: Routing, { threads, isBeside }: Loading): Promise<ModelPool> {
  const { policy, limits } = base.fixed
  const models = modelsToLoad(routing, policy.routes, limits.modelsMax)
  const loading = { ...loadDeps(config, base), threads: threads?.models ?? base.modelThreads }
  const { routes, approvals } = routing
  return openModelPool({ baseline: routes.baseline, models, approvals, isBeside }, loading)
}

/** False where the log, at rest, has ended before what was folded of it. */
function isOf({ position }: LogState, directory: string, lastSequence: number): boolean {
  return position === null || misfitOf(createDisk(directory), position, lastSequence) === null
}

function loadDeps(config: Config, base: Base): Omit<PoolDeps, 'threads'> {
  const { fixed, logger, refused, relay } = base
  return {
    ...fixed,
    live: base.live,
    catalogue: catalogueFacts(fixed.catalogue, fixed.policy.catalogue),
    modelsDir: config.process.models_dir,
    providers: config.process.providers,
    hangs: base.hangs,
    listener: {
      onScore: (lane, ticket, score, raw) => relay.target?.onScore(lane, ticket, score, raw),
      onFailure: (lane, ticket, reason) => relay.target?.onFailure(lane, ticket, reason),
    },
    onLaneEvent: (lane, event) => laneEvent(logger, lane, event),
    onAdmitted(reference, { digest, loadMs, timings, provider }) {
      refused.delete(reference)
      const micros = timings.map(({ rows, microsPerRow }) => `${rows} rows: ${microsPerRow.toFixed(1)} µs each`)
      const { name: own, missing = null } = provider ?? {}
      const ran = {
        ...(own !== undefined && { provider: own }),
        ...(missing !== null && { provider_missing: missing }),
      }
      logger.event('ModelLoaded', { model: reference, digest, load_ms: Math.round(loadMs), timings: micros, ...ran })
    },
    onRefused(reference, fault) {
      refused.set(reference, fault.message)
      logger.event('ModelRefused', { model: reference, fault })
    },
  }
}

/** What the newest snapshot holds, or nothing. */
async function restore(dataDir: string, { fixed, logger }: Base, lastSequence: number): Promise<LogState> {
  const startedMs = fixed.clock.monoMs()
  const disk = createDisk(join(dataDir, 'decision-log'))
  const state = await loadLogState(dataDir, {
    ...fixed,
    misfit: (position) => misfitOf(disk, position, lastSequence),
    onRefused: (path, detail) => logger.event('SnapshotRefused', { path, detail }),
  })
  if (state.position === null) return state
  const { epoch, sequence } = state.position
  logger.event('SnapshotLoaded', { epoch, sequence, ms: Math.round(fixed.clock.monoMs() - startedMs) })
  return state
}

/** Folds what the log holds behind it. */
function replay(directory: string, { fixed, logger, starting }: Base, state: LogState): Promise<void> {
  return foldRest(state, directory, {
    policy: fixed.policy,
    onFinding: (finding) => (isDamage(finding) ? logger.event('LogRecovered', { ...finding }) : undefined),
    onProgress: (records) => void (starting.replayed = records),
  })
}
