// What clients of failing models were told, judged against the log, the counters and the gaps of the event loop: each
// answer in time, its path of reasons the same everywhere. Pure, so that the judgement itself is tested with evidence
// that is wrong. A finding is one line; a server that keeps its promises gives none.
import { readFileSync } from 'node:fs'
import type { Hop } from '../../src/contract/decision.js'
import type { LoggedDecision } from './server-rig.js'

/** Milliseconds beyond the deadline that a decision may take by semantics: the tick, and what it hands on. */
const GRACE_MS = 5

export interface Told {
  readonly transactionId: string
  /** The code of a refusal; null where it was decided. */
  readonly refused: string | null
  readonly degraded: boolean
  readonly model: string
  readonly path: readonly Hop[]
  readonly deadlineMs: number
}

/** A stretch in which the event loop of client and server did not turn, in ms of the wall clock. */
export interface Gap {
  readonly fromMs: number
  readonly toMs: number
  /** Milliseconds of it in which the thread really ran; the rest of it had no core. */
  readonly ranMs: number
}

export interface Evidence {
  readonly told: readonly Told[]
  readonly decisions: readonly LoggedDecision[]
  /** assay_degraded_total by its labels, since the first request. */
  readonly counted: ReadonlyMap<string, number>
  readonly gaps: readonly Gap[]
}

export interface Verdict {
  readonly findings: readonly string[]
  /** The latest decision: ms beyond its deadline, gaps of the event loop left out; negative where all were early. */
  readonly latestMs: number
}

/** One record each, the same path in answer, log and counter, and in time but for what the event loop did not run. */
export function judge({ told, decisions, counted, gaps }: Evidence): Verdict {
  const findings: string[] = []
  const byId = new Map(decisions.map((decision) => [decision.personal.transaction.transactionId, decision]))
  const hops = new Map<string, number>()
  let latestMs = -Infinity
  for (const one of told) {
    const { transactionId: id, path, refused } = one
    if (refused !== null) {
      // A deadline of a few milliseconds may be over before a starved server has looked at the request (semantics 2).
      if (refused !== 'ASSAY_OVERLOADED') findings.push(`${id}: refused, ${refused}`)
      if (byId.has(id)) findings.push(`${id}: refused, and in the log`)
      continue
    }
    if (one.degraded !== path.length > 0) findings.push(`${id}: degraded ${one.degraded} over ${path.length} hops`)
    for (const { model, reason } of path) {
      const labels = `from="${model}",reason="${reason}"`
      hops.set(labels, (hops.get(labels) ?? 0) + 1)
    }
    const decision = byId.get(id)
    if (decision === undefined) {
      findings.push(`${id}: not in the log`)
      continue
    }
    const { facts } = decision
    const logged = describe(facts.fallback, facts.model?.name ?? 'nobody')
    if (logged !== describe(path, one.model))
      findings.push(`${id}: told ${describe(path, one.model)}, logged ${logged}`)
    const lateMs = lateness(decision, one.deadlineMs, gaps)
    if (lateMs > GRACE_MS) findings.push(`${id}: ${describe(path, one.model)} ${lateMs.toFixed(1)} ms late`)
    latestMs = Math.max(latestMs, lateMs)
  }
  const decided = told.filter(({ refused }) => refused === null).length
  if (decisions.length !== decided) findings.push(`${decisions.length} records for ${decided} decisions`)
  if (decided * 2 < told.length) findings.push(`${decided} decisions for ${told.length} requests`)
  for (const labels of new Set([...hops.keys(), ...counted.keys()])) {
    const [were, are] = [hops.get(labels) ?? 0, counted.get(labels) ?? 0]
    if (were !== are) findings.push(`${labels}: ${were} times told, ${are} times counted`)
  }
  return { findings, latestMs }
}

function describe(path: readonly Hop[], model: string): string {
  return [...path.map((hop) => `${hop.role} ${hop.model}:${hop.reason}`), model].join(' ')
}

/** Between its deadline and its decision a row may wait only while the event loop does not run. */
function lateness({ facts }: LoggedDecision, deadlineMs: number, gaps: readonly Gap[]): number {
  // The record's clock begins at the fold; the request was there when it began to be validated.
  const dueMs = facts.receivedAtMs - facts.stages.validateUs / 1000 + deadlineMs
  const stopped = gaps.map(({ fromMs, toMs }) => Math.min(toMs, facts.decidedAtMs) - Math.max(fromMs, dueMs))
  return facts.decidedAtMs - dueMs - stopped.reduce((sum, ms) => sum + Math.max(0, ms), 0)
}

/** Watches the event loop: how late a 1 ms timer of this thread comes, kept where that is more than a millisecond. */
export function watchGaps(): { readonly gaps: Gap[]; stop(): void } {
  const gaps: Gap[] = []
  let dueMs = Date.now() + 1
  let ranMs = readRanMs()
  const timer = setInterval(() => {
    const toMs = Date.now()
    if (toMs - dueMs > 1) {
      const nowMs = readRanMs()
      gaps.push({ fromMs: dueMs, toMs, ranMs: Math.min(toMs - dueMs, nowMs - ranMs) })
      ranMs = nowMs
    }
    dueMs = toMs + 1
  }, 1)
  return { gaps, stop: () => clearInterval(timer) }
}

/** Milliseconds that this thread has been on a core, where the system says so; else the time that has gone by. */
function readRanMs(): number {
  try {
    return Number(readFileSync('/proc/thread-self/schedstat', 'latin1').split(' ')[0]) / 1e6
  } catch {
    return performance.now()
  }
}
