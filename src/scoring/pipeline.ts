// The order of the stages, and nothing else that decides: validate → replay → admit → features → route → infer →
// decide → log → respond. It is the only place that knows this order; each stage lives in a file of its own.
// Invariant: after `reserve` nothing can refuse the record any more; before the fold nothing was changed.
import assert from 'node:assert'
import { ACTIONS, FEATURE_FLAGS, type Reason, ROLES } from '../contract/decision.js'
import type { Policy } from '../contract/policy.js'
import type { RecordCodecs } from '../contract/record.js'
import { type Mode, MODES, type Transaction } from '../contract/transaction.js'
import { isRejection } from '../contract/problem.js'
import type { TransactionValidator } from '../contract/validate.js'
import { createSubject } from '../decision/condition.js'
import type { DecisionLog } from '../decision-log/port.js'
import { type ErrorCode, reject } from '../errors.js'
import type { CompiledCatalogue } from '../features/compile.js'
import type { FeatureState } from '../features/state.js'
import type { Limits } from '../limits.js'
import type { Clock } from '../runtime/clock.js'
import { type Metrics, STAGE } from '../telemetry/metrics.js'
import { type Answers, answerRejection, RETRY_ADVICE } from './answers.js'
import type { DecidedOffsets } from './decided.js'
import type { Exchange } from './exchange.js'
import { isBehind } from './behind.js'
import type { IdIndex, SettledDecision } from './id-index.js'
import type { Identity } from './identity.js'
import type { Context, InFlight } from './in-flight.js'
import { createInfer } from './infer.js'
import type { Lane, LaneListener } from './lane/port.js'
import type { ServedModel } from './models.js'
import type { Order } from './order.js'
import { createRepeat } from './repeat.js'
import { isChallenged } from './route.js'
import { clearDecision, type FeatureRow, noteUnfolded } from './row.js'
import type { Serving } from './serving.js'
import { createSharedDoor, type Folded } from './shared/admit.js'
import type { SharedParts } from './shared/parts.js'

export interface PipelineDeps {
  readonly policy: Policy
  readonly limits: Limits
  readonly clock: Clock
  readonly validator: TransactionValidator
  readonly catalogue: CompiledCatalogue
  readonly features: FeatureState
  readonly index: IdIndex
  readonly identity: Identity
  readonly decided: DecidedOffsets
  readonly log: DecisionLog
  readonly codecs: RecordCodecs
  readonly order: Order
  /** What a transaction that begins now is decided under. */
  readonly serving: () => Serving
  /** Every loaded lane: one that is routed to no more may still hold rows. */
  readonly lanes: readonly Lane[]
  readonly inFlight: InFlight
  readonly answers: Answers
  readonly metrics: Metrics
  /** Null: windows and decisions are this server's own. */
  readonly shared: SharedParts | null
  /** Asks for `flush` soon, once per turn of the event loop, and for ticks while anything waits. */
  readonly wake: () => void
}

export interface Pipeline extends LaneListener {
  submit(bytes: Uint8Array, exchange: Exchange): void
  submitValue(value: unknown, exchange: Exchange): void
  /** Features in place of a transaction: decided and logged, folded into nothing. */
  submitRow(row: FeatureRow, exchange: Exchange): void
  /** What was decided here does not stand: the other server's answer is given. */
  lose(context: Context, body: string): void
  /** Hands over what this turn has gathered: rows to the lanes, records to the log. */
  flush(): void
  /** Once a millisecond: rows whose lane is given up go on to the next model. */
  tick(): void
}

const NONE: readonly never[] = []

/** Builds the pipeline over its stages. It owns nothing and closes nothing. */
export function createPipeline(deps: PipelineDeps): Pipeline {
  const { policy, limits, clock, validator, features, index, log, codecs, order } = deps
  const { lanes, inFlight, answers, metrics, identity, decided } = deps
  const { vectors } = inFlight
  const { hashes } = identity
  const vectorBytes = Buffer.alloc(deps.catalogue.vectorBytes)
  const settled: SettledDecision = {
    ...{ epoch: log.epoch, ordinal: 0, sequence: 0, transactionId: '' },
    ...{ buffer: vectorBytes, from: 0, to: 0 },
  }

  const subject = createSubject(vectors)
  // The record being appended: one closure for all, no allocation per record.
  let appending: Context | null = null
  const encode = (buffer: Buffer, at: number): number => {
    assert(appending !== null)
    const end = codecs.encodeDecision(appending.facts, appending.personal, buffer, at)
    settled.buffer = buffer
    settled.from = at
    settled.to = at + 4 + buffer.readUInt32LE(at)
    return end
  }

  function refuse(exchange: Exchange, code: ErrorCode, detail: string): void {
    answerRejection(exchange, reject(code, detail), metrics)
  }

  const isBaselineAlone = deps.shared?.stage.onUnavailable === 'baseline'
  const rung = createInfer({ ...deps, isBaselineAlone, conclude })
  const repeat = createRepeat({ limits, index, codecs, answers, refuse, wake: deps.wake })
  const stages = { enter, begin, repeat, resume, record, refuse }
  const shared = deps.shared === null ? null : createSharedDoor({ ...deps, ...deps.shared, ...stages })

  function admit(transaction: Transaction, exchange: Exchange): void {
    const elsewhere = exchange.decidedElsewhere?.get(transaction.transactionId)?.body ?? null
    const mode = elsewhere === null ? exchange.mode : 'observe'
    if (shared !== null) {
      shared.admit(transaction, exchange, { mode, elsewhere })
      return
    }
    identity.of(transaction)
    const known = repeat(hashes, exchange, mode)
    if (known === 'answered') return
    if (exchange.source !== null && decided.has(exchange.source)) {
      if (elsewhere !== null) exchange.answer(200, elsewhere, true, 0)
      else refuse(exchange, 'ASSAY_DECISION_UNKNOWN', 'its place in the stream was decided before')
      return
    }
    const context = enter(exchange, mode)
    if (context === null) return
    begin(context, transaction, exchange)
    context.facts.decidedElsewhere = elsewhere
    fold(context, mode !== 'evaluate' && context.logged, known === 'folded')
    if (mode === 'observe') observe(context)
    else route(context)
  }

  /** A context with room for its record; null where the exchange was refused. */
  function enter(exchange: Exchange, mode: Mode): Context | null {
    const serving = deps.serving()
    if (mode !== 'observe' && isBehind(serving.models.champion, exchange, clock.monoMs())) {
      refuse(exchange, 'ASSAY_OVERLOADED', `the deadline of ${exchange.deadlineMs} ms cannot be met; ${RETRY_ADVICE}`)
      return null
    }
    const context = inFlight.take()
    if (context === null) {
      refuse(exchange, 'ASSAY_OVERLOADED', `${limits.inFlightMax} rows are in flight; ${RETRY_ADVICE}`)
      return null
    }
    context.logged = log.reserve()
    if (!context.logged && policy.on_log_unavailable === 'reject') {
      inFlight.give(context)
      refuse(exchange, 'ASSAY_LOG_UNAVAILABLE', `nothing was decided; ${RETRY_ADVICE}`)
      return null
    }
    if (!context.logged) metrics.lost(log.healthy() ? 'no_room' : 'log_failing')
    context.serving = serving
    context.row = null
    context.facts.mode = mode
    metrics.taken(MODES.indexOf(mode))
    return context
  }

  function submitRow(row: FeatureRow, exchange: Exchange): void {
    const context = enter(exchange, 'decide')
    if (context === null) return
    begin(context, row.transaction, exchange)
    context.row = row
    context.facts.decidedElsewhere = null
    noteUnfolded(context.facts, log.epoch, order.nextUnfolded(), order.nowMs())
    vectors.set(row.values, context.vectorAt)
    route(context)
  }

  function begin(context: Context, transaction: Transaction, exchange: Exchange): void {
    const { facts, personal } = context
    context.exchange = exchange
    context.transactionId = transaction.transactionId
    context.entry = -1
    context.lane = null
    context.step = 0
    context.handedOver = false
    context.labels = 0
    context.claim = null
    context.withoutState = context.replayed = false
    context.deadlineAtMs = exchange.receivedAtMs + exchange.deadlineMs
    personal.transaction = transaction
    personal.traceparent = exchange.traceparent
    personal.source = exchange.source
    serve(context, context.serving)
    facts.degraded = false
    if (facts.fallback.length > 0) facts.fallback = []
    if (facts.reasons.length > 0) facts.reasons = []
    facts.stages.receiveUs = micros(exchange.receivedAtMs - exchange.begunAtMs)
    facts.stages.validateUs = micros(clock.monoMs() - exchange.receivedAtMs)
  }

  function serve(context: Context, serving: Serving): void {
    context.serving = serving
    context.facts.policy = serving.policyDigest
    context.facts.routesRevision = serving.routes.revision
  }

  /** Takes the ordinal, folds the transaction into its windows where it is not there yet, and fills the vector. */
  function fold(context: Context, folds: boolean, isFolded: boolean): void {
    const startMs = clock.monoMs()
    const { facts, personal, vectorAt } = context
    const { transaction } = personal
    const nowMs = number(context, folds)
    facts.features = isFolded
      ? features.revisit(transaction, nowMs, vectors, vectorAt)
      : folds
        ? features.fold(transaction, facts.ordinal, nowMs, vectors, vectorAt)
        : features.evaluate(transaction, nowMs, vectors, vectorAt)
    enterIndex(context, folds, startMs)
  }

  /** The same of one that the shared state has folded: what serves by then is what it is decided under. */
  function resume(context: Context, { flags, folds, startMs }: Folded): void {
    serve(context, deps.serving())
    number(context, folds)
    context.facts.features = flags
    if (folds) identity.of(context.personal.transaction)
    enterIndex(context, folds, startMs)
    if (context.facts.mode === 'observe') observe(context)
    else route(context)
  }

  /** Its place in the order of state, or one beside it. Returns the time. */
  function number({ facts }: Context, folds: boolean): number {
    const nowMs = order.nowMs()
    facts.unfolded = !folds
    facts.epoch = log.epoch
    facts.ordinal = folds ? order.nextOrdinal() : order.nextUnfolded()
    facts.receivedAtMs = nowMs
    facts.foldedAtMs = nowMs
    return nowMs
  }

  function enterIndex(context: Context, folds: boolean, startMs: number): void {
    const { facts, exchange } = context
    if (exchange?.stale === true) facts.features |= FEATURE_FLAGS.stale
    if (folds) context.entry = index.insert(hashes, log.epoch, facts.ordinal, facts.foldedAtMs)
    facts.stages.featuresUs = micros(clock.monoMs() - startMs)
    metrics.stage(STAGE.features, facts.stages.featuresUs)
  }

  function route(context: Context): void {
    const { facts, personal } = context
    const { models, routes, stickyField, propensity, bucketOf } = context.serving
    const entity = context.row?.entity ?? (stickyField < 0 ? null : personal.transaction.fields[stickyField])
    facts.bucket = bucketOf(typeof entity === 'string' ? entity : personal.transaction.transactionId)
    const challenger = models.challenger
    const challenged = challenger !== null && isChallenged(facts.bucket, routes.share)
    context.prescribed = challenged ? 'challenger' : 'champion'
    facts.prescribedModel = challenged ? challenger.reference : models.champion.reference
    facts.experiment = challenger === null ? null : routes.experiment
    facts.arm = challenger === null ? null : context.prescribed
    facts.propensity = challenger === null ? null : challenged ? propensity : 1 - propensity
    rung.infer(context)
  }

  function conclude(context: Context, model: ServedModel, score: number, raw: number | null): void {
    const { facts } = context
    const nowMs = clock.monoMs()
    facts.stages.inferUs = context.handedOver ? micros(nowMs - context.offeredAtMs) : 0
    facts.model = model.answeredBy
    facts.score = score
    facts.scoreRaw = raw ?? score
    facts.decidedAtMs = order.nowMs()
    const { models, watch } = context.serving
    const reasons = model === models.baseline ? models.baseline.reasons(vectors, context.vectorAt) : NONE
    decide(context, model, reasons)
    facts.stages.decideUs = micros(clock.monoMs() - nowMs)
    metrics.stage(STAGE.infer, facts.stages.inferUs)
    metrics.stage(STAGE.decide, facts.stages.decideUs)
    if (watch !== null && context.exchange !== null) {
      watch.note(facts, micros(clock.monoMs() - context.exchange.receivedAtMs))
    }
    record(context)
  }

  function decide(context: Context, model: ServedModel, reasons: readonly Reason[]): void {
    const { facts, personal, vectorAt, serving } = context
    subject.transaction = personal.transaction
    subject.at = vectorAt
    subject.score = facts.score ?? 0
    subject.role = model.answeredBy.role
    subject.degraded = facts.degraded
    subject.model = model.reference
    subject.nowMs = facts.decidedAtMs
    const decider = context.row === null ? serving.decider : serving.rowDecider
    const action = decider.decide(subject, model.cuts, reasons, facts)
    // What is only evaluated is outside of every statistic.
    if (facts.mode === 'decide') {
      metrics.decision(ACTIONS.indexOf(action), model.metric, ROLES.indexOf(model.answeredBy.role))
      metrics.matched(facts.rules, 'enforce')
      metrics.matched(facts.rulesShadow, 'shadow')
    }
  }

  function observe(context: Context): void {
    const { facts } = context
    clearDecision(facts)
    facts.decidedAtMs = order.nowMs()
    record(context)
  }

  /** Appends the record and waits for its sync; without room (`serve_and_count`) the answer leaves at once. */
  function record(context: Context): void {
    context.appendedAtMs = clock.monoMs()
    if (!context.logged) {
      context.row?.onDecided(context.facts, -1)
      answers.answerUnlogged(context)
      return
    }
    const { personal, facts } = context
    deps.catalogue.encodeVector(vectors, context.vectorAt, vectorBytes, 0)
    personal.vector = vectorBytes
    appending = context
    context.sequence = log.append(facts.mode === 'observe' ? 'observed' : 'decision', encode)
    appending = null
    context.row?.onDecided(facts, context.sequence)
    if (personal.source !== null) decided.add(personal.source, context.sequence)
    if (context.withoutState) deps.shared?.leftBehind(context.sequence)
    if (context.entry >= 0) {
      settled.ordinal = facts.ordinal
      settled.sequence = context.sequence
      settled.transactionId = context.transactionId
      index.settle(context.entry, settled)
    }
    answers.awaitRecord(context)
    deps.wake()
  }

  function take(result: ReturnType<TransactionValidator['parse']>, exchange: Exchange): void {
    metrics.stage(STAGE.receive, micros(exchange.receivedAtMs - exchange.begunAtMs))
    metrics.stage(STAGE.validate, micros(clock.monoMs() - exchange.receivedAtMs))
    if (isRejection(result)) answerRejection(exchange, result, metrics)
    else admit(result, exchange)
  }

  return {
    submit: (bytes, exchange) => take(validator.parse(bytes, clock.nowMs()), exchange),
    submitValue: (value, exchange) => take(validator.check(value, clock.nowMs()), exchange),
    submitRow,
    lose: (context, body) => shared?.lose(context, body),
    onScore(lane, ticket, score, raw) {
      const context = inFlight.byTicket(ticket)
      if (context === null || context.lane === null || context.lane.lane !== lane) return
      inFlight.stopWaiting(context)
      conclude(context, context.lane, score, raw)
    },
    onFailure(lane: Lane, ticket, reason) {
      const context = inFlight.byTicket(ticket)
      if (context !== null && context.lane?.lane === lane) rung.fallBack(context, reason)
    },
    flush() {
      for (const lane of lanes) lane.flush()
      log.flush()
    },
    tick() {
      deps.shared?.stage.tick()
      rung.tick()
    },
  }
}

function micros(ms: number): number {
  return Math.round(ms * 1000)
}
