// The models of a running server as /v1/models and /v1/status show them: those in the roles of the routes, those that
// are loaded beside them, the baseline. It only reads.
import { digestText } from '../contract/canonical-json.js'
import type { Role } from '../contract/decision.js'
import type { AppliedThresholds } from '../contract/record-types.js'
import type { Control } from './control.js'
import { cutsUnder, type LaneModel, type LoadedModel, type LoadedModels, undecided } from './models.js'

export interface ModelsViewDeps {
  readonly loaded: LoadedModels
  readonly control: Pick<Control, 'serving'>
  /** Why bundles were refused, by name@version. */
  readonly refused: ReadonlyMap<string, string>
}

/** Those that the routes name. */
export function laneModels({ control }: ModelsViewDeps): LaneModel[] {
  const { champion, challenger } = control.serving().models
  return challenger === null ? [champion] : [champion, challenger]
}

/** Models in the roles of the routes first; then those that are loaded beside them. */
export function lanesShown(deps: ModelsViewDeps): object[] {
  const routed = laneModels(deps)
  const names = new Set(routed.map(({ reference }) => reference))
  const rest = [...deps.loaded.models.values()].filter(({ reference }) => !names.has(reference))
  const show = describeModel(deps)
  return [...routed.map((model) => show(model, model.answeredBy.role)), ...rest.map((model) => show(model, null))]
}

function describeModel(deps: ModelsViewDeps): (model: Omit<LoadedModel, 'tensors'>, role: Role | null) => object {
  const { policy, routing } = deps.control.serving()
  const { forced, loaded, approvals } = routing
  const why = undecided(deps.loaded, policy)
  const refusalOf = (model: string): string | undefined =>
    deps.refused.get(model) ?? (why.has(model) ? `not routed to: ${why.get(model)}` : undefined)
  return ({ reference, answeredBy, stated, takesOwn, lane }, role) => ({
    model: reference,
    role,
    forced: forced.baseline || forced.open.includes(reference),
    loaded_by_operator: loaded.includes(reference),
    approved: approvals.some((one) => one.model === reference && one.digest === digestText(answeredBy.digest)),
    digest: digestText(answeredBy.digest),
    thresholds: shownThresholds(deps, { answeredBy, stated, takesOwn }),
    state: lane === null ? 'not_loaded' : lane.state(),
    breaker: lane === null ? null : lane.breakerState(),
    provider: lane?.provider()?.name ?? null,
    ...(typeof lane?.provider()?.missing === 'string' && { provider_missing: lane.provider()?.missing }),
    queued_rows: lane === null ? 0 : lane.queuedRows(),
    ...(lane !== null && { predicted_ms: lane.predictedMs(), counters: lane.counters }),
    ...(refusalOf(reference) !== undefined && { refused: refusalOf(reference) }),
  })
}

/** Its cuts under the policy that serves, those of segments under their names. */
function shownThresholds(
  { control }: ModelsViewDeps,
  model: Pick<LoadedModel, 'answeredBy' | 'stated' | 'takesOwn'>,
): object {
  const { own, bySegment } = cutsUnder(control.serving().policy, model)
  const segments = Object.fromEntries(bySegment.map(({ segment, thresholds }) => [segment ?? '', onWire(thresholds)]))
  return { ...onWire(own.thresholds), ...(bySegment.length > 0 && { by_segment: segments }) }
}

function onWire({ challengeAt, reviewAt, declineAt }: AppliedThresholds): object {
  return { challenge_at: challengeAt, review_at: reviewAt, decline_at: declineAt }
}

export function baselineShown(deps: ModelsViewDeps): object {
  const { baseline } = deps.loaded
  const { reference, answeredBy } = baseline
  const digest = digestText(answeredBy.digest)
  const thresholds = shownThresholds(deps, baseline)
  return { model: reference, role: 'baseline', digest, thresholds, state: 'ready' }
}
