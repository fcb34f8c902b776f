// From a score to an action: rules, then thresholds, then the default. Pure: the same input gives the same decision
// in the server, in a shadow and in `assay decision verify`.
import type { Action, Reason } from '../contract/decision.js'
import type { Thresholds } from '../contract/manifest.js'
import type { Policy } from '../contract/policy.js'
import type { AppliedThresholds } from '../contract/record-types.js'
import type { ModelThresholds } from '../contract/rules.js'
import { type Columns, compileConditions, type Conditions, type Subject } from './condition.js'

/** Cuts as compared; Infinity where the action is not used. */
export interface Cuts {
  readonly challengeAt: number
  readonly reviewAt: number
  readonly declineAt: number
}

/** Thresholds in the form of records and in that which is compared; `segment` names whose they are, null: of all. */
export interface Applied {
  readonly thresholds: AppliedThresholds
  readonly cuts: Cuts
  readonly segment: string | null
}

/** What a model version applies: to everything, and to the segments with cuts of their own, in the policy's order. */
export interface ModelCuts {
  readonly own: Applied
  readonly bySegment: readonly (Applied & { readonly at: number })[]
}

/** The thresholds of a model version: the policy's, else those of its manifest; null where neither states any. */
export function thresholdsOf(
  policy: Policy,
  model: { name: string; version: string; thresholds?: Thresholds },
): ModelCuts | null {
  const { by_segment: bySegment = {}, ...stated }: ModelThresholds =
    policy.thresholds[`${model.name}@${model.version}`] ?? {}
  const own = Object.keys(stated).length > 0 ? stated : model.thresholds
  if (own === undefined) return null
  // Member by member: one shape for all, since they are read with every decision.
  const segments = (policy.segments ?? []).flatMap(({ name }, at) => {
    if (!Object.hasOwn(bySegment, name)) return []
    const { thresholds, cuts, segment } = applied(bySegment[name], name)
    return [{ thresholds, cuts, segment, at }]
  })
  return { own: applied(own, null), bySegment: segments }
}

function applied(stated: Thresholds, segment: string | null): Applied {
  const { challenge_at: challengeAt = null, review_at: reviewAt = null, decline_at: declineAt = null } = stated
  const thresholds = { challengeAt, reviewAt, declineAt }
  return { thresholds, cuts: cutsOf(thresholds), segment }
}

/** Of a model that never answers. */
export const NO_CUTS: ModelCuts = { own: applied({}, null), bySegment: [] }

/** Thresholds in the form that `decideByScore` compares. */
export function cutsOf(thresholds: AppliedThresholds): Cuts {
  return {
    challengeAt: thresholds.challengeAt ?? Infinity,
    reviewAt: thresholds.reviewAt ?? Infinity,
    declineAt: thresholds.declineAt ?? Infinity,
  }
}

/** What the score alone gives: the most severe action whose cut it reaches. `score` is within [0, 1]. */
export function decideByScore(cuts: Cuts, score: number): Action {
  if (score >= cuts.declineAt) return 'decline'
  if (score >= cuts.reviewAt) return 'review'
  if (score >= cuts.challengeAt) return 'challenge'
  return 'approve'
}

/** What a decision says of how it came about. */
export interface Decided {
  action: Action | null
  scoreAction: Action | null
  thresholds: AppliedThresholds | null
  segment: string | null
  rules: readonly string[]
  rulesShadow: readonly string[]
  reasons: readonly Reason[]
}

/** The cuts of a model for a transaction: those of the first segment that it lies in and has some, else its own. */
export type CutsFor = (model: ModelCuts, subject: Subject) => Applied

/** Segments ask for fields of the transaction alone. */
const NO_COLUMNS: Columns = { dtypes: [], indexOf: () => -1 }

/** Compiles the segments of a policy without faults. */
export function createCutsFor(policy: Policy): CutsFor {
  const segments = policy.segments ?? []
  const conditions = compileConditions(
    segments.map(({ when }) => when),
    policy,
    NO_COLUMNS,
  )
  return (model, subject) => {
    conditions.read(subject)
    return cutsOfFirst(model, conditions, 0)
  }
}

/** `from`: place of the first segment among the conditions. */
function cutsOfFirst({ own, bySegment }: ModelCuts, conditions: Conditions, from: number): Applied {
  for (const one of bySegment) if (conditions.holds(from + one.at)) return one
  return own
}

export interface Decider {
  /** Writes what the subject gives into `decided`, and gives the action. The model's `reasons` come after rules'. */
  decide(subject: Subject, model: ModelCuts, reasons: readonly Reason[], decided: Decided): Action
}

/** Reasons in one answer. */
const REASONS_MAX = 4
const NONE: readonly never[] = []

/** Each code stands once. */
function addReason(reasons: Reason[], reason: Reason): void {
  if (reasons.length === REASONS_MAX) return
  for (const { code } of reasons) if (code === reason.code) return
  reasons.push(reason)
}

/** Compiles what a policy without faults decides by. */
export function createDecider(policy: Policy, columns: Columns): Decider {
  const { rules = [], segments = [] } = policy
  const conditions = compileConditions(
    [...rules, ...segments].map(({ when }) => when),
    policy,
    columns,
  )
  const reasonOf = rules.map(({ reason, detail = null }) => ({ code: reason, detail, contribution: null }))

  /** The first enforced rule that matches decides; the reasons are its own and those of others that say the same. */
  function applyRules(reasons: readonly Reason[], decided: Decided): Action | null {
    let [enforced, inTrial]: [string[] | null, string[] | null] = [null, null]
    let action: Action | null = null
    let given: Reason[] | null = null
    for (let at = 0; at < rules.length; at++) {
      if (!conditions.holds(at)) continue
      const rule = rules[at]
      if (rule.state === 'shadow') (inTrial ??= []).push(rule.id)
      else {
        ;(enforced ??= []).push(rule.id)
        action ??= rule.action
        if (rule.action === action) addReason((given ??= []), reasonOf[at])
      }
    }
    decided.rules = enforced ?? NONE
    decided.rulesShadow = inTrial ?? NONE
    if (given !== null) for (const reason of reasons) addReason(given, reason)
    decided.reasons = given ?? reasons
    return action
  }

  return {
    decide(subject, model, reasons, decided) {
      conditions.read(subject)
      const { thresholds, cuts, segment } = cutsOfFirst(model, conditions, rules.length)
      const byScore = decideByScore(cuts, subject.score)
      const action = applyRules(reasons, decided) ?? byScore
      decided.thresholds = thresholds
      decided.segment = segment
      decided.scoreAction = byScore
      decided.action = action
      return action
    },
  }
}
