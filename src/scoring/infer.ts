// The rung between route and decide: a row goes to the lane of its model under breaker and deadline, and from there,
// where that fails, to the next model of its chain. The baseline ends every chain and cannot fail.
import { FALLBACK_REASONS, type FallbackReason, type Role } from '../contract/decision.js'
import type { Policy } from '../contract/policy.js'
import type { Clock } from '../runtime/clock.js'
import type { Metrics } from '../telemetry/metrics.js'
import { CHAINS, giveUpAt, secondTryFits } from './fallback.js'
import type { Context, InFlight } from './in-flight.js'
import type { LaneModel, ServedModel } from './models.js'

export interface InferDeps {
  readonly policy: Policy
  readonly clock: Clock
  readonly inFlight: InFlight
  readonly metrics: Metrics
  readonly wake: () => void
  /** Without the shared state no model but the baseline is asked. */
  readonly isBaselineAlone: boolean
  /** A model has answered. */
  readonly conclude: (context: Context, model: ServedModel, score: number, raw: number | null) => void
}

export interface Infer {
  /** Offers the row to the next model of its chain. */
  infer(context: Context): void
  /** The current lane failed or was given up: on to the next model. */
  fallBack(context: Context, reason: FallbackReason): void
  /** Once a millisecond: rows whose lane is given up go on. */
  tick(): void
}

export function createInfer({ policy, clock, inFlight, metrics, ...deps }: InferDeps): Infer {
  const { vectors } = inFlight

  function infer(context: Context): void {
    const chain = CHAINS[context.prescribed]
    const { models } = context.serving
    for (; context.step < chain.length; context.step++) {
      const role = chain[context.step]
      if (role === 'baseline') {
        deps.conclude(context, models.baseline, models.baseline.score(vectors, context.vectorAt), null)
        return
      }
      const model = role === 'challenger' ? models.challenger : models.champion
      if (model === null) continue
      const reason = offer(context, model, role)
      if (reason === null) return
      leave(context, model, role, reason)
    }
  }

  function offer(context: Context, model: LaneModel, role: Role): FallbackReason | null {
    const { lane } = model
    if (model.forced) return 'forced'
    if (context.withoutState && deps.isBaselineAlone) return 'state_unavailable'
    if (lane === null) return 'not_loaded'
    const nowMs = clock.monoMs()
    if (context.handedOver && !secondTryFits(lane.predictedMs(), context.deadlineAtMs - nowMs)) return 'deadline'
    const reason = lane.offer(context.ticket, vectors, context.vectorAt)
    if (reason !== null) return reason
    context.lane = model
    context.handedOver = true
    context.offeredAtMs = nowMs
    const deadlineMs = context.exchange === null ? policy.budgets.deadline_ms : context.exchange.deadlineMs
    context.giveUpAtMs = giveUpAt(role, context.deadlineAtMs - deadlineMs, deadlineMs)
    inFlight.startWaiting(context)
    deps.wake()
    return null
  }

  /** Notes the hop: this model was left for the next, and why. */
  function leave(context: Context, model: ServedModel, role: Role, reason: FallbackReason): void {
    const { facts } = context
    facts.degraded = true
    facts.fallback = [...facts.fallback, { model: model.reference, role, reason }]
    if (facts.mode === 'decide') metrics.degraded(model.metric, FALLBACK_REASONS.indexOf(reason))
  }

  function fallBack(context: Context, reason: FallbackReason): void {
    const model = context.lane
    inFlight.stopWaiting(context)
    if (model === null) return
    context.lane = null
    leave(context, model, CHAINS[context.prescribed][context.step], reason)
    context.step++
    infer(context)
  }

  return {
    infer,
    fallBack,
    tick() {
      const nowMs = clock.monoMs()
      // From the end, since giving up swaps the last row into the place of the one that leaves.
      for (let at = inFlight.waiting.length - 1; at >= 0; at--) {
        const context = inFlight.waiting[at]
        if (context === undefined || context.giveUpAtMs > nowMs) continue
        context.lane?.lane?.expire(context.ticket)
        fallBack(context, 'deadline')
      }
    },
  }
}
