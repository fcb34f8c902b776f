// The operations listener as commands reach it: one request, its answer as JSON, its problems as coded errors.
// Invariant: a token is read from a file or the environment, and never printed.
import { readFileSync } from 'node:fs'
import { type Environment, loadConfig } from '../config.js'
import { originOf } from '../contract/address.js'
import { AssayError, type ErrorCode, ERRORS, errorOf } from '../errors.js'

/** Milliseconds for one answer: a little more than the server takes for a change that is not durable. */
const ANSWER_MS_MAX = 5_000

export interface Reach {
  readonly url?: string | undefined
  readonly tokenFile?: string | undefined
  /** Milliseconds for one answer, where it takes longer than any change of routes. */
  readonly answerMsMax?: number
}

export interface OperationsAnswer {
  readonly status: number
  readonly body: Readonly<Record<string, unknown>>
  /** The newest revision, as the server tags it. */
  readonly tag: string | null
}

export interface OperationsClient {
  readonly url: string
  /** Throws AssayError with the code that the server gives, ASSAY_SERVER_UNREACHABLE where none answers. */
  ask(method: 'GET' | 'PUT' | 'POST', path: string, body?: object, tag?: string | null): Promise<OperationsAnswer>
}

/** Makes the client; `url` and the token file as options give them, else what the environment names. */
export function createOperationsClient(given: Reach, env: Environment): OperationsClient {
  const url = given.url ?? env.ASSAY_OPERATIONS_URL ?? defaultUrl(env)
  if (!URL.canParse(url) || !/^https?:$/.test(new URL(url).protocol)) {
    throw new AssayError('ASSAY_USAGE', '--url must be http://host:port or https://host:port of an operations listener')
  }
  const token = readToken(given.tokenFile ?? env.ASSAY_TOKEN_FILE) ?? env.ASSAY_TOKEN ?? null
  const base = new URL(url).origin
  return {
    url: base,
    async ask(method, path, body, tag = null) {
      const headers = {
        ...(token !== null && { authorization: `Bearer ${token}` }),
        ...(body !== undefined && { 'content-type': 'application/json' }),
        ...(tag !== null && { 'if-match': tag }),
      }
      const sent = body === undefined ? null : JSON.stringify(body)
      const signal = AbortSignal.timeout(given.answerMsMax ?? ANSWER_MS_MAX)
      const answer = await fetch(base + path, { method, headers, body: sent, signal }).then(
        readAnswer,
        (cause: unknown) => {
          throw new AssayError('ASSAY_SERVER_UNREACHABLE', `${base} does not answer: ${reasonOf(cause)}`, { cause })
        },
      )
      if (answer.status >= 400) throw problemOf(answer)
      return answer
    },
  }
}

function defaultUrl(env: Environment): string {
  const { operations } = loadConfig({ env }).process
  return originOf(operations, operations.port)
}

function readToken(file: string | undefined): string | null {
  if (file === undefined || file === '') return null
  try {
    return readFileSync(file, 'utf8').trim()
  } catch (cause) {
    throw new AssayError('ASSAY_INPUT_INVALID', `the token file ${file} cannot be read`, { cause })
  }
}

function reasonOf(cause: unknown): string {
  const { message, cause: under } = errorOf(cause)
  return under === undefined ? message : errorOf(under).message
}

async function readAnswer(response: Response): Promise<OperationsAnswer> {
  const text = await response.text()
  const body: unknown = text.startsWith('{') ? JSON.parse(text) : {}
  return { status: response.status, body: isRecord(body) ? body : {}, tag: response.headers.get('etag') }
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** The server's refusal under its own code; its detail names what is allowed, never what was sent. */
function problemOf({ status, body }: OperationsAnswer): AssayError {
  const detail = typeof body.detail === 'string' ? body.detail : `it answers ${status}`
  return new AssayError(isCode(body.code) ? body.code : 'ASSAY_INTERNAL', detail)
}

function isCode(value: unknown): value is ErrorCode {
  return typeof value === 'string' && Object.hasOwn(ERRORS, value)
}
