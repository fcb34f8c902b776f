// What the clients of the kill test were told, and the judgement of a log against it: pure, so that the judgement
// itself is tested with logs that are wrong. A finding is one line; a log that keeps every promise gives none.
import { foldNaively, type NaiveCatalogue, type NaiveVerdict } from './kill-fold.js'
import { naiveDecisionId, type NaiveLog } from './kill-log.js'

/** The part of an answer that must never change. */
export interface Told {
  readonly decisionId: string
  readonly action: string
  readonly score: number
  readonly decidedAt: string
}

export interface SentLabel {
  readonly transactionId: string
  readonly knownAtMs: number
}

export interface Ledger {
  /** transaction_id → the request's body. */
  readonly sent: Map<string, string>
  /** transaction_id → the first decision that a client got. */
  readonly told: Map<string, Told>
  /** Labels that were answered 202. */
  readonly labels: SentLabel[]
  /** What was wrong already on the wire. */
  readonly findings: string[]
  /** Answers to repeats that were compared with the first. */
  repeats: number
}

/** A ledger in which nothing has happened. */
export function createLedger(): Ledger {
  return { sent: new Map(), told: new Map(), labels: [], findings: [], repeats: 0 }
}

/** Notes an answer with status 200; a repeat must say what the first answer said. */
export function noteAnswer(ledger: Ledger, body: string): void {
  const answer = JSON.parse(body) as Record<string, unknown>
  const id = String(answer['transaction_id'])
  const told: Told = {
    decisionId: String(answer['decision_id']),
    action: String(answer['action']),
    score: Number(answer['score']),
    decidedAt: String(answer['decided_at']),
  }
  const first = ledger.told.get(id)
  if (first === undefined) ledger.told.set(id, told)
  else {
    ledger.repeats += 1
    if (JSON.stringify(first) !== JSON.stringify(told))
      ledger.findings.push(`${id}: first ${first.decisionId}, then ${body}`)
  }
}

export interface Judgement {
  readonly findings: readonly string[]
  readonly verdict: NaiveVerdict
}

/** Every acknowledged decision once, every label once, every vector as the naive fold has it or excused. */
export function judge(ledger: Ledger, log: NaiveLog, catalogue: NaiveCatalogue): Judgement {
  const findings = [...ledger.findings]
  const byId = new Map<string, NaiveLog['decisions'][number][]>()
  for (const decision of log.decisions) {
    if (decision.facts.unfolded) continue
    const { transaction_id: id } = decision.personal
    byId.set(id, [...(byId.get(id) ?? []), decision])
    if (!ledger.sent.has(id)) findings.push(`${id}: in the log, never sent`)
  }
  for (const [id, records] of byId) if (records.length > 1) findings.push(`${id}: ${records.length} times in the log`)
  for (const [id, told] of ledger.told) {
    const record = byId.get(id)?.[0]
    if (record === undefined) findings.push(`${id}: acknowledged as ${told.decisionId}, not in the log`)
    else findings.push(...differences(id, told, record, log.logId))
  }
  findings.push(...labelFindings(ledger, log))
  const verdict = foldNaively(log, catalogue)
  for (const { decisionId, features, excused } of verdict.mismatches) {
    if (!excused) findings.push(`the vector of ${decisionId} differs in ${features.join(', ')}`)
  }
  return { findings, verdict }
}

function differences(id: string, told: Told, record: NaiveLog['decisions'][number], logId: Buffer): string[] {
  const { facts } = record
  const logged: Told = {
    decisionId: naiveDecisionId(logId, facts),
    action: String(facts.action),
    score: Number(facts.score),
    decidedAt: new Date(facts.decided_at_ms).toISOString(),
  }
  const same =
    logged.decisionId === told.decisionId &&
    logged.action === told.action &&
    logged.score === told.score &&
    logged.decidedAt === told.decidedAt
  return same ? [] : [`${id}: told ${JSON.stringify(told)}, logged ${JSON.stringify(logged)}`]
}

function labelFindings(ledger: Ledger, log: NaiveLog): string[] {
  const key = (id: string, knownAtMs: number): string => `${id} ${knownAtMs}`
  const counts = new Map<string, number>()
  for (const label of log.labels) {
    const at = key(label.transaction_id, label.known_at_ms)
    counts.set(at, (counts.get(at) ?? 0) + 1)
  }
  return ledger.labels
    .filter(({ transactionId, knownAtMs }) => counts.get(key(transactionId, knownAtMs)) === undefined)
    .map(({ transactionId }) => `${transactionId}: a label was acknowledged and is not in the log`)
}
