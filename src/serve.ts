// Composition root of the scoring server: the only place where its objects are built, and the order of start and end.
// Start: operations listener → decision log locked and recovered → models → replay → warm-up → ready.
// End: stop listening → answer what is in flight → decision log → lanes.
import { randomBytes } from 'node:crypto'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { type Config, loadKeys, packageVersion } from './config.js'
import { digestText } from './contract/canonical-json.js'
import { parseJson } from './contract/json.js'
import { compileLabels } from './contract/label.js'
import { openApiDocument } from './contract/openapi.js'
import { policyFingerprint } from './contract/policy.js'
import { createRecordCodecs } from './contract/record.js'
import { compileTransactionAvro } from './contract/transaction-avro.js'
import { compileTransaction } from './contract/validate.js'
import { openDecisionLog, type OpenDecisionLog, type OpenDeps, type OpenOptions } from './decision-log/open.js'
import { isDamage } from './decision-log/finding.js'
import { AssayError, errorOf } from './errors.js'
import { compileCatalogue } from './features/compile.js'
import { createFeatureState } from './features/state.js'
import { LIMITS, type Limits } from './limits.js'
import { catalogueFacts } from './models/columns.js'
import { type Clock, systemClock } from './runtime/clock.js'
import { assemble, type Assembly, type Fixed, type Live } from './scoring/assemble.js'
import { controlStateOf, routesAtStart } from './scoring/control-state.js'
import { createDecidedOffsets } from './scoring/decided.js'
import type { Scoring, StreamScoring } from './scoring/exchange.js'
import { createFold, type Fold } from './scoring/fold.js'
import { forward } from './scoring/forward.js'
import { IdIndex } from './scoring/id-index.js'
import { createIdentity } from './scoring/identity.js'
import { laneEvent } from './scoring/lane/events.js'
import { createHangs, type Hangs } from './scoring/lane/hangs.js'
import type { LaneListener, SpawnLane } from './scoring/lane/port.js'
import { closeLanes, loadModels } from './scoring/load-models.js'
import { watchLog, registerLogMetrics } from './scoring/log-view.js'
import type { ModelSet } from './scoring/models.js'
import { createOrder } from './scoring/order.js'
import { createRecall } from './scoring/recall.js'
import { lastControlState, readDecisionLog } from './scoring/restore.js'
import type { LiveRoutes } from './contract/control-state.js'
import { createBuckets } from './scoring/route.js'
import { createStatus, isServing, type Starting, type Status } from './scoring/status.js'
import { createAuthenticate, type Authenticate } from './scoring/transport/http/auth.js'
import { type Binding, loadBinding } from './scoring/transport/http/binding.js'
import type { Listener } from './scoring/transport/http/listener.js'
import { createOperationsListener } from './scoring/transport/http/operations-listener.js'
import { createScoreListener } from './scoring/transport/http/score-listener.js'
import { openStream } from './scoring/transport/kafka/open.js'
import { warmUp } from './scoring/warm-up.js'
import type { Logger } from './telemetry/logger.js'
import { createMetrics } from './telemetry/metrics.js'

export interface Server {
  readonly scoreUrl: string
  readonly operationsUrl: string
  readonly httpBinding: string
  /** Drains and ends; `stuck` where a thread hangs in a native call, so that only SIGKILL ends the process. */
  close(): Promise<{ stuck: boolean }>
}

export interface ServeDeps {
  readonly logger: Logger
  readonly limits?: Limits
  readonly clock?: Clock
  /** Other threads than the real ones, for tests: a log over a disk that stalls, lanes that can be told to end. */
  readonly threads?: { readonly log?: OpenDeps; readonly lane?: SpawnLane }
  /** Takes the routes of the configuration where the log holds others; else those of the log stand. */
  readonly routesFromFile?: boolean
}

/** Milliseconds of the drain kept for the lanes and the decision log after the last answer. */
const LOG_CLOSE_MS = 5_000
const WARM_UP_DEADLINE_MS = 1_000

/** Starts the server; resolves when it is ready. Throws AssayError with the code of what stands in the way. */
export async function serve(config: Config, deps: ServeDeps): Promise<Server> {
  const base = createBase(config, deps)
  const { logger, starting, fixed } = base
  logger.event('ServerStarted', { version: base.version, http_binding: base.binding.name, policy: base.fingerprint })
  const ends: (() => Promise<void>)[] = [() => Promise.resolve(fixed.metrics.close())]
  let status: Status | null = null
  let scoring: Scoring | null = null
  try {
    const operations = await openOperations(config, base, () => status)
    ends.push(() => operations.close(0))
    const score = await openScore(
      config.process.http,
      base,
      forward(() => scoring),
    )
    ends.push(() => score.close(0))
    const live = await openState(config, base, deps.threads)
    ends.push(
      () => live.log.close(LOG_CLOSE_MS),
      () => closeLanes(live.models, fixed.limits),
    )
    const assembly = await start(base, live)
    status = live.statusOf(assembly)
    scoring = assembly.scoring
    starting.phase = 'ready'
    logger.event('ServerReady', { score_port: score.port, operations_port: operations.port })
    const leaveStream = joinStream(config, base, assembly.scoring)
    const parts = { base, live, assembly, score, operations, leaveStream }
    return {
      scoreUrl: `http://${config.process.http.host}:${score.port}`,
      operationsUrl: `http://${config.process.operations.host}:${operations.port}`,
      httpBinding: base.binding.name,
      close: () => drain(parts, config.process.drain_ms),
    }
  } catch (error) {
    for (const end of ends.reverse()) await end().catch(() => undefined)
    throw error
  }
}

interface Base {
  readonly fixed: Fixed
  readonly fingerprint: string
  readonly version: string
  readonly binding: Binding
  readonly logger: Logger
  readonly hangs: Hangs
  readonly starting: Starting
  readonly fromFile: boolean
  readonly refused: Map<string, string>
  readonly relay: { target: LaneListener | null }
  readonly openApi: string
}

/** Everything that no file on disk but the configuration decides. */
function createBase(config: Config, deps: ServeDeps): Base {
  const { policy } = config
  const limits = deps.limits ?? LIMITS
  const clock = deps.clock ?? systemClock
  const version = packageVersion()
  const digest = policyFingerprint(policy)
  const fixed: Fixed = {
    policy,
    policyDigest: digest,
    limits,
    clock,
    validator: compileTransaction(policy, limits),
    labels: compileLabels(policy.schema, limits),
    catalogue: compileCatalogue(policy.catalogue, policy.schema, policy.currencies),
    codecs: createRecordCodecs(policy.schema),
    metrics: createMetrics(limits),
  }
  return {
    fixed,
    fingerprint: digestText(digest),
    version,
    binding: loadBinding(),
    logger: deps.logger,
    hangs: createHangs(),
    starting: { phase: 'log', replayed: 0 },
    fromFile: deps.routesFromFile ?? false,
    refused: new Map(),
    relay: { target: null },
    openApi: JSON.stringify(openApiDocument(policy, { version, listener: 'score' })),
  }
}

interface LiveState {
  readonly routes: LiveRoutes
  readonly models: ModelSet
  readonly log: OpenDecisionLog
  readonly state: Pick<Live, 'features' | 'index' | 'identity' | 'decided' | 'recall' | 'bucketOf'>
  readonly fold: Fold
  readonly progress: { call: () => void }
  statusOf(assembly: Assembly): Status
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

/** How far the start is, for probes and for who watches. */
function enter({ starting, logger }: Base, phase: 'models' | 'replay' | 'warm_up'): void {
  starting.phase = phase
  logger.event('PhaseEntered', { phase })
}

/** Locks and recovers the decision log, loads the models that its routes name and replays it into state. */
async function openState(config: Config, base: Base, threads: ServeDeps['threads']): Promise<LiveState> {
  const { fixed, logger, starting } = base
  const { policy, limits, clock, catalogue, codecs, metrics } = fixed
  const directory = makeLogDirectory(config.process.data_dir)
  const features = createFeatureState(catalogue, { limits, hashKey: randomBytes(16) })
  const { ids_max: idsMax, window_ms: windowMs } = policy.idempotency
  const index = new IdIndex({ idsMax, windowMs, factsBytesMax: limits.factsBytesMax })
  const identity = createIdentity(policy.schema, randomBytes(16), limits.recordBytesMax)
  const decided = createDecidedOffsets(limits)
  const indexed = { index, identity, codecs }
  const fold = createFold({ limits, features, vectorSize: catalogue.size, indexed, decided })
  const progress = { call: (): void => undefined }
  let opened: { routes: LiveRoutes; models: ModelSet; state: Buffer } | null = null
  const control = (): NonNullable<typeof opened> => {
    if (opened === null) throw new Error('the models are not loaded yet')
    return opened
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
      const { fromFile } = base
      const last = lastControlState(directory)?.routes ?? null
      const { routes, event } = routesAtStart(policy, last, { fromFile, makeKey: () => randomBytes(32) })
      if (event !== null) logger.event(event.name, event.fields)
      enter(base, 'models')
      const models = await loadModels(routes, { ...loadDeps(config, base), spawn: threads?.lane })
      const state = controlStateOf({ policy, fingerprint: base.fingerprint }, routes, models)
      opened = { routes, models, state: Buffer.from(JSON.stringify(state)) }
      enter(base, 'replay')
      await replay(directory, fold, base)
      logger.event('LogReplayed', { epoch, ...fold.counts(), gaps: fold.gaps.length })
    },
    onProgress: () => progress.call(),
    onFault: (detail) => logger.event('LogFailed', { detail }),
  }
  const log = await openDecisionLog(options, threads?.log)
  const { routes, models } = control()
  const bucketOf = createBuckets(Buffer.from(routes.experiment_key, 'hex'), limits.bucketsHeldMax)
  registerLogMetrics(metrics, log)
  const { logId } = log
  const newest = (): number => decided.newest()
  const recall = createRecall({ directory, logId, logged: policy.durability, newest, limits })
  return {
    ...{ routes, models, log, fold, progress },
    state: { features, index, identity, decided, recall, bucketOf },
    statusOf: (assembly) =>
      createStatus({
        ...{ policy, clock, catalogue, features, index, decided, models, routes, metrics, starting },
        ...{ fingerprint: base.fingerprint, hangs: base.hangs, refused: base.refused, log: watchLog(log, clock) },
        logUnreadyMs: config.process.log.unready_ms,
        build: { version: base.version, http_binding: base.binding.name },
        load: () => ({ rows_in_flight: assembly.rowsInFlight(), loop_lag_ms: assembly.lagMs() }),
      }),
  }
}

function loadDeps(config: Config, base: Base): Parameters<typeof loadModels>[1] {
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

/** Warms the code up, then joins the real parts. */
async function start(base: Base, live: LiveState): Promise<Assembly> {
  const { fixed, starting, relay, logger } = base
  const { models, routes, log, fold, state } = live
  const startedMs = fixed.clock.monoMs()
  enter(base, 'warm_up')
  await warmUp(fixed, {
    live: { models, routes, identity: state.identity, bucketOf: state.bucketOf },
    aim: (listener) => void (relay.target = listener),
    listen: (scoring) => openScore({ host: '127.0.0.1', port: 0, keys_file: null }, warmUpBase(base), scoring),
  })
  fixed.metrics.reset()
  logger.event('WarmUpEnded', { ms: Math.round(fixed.clock.monoMs() - startedMs) })
  const order = createOrder(fixed.clock, fold.last())
  const assembly = assemble(fixed, { ...state, models, routes, log, order, open: () => isServing(starting) })
  relay.target = assembly.pipeline
  live.progress.call = () => assembly.progress()
  return assembly
}

/** Cold code is slower than any deadline: nothing may expire meanwhile, or the breakers would open. */
function warmUpBase(base: Base): Base {
  const { policy } = base.fixed
  const budgets = { ...policy.budgets, deadline_ms: WARM_UP_DEADLINE_MS }
  return { ...base, fixed: { ...base.fixed, policy: { ...policy, budgets } } }
}

type Address = Pick<Config['process']['http'], 'host' | 'port' | 'keys_file'>

function openScore({ host, port, keys_file }: Address, base: Base, scoring: Scoring): Promise<Listener> {
  const { fixed, logger } = base
  const { limits, clock, policy, metrics } = fixed
  return createScoreListener(
    {
      ...{ uws: base.binding.uws, limits, clock, scoring, openApi: base.openApi },
      parseJson: (bytes) => parseJson(bytes, limits),
      parseAvro: compileTransactionAvro(policy.schema).decode,
      deadlineMs: () => policy.budgets.deadline_ms,
      authenticate: authenticateBy(keys_file),
      onRejected: (code) => metrics.rejected(code),
      onFault: (error) => logger.event('RequestFailed', { error: errorOf(error) }),
    },
    { host, port },
  )
}

/** The call that it gives leaves the group. */
function joinStream({ process }: Config, { fixed, logger }: Base, scoring: StreamScoring): () => Promise<void> {
  if (process.kafka.brokers.length === 0) return () => Promise.resolve()
  return openStream(process.kafka, { ...fixed, logger, scoring, deadlineMs: () => fixed.policy.budgets.deadline_ms })
}

function openOperations(config: Config, base: Base, status: () => Status | null): Promise<Listener> {
  const { fixed, starting, logger } = base
  const { host, port, tokens_file } = config.process.operations
  const phase = () => ({ phase: starting.phase, replayed: starting.replayed })
  return createOperationsListener(
    {
      ...{ uws: base.binding.uws, limits: fixed.limits, clock: fixed.clock },
      scrape: (accept) => fixed.metrics.scrape(accept),
      readiness: () => status()?.readiness() ?? { ready: false, reasons: [`starting: ${starting.phase}`] },
      status: () => status()?.status() ?? phase(),
      routes: () => status()?.routes() ?? phase(),
      models: () => status()?.models() ?? phase(),
      authenticate: authenticateBy(tokens_file),
      onRejected: (code) => fixed.metrics.rejected(code),
      onFault: (error) => logger.event('RequestFailed', { error: errorOf(error) }),
    },
    { host, port },
  )
}

function authenticateBy(file: string | null): Authenticate | null {
  return file === null ? null : createAuthenticate(loadKeys(file).keys)
}

interface Running {
  readonly base: Base
  readonly live: LiveState
  readonly assembly: Assembly
  readonly score: Listener
  readonly operations: Listener
  readonly leaveStream: () => Promise<void>
}

/** Readiness falls first; what is open is answered; the log is closed after the last record; lanes end last. */
async function drain(running: Running, drainMs: number): Promise<{ stuck: boolean }> {
  const { base, live, assembly, score, operations, leaveStream } = running
  const { logger, hangs, fixed } = base
  logger.event('ServerDraining', { drain_ms: drainMs })
  base.starting.phase = 'draining'
  await Promise.all([score.close(drainMs), leaveStream()])
  base.starting.phase = 'ended'
  const endMs = fixed.clock.monoMs() + drainMs
  while (assembly.pending() > 0 && fixed.clock.monoMs() < endMs) await new Promise((done) => setTimeout(done, 1))
  assembly.close()
  const lost = await live.log.close(LOG_CLOSE_MS).then(
    () => null,
    (error: unknown) => errorOf(error),
  )
  if (lost !== null) logger.event('RecordsLost', { error: lost })
  await closeLanes(live.models, fixed.limits)
  await operations.close(0)
  fixed.metrics.close()
  logger.event('ServerStopped', { stuck_threads: hangs.stuck() })
  logger.flush()
  return { stuck: hangs.stuck() > 0 }
}
