// The summary: rate, latency by stage, actions and degraded answers of the last minute, and the minutes before it.
import { ACTIONS, type Role, ROLES } from '../../../contract/decision.js'
import type * as wire from '../../../contract/governance.js'
import { type ControlState, routingOf } from '../../../contract/control-state.js'
import type { Interval, JsonRow, Queries } from '../../store/queries.js'
import { openAlerts } from './alerts.js'
import * as cells from './cells.js'
import { driftCounts } from './drift.js'
import type { Held } from './held.js'
import { shadowOverview } from './shadow.js'
import { routesOf } from './tables.js'

const WINDOW_MS = 60_000
const BUCKET_MS = 10_000
const BUCKETS = 120
/** Records no older than this are "now": between two of them the window ends at the newest. */
const FLOWING_MS = 5_000
const STAGES = ['receive', 'validate', 'features', 'infer', 'decide'] as const

interface Window {
  readonly fromMs: number
  readonly untilMs: number
}

export async function summary(held: Held): Promise<wire.Summary> {
  const { recordedAtMs, lagRecords, lagSeconds } = held.facts()
  const queries = held.queries()
  const nowMs = held.clock.nowMs()
  const isFlowing = recordedAtMs > 0 && (lagRecords > 0 || nowMs - recordedAtMs < FLOWING_MS)
  const untilMs = isFlowing ? recordedAtMs + 1 : nowMs
  const window = { fromMs: untilMs - WINDOW_MS, untilMs }
  const [control, newest, totals, answered, degraded, series, drift, shadow, alerts] = await Promise.all([
    held.control(),
    queries.select(
      "SELECT count(*) AS decisions, max(decided_at_ms) AS newest FROM decisions WHERE kind = 'decision' AND mode = 'decide'",
    ),
    totalsOf(queries, window),
    answeredBy(queries, window),
    degradedBy(queries, window),
    seriesOf(queries, untilMs),
    driftCounts(held),
    shadowOverview(held, { sinceMs: untilMs - BUCKETS * BUCKET_MS, untilMs: null, segment: null, limit: 1 }),
    openAlerts(held),
  ])
  return {
    at: cells.time(untilMs),
    newest_decision_at: cells.maybeTime(newest[0] ?? {}, 'newest'),
    window_ms: WINDOW_MS,
    ...{ decisions: cells.number(totals, 'decisions'), decisions_held: cells.number(newest[0] ?? {}, 'decisions') },
    actions: actionsOf(totals),
    degraded: cells.number(totals, 'degraded'),
    ...{
      degraded_by: degraded,
      answered_by: answered,
      latency: latencyOf(totals, control),
      bucket_ms: BUCKET_MS,
      series,
    },
    ...{ drift, shadow: shadow.models, alerts_open: alerts },
    lag: { records: lagRecords, seconds: lagSeconds },
    policy: control?.policy_fingerprint ?? null,
    ...handOf(control),
    models: (control?.models ?? []).map((model) => ({
      model: model.reference,
      role: model.role,
      digest: model.digest.startsWith('sha256:') ? model.digest : `sha256:${model.digest}`,
      loaded: !/^(sha256:)?0+$/.test(model.digest),
      thresholds: model.thresholds,
      decisions: answered.filter((by) => by.model === model.reference).reduce((sum, by) => sum + by.decisions, 0),
    })),
  }
}

/** What operators have set: routes, what is forced, a ramp. */
function handOf(control: ControlState | null): Pick<wire.Summary, 'routes' | 'rollback_to' | 'forced' | 'ramp'> {
  if (control === null) return { routes: null, rollback_to: null, forced: { baseline: false, open: [] }, ramp: null }
  const { routes, previous, forced, ramp } = routingOf(control)
  return { routes: routesOf(routes), rollback_to: previous === null ? null : routesOf(previous), forced, ramp }
}

const IN_WINDOW = "decided_at_ms >= ? AND decided_at_ms < ? AND kind = 'decision' AND mode = 'decide'"

async function totalsOf(queries: Queries, { fromMs, untilMs }: Window): Promise<JsonRow> {
  const actions = ACTIONS.map((action) => `count(*) FILTER (action = '${action}') AS ${action}`)
  const stages = STAGES.map(
    (stage) => `avg(${stage}_us) AS ${stage}_mean, quantile_cont(${stage}_us, 0.99) AS ${stage}_p99`,
  )
  const [row] = await queries.select(
    `SELECT count(*) AS decisions, count(*) FILTER (degraded) AS degraded, ${[...actions, ...stages].join(', ')},
     quantile_cont(total_us, 0.5) AS p50, quantile_cont(total_us, 0.95) AS p95, quantile_cont(total_us, 0.99) AS p99
     FROM decisions WHERE ${IN_WINDOW}`,
    [fromMs, untilMs],
  )
  return row ?? {}
}

function actionsOf(row: JsonRow): wire.Actions {
  return {
    approve: cells.number(row, 'approve'),
    challenge: cells.number(row, 'challenge'),
    review: cells.number(row, 'review'),
    decline: cells.number(row, 'decline'),
  }
}

function latencyOf(row: JsonRow, control: ControlState | null): wire.Summary['latency'] {
  const decisions = cells.number(row, 'decisions')
  const ms = (name: string): number | null => cells.msOf(cells.maybeNumber(row, name))
  return {
    decisions,
    ...{ p50_ms: ms('p50'), p95_ms: ms('p95'), p99_ms: ms('p99') },
    deadline_ms: control?.policy.budgets.deadline_ms ?? null,
    stages:
      decisions === 0
        ? []
        : STAGES.map((stage) => ({ stage, mean_ms: ms(`${stage}_mean`) ?? 0, p99_ms: ms(`${stage}_p99`) ?? 0 })),
  }
}

async function answeredBy(queries: Queries, { fromMs, untilMs }: Window): Promise<wire.Summary['answered_by']> {
  const rows = await queries.select(
    `SELECT model, role, count(*) AS decisions FROM decisions WHERE ${IN_WINDOW} AND model IS NOT NULL
     GROUP BY model, role ORDER BY decisions DESC, model LIMIT 32`,
    [fromMs, untilMs],
  )
  return rows.map((row) => ({
    model: cells.text(row, 'model'),
    role: roleOf(row.role),
    decisions: cells.number(row, 'decisions'),
  }))
}

function roleOf(value: unknown): Role {
  return ROLES.find((role) => role === value) ?? 'baseline'
}

/** Why the first model in line did not answer. */
async function degradedBy(queries: Queries, { fromMs, untilMs }: Window): Promise<wire.Summary['degraded_by']> {
  const rows = await queries.select(
    `SELECT coalesce(json_extract_string(fallback, '$[0].reason'), 'unknown') AS reason, count(*) AS decisions
     FROM decisions WHERE ${IN_WINDOW} AND degraded GROUP BY 1 ORDER BY decisions DESC, reason LIMIT 16`,
    [fromMs, untilMs],
  )
  return rows.map((row) => ({ reason: cells.text(row, 'reason'), decisions: cells.number(row, 'decisions') }))
}

/** Whole buckets only: one that is still filling would look like a drop. Buckets without a decision are zeros. */
async function seriesOf(queries: Queries, endMs: number): Promise<wire.Moment[]> {
  const untilMs = Math.floor(endMs / BUCKET_MS) * BUCKET_MS
  const fromMs = untilMs - BUCKETS * BUCKET_MS
  const found = await queries.intervals({ fromMs, untilMs, stepMs: BUCKET_MS })
  const byTime = new Map(found.map((interval) => [interval.atMs, interval]))
  const first = found[0]?.atMs ?? untilMs
  const count = Math.max(0, (untilMs - first) / BUCKET_MS)
  return Array.from({ length: count }, (_, i) => momentOf(first + i * BUCKET_MS, byTime.get(first + i * BUCKET_MS)))
}

function momentOf(atMs: number, interval: Interval | undefined): wire.Moment {
  return {
    at: cells.time(atMs),
    decisions: interval?.decisions ?? 0,
    actions: actionsOf(interval?.actions ?? {}),
    degraded: interval?.degraded ?? 0,
    p50_ms: cells.msOf(interval?.p50Us ?? null),
    p99_ms: cells.msOf(interval?.p99Us ?? null),
  }
}
