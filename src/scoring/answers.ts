// The last two rungs: wait until a record is durable, then answer once. Rows wait in the order of their sequence;
// repeats of a transaction wait for its first record. Whoever waited longer than log_wait_ms is told so by the
// operator's policy, and a reply record says later who was told what.
import type { Policy } from '../contract/policy.js'
import { decisionId, type Logged } from '../contract/decision.js'
import { createDigestTexts } from '../contract/canonical-json.js'
import { renderDecision } from '../contract/decision-answer.js'
import { problemStatus, renderProblem } from '../contract/problem.js'
import type { RecordCodecs } from '../contract/record.js'
import type { DecisionFacts, ReplyRecord } from '../contract/record-types.js'
import type { DecisionLog } from '../decision-log/port.js'
import { type ErrorCode, type Rejection, reject } from '../errors.js'
import type { Limits } from '../limits.js'
import type { Clock } from '../runtime/clock.js'
import { type Metrics, STAGE } from '../telemetry/metrics.js'
import type { Exchange } from './exchange.js'
import type { IdIndex } from './id-index.js'
import type { Context, InFlight } from './in-flight.js'
import type { Confirm } from './shared/confirm.js'

const RETRY_AFTER_S = 1
const UNCONFIRMED: ErrorCode = 'ASSAY_DECISION_UNCONFIRMED'

export interface Answers {
  /** The context has no record (`logged: "none"`): answer now. */
  answerUnlogged(context: Context): void
  /** The context's record was appended: answer once it is durable. */
  awaitRecord(context: Context): void
  /** A repeat of the entry's transaction: its first decision once durable. False where too many wait already. */
  awaitFirst(entry: number, exchange: Exchange): boolean
  /** The durable sequence moved. */
  progress(): void
  /** Once a millisecond while anything waits. */
  tick(): void
  /** Anything still waiting, repeats included. */
  waiting(): number
}

interface Repeat {
  readonly entry: number
  readonly ordinal: number
  readonly exchange: Exchange
  readonly sinceMs: number
}

export interface AnswerDeps {
  readonly policy: Policy
  readonly limits: Limits
  readonly clock: Clock
  readonly log: DecisionLog
  readonly codecs: RecordCodecs
  readonly index: IdIndex
  readonly inFlight: InFlight
  readonly metrics: Metrics
  /** Null: what is durable here stands. */
  readonly confirm: Confirm | null
  /** Another server has decided it: that answer is to be given. */
  readonly onLost: (context: Context, body: string) => void
  /** It will be durable later than it was waited for. */
  readonly onLeftBehind: (sequence: number) => void
  /** Called after each answer of many, so that deadlines do not wait for the last. */
  readonly beat: () => void
}

/** Nothing else in an answer reads so: a quote within a text is escaped. */
const LOGGED = /"logged":"[a-z]+"/

/** Renders the body of an answer: the decision, whoever made it; for an observed transaction that it was taken in. */
export function createRenderer(logId: Buffer): (facts: DecisionFacts, transactionId: string, logged: Logged) => string {
  const digestOf = createDigestTexts()
  return (facts, transactionId, logged) => {
    if (facts.decidedElsewhere !== null) return facts.decidedElsewhere.replace(LOGGED, `"logged":"${logged}"`)
    if (facts.mode === 'observe') {
      return `{"transaction_id":${JSON.stringify(transactionId)},"accepted":1,"logged":"${logged}"}`
    }
    const id = decisionId(logId, facts.epoch, facts.ordinal, facts.unfolded)
    return renderDecision(facts, { transactionId, decisionId: id, logged }, digestOf)
  }
}

/** An observed transaction is taken in; what was decided elsewhere is observed, and has a decision all the same. */
function statusOf({ mode, decidedElsewhere }: DecisionFacts): number {
  return mode === 'observe' && decidedElsewhere === null ? 202 : 200
}

/** Stages in milliseconds, as a Server-Timing header names them. */
function renderTiming({ stages }: DecisionFacts, logMs: number): string {
  const { receiveUs, validateUs, featuresUs, inferUs, decideUs } = stages
  const us = { receive: receiveUs, validate: validateUs, features: featuresUs, infer: inferUs, decide: decideUs }
  return Object.entries({ ...us, log: logMs * 1000 })
    .map(([stage, took]) => `${stage};dur=${(took / 1000).toFixed(3)}`)
    .join(', ')
}

/** What a caller does about a refusal that passes. */
export const RETRY_ADVICE = 'retry with the same transaction_id'

/** Answers a rejection as problem+json and counts it. */
export function answerRejection(exchange: Exchange, rejection: Rejection, metrics: Metrics): void {
  metrics.rejected(rejection.code)
  const status = problemStatus(rejection)
  exchange.answer(status, renderProblem(rejection), false, status === 503 ? RETRY_AFTER_S : 0)
}

/**
 * Makes the queue of rows that wait for their records. Bounded by the pool of contexts and by `inFlightMax` repeats.
 */
export function createAnswers(deps: AnswerDeps): Answers {
  const { policy, limits, clock, log, codecs, index, inFlight, metrics } = deps
  const logWaitMs = policy.budgets.log_wait_ms
  const repeatWaitMs = policy.budgets.deadline_ms + logWaitMs
  const durable: Logged = policy.durability === 'synced' ? 'synced' : 'buffered'
  const serves = policy.on_log_unavailable === 'serve_and_count'
  // A circle of contexts in the order of their sequence.
  const queue: (Context | null)[] = new Array<Context | null>(limits.inFlightMax).fill(null)
  let head = 0
  let queued = 0
  const repeats: Repeat[] = []
  const render = createRenderer(log.logId)
  const told: ReplyRecord['entries'][number][] = []

  function respond(context: Context, logged: Logged): void {
    const { exchange, facts } = context
    if (exchange === null) return
    const nowMs = clock.monoMs()
    metrics.stage(STAGE.log, (nowMs - context.appendedAtMs) * 1000)
    if (context.labels > 0) exchange.answer(202, `{"accepted":${context.labels},"logged":"${logged}"}`, false, 0)
    else {
      const body = render(facts, context.transactionId, logged)
      if (policy.server_timing) exchange.serverTiming = renderTiming(facts, nowMs - context.appendedAtMs)
      exchange.answer(statusOf(facts), body, context.replayed, 0)
    }
    metrics.request((nowMs - exchange.receivedAtMs) * 1000)
  }

  /** Durable here; answered once the shared state says that it stands. */
  function settle(context: Context): void {
    const { claim, facts, exchange, sequence } = context
    if (claim === null || deps.confirm === null) {
      respond(context, durable)
      inFlight.give(context)
      return
    }
    const body = render(facts, context.transactionId, durable)
    deps.confirm({ claim, body, sequence }, (confirmed) => {
      if (confirmed.kind === 'lost') return deps.onLost(context, confirmed.body)
      if (exchange !== null && confirmed.kind === 'unknown') unconfirmed(exchange)
      else if (exchange !== null) {
        exchange.answer(statusOf(facts), body, false, 0)
        metrics.request((clock.monoMs() - exchange.receivedAtMs) * 1000)
      }
      inFlight.give(context)
    })
  }

  /** log_wait_ms is over: the record will still be written; what the client is told is the operator's choice. */
  function giveUp(context: Context): void {
    if (context.claim !== null) deps.onLeftBehind(context.sequence)
    if (context.labels === 0 && told.length < limits.repliesMax) {
      const { ordinal, unfolded } = context.facts
      told.push({ ordinal, unfolded, told: serves ? 'pending' : 'unconfirmed' })
    }
    if (serves) {
      metrics.pending()
      respond(context, 'pending')
    } else if (context.exchange !== null) unconfirmed(context.exchange)
  }

  function unconfirmed(exchange: Exchange): void {
    answerRejection(
      exchange,
      reject(UNCONFIRMED, 'its record was not durable in time: retry with the same id'),
      metrics,
    )
  }

  function shift(): void {
    queue[head] = null
    head = (head + 1) % queue.length
    queued--
  }

  /** True where the repeat was answered. */
  function answerRepeat(repeat: Repeat, nowMs: number): boolean {
    const over = nowMs - repeat.sinceMs > repeatWaitMs
    const held = index.ordinalOf(repeat.entry) === repeat.ordinal
    const sequence = held ? index.sequenceOf(repeat.entry) : -1
    const isDurable = sequence >= 0 && sequence <= log.durableSequence()
    if (!isDurable && !over) return false
    const first = sequence >= 0 && (isDurable || serves) ? index.read(repeat.entry) : null
    if (first === null) unconfirmed(repeat.exchange)
    else {
      const facts = codecs.decodeFacts(first.facts)
      const body = render(facts, first.transactionId, isDurable ? durable : 'pending')
      repeat.exchange.answer(statusOf(facts), body, true, 0)
      metrics.request((nowMs - repeat.exchange.receivedAtMs) * 1000)
    }
    return true
  }

  function answerRepeats(): void {
    if (repeats.length === 0) return
    const nowMs = clock.monoMs()
    let kept = 0
    for (const repeat of repeats) if (!answerRepeat(repeat, nowMs)) repeats[kept++] = repeat
    repeats.length = kept
  }

  function writeReplies(): void {
    if (told.length === 0 || !log.healthy() || !log.reserve()) return
    const entries = told.splice(0, limits.replyEntriesMax)
    const record = { epoch: log.epoch, atMs: clock.nowMs(), entries }
    log.append('reply', (buffer, at) => codecs.encodeReply(record, buffer, at))
    log.flush()
  }

  function progress(): void {
    const sequence = log.durableSequence()
    for (let first = queue[head]; queued > 0 && first !== null && first.sequence <= sequence; first = queue[head]) {
      shift()
      settle(first)
      deps.beat()
    }
    answerRepeats()
  }

  return {
    answerUnlogged(context) {
      respond(context, 'none')
      inFlight.give(context)
    },
    awaitRecord(context) {
      queue[(head + queued) % queue.length] = context
      queued++
    },
    awaitFirst(entry, exchange) {
      const ordinal = index.ordinalOf(entry)
      const repeat = { entry, ordinal, exchange, sinceMs: clock.monoMs() }
      if (answerRepeat(repeat, repeat.sinceMs)) return true
      let waiting = 0
      for (const other of repeats) if (other.ordinal === ordinal) waiting++
      if (waiting >= limits.duplicatesWaitingMax || repeats.length >= limits.inFlightMax) return false
      repeats.push(repeat)
      return true
    },
    progress,
    tick() {
      // In a long turn of the loop the log's word may not have been heard yet: nobody is given up who is durable.
      if (queued > 0) progress()
      const cutMs = clock.monoMs() - logWaitMs
      for (let first = queue[head]; queued > 0 && first !== null && first.appendedAtMs < cutMs; first = queue[head]) {
        shift()
        giveUp(first)
        inFlight.give(first)
      }
      answerRepeats()
      writeReplies()
    },
    waiting: () => queued + repeats.length + told.length,
  }
}
