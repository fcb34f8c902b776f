// What the tests of failing models share: a server over fixture bundles, answers kept with the path of reasons, and the
// proof at the end that each was decided in time and counted. Holds no test.
import type { Test } from 'tap'
import { type Limits, LIMITS } from '../../src/limits.js'
import { type Answer, FIXTURE_MODELS, readDecisions, type Rig, startRig } from './server-rig.js'

/** Rows of `hangs` with this amount keep the session busy inside one run for about so long. */
export const busyFor = (ms: number): number => 1e6 + Math.round((ms * 1000) / 1.2)
/** An amount at which `throws` throws and `nan-rows` gives NaN; `linear` and the scorecard score it. */
export const POISON = 2e6
export const DEADLINE_MS = 40

export interface ModelRig extends Rig {
  readonly answers: Answer[]
  /** Scores a transaction of this amount (major units) and keeps the answer. */
  pay(amount: number): Promise<Answer>
  /** Waits until the model answers by itself again; at most 10 s. */
  healed(reference: string): Promise<number>
  breaker(reference: string): Promise<number | undefined>
  /** Stops, reads the log, and checks every answer: status, time, counts, and that the log says the same. */
  finish(t: Test): Promise<void>
}

export interface ModelRigOptions {
  readonly champion: string
  readonly challenger: string | null
  readonly probeAfterMs: number
  readonly limits?: Partial<Limits>
}

/** Starts a server whose challenger, if it has one, gets every entity. */
export async function startModels(options: ModelRigOptions): Promise<ModelRig> {
  const { champion, challenger, probeAfterMs } = options
  const rig = await startRig({
    limits: { ...LIMITS, gateMeasureMs: 5, laneWarmMs: 20, ...options.limits },
    edit({ process, policy }) {
      process.models_dir = FIXTURE_MODELS
      policy.routes = { ...policy.routes, champion, challenger, share: challenger === null ? 0 : 10_000 }
      policy.routes.baseline = 'scorecard@1'
      policy.budgets = { deadline_ms: DEADLINE_MS, log_wait_ms: 2_000 }
      policy.breaker.probe_after_ms = probeAfterMs
    },
  })
  const answers: Answer[] = []
  const gaps = watchGaps()
  let sent = 0
  const breaker = async (reference: string): Promise<number | undefined> =>
    (await rig.metric('assay_breaker_state')).get(`model="${reference}"`)
  return {
    ...rig,
    answers,
    breaker,
    async pay(amount) {
      const id = `pay-${sent++}`
      const got = await rig.score({
        transaction_id: id,
        occurred_at: new Date().toISOString(),
        amount_minor: Math.round(amount * 100),
        currency: 'EUR',
        customer_id: `c${sent % 7}`,
        terminal_id: `t${sent % 5}`,
      })
      answers.push(got)
      return got
    },
    async healed(reference) {
      const beganMs = performance.now()
      while ((await breaker(reference)) !== 0) {
        if (performance.now() - beganMs > 10_000) throw new Error(`${reference} stays open`)
        await new Promise((resolve) => setTimeout(resolve, 20))
      }
      return performance.now() - beganMs
    },
    async finish(t) {
      const counted = await rig.metric('assay_degraded_total')
      await rig.stop()
      const slackMs = gaps.stop()
      const decisions = await readDecisions(rig.logDir)
      const byId = new Map(decisions.map((decision) => [decision.personal.transaction.transactionId, decision]))
      let slowest = 0
      const hops = new Map<string, number>()
      for (const { status, body } of answers) {
        if (status !== 200) t.equal(status, 200, JSON.stringify(body))
        const decision = byId.get(body.transaction_id)
        if (decision === undefined) {
          t.fail(`${body.transaction_id} is not in the log`)
          continue
        }
        const { facts } = decision
        slowest = Math.max(slowest, facts.decidedAtMs - facts.receivedAtMs + facts.stages.validateUs / 1000)
        const path = body.fallback ?? []
        t.same(
          facts.fallback.map((hop) => ({ ...hop })),
          path,
          'the log names the same path',
        )
        if (body.degraded !== path.length > 0) t.fail(`${body.transaction_id}: degraded ${body.degraded}`)
        for (const { model, reason } of path) {
          const label = `from="${model}",reason="${reason}"`
          hops.set(label, (hops.get(label) ?? 0) + 1)
        }
      }
      t.equal(decisions.length, answers.length, 'every request is one record')
      t.same([...counted].sort(), [...hops].sort(), 'assay_degraded_total counts exactly the hops that were answered')
      // Gaps of this thread's own 1 ms timer: client and server share it with two busy cores.
      const allowed = DEADLINE_MS + 5 + slackMs
      t.ok(slackMs < DEADLINE_MS, `the event loop was never blocked for long: ${slackMs.toFixed(1)} ms`)
      t.ok(slowest <= allowed, `decided within ${slowest.toFixed(1)} of ${allowed.toFixed(1)} ms`)
      await rig.remove()
    },
  }
}

/** How late a 1 ms timer of this thread came at worst. */
function watchGaps(): { stop(): number } {
  let lastMs = performance.now()
  let worst = 0
  const timer = setInterval(() => {
    const nowMs = performance.now()
    worst = Math.max(worst, nowMs - lastMs - 1)
    lastMs = nowMs
  }, 1)
  return {
    stop() {
      clearInterval(timer)
      return worst
    },
  }
}

export function path(answer: Answer): string {
  const hops: { model: string; reason: string }[] = answer.body.fallback ?? []
  return [...hops.map(({ model, reason }) => `${model}:${reason}`), answer.body.model?.name].join(' ')
}

/** Paths with how often each was met. */
export function tallied(answers: readonly Answer[]): Map<string, number> {
  const counts = new Map<string, number>()
  for (const one of answers) counts.set(path(one), (counts.get(path(one)) ?? 0) + 1)
  return counts
}
