// What the traffic command counts: answers, actions, errors by code, and how right the verdicts were, since it knows.
// Invariant: every transaction sent is counted once as answered or failed. Pure but for its counters.
import { ACTIONS, type Action } from '../contract/decision.js'
import { Histogram } from '../telemetry/histogram.js'
import type { Reply } from './client.js'

export interface Tally {
  /** One reply; `latencyMs` runs from the intended start. */
  count(reply: Reply, of: { readonly fraud: boolean; readonly latencyMs: number }): void
  /** A transaction that was due but not sent, since too many were under way. */
  skip(): void
  /** One line about the time since the last call. */
  line(seconds: number): string
  /** The whole run. */
  summary(): Summary
}

export interface Summary {
  readonly answered: number
  readonly failed: number
  readonly skipped: number
  readonly p50Ms: number
  readonly p99Ms: number
  readonly p999Ms: number
  readonly actions: Readonly<Record<Action, number>>
  readonly degraded: number
  readonly models: Readonly<Record<string, number>>
  readonly errors: Readonly<Record<string, number>>
  /** Of those reviewed or declined, the share that was fraud; null where there were none. */
  readonly precision: number | null
  /** Of the frauds answered, the share that was reviewed or declined; null where there were none. */
  readonly recall: number | null
}

/** Distinct models and error codes kept apart; more are counted as `other`. */
const NAMES_MAX = 32

/** Makes an empty tally. */
export function createTally(): Tally {
  const whole = new Histogram()
  let interval = new Histogram()
  let [answeredBefore, failed, skipped, degraded] = [0, 0, 0, 0]
  let [flagged, flaggedFrauds, frauds] = [0, 0, 0]
  const actions: Record<Action, number> = { approve: 0, challenge: 0, review: 0, decline: 0 }
  let actionsBefore = { ...actions }
  const models = new Map<string, number>()
  const errors = new Map<string, number>()

  const countDecision = (decision: Decision, fraud: boolean): void => {
    actions[decision.action]++
    if (decision.degraded) degraded++
    add(models, decision.model)
    if (fraud) frauds++
    if (decision.action === 'approve') return
    flagged++
    if (fraud) flaggedFrauds++
  }
  const precision = (): number | null => (flagged === 0 ? null : flaggedFrauds / flagged)
  return {
    count(reply, { fraud, latencyMs }) {
      const decision = reply.status === 200 ? decisionOf(reply.body) : null
      if (decision === null) {
        failed++
        add(errors, reply.failure ?? codeOf(reply))
        return
      }
      whole.record(latencyMs * 1000)
      interval.record(latencyMs * 1000)
      countDecision(decision, fraud)
    },
    skip() {
      skipped++
      add(errors, 'not_sent')
    },
    line(seconds) {
      const answered = whole.count - answeredBefore
      const [p50, p99] = interval.lastMinute([0.5, 0.99]).values.map((us) => (us / 1000).toFixed(2))
      answeredBefore = whole.count
      interval = new Histogram()
      const shares = ACTIONS.map((action) => `${action} ${percent(actions[action] - actionsBefore[action], answered)}`)
      actionsBefore = { ...actions }
      const failures = [...errors].map(([code, times]) => `${code} ${times}`).join(' ')
      const right = precision() === null ? '-' : percent(flaggedFrauds, flagged)
      return (
        `${(answered / seconds).toFixed(0)}/s p50 ${p50} p99 ${p99} ms | ${shares.join(' ')} | precision ${right} | ` +
        `degraded ${degraded}${failures === '' ? '' : ` | ${failures}`}`
      )
    },
    summary() {
      const [p50Ms, p99Ms, p999Ms] = whole.lastMinute([0.5, 0.99, 0.999]).values.map((us) => us / 1000)
      const recall = frauds === 0 ? null : flaggedFrauds / frauds
      return {
        answered: whole.count,
        failed,
        skipped,
        p50Ms,
        p99Ms,
        p999Ms,
        actions: { ...actions },
        degraded,
        models: Object.fromEntries(models),
        errors: Object.fromEntries(errors),
        precision: precision(),
        recall,
      }
    },
  }
}

interface Decision {
  readonly action: Action
  readonly degraded: boolean
  readonly model: string
}

/** What the tally needs of a 200's body; null where it is not a decision. */
function decisionOf(body: string): Decision | null {
  const value = parse(body)
  const action = ACTIONS.find((each) => each === value['action'])
  if (action === undefined) return null
  const model = record(value['model'])
  return { action, degraded: value['degraded'] === true, model: `${String(model['role'])} ${String(model['name'])}` }
}

function codeOf(reply: Reply): string {
  const { code } = parse(reply.body)
  return typeof code === 'string' ? code : `HTTP ${reply.status}`
}

function parse(body: string): Record<string, unknown> {
  try {
    return record(JSON.parse(body))
  } catch {
    return {}
  }
}

function record(value: unknown): Record<string, unknown> {
  return typeof value === 'object' && value !== null ? { ...value } : {}
}

function add(counts: Map<string, number>, name: string): void {
  const key = counts.has(name) || counts.size < NAMES_MAX ? name : 'other'
  counts.set(key, (counts.get(key) ?? 0) + 1)
}

function percent(part: number, whole: number): string {
  return `${((100 * part) / Math.max(1, whole)).toFixed(2)}%`
}
