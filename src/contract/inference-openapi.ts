// What the OpenAPI document of the score listener says of the Open Inference Protocol, from the schemas that validate.
// Pure.
import { type TSchema, Type } from '@sinclair/typebox'
import type { ErrorCode } from '../errors.js'
import {
  IndexRequest,
  InferAnswerBody,
  InferRequestBody,
  ModelMetadata,
  ModelStatistics,
  RepositoryIndex,
  ServerMetadata,
} from './inference.js'
import { ANYWHERE, BODY, BUSY, header, type Json, json, operation, pathParameter, plain, ref } from './openapi-parts.js'
import { Problem } from './problem.js'

/** Of every operation here. */
const ANY: readonly ErrorCode[] = [...ANYWHERE, 'ASSAY_NOT_READY']
const ASKED: readonly ErrorCode[] = [...ANY, 'ASSAY_MODEL_UNKNOWN']
const INFER: readonly ErrorCode[] = [
  ...[...ASKED, ...BODY, ...BUSY],
  ...(['ASSAY_TENSOR_INVALID', 'ASSAY_TRANSACTION_REUSED', 'ASSAY_DUPLICATES_WAITING'] as const),
  ...(['ASSAY_INFERENCE_FAILED', 'ASSAY_MODEL_UNAVAILABLE'] as const),
]

/** Name → schema, for `components`. */
export function inferenceSchemas(): Json {
  return {
    InferRequest: plain(InferRequestBody),
    InferAnswer: plain(InferAnswerBody),
    ServerMetadata: plain(ServerMetadata),
    ModelMetadata: plain(ModelMetadata),
    ModelStatistics: plain(ModelStatistics),
    RepositoryIndex: plain(RepositoryIndex),
    InferenceProblem: plain(Type.Composite([Problem, Type.Object({ error: Type.String() })])),
  }
}

const TENSOR_BYTES: Json = {
  schema: { type: 'string', format: 'binary', description: 'JSON, and behind it the bytes of tensors' },
}
const JSON_BYTES = header(
  'Inference-Header-Content-Length',
  Type.Integer({ minimum: 0 }),
  'bytes of the JSON that the body begins with; absent: all of it is JSON',
)

/** Every address under /v2; `example` is the name@version of a model. */
export function inferencePaths(example: string): Json {
  return Object.fromEntries(Object.entries(paths(example)).map(([path, item]) => [path, withErrors(item)]))
}

function paths(example: string): Readonly<Record<string, Json>> {
  const ofModel = pathsOf(example)
  const live = Type.Object({ live: Type.Boolean() })
  const ready = Type.Object({ ready: Type.Boolean() })
  const modelReady = Type.Object({ name: Type.String(), ready: Type.Boolean() })
  const statistics = ref('ModelStatistics')
  return {
    '/v2': { get: get('The server and its extensions', ANYWHERE, ref('ServerMetadata')) },
    '/v2/health/live': { get: get('The process lives', ANYWHERE, plain(live)) },
    '/v2/health/ready': { get: get('Requests are answered', ANY, plain(ready)) },
    '/v2/models/stats': { get: get('Statistics of every name', ANY, statistics) },
    ...ofModel('', (parameters) => ({
      get: get('Tensors, platform and versions', ASKED, ref('ModelMetadata'), parameters),
    })),
    ...ofModel('/ready', (parameters) => ({
      get: get('It takes rows', [...ASKED, 'ASSAY_MODEL_UNAVAILABLE'], plain(modelReady), parameters),
    })),
    ...ofModel('/stats', (parameters) => ({ get: get('Statistics', ASKED, statistics, parameters) })),
    ...ofModel('/infer', (parameters) => ({ post: infer(parameters) })),
    '/v2/repository/index': { post: repositoryIndex() },
  }
}

/** With and without a version. */
function pathsOf(example: string): (end: string, item: (parameters: Json[]) => Json) => Readonly<Record<string, Json>> {
  const [name, number] = example.split('@')
  const model = { ...pathParameter('model'), example: name }
  const version = { ...pathParameter('version'), example: number }
  return (end, item) => ({
    [`/v2/models/{model}${end}`]: item([model]),
    [`/v2/models/{model}/versions/{version}${end}`]: item([model, version]),
  })
}

function get(summary: string, codes: readonly ErrorCode[], schema: Json, parameters: Json[] = []): Json {
  return operation(summary, codes, { parameters, ok: { 200: { description: summary, content: json(schema) } } })
}

function infer(parameters: Json[]): Json {
  const timeout = header('Assay-Timeout-Ms', Type.Integer({ minimum: 1 }), 'of the route: lowers its deadline')
  const summary = 'Score rows: by the route (decided and logged), or by a model (logged, not decided)'
  return operation(summary, INFER, {
    parameters: [...parameters, JSON_BYTES, timeout],
    requestBody: {
      required: true,
      content: { ...json(ref('InferRequest')), 'application/octet-stream': TENSOR_BYTES },
    },
    ok: {
      200: {
        description: 'the outputs that were asked for, as JSON or as bytes',
        headers: { 'Inference-Header-Content-Length': { schema: { type: 'integer', minimum: 0 } } },
        content: { ...json(ref('InferAnswer')), 'application/octet-stream': TENSOR_BYTES },
      },
    },
  })
}

function repositoryIndex(): Json {
  const codes = [...ANY, ...BODY, 'ASSAY_OVERLOADED'] as const
  const body: TSchema = IndexRequest
  return operation('Every name and version, and whether it takes rows', codes, {
    requestBody: { required: false, content: json(plain(body)) },
    ok: { 200: { description: 'the index', content: json(ref('RepositoryIndex')) } },
  })
}

/** Problems under /v2 have `error` as well. */
function withErrors(item: Json): Json {
  const text = JSON.stringify(item).replaceAll(
    '#/components/schemas/Problem"',
    '#/components/schemas/InferenceProblem"',
  )
  return JSON.parse(text) as Json
}
