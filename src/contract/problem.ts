// A rejection as application/problem+json (RFC 9457). The title comes from the table of errors, the rest from the
// rejection, which never holds a value of the input.
import { Type } from '@sinclair/typebox'
import { type ErrorCode, ERRORS, type Rejection } from '../errors.js'

/** Body of every error answer. Under /v2 the same document also has `error`. */
export const Problem = Type.Object({
  type: Type.String(),
  title: Type.String(),
  status: Type.Integer(),
  detail: Type.String(),
  code: Type.Union(Object.keys(ERRORS).map((code) => Type.Literal(code))),
  errors: Type.Optional(Type.Array(Type.Object({ path: Type.String(), message: Type.String() }))),
  error: Type.Optional(
    Type.String({ description: 'the detail again, as clients of the Open Inference Protocol expect it' }),
  ),
})

/** True for a rejection among the results of a validator. */
export function isRejection(result: object): result is Rejection {
  return 'code' in result
}

/** The `type` of a code's problem: an identifier, not an address that must answer. */
export function problemType(code: ErrorCode): string {
  return `urn:assay:error:${code.slice('ASSAY_'.length).toLowerCase().replaceAll('_', '-')}`
}

/** The code that a problem document carries; ASSAY_INTERNAL where it is none of this release's. */
export function problemCode(problem: unknown): ErrorCode {
  const code = typeof problem === 'object' && problem !== null && 'code' in problem ? problem.code : null
  return typeof code === 'string' && Object.hasOwn(ERRORS, code) ? (code as ErrorCode) : 'ASSAY_INTERNAL'
}

/** HTTP status of a rejection. */
export function problemStatus(rejection: Rejection): number {
  return ERRORS[rejection.code].status
}

/** The body of an error answer. */
export function renderProblem(rejection: Rejection): string {
  const { code, detail, errors } = rejection
  const { message, status } = ERRORS[code]
  return JSON.stringify({
    type: problemType(code),
    title: message,
    status,
    detail,
    code,
    ...(errors.length > 0 && { errors }),
  })
}

/** The same body as under /v2, where it also has `error`. */
export function withError(problem: string | Uint8Array): string {
  const body = JSON.parse(Buffer.from(problem).toString()) as { readonly detail?: unknown }
  return JSON.stringify({ ...body, error: body.detail })
}
