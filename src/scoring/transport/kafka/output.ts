// What this server knows of an output partition: how far it reaches, and which decisions on it are still to be taken
// over. The first decision of a transaction on its output partition is the decision.
// Invariant: between two sends of this server its `end` is where the next one lands, unless somebody else has written;
// then what was written in between is read before anything is committed.
import { parseDecisionId } from '../../../contract/decision.js'

/** A decision as it stands on the output. */
export interface Standing {
  readonly decisionId: string
  /** The JSON of the answer. */
  readonly body: string
}

export interface Output {
  /** Assignment under which it was read; what another member wrote since an earlier one is not known. */
  generation: number
  /** The group's position in the input when it was read: what is before it is done. */
  begin: number
  /** The group's position now. */
  next: number
  /** What the brokers last said of the input; null where they know no ids. */
  topicId: string | null
  /** What stands before it in the input is history, which is only observed. */
  observeUntil: number
  /** Where the last dead letter of this server lies, in words; null where there is none. */
  newestLetter: string | null
  /** Offset after the last message known. */
  end: number
  /** Standing decisions by transaction, of those at and after the committed position. */
  readonly standing: Map<string, Standing>
  /** Decisions of this server that were logged as superseded since the last commit. */
  readonly superseded: Set<string>
}

export function newOutput(topicId: string | null): Output {
  return {
    generation: -1,
    begin: 0,
    next: 0,
    topicId,
    observeUntil: 0,
    newestLetter: null,
    end: 0,
    standing: new Map(),
    superseded: new Set(),
  }
}

/** Keeps what the output holds, where it is a decision and the first of its transaction; an evaluation is none. */
export function keepStanding(into: Map<string, Standing>, body: string): void {
  const named = namesOf(body)
  if (named === null || (parseDecisionId(named.decisionId)?.unfolded ?? true)) return
  if (!into.has(named.transactionId)) {
    into.set(named.transactionId, { decisionId: named.decisionId, body })
  }
}

/** Whose decision an answer is; null where it is none. */
export function namesOf(body: string): { decisionId: string; transactionId: string } | null {
  const answer = parse(body)
  if (typeof answer !== 'object' || answer === null) return null
  if (!('decision_id' in answer) || !('transaction_id' in answer)) return null
  const { decision_id: decisionId, transaction_id: transactionId } = answer
  return typeof decisionId === 'string' && typeof transactionId === 'string' ? { decisionId, transactionId } : null
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return null
  }
}

/** What is committed beside a position of the input: one of the output, and how far history reaches. */
export function positionText({ end, observeUntil }: Pick<Output, 'end' | 'observeUntil'>): string {
  return observeUntil === 0 ? `output=${end}` : `output=${end} observe=${observeUntil}`
}

/** What a commit carries; zeros where it carries nothing. */
export function readPosition(metadata: string): { end: number; observeUntil: number } {
  const found = /^output=(\d{1,15})(?: observe=(\d{1,15}))?$/.exec(metadata)
  return { end: Number(found?.[1] ?? 0), observeUntil: Number(found?.[2] ?? 0) }
}
