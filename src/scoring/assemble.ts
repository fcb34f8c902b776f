// Joins state, log and models into one running pipeline. Called twice at a start: with throw-away parts to warm the
// code up, then with the real ones.
import type { Policy } from '../contract/policy.js'
import type { LabelValidator } from '../contract/label.js'
import type { RecordCodecs } from '../contract/record.js'
import type { TransactionValidator } from '../contract/validate.js'
import type { DecisionLog } from '../decision-log/port.js'
import type { CompiledCatalogue } from '../features/compile.js'
import type { FeatureState } from '../features/state.js'
import type { Limits } from '../limits.js'
import type { Clock } from '../runtime/clock.js'
import type { Metrics } from '../telemetry/metrics.js'
import { createAnswers } from './answers.js'
import { createDoor } from './door.js'
import type { DecidedOffsets } from './decided.js'
import type { Recall, StreamScoring } from './exchange.js'
import { createHeartbeat } from './heartbeat.js'
import type { IdIndex } from './id-index.js'
import type { Identity } from './identity.js'
import { type Context, createInFlight } from './in-flight.js'
import { createDirect } from './inference/direct.js'
import { createInference } from './inference/create.js'
import { createRouted } from './inference/routed.js'
import type { Lane, LaneListener } from './lane/port.js'
import type { LoadedModels } from './models.js'
import type { Order } from './order.js'
import { createPipeline, type Pipeline } from './pipeline.js'
import type { Serving } from './serving.js'
import { createConfirm } from './shared/confirm.js'
import type { SharedParts } from './shared/parts.js'
import { createSupersede } from './supersede.js'

/** What no transaction changes. */
export interface Fixed {
  readonly policy: Policy
  readonly limits: Limits
  readonly clock: Clock
  readonly validator: TransactionValidator
  readonly labels: LabelValidator
  readonly catalogue: CompiledCatalogue
  readonly codecs: RecordCodecs
  readonly metrics: Metrics
}

/** What transactions are folded into and answered with. */
export interface Live {
  readonly features: FeatureState
  readonly index: IdIndex
  readonly identity: Identity
  readonly decided: DecidedOffsets
  readonly recall: Recall
  readonly order: Order
  readonly serving: () => Serving
  readonly lanes: readonly Lane[]
  /** Null where nobody asks models directly. */
  readonly loaded: LoadedModels | null
  readonly log: DecisionLog
  /** Null: windows and decisions are this server's own. */
  readonly shared: SharedParts | null
  /** False before readiness and after the drain: the gate then refuses. */
  readonly open: () => boolean
}

export interface Assembly {
  readonly scoring: StreamScoring
  readonly pipeline: Pipeline
  /** Hears every lane: rows of payments are the pipeline's, those of direct calls are not. */
  readonly listener: LaneListener
  /** To be called when the log's durable sequence or health changed. */
  progress(): void
  /** What the heartbeat does once a millisecond while anything is under way. */
  tick(): void
  /** Rows in flight, repeats that wait, and told answers not yet in the log. */
  pending(): number
  rowsInFlight(): number
  lagMs(): number
  close(): void
}

/** Builds the parts in the order of their dependence. */
export function assemble(fixed: Fixed, live: Live): Assembly {
  const { policy, limits, catalogue } = fixed
  const inFlight = createInFlight(limits.inFlightMax, catalogue.size)
  const { loaded, shared } = live
  const wake = (): void => heartbeat.wake()
  const supersede = createSupersede({ ...fixed, ...live, wake })
  const onLeftBehind = (sequence: number): void => shared?.leftBehind(sequence)
  const confirm =
    shared === null
      ? null
      : createConfirm({ stage: shared.stage, supersede, onLeftBehind, onSuperseded: () => shared.superseded() })
  const onLost = (context: Context, body: string): void => pipeline.lose(context, body)
  const answering = { inFlight, confirm, onLost, onLeftBehind, beat: () => heartbeat.beat() }
  const answers = createAnswers({ ...fixed, ...live, ...answering })
  const direct = loaded === null ? null : createDirect({ ...fixed, ...live, loaded, wake })
  const tick = (): void => {
    pipeline.tick()
    answers.tick()
    direct?.tick()
  }
  const pending = (): number => inFlight.out() + answers.waiting() + (direct?.waiting() ?? 0)
  const heartbeat = createHeartbeat({
    clock: fixed.clock,
    flush: () => pipeline.flush(),
    tick,
    pulse() {
      for (const lane of live.lanes) lane.hear()
      pipeline.tick()
      pipeline.flush()
    },
    onLate: (lateMs) => fixed.metrics.tickLate(lateMs * 1000),
    busy: () => pending() > 0,
  })
  const pipeline = createPipeline({ ...fixed, ...live, inFlight, answers, wake })
  const durable = policy.durability
  const routed = createRouted({ ...fixed, ...live, submitRow: (row, exchange) => pipeline.submitRow(row, exchange) })
  const gate = (rows: number) => scoring.gate(rows)
  const inference =
    loaded === null || direct === null ? null : createInference({ ...fixed, ...live, loaded, direct, routed, gate })
  const scoring = createDoor({
    ...fixed,
    ...live,
    pipeline,
    inference,
    inFlight,
    answers,
    heartbeat,
    durable,
    supersede,
  })
  return {
    scoring,
    pipeline,
    listener: {
      onScore: (lane, ticket, score, raw) => (ticket < 0 ? direct : pipeline)?.onScore(lane, ticket, score, raw),
      onFailure: (lane, ticket, reason) => (ticket < 0 ? direct : pipeline)?.onFailure(lane, ticket, reason),
    },
    progress() {
      answers.progress()
      direct?.progress()
    },
    tick,
    pending,
    rowsInFlight: () => inFlight.out(),
    lagMs: () => heartbeat.lagMs(),
    close: () => heartbeat.close(),
  }
}
