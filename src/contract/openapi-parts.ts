// Parts of the OpenAPI documents: operations whose error statuses come from the table of errors, references,
// parameters. Pure.
import type { TSchema } from '@sinclair/typebox'
import { type ErrorCode, ERRORS } from '../errors.js'

export type Json = Record<string, unknown>

export const BODY: readonly ErrorCode[] = [
  'ASSAY_BODY_MALFORMED',
  'ASSAY_SCHEMA_INVALID',
  'ASSAY_HEADER_INVALID',
  'ASSAY_BODY_TIMEOUT',
  'ASSAY_BODY_TOO_LARGE',
  'ASSAY_MEDIA_TYPE_REFUSED',
  'ASSAY_CARD_DATA_REFUSED',
]
export const BUSY: readonly ErrorCode[] = [
  'ASSAY_OVERLOADED',
  'ASSAY_NOT_READY',
  'ASSAY_LOG_UNAVAILABLE',
  'ASSAY_DECISION_UNCONFIRMED',
]
export const ANYWHERE: readonly ErrorCode[] = [
  'ASSAY_UNAUTHENTICATED',
  'ASSAY_KEY_EXPIRED',
  'ASSAY_TOO_MANY_FAILURES',
  'ASSAY_METHOD_REFUSED',
  'ASSAY_ROUTE_UNKNOWN',
]
/** JSON Schema without the symbols that the library keeps for itself. */
export function plain(schema: TSchema): Json {
  return JSON.parse(JSON.stringify(schema)) as Json
}

export function ref(name: string): Json {
  return { $ref: `#/components/schemas/${name}` }
}

export function json(schema: unknown): Json {
  return { 'application/json': { schema } }
}

export function header(name: string, schema: TSchema, description: string): Json {
  return { name, in: 'header', required: false, description, schema: plain(schema) }
}

export function pathParameter(name: string): Json {
  return { name, in: 'path', required: true, schema: { type: 'string' } }
}

export function operation(summary: string, codes: readonly ErrorCode[], parts: Json & { ok: Json }): Json {
  const { ok, ...rest } = parts
  return { summary, ...rest, responses: { ...ok, ...problems(codes) } }
}

/** One response for each status, naming the codes that it may carry and whether a retry may succeed. */
function problems(codes: readonly ErrorCode[]): Json {
  const statuses = new Map<number, ErrorCode[]>()
  for (const code of codes) statuses.set(ERRORS[code].status, [...(statuses.get(ERRORS[code].status) ?? []), code])
  return Object.fromEntries(
    [...statuses].map(([status, list]) => [
      status,
      {
        description: list
          .map((code) => `\`${code}\` ${ERRORS[code].message}${ERRORS[code].retryable ? ' (retryable)' : ''}`)
          .join('; '),
        ...((status === 503 || status === 429) && { headers: { 'Retry-After': { schema: { type: 'integer' } } } }),
        content: { 'application/problem+json': { schema: ref('Problem') } },
      },
    ]),
  )
}
