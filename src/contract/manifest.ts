// manifest.json of a model bundle: models/<name>/<version>/.
import { type Static, Type } from '@sinclair/typebox'
import { LIMITS } from '../limits.js'

export const Digest = Type.String({ pattern: '^sha256:[0-9a-f]{64}$' })
const Probability = Type.Number({ minimum: 0, maximum: 1 })
/** Share of frauds among the rows: neither none nor all, which would have no odds. */
const Rate = Type.Number({ exclusiveMinimum: 0, exclusiveMaximum: 1 })

/**
 * Score cuts: at or above `decline_at` decline, else at or above `review_at` review, else at or above `challenge_at`
 * challenge.
 */
export const Thresholds = Type.Object(
  {
    challenge_at: Type.Optional(Probability),
    review_at: Type.Optional(Probability),
    decline_at: Type.Optional(Probability),
  },
  { additionalProperties: false },
)
export type Thresholds = Static<typeof Thresholds>

/** From the model's raw output to a probability; identity where absent. */
export const ScoreMap = Type.Union([
  Type.Object({ kind: Type.Literal('identity') }, { additionalProperties: false }),
  Type.Object({ kind: Type.Literal('sigmoid') }, { additionalProperties: false }),
  Type.Object(
    { kind: Type.Literal('linear'), from: Type.Number(), to: Type.Number() },
    { additionalProperties: false },
  ),
  Type.Object(
    {
      kind: Type.Literal('prior_shift'),
      trained_rate: Rate,
      real_rate: Rate,
      /** What the model gives; a probability where absent. */
      from: Type.Optional(Type.Union([Type.Literal('probability'), Type.Literal('log_odds')])),
    },
    { additionalProperties: false },
  ),
  Type.Object(
    {
      kind: Type.Literal('table'),
      raw: Type.Array(Type.Number(), { minItems: 2, maxItems: LIMITS.scoreTableMax }),
      score: Type.Array(Probability, { minItems: 2, maxItems: LIMITS.scoreTableMax }),
    },
    { additionalProperties: false },
  ),
])
export type ScoreMap = Static<typeof ScoreMap>

const Input = {
  name: Type.String(),
  dtype: Type.Union([Type.Literal('float32'), Type.Literal('float64'), Type.Literal('int64')]),
}

export const Manifest = Type.Object(
  {
    format: Type.Literal(1),
    name: Type.String({ pattern: '^[a-z0-9][a-z0-9._-]{0,63}$' }),
    version: Type.String({ pattern: '^[A-Za-z0-9][A-Za-z0-9._-]{0,31}$' }),
    kind: Type.Union([Type.Literal('onnx'), Type.Literal('scorecard')]),
    file: Type.Object({ path: Type.String(), digest: Digest, bytes: Type.Integer() }, { additionalProperties: false }),
    features: Type.Array(
      Type.Object({ name: Type.String(), digest: Type.Optional(Digest) }, { additionalProperties: false }),
      {
        minItems: 1,
        maxItems: LIMITS.featuresMax,
        description: 'in the order the model takes them; without digests they are its own, not those of a catalogue',
      },
    ),
    input: Type.Optional(Type.Object(Input, { additionalProperties: false, description: 'one tensor [N, features]' })),
    inputs: Type.Optional(
      Type.Array(Type.Object({ ...Input, columns: Type.Integer({ minimum: 1 }) }, { additionalProperties: false }), {
        ...{ minItems: 1, maxItems: LIMITS.featuresMax },
        description: 'in place of input: several tensors [N, columns], each takes the features that come next',
      }),
    ),
    output: Type.Optional(
      Type.Object({ name: Type.String(), column: Type.Integer({ minimum: 0 }) }, { additionalProperties: false }),
    ),
    score_map: Type.Optional(ScoreMap),
    takes_nan: Type.Boolean(),
    thresholds: Type.Optional(Thresholds),
    golden: Type.Object(
      { path: Type.String(), digest: Digest, tolerance: Type.Number() },
      { additionalProperties: false },
    ),
    reference_profile: Type.Optional(
      Type.Object({ path: Type.String(), digest: Digest }, { additionalProperties: false }),
    ),
    training: Type.Record(Type.String(), Type.Unknown()),
  },
  { additionalProperties: false },
)
export type Manifest = Static<typeof Manifest>
