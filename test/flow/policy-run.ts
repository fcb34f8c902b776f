// The proof of the live policy: what operators draw, and the judgement from the log and the bundles alone. The run is
// that of the routes (routes-run.ts). Holds no test.
import { join } from 'node:path'
import { digestText } from '../../src/contract/canonical-json.js'
import { type ControlState, stateAfter } from '../../src/contract/control-state.js'
import { decisionId } from '../../src/contract/decision.js'
import type { Rule, Test } from '../../src/contract/rules.js'
import { packageRoot } from '../../src/config.js'
import { readDecisionLog } from '../../src/scoring/restore.js'
import { type VerifySummary, verifyDecisions } from '../../src/scoring/verify-decision.js'
import type { Random } from '../../src/simulate/random.js'
import type { Drawn, Operator, RoutesRun } from './routes-run.js'

const ACTIONS = ['approve', 'challenge', 'review', 'decline'] as const
const MODELS = ['fraud-lgbm@1', 'fraud-xgb@1', 'baseline@1']

interface PolicyShown {
  readonly can_roll_back: boolean
}

/** Draws rules, lists, segments and cuts; lists alone; rollbacks. */
export const POLICY_OPERATOR: Operator = {
  path: '/v1/policy',
  draw(random, read: PolicyShown): Drawn {
    const kind = random.uniform()
    if (read.can_roll_back && kind < 0.15) {
      return { verb: 'rollback', method: 'POST', path: '/v1/policy:rollback', body: {} }
    }
    if (kind < 0.35)
      return { verb: 'list', method: 'PUT', path: '/v1/lists/wave', body: { values: drawValues(random) } }
    return { verb: 'set', method: 'PUT', path: '/v1/policy', body: { policy: drawPolicy(random) } }
  },
}

function drawValues(random: Random): object[] {
  const soon = new Date(Date.now() + random.integer(4_000)).toISOString()
  return Array.from({ length: random.integer(300) }, (_, at) => ({
    value: `c${at}`,
    ...(random.uniform() < 0.5 && { until: soon }),
  }))
}

function drawPolicy(random: Random): object {
  const pick = <Value>(values: readonly Value[]): Value => values[random.integer(values.length)]
  const tests: (() => Test)[] = [
    () => ({ field: 'amount', op: pick(['gt', 'le']), value: 1 + random.integer(499) }),
    () => ({ field: 'customer_id', op: pick(['present', 'absent']) }),
    () => ({ feature: 'customer_count_1d', op: 'ge', value: 1 + random.integer(40) }),
    () => ({ feature: 'customer_mean_amount_7d', op: 'lt', value: random.uniform() * 500 }),
    () => ({ answer: 'score', op: 'ge', value: 0.001 + random.uniform() * 0.2 }),
    () => ({ answer: 'model', op: 'eq', value: pick(MODELS) }),
    () => ({ answer: 'degraded', op: 'eq', value: true }),
  ]
  // About three things: two tests of one could always hold together, and such a rule is refused.
  const rule = (at: number): Rule => {
    const first = random.integer(tests.length)
    const [one, two, three] = [0, 1, 2].map((next) => tests[(first + 2 * next) % tests.length]())
    return {
      ...{ id: `rule-${at}-${random.integer(1000)}`, when: { any: [one, { all: [two, three] }] } },
      ...{ action: pick(ACTIONS), reason: `why_${at}`, state: pick(['enforce', 'shadow']) },
    }
  }
  const cut = (): number => 0.001 + random.uniform() * 0.998
  const cuts = (): object => {
    const [low, middle, high] = [cut(), cut(), cut()].sort((a, b) => a - b)
    return { challenge_at: low, review_at: middle, decline_at: high }
  }
  const bySegment = (): object => ({ by_segment: { small: cuts(), large: cuts() } })
  return {
    rules: Array.from({ length: random.integer(6) }, (_, at) => rule(at)),
    segments: [
      { name: 'small', when: { field: 'amount', op: 'lt', value: 1 + random.integer(200) } },
      { name: 'large', when: { field: 'amount', op: 'ge', value: 1 + random.integer(400) } },
    ],
    thresholds: Object.fromEntries(MODELS.map((model) => [model, random.uniform() < 0.5 ? bySegment() : cuts()])),
    lists: { wave: { values: drawValues(random) } },
  }
}

export interface PolicyJudgement {
  readonly findings: string[]
  readonly verified: VerifySummary
  /** Decisions that a rule matched, whose cuts were a segment's, whose action is not that of the score. */
  readonly ruled: number
  readonly segmented: number
  readonly overruled: number
  readonly policies: number
}

/** Recomputes every decision; follows the policies in the order of the log; compares with what clients were told. */
export async function judgePolicy(run: RoutesRun): Promise<PolicyJudgement> {
  const directory = join(run.dataDir, 'decision-log')
  const findings: string[] = []
  const revisions = new Map<string, number[]>()
  const answered = new Map<string, string>()
  const ordered: { epoch: number; ordinal: number; policy: string }[] = []
  const seen = { ruled: 0, segmented: 0, overruled: 0 }
  let [held, logId]: [ControlState | null, Buffer] = [null, Buffer.alloc(8)]
  const hold = (state: ControlState): void => {
    held = state
    const known = revisions.get(state.policy_fingerprint) ?? []
    revisions.set(state.policy_fingerprint, [...new Set([...known, state.policy_standing?.revision ?? 0])])
  }
  await readDecisionLog(directory, {
    onSegment(header, state) {
      logId = Buffer.from(header.logId)
      hold(state)
    },
    onRecord(record) {
      if (record.type === 'control' && held !== null) hold(stateAfter(held, record.control.state))
      if (record.type !== 'decision') return
      const { facts } = record
      const policy = digestText(facts.policy)
      answered.set(decisionId(logId, facts.epoch, facts.ordinal, facts.unfolded), policy)
      if (!facts.unfolded) ordered.push({ epoch: facts.epoch, ordinal: facts.ordinal, policy })
      seen.ruled += facts.rules.length > 0 ? 1 : 0
      seen.segmented += facts.segment === null ? 0 : 1
      seen.overruled += facts.action === facts.scoreAction ? 0 : 1
    },
  })
  const places = { directory, modelsDir: join(packageRoot, 'models') }
  const verified = await verifyDecisions(places, { sinceMs: 0, untilMs: Infinity }, (verdict) => {
    if (verdict.result !== 'equal')
      findings.push(`${verdict.decision_id} ${verdict.result}: ${verdict.details.join('; ')}`)
  })
  let least = 0
  for (const { epoch, ordinal, policy } of ordered.sort((a, b) => a.epoch - b.epoch || a.ordinal - b.ordinal)) {
    // A rollback gives an earlier policy a later revision: the lowest that is not before the last one seen.
    const revision = Math.min(...(revisions.get(policy) ?? []).filter((one) => one >= least))
    if (!Number.isFinite(revision)) findings.push(`${epoch}/${ordinal}: its policy was replaced before`)
    else least = revision
  }
  for (const [id, policy] of run.policies) {
    if (answered.get(id) !== policy)
      findings.push(`${id} was answered under ${policy}, logged under ${answered.get(id)}`)
  }
  const known = new Set([...revisions.values()].flat())
  for (const revision of run.told.keys()) if (!known.has(revision)) findings.push(`revision ${revision} was lost`)
  return { findings, verified, ...seen, policies: revisions.size }
}
