// What clients were told of transactions that they sent again and again while the log stalled, judged against the log
// and the counters. Pure, so that the judgement itself is tested with evidence that is wrong. A finding is one line.
// The first attempt that the server did not refuse is the one that folds; all that follow must repeat its decision.
import type { Policy } from '../../src/contract/policy.js'
import type { ReplyRecord } from '../../src/contract/record-types.js'
import { LIMITS } from '../../src/limits.js'
import { NaiveState } from '../features/naive.js'
import type { LoggedDecision } from './server-rig.js'

/** One answer to one sending of a transaction. */
export interface Attempt {
  readonly status: number
  /** The code of a refusal; null where it was decided. */
  readonly code: string | null
  readonly replayed: boolean
  /** synced, pending or none; null where it was refused. */
  readonly logged: string | null
  /** The decision without `logged`, as text: what must be the same in every repeat. */
  readonly decision: string
  readonly decisionId: string | null
}

export interface Evidence {
  readonly policy: Policy
  /** transaction_id → answers in the order of the sendings. */
  readonly attempts: ReadonlyMap<string, readonly Attempt[]>
  /** Logged and folded, in the order of the log. */
  readonly decisions: readonly (LoggedDecision & { readonly decisionId: string })[]
  /** Looks at the final state (`evaluate`), one for each customer, after the last fold. */
  readonly looks: readonly LoggedDecision[]
  readonly replies: readonly ReplyRecord['entries'][number][]
  /** Counters since the first request: rejected by code, records pending, records lost. */
  readonly counted: { readonly rejected: ReadonlyMap<string, number>; readonly pending: number; readonly lost: number }
}

/** Nothing was folded: the next attempt is a first one again. */
const REFUSED = new Set(['ASSAY_LOG_UNAVAILABLE', 'ASSAY_OVERLOADED'])
const FLOAT32_STEP = 2 ** -23

/** Every finding; none where each promise was kept. */
export function judge(evidence: Evidence): string[] {
  return [...attemptFindings(evidence), ...counterFindings(evidence), ...stateFindings(evidence)]
}

/** The attempt that folded, or none where each was refused or answered from the windows as they are. */
export function foldingAttempt(attempts: readonly Attempt[]): number {
  return attempts.findIndex(({ code, logged }) => logged !== 'none' && (code === null || !REFUSED.has(code)))
}

function attemptFindings({ attempts, decisions }: Evidence): string[] {
  const findings: string[] = []
  const records = new Map<string, Evidence['decisions'][number]>()
  for (const decision of decisions) {
    const { transactionId } = decision.personal.transaction
    if (records.has(transactionId)) findings.push(`${transactionId}: twice in the log`)
    if (!attempts.has(transactionId)) findings.push(`${transactionId}: in the log, never sent`)
    records.set(transactionId, decision)
  }
  for (const [id, all] of attempts) {
    const folding = foldingAttempt(all)
    const record = records.get(id)
    if (record === undefined) findings.push(`${id}: not in the log`)
    all.forEach((attempt, at) =>
      findings.push(...attemptFinding(attempt, at - folding, record).map((w) => `${id}: ${w}`)),
    )
    const texts = new Set(all.slice(folding).flatMap(({ code, decision }) => (code === null ? [decision] : [])))
    if (texts.size !== 1) findings.push(`${id}: ${texts.size} different decisions`)
  }
  return findings
}

/** `after` is how many attempts after the folding one; negative before it. */
function attemptFinding(
  { status, code, replayed, logged, decisionId }: Attempt,
  after: number,
  record: Evidence['decisions'][number] | undefined,
): string[] {
  const findings: string[] = []
  if (replayed !== (after > 0 && code === null)) findings.push(`attempt ${after}: replayed ${replayed}`)
  if (code !== null) {
    const allowed = after > 0 ? 'ASSAY_DUPLICATES_WAITING ASSAY_DECISION_UNCONFIRMED' : 'ASSAY_DECISION_UNCONFIRMED'
    if (after >= 0 && !allowed.includes(code)) findings.push(`attempt ${after}: ${code}`)
    if (status !== (code === 'ASSAY_DUPLICATES_WAITING' ? 409 : 503)) findings.push(`${code} with ${status}`)
  } else if (status !== 200) findings.push(`status ${status}`)
  else if (after >= 0 && decisionId !== record?.decisionId)
    findings.push(`told ${decisionId}, logged ${record?.decisionId}`)
  else if (after < 0 && decisionId === record?.decisionId)
    findings.push(`${logged} told of ${decisionId}, which is logged`)
  return findings
}

function counterFindings({ policy, attempts, decisions, replies, counted }: Evidence): string[] {
  const findings: string[] = []
  const rejected = new Map<string, number>()
  const told = new Map<string, string>()
  let lost = 0
  for (const [id, all] of attempts) {
    for (const { code, logged } of all) {
      if (code !== null) rejected.set(code, (rejected.get(code) ?? 0) + 1)
      if (logged === 'none') lost += 1
    }
    const folding = all[foldingAttempt(all)]
    if (folding?.logged === 'pending') told.set(id, 'pending')
    if (folding?.code === 'ASSAY_DECISION_UNCONFIRMED') told.set(id, 'unconfirmed')
  }
  const differ = (what: string, were: number, are: number): void => {
    if (were !== are) findings.push(`${what}: ${were} times told, ${are} times counted`)
  }
  for (const code of new Set([...rejected.keys(), ...counted.rejected.keys()]))
    differ(code, rejected.get(code) ?? 0, counted.rejected.get(code) ?? 0)
  differ('pending', [...told.values()].filter((how) => how === 'pending').length, counted.pending)
  differ('lost', lost, counted.lost)
  if (policy.on_log_unavailable === 'reject' && counted.pending + counted.lost > 0) findings.push('served all the same')
  const expected = decisions.flatMap(({ facts, personal }) => {
    const how = told.get(personal.transaction.transactionId)
    return how === undefined ? [] : [`${facts.ordinal} ${how}`]
  })
  const named = replies.map((entry) => `${entry.ordinal} ${entry.told}`)
  if (named.sort().join() !== expected.sort().join())
    findings.push(`reply records name ${named.length} answers, clients were told ${expected.length}, or others`)
  return findings
}

/** One naive pass over what the log holds, each once, in the order of ordinals, then a look at every customer. */
function stateFindings({ policy, decisions, looks }: Evidence): string[] {
  const naive = new NaiveState(policy.catalogue, policy.schema, LIMITS, 100)
  const findings: string[] = []
  const plain = new Map<string, { count: number; minor: number }>()
  const customerAt = policy.schema.fields.findIndex(({ name }) => name === 'customer_id')
  for (const decision of [...decisions].sort((a, b) => a.facts.ordinal - b.facts.ordinal)) {
    const { transaction, vector } = decision.personal
    const wanted = naive.fold(transaction, decision.facts.foldedAtMs).vector
    for (const name of differing(policy, wanted, vector)) findings.push(`${transaction.transactionId}: ${name} differs`)
    const customer = String(transaction.fields[customerAt])
    const sum = plain.get(customer) ?? { count: 0, minor: 0 }
    plain.set(customer, { count: sum.count + 1, minor: sum.minor + transaction.amountMinor })
  }
  for (const { facts, personal } of looks) {
    const { transaction, vector } = personal
    const frontier = Math.max(naive.frontier, Math.min(transaction.occurredAtMs, facts.foldedAtMs))
    const wanted = naive.evaluate(transaction, frontier).vector
    const customer = String(transaction.fields[customerAt])
    for (const name of differing(policy, wanted, vector)) findings.push(`the final state of ${customer}: ${name}`)
    // Without any window at all: every transaction lies within the longest one.
    const { count, minor } = plain.get(customer) ?? { count: 0, minor: 0 }
    const own = [
      ['customer_count_30d', count + 1],
      ['customer_sum_30d', (minor + transaction.amountMinor) / 100],
    ] as const
    for (const [name, value] of own) {
      const at = policy.catalogue.features.findIndex((spec) => spec.name === name)
      if (!isNear(value, floatAt(vector, at)))
        findings.push(`${customer}: ${name} is ${floatAt(vector, at)}, not ${value}`)
    }
  }
  return findings
}

/** Names of the features whose logged float32 is further than one step from the naive value. */
function differing(policy: Policy, wanted: readonly number[], logged: Uint8Array): string[] {
  if (logged.length !== 4 * wanted.length) return [`a vector of ${logged.length} bytes`]
  return policy.catalogue.features.filter((_, at) => !isNear(wanted[at], floatAt(logged, at))).map(({ name }) => name)
}

function floatAt(vector: Uint8Array, at: number): number {
  return Buffer.from(vector.buffer, vector.byteOffset, vector.byteLength).readFloatLE(4 * at)
}

function isNear(wanted: number, found: number): boolean {
  if (Number.isNaN(wanted) || Number.isNaN(found)) return Number.isNaN(wanted) === Number.isNaN(found)
  return Math.abs(wanted - found) <= FLOAT32_STEP * Math.abs(wanted)
}
