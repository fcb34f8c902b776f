// What the governance listener answers: the schemas from which its OpenAPI document and the types are made.
// Wire names are snake_case. Times are RFC 3339 in UTC, durations and latencies carry their unit in the name, and
// whatever was estimated stands beside its n and its bounds. Fields may be added within v1, never changed.
import { type Static, type TSchema, Type } from '@sinclair/typebox'
import { ACTIONS, ROLES } from './decision.js'

const Time = Type.String({ format: 'date-time' })
const Count = Type.Integer({ minimum: 0 })
const nullable = <Schema extends TSchema>(schema: Schema) => Type.Union([schema, Type.Null()])
const MaybeNumber = Type.Union([Type.Number(), Type.Null()])
const MaybeText = Type.Union([Type.String(), Type.Null()])
const MaybeTime = Type.Union([Time, Type.Null()])
const oneOf = <Value extends string>(values: readonly Value[]) => Type.Union(values.map((value) => Type.Literal(value)))

/** insufficient: fewer rows than a verdict needs. watch, drift: see docs of the drift monitor. */
export const VERDICTS = ['insufficient', 'stable', 'watch', 'drift'] as const
export const Verdict = oneOf(VERDICTS)
export type Verdict = Static<typeof Verdict>

export const Actions = Type.Object(
  { approve: Count, challenge: Count, review: Count, decline: Count },
  { description: 'decisions by action' },
)
export type Actions = Static<typeof Actions>

export const Moment = Type.Object({
  at: Time,
  decisions: Count,
  actions: Actions,
  degraded: Count,
  p50_ms: MaybeNumber,
  p99_ms: MaybeNumber,
})
export type Moment = Static<typeof Moment>

export const StageTime = Type.Object({ stage: Type.String(), mean_ms: Type.Number(), p99_ms: Type.Number() })

export const Lag = Type.Object({ records: Count, seconds: Type.Number({ minimum: 0 }) })
export type Lag = Static<typeof Lag>

export const Routes = Type.Object({
  name: Type.String(),
  champion: Type.String(),
  challenger: MaybeText,
  share: Type.Integer({ description: '1/10,000 of the entities' }),
  baseline: Type.String(),
  sticky_by: Type.String(),
  experiment: Type.String(),
  revision: Count,
})
export type Routes = Static<typeof Routes>

/** A ramp as its last control record left it. */
export const Ramp = Type.Object({
  steps: Type.Array(Type.Integer({ description: '1/10,000' })),
  step: Count,
  every_ms: Count,
  paused: Type.Boolean(),
})

/** Null where an action is not used. */
export const Cuts = Type.Object({ challenge_at: MaybeNumber, review_at: MaybeNumber, decline_at: MaybeNumber })
export type Cuts = Static<typeof Cuts>

export const ModelState = Type.Object({
  model: Type.String(),
  role: Type.String(),
  digest: Type.String(),
  loaded: Type.Boolean(),
  thresholds: Cuts,
  decisions: Type.Integer({ minimum: 0, description: 'answered within the window' }),
})

/** A row of the decisions table. `customer` and the like are in `entities`, masked where the policy says so. */
export const DecisionRow = Type.Object({
  decision_id: Type.String(),
  transaction_id: Type.String(),
  decided_at: Time,
  mode: Type.String(),
  action: Type.Union([oneOf(ACTIONS), Type.Null()], { description: 'null where nothing was decided' }),
  score: MaybeNumber,
  amount_minor: Type.Number(),
  currency: Type.String(),
  exponent: Type.Integer(),
  entities: Type.Record(Type.String(), MaybeText),
  model: MaybeText,
  role: MaybeText,
  degraded: Type.Boolean(),
  reasons: Type.Array(Type.String()),
  latency_ms: Type.Number(),
})
export type DecisionRow = Static<typeof DecisionRow>

export const DecisionRows = Type.Object({
  decisions: Type.Array(DecisionRow),
  next: Type.Union([Type.String(), Type.Null()], { description: 'the `after` of the next page' }),
})
export type DecisionRows = Static<typeof DecisionRows>

export const DecisionDetail = Type.Object({
  ...DecisionRow.properties,
  occurred_at: Time,
  received_at: Time,
  input: Type.Array(
    Type.Object({
      field: Type.String(),
      value: Type.Union([Type.String(), Type.Number(), Type.Boolean(), Type.Null()]),
      masked: Type.Boolean(),
    }),
  ),
  amount_base_minor: MaybeNumber,
  base_currency: MaybeText,
  vector: Type.Array(
    Type.Object({
      feature: Type.String(),
      value: MaybeNumber,
    }),
  ),
  features: Type.Array(Type.String(), { description: 'flags: cold, truncated, late, missing …' }),
  score_raw: MaybeNumber,
  score_action: MaybeText,
  thresholds: nullable(Cuts),
  segment: MaybeText,
  rules: Type.Array(Type.String()),
  rules_shadow: Type.Array(Type.String()),
  why: Type.Array(Type.Object({ code: Type.String(), detail: MaybeText, contribution: MaybeNumber })),
  digest: MaybeText,
  prescribed_model: MaybeText,
  bucket: Type.Integer(),
  routes_revision: Count,
  experiment: MaybeText,
  arm: MaybeText,
  propensity: MaybeNumber,
  fallback: Type.Array(Type.Object({ model: Type.String(), role: Type.String(), reason: Type.String() })),
  policy: Type.String(),
  stages: Type.Array(Type.Object({ stage: Type.String(), ms: Type.Number() })),
  shadows: Type.Array(Type.Object({ model: Type.String(), score: MaybeNumber, action: MaybeText, why: MaybeText })),
  labels: Type.Array(
    Type.Object({ source: Type.String(), kind: Type.String(), verdict: Type.String(), known_at: Time }),
  ),
  epoch: Count,
  sequence: Count,
  ordinal: Count,
  traceparent: MaybeText,
})
export type DecisionDetail = Static<typeof DecisionDetail>

export const DriftWindow = Type.Object({
  window: Type.String({ description: 'names the window at /api/v1/drift/{feature}?window=' }),
  from: Time,
  until: Time,
  n: Count,
  verdict: Verdict,
  psi: MaybeNumber,
  psi_low: Type.Union([Type.Number(), Type.Null()], { description: '95 % lower bound' }),
  psi_textbook: MaybeNumber,
  p: MaybeNumber,
  cause: Type.Union([Type.String(), Type.Null()], { description: 'such as a cold window or a change of policy' }),
})
export type DriftWindow = Static<typeof DriftWindow>

export const DriftFeature = Type.Object({
  feature: Type.String(),
  model: Type.String(),
  segment: Type.String(),
  kind: Type.String({ description: 'feature, score, action or field' }),
  verdict: Verdict,
  since: MaybeTime,
  windows: Type.Array(DriftWindow),
})
export type DriftFeature = Static<typeof DriftFeature>

/** What the windows of a model version are held against first (governance/monitors/drift.md). */
export const DriftReference = Type.Object({
  kind: Type.String({ description: 'training, provisional (its first live rows), collecting (these), unreadable' }),
  rows: Type.Union([Count, Type.Null()], { description: 'from how many rows it was made, or will be' }),
  ...{ from: MaybeTime, until: MaybeTime },
})
export type DriftReference = Static<typeof DriftReference>

export const DriftOverview = Type.Object({
  models: Type.Array(Type.String()),
  segments: Type.Array(Type.String()),
  kinds: Type.Array(Type.String({ description: 'how windows are cut and what they are held against' })),
  ...{ kind: MaybeText, reference: nullable(DriftReference) },
  features: Type.Array(DriftFeature),
})
export type DriftOverview = Static<typeof DriftOverview>

export const Bin = Type.Object({
  label: Type.String(),
  kind: Type.String({ description: 'null, -inf, +inf, single, interval, unseen or category' }),
  low: MaybeNumber,
  high: MaybeNumber,
  reference: Count,
  current: Count,
  psi: MaybeNumber,
})
export type Bin = Static<typeof Bin>

/** One window against one of the references that it has. */
export const DriftAgainst = Type.Object({
  kind: Type.String({ description: 'asks for it, such as hour/day_before' }),
  reference: Type.String({
    description: 'training or provisional; day_before, week_before: the same hour, or the day, before',
  }),
  raises_alarms: Type.Boolean({ description: 'training and provisional do; the others are for the eye' }),
  reference_rows: Count,
  ...Type.Omit(DriftWindow, ['from', 'until']).properties,
})
export type DriftAgainst = Static<typeof DriftAgainst>

export const DriftDetail = Type.Object({
  ...DriftFeature.properties,
  window: nullable(DriftWindow),
  against: Type.Array(DriftAgainst, { description: 'the same window against every reference, training first' }),
  reference_rows: Count,
  current_rows: Count,
  bins: Type.Array(Bin),
})
export type DriftDetail = Static<typeof DriftDetail>

const Interval = Type.Object({ value: MaybeNumber, low: MaybeNumber, high: MaybeNumber })

export const ShadowModel = Type.Object({
  model: Type.String(),
  champion: Type.String(),
  segment: Type.String(),
  from: MaybeTime,
  until: MaybeTime,
  pairs: Count,
  shed: Count,
  failed: Count,
  flips: Count,
  flip_share: Interval,
  swap_in: Type.Integer({ minimum: 0, description: 'alerted by the shadow alone' }),
  swap_out: Type.Integer({ minimum: 0, description: 'alerted by the champion alone' }),
  swap_in_minor: Type.Number(),
  swap_out_minor: Type.Number(),
  declines_more: Count,
  declines_fewer: Count,
  currency: MaybeText,
  exponent: Type.Integer(),
  kappa: MaybeNumber,
  rank_correlation: MaybeNumber,
  mean_difference: MaybeNumber,
  equal_volume_threshold: MaybeNumber,
})
export type ShadowModel = Static<typeof ShadowModel>

export const ShadowOverview = Type.Object({ models: Type.Array(ShadowModel) })
export type ShadowOverview = Static<typeof ShadowOverview>

export const ShadowFlip = Type.Object({
  decision_id: Type.String(),
  transaction_id: Type.String(),
  decided_at: Time,
  champion_score: Type.Number(),
  shadow_score: Type.Number(),
  champion_action: Type.String(),
  shadow_action: Type.String(),
  amount_minor: Type.Number(),
  currency: Type.String(),
  exponent: Type.Integer(),
})
export type ShadowFlip = Static<typeof ShadowFlip>

export const ShadowDetail = Type.Object({
  summary: ShadowModel,
  segments: Type.Array(ShadowModel),
  thresholds: Type.Object({ champion: Cuts, shadow: Cuts }),
  density: Type.Object({
    edges: Type.Array(Type.Number(), { description: 'shared edges on both axes, as logits of the score' }),
    cells: Type.Array(Type.Object({ champion: Type.Integer(), shadow: Type.Integer(), pairs: Count }), {
      description: 'index of the cell on each axis, sparse',
    }),
  }),
  quadrants: Type.Array(
    Type.Object({ champion: Type.String(), shadow: Type.String(), pairs: Count, minor: Type.Number() }),
  ),
  series: Type.Array(Type.Object({ at: Time, pairs: Count, flips: Count, low: MaybeNumber, high: MaybeNumber })),
  flips: Type.Array(ShadowFlip),
})
export type ShadowDetail = Static<typeof ShadowDetail>

/** The feature that moved most in its newest window. */
export const WorstDrift = Type.Object({
  feature: Type.String(),
  verdict: Verdict,
  psi: MaybeNumber,
  psi_low: MaybeNumber,
  since: MaybeTime,
})

export const Summary = Type.Object({
  at: Time,
  newest_decision_at: MaybeTime,
  window_ms: Count,
  decisions: Type.Integer({ minimum: 0, description: 'within the window' }),
  decisions_held: Count,
  actions: Actions,
  degraded: Count,
  degraded_by: Type.Array(Type.Object({ reason: Type.String(), decisions: Count })),
  answered_by: Type.Array(Type.Object({ model: Type.String(), role: oneOf(ROLES), decisions: Count })),
  latency: Type.Object({
    decisions: Count,
    p50_ms: MaybeNumber,
    p95_ms: MaybeNumber,
    p99_ms: MaybeNumber,
    deadline_ms: MaybeNumber,
    stages: Type.Array(StageTime),
  }),
  bucket_ms: Count,
  series: Type.Array(Moment),
  drift: Type.Object({
    features: Count,
    drift: Count,
    watch: Count,
    insufficient: Count,
    worst: Type.Union([WorstDrift, Type.Null()]),
  }),
  shadow: Type.Array(ShadowModel),
  alerts_open: Count,
  lag: Lag,
  policy: MaybeText,
  routes: nullable(Routes),
  rollback_to: nullable(Routes),
  forced: Type.Object({ baseline: Type.Boolean(), open: Type.Array(Type.String()) }),
  ramp: nullable(Ramp),
  models: Type.Array(ModelState),
})
export type Summary = Static<typeof Summary>

export const Alert = Type.Object({
  id: Type.String(),
  alert: Type.String(),
  state: Type.String({ description: 'firing, resolved or silenced' }),
  severity: Type.String(),
  summary: Type.String(),
  labels: Type.Record(Type.String(), Type.String()),
  started_at: Time,
  ended_at: MaybeTime,
})
export type Alert = Static<typeof Alert>
export const Alerts = Type.Object({ alerts: Type.Array(Alert), next: MaybeText })
export type Alerts = Static<typeof Alerts>

export const Control = Type.Object({
  at: Time,
  kind: Type.String(),
  model: nullable(Type.String({ description: 'name@version, where the change is about one' })),
  actor: Type.String(),
  reason: Type.String(),
  /** Where the request came from; null where nobody asked, and for records of earlier releases. */
  remote_address: MaybeText,
  routes: nullable(Routes),
  policy: MaybeText,
  epoch: Count,
  sequence: Count,
})
export type Control = Static<typeof Control>
export const Audit = Type.Object({ controls: Type.Array(Control), next: MaybeText })
export type Audit = Static<typeof Audit>

export const Finding = Type.Object({
  kind: Type.String(),
  harmless: Type.Boolean(),
  segment: Type.String(),
  offset: Count,
  epoch: Count,
  sequence: Count,
  detail: Type.String(),
})
export type Finding = Static<typeof Finding>

export const Health = Type.Object({
  ready: Type.Boolean(),
  reasons: Type.Array(Type.String()),
  at: Time,
  version: Type.String(),
  node: Type.String(),
  lag: Lag,
  position: nullable(Type.Object({ log_id: Type.String(), epoch: Count, sequence: Count })),
  records: Type.Record(Type.String(), Count, { description: 'records of the store by type' }),
  findings: Type.Array(Finding),
  store_bytes: MaybeNumber,
  disk_free_bytes: MaybeNumber,
  disk_hours_left: nullable(
    Type.Number({
      description: 'until log or store is full at the pace of the last hour; null where nothing was decided',
    }),
  ),
  policy: MaybeText,
  policy_differences: Type.Array(Type.String(), {
    description:
      'paths at which the policy of the newest record is not that of the configuration the sidecar was started with',
  }),
  streams: Count,
})
export type Health = Static<typeof Health>
