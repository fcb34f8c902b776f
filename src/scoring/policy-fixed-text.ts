// The part of a policy that needs a restart, in words: what a payment is, which features are made of it, what its money
// is worth, who answers at first, and what is done when something is late or fails. What is live: policy-text.ts.
import type { FeatureSpec } from '../contract/catalogue.js'
import type { Policy } from '../contract/policy.js'
import { durationText } from '../contract/time.js'
import type { FieldSpec } from '../contract/transaction.js'

/** A line for each field, feature and setting. */
export function policyFixedText(policy: Policy): string {
  const { schema, catalogue, currencies } = policy
  const unknown = schema.unknown_fields === 'refuse' ? 'refused' : 'dropped'
  return [
    `A payment has transaction_id, occurred_at, amount_minor and currency; what else it has is ${unknown}, but for:`,
    ...schema.fields.map((field) => `  ${fieldText(field)}`),
    `Of it and of what came before, ${catalogue.features.length} features are made:`,
    ...catalogue.features.map((feature) => `  ${feature.name}: ${featureText(feature, currencies.base)}`),
    'Money, time and ids:',
    ...moneyText(policy).map((line) => `  ${line}`),
    'Who answers at first (`assay route show`: who does now):',
    `  ${routesText(policy.routes)}`,
    'When something is late or fails:',
    ...failureText(policy).map((line) => `  ${line}`),
    '',
  ].join('\n')
}

function fieldText({ name, type, required, entity, identifier, volatile, sensitive }: FieldSpec): string {
  const said = [
    type,
    required === true ? 'required' : 'may be absent',
    ...(entity === true ? ['has windows of its own'] : []),
    ...(identifier === undefined ? [] : [`matches ${identifier}`]),
    ...(volatile === true ? ['may differ in a repeat'] : []),
    ...(sensitive === true ? ['masked where it is shown'] : []),
  ]
  return `${name}: ${said.join(', ')}`
}

const PARTS = { hour: 'hour', weekday: 'weekday (Monday is 1)', day_of_month: 'day of the month', month: 'month' }

function featureText(feature: FeatureSpec, base: string): string {
  if (feature.kind === 'calendar') {
    const part = `the ${PARTS[feature.part]} by ${feature.zone}`
    return feature.in === undefined ? part : `1 where ${part} is one of ${feature.in.join(', ')}, else 0`
  }
  return `${meaningOf(feature, base)}; ${feature.missing} if unknown`
}

function meaningOf(feature: Exclude<FeatureSpec, { kind: 'calendar' }>, base: string): string {
  switch (feature.kind) {
    case 'field':
      return ofText(feature.field, base)
    case 'category':
      return `a number for each ${feature.field}, ${feature.other} for those without`
    case 'ratio':
      return `${feature.numerator} / ${feature.denominator}`
    case 'difference':
      return `${feature.minuend} − ${feature.subtrahend}`
    case 'aggregate': {
      const { entity, window, delay, where = [], bucketed } = feature
      const tests = where.map(testText)
      const those = `the payments of its ${entity}${tests.length === 0 ? '' : ` with ${tests.join(' and ')}`}`
      const time = delay === undefined ? `in the last ${window}` : `in the ${window} up to ${delay} ago`
      const rough = bucketed === undefined ? '' : `, in steps of ${bucketed}`
      return `${aggregateText(feature, base)} ${those} ${time}${rough}`
    }
  }
}

function testText(test: NonNullable<Aggregate['where']>[number]): string {
  if (!('label' in test)) return `${test.field} ${test.op} ${[test.value].flat().join(', ')}`
  return test.label === 'fraud' ? `fraud ${test.is}` : `the issuer's answer: ${test.is}`
}

type Aggregate = Extract<FeatureSpec, { kind: 'aggregate' }>

function aggregateText({ function: name, of = '' }: Aggregate, base: string): string {
  switch (name) {
    case 'count':
      return 'number of'
    case 'distinct':
      return `number of different ${of} among`
    case 'time_since_last':
      return 'seconds since the one before among'
    case 'label_rate':
      return 'share of known frauds among'
    case 'max':
      return `largest ${ofText(of, base)} of`
    default:
      return `${name} of ${ofText(of, base)} over`
  }
}

function ofText(field: string, base: string): string {
  return field === 'amount' ? `amount in ${base}` : field
}

function moneyText({ currencies, clock, idempotency }: Policy): string[] {
  const { base, list, unlisted } = currencies
  const rates = Object.entries(list).map(([code, { rate }]) => (code === base ? code : `${code} at ${rate}`))
  const others = unlisted === 'refuse' ? 'others are refused' : 'others have no amount features'
  const { window_ms: window, ids_max: ids } = idempotency
  return [
    `amounts count in ${base}: ${rates.join(', ')}; ${others}`,
    `payments from the future are ${clock === 'live' ? 'refused' : 'taken: the clock is that of history'}`,
    `the same transaction_id gets the same decision again, for ${durationText(window)} or ${ids} ids, whichever ends first`,
  ]
}

function routesText({ champion, challenger, share, baseline, sticky_by: by, experiment }: Policy['routes']): string {
  const other = challenger === null ? 'no challenger' : `${challenger} for ${share / 100} % of ${by}`
  return `${champion}, ${other} (experiment ${experiment}), ${baseline} where none of them can`
}

function failureText({ budgets, breaker, durability, on_log_unavailable: onFull, server_timing }: Policy): string[] {
  const { deadline_ms: deadline, log_wait_ms: wait } = budgets
  const { error_percent: percent, volume, window_ms: window, probe_after_ms: after } = breaker
  return [
    `a decision is made within ${durationText(deadline)}: a model that is late is replaced, at last by the baseline`,
    durability === 'synced'
      ? `an answer waits until its record is on disk, for up to ${durationText(wait)}`
      : 'an answer does not wait until its record is on disk',
    onFull === 'reject'
      ? 'where the decision log takes no record, the payment is refused (503)'
      : 'where the decision log takes no record, the payment is scored, not remembered, and counted as lost',
    `a model rests after ${percent} % of at least ${volume} runs within ${durationText(window)} failed, and is tried with ` +
      `known rows every ${durationText(after)}`,
    `callers are ${server_timing ? '' : 'not '}told how long each stage took (Server-Timing)`,
  ]
}
