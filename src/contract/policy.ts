// The policy: what must be the same on every replica. Its fingerprint stands in every decision.
import { type Static, Type } from '@sinclair/typebox'
import { LIMITS } from '../limits.js'
import { canonicalDigest } from './canonical-json.js'
import { Catalogue } from './catalogue.js'
import { ModelThresholds, Rule, ThresholdSegment, ValueLists } from './rules.js'
import { StatePolicy } from './state.js'
import { TransactionSchema } from './transaction.js'

export const ModelRef = Type.String({
  pattern: '^[a-z0-9][a-z0-9._-]{0,63}@[A-Za-z0-9][A-Za-z0-9._-]{0,31}$',
  description: 'name@version',
})

export const Currencies = Type.Object(
  {
    base: Type.String({ pattern: '^[A-Z]{3}$' }),
    unlisted: Type.Union([Type.Literal('refuse'), Type.Literal('missing')]),
    list: Type.Record(
      Type.String({ pattern: '^[A-Z]{3}$' }),
      Type.Object(
        {
          exponent: Type.Integer({ minimum: 0, maximum: 4 }),
          rate: Type.Number({ exclusiveMinimum: 0, description: 'base units for one unit of this currency' }),
        },
        { additionalProperties: false },
      ),
    ),
  },
  { additionalProperties: false },
)
export type Currencies = Static<typeof Currencies>

export const Share = Type.Integer({ minimum: 0, maximum: 10_000, description: 'in 1/10,000' })
export const ExperimentName = Type.String({ pattern: '^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$' })

/** Seed of the live routes. `share` is in 1/10,000 of the entities named by `sticky_by`. */
export const Routes = Type.Object(
  {
    name: Type.String({ pattern: '^[a-z0-9][a-z0-9._-]{0,63}$' }),
    champion: ModelRef,
    challenger: Type.Union([ModelRef, Type.Null()]),
    share: Share,
    baseline: ModelRef,
    sticky_by: Type.String(),
    experiment: ExperimentName,
  },
  { additionalProperties: false },
)
export type Routes = Static<typeof Routes>

/** Decisions that the sidecar counts beside all: those whose field has one of the values. */
export const Segment = Type.Object(
  {
    name: Type.String({ pattern: '^[a-z0-9][a-z0-9._-]{0,63}$' }),
    field: Type.String({ description: '`currency`, or a declared field that is not sensitive' }),
    values: Type.Array(
      Type.Union([Type.String({ maxLength: LIMITS.stringCharsMax }), Type.Number(), Type.Boolean()], {
        description: 'of the type of the field',
      }),
      { minItems: 1, maxItems: LIMITS.segmentValuesMax },
    ),
  },
  { additionalProperties: false },
)
export type Segment = Static<typeof Segment>

const Above = Type.Number({ minimum: 0, maximum: 1, description: 'of the share of the champion, as a difference' })

/**
 * When a ramp stops by itself: the challenger lies above the champion by more than is said here, both counted since the
 * step began. No step is taken, and nothing is compared, before `samples_min` decisions.
 */
export const RampGuards = Type.Object(
  {
    samples_min: Type.Integer({ minimum: 1, maximum: 1_000_000 }),
    /** Decisions whose model failed, or gave what is no score. */
    errors_above: Above,
    degraded_above: Above,
    declines_above: Above,
    latency_p95_ms_above: Type.Number({ minimum: 0, maximum: 1000 }),
    /** `roll_back`: to the routes before the ramp; `hold`: the share stays, the ramp ends. */
    on_trip: Type.Union([Type.Literal('roll_back'), Type.Literal('hold')]),
  },
  { additionalProperties: false },
)
export type RampGuards = Static<typeof RampGuards>

export const Policy = Type.Object(
  {
    format: Type.Literal(1),
    schema: TransactionSchema,
    catalogue: Catalogue,
    currencies: Currencies,
    clock: Type.Union([Type.Literal('live'), Type.Literal('replay')]),
    routes: Routes,
    thresholds: Type.Record(Type.String(), ModelThresholds, {
      description: 'name@version → cuts that replace those of the manifest',
    }),
    /** Absent, like what follows them, in policies of earlier releases, whose fingerprints stand. */
    segments: Type.Optional(Type.Array(ThresholdSegment, { maxItems: LIMITS.thresholdSegmentsMax })),
    lists: Type.Optional(ValueLists),
    rules: Type.Optional(Type.Array(Rule, { maxItems: LIMITS.rulesMax })),
    budgets: Type.Object(
      {
        deadline_ms: Type.Number({ minimum: 1, maximum: 1000 }),
        log_wait_ms: Type.Number({ minimum: 1, maximum: 10_000 }),
      },
      { additionalProperties: false },
    ),
    durability: Type.Union([Type.Literal('synced'), Type.Literal('buffered')]),
    on_log_unavailable: Type.Union([Type.Literal('reject'), Type.Literal('serve_and_count')]),
    idempotency: Type.Object(
      { window_ms: Type.Integer({ minimum: 1000 }), ids_max: Type.Integer({ minimum: 1, maximum: 50_000_000 }) },
      { additionalProperties: false },
    ),
    breaker: Type.Object(
      {
        error_percent: Type.Number({ minimum: 1, maximum: 100 }),
        volume: Type.Integer({ minimum: 1 }),
        window_ms: Type.Integer({ minimum: 100 }),
        probe_after_ms: Type.Integer({ minimum: 10 }),
      },
      { additionalProperties: false },
    ),
    server_timing: Type.Boolean(),
    /** Of state that servers share; absent: STATE_POLICY_DEFAULTS. */
    state: Type.Optional(StatePolicy),
    /** Absent: no ramp starts. */
    ramp_guards: Type.Optional(RampGuards),
    /** `required`: only bundles that an approver has approved are routed to. Absent: none needs it. */
    model_approval: Type.Optional(Type.Union([Type.Literal('none'), Type.Literal('required')])),
    governance: Type.Optional(
      Type.Object(
        { segments: Type.Array(Segment, { maxItems: LIMITS.driftSegmentsMax }) },
        { additionalProperties: false },
      ),
    ),
  },
  { additionalProperties: false },
)
export type Policy = Static<typeof Policy>

/** The fingerprint, 32 bytes: SHA-256 over the canonical JSON of the policy with its format, without the routes. */
export function policyFingerprint(policy: Policy): Buffer {
  return canonicalDigest({ ...policy, routes: undefined })
}

/** Differences that are named; whoever sees so many has another file in hand. */
const DIFFERENCES_MAX = 20

/** JSON pointers to where two policies differ, as deep as both have it. Routes are left out: the log's win. */
export function policyDifferences(one: Policy, other: Policy): string[] {
  const found: string[] = []
  const compare = (left: unknown, right: unknown, path: string): void => {
    if (found.length >= DIFFERENCES_MAX) return
    if (isBranch(left) && isBranch(right) && Array.isArray(left) === Array.isArray(right)) {
      for (const key of new Set([...Object.keys(left), ...Object.keys(right)])) {
        compare(left[key], right[key], `${path}/${key.replaceAll('~', '~0').replaceAll('/', '~1')}`)
      }
    } else if (left !== right) found.push(path)
  }
  compare({ ...one, routes: null }, { ...other, routes: null }, '')
  return found
}

function isBranch(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null
}
