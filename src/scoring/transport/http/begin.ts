// The rungs before a body, for every request of the score listener that has one: key, gate, headers (semantics 2).
// Invariant: a refusal from the headers reads no body.
import { keepTraceparent } from '../../../contract/card-data.js'
import type { Parsed } from '../../../contract/json.js'
import type { ErrorCode } from '../../../errors.js'
import type { Limits } from '../../../limits.js'
import type { Clock } from '../../../runtime/clock.js'
import type { Scoring } from '../../exchange.js'
import type { Admit } from './auth.js'
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

/** Who takes a body of which kind; `tensors` takes bytes, and bodies whose kind is not said. */
export interface Bodies {
  readonly json: Consume
  readonly avro?: Consume
  readonly tensors?: Consume
}

export type Begin = (exchange: HttpExchange, req: UwsRequest, bodies: Bodies) => void

/** The rungs before the body: key, gate, headers. */
export function createBegin(deps: ScoreListenerDeps): Begin {
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
    const consume = consumerOf(req, bodies)
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

/** What clients of the Open Inference Protocol send beside bytes: nothing (Triton's), or what curl says by itself. */
const UNTYPED = new Set(['', 'application/x-www-form-urlencoded'])

function consumerOf(req: UwsRequest, { json, avro, tensors }: Bodies): Consume | undefined {
  const media = readMediaType(req)
  if (media === 'application/json') return json
  if (media === 'application/octet-stream') return tensors
  // A page of another site may send such a body without asking; its browser then says where it comes from.
  if (UNTYPED.has(media)) return req.getHeader('origin') === '' ? tensors : undefined
  return media === 'avro/binary' ? avro : undefined
}
