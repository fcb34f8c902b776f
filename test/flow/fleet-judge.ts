// Whether servers that share their state have answered as one: by what clients were told, what the logs say and what
// the Redis holds. Pure, so that the judgement itself is tested with evidence that is wrong. A finding is one line.
// While the Redis does not answer, two servers may decide one transaction: then one decision stands in the end, and
// the log of whoever made the other says that it is superseded. Where the Redis was not away, one of the two must say
// itself that it was decided without it: a busy machine may keep an answer back for longer than it is waited for.
import { FEATURE_FLAGS } from '../../src/contract/decision.js'
import type { Book, Sent, Told } from './fleet-clients.js'
import { type EntityList, type Field, FIELDS, type LoggedDecision } from './fleet-evidence.js'

export interface Evidence {
  readonly sent: ReadonlyMap<string, Sent>
  readonly told: Book
  /** Told at the end, of each transaction. */
  readonly settled: Book
  /** Of all logs. */
  readonly decisions: readonly LoggedDecision[]
  readonly superseded: ReadonlySet<string>
  readonly lists: readonly EntityList[]
  /** The Redis was away for a while. */
  readonly wasAway: boolean
}

export interface Figures {
  readonly transactions: number
  readonly answers: number
  /** Decisions that servers made, of them without the Redis in time, of them again after their first server died. */
  readonly decisions: number
  readonly local: number
  readonly takenOver: number
  /** Answers of one server that another logged in full. */
  readonly observed: number
  readonly superseded: number
  /** Decisions of servers that died before they told anybody; nothing supersedes them. */
  readonly untold: number
  /** Transactions of which clients were told a decision that does not stand. */
  readonly replaced: number
  /** Entries in all lists. */
  readonly entries: number
}

export interface Verdict {
  readonly findings: readonly string[]
  readonly figures: Figures
}

export function judgeFleet(evidence: Evidence): Verdict {
  const findings = [...listFindings(evidence), ...logFindings(evidence)]
  const own = evidence.decisions.filter(({ isOwn }) => isOwn)
  const flagged = (flag: number): LoggedDecision[] => own.filter(({ flags }) => (flags & flag) !== 0)
  const local = flagged(FEATURE_FLAGS.local)
  const decidedLocally = new Set(local.map(({ transactionId }) => transactionId))
  let replaced = 0
  for (const id of evidence.sent.keys()) {
    const found = answerFindings(id, evidence, evidence.wasAway || decidedLocally.has(id))
    findings.push(...found.findings)
    if (found.isReplaced) replaced++
  }
  const told = toldIds(evidence)
  return {
    findings,
    figures: {
      transactions: evidence.sent.size,
      answers: timesIn(evidence.told) + timesIn(evidence.settled),
      decisions: own.length,
      local: local.length,
      takenOver: flagged(FEATURE_FLAGS.folded).length,
      observed: evidence.decisions.length - own.length,
      superseded: evidence.superseded.size,
      untold: own.filter(({ decisionId }) => !evidence.superseded.has(decisionId) && !told.has(decisionId)).length,
      replaced,
      entries: evidence.lists.reduce((sum, { transactionIds }) => sum + transactionIds.length, 0),
    },
  }
}

/** One decision of each transaction, whoever was asked; `mayDiffer`: or others that are superseded. */
function answerFindings(id: string, { told, settled, superseded }: Evidence, mayDiffer: boolean) {
  const findings: string[] = []
  const [before, after] = [told.get(id) ?? [], settled.get(id) ?? []]
  if (before.length === 0) findings.push(`${id}: never answered`)
  const last = textsOf(after)
  if (last.length !== 1) findings.push(`${id}: ${last.length} decisions in the end`)
  const others = textsOf(before).filter((text) => !last.includes(text))
  const isReplaced = others.length > 0
  if (isReplaced && !mayDiffer) findings.push(`${id}: ${others.length + 1} distinct decisions`)
  for (const text of last) {
    if (superseded.has(idOf(text))) findings.push(`${id}: ${idOf(text)} stands and is superseded`)
  }
  for (const text of mayDiffer ? others : []) {
    if (!superseded.has(idOf(text))) findings.push(`${id}: told ${idOf(text)}, which neither stands nor is superseded`)
  }
  return { findings, isReplaced }
}

/** What was told stands in the log of whoever told it; of a transaction one decision counts that anybody was told. */
function logFindings(evidence: Evidence): string[] {
  const findings: string[] = []
  const { sent, decisions, superseded } = evidence
  const logged = new Map<string, Set<number>>()
  const made = new Map<string, number>()
  const standing = new Map<string, Set<string>>()
  const told = toldIds(evidence)
  for (const { server, transactionId: id, decisionId, text, isOwn } of decisions) {
    logged.set(text, (logged.get(text) ?? new Set()).add(server))
    if (!sent.has(id)) findings.push(`${id}: in the log of ${server}, never sent`)
    if (!isOwn) continue
    made.set(decisionId, (made.get(decisionId) ?? 0) + 1)
    if (told.has(decisionId) && !superseded.has(decisionId)) {
      standing.set(id, (standing.get(id) ?? new Set()).add(decisionId))
    }
  }
  for (const [decisionId, times] of made) if (times > 1) findings.push(`${decisionId}: logged ${times} times`)
  for (const [id, ids] of standing) if (ids.size > 1) findings.push(`${id}: ${ids.size} decisions stand in the logs`)
  for (const book of [evidence.told, evidence.settled]) {
    for (const [id, all] of book) {
      for (const { server, text } of all) {
        if (logged.get(text)?.has(server) !== true) findings.push(`${id}: ${server} told what its log does not hold`)
      }
    }
  }
  return findings
}

/** Every transaction stands in the list of each of its entities, once, and in no other. */
export function listFindings({ sent, lists }: Pick<Evidence, 'sent' | 'lists'>): string[] {
  const findings: string[] = []
  const held = new Map<Field, Set<string>>(FIELDS.map((field) => [field, new Set<string>()]))
  for (const { field, name, transactionIds } of lists) {
    const here = held.get(field) ?? new Set()
    const twice = new Set<string>()
    for (const id of transactionIds) {
      if (sent.get(id)?.[field] !== name) findings.push(`${id}: in the list of ${name}, where it does not belong`)
      if (here.has(id)) twice.add(id)
      here.add(id)
    }
    for (const id of twice) findings.push(`${id}: more than once in the list of ${name}`)
  }
  for (const [id, transaction] of sent) {
    for (const field of FIELDS) {
      const name = transaction[field]
      if (name !== undefined && held.get(field)?.has(id) !== true) findings.push(`${id}: not in the list of ${name}`)
    }
  }
  return findings
}

/** What a fail-over has lost: decisions that clients were told and that do not stand, entries that lists lack. */
export function lostIn({ sent, told, settled, superseded, lists }: Evidence): { decisions: number; entries: number } {
  let decisions = 0
  for (const [id, all] of told) {
    const last = textsOf(settled.get(id) ?? [])
    const others = textsOf(all).filter((text) => !last.includes(text))
    if (others.some((text) => !superseded.has(idOf(text)))) decisions++
  }
  const held = lists.reduce((sum, { transactionIds }) => sum + new Set(transactionIds).size, 0)
  let wanted = 0
  for (const transaction of sent.values()) wanted += FIELDS.filter((field) => transaction[field] !== undefined).length
  return { decisions, entries: wanted - held }
}

function toldIds({ told, settled }: Evidence): Set<string> {
  const ids = new Set<string>()
  for (const book of [told, settled]) for (const all of book.values()) for (const { text } of all) ids.add(idOf(text))
  return ids
}

function textsOf(all: readonly Told[]): string[] {
  return [...new Set(all.map(({ text }) => text))]
}

function timesIn(book: Book): number {
  let times = 0
  for (const all of book.values()) for (const one of all) times += one.times
  return times
}

const DECISION_ID = /"decision_id":"(d_[a-z2-7]{32})"/

function idOf(text: string): string {
  return DECISION_ID.exec(text)?.[1] ?? 'no decision'
}
