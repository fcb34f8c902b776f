// Every metric of the scoring server. The hot path writes typed arrays through numeric indices; prom-client sees them
// only while a scrape runs (its own children cost 0.7 µs an observation, these about 10 ns).
// Invariant: label sets are bounded: closed lists, and at most so many models and rules (later ones count as `other`).
import { ACTIONS, FALLBACK_REASONS, ROLES } from '../contract/decision.js'
import { MODES } from '../contract/transaction.js'
import { ERRORS, type ErrorCode } from '../errors.js'
import type { Limits } from '../limits.js'
import { DURATION_BOUNDS_S, Histogram } from './histogram.js'
import { createExposition, type Exposed, type Part, type Sample } from './exposition.js'
import { createStateMetrics, type StateMetrics } from './state-metrics.js'

/** The stages of a transaction's life that are timed, in order; the others take less than the clock can tell. */
export const STAGES = ['receive', 'validate', 'features', 'infer', 'decide', 'log'] as const
export type Stage = (typeof STAGES)[number]

/** Index of a stage in STAGES, by its name. */
export const STAGE: Readonly<Record<Stage, number>> = {
  receive: 0,
  validate: 1,
  features: 2,
  infer: 3,
  decide: 4,
  log: 5,
}

/**
 * Why an answered transaction has no record: no room in the ring, the log refused, the drain ended before the write,
 * or the upper bound that the next epoch read for a process that died.
 */
export const LOST_REASONS = ['no_room', 'log_failing', 'drain', 'crash'] as const
export type LostReason = (typeof LOST_REASONS)[number]

/** What a rule that matched does. */
export const RULE_STATES = ['enforce', 'shadow'] as const
export type RuleState = (typeof RULE_STATES)[number]

/** Seconds: a tick is promised within 2 ms at p99, so there is an edge. */
const TICK_BOUNDS_S = [0.0005, 0.001, 0.0015, 0.002, 0.003, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 1] as const

/** Milliseconds between two slices of the last minute. */
const ROLL_MS = 10_000

/** Names a model in calls of the hot path; got once per loaded model by `model`. */
export type ModelIndex = number

/** What a registered reader returns at a scrape: one number, or one per label set. */
export type Reading = number | readonly Sample[]

/** A metric read only when somebody scrapes. `labels` names the label set of the samples; none by default. */
export interface ReadMetric {
  readonly name: string
  readonly help: string
  readonly labels?: readonly string[]
  read(): Reading
}

/** A histogram read only when somebody scrapes; `bounds` in the unit of the name. */
export interface ReadHistogram {
  readonly name: string
  readonly help: string
  readonly bounds: readonly number[]
  readonly labels?: readonly string[]
  read(): readonly Part[]
}

export interface Metrics {
  /** Index of a model (`name@version`) for `decision` and `degraded`; the same name gives the same index. */
  model(name: string): ModelIndex
  /** A transaction was taken in: index into MODES. */
  taken(mode: number): void
  /** A decision was made: index into ACTIONS, model, index into ROLES. */
  decision(action: number, model: ModelIndex, role: number): void
  /** A direct call of a model was answered with so many rows. */
  inferred(model: ModelIndex, rows: number): void
  /** A model was left for the next: which, and the index into FALLBACK_REASONS. */
  degraded(from: ModelIndex, reason: number): void
  /** These rules matched a decision: enforced, or in trial. */
  matched(rules: readonly string[], state: RuleState): void
  /** A stage (index into STAGES) took so many microseconds. */
  stage(stage: number, microseconds: number): void
  /** A request took so many microseconds, from all of it being there to its answer. */
  request(microseconds: number): void
  rejected(code: ErrorCode): void
  /** `count` records were answered and will never be in the log. */
  lost(reason: LostReason, count?: number): void
  /** A record was answered before it was durable (`logged: "pending"`). */
  pending(): void
  /** The tick that deadlines run on came so many microseconds late. */
  tickLate(microseconds: number): void
  /** Of state that servers share. */
  readonly state: StateMetrics
  /** A gauge read at the scrape. */
  gauge(metric: ReadMetric): void
  /** A counter read at the scrape; its reading never falls. */
  counter(metric: ReadMetric): void
  /** A histogram that somebody else counts, read at the scrape. */
  histogram(metric: ReadHistogram): void
  /** Forgets what was counted: what the warm-up did is nobody's traffic. */
  reset(): void
  /** Totals and the last minute's p50 and p99 for `/v1/status`. */
  summary(): MetricsSummary
  /** The exposition: OpenMetrics where the Accept header asks for it, else Prometheus text. */
  scrape(accept: string): Promise<{ contentType: string; body: string }>
  close(): void
}

export interface Quantiles {
  readonly count: number
  readonly p50_ms: number
  readonly p99_ms: number
}

export interface MetricsSummary {
  readonly decisions: number
  readonly degraded: number
  readonly rejected: Readonly<Record<string, number>>
  readonly lost: Readonly<Record<string, number>>
  readonly pending: number
  readonly last_minute: {
    readonly request: Quantiles
    readonly stages: Readonly<Record<string, Quantiles>>
    readonly deadline_tick_late: Quantiles
  }
}

/** What the hot path writes: flat arrays and histograms, indexed by numbers. */
interface Counts {
  readonly models: Names
  readonly rules: Names
  /** By rule, then state. */
  readonly matched: Float64Array
  readonly taken: Float64Array
  readonly decisions: Float64Array
  readonly degraded: Float64Array
  readonly inferred: Float64Array
  readonly rejected: Float64Array
  readonly lost: Float64Array
  pending: number
  readonly stages: readonly Histogram[]
  readonly request: Histogram
  readonly tickLate: Histogram
}

const CODES = Object.keys(ERRORS)
const CODE_INDEX: ReadonlyMap<string, number> = new Map(CODES.map((code, index) => [code, index]))
const REASONS = FALLBACK_REASONS.length

function createCounts({ metricModelsMax: modelsMax, metricRulesMax: rulesMax }: Limits): Counts {
  return {
    models: createNames(modelsMax),
    rules: createNames(rulesMax),
    matched: new Float64Array(rulesMax * RULE_STATES.length),
    taken: new Float64Array(MODES.length),
    decisions: new Float64Array(modelsMax * ROLES.length * ACTIONS.length),
    degraded: new Float64Array(modelsMax * REASONS),
    inferred: new Float64Array(modelsMax),
    rejected: new Float64Array(CODES.length),
    lost: new Float64Array(LOST_REASONS.length),
    pending: 0,
    stages: STAGES.map(() => new Histogram()),
    request: new Histogram(),
    tickLate: new Histogram(),
  }
}

/** Makes the metrics of one process. `nodeMetrics` adds Node's own (event loop, collections, memory). */
export function createMetrics(limits: Limits, options: { nodeMetrics?: boolean } = {}): Metrics {
  const counts = createCounts(limits)
  const { models, rules, matched, decisions, degraded, rejected, lost, stages, request, tickLate } = counts
  const shared = createStateMetrics()
  const exposed = [...countersOf(counts), ...histogramsOf(counts), ...shared.exposed]
  const exposition = createExposition(exposed, options.nodeMetrics ?? true)
  const timer = setInterval(() => {
    for (const histogram of [...stages, request, tickLate]) histogram.roll()
  }, ROLL_MS)
  timer.unref()
  return {
    model: (name) => models.index(name),
    taken(mode) {
      counts.taken[mode] += 1
    },
    decision(action, model, role) {
      decisions[(model * ROLES.length + role) * ACTIONS.length + action] += 1
    },
    inferred(model, rows) {
      counts.inferred[model] += rows
    },
    degraded(from, reason) {
      degraded[from * REASONS + reason] += 1
    },
    matched(names, state) {
      for (const name of names) matched[rules.index(name) * RULE_STATES.length + RULE_STATES.indexOf(state)] += 1
    },
    stage(stage, microseconds) {
      stages[stage].record(microseconds)
    },
    request: (microseconds) => request.record(microseconds),
    rejected(code) {
      rejected[CODE_INDEX.get(code)!] += 1
    },
    lost(reason, count = 1) {
      lost[LOST_REASONS.indexOf(reason)] += count
    },
    pending() {
      counts.pending += 1
    },
    tickLate: (microseconds) => tickLate.record(microseconds),
    state: shared.state,
    gauge: (metric) => exposition.add({ kind: 'gauge', ...bound(metric) }),
    counter: (metric) => exposition.add({ kind: 'counter', ...bound(metric) }),
    histogram(metric) {
      const { name, help, bounds, labels = [] } = metric
      exposition.add({ kind: 'histogram', name, help, bounds, labels, unitsPerBound: 1, parts: () => metric.read() })
    },
    reset() {
      for (const counters of [counts.taken, decisions, degraded, counts.inferred, matched, rejected, lost])
        counters.fill(0)
      for (const histogram of [...stages, request, tickLate]) histogram.reset()
      counts.pending = 0
      shared.reset()
    },
    summary: () => summaryOf(counts),
    scrape: (accept) => exposition.scrape(accept),
    close: () => clearInterval(timer),
  }
}

function countersOf(counts: Counts): Exposed[] {
  const { models, rules, matched, taken, decisions, degraded, inferred, rejected, lost } = counts
  const counter = (name: string, help: string, labels: string[], read: () => Reading): Exposed => {
    return { kind: 'counter', name, help, labels, read }
  }
  return [
    counter('assay_transactions_total', 'Transactions taken in, by mode', ['mode'], () =>
      MODES.map((mode, index) => ({ labels: { mode }, value: taken[index] })),
    ),
    counter('assay_decisions_total', 'Decisions by action, model and role', ['action', 'model', 'role'], () =>
      nonZero(decisions, (index) => ({
        action: ACTIONS[index % ACTIONS.length],
        role: ROLES[Math.floor(index / ACTIONS.length) % ROLES.length],
        model: models.name(Math.floor(index / (ACTIONS.length * ROLES.length))),
      })),
    ),
    counter('assay_degraded_total', 'Models left for the next, by model and reason', ['from', 'reason'], () =>
      nonZero(degraded, (index) => ({
        from: models.name(Math.floor(index / REASONS)),
        reason: FALLBACK_REASONS[index % REASONS],
      })),
    ),
    counter('assay_inferences_total', 'Rows of direct calls, by model: scored, and no decisions', ['model'], () =>
      nonZero(inferred, (index) => ({ model: models.name(index) })),
    ),
    counter('assay_rule_matches_total', 'Decisions that a rule matched, enforced or in trial', ['rule', 'state'], () =>
      nonZero(matched, (index) => ({
        rule: rules.name(Math.floor(index / RULE_STATES.length)),
        state: RULE_STATES[index % RULE_STATES.length],
      })),
    ),
    counter('assay_requests_rejected_total', 'Transactions and requests refused, by error code', ['code'], () =>
      nonZero(rejected, (index) => ({ code: CODES[index] })),
    ),
    counter('assay_records_lost_total', 'Answered and never in the decision log, by reason', ['reason'], () =>
      LOST_REASONS.map((reason, index) => ({ labels: { reason }, value: lost[index] })),
    ),
    counter('assay_records_pending_total', 'Answered before the record was durable', [], () => counts.pending),
  ]
}

function histogramsOf({ stages, request, tickLate }: Counts): Exposed[] {
  const seconds = { kind: 'histogram', bounds: DURATION_BOUNDS_S, unitsPerBound: 1e6, labels: [] } as const
  return [
    {
      ...seconds,
      name: 'assay_stage_duration_seconds',
      help: 'Time spent in each stage',
      labels: ['stage'],
      parts: () => stages.map((counted, index) => ({ labels: { stage: STAGES[index] }, counted })),
    },
    {
      ...seconds,
      name: 'assay_request_duration_seconds',
      help: 'From the whole request to answer',
      parts: () => [{ labels: {}, counted: request }],
    },
    {
      ...seconds,
      name: 'assay_deadline_tick_late_seconds',
      help: 'How late the tick came that deadlines run on',
      bounds: TICK_BOUNDS_S,
      parts: () => [{ labels: {}, counted: tickLate }],
    },
  ]
}

function summaryOf(counts: Counts): MetricsSummary {
  const { decisions, degraded, rejected, lost, pending, stages, request, tickLate } = counts
  return {
    decisions: total(decisions),
    degraded: total(degraded),
    rejected: named(rejected, CODES),
    lost: named(lost, LOST_REASONS),
    pending,
    last_minute: {
      request: quantiles(request),
      stages: Object.fromEntries(STAGES.map((stage, index) => [stage, quantiles(stages[index])])),
      deadline_tick_late: quantiles(tickLate),
    },
  }
}

function bound(metric: ReadMetric): { name: string; help: string; labels: readonly string[]; read(): Reading } {
  return { name: metric.name, help: metric.help, labels: metric.labels ?? [], read: () => metric.read() }
}

interface Names {
  index(name: string): number
  name(index: number): string
}

/** Names things by small integers; the last index is `other`, for whatever comes after the table is full. */
function createNames(max: number): Names {
  const names: string[] = []
  const indices = new Map<string, number>()
  return {
    index(name) {
      const known = indices.get(name)
      if (known !== undefined) return known
      if (names.length >= max - 1) return max - 1
      indices.set(name, names.length)
      names.push(name)
      return names.length - 1
    },
    name: (index) => names[index] ?? 'other',
  }
}

function nonZero(values: Float64Array, labelsOf: (index: number) => Record<string, string>): Sample[] {
  const samples: Sample[] = []
  for (let index = 0; index < values.length; index++) {
    if (values[index] > 0) samples.push({ labels: labelsOf(index), value: values[index] })
  }
  return samples
}

function total(values: Float64Array): number {
  return values.reduce((sum, value) => sum + value, 0)
}

function named(values: Float64Array, names: readonly string[]): Record<string, number> {
  return Object.fromEntries(names.map((name, index) => [name, values[index]] as const).filter(([, value]) => value > 0))
}

function quantiles(histogram: Histogram): Quantiles {
  const { count, values } = histogram.lastMinute([0.5, 0.99])
  return { count, p50_ms: values[0] / 1000, p99_ms: values[1] / 1000 }
}
