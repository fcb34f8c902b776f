// What the headers of a request say, before its body is looked at.
// Invariant: nothing of a header is kept but a traceparent of exact W3C shape. It refuses values it does not know.
import { type Mode, MODES, parseMode } from '../../../contract/transaction.js'
import { type Rejection, reject } from '../../../errors.js'
import type { UwsRequest } from './binding.js'

const MILLISECONDS = /^[1-9][0-9]{0,5}$/
const LENGTH = /^[0-9]{1,15}$/
const HISTORY = /^([0-9a-f]{32})\/(\d{1,15})$/

/** The mode asked for; null where the value is none of the known. */
export function readMode(req: UwsRequest): Mode | null {
  const text = req.getHeader('assay-mode')
  if (text === '' || text === 'decide') return 'decide'
  return parseMode(text)
}

/** Milliseconds to decide in: the policy's, or fewer where the client asks for fewer; NaN where the value is bad. */
export function readDeadline(req: UwsRequest, policyMs: number): number {
  const text = req.getHeader('assay-timeout-ms')
  if (text === '') return policyMs
  if (!MILLISECONDS.test(text)) return NaN
  return Math.min(Number(text), policyMs)
}

/** Rows of a history that is imported, and the place of the first of them in it. */
export interface HistoryPlace {
  readonly source: string
  readonly offset: number
}

/** The place that `Assay-History` names; null where it is absent, 'bad' where the value is. */
export function readHistory(req: UwsRequest): HistoryPlace | null | 'bad' {
  const text = req.getHeader('assay-history')
  if (text === '') return null
  const match = HISTORY.exec(text)
  return match === null ? 'bad' : { source: match[1] ?? '', offset: Number(match[2]) }
}

/** Bytes announced; -1 where the length is not known before the end. */
export function readLength(req: UwsRequest): number {
  const text = req.getHeader('content-length')
  return LENGTH.test(text) ? Number(text) : -1
}

/** Bytes of JSON in front of the bytes of tensors; null where it is absent, NaN where its value is bad. */
export function readJsonBytes(req: UwsRequest): number | null {
  const text = req.getHeader('inference-header-content-length')
  if (text === '') return null
  return LENGTH.test(text) ? Number(text) : NaN
}

/** The media type without parameters, in lower case. */
export function readMediaType(req: UwsRequest): string {
  const text = req.getHeader('content-type')
  if (text === 'application/json') return text
  const end = text.indexOf(';')
  return (end === -1 ? text : text.slice(0, end)).trim().toLowerCase()
}

/** True where the body is compressed or otherwise coded: it would be bytes of another kind than the media type says. */
export function isEncoded(req: UwsRequest): boolean {
  const text = req.getHeader('content-encoding')
  return text !== '' && text.trim().toLowerCase() !== 'identity'
}

/**
 * True where the client waits for a 100 that nobody sends: the native code answers the lower-case spelling by itself
 * and overlooks the others, such as that of Java's HttpClient.
 */
export function waitsForContinue(req: UwsRequest): boolean {
  const text = req.getHeader('expect')
  return text !== '' && text !== '100-continue' && text.toLowerCase() === '100-continue'
}

const ALLOWED = {
  'Assay-Mode': `must be one of ${MODES.join(', ')}`,
  'Assay-Timeout-Ms': 'must be whole milliseconds from 1',
  'Assay-History': 'must be 32 hexadecimal digits, a slash and the place of the first row',
  'Inference-Header-Content-Length': 'must be the bytes of JSON that the body begins with',
} as const

/** What a client is told about a header that it must correct. */
export function headerRejection(name: keyof typeof ALLOWED): Rejection {
  const message = ALLOWED[name]
  return reject('ASSAY_HEADER_INVALID', `${name} ${message}`, [{ path: `/headers/${name.toLowerCase()}`, message }])
}
