// A policy in words: the reference policy says all that it does, lists are told as they stand at a time.
import t from 'tap'
import { loadConfig } from '../../src/config.js'
import type { Policy } from '../../src/contract/policy.js'
import { policyFixedText } from '../../src/scoring/policy-fixed-text.js'
import { policyText } from '../../src/scoring/policy-text.js'
import { referencePolicy } from '../reference-policy.js'

const NOW_MS = Date.parse('2026-11-01T00:00:00Z')

function said(over: Partial<Policy> = {}): string {
  return policyText({ ...referencePolicy(), ...over }, NOW_MS)
}

void t.test('the reference policy shows each part, and each is told', (t) => {
  const policy = referencePolicy()
  t.same(policy, loadConfig({ env: {} }).policy, 'what stands in the file is what holds')
  const { rules = [], lists = {}, segments = [], thresholds, ramp_guards: guards } = policy
  const live = said()
  t.same([...new Set(rules.map(({ state }) => state))].sort(), ['enforce', 'shadow'])
  rules.forEach(({ id, state, reason, action }, at) => {
    const does = state === 'shadow' ? `in trial, would ${action}` : action
    t.match(live, `  ${at + 1}. ${id}: ${does} where `)
    t.match(live, `(reason ${reason}`)
  })
  for (const name of Object.keys(lists)) t.match(live, `\n  ${name}: `)
  t.ok(Object.values(lists).some(({ hashed }) => hashed === 'sha256'))
  const untils = Object.values(lists).flatMap(({ values }) => values.map(({ until }) => Date.parse(until ?? '9999')))
  t.ok(untils.length > 0 && untils.every((until) => until < NOW_MS), 'an example, and it stops nobody')
  t.match(live, '\n  blocked_terminals: 0 of 1 values on it now\n')
  t.same(Object.keys(thresholds), [policy.routes.champion])
  for (const { name } of segments) t.match(live, `\n  ${policy.routes.champion} in ${name}: decline from `)
  t.match(live, `judged after ${guards?.samples_min} decisions`)

  const fixed = policyFixedText(policy)
  for (const { name } of [...policy.schema.fields, ...policy.catalogue.features]) t.match(fixed, `\n  ${name}: `)
  for (const code of Object.keys(policy.currencies.list)) t.match(fixed, code)
  t.match(
    fixed,
    'terminal_risk_7d: share of known frauds among the payments of its terminal_id in the 7d up to 7d ago; 0',
  )
  t.match(fixed, `within ${policy.budgets.deadline_ms}ms`)
  t.match(fixed, 'for 1d or 1000000 ids')
  t.notMatch(live + fixed, /undefined|NaN|\[object/)
  t.end()
})

void t.test('a list says how many of its values count now, and when the next leaves', (t) => {
  const lists = {
    none: { values: [] },
    people: { hashed: 'sha256', values: [] },
    wave: {
      values: [
        { value: 'stays' },
        { value: 'left', until: '2026-10-31T23:00:00Z' },
        { value: 'late', until: '2026-11-03T00:00:00Z' },
        { value: 'soon', until: '2026-11-02T01:00:00+01:00' },
      ],
    },
  } satisfies Policy['lists']
  const text = said({ lists })
  t.match(text, '\n  none: empty\n  people: empty, as SHA-256\n')
  t.match(text, '\n  wave: 3 of 4 values on it now; the next leaves at 2026-11-02T00:00:00.000Z\n')
  t.end()
})

void t.test('cuts stand in the order in which they are asked, and what is not stated is said', (t) => {
  const when = { field: 'currency', op: 'in', value: ['EUR', 'USD'] } as const
  const segments = [
    { name: 'near', when },
    { name: 'far', when: { not: when } },
  ]
  const by_segment = { far: { review_at: 0.2 }, near: { challenge_at: 0.1, decline_at: 0.9 } }
  const text = said({ segments, thresholds: { 'a@1': { decline_at: 0.5, by_segment }, 'b@1': { review_at: 0.3 } } })
  t.match(
    text,
    [
      '  segment near: where currency is one of EUR, USD',
      '  segment far: where not (currency is one of EUR, USD)',
      '  a@1 in near: decline from 0.9, challenge from 0.1, else approve',
      '  a@1 in far: review from 0.2, else approve',
      '  a@1 elsewhere: decline from 0.5, else approve',
      '  b@1: review from 0.3, else approve',
      '  other models: as the manifest says',
    ].join('\n'),
  )
  t.match(said({ thresholds: {}, segments: [] }), '\n  every model: as the manifest says')
  t.match(said({ rules: [], lists: {} }), 'only noted:\n  none\n')
  t.end()
})

void t.test('guards, approvals and what the sidecar counts apart are told where there are such', (t) => {
  const counted = { segments: [{ name: 'dollars', field: 'currency', values: ['USD'] }] }
  const { ramp_guards: _, ...rest } = referencePolicy()
  t.match(policyText(rest, NOW_MS), /none starts/)
  t.match(said({ governance: counted }), 'by the sidecar:\n  dollars: where currency is one of USD\n')
  t.match(said({ model_approval: 'required' }), 'Approval: only of models that are approved')
  t.end()
})

void t.test('every kind of feature and every other way to fail has its words', (t) => {
  const policy = referencePolicy()
  const window = { kind: 'aggregate', entity: 'customer_id', window: '1d', missing: 0 } as const
  const features: Policy['catalogue']['features'] = [
    { name: 'month', kind: 'calendar', part: 'month', zone: 'offset' },
    { name: 'gap', kind: 'difference', minuend: 'a', subtrahend: 'b', missing: 'nan' },
    { name: 'channel', kind: 'category', field: 'channel', table: { web: 1 }, other: -1, missing: 0 },
    { ...window, name: 'sum', function: 'sum', of: 'items', bucketed: '1h' },
    { ...window, name: 'dear', function: 'count', where: [{ field: 'amount', op: 'gt', value: 9 }] },
  ]
  const text = policyFixedText({
    ...policy,
    catalogue: { format: 1, features },
    schema: { unknown_fields: 'drop', fields: [{ name: 'items', type: 'integer', required: true, volatile: true }] },
    currencies: { ...policy.currencies, unlisted: 'missing' },
    ...{ clock: 'replay', durability: 'buffered', on_log_unavailable: 'serve_and_count', server_timing: true },
    routes: { ...policy.routes, challenger: null },
    budgets: { deadline_ms: 1500, log_wait_ms: 60_000 },
  })
  for (const line of [
    'what else it has is dropped, but for:\n  items: integer, required, may differ in a repeat\n',
    'month: the month by offset\n',
    'gap: a − b; nan if unknown\n',
    'channel: a number for each channel, -1 for those without; 0 if unknown\n',
    'sum: sum of items over the payments of its customer_id in the last 1d, in steps of 1h; 0 if unknown\n',
    'dear: number of the payments of its customer_id with amount gt 9 in the last 1d; 0 if unknown\n',
    'others have no amount features\n',
    'the clock is that of history\n',
    'no challenger (experiment',
    'within 1500ms',
    'does not wait until its record is on disk\n',
    'and counted as lost\n',
    'callers are told how long',
  ])
    t.match(text, line)
  t.end()
})
