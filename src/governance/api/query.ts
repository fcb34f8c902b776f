// Query strings → typed queries. Pure. Every fault is named at once, none guessed away: an unknown parameter is one
// too, since a misspelt filter that is ignored shows other rows than its reader believes.
import { ACTIONS } from '../../contract/decision.js'
import { type InputFault, reject, type Rejection } from '../../errors.js'
import { LIMITS } from '../../limits.js'
import { STREAM_KINDS, type DecisionQuery, type DriftDetailQuery, type PageQuery, type ShadowQuery } from './source.js'
import type { StreamKind } from './source.js'

const TEXT_CHARS_MAX = 256
const PAGE_ROWS = 50
const DRIFT_WINDOWS = 96
const FLIPS = 50

/** Reads one parameter after the other and gathers what is wrong. */
interface Reader {
  text(name: string): string | null
  oneOf(name: string, allowed: readonly string[]): string | null
  number(name: string, bounds: { min: number; max: number }): number | null
  count(name: string, fallback: number, max: number): number
  instant(name: string): number | null
  flag(name: string): boolean | null
  /** The value, or the rejection that names every fault, unknown parameters included. */
  done<Value>(value: Value): Value | Rejection
}

function createReader(params: URLSearchParams): Reader {
  const faults: InputFault[] = []
  const known = new Set(['format', 'download'])
  const fault = (name: string, message: string): null => {
    faults.push({ path: `/${name}`, message })
    return null
  }
  const one = (name: string): string | null => {
    known.add(name)
    const values = params.getAll(name)
    if (values.length > 1) return fault(name, 'given once')
    const value = values[0] ?? ''
    if (value.length > TEXT_CHARS_MAX) return fault(name, `at most ${TEXT_CHARS_MAX} characters`)
    return value === '' ? null : value
  }
  const number: Reader['number'] = (name, { min, max }) => {
    const text = one(name)
    if (text === null) return null
    const value = Number(text)
    return value >= min && value <= max ? value : fault(name, `a number from ${min} to ${max}`)
  }
  return {
    text: one,
    oneOf(name, allowed) {
      const value = one(name)
      return value === null || allowed.includes(value) ? value : fault(name, `one of: ${allowed.join(', ')}`)
    },
    number,
    count(name, fallback, max) {
      const value = number(name, { min: 1, max })
      if (value === null || Number.isInteger(value)) return value ?? fallback
      fault(name, `an integer from 1 to ${max}`)
      return fallback
    },
    instant(name) {
      const text = one(name)
      if (text === null) return null
      const ms = /^\d{10,16}$/.test(text) ? Number(text) : Date.parse(text)
      const valid = /^\d{4}-\d\d-\d\d|^\d{10,16}$/.test(text) && Number.isSafeInteger(ms)
      return valid ? ms : fault(name, 'RFC 3339 such as 2026-11-22T10:00:00Z, or epoch milliseconds')
    },
    flag(name) {
      const value = one(name)
      if (value === null) return null
      return value === 'true' || value === 'false' ? value === 'true' : fault(name, 'true or false')
    },
    done(value) {
      for (const name of params.keys()) {
        if (!known.has(name)) fault(name.slice(0, TEXT_CHARS_MAX), `unknown; known are ${[...known].join(', ')}`)
      }
      const first = faults.slice(0, LIMITS.faultsMax)
      return first.length === 0 ? value : reject('ASSAY_SCHEMA_INVALID', 'the query does not fit', first)
    },
  }
}

const SCORES = { min: 0, max: 1 }

export function decisionQuery(params: URLSearchParams): DecisionQuery | Rejection {
  const read = createReader(params)
  return read.done({
    sinceMs: read.instant('since'),
    untilMs: read.instant('until'),
    id: read.text('id') ?? read.text('transaction_id'),
    entity: read.text('entity'),
    model: read.text('model'),
    action: read.oneOf('action', ACTIONS),
    scoreMin: read.number('score_min', SCORES),
    scoreMax: read.number('score_max', SCORES),
    degraded: read.flag('degraded'),
    limit: read.count('limit', PAGE_ROWS, LIMITS.pageRowsMax),
    after: read.text('after'),
  })
}

export function driftQuery(params: URLSearchParams): DriftDetailQuery | Rejection {
  const read = createReader(params)
  return read.done({
    model: read.text('model'),
    segment: read.text('segment'),
    kind: read.text('kind'),
    windows: read.count('windows', DRIFT_WINDOWS, LIMITS.pageRowsMax),
    window: read.text('window'),
  })
}

export function shadowQuery(params: URLSearchParams): ShadowQuery | Rejection {
  const read = createReader(params)
  return read.done({
    sinceMs: read.instant('since'),
    untilMs: read.instant('until'),
    segment: read.text('segment'),
    limit: read.count('limit', FLIPS, LIMITS.pageRowsMax),
  })
}

export function pageQuery(params: URLSearchParams): PageQuery | Rejection {
  const read = createReader(params)
  return read.done({ limit: read.count('limit', PAGE_ROWS, LIMITS.pageRowsMax), after: read.text('after') })
}

/** No parameter at all. */
export function noQuery(params: URLSearchParams): object | Rejection {
  return createReader(params).done({})
}

export interface StreamQuery {
  readonly kinds: readonly StreamKind[]
}

/** `events` is a list of kinds; all of them where it is absent. `tick` is always sent. */
export function streamQuery(params: URLSearchParams): StreamQuery | Rejection {
  const read = createReader(params)
  const names = (read.text('events') ?? STREAM_KINDS.join(',')).split(',')
  const kinds = STREAM_KINDS.filter((kind) => names.includes(kind))
  const unknown = names.filter((name) => name !== 'tick' && !kinds.some((kind) => kind === name))
  if (unknown.length > 0) {
    const message = `a list of: ${STREAM_KINDS.join(', ')}, tick`
    return reject('ASSAY_SCHEMA_INVALID', 'the query does not fit', [{ path: '/events', message }])
  }
  return read.done({ kinds })
}
