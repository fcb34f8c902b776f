// The table of /api/v1: address → question → answer. Each line names the query it takes and the rows that `?format=csv`
// gives. Knows neither sockets nor SQL.
import { reject, type ErrorCode, type Rejection } from '../../errors.js'
import { toCsv } from './csv.js'
import { decisionQuery, driftQuery, noQuery, pageQuery, shadowQuery } from './query.js'
import type { Source } from './source.js'

export type Answer =
  | { readonly kind: 'json'; readonly value: object }
  | { readonly kind: 'csv'; readonly name: string; readonly text: string; readonly next: string | null }
  | { readonly kind: 'absent'; readonly rejection: Rejection }

export interface Endpoint {
  /** The address's last part where it has a parameter, '' where not; null where the address is another one. */
  match(pathname: string): string | null
  ask(parameter: string, params: URLSearchParams): { answer(): Promise<Answer> } | Rejection
}

interface Line<Query extends object, Value extends object> {
  readonly path: string
  /** The address ends with one more part. */
  readonly parameter?: { readonly missing: ErrorCode; readonly detail: string }
  query(params: URLSearchParams): Query | Rejection
  answer(parameter: string, query: Query): Promise<Value | null>
  /** The rows of its table; none where it has no table. */
  rows?(value: Value): readonly object[]
}

/** The endpoints over a source. */
export function endpoints(source: Source): readonly Endpoint[] {
  const unknown = (detail: string) => ({ missing: 'ASSAY_ROUTE_UNKNOWN', detail }) as const
  return [
    endpoint({
      path: 'summary',
      query: noQuery,
      answer: () => source.summary(),
      rows: ({ series }) => series,
    }),
    endpoint({
      path: 'decisions',
      query: decisionQuery,
      answer: (_, query) => source.decisions(query),
      rows: ({ decisions }) => decisions,
    }),
    endpoint({
      path: 'decisions',
      parameter: { missing: 'ASSAY_DECISION_UNKNOWN', detail: 'the store holds no decision or transaction of that id' },
      query: noQuery,
      answer: (id) => source.decision(id),
    }),
    endpoint({
      path: 'drift',
      query: driftQuery,
      answer: (_, query) => source.drift(query),
      rows: ({ features }) =>
        features.flatMap(({ windows, since: _, ...feature }) => windows.map((window) => ({ ...feature, ...window }))),
    }),
    endpoint({
      path: 'drift',
      parameter: unknown('no window of that feature is held'),
      query: driftQuery,
      answer: (feature, query) => source.driftFeature(feature, query),
      rows: ({ bins }) => bins,
    }),
    endpoint({
      path: 'shadow',
      query: shadowQuery,
      answer: (_, query) => source.shadow(query),
      rows: ({ models }) => models,
    }),
    endpoint({
      path: 'shadow',
      parameter: unknown('no shadow model of that name'),
      query: shadowQuery,
      answer: (model, query) => source.shadowModel(model, query),
      rows: ({ flips }) => flips,
    }),
    endpoint({
      path: 'alerts',
      query: pageQuery,
      answer: (_, query) => source.alerts(query),
      rows: ({ alerts }) => alerts,
    }),
    endpoint({
      path: 'audit',
      query: pageQuery,
      answer: (_, query) => source.audit(query),
      rows: ({ controls }) => controls,
    }),
    endpoint({ path: 'health', query: noQuery, answer: () => source.health(), rows: ({ findings }) => findings }),
  ]
}

function endpoint<Query extends object, Value extends object>(line: Line<Query, Value>): Endpoint {
  const prefix = `/api/v1/${line.path}`
  return {
    match(pathname) {
      if (line.parameter === undefined) return pathname === prefix ? '' : null
      const rest = pathname.startsWith(`${prefix}/`) ? pathname.slice(prefix.length + 1) : ''
      return rest === '' || rest.includes('/') ? null : decoded(rest)
    },
    ask(parameter, params) {
      const format = params.get('format') ?? 'json'
      const csv = format === 'csv' && line.rows !== undefined
      if (format !== 'json' && !csv) {
        const allowed = line.rows === undefined ? 'json' : 'json or csv'
        return reject('ASSAY_SCHEMA_INVALID', 'the query does not fit', [{ path: '/format', message: allowed }])
      }
      const query = line.query(params)
      if (isRejection(query)) return query
      return { answer: async () => shape(line, await line.answer(parameter, query), csv) }
    },
  }
}

function isRejection(value: object): value is Rejection {
  return 'code' in value && 'errors' in value
}

function shape<Query extends object, Value extends object>(
  line: Line<Query, Value>,
  value: Value | null,
  csv: boolean,
): Answer {
  if (value === null) {
    const { missing, detail } = line.parameter ?? { missing: 'ASSAY_ROUTE_UNKNOWN', detail: 'nothing is held' }
    return { kind: 'absent', rejection: reject(missing, detail) }
  }
  if (!csv || line.rows === undefined) return { kind: 'json', value }
  const next = 'next' in value && typeof value.next === 'string' ? value.next : null
  return { kind: 'csv', name: line.path, text: toCsv(line.rows(value)), next }
}

/** A part of an address, or null where its escapes are broken. */
function decoded(part: string): string | null {
  try {
    return decodeURIComponent(part)
  } catch {
    return null
  }
}
