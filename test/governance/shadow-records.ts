// Decisions as the tail hands them over, with scores drawn from a seed: what monitors are tried on without a log.
// Shared by the shadow and alert tests; no test.
import { loadConfig } from '../../src/config.js'
import { digestText } from '../../src/contract/canonical-json.js'
import { policyFingerprint } from '../../src/contract/policy.js'
import type { DecisionFacts } from '../../src/contract/record-types.js'
import { cutsOf, decideByScore } from '../../src/decision/decide.js'
import type { Control, ShadowScore, TailRecord } from '../../src/governance/port.js'
import { createRandom } from '../../src/simulate/random.js'

export const CHAMPION = 'fraud-lgbm@1'
export const SHADOW = 'fraud-xgb@1'
export const START_MS = Date.UTC(2026, 10, 20, 12, 59)
/** A float32 for each feature. */
const VECTOR_BYTES = 4 * loadConfig({ env: {} }).policy.catalogue.features.length
export const CUTS = { challenge_at: null, review_at: 0.5, decline_at: 0.8 }

/** What held: both models served, with the same cuts. */
export function controlOf(edit: (control: Control) => void = () => undefined): Control {
  const policy = structuredClone(loadConfig({ env: {} }).policy)
  // The cuts of the models alone, without those of a segment.
  policy.thresholds = {}
  const models = [CHAMPION, SHADOW].map((reference) => ({
    ...{
      reference,
      role: reference === CHAMPION ? 'champion' : 'challenger',
      digest: '0'.repeat(64),
      thresholds: CUTS,
    },
  }))
  const routes = { ...policy.routes, revision: 0, experiment_key: 'ab'.repeat(32) }
  const control: Control = {
    ...{ format: 1, policy, policy_fingerprint: '', routes, models },
  }
  edit(control)
  return { ...control, policy_fingerprint: digestText(policyFingerprint(control.policy)) }
}

export interface Seen {
  readonly sequence: number
  readonly decidedAtMs: number
  readonly score: number
  readonly shadows: readonly ShadowScore[]
  readonly control: Control
  /** name@version that answered; the champion by default. */
  readonly answeredBy?: string
  readonly role?: 'champion' | 'challenger' | 'baseline'
  readonly mode?: DecisionFacts['mode']
  readonly segment?: string | null
  readonly amountBaseMinor?: number
  readonly rules?: readonly string[]
  readonly currency?: string
}

export function decision(seen: Seen): TailRecord {
  const { sequence, decidedAtMs, score, shadows, control, answeredBy = CHAMPION } = seen
  const [name = '', version = ''] = answeredBy.split('@')
  const cuts = cutsOf({ challengeAt: null, reviewAt: CUTS.review_at, declineAt: CUTS.decline_at })
  const action = decideByScore(cuts, score)
  const facts: DecisionFacts = {
    ...{ ordinal: sequence, unfolded: false, epoch: 1, mode: seen.mode ?? 'decide' },
    ...{ receivedAtMs: decidedAtMs, foldedAtMs: decidedAtMs, decidedAtMs, action, score, scoreRaw: score },
    model: { name, version, digest: new Uint8Array(32), role: seen.role ?? 'champion', provider: null },
    ...{ prescribedModel: answeredBy, bucket: 1, routesRevision: 0, experiment: null, arm: null, propensity: null },
    ...{ rules: seen.rules ?? [], rulesShadow: [], segment: seen.segment ?? null, scoreAction: action, reasons: [] },
    thresholds: { challengeAt: null, reviewAt: CUTS.review_at, declineAt: CUTS.decline_at },
    ...{ features: 0, degraded: false, fallback: [], decidedElsewhere: null, policy: new Uint8Array(32) },
    stages: { receiveUs: 0, validateUs: 0, featuresUs: 0, inferUs: 0, decideUs: 0 },
  }
  const amount = seen.amountBaseMinor ?? 1000
  const transaction = {
    ...{ transactionId: `t-${sequence}`, occurredAtMs: decidedAtMs, offsetMinutes: 0, amountMinor: amount },
    ...{ currency: seen.currency ?? 'EUR', amountBaseMinor: amount, fields: ['c-1', 't-1'] },
  }
  const personal = { transaction, vector: new Uint8Array(VECTOR_BYTES), traceparent: null, source: null }
  return { epoch: 1, sequence, control, shadows, record: { type: 'decision', facts, personal } }
}

export function scoreOf(model: string, score: number): ShadowScore {
  return { model, score, why: null }
}

/** A stream of decisions, `perMinute` a minute, with scores that mostly agree. */
export function stream(seed: number, count: number, perMinute = 200): TailRecord[] {
  const random = createRandom(seed)
  const control = controlOf()
  return Array.from({ length: count }, (_, at) => {
    const base = -1.5 + 4 * (random.uniform() + random.uniform() - 1)
    const score = 1 / (1 + Math.exp(-base))
    const shadow = 1 / (1 + Math.exp(-(base + random.uniform() - 0.5)))
    const fate = random.uniform()
    const other: ShadowScore =
      fate < 0.01
        ? { model: SHADOW, score: null, why: 'failed' }
        : fate < 0.02
          ? { model: SHADOW, score: null, why: 'shed' }
          : scoreOf(SHADOW, shadow)
    const common = {
      ...{ sequence: at + 1, decidedAtMs: START_MS + Math.floor((at * 60_000) / perMinute), control },
      ...{ amountBaseMinor: Math.floor(100_000 * random.uniform()), currency: fate < 0.3 ? 'USD' : 'EUR' },
    }
    // One in twenty was answered by the challenger: the champion is the shadow there.
    if (fate > 0.95) {
      const answered = { answeredBy: SHADOW, role: 'challenger' as const, score: shadow }
      return decision({ ...common, ...answered, shadows: [scoreOf(CHAMPION, score)] })
    }
    return decision({ ...common, score, shadows: [other] })
  })
}
