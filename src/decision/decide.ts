// From a score to an action: rules, then thresholds, then the default. Pure: the same input gives the same decision
// in the server, in a shadow and in `assay decision verify`.
import type { Action, Reason } from '../contract/decision.js'
import type { Thresholds } from '../contract/manifest.js'
import type { Policy } from '../contract/policy.js'
import type { AppliedThresholds } from '../contract/record-types.js'
import type { ModelThresholds } from '../contract/rules.js'
import { type Columns, compileCondition, compileLists, type Predicate, type Subject } from './condition.js'

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
  const segments = (policy.segments ?? []).flatMap(({ name }, at) =>
    Object.hasOwn(bySegment, name) ? [{ ...applied(bySegment[name], name), at }] : [],
  )
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

/** The cuts of a model for a transaction: those of the first segment that it lies in and has some for, else its own. */
export type CutsFor = (model: ModelCuts, subject: Subject) => Applied

export interface Decider {
  /** Writes into `decided` what the subject gives; `reasons` are the model's, after those of rules. */
  decide(subject: Subject, model: ModelCuts, reasons: readonly Reason[], decided: Decided): void
}

/** Reasons in one answer. */
const REASONS_MAX = 4
const NONE: readonly never[] = []

interface CompiledRule {
  readonly id: string
  readonly action: Action
  readonly isEnforced: boolean
  readonly matches: Predicate
  readonly reason: Reason
}

/** Segments ask for fields of the transaction alone. */
const NO_COLUMNS: Columns = { dtypes: [], indexOf: () => -1 }

/** Compiles the segments of a policy without faults. */
export function createCutsFor(policy: Policy): CutsFor {
  const context = { policy, columns: NO_COLUMNS, lists: compileLists(policy) }
  const segments = (policy.segments ?? []).map(({ when }) => compileCondition(when, context))
  return ({ own, bySegment }, subject) => {
    for (const one of bySegment) if (segments[one.at](subject)) return one
    return own
  }
}

/** Compiles what a policy without faults decides by. */
export function createDecider(policy: Policy, columns: Columns): Decider {
  const context = { policy, columns, lists: compileLists(policy) }
  const cutsFor = createCutsFor(policy)
  const rules = (policy.rules ?? []).map(({ id, action, state, when, reason, detail = null }): CompiledRule => {
    const matches = compileCondition(when, context)
    return {
      id,
      action,
      isEnforced: state === 'enforce',
      matches,
      reason: { code: reason, detail, contribution: null },
    }
  })

  /** The first enforced rule that matches decides; the reasons are its own and those of others that say the same. */
  function applyRules(subject: Subject, reasons: readonly Reason[], decided: Decided): void {
    let enforced: CompiledRule[] | null = null
    let shadow: string[] | null = null
    for (const rule of rules) {
      if (!rule.matches(subject)) continue
      if (rule.isEnforced) (enforced ??= []).push(rule)
      else (shadow ??= []).push(rule.id)
    }
    decided.rules = enforced?.map(({ id }) => id) ?? NONE
    decided.rulesShadow = shadow ?? NONE
    decided.action = enforced?.[0].action ?? decided.scoreAction
    decided.reasons = enforced === null ? reasons : withReasons(enforced, reasons)
  }

  return {
    decide(subject, model, reasons, decided) {
      const { thresholds, cuts, segment } = cutsFor(model, subject)
      decided.thresholds = thresholds
      decided.segment = segment
      decided.scoreAction = decideByScore(cuts, subject.score)
      applyRules(subject, reasons, decided)
    },
  }
}

function withReasons(enforced: readonly CompiledRule[], reasons: readonly Reason[]): Reason[] {
  const ofRules = enforced.filter(({ action }) => action === enforced[0].action).map(({ reason }) => reason)
  const all = [...ofRules, ...reasons]
  return all.filter(({ code }, at) => all.findIndex((other) => other.code === code) === at).slice(0, REASONS_MAX)
}
