// What a transport gives the pipeline for one transaction, and what it gets back, once.
import type { Mode } from '../contract/transaction.js'

export interface Exchange {
  readonly mode: Mode
  /** Milliseconds from the policy, or lower by Assay-Timeout-Ms. */
  readonly deadlineMs: number
  readonly traceparent: string | null
  /** Monotonic milliseconds at which the request's headers were there. */
  readonly begunAtMs: number
  /** Monotonic milliseconds at which all of it was there: the deadline counts from here. */
  readonly receivedAtMs: number
  /** Where a streamed transaction came from; null over HTTP. */
  readonly source: { topic: string; partition: number; offset: number } | null
  /** Decisions of other servers by transaction_id: such a transaction is folded and answered so. Null: none. */
  readonly decidedElsewhere: ReadonlyMap<string, { readonly body: string }> | null
  /** It comes too late to matter to whoever asked: the decision says so. */
  readonly stale: boolean
  /** Set before the answer where the policy wants the stages shown: the value of a Server-Timing header. */
  serverTiming: string | null
  /** Called exactly once, synchronously or later. `body` is JSON; errors are problem+json (status ≥ 400). */
  answer(status: number, body: string, replayed: boolean, retryAfterS: number): void
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
  /** The JSON body of the answer that a held decision got (with its state of logging), or null. */
  findDecision(by: { decisionId: string } | { transactionId: string }): string | null
  /** Logs that a decision does not stand, where it is of this log. False where the log has no room for it now. */
  supersede(decisionId: string, reason: string): boolean
}
