// One message as the pipeline sees it, and what becomes of it: an answer, a dead letter, or another try.
import assert from 'node:assert'
import { holdsCardData, keepTraceparent } from '../../../contract/card-data.js'
import { type Mode, parseMode } from '../../../contract/transaction.js'
import { type ErrorCode, ERRORS } from '../../../errors.js'
import type { Limits } from '../../../limits.js'
import type { Clock } from '../../../runtime/clock.js'
import type { StreamSource } from '../../../contract/record-types.js'
import type { Exchange, Recalled, StreamScoring } from '../../exchange.js'
import type { Reading } from './decoders.js'
import { namesOf, type Standing } from './output.js'
import type { InBatch, InMessage } from './port.js'

/**
 * What a row came to. `again`: nothing is wrong with it, the server cannot take it, or not say so, for now.
 * `forgotten`: its place was decided before, and only the decision log can say how. `consumed`: nothing is left to do.
 */
export type Outcome =
  | { readonly kind: 'answer'; readonly body: string; readonly as: 'new' | 'replayed' | 'taken over' }
  | { readonly kind: 'dead'; readonly code: ErrorCode; readonly path: string; readonly holdsCardData: boolean }
  | { readonly kind: 'again' }
  | { readonly kind: 'forgotten' }
  | { readonly kind: 'consumed' }

/** What all rows of one batch share. */
export interface RowHost {
  readonly batch: InBatch
  readonly topicId: string | null
  /** Places that were decided before. */
  readonly decided: StreamScoring['decided']
  /** Hands the bytes over, for an answer. */
  readonly submit: (value: Buffer, exchange: Exchange) => void
  /** Hands over what was read of them. */
  readonly submitValue: (value: unknown, exchange: Exchange) => void
  readonly clock: Clock
  readonly limits: Pick<Limits, 'bodyBytesMax' | 'kafkaTriesMax'>
  readonly deadlineMs: number
  /** Offset before which everything is history, and only observed. */
  readonly observeUntil: number
  readonly maxAgeMs: number | null
  readonly whenOlder: 'observe' | 'flag'
  /** Decisions that the output holds already, by transaction. */
  readonly standing: ReadonlyMap<string, Standing>
  /** A row that did not come to something at once has come to it. */
  readonly onSettled: () => void
}

export class Row implements Exchange {
  readonly deadlineMs: number
  readonly traceparent: string | null
  readonly source: StreamSource
  begunAtMs = 0
  receivedAtMs = 0
  serverTiming: string | null = null
  outcome: Outcome | null = null
  /** The decision that this server made of it, where another stands before it. */
  passed: { readonly decisionId: string; readonly by: string } | null = null
  /** Times that it was offered. */
  tries = 0
  private isOpen = false
  private readonly wanted: Mode | null

  constructor(
    private readonly host: RowHost,
    readonly message: InMessage,
    /** Offsets right before it that hold no message. */
    skipped: number,
    /** How its value is read. */
    private readonly reading: Reading,
  ) {
    const { headers, offset } = message
    const { topic, partition } = host.batch
    const mode = headers['assay-mode']?.toString('latin1')
    const traceparent = headers.traceparent?.toString('latin1') ?? ''
    this.wanted = mode === undefined ? 'decide' : parseMode(mode)
    this.traceparent = traceparent === '' ? null : keepTraceparent(traceparent)
    this.source = { topic, partition, offset, topicId: host.topicId, skipped }
    this.deadlineMs = host.deadlineMs
  }

  get mode(): Mode {
    const { observeUntil, whenOlder } = this.host
    const isObserved = this.source.offset < observeUntil || (whenOlder === 'observe' && this.isOld())
    return isObserved ? 'observe' : (this.wanted ?? 'decide')
  }

  get stale(): boolean {
    return this.isOld()
  }

  /** What it came to is a decision, and not that it was taken in. */
  get isDecided(): boolean {
    return this.outcome?.kind === 'answer' && this.outcome.body.startsWith('{"decision_id"')
  }

  get decidedElsewhere(): Exchange['decidedElsewhere'] {
    return this.host.standing.size === 0 || this.mode === 'evaluate' ? null : this.host.standing
  }

  /** Hands it to the pipeline. False where it came to something at once. */
  offer(): boolean {
    const { clock, limits, submit } = this.host
    const { value } = this.message
    this.outcome = null
    this.tries++
    this.begunAtMs = this.receivedAtMs = clock.monoMs()
    if (this.host.decided.isDeadLetter(this.source)) this.settle({ kind: 'consumed' })
    else if (this.wanted === null) this.settle(this.dead('ASSAY_HEADER_INVALID', '/headers/assay-mode'))
    else if (value === null) this.settle(this.dead('ASSAY_BODY_MALFORMED', ''))
    else if (value.length > limits.bodyBytesMax) this.settle(this.dead('ASSAY_BODY_TOO_LARGE', ''))
    else if (this.reading === null) submit(value, this)
    else this.submitRead(this.reading())
    this.isOpen = this.outcome === null
    return this.isOpen
  }

  answer(status: number, body: string, replayed: boolean): void {
    assert(this.outcome === null, 'an exchange is answered once')
    if (status < 400) {
      // Kafka never serves what it cannot log: such an answer is asked for again once the log takes records.
      this.settle(isLogged(body) ? this.answered(body, replayed) : { kind: 'again' })
      return
    }
    const { code, path } = readProblem(body)
    const isForNow = ERRORS[code].retryable && (status !== 500 || this.tries < this.host.limits.kafkaTriesMax)
    this.settle(isForNow ? { kind: 'again' } : this.dead(code, path))
  }

  /** Takes what the log says of its place; null: nothing. False where neither the log nor anybody else knows more. */
  recall(recalled: Recalled | null): boolean {
    assert(this.outcome?.kind === 'forgotten')
    this.outcome = { kind: 'consumed' }
    if (recalled === null) return false
    if (recalled === 'consumed') return true
    if (recalled.transactionId === this.transactionId()) {
      this.outcome = this.answered(recalled.body, true)
      return true
    }
    // Brokers that lost the end of a partition give its offsets out again: this is another message.
    this.source.topicId = null
    this.outcome = { kind: 'again' }
    return true
  }

  /** As the message has it; null where it cannot be read. */
  private transactionId(): string | null {
    const value = this.reading === null ? parseText(this.message.value) : this.reading()
    const read = this.reading !== null && typeof value === 'object' && value !== null && 'value' in value
    return idOf(read ? value.value : value)
  }

  /** The decision of this transaction that stands there. Where it is another than the answer's, that is `passed`. */
  compare(body: string, standing: ReadonlyMap<string, Standing>): Standing | null {
    const named = standing.size === 0 || this.mode === 'evaluate' ? null : namesOf(body)
    const first = named === null ? undefined : standing.get(named.transactionId)
    if (named === null || first === undefined) return null
    if (first.decisionId !== named.decisionId) this.passed = { decisionId: named.decisionId, by: first.decisionId }
    return first
  }

  private submitRead(read: ReturnType<NonNullable<Reading>>): void {
    if ('code' in read) this.settle(this.dead(read.code, read.errors[0]?.path ?? ''))
    else this.host.submitValue(read.value, this)
  }

  /** What stands goes out again, whoever decided it. */
  private answered(body: string, replayed: boolean): Outcome {
    const first = this.compare(body, this.host.standing)
    if (first === null) return { kind: 'answer', body, as: replayed ? 'replayed' : 'new' }
    return { kind: 'answer', body: first.body, as: replayed ? 'replayed' : 'taken over' }
  }

  private isOld(): boolean {
    const { maxAgeMs, clock } = this.host
    return maxAgeMs !== null && clock.nowMs() - this.message.timestampMs > maxAgeMs
  }

  private settle(outcome: Outcome): void {
    // A place that was decided before is not refused now; the index may hold it no longer.
    const isForgotten = outcome.kind === 'dead' && this.host.decided.has(this.source)
    this.outcome = isForgotten ? { kind: 'forgotten' } : outcome
    if (this.isOpen) this.host.onSettled()
    this.isOpen = false
  }

  /** What was refused for another reason, or not even read, may hold card data all the same. */
  private dead(code: ErrorCode, path: string): Outcome {
    const { key, value, headers } = this.message
    const parts = [key, value, ...Object.values(headers)]
    const holds =
      code === 'ASSAY_CARD_DATA_REFUSED' ||
      parts.some((part) => part !== null && holdsCardData(part.toString('latin1')))
    return { kind: 'dead', code, path, holdsCardData: holds }
  }
}

function parseText(value: Buffer | null): unknown {
  try {
    return value === null ? null : JSON.parse(value.toString('utf8'))
  } catch {
    return null
  }
}

function idOf(value: unknown): string | null {
  const id = typeof value === 'object' && value !== null && 'transaction_id' in value ? value.transaction_id : null
  return typeof id === 'string' ? id : null
}

function isLogged(body: string): boolean {
  return !body.includes('"logged":"none"') && !body.includes('"logged":"pending"')
}

/** The pipeline's own words: a problem document of this release. */
function readProblem(body: string): { code: ErrorCode; path: string } {
  const problem: unknown = JSON.parse(body)
  assert(typeof problem === 'object' && problem !== null && 'code' in problem)
  const code = Object.keys(ERRORS).find((known): known is ErrorCode => known === problem.code) ?? 'ASSAY_INTERNAL'
  const errors: readonly unknown[] = 'errors' in problem && Array.isArray(problem.errors) ? problem.errors : []
  const first = errors[0]
  const path = typeof first === 'object' && first !== null && 'path' in first ? String(first.path) : ''
  return { code, path }
}
