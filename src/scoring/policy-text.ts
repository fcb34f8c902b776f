// A policy in words: what its rules, segments, cuts and lists do, in the order in which they are asked, and what else
// changes live (policy-fixed-text.ts has the rest); and what a trial has found.
import type { Policy } from '../contract/policy.js'
import type { Condition, Rule, Test, ValueList } from '../contract/rules.js'
import { instantMs, isoTime } from '../contract/time.js'
import type { Trial } from './policy-trial.js'

const OPS = {
  ...{ eq: 'is', ne: 'is not', in: 'is one of', in_list: 'is on the list' },
  ...{ lt: 'is below', le: 'is at most', gt: 'is above', ge: 'is at least' },
  ...{ present: 'is there', absent: 'is absent' },
} as const

const ANSWERED = {
  ...{ score: 'the score', role: 'the role that answered', model: 'the model that answered', degraded: 'degraded' },
} as const

/** The parts that change live, a line for each of their members; lists as they stand at `nowMs`. */
export function policyText(policy: Policy, nowMs: number): string {
  const { rules = [], lists = {}, currencies } = policy
  const ruleLines = rules.map((rule, at) => `  ${at + 1}. ${ruleText(rule, currencies.base)}`)
  const listLines = Object.entries(lists).map(([name, list]) => `  ${name}: ${listText(list, nowMs)}`)
  return [
    'Rules, in this order: the first that is enforced and matches decides; those in trial are only noted:',
    ...(rules.length === 0 ? ['  none'] : ruleLines),
    'Where no rule decides, the score does, by the cuts of the model version that answered:',
    ...cutsText(policy),
    'Lists that rules ask for:',
    ...(listLines.length === 0 ? ['  none'] : listLines),
    'Ramps of a challenger:',
    `  ${guardsText(policy.ramp_guards)}`,
    `Approval: ${policy.model_approval === 'required' ? 'only of models that are approved is one routed to' : 'no model needs any'}`,
    ...countedText(policy.governance),
    '',
  ].join('\n')
}

function ruleText({ id, when, action, reason, detail, state }: Rule, base: string): string {
  const does = state === 'shadow' ? `in trial, would ${action}` : action
  return `${id}: ${does} where ${conditionText(when, base)} (reason ${reason}${detail === undefined ? '' : `: ${detail}`})`
}

function cutsText({ segments = [], thresholds, currencies }: Policy): string[] {
  const cuts = Object.entries(thresholds).flatMap(([model, { by_segment: bySegment = {}, ...own }]) => [
    // In the order in which they are asked, which is that of the segments.
    ...segments.flatMap(({ name }) =>
      Object.hasOwn(bySegment, name) ? [`  ${model} in ${name}: ${cutText(bySegment[name])}`] : [],
    ),
    `  ${model}${Object.keys(bySegment).length === 0 ? '' : ' elsewhere'}: ${cutText(own)}`,
  ])
  return [
    ...segments.map(({ name, when }) => `  segment ${name}: where ${conditionText(when, currencies.base)}`),
    ...cuts,
    `  ${cuts.length === 0 ? 'every model' : 'other models'}: as the manifest says (\`assay model status --json\`)`,
  ]
}

const SEVERITY = ['decline', 'review', 'challenge'] as const

function cutText(cuts: Policy['thresholds'][string]): string {
  const stated = SEVERITY.flatMap((action) => {
    const cut = cuts[`${action}_at`]
    return cut === undefined ? [] : [`${action} from ${cut}`]
  })
  return stated.length === 0 ? 'as its manifest says' : `${stated.join(', ')}, else approve`
}

/** How many values are asked for now, and when the next of them leaves. */
function listText({ values, hashed }: ValueList, nowMs: number): string {
  const kind = hashed === undefined ? '' : ', as SHA-256'
  if (values.length === 0) return `empty${kind}`
  const untils = values.map(({ until }) => (until === undefined ? Infinity : (instantMs(until) ?? Infinity)))
  const held = untils.filter((until) => until > nowMs)
  const next = held.reduce((least, until) => Math.min(least, until), Infinity)
  const leaving = next === Infinity ? '' : `; the next leaves at ${isoTime(next)}`
  return `${held.length} of ${values.length} values on it now${leaving}${kind}`
}

function guardsText(guards: Policy['ramp_guards']): string {
  if (guards === undefined) return 'none starts: the policy has no guards'
  const { samples_min: samples, on_trip: onTrip, latency_p95_ms_above: latency } = guards
  const percent = (share: number): string => `${Number((share * 100).toFixed(4))} %`
  const shares = `${percent(guards.errors_above)} errors, ${percent(guards.degraded_above)} degraded`
  return (
    `judged after ${samples} decisions in each step: where the challenger has over ${shares} or ` +
    `${percent(guards.declines_above)} declined decisions more than the champion, or is ${latency} ms slower at p95, ` +
    (onTrip === 'hold' ? 'the ramp ends and the share stays' : 'the routes before it come back')
  )
}

function countedText(governance: Policy['governance']): string[] {
  const segments = governance?.segments ?? []
  const lines = segments.map(({ name, field, values }) => `  ${name}: where ${field} is one of ${values.join(', ')}`)
  return lines.length === 0 ? [] : ['Counted apart by the sidecar:', ...lines]
}

/** A condition as a sentence; what is joined twice stands in brackets. `base`: the base currency. */
function conditionText(condition: Condition, base: string, isInner = false): string {
  if ('not' in condition) return `not (${conditionText(condition.not, base)})`
  const [parts, word] =
    'all' in condition ? [condition.all, ' and '] : 'any' in condition ? [condition.any, ' or '] : [null, '']
  if (parts === null) return 'op' in condition ? testText(condition, base) : ''
  const text = parts.map((part) => conditionText(part, base, true)).join(word)
  return isInner && parts.length > 1 ? `(${text})` : text
}

function testText(test: Test, base: string): string {
  const { op, value } = test
  const name = 'field' in test ? test.field : 'feature' in test ? test.feature : ANSWERED[test.answer]
  const unit = 'field' in test && test.field === 'amount' && value !== undefined && op !== 'in_list' ? ` ${base}` : ''
  return `${name} ${OPS[op]}${value === undefined ? '' : ` ${[value].flat().join(', ')}${unit}`}`
}

/** What a trial has found. */
export function trialText(trial: Trial, nowMs: number): string {
  const { decisions, would_change: changed, changes, rules, differences, not_recomputed: unknown } = trial
  const share = decisions === 0 ? 0 : (100 * changed) / decisions
  return [
    `differs from revision ${trial.revision} in ${differences.length === 0 ? 'nothing' : differences.join(', ')}`,
    `of the newest ${decisions} decisions (up to ${isoTime(nowMs)}) ${changed} would change (${share.toFixed(2)} %)`,
    ...changes.map(
      ({ from, to, decisions: count, amount_minor: amount }) =>
        `  ${from} → ${to}: ${count}, together ${amount} in minor units of the base currency`,
    ),
    ...rules.map(({ id, state, decisions: count }) => `  rule ${id} (${state}) would have matched ${count}`),
    ...(unknown === 0 ? [] : [`  ${unknown} could not be decided again: their models are not loaded`]),
    '',
  ].join('\n')
}
