// The models of a server: those that are loaded, and those that answer in a role under a policy, as the pipeline holds
// them.
import { digestText } from '../contract/canonical-json.js'
import type { LiveRoutes, Forced } from '../contract/control-state.js'
import type { Reason, Role } from '../contract/decision.js'
import type { TensorSpec } from '../contract/inference-rows.js'
import type { Thresholds } from '../contract/manifest.js'
import type { Policy } from '../contract/policy.js'
import type { AnsweredBy } from '../contract/record-types.js'
import { type ModelCuts, NO_CUTS, thresholdsOf } from '../decision/decide.js'
import { OWN_COLUMNS } from '../models/columns.js'
import type { Lane } from './lane/port.js'

/** What a decision says of the model that answered: objects made once, shared by all of its decisions. */
export interface ServedModel {
  /** name@version, as routes, hops and metrics name it. */
  readonly reference: string
  readonly answeredBy: AnsweredBy
  readonly cuts: ModelCuts
  /** Index in the metrics. */
  readonly metric: number
}

/** A model behind a lane; `lane` is null where it could not be loaded. */
export interface LaneModel extends ServedModel {
  readonly lane: Lane | null
  /** Of its manifest. */
  readonly stated: Thresholds | undefined
  /** It takes columns of its own, which no payment has. */
  readonly takesOwn: boolean
  /** An operator keeps rows from it. */
  readonly forced: boolean
}

/** A model that is loaded, or was refused, in whatever role the routes give it and under whatever policy. */
export interface LoadedModel extends Omit<LaneModel, 'answeredBy' | 'cuts' | 'forced'> {
  readonly answeredBy: Omit<AnsweredBy, 'role'>
  /** Null where it could not be loaded. */
  readonly tensors: ModelTensors | null
}

/** How a model is asked under its own name, with its own columns in its own order. */
export interface ModelTensors {
  /** In the words of the Open Inference Protocol. */
  readonly platform: string
  readonly inputs: readonly TensorSpec[]
  /** Name of the score; that of the model's own output has `_raw` behind it. */
  readonly output: string
}

export interface LoadedModels {
  readonly baseline: LoadedBaseline
  /** Behind lanes, by name@version. */
  readonly models: ReadonlyMap<string, LoadedModel>
  /** Every lane that may hold rows; a model that was just taken out still has one. */
  readonly lanes: readonly Lane[]
}

/** What can be routed to: name@version → sha256:… of the bundle. */
export function routable({ models }: LoadedModels): Map<string, string> {
  const ready = [...models.values()].filter(({ lane }) => lane !== null)
  return new Map(ready.map(({ reference, answeredBy }) => [reference, digestText(answeredBy.digest)]))
}

/** Loaded models that decide nothing under a policy, and why not; they answer who asks for the score alone. */
export function undecided({ models }: LoadedModels, policy: Policy): Map<string, string> {
  const without = [...models.values()].filter((model) => model.lane !== null && cutsUnder(policy, model) === NO_CUTS)
  return new Map(without.map(({ reference, takesOwn }) => [reference, takesOwn ? OWN_COLUMNS : CUTS_NEEDED]))
}

/** Where cuts come from, for whoever lacks them. */
export const CUTS_NEEDED =
  'it has no thresholds, so that it may be a shadow or answer inference calls only: state them in its manifest ' +
  '(assay model add --review-at or --decline-at) or in the policy under thresholds'

/** The model that cannot fail: plain TypeScript on the main thread. */
export interface BaselineModel extends ServedModel {
  /** Score in [0, 1] of the catalogue's vector that starts at `at`; never NaN, never throws. */
  score(vectors: Float64Array, at: number): number
  /** The features that moved the score most, strongest first, at most four. */
  reasons(vectors: Float64Array, at: number): Reason[]
}

export interface LoadedBaseline extends Omit<BaselineModel, 'cuts'> {
  readonly stated: Thresholds | undefined
  readonly takesOwn: false
  readonly tensors: ModelTensors
  /** Log-odds of a row of its own columns that starts at `at`, and the score that they are. */
  scoreRow(rows: Float64Array, at: number): { readonly raw: number; readonly score: number }
}

export interface ModelSet {
  readonly champion: LaneModel
  readonly challenger: LaneModel | null
  readonly baseline: BaselineModel
}

/** What this model applies under a policy; NO_CUTS where neither states any, or none can apply. */
export function cutsUnder(
  policy: Policy,
  { answeredBy, stated, takesOwn }: Pick<LoadedModel, 'answeredBy' | 'stated' | 'takesOwn'>,
): ModelCuts {
  if (takesOwn) return NO_CUTS
  const { name, version } = answeredBy
  return thresholdsOf(policy, { name, version, ...(stated !== undefined && { thresholds: stated }) }) ?? NO_CUTS
}

/** Under which the loaded models are put into roles. */
export interface Roles {
  readonly policy: Policy
  readonly routes: LiveRoutes
  readonly forced: Forced
}

/**
 * The loaded models in the roles of these routes. Every model that they name was loaded, or refused by name. One
 * without cuts decides nothing, whatever routes a log or a file names: its place is empty.
 */
export function inRoles({ baseline, models }: LoadedModels, { policy, routes, forced }: Roles): ModelSet {
  const inRole = (reference: string, role: Role): LaneModel => {
    const model = models.get(reference)
    if (model === undefined) throw new Error(`the routes name ${reference}, which nobody tried to load`)
    // Member by member: spreads may give each snapshot shapes of its own, and every change would then throw away code
    // that was compiled for those before.
    const { metric, stated, takesOwn } = model
    const { name, version, digest, provider } = model.answeredBy
    const cuts = cutsUnder(policy, model)
    return {
      reference,
      answeredBy: { name, version, digest, provider, role },
      cuts,
      metric,
      lane: cuts === NO_CUTS ? null : model.lane,
      stated,
      takesOwn,
      forced: forced.baseline || forced.open.includes(reference),
    }
  }
  const { champion, challenger } = routes
  return {
    champion: inRole(champion, 'champion'),
    challenger: challenger === null ? null : inRole(challenger, 'challenger'),
    baseline: {
      reference: baseline.reference,
      answeredBy: baseline.answeredBy,
      cuts: cutsUnder(policy, baseline),
      metric: baseline.metric,
      score: baseline.score,
      reasons: baseline.reasons,
    },
  }
}
