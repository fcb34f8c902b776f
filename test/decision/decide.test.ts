// From a score to an action: the first enforced rule, the cuts of the segment, the model's own; and what is said of it.
import t from 'tap'
import type { Rule } from '../../src/contract/rules.js'
import { createDecider, type Decided, thresholdsOf } from '../../src/decision/decide.js'
import { catalogueOf, ruledPolicy, type Seen, subjectOf } from './rules-rig.js'

const MODEL = { name: 'fraud-xgb', version: '1', thresholds: { review_at: 0.5, decline_at: 0.9 } }

function decide(seen: Seen, over: Parameters<typeof ruledPolicy>[0], reasons: Decided['reasons'] = []): Decided {
  const policy = ruledPolicy(over)
  const decided: Decided = {
    ...{ action: null, scoreAction: null, thresholds: null, segment: null },
    ...{ rules: ['old'], rulesShadow: ['old'], reasons: [] },
  }
  const cuts = thresholdsOf(policy, MODEL)
  if (cuts === null) throw new Error('no cuts')
  createDecider(policy, catalogueOf(policy)).decide(subjectOf(policy, seen), cuts, reasons, decided)
  return decided
}

const rule = (id: string, over: Partial<Rule> = {}): Rule => ({
  ...{ id, when: { field: 'amount', op: 'gt', value: 100 }, action: 'decline', reason: id, state: 'enforce' },
  ...over,
})

void t.test('without rules and segments the score decides, as often as before', (t) => {
  const own = { challengeAt: null, reviewAt: 0.5, declineAt: 0.9 }
  const actions = [0, 0.5, 0.9].map((score) => {
    const decided = decide({ answer: { score } }, {})
    t.match(decided, { thresholds: own, segment: null, rules: [], rulesShadow: [], reasons: [] })
    t.equal(decided.action, decided.scoreAction)
    return decided.action
  })
  t.same(actions, ['approve', 'review', 'decline'])
  t.end()
})

void t.test('the first enforced rule that matches decides, all that match are named, trials only named', (t) => {
  const rules = [
    rule('not_this', { when: { field: 'amount', op: 'gt', value: 1e6 } }),
    rule('trial', { state: 'shadow', action: 'challenge' }),
    rule('known_good', { action: 'approve', detail: 'a partner' }),
    rule('too_much'),
    rule('also_good', { action: 'approve' }),
  ]
  const decided = decide({ amountMinor: 20_000, answer: { score: 0.95 } }, { rules })
  t.match(decided, { action: 'approve', scoreAction: 'decline', rulesShadow: ['trial'] })
  t.same(decided.rules, ['known_good', 'too_much', 'also_good'])
  t.same(
    decided.reasons.map(({ code, detail }) => [code, detail]),
    [
      ['known_good', 'a partner'],
      ['also_good', null],
    ],
    'of the rules that say what was done',
  )
  const below = decide({ amountMinor: 100, answer: { score: 0.95 } }, { rules })
  t.match(below, { action: 'decline', rules: [], rulesShadow: [] })
  t.end()
})

void t.test('reasons are at most four, rules before the model, each code once', (t) => {
  const codes = ['one', 'two', 'three']
  const rules = codes.map((code) => rule(code)).concat(rule('again', { reason: 'one' }))
  const ofModel = ['amount', 'one', 'night'].map((code) => ({ code, detail: null, contribution: 0.5 }))
  const decided = decide({ amountMinor: 20_000 }, { rules }, ofModel)
  t.same(
    decided.reasons.map(({ code }) => code),
    ['one', 'two', 'three', 'amount'],
  )
  t.end()
})

void t.test(
  'the cuts of the first segment that matches and has some, else the policy’s own, else the manifest’s',
  (t) => {
    const segments = [
      { name: 'abroad', when: { field: 'currency', op: 'ne', value: 'EUR' } as const },
      { name: 'gambling', when: { field: 'merchant_category', op: 'eq', value: '7995' } as const },
      { name: 'small', when: { field: 'amount', op: 'lt', value: 20 } as const },
    ]
    const thresholds = {
      'fraud-xgb@1': { by_segment: { small: { decline_at: 0.99 }, gambling: { challenge_at: 0.1, decline_at: 0.6 } } },
    }
    const of = (seen: Seen) => {
      const { segment, thresholds: cuts } = decide({ ...seen, answer: { score: 0.7 } }, { segments, thresholds })
      return [segment, cuts?.challengeAt, cuts?.reviewAt, cuts?.declineAt]
    }
    t.same(of({ amountMinor: 1000 }), ['small', null, null, 0.99])
    t.same(of({ amountMinor: 1000, fields: { merchant_category: '7995' } }), ['gambling', 0.1, null, 0.6])
    t.same(of({ amountMinor: 5000, currency: 'USD' }), [null, null, 0.5, 0.9], 'abroad has no cuts for this model')
    const own = { 'fraud-xgb@1': { decline_at: 0.8 } }
    t.equal(decide({ answer: { score: 0.85 } }, { thresholds: own }).action, 'decline')
    t.end()
  },
)

void t.test('rules see who answered, how, and with what score', (t) => {
  const rules = [
    rule('degraded_large', {
      when: {
        all: [
          { answer: 'degraded', op: 'eq', value: true },
          { field: 'amount', op: 'ge', value: 50 },
        ],
      },
      action: 'review',
    }),
    rule('grey', { when: { answer: 'score', op: 'ge', value: 0.3 }, action: 'challenge' }),
  ]
  t.equal(decide({ amountMinor: 5000, answer: { degraded: true, role: 'baseline' } }, { rules }).action, 'review')
  t.equal(decide({ amountMinor: 4999, answer: { degraded: true } }, { rules }).action, 'approve')
  t.equal(decide({ answer: { score: 0.3 } }, { rules }).action, 'challenge')
  t.end()
})
