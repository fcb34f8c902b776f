// The feature catalogue: every feature is declared, none is coded. Its digest and each feature's digest are
// SHA-256 over canonical JSON (RFC 8785) of the definition.
import { type Static, Type } from '@sinclair/typebox'
import { LIMITS } from '../limits.js'

const Duration = Type.String({ pattern: '^[1-9][0-9]{0,5}(ms|s|m|h|d)$', description: 'such as 30m, 24h, 7d' })
const Missing = Type.Union([Type.Literal('nan'), Type.Number()], { description: 'the value for "nothing known"' })
const Named = {
  name: Type.String({ pattern: '^[a-z][a-z0-9_]{0,63}$' }),
  dtype: Type.Optional(Type.Union([Type.Literal('float32'), Type.Literal('float64'), Type.Literal('int64')])),
  description: Type.Optional(Type.String({ maxLength: 500 })),
}

/**
 * A test on one field of the transaction; a list of tests means all of them. `amount` is in major units of the base
 * currency.
 */
export const FieldTest = Type.Object(
  {
    field: Type.String(),
    op: Type.Union(['eq', 'ne', 'in', 'lt', 'le', 'gt', 'ge'].map((op) => Type.Literal(op))),
    value: Type.Union([
      Type.String(),
      Type.Number(),
      Type.Boolean(),
      Type.Array(Type.Union([Type.String(), Type.Number()])),
    ]),
  },
  { additionalProperties: false },
)

/**
 * A test on what labels say of an event by then: `authorisation`, the issuer's latest answer, or `fraud`, whether any
 * source reports it.
 */
export const LabelTest = Type.Union([
  Type.Object(
    {
      label: Type.Literal('authorisation'),
      is: Type.Union([Type.Literal('approved'), Type.Literal('declined'), Type.Literal('unanswered')]),
    },
    { additionalProperties: false },
  ),
  Type.Object(
    { label: Type.Literal('fraud'), is: Type.Union([Type.Literal('reported'), Type.Literal('unreported')]) },
    { additionalProperties: false },
  ),
])

export const FieldFeature = Type.Object(
  { ...Named, kind: Type.Literal('field'), field: Type.String(), missing: Missing },
  { additionalProperties: false },
)
export const CalendarFeature = Type.Object(
  {
    ...Named,
    kind: Type.Literal('calendar'),
    part: Type.Union([
      Type.Literal('hour'),
      Type.Literal('weekday'),
      Type.Literal('day_of_month'),
      Type.Literal('month'),
    ]),
    in: Type.Optional(
      Type.Array(Type.Integer(), { description: '1 where the part is one of these, else 0; weekday 1 = Monday … 7' }),
    ),
    zone: Type.String({ description: 'utc, an IANA name, or offset (that of occurred_at)' }),
  },
  { additionalProperties: false },
)
export const AggregateFeature = Type.Object(
  {
    ...Named,
    kind: Type.Literal('aggregate'),
    entity: Type.String(),
    function: Type.Union(
      ['count', 'sum', 'mean', 'max', 'distinct', 'time_since_last', 'label_rate'].map((name) => Type.Literal(name)),
    ),
    of: Type.Optional(Type.String({ description: 'amount, or a declared field; time_since_last is in seconds' })),
    window: Duration,
    delay: Type.Optional(Duration),
    where: Type.Optional(Type.Array(Type.Union([FieldTest, LabelTest]), { maxItems: 8 })),
    bucketed: Type.Optional(
      Type.String({ ...Duration, description: 'counts in steps of this width instead of holding every event' }),
    ),
    missing: Missing,
  },
  { additionalProperties: false },
)
export const RatioFeature = Type.Object(
  { ...Named, kind: Type.Literal('ratio'), numerator: Type.String(), denominator: Type.String(), missing: Missing },
  { additionalProperties: false },
)
export const DifferenceFeature = Type.Object(
  { ...Named, kind: Type.Literal('difference'), minuend: Type.String(), subtrahend: Type.String(), missing: Missing },
  { additionalProperties: false },
)
export const CategoryFeature = Type.Object(
  {
    ...Named,
    kind: Type.Literal('category'),
    field: Type.String(),
    table: Type.Record(Type.String(), Type.Number()),
    other: Type.Number(),
    missing: Missing,
  },
  { additionalProperties: false },
)

export const FeatureSpec = Type.Union([
  FieldFeature,
  CalendarFeature,
  AggregateFeature,
  RatioFeature,
  DifferenceFeature,
  CategoryFeature,
])
export type FeatureSpec = Static<typeof FeatureSpec>

/**
 * Entities, and slots for events, that each entity field may hold in place of `entitiesMax` and `featureEventsMax`; the
 * least recently seen leave first. Some 76 bytes and a ring of buckets for an entity, 8 bytes and up for a slot.
 */
export const FeatureBounds = Type.Object(
  {
    entities_max: Type.Optional(Type.Integer({ minimum: 1, maximum: 20_000_000 })),
    events_max: Type.Optional(Type.Integer({ minimum: 1 << 15, maximum: 1 << 28 })),
  },
  { additionalProperties: false },
)

export const Catalogue = Type.Object(
  {
    format: Type.Literal(1),
    bounds: Type.Optional(FeatureBounds),
    features: Type.Array(FeatureSpec, { minItems: 1, maxItems: LIMITS.featuresMax }),
  },
  { additionalProperties: false },
)
export type Catalogue = Static<typeof Catalogue>
