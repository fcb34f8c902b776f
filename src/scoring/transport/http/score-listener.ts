// The score listener: `/v1/score`, `/v1/score/batch`, `/v1/labels`, `/v1/decisions`, `/openapi.json`, and with
// inference-endpoints.ts all of `/v2`.
// Invariant: the order of refusal is key, gate, headers, body (semantics 2), and a refusal from the headers reads no
// body. It knows nothing of scoring: bytes go to the pipeline, the pipeline's answer goes out.
import { keepTraceparent } from '../../../contract/card-data.js'
import type { Parsed } from '../../../contract/json.js'
import { isRejection } from '../../../contract/problem.js'
import { type ErrorCode, type Rejection, reject } from '../../../errors.js'
import type { Limits } from '../../../limits.js'
import type { Clock } from '../../../runtime/clock.js'
import type { Scoring } from '../../exchange.js'
import type { Admit } from './auth.js'
import { submitBatch } from './batch.js'
import type { Uws, UwsRequest } from './binding.js'
import {
  headerRejection,
  isEncoded,
  readDeadline,
  readHistory,
  readLength,
  readMediaType,
  readMode,
  waitsForContinue,
} from './headers.js'
import type { Consume, HttpExchange } from './http-exchange.js'
import { inferenceRoutes } from './inference-endpoints.js'
import { type Address, type Listener, openListener, type Route } from './listener.js'
import { prepareRefusal, type Reply } from './reply.js'

/** Bytes made into a value, or why not. */
export type Parse = (bytes: Uint8Array) => Parsed

export interface ScoreListenerDeps {
  readonly uws: Uws
  readonly limits: Limits
  readonly clock: Clock
  readonly scoring: Scoring
  /** Strict JSON, for what is not one transaction: it refuses invalid UTF-8, duplicate keys and depth. */
  readonly parseJson: Parse
  /** One transaction in Avro by the policy's schema. */
  readonly parseAvro: Parse
  /** Of the server, as its metadata name it. */
  readonly version: string
  /** The OpenAPI document, as JSON text. */
  readonly openApi: string
  /** Milliseconds a decision may take, by the policy; read at each request. */
  readonly deadlineMs: () => number
  /** null: whoever reaches the listener may use it. */
  readonly admit: Admit | null
  onRejected(code: ErrorCode): void
  /** A bug of ours, caught at the boundary. */
  onFault(error: unknown): void
}

/** Opens the score listener. */
export function createScoreListener(deps: ScoreListenerDeps, address: Address): Promise<Listener> {
  const { scoring } = deps
  const score: Consume = (bytes, exchange) => scoring.submit(bytes, exchange)
  const scoreAvro = parsed(deps.parseAvro, (value, exchange) => scoring.submitValue(value, exchange))
  const batch = parsed(deps.parseJson, (value, exchange) => submitBatch(value, exchange, deps))
  const labels = parsed(deps.parseJson, (value, exchange) => scoring.submitLabels(value, exchange))
  const begin = createBegin(deps)
  const routes: Route[] = [
    {
      method: 'post',
      pattern: '/v1/score',
      handle: (exchange, req) => begin(exchange, req, { json: score, avro: scoreAvro }),
    },
    { method: 'post', pattern: '/v1/score/batch', handle: (exchange, req) => begin(exchange, req, { json: batch }) },
    { method: 'post', pattern: '/v1/labels', handle: (exchange, req) => begin(exchange, req, { json: labels }) },
    { method: 'get', pattern: '/v1/decisions/:decision_id', handle: keyed(deps, byDecisionId(scoring)) },
    { method: 'get', pattern: '/v1/decisions', handle: keyed(deps, byTransactionId(scoring)) },
    ...inferenceRoutes(deps, begin),
    { method: 'get', pattern: '/openapi.json', handle: (exchange) => exchange.answer(200, deps.openApi, false, 0) },
  ]
  return openListener(deps, address, routes)
}

/** Who takes a body of which kind; `tensors` takes bytes, and bodies whose kind is not said. */
export interface Bodies {
  readonly json: Consume
  readonly avro?: Consume
  readonly tensors?: Consume
}

export type Begin = (exchange: HttpExchange, req: UwsRequest, bodies: Bodies) => void

/** The rungs before the body: key, gate, headers. */
function createBegin(deps: ScoreListenerDeps): Begin {
  const mediaRefusal = (detail: string, header: string): Reply =>
    prepareRefusal('ASSAY_MEDIA_TYPE_REFUSED', detail, { path: `/headers/${header}` })
  const mediaJson = mediaRefusal('send application/json', 'content-type')
  const mediaBoth = mediaRefusal('send application/json or avro/binary', 'content-type')
  const mediaTensors = mediaRefusal('send application/json or application/octet-stream', 'content-type')
  const encoded = mediaRefusal('send the body as it is, without a content coding', 'content-encoding')
  const { admit, limits, scoring } = deps
  return (exchange, req, bodies) => {
    const { refusals } = exchange
    if (admit !== null && admit(exchange, req) === null) return
    const refused = exchange.pendingBytes >= limits.pendingBytesMax ? 'ASSAY_OVERLOADED' : scoring.gate(1)
    if (refused === 'ASSAY_NOT_READY' && exchange.relay !== null) return exchange.relay(exchange, req)
    if (refused !== null) {
      return exchange.refuse(refused, refused === 'ASSAY_NOT_READY' ? refusals.notReady : refusals.overloaded, req)
    }
    const mode = readMode(req)
    const deadlineMs = readDeadline(req, deps.deadlineMs())
    if (mode === null) return exchange.refuseHeader(headerRejection('Assay-Mode'), req)
    if (Number.isNaN(deadlineMs)) return exchange.refuseHeader(headerRejection('Assay-Timeout-Ms'), req)
    // Payments that are decided are no history: for them it is not even looked for.
    const history = mode === 'observe' ? readHistory(req) : null
    if (history === 'bad') return exchange.refuseHeader(headerRejection('Assay-History'), req)
    const media = readMediaType(req)
    const consume = consumerOf(media, bodies)
    if (consume === undefined) {
      const { avro, tensors } = bodies
      const reply = tensors !== undefined ? mediaTensors : avro === undefined ? mediaJson : mediaBoth
      return exchange.refuse('ASSAY_MEDIA_TYPE_REFUSED', reply, req)
    }
    if (isEncoded(req)) return exchange.refuse('ASSAY_MEDIA_TYPE_REFUSED', encoded, req)
    const length = readLength(req)
    if (length > limits.bodyBytesMax) return exchange.refuse('ASSAY_BODY_TOO_LARGE', refusals.tooLarge, req)
    exchange.mode = mode
    exchange.history = history
    exchange.deadlineMs = deadlineMs
    const traceparent = req.getHeader('traceparent')
    exchange.traceparent = traceparent === '' ? null : keepTraceparent(traceparent)
    exchange.receive(consume, length, waitsForContinue(req))
  }
}

/** What clients of the Open Inference Protocol send: bytes, nothing (Triton's), or what curl says by itself. */
const UNTYPED = new Set(['application/octet-stream', '', 'application/x-www-form-urlencoded'])

function consumerOf(media: string, { json, avro, tensors }: Bodies): Consume | undefined {
  if (media === 'application/json') return json
  if (UNTYPED.has(media)) return tensors
  return media === 'avro/binary' ? avro : undefined
}

/** A body that is parsed here, before the pipeline sees it. */
function parsed(parse: Parse, submit: (value: unknown, exchange: HttpExchange) => void): Consume {
  return (bytes, exchange) => {
    const result = parse(bytes)
    if (isRejection(result)) exchange.reject(result)
    else submit(result.value, exchange)
  }
}

type LookUp = (req: UwsRequest) => string | null | Rejection

function keyed(deps: ScoreListenerDeps, find: LookUp): Route['handle'] {
  return (exchange, req) => {
    if (deps.admit !== null && deps.admit(exchange, req) === null) return
    const found = find(req)
    if (typeof found === 'string') exchange.answer(200, found, false, 0)
    else exchange.reject(found ?? reject('ASSAY_DECISION_UNKNOWN', 'it was never made here, or has left the index'))
  }
}

function byDecisionId(scoring: Scoring): LookUp {
  return (req) => scoring.findDecision({ decisionId: req.getParameter(0) ?? '' })
}

function byTransactionId(scoring: Scoring): LookUp {
  return (req) => {
    const transactionId = req.getQuery('transaction_id') ?? ''
    const message = 'name one as ?transaction_id='
    if (transactionId === '') return reject('ASSAY_SCHEMA_INVALID', message, [{ path: '/transaction_id', message }])
    return scoring.findDecision({ transactionId })
  }
}
