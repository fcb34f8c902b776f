// One request between its headers and its answer: receives a bounded body, hands it over, writes the answer once.
// Invariant: the response is touched only while it lives: `onAborted` is the first thing registered, and whatever comes
// after the end is ignored. It refuses bodies that are too large, too slow or too many at once.
// The shape is fixed, with two closures a request; bodies that come in one piece are handed on without a copy.
import assert from 'node:assert'
import { plainAddress } from '../../../contract/address.js'
import type { Mode } from '../../../contract/transaction.js'
import { problemStatus, renderProblem, withError } from '../../../contract/problem.js'
import { type ErrorCode, type Rejection, reject } from '../../../errors.js'
import type { Limits } from '../../../limits.js'
import type { Clock } from '../../../runtime/clock.js'
import type { EncodedAnswer } from '../../../contract/inference-answer.js'
import type { InferExchange } from '../../exchange.js'
import type { UwsRequest, UwsResponse } from './binding.js'
import { type HistoryPlace, readLength, waitsForContinue } from './headers.js'
import { BYTES_TYPE, JSON_TYPE, PROBLEM_TYPE, type Reply, RETRY_AFTER_S, writeContinue, writeHead } from './reply.js'

/** Refusals that every request may meet, made once. */
export interface Refusals {
  readonly overloaded: Reply
  readonly notReady: Reply
  readonly tooLarge: Reply
  readonly tooSlow: Reply
  readonly unauthenticated: Reply
  readonly keyExpired: Reply
  readonly tooManyFailures: Reply
}

/** What all exchanges of one listener share. */
export interface Host {
  readonly limits: Limits
  readonly clock: Clock
  readonly refusals: Refusals
  /** Bodies begun and not complete, oldest first. */
  readonly slow: Set<HttpExchange>
  /** Bytes held for them. */
  pendingBytes: number
  /** Requests not yet answered. */
  open: number
  /** Requests ever begun: drain waits for a pause. */
  begun: number
  /** While true every answer closes its connection. */
  draining: boolean
  /** Takes what comes when nothing is scored here any more; null: it is refused. */
  relay: Relay | null
  onRejected(code: ErrorCode): void
  /** A bug of ours, caught at the boundary. */
  onFault(error: unknown): void
}

/** Takes a request that nothing is scored for here any more; inside its handler. */
export type Relay = (exchange: HttpExchange, req: UwsRequest) => void

/** Takes a complete body; `bytes` are valid until it returns. Answers now or later. */
export type Consume = (bytes: Uint8Array, exchange: HttpExchange) => void

const RECEIVING = 0
const HANDED_OVER = 1
const DONE = 2

/** Smallest piece of memory taken for a body that comes in parts. */
const BODY_BYTES_MIN = 4096

/** Whether the address is one of the Open Inference Protocol. */
function isInference(req: UwsRequest): boolean {
  const url = req.getUrl()
  return url === '/v2' || url.startsWith('/v2/')
}

export class HttpExchange implements InferExchange {
  mode: Mode = 'decide'
  deadlineMs = 0
  traceparent: string | null = null
  /** Of a batch of history. */
  history: HistoryPlace | null = null
  /** When the request was there as a whole: time that the client's network takes is not taken from the deadline. */
  receivedAtMs: number
  /** When its headers were there. */
  readonly begunAtMs: number
  readonly source = null
  readonly decidedElsewhere = null
  readonly stale = false
  /** Under /v2, where problems also have `error`. */
  isInference = false
  /** Set by the pipeline where the policy wants the header. */
  serverTiming: string | null = null
  /** Told of whatever this request is refused for, where somebody keeps a record of it. */
  onRefused: ((code: ErrorCode) => void) | null = null
  private state = RECEIVING
  private answered = false
  /** True inside a callback of the binding, which corks by itself. */
  private corked = false
  private continued = false
  private body: Buffer | null = null
  private used = 0
  private refusal: Reply | null = null
  private refusedCode: ErrorCode = 'ASSAY_OVERLOADED'

  constructor(
    private readonly host: Host,
    private readonly res: UwsResponse,
  ) {
    res.onAborted(() => this.finish())
    this.begunAtMs = host.clock.monoMs()
    this.receivedAtMs = this.begunAtMs
    host.open += 1
    host.begun += 1
  }

  /** Refusals made at start. */
  get refusals(): Refusals {
    return this.host.refusals
  }

  get relay(): Relay | null {
    return this.host.relay
  }

  /** Bytes held for bodies that are under way. */
  get pendingBytes(): number {
    return this.host.pendingBytes
  }

  /** Where the connection comes from; to be asked inside the handler. */
  remoteAddress(): string {
    return plainAddress(Buffer.from(this.res.getRemoteAddressAsText()).toString('latin1'))
  }

  /** Runs a handler inside the binding's own cork; what it throws is caught here and answered. */
  run(handle: (exchange: HttpExchange, req: UwsRequest) => void, req: UwsRequest): void {
    this.corked = true
    try {
      handle(this, req)
    } catch (error) {
      this.fault(error)
    }
    this.corked = false
  }

  /**
   * Refuses from the headers alone, inside the handler. The binding reads the body past, for ten seconds at most, and
   * the connection stays; it is closed where the body will not come (the client waits for a 100) or is too long.
   */
  refuse(code: ErrorCode, reply: Reply, req: UwsRequest): void {
    this.rejected(code)
    this.isInference ||= isInference(req)
    const closing = waitsForContinue(req) || readLength(req) > this.host.limits.bodyDrainBytesMax
    if (req.getMethod() !== 'head') return this.writeReply(reply, closing)
    this.beginReply(reply)
    // A body would be taken for the next response; with a length of its own the binding would wait for it for ever.
    this.res.endWithoutBody(0, closing || this.host.draining)
  }

  /** Refuses for a header that the client must correct, the body unread. */
  refuseHeader(rejection: Rejection, req: UwsRequest): void {
    const body = renderProblem(rejection)
    this.refuse(rejection.code, { status: problemStatus(rejection), type: PROBLEM_TYPE, body, extra: null }, req)
  }

  /** Refuses a complete request with a problem document. */
  reject(rejection: Rejection): void {
    this.rejected(rejection.code)
    const status = problemStatus(rejection)
    this.answer(status, renderProblem(rejection), false, status === 503 ? RETRY_AFTER_S : 0)
  }

  /** Takes the body, then calls `consume` once. `waits` says that the client waits for a 100 first. */
  receive(consume: Consume, length: number, waits: boolean): void {
    if (waits) {
      writeContinue(this.res)
      this.continued = true
    }
    // A body of unknown length may begin with nothing: without this, nobody would watch it.
    if (length < 0) this.host.slow.add(this)
    this.res.onData((chunk, last) => {
      if (this.state !== RECEIVING) return
      this.corked = true
      try {
        this.onChunk(chunk, last, consume)
      } catch (error) {
        this.fault(error)
      }
      this.corked = false
    })
  }

  /** Writes the answer once; nothing happens where the client is gone. */
  answer(status: number, body: string, replayed: boolean, retryAfterS: number): void {
    assert(!this.answered, 'an exchange is answered once')
    this.answered = true
    if (this.state === DONE) return
    this.finish()
    if (this.corked) this.write(status, body, replayed, retryAfterS)
    else this.res.cork(() => this.write(status, body, replayed, retryAfterS))
  }

  /** Answers with tensors: as JSON, or with bytes of them behind it. */
  answerInference({ body, jsonBytes }: EncodedAnswer): void {
    if (jsonBytes === null) return this.answerWith({ status: 200, type: JSON_TYPE, body, extra: null })
    const extra = ['Inference-Header-Content-Length', String(jsonBytes)] as const
    this.answerWith({ status: 200, type: BYTES_TYPE, body, extra })
  }

  /** Answers with another type than JSON. */
  answerWith(reply: Reply): void {
    assert(!this.answered, 'an exchange is answered once')
    this.answered = true
    if (this.state === DONE) return
    if (this.corked) this.writeReply(reply, false)
    else this.res.cork(() => this.writeReply(reply, false))
  }

  /** The body took too long. */
  expire(): void {
    if (this.state !== RECEIVING) return
    this.rejected('ASSAY_BODY_TIMEOUT')
    this.res.cork(() => this.writeReply(this.host.refusals.tooSlow, true))
  }

  /** Something of ours threw: the client still gets an answer. */
  fault(error: unknown): void {
    this.host.onFault(error)
    if (this.answered || this.state === DONE) return
    this.reject(reject('ASSAY_INTERNAL', 'the request was not finished'))
  }

  private rejected(code: ErrorCode): void {
    this.host.onRejected(code)
    this.onRefused?.(code)
  }

  private onChunk(chunk: ArrayBuffer, last: boolean, consume: Consume): void {
    if (last && this.used === 0 && this.refusal === null) {
      if (chunk.byteLength > this.host.limits.bodyBytesMax) this.refusal = this.refusing('ASSAY_BODY_TOO_LARGE')
      else return this.handOver(new Uint8Array(chunk), consume)
    }
    this.used += chunk.byteLength
    if (this.refusal === null) this.keep(chunk)
    if (this.refusal === null) {
      if (last) this.handOver(this.takeBody(), consume)
      else this.host.slow.add(this)
      return
    }
    // A refused body is read on for a while: a closed connection would reset, and the answer be lost with it.
    const beyond = this.used > this.host.limits.bodyDrainBytesMax
    if (!last && !beyond) return void this.host.slow.add(this)
    this.rejected(this.refusedCode)
    this.writeReply(this.refusal, beyond)
  }

  private keep(chunk: ArrayBuffer): void {
    const { limits } = this.host
    if (this.used > limits.bodyBytesMax) {
      this.refusal = this.refusing('ASSAY_BODY_TOO_LARGE')
      return
    }
    const before = this.body?.length ?? 0
    if (this.used > before) {
      const size = Math.min(limits.bodyBytesMax, Math.max(this.used, before * 2, BODY_BYTES_MIN))
      if (this.host.pendingBytes + size - before > limits.pendingBytesMax) {
        this.refusal = this.refusing('ASSAY_OVERLOADED')
        return
      }
      const grown = Buffer.allocUnsafeSlow(size)
      this.body?.copy(grown)
      this.body = grown
      this.host.pendingBytes += size - before
    }
    this.body?.set(new Uint8Array(chunk), this.used - chunk.byteLength)
  }

  private refusing(code: 'ASSAY_BODY_TOO_LARGE' | 'ASSAY_OVERLOADED'): Reply {
    this.release()
    this.refusedCode = code
    return code === 'ASSAY_OVERLOADED' ? this.host.refusals.overloaded : this.host.refusals.tooLarge
  }

  private takeBody(): Uint8Array {
    const body = this.body?.subarray(0, this.used) ?? new Uint8Array(0)
    this.release()
    return body
  }

  private handOver(bytes: Uint8Array, consume: Consume): void {
    this.state = HANDED_OVER
    this.host.slow.delete(this)
    // Many clients send headers and body apart, and the body may be 40 ms behind.
    this.receivedAtMs = this.host.clock.monoMs()
    consume(bytes, this)
  }

  private release(): void {
    this.host.pendingBytes -= this.body?.length ?? 0
    this.body = null
  }

  private writeReply(reply: Reply, closing: boolean): void {
    this.beginReply(reply)
    const { type, body } = reply
    this.res.end(type === PROBLEM_TYPE && this.isInference ? withError(body) : body, closing || this.host.draining)
  }

  private beginReply(reply: Reply): void {
    this.finish()
    this.answered = true
    writeHead(this.res, reply.status, reply.type, this.continued)
    if (reply.extra !== null) this.res.writeHeader(reply.extra[0], reply.extra[1])
  }

  private write(status: number, body: string, replayed: boolean, retryAfterS: number): void {
    const { res } = this
    writeHead(res, status, status >= 400 ? PROBLEM_TYPE : JSON_TYPE, this.continued)
    if (replayed) res.writeHeader('Idempotent-Replayed', 'true')
    if (retryAfterS > 0) res.writeHeader('Retry-After', String(retryAfterS))
    if (this.serverTiming !== null) res.writeHeader('Server-Timing', this.serverTiming)
    res.end(status >= 400 && this.isInference ? withError(body) : body, this.host.draining)
  }

  /** The response must not be touched after the caller's next write: by us, by an abort, by anybody. */
  private finish(): void {
    if (this.state === DONE) return
    this.state = DONE
    this.host.open -= 1
    this.host.slow.delete(this)
    this.release()
  }
}
