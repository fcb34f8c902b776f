// The state that a server starts with: locks and recovers the decision log, loads the models that its routes name and
// replays it.
import { randomBytes } from 'node:crypto'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import type { Config } from '../config.js'
import { type Routing, routingOf } from '../contract/control-state.js'
import { isDamage } from '../decision-log/finding.js'
import { openDecisionLog, type OpenDecisionLog, type OpenDeps, type OpenOptions } from '../decision-log/open.js'
import { AssayError, errorOf } from '../errors.js'
import { createFeatureState } from '../features/state.js'
import { catalogueFacts } from '../models/columns.js'
import type { Live } from './assemble.js'
import { type Audit, createAudit } from './audit.js'
import { type Base, enter } from './base.js'
import { controlStateOf, routesAtStart, routingAtStart } from './control-state.js'
import { createDecidedOffsets } from './decided.js'
import { createFold, type Fold } from './fold.js'
import { IdIndex } from './id-index.js'
import { createIdentity } from './identity.js'
import { laneEvent } from './lane/events.js'
import type { SpawnLane } from './lane/port.js'
import { type LoadDeps, modelsToLoad } from './load-models.js'
import { registerLogMetrics } from './log-view.js'
import { type ModelPool, openModelPool } from './model-pool.js'
import { inRoles, type LoadedModels } from './models.js'
import { createRecall } from './recall.js'
import { lastControlState, readDecisionLog } from './restore.js'
import { createServing, type Serving } from './serving.js'

/** Other threads than the real ones, for tests: a log over a disk that stalls, lanes that can be told to end. */
export interface Threads {
  readonly log?: OpenDeps
  readonly lane?: SpawnLane
}

export interface OpenState {
  readonly loaded: ModelPool
  /** What is served first. */
  readonly serving: Serving
  readonly audit: Audit
  readonly log: OpenDecisionLog
  readonly state: Pick<Live, 'features' | 'index' | 'identity' | 'decided' | 'recall'>
  readonly fold: Fold
  readonly progress: { call: () => void }
  /** Segments that begin later begin with this routing. */
  onRouting(routing: Routing): void
}

/** Opens it. Throws what the log, the bundles and the catalogue are refused with. */
export async function openState(config: Config, base: Base, threads: Threads = {}): Promise<OpenState> {
  const { fixed, logger } = base
  const { policy, limits, codecs, catalogue } = fixed
  const directory = makeLogDirectory(config.process.data_dir)
  const features = createFeatureState(catalogue, { limits, hashKey: randomBytes(16) })
  const { ids_max: idsMax, window_ms: windowMs } = policy.idempotency
  const index = new IdIndex({ idsMax, windowMs, factsBytesMax: limits.factsBytesMax })
  const identity = createIdentity(policy.schema, randomBytes(16), limits.recordBytesMax)
  const audit = createAudit(limits.auditHeldMax)
  const decided = createDecidedOffsets(limits)
  const indexed = { index, identity, codecs }
  const onControl = audit.add.bind(audit)
  const fold = createFold({ limits, features, vectorSize: catalogue.size, indexed, decided, onControl })
  const progress = { call: (): void => undefined }
  let opened: { loaded: ModelPool; serving: Serving; state: Buffer } | null = null
  const control = (): NonNullable<typeof opened> => {
    if (opened === null) throw new Error('the models are not loaded yet')
    return opened
  }
  const stateOf = (routing: Routing, loaded: LoadedModels): Buffer => {
    const models = inRoles(loaded, routing.routes, routing.forced)
    return Buffer.from(JSON.stringify(controlStateOf({ policy, fingerprint: base.fingerprint }, routing, models)))
  }
  const options: OpenOptions = {
    directory,
    durability: policy.durability,
    limits,
    diskBytesMax: config.process.log.disk_bytes_max,
    schemas: Buffer.from(codecs.schemas),
    controlState: () => control().state,
    async onRecovered({ epoch, findings }) {
      for (const finding of findings.filter(isDamage)) logger.event('LogRecovered', { ...finding })
      const routing = startRouting(directory, base)
      enter(base, 'models')
      const { routes, approvals } = routing
      const models = modelsToLoad(routing, policy.routes, limits.modelsMax)
      const loading = { ...loadDeps(config, base), spawn: threads.lane }
      const loaded = await openModelPool({ baseline: routes.baseline, models, approvals }, loading)
      const serving = createServing(routing, { policy, loaded, bucketsHeldMax: limits.bucketsHeldMax }, null)
      opened = { loaded, serving, state: stateOf(routing, loaded) }
      enter(base, 'replay')
      await replay(directory, fold, base)
      logger.event('LogReplayed', { epoch, ...fold.counts(), gaps: fold.gaps.length })
    },
    onProgress: () => progress.call(),
    onFault: (detail) => logger.event('LogFailed', { detail }),
  }
  const log = await openDecisionLog(options, threads.log)
  registerLogMetrics(fixed.metrics, log)
  const { loaded, serving } = control()
  const newest = (): number => decided.newest()
  const recall = createRecall({ directory, logId: log.logId, logged: policy.durability, newest, limits })
  return {
    ...{ loaded, serving, audit, log, fold, progress },
    state: { features, index, identity, decided, recall },
    onRouting: (routing) => void (opened = { loaded, serving, state: stateOf(routing, loaded) }),
  }
}

function makeLogDirectory(dataDir: string): string {
  const directory = join(dataDir, 'decision-log')
  try {
    mkdirSync(directory, { recursive: true, mode: 0o750 })
  } catch (cause) {
    throw new AssayError('ASSAY_LOG_IO', `${directory} cannot be made: ${errorOf(cause).message}`, { cause })
  }
  return directory
}

/** What the log ends with, or the file where there is no log yet; a difference is told. */
function startRouting(directory: string, { fixed, logger, fromFile }: Base): Routing {
  const last = lastControlState(directory)
  const makeKey = (): Buffer => randomBytes(32)
  const { routes, event } = routesAtStart(fixed.policy, last?.routes ?? null, { fromFile, makeKey })
  if (event !== null) logger.event(event.name, event.fields)
  return routingAtStart(last === null ? null : routingOf(last), routes)
}

function loadDeps(config: Config, base: Base): LoadDeps {
  const { fixed, logger, refused, relay } = base
  return {
    ...fixed,
    catalogue: catalogueFacts(fixed.catalogue, fixed.policy.catalogue),
    modelsDir: config.process.models_dir,
    hangs: base.hangs,
    listener: {
      onScore: (lane, ticket, score, raw) => relay.target?.onScore(lane, ticket, score, raw),
      onFailure: (lane, ticket, reason) => relay.target?.onFailure(lane, ticket, reason),
    },
    onLaneEvent: (lane, event) => laneEvent(logger, lane, event),
    onAdmitted(reference, { digest, loadMs, timings }) {
      refused.delete(reference)
      const micros = timings.map(({ rows, microsPerRow }) => `${rows} rows: ${microsPerRow.toFixed(1)} µs each`)
      logger.event('ModelLoaded', { model: reference, digest, load_ms: Math.round(loadMs), timings: micros })
    },
    onRefused(reference, fault) {
      refused.set(reference, fault.message)
      logger.event('ModelRefused', { model: reference, fault })
    },
  }
}

async function replay(directory: string, fold: Fold, base: Base): Promise<void> {
  const { starting, logger, fixed } = base
  await readDecisionLog(
    directory,
    {
      onRecord: (record, at) => fold.take(record, at.sequence),
      onFinding: (finding) => (isDamage(finding) ? logger.event('LogRecovered', { ...finding }) : undefined),
      onProgress: (records) => void (starting.replayed = records),
    },
    fixed.policy.schema,
  )
  fold.end()
}
