// What stands in full at the head of every segment: policy, routes and models, so that any decision in the segment can
// be recomputed from it and the bundles alone. JSON, with a format of its own.
import { AssayError } from '../errors.js'
import type { Policy, Routes } from './policy.js'

/** Routes as they are served: the policy's seed or the last control record, with the key of their experiment. */
export interface LiveRoutes extends Routes {
  revision: number
  /** 32 random bytes as hex, made with the experiment; never changed within it. */
  experiment_key: string
}

/** A model as the control state names it; `digest` is all zeros where the bundle was refused. */
export interface ControlModel {
  reference: string
  role: string
  digest: string
  thresholds: { challenge_at: number | null; review_at: number | null; decline_at: number | null }
}

export interface ControlState {
  format: 1
  policy: Policy
  policy_fingerprint: string
  routes: LiveRoutes
  models: ControlModel[]
}

/**
 * Reads what `JSON.stringify` of a control state wrote. Throws ASSAY_LOG_DAMAGED where it is none of this release's.
 */
export function parseControlState(text: string): ControlState {
  const state: unknown = JSON.parse(text)
  if (!isControlState(state))
    throw new AssayError('ASSAY_LOG_DAMAGED', 'a control state has a format this release does not read')
  return state
}

// The checksum of the segment's head vouches for the rest: only this code writes it.
function isControlState(value: unknown): value is ControlState {
  return typeof value === 'object' && value !== null && 'format' in value && value.format === 1 && 'routes' in value
}
