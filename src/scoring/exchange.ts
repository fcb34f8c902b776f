// What a transport gives the pipeline for one transaction, and what it gets back, once.
import type { ModelMetadata, ModelStatistics, RepositoryIndex } from '../contract/inference.js'
import type { EncodedAnswer } from '../contract/inference-answer.js'
import type { InferRequest } from '../contract/inference-request.js'
import type { StreamSource } from '../contract/record-types.js'
import type { Mode } from '../contract/transaction.js'
import type { ErrorCode, Rejection } from '../errors.js'
import type { DecidedOffsets } from './decided.js'

export interface Exchange {
  readonly mode: Mode
  /** Milliseconds from the policy, or lower by Assay-Timeout-Ms. */
  readonly deadlineMs: number
  readonly traceparent: string | null
  /** Monotonic milliseconds at which the request's headers were there. */
  readonly begunAtMs: number
  /** Monotonic milliseconds at which all of it was there, or it was held no longer: the deadline counts from here. */
  receivedAtMs: number
  /** Where a streamed transaction came from; null over HTTP. A place that was decided is never folded again. */
  readonly source: StreamSource | null
  /** Decisions of other servers by transaction_id: such a transaction is folded and answered so. Null: none. */
  readonly decidedElsewhere: ReadonlyMap<string, { readonly body: string }> | null
  /** It comes too late to matter to whoever asked: the decision says so. */
  readonly stale: boolean
  /** Set before the answer where the policy wants the stages shown: the value of a Server-Timing header. */
  serverTiming: string | null
  /** Called exactly once, synchronously or later. `body` is JSON; errors are problem+json (status ≥ 400). */
  answer(status: number, body: string, replayed: boolean, retryAfterS: number): void
}

/** What a transport gives for one request of the Open Inference Protocol; one of both is called, once. */
export interface InferExchange extends Exchange {
  answerInference(answer: EncodedAnswer): void
  reject(rejection: Rejection): void
}

/** What is asked, and of whom; without a version it is the routed one. */
export interface InferAsked {
  readonly name: string
  readonly version: string | null
  readonly request: InferRequest
}

/** Models by the names under which they are asked. Null: there is none of that name and version. */
export interface Inference {
  metadata(name: string, version: string | null): ModelMetadata | null
  isReady(name: string, version: string | null): boolean | null
  index(isReadyOnly: boolean): RepositoryIndex
  /** Without a name: of all. */
  statistics(name: string | null, version: string | null): ModelStatistics | null
  infer(asked: InferAsked, exchange: InferExchange): void
}

/** The pipeline as transports see it. */
export interface Scoring {
  /** From the headers alone, before the body: null, or the code to refuse with. `rows` is 1 where unknown. */
  gate(rows: number): 'ASSAY_OVERLOADED' | 'ASSAY_NOT_READY' | null
  /** One transaction as JSON bytes. The bytes are used before the call returns; nothing is kept of them. */
  submit(bytes: Uint8Array, exchange: Exchange): void
  /** One transaction already parsed from JSON (rows of a batch) or decoded from Avro. */
  submitValue(value: unknown, exchange: Exchange): void
  /** Labels, one or many, parsed JSON; answered 202 once logged. */
  submitLabels(value: unknown, exchange: Exchange): void
  /** Null before readiness. */
  inference(): Omit<Inference, 'infer'> | null
  infer(asked: InferAsked, exchange: InferExchange): void
  /** The JSON body of the answer that a held decision got (with its state of logging), null, or why it is not known. */
  findDecision(by: { decisionId: string } | { transactionId: string }): string | null | Rejection
}

/** What the log says of a place: the answer of its transaction, or that nothing of it is left to be sent. */
export type Recalled = { readonly transactionId: string; readonly body: string } | 'consumed'

/**
 * What the log holds of these places of one partition, by offset; null where it has not been read far enough: to be
 * asked again. What is missing in the answer stands in the log no longer. Throws ASSAY_LOG_IO and ASSAY_LOG_DAMAGED.
 */
export type Recall = (sources: readonly StreamSource[]) => Promise<ReadonlyMap<number, Recalled> | null>

/** What a stream asks beside. */
export interface StreamScoring extends Scoring {
  /** Whether another of its rows may be handed over now: one behind which requests do not queue. */
  hasRoom(): boolean
  /** What of the stream this log has seen to the end. */
  readonly decided: Pick<DecidedOffsets, 'has' | 'isDeadLetter'>
  /** Finds in the log what was decided before, and is not in the index. */
  readonly recall: Recall
  /** Logs that a message is done that has no record of its own. False where the log has no room for it now. */
  consume(source: StreamSource, code: ErrorCode | null): boolean
  /** Logs that a decision does not stand, where it is of this log. False where the log has no room for it now. */
  supersede(decisionId: string, reason: string): boolean
}
