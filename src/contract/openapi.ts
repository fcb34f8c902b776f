// The OpenAPI 3.1 documents of both listeners, made from the schemas that validate and from the table of errors.
// Pure: a policy and a version in, a document out. A status with an error code stands at an operation only if that
// operation can answer it.
import { Type } from '@sinclair/typebox'
import type { ErrorCode } from '../errors.js'
import { LIMITS } from '../limits.js'
import { AcceptedAnswer, DecisionAnswer } from './decision-answer.js'
import { inferencePaths, inferenceSchemas } from './inference-openapi.js'
import { compileLabels } from './label.js'
import { ANYWHERE, BODY, BUSY, header, type Json, json, operation, pathParameter, plain, ref } from './openapi-parts.js'
import { type Policy, Routes } from './policy.js'
import { Problem } from './problem.js'
import { ListChange, PolicyChange } from './policy-live.js'
import { ApprovalChange, ForceChange, HistoryChange, PlainChange, Reason, RoutesChange } from './routes-change.js'
import { ValueList } from './rules.js'
import { transactionAvroSchema } from './record-schema.js'
import { MODES } from './transaction.js'
import { transactionJsonSchema } from './transaction-schema.js'

export interface ApiInfo {
  readonly version: string
  readonly listener: 'score' | 'operations'
}

const CHANGE: readonly ErrorCode[] = [
  ...BODY,
  'ASSAY_ROLE_REFUSED',
  'ASSAY_CHANGE_CONFLICT',
  'ASSAY_REVISION_STALE',
  'ASSAY_MODEL_NOT_LOADED',
  'ASSAY_NOT_READY',
  'ASSAY_LOG_UNAVAILABLE',
]
const NEW_ROUTES: readonly ErrorCode[] = ['ASSAY_REVISION_MISSING', 'ASSAY_MODEL_NOT_APPROVED']
/** Where servers share their routes. */
const SHARED: readonly ErrorCode[] = ['ASSAY_STATE_UNAVAILABLE', 'ASSAY_STATE_REFUSED']
const REVISED: readonly ErrorCode[] = ['ASSAY_REVISION_MISSING']
const MODEL: readonly ErrorCode[] = ['ASSAY_BUNDLE_REFUSED', 'ASSAY_MODEL_FAILED']
const TRANSACTION: readonly ErrorCode[] = [
  'ASSAY_CURRENCY_UNLISTED',
  'ASSAY_TIME_IN_FUTURE',
  'ASSAY_TRANSACTION_REUSED',
  'ASSAY_DUPLICATES_WAITING',
]

/** The document that `GET /openapi.json` of a listener serves. */
export function openApiDocument(policy: Policy, info: ApiInfo): Json {
  const isScore = info.listener === 'score'
  return {
    openapi: '3.1.0',
    info: {
      title: isScore ? 'Assay: scoring' : 'Assay: operations',
      version: info.version,
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
    },
    paths: isScore ? scorePaths(policy) : operationsPaths(),
    components: {
      schemas: isScore ? scoreSchemas(policy) : operationsSchemas(),
      securitySchemes: {
        bearer: { type: 'http', scheme: 'bearer' },
        key: { type: 'apiKey', in: 'header', name: 'X-API-Key' },
      },
    },
    security: [{}, { bearer: [] }, { key: [] }],
  }
}

function scoreSchemas(policy: Policy): Json {
  return {
    Transaction: plain(transactionJsonSchema(policy.schema, LIMITS)),
    Label: plain(compileLabels(policy.schema, LIMITS).schema),
    Decision: plain(DecisionAnswer),
    Accepted: plain(AcceptedAnswer),
    ...inferenceSchemas(),
    Problem: plain(Problem),
    TransactionAvro: { description: 'the Avro schema of avro/binary', const: transactionAvroSchema(policy.schema) },
  }
}

/** Servers that share their routes; absent where a server has its own. */
const FleetShown = Type.Object(
  {
    server: Type.String({ description: 'id of the one that answers' }),
    redis_seen: Type.Boolean({ description: 'else the last routes are kept' }),
    seen_at: Type.Union([Type.String(), Type.Null()]),
    newest_revision: Type.Union([Type.Integer(), Type.Null()]),
    held_back: Type.Union([Type.Object({ revision: Type.Integer(), why: Type.String() }), Type.Null()], {
      description: 'the newest routes, where this server cannot serve them and keeps its last ones',
    }),
    forced_here: Type.Union([Type.Object({ baseline: Type.Boolean(), open: Type.Array(Type.String()) }), Type.Null()], {
      description: 'on this server alone, since Redis did not answer',
    }),
    servers: Type.Array(
      Type.Object({
        ...{ id: Type.String(), operations: Type.String(), revision: Type.Integer() },
        ...{ version: Type.String(), started_at: Type.String() },
      }),
    ),
  },
  { description: 'the servers that share these routes' },
)

function operationsSchemas(): Json {
  const Revision = Type.Integer({ minimum: 0 })
  const shown = Type.Composite([Routes, Type.Object({ revision: Revision, fleet: Type.Optional(FleetShown) })])
  const changes = {
    RoutesChange: plain(RoutesChange),
    PlainChange: plain(PlainChange),
    ForceChange: plain(ForceChange),
    ApprovalChange: plain(ApprovalChange),
    HistoryChange: plain(HistoryChange),
    PolicyChange: plain(PolicyChange),
    ListChange: {
      ...plain(ListChange),
      properties: { ...(plain(ValueList).properties as Json), reason: plain(Reason) },
    },
  }
  const models = { type: 'object', properties: { models: { type: 'array', items: { type: 'object' } } } }
  const policy = Type.Object({
    ...{ revision: Type.Integer({ minimum: 0 }), fingerprint: Type.String(), can_roll_back: Type.Boolean() },
    ...{
      differs_from_config: Type.Array(Type.String()),
      policy: Type.Object({}, { description: 'as in a configuration' }),
    },
  })
  const answers = {
    PolicyShown: { ...plain(policy), additionalProperties: true },
    RoutesShown: { ...plain(shown), additionalProperties: true },
    ModelsShown: models,
  }
  return { ...answers, ...changes, Problem: plain(Problem) }
}

const HISTORY = header(
  'Assay-History',
  Type.String({ pattern: '^[0-9a-f]{32}/\\d{1,15}$' }),
  'with Assay-Mode: observe: the rows are those of this history from this place on; none is folded twice',
)
const HEADERS = [
  header('Assay-Mode', Type.Union(MODES.map((mode) => Type.Literal(mode))), 'decide where absent; observe answers 202'),
  header('Assay-Timeout-Ms', Type.Integer({ minimum: 1 }), 'lowers the deadline of the policy, never raises it'),
  header('traceparent', Type.String(), 'W3C trace context; read and kept'),
  header('Idempotency-Key', Type.String(), 'accepted; the transaction_id is what counts'),
]

/** A row that does not fit is no fault of the batch. */
const REFUSED_APART: Json = { description: 'anything else is refused in its place, by a status of its own' }

const Batch = Type.Object({
  transactions: Type.Array(Type.Unknown(), { minItems: 1, maxItems: LIMITS.batchRowsMax }),
})

const BATCH_ANSWER: Json = {
  type: 'array',
  items: { type: 'object', required: ['status'], properties: { status: { type: 'integer' } } },
}

function scorePaths(policy: Policy): Json {
  const { transactions } = Batch.properties
  return {
    '/v1/score': {
      post: operation('Score one transaction', [...BODY, ...TRANSACTION, ...BUSY, ...ANYWHERE], {
        parameters: HEADERS,
        requestBody: {
          required: true,
          content: { ...json(ref('Transaction')), 'avro/binary': { schema: { type: 'string', format: 'binary' } } },
        },
        ok: {
          200: {
            description: 'decided, or decided before (Idempotent-Replayed: true)',
            headers: {
              'Idempotent-Replayed': { schema: { const: 'true' } },
              'Server-Timing': { schema: { type: 'string' } },
            },
            content: json(ref('Decision')),
          },
          202: { description: 'observed: folded and logged, not scored', content: json(ref('Accepted')) },
        },
      }),
    },
    '/v1/score/batch': {
      post: operation('Score several, answered in order, each with its own status', [...BODY, ...BUSY, ...ANYWHERE], {
        parameters: [...HEADERS, HISTORY],
        requestBody: {
          required: true,
          content: json({
            ...plain(Batch),
            properties: { transactions: { ...transactions, items: { anyOf: [ref('Transaction'), REFUSED_APART] } } },
          }),
        },
        ok: { 200: { description: 'one answer a row', content: json(BATCH_ANSWER) } },
      }),
    },
    '/v1/labels': {
      post: operation('Tell what became known later, one label or many', [...BODY, ...BUSY, ...ANYWHERE], {
        requestBody: {
          required: true,
          content: json({
            anyOf: [ref('Label'), { type: 'array', items: ref('Label'), minItems: 1, maxItems: LIMITS.batchRowsMax }],
          }),
        },
        ok: { 202: { description: 'logged', content: json(ref('Accepted')) } },
      }),
    },
    '/v1/decisions/{decision_id}': {
      get: operation('A held decision by its id', ['ASSAY_DECISION_UNKNOWN', ...ANYWHERE], {
        parameters: [{ name: 'decision_id', in: 'path', required: true, schema: { type: 'string' } }],
        ok: { 200: { description: 'its answer', content: json(ref('Decision')) } },
      }),
    },
    '/v1/decisions': {
      get: operation(
        'A held decision by its transaction',
        ['ASSAY_SCHEMA_INVALID', 'ASSAY_DECISION_UNKNOWN', ...ANYWHERE],
        {
          parameters: [{ name: 'transaction_id', in: 'query', required: true, schema: { type: 'string' } }],
          ok: { 200: { description: 'its answer', content: json(ref('Decision')) } },
        },
      ),
    },
    ...inferencePaths(policy.routes.champion),
    '/openapi.json': { get: operation('This document', [], { ok: { 200: { description: 'OpenAPI 3.1' } } }) },
  }
}

function operationsPaths(): Json {
  const text = { 200: { description: 'text', content: { 'text/plain': { schema: { type: 'string' } } } } }
  const body = { 200: { description: 'JSON', content: json({ type: 'object' }) } }
  return {
    '/metrics': { get: operation('Metrics, Prometheus text or OpenMetrics', [], { ok: text }) },
    '/livez': { get: operation('The process lives', [], { ok: body }) },
    '/readyz': { get: operation('Ready to answer; names what is degraded or cold', ['ASSAY_NOT_READY'], { ok: body }) },
    '/v1/status': { get: operation('What runs, from which log, how warm', ANYWHERE, { ok: body }) },
    '/v1/models': { get: operation('Models loaded and their lanes', ANYWHERE, { ok: body }) },
    '/v1/routes': {
      get: operation('Who serves under which revision: routes, rollback target, what is forced, ramp', ANYWHERE, {
        ok: { 200: { description: 'routes', headers: TAG, content: json(ref('RoutesShown')) } },
      }),
      put: change('Other champion, challenger, share or experiment, with a ramp or without', 'RoutesChange', {
        codes: [...NEW_ROUTES, ...SHARED],
        needsRevision: true,
      }),
    },
    '/v1/routes:rollback': {
      post: change('Back to the routes before the last change, at once', 'PlainChange', { codes: SHARED }),
    },
    '/v1/routes:resume': { post: change('Let a paused ramp go on', 'PlainChange', { codes: SHARED }) },
    '/v1/routes:force': {
      post: change('Hold the breaker of a model open, or let the baseline answer everything, at once', 'ForceChange'),
    },
    '/v1/routes:release': { post: change('Give back what was forced, at once', 'ForceChange', { codes: SHARED }) },
    '/v1/models/{name}/{version}:load': { post: modelChange('Load a model beside those that serve', 'PlainChange') },
    '/v1/models/{name}/{version}:unload': {
      post: modelChange('Take out a model that neither the routes nor a rollback need', 'PlainChange'),
    },
    '/v1/models/{name}/{version}:approve': {
      post: modelChange('Say of a loaded bundle that it may be routed to (role approver)', 'ApprovalChange', SHARED),
    },
    '/v1/history': {
      post: change('Say that history was observed from its first transaction to its last', 'HistoryChange'),
    },
    '/v1/policy': {
      get: operation('The whole policy that serves, its fingerprint and revision', ANYWHERE, {
        ok: { 200: { description: 'policy', headers: TAG, content: json(ref('PolicyShown')) } },
      }),
      put: policyChange('Other rules, lists, segments, cuts or guards; keys that are not given stay', 'PolicyChange'),
    },
    '/v1/policy:rollback': {
      post: change('Back to the policy before the last change, at once', 'PlainChange', { shown: 'PolicyShown' }),
    },
    '/v1/lists/{name}': {
      put: policyChange('The whole of one list; without values it is taken out', 'ListChange', [pathParameter('name')]),
    },
    '/v1/audit': {
      get: operation('Changes of routes and policy, and who was refused one, newest first', ANYWHERE, {
        parameters: [{ name: 'limit', in: 'query', required: false, schema: { type: 'integer', minimum: 1 } }],
        ok: body,
      }),
    },
    '/openapi.json': { get: operation('This document', [], { ok: body }) },
  }
}

const TAG = { ETag: { description: 'the newest revision', schema: { type: 'string' } } }

interface ChangeParts {
  readonly codes?: readonly ErrorCode[]
  /** Only new routes must name the revision. */
  readonly needsRevision?: boolean
  readonly path?: readonly Json[]
  readonly shown?: string
}

/** A change: 200 once its record is durable, 202 where it is not yet. */
function change(summary: string, schema: string, parts: ChangeParts = {}): Json {
  const { codes = [], needsRevision = false, path = [], shown = 'RoutesShown' } = parts
  const revision = { name: 'If-Match', in: 'header', required: needsRevision, schema: { type: 'string' } }
  const answer = { headers: TAG, content: json(ref(shown)) }
  return operation(summary, [...CHANGE, ...codes, ...ANYWHERE], {
    parameters: [...path, { ...revision, description: 'the revision that the change is meant for, as "3"' }],
    requestBody: { required: true, content: json(ref(schema)) },
    ok: {
      200: { description: 'done, and on disk', ...answer },
      202: {
        description:
          'taken, not on disk yet; acts then, where it does not act at once. Of servers that share their routes also ' +
          'what acts here alone (change.shared: false), and what acts there and not here (fleet.held_back)',
        ...answer,
      },
    },
  })
}

function policyChange(summary: string, schema: string, path: readonly Json[] = []): Json {
  return change(summary, schema, { codes: REVISED, needsRevision: true, path, shown: 'PolicyShown' })
}

function modelChange(summary: string, schema: string, codes: readonly ErrorCode[] = []): Json {
  const path = ['name', 'version'].map(pathParameter)
  return change(summary, schema, { codes: [...MODEL, ...codes], path, shown: 'ModelsShown' })
}
