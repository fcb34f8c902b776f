// Rules, lists and segments on a whole server: what callers read, what the log keeps, what is counted, and that every
// decision is recomputed from the log alone, one that was tampered with not.
import { createHash } from 'node:crypto'
import { join } from 'node:path'
import t from 'tap'
import type { Config } from '../../src/config.js'
import { policyFaults } from '../../src/contract/policy-check.js'
import { createRecordCodecs } from '../../src/contract/record.js'
import { LIMITS } from '../../src/limits.js'
import { type Verdict, verifyDecisions } from '../../src/scoring/verify-decision.js'
import { withChanged } from './retries-spoil.js'
import { readLog, type Rig, startRig } from './server-rig.js'

const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex')

function ruled(config: Config): void {
  const { policy } = config
  policy.budgets = { deadline_ms: 1000, log_wait_ms: 10_000 }
  policy.lists = {
    tested_terminals: { values: [{ value: 't-13' }, { value: 't-14', until: '2020-01-01T00:00:00Z' }] },
    known_good: { hashed: 'sha256', values: [{ value: sha256('c-vip') }] },
  }
  policy.rules = [
    {
      ...{ id: 'vip', when: { field: 'customer_id', op: 'in_list', value: 'known_good' } },
      ...{ action: 'approve', reason: 'known_customer', state: 'enforce' },
    },
    {
      ...{ id: 'card_testing', when: { field: 'terminal_id', op: 'in_list', value: 'tested_terminals' } },
      ...{ action: 'decline', reason: 'card_testing', detail: 'a wave at this terminal', state: 'enforce' },
    },
    {
      ...{ id: 'busy', when: { feature: 'customer_count_1d', op: 'ge', value: 3 } },
      ...{ action: 'challenge', reason: 'many_payments', state: 'shadow' },
    },
  ]
  policy.segments = [{ name: 'small', when: { field: 'amount', op: 'lt', value: 5 } }]
  for (const model of [policy.routes.champion, policy.routes.baseline]) {
    policy.thresholds[model] = { by_segment: { small: { challenge_at: 0 } } }
  }
}

const START_MS = Date.now()

const payment = (id: number, over: object = {}): object => ({
  ...{ transaction_id: `r-${id}`, occurred_at: START_MS, amount_minor: 5_000, currency: 'EUR' },
  ...{ customer_id: `c-${id}`, terminal_id: `t-${id % 5}` },
  ...over,
})

async function verify(directory: string, config: Config): Promise<Verdict[]> {
  const verdicts: Verdict[] = []
  const places = { directory, modelsDir: config.process.models_dir }
  await verifyDecisions(places, { sinceMs: 0, untilMs: Infinity }, (verdict) => void verdicts.push(verdict))
  return verdicts
}

void t.test('a ruled server', async (t) => {
  const rig: Rig = await startRig({ edit: ruled })
  t.teardown(() => rig.remove())
  t.same(policyFaults(rig.config.policy), [])

  await t.test('callers read the action and the reason of the rule', async (t) => {
    const wave = await rig.score(payment(1, { terminal_id: 't-13' }))
    t.match(wave.body, { action: 'decline', reasons: [{ code: 'card_testing', detail: 'a wave at this terminal' }] })
    const expired = await rig.score(payment(2, { terminal_id: 't-14' }))
    t.not(expired.body.reasons[0]?.code, 'card_testing')
    const vip = await rig.score(payment(3, { terminal_id: 't-13', customer_id: 'c-vip' }))
    t.match(vip.body, { action: 'approve', reasons: [{ code: 'known_customer' }] })
    t.equal((await rig.score(payment(4, { amount_minor: 100 }))).body.action, 'challenge', 'cuts of the segment')
    for (let i = 5; i < 40; i++) await rig.score(payment(i, { customer_id: `c-${i % 7}`, amount_minor: 100 + i * 40 }))
    t.equal((await rig.score(payment(1, { terminal_id: 't-13' }))).body.decision_id, wave.body.decision_id)
  })

  await t.test('an observed transaction matches no rule', async (t) => {
    const observed = await rig.score(payment(41, { terminal_id: 't-13' }), { 'assay-mode': 'observe' })
    t.equal(observed.status, 202)
  })

  await t.test('what matched is counted', async (t) => {
    const matches = await rig.metric('assay_rule_matches_total')
    t.equal(matches.get('rule="card_testing",state="enforce"'), 2)
    t.equal(matches.get('rule="vip",state="enforce"'), 1)
    t.ok((matches.get('rule="busy",state="shadow"') ?? 0) > 5)
  })

  await rig.stop()
  const { decisions } = await readLog(rig.logDir)

  await t.test('the record names rules, segment, cuts, and what the score alone would have given', (t) => {
    const of = (id: string) => decisions.find(({ personal }) => personal.transaction.transactionId === id)?.facts
    t.match(of('r-1'), { rules: ['card_testing'], rulesShadow: [], action: 'decline', segment: null })
    t.match(of('r-3'), { rules: ['vip', 'card_testing'], action: 'approve' })
    t.not(of('r-1')?.scoreAction, 'decline')
    t.match(of('r-4'), { rules: [], segment: 'small', thresholds: { challengeAt: 0, declineAt: null } })
    t.match(of('r-41'), { mode: 'observe', action: null, rules: [], rulesShadow: [], segment: null })
    t.ok(decisions.some(({ facts }) => facts.rulesShadow.length === 1 && facts.action === facts.scoreAction))
    t.end()
  })

  await t.test('every decision is recomputed from the log', async (t) => {
    const verdicts = await verify(rig.logDir, rig.config)
    t.equal(verdicts.length, 39)
    t.same(
      verdicts.filter(({ result }) => result !== 'equal'),
      [],
    )
  })

  await t.test('a decision that its policy does not give is found', async (t) => {
    const faults = {
      'rules:': { rules: ['card_testing'] },
      'rules in trial:': { rulesShadow: ['vip'] },
      'segment:': { segment: 'large' },
      'action:': { action: 'decline' },
    } as const
    for (const [named, change] of Object.entries(faults)) {
      const folder = join(t.testdir(), 'decision-log')
      const { decisionId } = await withChanged(rig.logDir, folder, ({ facts, personal }) => {
        return { facts: { ...facts, ...change }, personal }
      })
      const found = (await verify(folder, rig.config)).filter(({ result }) => result !== 'equal')
      t.match(found, [{ decision_id: decisionId, result: 'differs' }])
      t.ok(
        found[0].details.some((detail) => detail.startsWith(named)),
        named,
      )
    }
  })

  await t.test('the largest record fits', (t) => {
    const [{ facts, personal }] = decisions
    const text = (bytes: number): string => 'ก'.repeat(bytes / 3)
    const rules = Array.from({ length: LIMITS.ruleIdsBytesMax / 64 }, () => 'r'.repeat(64))
    const reasons = Array.from({ length: 4 }, () => ({
      ...{ code: 'c'.repeat(64), detail: text(3 * LIMITS.ruleDetailCharsMax), contribution: Math.PI },
    }))
    const hop = { model: `${'m'.repeat(64)}@${'v'.repeat(32)}`, role: 'champion', reason: 'invalid_output' } as const
    const large = {
      ...{ ...facts, rules, reasons, fallback: [hop, { ...hop, role: 'challenger' } as const] },
      ...{ prescribedModel: hop.model, segment: 's'.repeat(64), experiment: 'e'.repeat(64) },
    }
    const vector = Buffer.alloc(LIMITS.featuresMax * 8)
    const transaction = { ...personal.transaction, transactionId: text(LIMITS.transactionTextBytesMax) }
    const source = {
      topic: 't'.repeat(249),
      partition: 1e6,
      offset: 2 ** 52,
      topicId: 'i'.repeat(36),
      skipped: 2 ** 40,
    }
    const whole = { ...personal, transaction, vector, traceparent: 'p'.repeat(55), source }
    const buffer = Buffer.alloc(LIMITS.recordBytesMax)
    const end = createRecordCodecs(rig.config.policy.schema).encodeDecision(large, whole, buffer, 64)
    t.ok(end > 0 && end < LIMITS.recordBytesMax - 16 * LIMITS.fieldsMax, `${end} bytes, and room for 64 numbers`)
    t.end()
  })
})
