// A policy in words: what its rules, segments, cuts and lists do, in the order in which they are asked; and what a
// trial has found.
import type { Policy } from '../contract/policy.js'
import type { Condition, Test } from '../contract/rules.js'
import { isoTime } from '../contract/time.js'
import type { Trial } from './policy-trial.js'

const OPS = {
  ...{ eq: 'is', ne: 'is not', in: 'is one of', in_list: 'is on the list' },
  ...{ lt: 'is below', le: 'is at most', gt: 'is above', ge: 'is at least' },
  ...{ present: 'is there', absent: 'is absent' },
} as const

/** The parts that decide beside the score, one line each. */
export function policyText(policy: Policy): string {
  const { rules = [], segments = [], lists = {}, thresholds } = policy
  const listed = Object.entries(lists).map(([name, { values, hashed }]) => {
    const until = values.map((entry) => entry.until).filter((time) => time !== undefined)
    const leaving = until.length === 0 ? '' : `, ${until.length} of them for a time`
    return `  ${name}: ${values.length} ${hashed === undefined ? 'values' : 'values as SHA-256'}${leaving}`
  })
  return [
    'Rules, the first that matches decides; those in trial are only noted:',
    ...(rules.length === 0 ? ['  none'] : rules.map((rule, at) => `  ${at + 1}. ${ruleText(rule)}`)),
    'Cuts by the score, of the model that answered:',
    ...segments.map(({ name, when }) => `  segment ${name}: where ${conditionText(when)}`),
    ...cutsText(thresholds),
    'Lists:',
    ...(listed.length === 0 ? ['  none'] : listed),
    '',
  ].join('\n')
}

function ruleText({ id, when, action, reason, state }: NonNullable<Policy['rules']>[number]): string {
  const does = state === 'shadow' ? `would ${action}` : action
  return `${id}: where ${conditionText(when)}: ${does} (${reason}${state === 'shadow' ? ', in trial' : ''})`
}

function cutsText(thresholds: Policy['thresholds']): string[] {
  const lines = Object.entries(thresholds).flatMap(([model, { by_segment: bySegment = {}, ...own }]) => [
    `  ${model}: ${cutText(own)}`,
    ...Object.entries(bySegment).map(([name, cuts]) => `  ${model} in ${name}: ${cutText(cuts)}`),
  ])
  return lines.length === 0 ? ['  those of the manifests'] : [...lines, '  other models: those of their manifests']
}

function cutText(cuts: object): string {
  const stated = Object.entries(cuts).map(([name, cut]) => `${name.replace('_at', '')} from ${String(cut)}`)
  return stated.length === 0 ? 'those of its manifest' : stated.join(', ')
}

/** A condition as a sentence; what is joined twice stands in brackets. */
function conditionText(condition: Condition, isInner = false): string {
  if ('not' in condition) return `not (${conditionText(condition.not)})`
  const [parts, word] =
    'all' in condition ? [condition.all, ' and '] : 'any' in condition ? [condition.any, ' or '] : [null, '']
  if (parts === null) return 'op' in condition ? testText(condition) : ''
  const text = parts.map((part) => conditionText(part, true)).join(word)
  return isInner && parts.length > 1 ? `(${text})` : text
}

function testText(test: Test): string {
  const { op, value } = test
  const name = 'field' in test ? test.field : 'feature' in test ? test.feature : `the ${test.answer}`
  return `${name} ${OPS[op]}${value === undefined ? '' : ` ${[value].flat().join(', ')}`}`
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
