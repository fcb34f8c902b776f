// The models that answer, as the pipeline holds them: champion, challenger, baseline.
import type { Reason } from '../contract/decision.js'
import type { AnsweredBy, AppliedThresholds } from '../contract/record-types.js'
import type { Cuts } from '../decision/decide.js'
import type { Lane } from './lane/port.js'

/** What a decision says of the model that answered: objects made once, shared by all of its decisions. */
export interface ServedModel {
  /** name@version, as routes, hops and metrics name it. */
  readonly reference: string
  readonly answeredBy: AnsweredBy
  readonly cuts: Cuts
  readonly thresholds: AppliedThresholds
  /** Index in the metrics. */
  readonly metric: number
}

/** A model behind a lane; `lane` is null where it could not be loaded. */
export interface LaneModel extends ServedModel {
  readonly lane: Lane | null
}

/** The model that cannot fail: plain TypeScript on the main thread. */
export interface BaselineModel extends ServedModel {
  /** Score in [0, 1] of the catalogue's vector that starts at `at`; never NaN, never throws. */
  score(vectors: Float64Array, at: number): number
  /** The features that moved the score most, strongest first, at most four. */
  reasons(vectors: Float64Array, at: number): Reason[]
}

export interface ModelSet {
  readonly champion: LaneModel
  readonly challenger: LaneModel | null
  readonly baseline: BaselineModel
}
