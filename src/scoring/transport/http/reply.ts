// Bytes of an answer: status lines, problem documents prepared at start, and the one place that writes a response.
// Invariant: a response is written once, inside cork. It refuses nothing; callers decide what is answered.
import { STATUS_CODES } from 'node:http'
import { problemStatus, renderProblem } from '../../../contract/problem.js'
import { type ErrorCode, type InputFault, reject } from '../../../errors.js'
import type { UwsResponse } from './binding.js'

/** Seconds after which a refused client may try again. */
export const RETRY_AFTER_S = 1

const STATUS_LINES: readonly string[] = Array.from(
  { length: 600 },
  (_, status) => `${status} ${STATUS_CODES[status] ?? ''}`,
)

export const JSON_TYPE = 'application/json'
export const BYTES_TYPE = 'application/octet-stream'
export const PROBLEM_TYPE = 'application/problem+json'

/** A whole answer as it will be written. */
export interface Reply {
  readonly status: number
  readonly type: string
  readonly body: string | Uint8Array
  /** Header name and value, or null. */
  readonly extra: readonly [string, string] | null
}

export interface RefusalParts {
  readonly extra?: Reply['extra']
  /** Where the input is wrong, for faults of the input. */
  readonly path?: string
}

/** A refusal made once, at start, so that refusing costs next to nothing when everything else is too much. */
export function prepareRefusal(code: ErrorCode, detail: string, { extra = null, path }: RefusalParts = {}): Reply {
  const errors: InputFault[] = path === undefined ? [] : [{ path, message: detail }]
  const rejection = reject(code, detail, errors)
  const status = problemStatus(rejection)
  const retry: Reply['extra'] = status === 503 ? ['Retry-After', String(RETRY_AFTER_S)] : null
  return { status, type: PROBLEM_TYPE, body: Buffer.from(renderProblem(rejection)), extra: extra ?? retry }
}

/**
 * Writes the status line. After a `100 Continue` that we sent ourselves (see `writeContinue`) the binding believes the
 * status written: the final one then goes out as the beginning of the first header.
 */
export function writeHead(res: UwsResponse, status: number, type: string, continued: boolean): void {
  if (continued) res.writeHeader(`HTTP/1.1 ${STATUS_LINES[status]}\r\nContent-Type`, type)
  // The binding writes 200 OK by itself.
  else if (status === 200) res.writeHeader('Content-Type', type)
  else res.writeStatus(STATUS_LINES[status]).writeHeader('Content-Type', type)
}

/**
 * Sends `100 Continue` for spellings of Expect that the binding overlooks. It has no call for interim responses, but it
 * writes a status as given: with one more line end the interim response is complete.
 */
export function writeContinue(res: UwsResponse): void {
  res.writeStatus('100 Continue\r\n')
}
