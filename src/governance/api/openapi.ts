// The OpenAPI 3.1 document of the governance listener, from the schemas of contract/governance.ts and the error table.
import type { TSchema } from '@sinclair/typebox'
import * as wire from '../../contract/governance.js'
import { Problem } from '../../contract/problem.js'
import { ACTIONS } from '../../contract/decision.js'
import { type ErrorCode, ERRORS } from '../../errors.js'
import { LIMITS } from '../../limits.js'
import { STREAM_KINDS } from './source.js'

type Json = Record<string, unknown>

const COMMON: readonly ErrorCode[] = [
  'ASSAY_SCHEMA_INVALID',
  'ASSAY_UNAUTHENTICATED',
  'ASSAY_KEY_EXPIRED',
  'ASSAY_TOO_MANY_FAILURES',
  'ASSAY_ROLE_REFUSED',
  'ASSAY_ORIGIN_REFUSED',
  'ASSAY_METHOD_REFUSED',
  'ASSAY_OVERLOADED',
  'ASSAY_NOT_READY',
  'ASSAY_STORE_IO',
]

const TEXT = { type: 'string', maxLength: 256 }
const TIME = { anyOf: [{ type: 'string', format: 'date-time' }, { type: 'integer' }] }
const SCORE = { type: 'number', minimum: 0, maximum: 1 }
const LIMIT = { type: 'integer', minimum: 1, maximum: LIMITS.pageRowsMax }

const query = (name: string, schema: Json, description: string): Json => ({ name, in: 'query', schema, description })
const inPath = (name: string): Json => ({ name, in: 'path', required: true, schema: TEXT })

const PAGE = [query('limit', LIMIT, 'rows'), query('after', TEXT, '`next` of the page before')]
const RANGE = [query('since', TIME, 'from this time on'), query('until', TIME, 'before this time')]
const SEGMENT = query('segment', TEXT, '* for all decisions')
const CSV = query('format', { enum: ['json', 'csv'] }, 'csv: the table of the answer')
const DRIFT = [
  query('model', TEXT, 'name@version; the champion by default'),
  SEGMENT,
  query('kind', TEXT, 'how windows are cut, and what they are held against: count/training, hour/week_before …'),
  query('windows', LIMIT, 'newest windows of each feature'),
]

const FILTERS = [
  ...RANGE,
  query('id', TEXT, 'a decision id or a transaction id'),
  query('transaction_id', TEXT, 'the same'),
  query('entity', TEXT, 'a value of any entity field, or the mask that stands for it'),
  query('model', TEXT, 'name@version of the model that answered'),
  query('action', { enum: ACTIONS }, 'the action'),
  query('score_min', SCORE, 'at least'),
  query('score_max', SCORE, 'at most'),
  query('degraded', { type: 'boolean' }, 'whether another model answered than was prescribed'),
]

/** The document that `GET /openapi.json` serves. */
export function apiDocument(version: string): Json {
  const schemas = {
    ...{ Summary: wire.Summary, DecisionRows: wire.DecisionRows, DecisionDetail: wire.DecisionDetail },
    ...{ DriftOverview: wire.DriftOverview, DriftDetail: wire.DriftDetail, ShadowOverview: wire.ShadowOverview },
    ...{ ShadowDetail: wire.ShadowDetail, Alerts: wire.Alerts, Audit: wire.Audit, Health: wire.Health, Problem },
  }
  return {
    openapi: '3.1.0',
    info: { title: 'Assay: governance', version, license: { name: 'Apache-2.0', identifier: 'Apache-2.0' } },
    paths: { ...answerPaths(), ...otherPaths() },
    components: {
      schemas: Object.fromEntries(Object.entries(schemas).map(([name, schema]) => [name, plain(schema)])),
      securitySchemes: { bearer: { type: 'http', scheme: 'bearer' } },
    },
    security: [{}, { bearer: [] }],
  }
}

function answerPaths(): Json {
  const missing = (code: ErrorCode): readonly ErrorCode[] => [code]
  return {
    '/api/v1/summary': path('Rate, latency by stage, actions and degraded answers now', 'Summary', [CSV]),
    '/api/v1/decisions': path('Decisions, newest first, in keyset pages', 'DecisionRows', [...FILTERS, ...PAGE, CSV]),
    '/api/v1/decisions/{id}': path(
      'All that is known of one decision',
      'DecisionDetail',
      [inPath('id')],
      missing('ASSAY_DECISION_UNKNOWN'),
    ),
    '/api/v1/drift': path('Windows of every feature against a reference', 'DriftOverview', [...DRIFT, CSV]),
    '/api/v1/drift/{feature}': path(
      'One feature, the bins of one window, and the same window against each of its references',
      'DriftDetail',
      [inPath('feature'), ...DRIFT, query('window', TEXT, 'the newest by default'), CSV],
      missing('ASSAY_ROUTE_UNKNOWN'),
    ),
    '/api/v1/shadow': path('Shadow models against the champion', 'ShadowOverview', [...RANGE, SEGMENT, CSV]),
    '/api/v1/shadow/{model}': path(
      'One shadow model: density, quadrants, the most telling pairs',
      'ShadowDetail',
      [inPath('model'), ...RANGE, SEGMENT, query('limit', LIMIT, 'pairs listed'), CSV],
      missing('ASSAY_ROUTE_UNKNOWN'),
    ),
    '/api/v1/alerts': path('Alerts, newest first', 'Alerts', [...PAGE, CSV]),
    '/api/v1/audit': path('Control records, newest first', 'Audit', [...PAGE, CSV]),
    '/api/v1/health': path('Lag, position, findings of the reader', 'Health', [CSV]),
  }
}

function otherPaths(): Json {
  const text = (type: string): Json => ({
    200: { description: 'text', content: { [type]: { schema: { type: 'string' } } } },
  })
  const body: Json = { 200: { description: 'JSON', content: { 'application/json': { schema: { type: 'object' } } } } }
  const streamed = {
    summary: 'Server-sent events in the order of the log; `missed` tells a slow reader what it was not sent',
    parameters: [
      query('events', TEXT, `a list of ${STREAM_KINDS.join(', ')}; all by default, \`tick\` after each commit always`),
      { name: 'Last-Event-ID', in: 'header', schema: TEXT, description: 'goes on after it, without loss' },
    ],
    responses: { ...text('text/event-stream'), ...problems([...COMMON, 'ASSAY_HEADER_INVALID']) },
  }
  return {
    '/api/v1/stream': { get: streamed },
    '/metrics': { get: { summary: 'Metrics, Prometheus text or OpenMetrics', responses: text('text/plain') } },
    '/livez': { get: { summary: 'The process lives', responses: body } },
    '/readyz': { get: { summary: 'The store can be read', responses: { ...body, ...problems(['ASSAY_NOT_READY']) } } },
    '/openapi.json': { get: { summary: 'This document', responses: body } },
  }
}

function path(summary: string, name: string, parameters: readonly Json[], codes: readonly ErrorCode[] = []): Json {
  const content: Json = { 'application/json': { schema: { $ref: `#/components/schemas/${name}` } } }
  if (parameters.includes(CSV)) content['text/csv'] = { schema: { type: 'string' } }
  const ok = { 200: { description: summary, content } }
  return { get: { summary, parameters, responses: { ...ok, ...problems([...COMMON, ...codes]) } } }
}

/** One response for each status, naming the codes that it may carry. */
function problems(codes: readonly ErrorCode[]): Json {
  const statuses = new Map<number, string[]>()
  for (const code of codes) {
    const { status, message } = ERRORS[code]
    statuses.set(status, [...(statuses.get(status) ?? []), `\`${code}\` ${message}`])
  }
  const content = { 'application/problem+json': { schema: { $ref: '#/components/schemas/Problem' } } }
  return Object.fromEntries([...statuses].map(([status, list]) => [status, { description: list.join('; '), content }]))
}

/** The schema as plain JSON: the symbols that the library keeps for itself are no members of it. */
function plain(schema: TSchema): Json {
  return Object.fromEntries(Object.entries(schema))
}
