// What transports see of the scoring side: the gate, one call per transaction, labels, look-up. It decides nothing.
import { createRenderer, answerRejection, type Answers } from './answers.js'
import { type Logged, parseDecisionId } from '../contract/decision.js'
import type { LabelValidator } from '../contract/label.js'
import { isRejection } from '../contract/problem.js'
import type { RecordCodecs } from '../contract/record.js'
import type { DecisionLog } from '../decision-log/port.js'
import { reject } from '../errors.js'
import type { FeatureState } from '../features/state.js'
import type { Limits } from '../limits.js'
import type { Clock } from '../runtime/clock.js'
import type { Metrics } from '../telemetry/metrics.js'
import type { DecidedOffsets } from './decided.js'
import type { Exchange, Inference, Recall, StreamScoring } from './exchange.js'
import type { Heartbeat } from './heartbeat.js'
import type { IdIndex } from './id-index.js'
import type { Identity } from './identity.js'
import type { InFlight } from './in-flight.js'
import type { Order } from './order.js'
import type { Pipeline } from './pipeline.js'
import type { SharedParts } from './shared/parts.js'
import type { Supersede } from './supersede.js'

export interface DoorDeps {
  readonly limits: Limits
  readonly clock: Clock
  readonly pipeline: Pipeline
  /** Null where nobody asks models directly. */
  readonly inference: Inference | null
  readonly labels: LabelValidator
  readonly features: FeatureState
  readonly index: IdIndex
  readonly identity: Identity
  readonly decided: DecidedOffsets
  readonly recall: Recall
  readonly log: DecisionLog
  readonly codecs: RecordCodecs
  readonly order: Order
  readonly inFlight: InFlight
  readonly answers: Answers
  readonly heartbeat: Heartbeat
  readonly metrics: Metrics
  readonly supersede: Supersede
  readonly shared: SharedParts | null
  /** False before readiness and after the drain. */
  readonly open: () => boolean
  /** How far an answered record is: `synced` or `buffered`, by the policy. */
  readonly durable: Logged
}

/** Joins the parts into the port that HTTP and streams call. */
export function createDoor(deps: DoorDeps): StreamScoring {
  const { limits, pipeline, features, index, log, codecs, order, inFlight, answers, heartbeat, metrics } = deps
  const render = createRenderer(log.logId)

  function submitLabels(value: unknown, exchange: Exchange): void {
    const labels = deps.labels.check(value, deps.clock.nowMs())
    if (isRejection(labels)) {
      answerRejection(exchange, labels, metrics)
      return
    }
    const context = inFlight.take()
    if (context === null || !reserveAll(log, labels.length)) {
      if (context !== null) inFlight.give(context)
      answerRejection(exchange, reject('ASSAY_LOG_UNAVAILABLE', 'no label was taken; retry'), metrics)
      return
    }
    for (const label of labels) {
      const record = { ordinal: order.nextOrdinal(), epoch: log.epoch, foldedAtMs: order.nowMs(), label }
      if (deps.shared === null) features.label(label, record.ordinal, record.foldedAtMs)
      context.sequence = log.append('label', (buffer, at) => codecs.encodeLabel(record, buffer, at))
      deps.shared?.label(label, context.sequence)
    }
    context.exchange = exchange
    context.labels = labels.length
    context.appendedAtMs = deps.clock.monoMs()
    answers.awaitRecord(context)
    heartbeat.wake()
  }

  function answerOf(entry: number): string | null {
    const held = entry < 0 ? null : index.read(entry)
    if (held === null) return null
    const logged = held.sequence <= log.durableSequence() ? deps.durable : 'pending'
    return render(codecs.decodeFacts(held.facts), held.transactionId, logged)
  }

  function gate(rows: number): ReturnType<StreamScoring['gate']> {
    if (!deps.open()) return 'ASSAY_NOT_READY'
    heartbeat.beat()
    const isFull = inFlight.out() + rows > limits.inFlightMax || heartbeat.lagMs() > limits.loopLagMsMax
    return isFull ? 'ASSAY_OVERLOADED' : null
  }

  return {
    gate,
    inference: () => (deps.open() ? deps.inference : null),
    infer(asked, exchange) {
      if (deps.inference === null) throw new Error('nobody asks models directly here')
      deps.inference.infer(asked, exchange)
    },
    hasRoom: () => inFlight.waiting.length < limits.kafkaWaitingMax && gate(1) === null,
    submit: (bytes, exchange) => pipeline.submit(bytes, exchange),
    submitValue: (value, exchange) => pipeline.submitValue(value, exchange),
    submitLabels,
    findDecision(by) {
      if ('transactionId' in by) {
        deps.identity.ofId(by.transactionId)
        const [low, high] = deps.identity.hashes
        return answerOf(index.find(low, high))
      }
      const reference = parseDecisionId(by.decisionId)
      if (reference === null || reference.unfolded || !reference.logId.equals(log.logId)) return null
      return answerOf(index.findOrdinal(reference.epoch, reference.ordinal))
    },
    decided: deps.decided,
    recall: deps.recall,
    consume(source, code) {
      if (!log.healthy() || !log.reserve()) return false
      const record = { atMs: order.nowMs(), source, code }
      const sequence = log.append('consumed', (buffer, at) => codecs.encodeConsumed(record, buffer, at))
      deps.decided.add(source, sequence, code)
      heartbeat.wake()
      return true
    },
    supersede: deps.supersede,
  }
}

/** Room for all or for none. */
function reserveAll(log: DecisionLog, count: number): boolean {
  for (let reserved = 0; reserved < count; reserved++) {
    if (log.reserve()) continue
    for (; reserved > 0; reserved--) log.release()
    return false
  }
  return true
}
