// What /v1/status, /readyz, /v1/routes, /v1/models and the gauges say of a running server. It only reads.
import { digestText } from '../contract/canonical-json.js'
import { type Policy, policyDifferences } from '../contract/policy.js'
import { isoTime } from '../contract/time.js'
import type { CompiledCatalogue } from '../features/compile.js'
import type { FeatureState } from '../features/state.js'
import type { Clock } from '../runtime/clock.js'
import type { Counted } from '../telemetry/histogram.js'
import type { Metrics } from '../telemetry/metrics.js'
import type { Hangs } from './lane/hangs.js'
import type { BreakerState, Lane } from './lane/port.js'
import { routeDifferences } from './control-state.js'
import type { DecidedOffsets } from './decided.js'
import { BUCKETS } from './route.js'
import type { IdIndex } from './id-index.js'
import type { Audit } from './audit.js'
import { withoutKey } from '../contract/control-state.js'
import type { Control } from './control.js'
import { type LoadedModels, routable } from './models.js'
import { baselineShown, laneModels, lanesShown } from './models-view.js'

/** A phase of the server's life, and how far its start is. */
export interface Starting {
  /** `draining`: not ready for new clients, those that are connected are still answered; `ended`: nobody is. */
  phase: 'log' | 'models' | 'replay' | 'warm_up' | 'ready' | 'draining' | 'ended'
  /** Records replayed so far. */
  replayed: number
}

/** True while the gate lets requests in: a drain cuts nobody off who has a connection. */
export function isServing({ phase }: Starting): boolean {
  return phase === 'ready' || phase === 'draining'
}

/** The decision log as status sees it. */
export interface LogView {
  readonly healthy: () => boolean
  /** Milliseconds for which the log has refused, 0 while it takes records. */
  readonly unhealthyMs: () => number
  readonly facts: () => Readonly<Record<string, unknown>>
}

/** The servers with the same routes, as status sees them. */
export interface FleetView {
  shown(): object
  /** What somebody should know of, each a short sentence. */
  reasons(): string[]
}

export interface StatusDeps {
  /** Null: the routes are this server's own. */
  readonly fleet: FleetView | null
  readonly policy: Policy
  readonly clock: Clock
  readonly catalogue: CompiledCatalogue
  readonly features: FeatureState
  readonly index: IdIndex
  readonly decided: Pick<DecidedOffsets, 'partitions'>
  readonly loaded: LoadedModels
  readonly control: Pick<Control, 'serving' | 'revision' | 'policyRevision' | 'ramp'>
  readonly audit: Audit
  readonly hangs: Hangs
  readonly log: LogView
  readonly logUnreadyMs: number
  readonly metrics: Metrics
  readonly starting: Starting
  readonly build: { readonly version: string; readonly http_binding: string }
  readonly refused: ReadonlyMap<string, string>
  readonly load: () => { rows_in_flight: number; loop_lag_ms: number }
}

export interface Status {
  readiness(): { ready: boolean; reasons: string[] }
  status(): object
  routes(this: void): object
  models(this: void): object
  policy(this: void): object
}

const BREAKER_VALUE: Record<BreakerState, number> = { closed: 0, half_open: 1, open: 2 }

/** Makes the views and registers the gauges. */
export function createStatus(deps: StatusDeps): Status {
  const { policy, starting, log } = deps
  const refuses = (): boolean => policy.on_log_unavailable === 'reject' && log.unhealthyMs() > deps.logUnreadyMs
  const isReady = (): boolean => starting.phase === 'ready' && !refuses()
  registerHealth(deps, isReady)
  registerGauges(deps)
  return {
    readiness: () => ({ ready: isReady(), reasons: reasonsOf(deps, refuses()) }),
    status: () => ({
      ...deps.build,
      node: process.version,
      phase: starting.phase,
      replayed: starting.replayed,
      policy: servedPolicy(deps),
      policy_revision: deps.control.serving().live.revision,
      reasons: reasonsOf(deps, false),
      routes: shownRoutes(deps),
      models: lanesShown(deps),
      idempotency: coverage(deps.index, policy),
      streams: deps.decided.partitions(),
      features: { ...deps.features.size(), ...observed(deps), cold: coldFeatures(deps) },
      decision_log: log.facts(),
      load: deps.load(),
      restart_needed: deps.hangs.restartNeeded(),
      ...deps.metrics.summary(),
    }),
    routes: () => shownRoutes(deps),
    policy: () => shownPolicy(deps),
    models: () => ({
      models: [...lanesShown(deps), baselineShown(deps)],
    }),
  }
}

/** The routes that serve, what stands around them, and who changed them last. */
function shownRoutes({ control, policy, loaded, audit, fleet }: StatusDeps): object {
  const { routes, previous, forced } = control.serving().routing
  const differences = routeDifferences(routes, policy.routes)
  return {
    ...withoutKey(routes),
    ...{ differ_from_config: differences.length > 0, differences },
    ...{ loaded: [...routable(loaded).keys()], previous: previous === null ? null : withoutKey(previous), forced },
    ramp: control.ramp(),
    last_change: audit.last(),
    /** A newer one that is not durable yet. */
    pending_revision: control.revision() > routes.revision ? control.revision() : null,
    ...(fleet !== null && { fleet: fleet.shown() }),
  }
}

/** The whole policy that serves, and how it came about. */
function shownPolicy(deps: StatusDeps): object {
  const { policy, live } = deps.control.serving()
  const pending = deps.control.policyRevision()
  return {
    ...{ revision: live.revision, fingerprint: servedPolicy(deps), can_roll_back: live.previous !== null },
    differs_from_config: policyDifferences(deps.policy, policy),
    /** A newer one that is not durable yet. */
    pending_revision: pending > live.revision ? pending : null,
    policy,
  }
}

/** The fingerprint of the policy that serves. */
function servedPolicy({ control }: StatusDeps): string {
  return digestText(control.serving().policyDigest)
}

function coverage(index: IdIndex, policy: Policy): object {
  const { ids, evicted, sinceMs } = index.coverage()
  const since = sinceMs === null ? null : new Date(sinceMs).toISOString()
  return { ids, evicted, since, window_ms: policy.idempotency.window_ms, ids_max: policy.idempotency.ids_max }
}

/** Event times between which payments were seen; null before the first. */
function observed({ features }: StatusDeps): { observed_since: string | null; observed_until: string | null } {
  const [since, until] = [features.observedSinceMs(), features.observedUntilMs()]
  if (Number.isNaN(since)) return { observed_since: null, observed_until: null }
  return { observed_since: isoTime(since), observed_until: isoTime(until) }
}

/** Features whose windows were not observed for their whole length, with the event time from which they are warm. */
function coldFeatures({ features, catalogue, clock }: StatusDeps): { feature: string; warm_from: string | null }[] {
  const nowMs = clock.nowMs()
  return catalogue.names.flatMap((feature, at) => {
    const fromMs = features.warmFromMs(at)
    if (fromMs <= nowMs) return []
    return [{ feature, warm_from: Number.isNaN(fromMs) ? null : new Date(fromMs).toISOString() }]
  })
}

function reasonsOf(deps: StatusDeps, logRefuses: boolean): string[] {
  const { starting, hangs, log } = deps
  const reasons: string[] = []
  if (starting.phase === 'draining') reasons.push('draining: connect elsewhere')
  else if (starting.phase !== 'ready') reasons.push(`starting: ${starting.phase}`)
  if (logRefuses) reasons.push('the decision log refuses records')
  else if (!log.healthy()) reasons.push('the decision log is failing')
  reasons.push(...(deps.fleet?.reasons() ?? []))
  const { forced } = deps.control.serving().routing
  if (forced.baseline) reasons.push('forced: the baseline answers everything')
  for (const model of forced.open) reasons.push(`${model}: breaker held open`)
  if (deps.control.ramp()?.state === 'paused') reasons.push('a ramp is paused: assay route resume')
  for (const model of laneModels(deps)) {
    if (forced.open.includes(model.reference)) continue
    const state = model.lane === null ? 'not_loaded' : model.lane.state()
    if (state !== 'ready') reasons.push(`${model.reference}: ${state}`)
    else if (model.lane !== null && model.lane.breakerState() !== 'closed') {
      reasons.push(`${model.reference}: breaker ${model.lane.breakerState()}`)
    }
    const missing = model.lane?.provider()?.missing ?? null
    if (missing !== null) reasons.push(`${model.reference}: on the CPU, since ${missing}`)
  }
  if (hangs.restartNeeded()) reasons.push('a lane thread hangs: restart the server')
  const cold = coldFeatures(deps)
  if (cold.length > 0) reasons.push(`${cold.length} features are cold`)
  return reasons
}

/** `rows[n]`: runs of n rows. */
function countedRows(rows: Uint32Array): Counted {
  const upTo = (last: number): number => rows.subarray(0, last + 1).reduce((total, runs) => total + runs, 0)
  return {
    count: upTo(rows.length),
    sum: rows.reduce((total, runs, size) => total + runs * size, 0),
    countUpTo: upTo,
  }
}

const ROWS_BOUNDS = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512]

const LANE_EVENTS: readonly { event: string; help: string; read: (lane: Lane) => number }[] = [
  { event: 'rows_expired', help: 'Rows given up at the deadline', read: (lane) => lane.counters.expired },
  { event: 'results_late', help: 'Scores that came after their row was given up', read: (lane) => lane.counters.late },
  { event: 'breaker_opened', help: 'Times that the breaker opened', read: (lane) => lane.counters.breakerOpened },
  {
    event: 'threads_lost',
    help: 'Threads that ended or were abandoned',
    read: (lane) => lane.counters.threadsDied + lane.counters.threadsAbandoned,
  },
]

/** What `/readyz` says, for rules that somebody is woken by. */
function registerHealth({ metrics, log, hangs }: StatusDeps, isReady: () => boolean): void {
  metrics.gauge({ name: 'assay_ready', help: '1 while /readyz says so', read: () => Number(isReady()) })
  metrics.gauge({
    name: 'assay_log_healthy',
    help: '1 while the decision log takes records',
    read: () => Number(log.healthy()),
  })
  metrics.gauge({
    name: 'assay_restart_needed',
    help: '1 where a thread hangs in a native call, which only a restart ends',
    read: () => Number(hangs.restartNeeded()),
  })
}

function registerGauges(deps: StatusDeps): void {
  const { metrics, index, build } = deps
  const perLane = (read: (lane: Lane) => number) => () =>
    deps.loaded.lanes.map((lane) => ({ labels: { model: `${lane.name}@${lane.version}` }, value: read(lane) }))
  metrics.gauge({
    name: 'assay_breaker_state',
    help: 'Breaker of a lane: 0 closed, 1 half open, 2 open',
    labels: ['model'],
    read: perLane((lane) => BREAKER_VALUE[lane.breakerState()]),
  })
  metrics.gauge({
    name: 'assay_lane_queue_rows',
    help: 'Rows handed to a lane and not answered',
    labels: ['model'],
    read: perLane((lane) => lane.queuedRows()),
  })
  metrics.histogram({
    name: 'assay_batch_rows',
    help: 'Rows that a lane ran at once',
    labels: ['model'],
    bounds: ROWS_BOUNDS,
    read: () =>
      deps.loaded.lanes.map((lane) => ({
        labels: { model: `${lane.name}@${lane.version}` },
        counted: countedRows(lane.batchRows),
      })),
  })
  metrics.gauge({
    name: 'assay_lane_provider',
    help: 'Always 1; says which execution provider a lane runs on',
    labels: ['model', 'provider'],
    read: () =>
      deps.loaded.lanes.flatMap((lane) => {
        const provider = lane.provider()?.name
        return provider === undefined ? [] : [{ labels: { model: `${lane.name}@${lane.version}`, provider }, value: 1 }]
      }),
  })
  for (const { event, help, read } of LANE_EVENTS) {
    metrics.counter({ name: `assay_lane_${event}_total`, help, labels: ['model'], read: perLane(read) })
  }
  registerFeatures(deps)
  registerRoutes(deps)
  metrics.gauge({
    name: 'assay_idempotency_ids',
    help: 'Transactions held in the index of recent ids',
    read: () => index.coverage().ids,
  })
  metrics.gauge({
    name: 'assay_build_info',
    help: 'Always 1; says what runs',
    labels: ['version', 'http_binding', 'policy'],
    read: () => [{ labels: { ...build, policy: servedPolicy(deps) }, value: 1 }],
  })
}

function registerFeatures({ metrics, features }: StatusDeps): void {
  metrics.gauge({
    name: 'assay_feature_entities',
    help: 'Entities held, by entity field',
    labels: ['entity'],
    read: () => Object.entries(features.size().entities).map(([entity, value]) => ({ labels: { entity }, value })),
  })
  metrics.gauge({
    name: 'assay_feature_bytes',
    help: 'Bytes of the windows, tables and free room included',
    read: () => features.size().bytes,
  })
  metrics.counter({
    name: 'assay_feature_evictions_total',
    help: 'Entities that left for want of room',
    read: () => features.size().evictions,
  })
  metrics.counter({
    name: 'assay_feature_late_total',
    help: 'Transactions too old, or too far ahead of the clock, for a window that they belonged to',
    read: () => features.size().late,
  })
  metrics.gauge({
    name: 'assay_labels_waiting',
    help: 'Labels that wait for their transaction',
    read: () => features.size().labelsWaiting,
  })
  metrics.counter({
    name: 'assay_labels_expired_total',
    help: 'Labels that had to leave before their transaction came',
    read: () => features.size().labelsExpired,
  })
}

function registerRoutes({ metrics, control, policy, loaded, audit }: StatusDeps): void {
  const routing = () => control.serving().routing
  metrics.gauge({
    name: 'assay_routes_differ_from_config',
    help: '1 where the live routes are not those of the configuration',
    read: () => (routeDifferences(routing().routes, policy.routes).length > 0 ? 1 : 0),
  })
  metrics.gauge({
    name: 'assay_routes_revision',
    help: 'Revision of the routes that serve',
    read: () => routing().routes.revision,
  })
  metrics.gauge({
    name: 'assay_routes_challenger_ratio',
    help: 'Share of the challenger, 0 to 1',
    read: () => routing().routes.share / BUCKETS,
  })
  metrics.gauge({
    name: 'assay_model_forced',
    help: '1 where an operator keeps payments from the model',
    labels: ['model'],
    read: () =>
      [...loaded.models.keys()].map((model) => ({
        labels: { model },
        value: routing().forced.baseline || routing().forced.open.includes(model) ? 1 : 0,
      })),
  })
  metrics.gauge({
    name: 'assay_ramp_state',
    help: 'Ramp of the routes: 0 none, 1 running, 2 paused',
    read: () => (routing().ramp === null ? 0 : control.ramp()?.state === 'paused' ? 2 : 1),
  })
  metrics.counter({
    name: 'assay_routes_changes_total',
    help: 'Changes of the routes that the log holds, by kind',
    labels: ['kind'],
    read: () => [...audit.counts].map(([kind, value]) => ({ labels: { kind }, value })),
  })
}
