// What the scores of a pair of models are held against: the cuts that the policy in the log states where a decision
// stands, of the segment that its transaction lies in, else those of the model itself.
import type { Thresholds } from '../../contract/manifest.js'
import type { AppliedThresholds } from '../../contract/record-types.js'
import type { Transaction } from '../../contract/transaction.js'
import { createSubject } from '../../decision/condition.js'
import {
  type Applied,
  createCutsFor,
  type CutsFor,
  type ModelCuts,
  NO_CUTS,
  thresholdsOf,
} from '../../decision/decide.js'
import type { Control } from '../port.js'

/** Of one model and one transaction. */
export interface PairCuts {
  readonly own: Applied
  readonly applied: Applied
}

export const NONE_STATED: PairCuts = { own: NO_CUTS.own, applied: NO_CUTS.own }

export interface ShadowCuts {
  /** Null where nothing states any for the model. */
  of(model: string, control: Control, transaction: Transaction): PairCuts | null
}

export function createShadowCuts(manifestThresholds: (model: string) => Thresholds | undefined): ShadowCuts {
  let followed: Control | null = null
  let cutsFor: CutsFor = ({ own }) => own
  const held = new Map<string, ModelCuts>()
  const subject = createSubject()
  return {
    of(model, control, transaction) {
      if (followed?.policy_fingerprint !== control.policy_fingerprint) cutsFor = createCutsFor(control.policy)
      if (followed !== control) held.clear()
      followed = control
      const cuts = held.get(model) ?? statedFor(model, control, manifestThresholds(model))
      held.set(model, cuts)
      if (cuts === NO_CUTS) return null
      subject.transaction = transaction
      return { own: cuts.own, applied: cutsFor(cuts, subject) }
    },
  }
}

/** The cuts that a window of this segment is counted under: the segment's where it has some, else the model's own. */
export function cutsOn(segment: string, { own, applied }: PairCuts): AppliedThresholds {
  return segment === applied.segment ? applied.thresholds : own.thresholds
}

/** The policy's cuts, else those that the server applied to the model, else its manifest's. */
function statedFor(model: string, control: Control, manifest: Thresholds | undefined): ModelCuts {
  const [name, version] = model.split('@')
  const served = withThresholds(control.models.find(({ reference }) => reference === model)?.thresholds)
  const own = served ?? manifest
  return thresholdsOf(control.policy, { name, version, ...(own !== undefined && { thresholds: own }) }) ?? NO_CUTS
}

/** Leaves out what is null: a manifest states a cut or does not. A model without any was not applied. */
function withThresholds(stated: Control['models'][number]['thresholds'] | undefined): Thresholds | undefined {
  const entries = Object.entries(stated ?? {}).filter(([, cut]) => cut !== null)
  return entries.length === 0 ? undefined : Object.fromEntries(entries)
}
