// What the tests of failing models share: a server over fixture bundles, every answer kept with its deadline, and the
// proof at the end that each was decided in time, by the path that the log and the counters say too. Holds no test.
//
// Client, server and two busy cores share one event loop: what is proven is what the semantics promise, so deadlines
// are long where a healthy model must answer, and only the blocked models are slower than them, by far.
import type { Test } from 'tap'
import { type Limits, LIMITS } from '../../src/limits.js'
import { createMortalThreads } from '../scoring/lane-rig.js'
import { type Evidence, judge, type Told, watchGaps } from './models-judge.js'
import { type Answer, FIXTURE_MODELS, readLog, type Rig, startRig, until } from './server-rig.js'

/** Rows of `hangs` with this amount keep the session busy inside one run for about so long. */
export const busyFor = (ms: number): number => 1e6 + Math.round((ms * 1000) / 1.2)
/** An amount at which `throws` throws and `nan-rows` gives NaN; `linear` and the scorecard score it. */
export const POISON = 2e6
/** The longest that a policy may ask for: a challenger gets half, and a starved but healthy thread needs some of it. */
const PATIENT_MS = 1_000
/** A model that ran on the main thread would keep it on a core for its whole run, a second and more. */
const RAN_MS_MAX = 750
const HEALS_WITHIN_MS = 100_000

export interface ModelRig extends Rig {
  /** Scores a transaction of this amount (major units), under a shorter deadline if one is given; keeps the answer. */
  pay(amount: number, deadlineMs?: number): Promise<Answer>
  /** The same in one request: one flight for each lane, in this order. */
  payAll(amounts: readonly number[]): Promise<Answer[]>
  /** Pays until this model answers without a hop before it. */
  answeredBy(name: string): Promise<void>
  /** Waits until a lane holds so many rows. */
  queued(reference: string, rows: number): Promise<void>
  /** Waits until golden rows have closed the model's breaker. */
  healed(reference: string): Promise<void>
  /** 0 closed, 1 half open, 2 open. */
  breaker(reference: string): Promise<number | undefined>
  named(event: string): Rig['events']
  /** Stops, and checks every answer against log and counters; returns the evidence. */
  finish(): Promise<Evidence>
}

export interface ModelRigOptions {
  readonly champion: string
  readonly challenger: string | null
  readonly probeAfterMs: number
  readonly limits?: Partial<Limits>
  /** Lanes whose threads end where a row tells them so (MORTAL of the lane rig). */
  readonly mortal?: boolean
}

/** Starts a server whose challenger, if it has one, gets every entity. */
export async function startModels(t: Test, options: ModelRigOptions): Promise<ModelRig> {
  const { champion, challenger, probeAfterMs } = options
  const rig = await startRig({
    ...(options.mortal === true && { threads: { models: createMortalThreads() } }),
    // What is tested is models that fail: neither a slow start of a thread nor a busy client is to be taken for one.
    // Nor is cold code: some payments have 8 ms.
    limits: { warmUpRows: LIMITS.warmUpRows, laneStopMs: 60_000, ...options.limits },
    edit({ process, policy }) {
      process.models_dir = FIXTURE_MODELS
      policy.routes = { ...policy.routes, champion, challenger, share: challenger === null ? 0 : 10_000 }
      policy.routes.baseline = 'scorecard@1'
      policy.budgets = { deadline_ms: PATIENT_MS, log_wait_ms: 30_000 }
      policy.breaker.probe_after_ms = probeAfterMs
    },
  })
  const watched = watchGaps()
  t.teardown(async () => {
    watched.stop()
    await rig.remove()
  })
  const before = await rig.metric('assay_degraded_total')
  const answers: Answer[] = []
  const told: Told[] = []
  let sent = 0
  const transaction = (amount: number): { transaction_id: string } => ({
    transaction_id: `pay-${sent++}`,
    ...{ occurred_at: new Date().toISOString(), amount_minor: Math.round(amount * 100), currency: 'EUR' },
    ...{ customer_id: `c${sent % 7}`, terminal_id: `t${sent % 5}` },
  })
  const keep = (id: string, got: Answer, deadlineMs = PATIENT_MS): Answer => {
    answers.push(got)
    told.push(toldBy(id, got, deadlineMs))
    return got
  }
  const pay = async (amount: number, deadlineMs = PATIENT_MS): Promise<Answer> => {
    const one = transaction(amount)
    return keep(one.transaction_id, await rig.score(one, { 'assay-timeout-ms': `${deadlineMs}` }), deadlineMs)
  }
  const gauge = async (name: string, reference: string): Promise<number | undefined> =>
    (await rig.metric(name)).get(`model="${reference}"`)
  const named: ModelRig['named'] = (event) => rig.events.filter(({ name }) => name === event)
  const breaker = (reference: string): Promise<number | undefined> => gauge('assay_breaker_state', reference)
  return {
    ...{ ...rig, pay, breaker },
    async payAll(amounts) {
      const transactions = amounts.map(transaction)
      const whole = await rig.send('/v1/score/batch', { transactions })
      const parts: { status: number; body: unknown }[] = whole.body
      return parts.map((part, at) => keep(transactions[at].transaction_id, { ...whole, ...part }))
    },
    answeredBy: (name) =>
      until(async () => path(await pay(10)) === name, `${name} answers`, { msMax: HEALS_WITHIN_MS, everyMs: 20 }),
    queued: (reference, rows) =>
      until(async () => (await gauge('assay_lane_queue_rows', reference)) === rows, `${rows} rows wait`, {
        everyMs: 10,
      }),
    async healed(reference) {
      // By its events: reading the metrics again and again would take the core from the run that is waited for.
      const isOpen = (): boolean =>
        rig.events.findLast(({ name, fields }) => name.startsWith('Breaker') && fields.model === reference)?.name ===
        'BreakerOpened'
      await until(() => !isOpen(), `${reference} heals`, { msMax: HEALS_WITHIN_MS })
      t.equal(await breaker(reference), 0, 'and the metric says so')
    },
    named,
    async finish() {
      const counted = new Map<string, number>()
      for (const [labels, count] of await rig.metric('assay_degraded_total')) {
        if (count > (before.get(labels) ?? 0)) counted.set(labels, count - (before.get(labels) ?? 0))
      }
      await rig.stop()
      watched.stop()
      const { decisions } = await readLog(rig.logDir)
      const evidence = { told, decisions, counted, gaps: watched.gaps }
      const { findings, latestMs } = judge(evidence)
      t.same(findings, [], 'each decided in time, its path the same in answer, log and counter')
      const ranMs = Math.max(0, ...evidence.gaps.map((gap) => gap.ranMs))
      const gapMs = Math.max(0, ...evidence.gaps.map(({ fromMs, toMs }) => toMs - fromMs))
      t.ok(ranMs < RAN_MS_MAX, `no model ran on the main thread: it was busy for ${ranMs.toFixed(1)} ms at most`)
      t.comment([...tallied(answers)].map(([way, count]) => `${count} × ${way}`).join(', '))
      t.comment(`the latest decision: ${latestMs.toFixed(1)} ms after its deadline; longest gap ${gapMs} ms`)
      return evidence
    },
  }
}

function toldBy(transactionId: string, { status, body }: Answer, deadlineMs: number): Told {
  const refused = status === 200 ? null : (body.code ?? `status ${status}`)
  return {
    transactionId,
    deadlineMs,
    refused,
    degraded: body.degraded,
    model: body.model?.name,
    path: body.fallback ?? [],
  }
}

/** `left@1:reason next@1:reason answered-by`. */
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
