// The Open Inference Protocol v2 over REST: the shapes of its requests and answers, the one declaration from which
// requests are checked and the OpenAPI document is made. What makes sense of them is in inference-request.ts and
// inference-rows.ts.
import { type Static, Type } from '@sinclair/typebox'
import { LIMITS } from '../limits.js'
import { DATATYPES } from './inference-tensor.js'

const Name = Type.String({ minLength: 1, maxLength: LIMITS.stringCharsMax })
const Size = Type.Integer({ minimum: 0, maximum: LIMITS.bodyBytesMax })
/** One text for every row, or one for each. */
const Texts = Type.Union([Type.String(), Type.Array(Type.String(), { maxItems: LIMITS.inferRowsMax })])

/** What a datatype makes of it is looked at later, element by element. */
const Element = Type.Union([Type.Number(), Type.Boolean(), Type.Null(), Type.Array(Type.Unknown())])

const InputTensor = Type.Object(
  {
    name: Name,
    shape: Type.Array(Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER }), {
      ...{ minItems: 1, maxItems: 8, description: 'rows first' },
    }),
    datatype: Type.Union(DATATYPES.map((datatype) => Type.Literal(datatype))),
    parameters: Type.Optional(
      Type.Object({ binary_data_size: Type.Optional(Size) }, { description: 'bytes of it behind the JSON text' }),
    ),
    data: Type.Optional(Type.Array(Element, { description: 'flat, or nested as the shape says' })),
  },
  { additionalProperties: false },
)

const OutputWish = Type.Object(
  {
    name: Name,
    parameters: Type.Optional(Type.Object({ binary_data: Type.Optional(Type.Boolean()) })),
  },
  { additionalProperties: false },
)

/** Body of POST …/infer, or the JSON text that it begins with under Inference-Header-Content-Length. */
export const InferRequestBody = Type.Object(
  {
    id: Type.Optional(Type.String({ maxLength: LIMITS.stringCharsMax, description: 'stands in the answer again' })),
    /** Some clients name it again; the address counts. */
    model_name: Type.Optional(Type.String()),
    parameters: Type.Optional(
      Type.Object(
        {
          transaction_id: Type.Optional(Texts),
          entity: Type.Optional(Texts),
          binary_data_output: Type.Optional(Type.Boolean()),
        },
        { description: 'others are passed over' },
      ),
    ),
    inputs: Type.Array(InputTensor, { minItems: 1, maxItems: LIMITS.featuresMax }),
    outputs: Type.Optional(Type.Array(OutputWish, { maxItems: 8 })),
  },
  { additionalProperties: false },
)
export type InferRequestBody = Static<typeof InferRequestBody>

/** Body of POST /v2/repository/index; none means all. */
export const IndexRequest = Type.Object(
  { ready: Type.Optional(Type.Boolean({ description: 'only those that take rows' })) },
  { additionalProperties: false },
)

const Actions = Type.Union([Type.String(), Type.Array(Type.String())])

const OutputTensor = Type.Object({
  name: Type.String(),
  shape: Type.Array(Type.Integer({ minimum: 0 })),
  datatype: Type.String(),
  parameters: Type.Optional(Type.Object({ binary_data_size: Type.Integer({ minimum: 0 }) })),
  data: Type.Optional(Type.Array(Type.Union([Type.Number(), Type.Null()]))),
})

/** 200 of POST …/infer. */
export const InferAnswerBody = Type.Object({
  model_name: Type.String(),
  model_version: Type.Optional(Type.String()),
  id: Type.Optional(Type.String()),
  parameters: Type.Optional(
    Type.Object(
      {
        assay_decision_id: Actions,
        assay_action: Actions,
        assay_model_version: Actions,
        assay_degraded: Type.Union([Type.Boolean(), Type.Array(Type.Boolean())]),
      },
      { description: 'of the route: a value for one row, for several a list' },
    ),
  ),
  outputs: Type.Array(OutputTensor),
})

export const ServerMetadata = Type.Object({
  name: Type.String(),
  version: Type.String(),
  extensions: Type.Array(Type.String()),
})

const TensorMetadata = Type.Object({
  name: Type.String(),
  datatype: Type.String(),
  shape: Type.Array(Type.Integer({ minimum: -1 })),
})

export const ModelMetadata = Type.Object({
  name: Type.String(),
  versions: Type.Array(Type.String()),
  platform: Type.String(),
  inputs: Type.Array(TensorMetadata),
  outputs: Type.Array(TensorMetadata),
  parameters: Type.Optional(
    Type.Object({ provider: Type.String({ description: 'the execution provider of its session' }) }),
  ),
})
export type ModelMetadata = Static<typeof ModelMetadata>

export const RepositoryIndex = Type.Array(
  Type.Object({
    name: Type.String(),
    version: Type.String(),
    state: Type.Union([Type.Literal('READY'), Type.Literal('UNAVAILABLE')]),
    reason: Type.String(),
  }),
)
export type RepositoryIndex = Static<typeof RepositoryIndex>

const Duration = Type.Object({ count: Type.Integer({ minimum: 0 }), ns: Type.Integer({ minimum: 0 }) })

/** GET …/stats; each since the start of the server. */
export const ModelStatistics = Type.Object({
  model_stats: Type.Array(
    Type.Object({
      name: Type.String(),
      version: Type.String(),
      last_inference: Type.Integer({ minimum: 0, description: 'milliseconds since 1970; 0: none' }),
      inference_count: Type.Integer({ minimum: 0, description: 'rows of requests that were answered' }),
      execution_count: Type.Integer({ minimum: 0, description: 'batches that they were run in' }),
      inference_stats: Type.Object({
        success: Duration,
        fail: Duration,
        queue: Duration,
        compute_input: Duration,
        compute_infer: Duration,
        compute_output: Duration,
      }),
      batch_stats: Type.Array(Type.Unknown(), { maxItems: 0 }),
    }),
  ),
})
export type ModelStatistics = Static<typeof ModelStatistics>
