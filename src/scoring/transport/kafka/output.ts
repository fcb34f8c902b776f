// What this server knows of an output partition: how far it reaches, and which decisions on it are still to be taken
// over. The first decision of a transaction on its output partition is the decision.
// Invariant: between two sends of this server its `end` is where the next one lands, unless somebody else has written;
// then what was written in between is read before anything is committed.
/** A decision as it stands on the output. */
export interface Standing {
  readonly decisionId: string
  /** The JSON of the answer. */
  readonly body: string
}

export interface Output {
  /** Assignment under which it was read; what another member wrote since an earlier one is not known. */
  generation: number
  /** Offset after the last message known. */
  end: number
  /** Standing decisions by transaction, of those at and after the committed position. */
  readonly standing: Map<string, Standing>
  /** Decisions of this server that were logged as superseded since the last commit. */
  readonly superseded: Set<string>
}

export function newOutput(): Output {
  return { generation: -1, end: 0, standing: new Map(), superseded: new Set() }
}

/** Keeps what the output holds, where it is a decision and the first of its transaction. */
export function keepStanding(into: Map<string, Standing>, body: string): void {
  const named = namesOf(body)
  if (named !== null && !into.has(named.transactionId)) {
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

/** A position of the output as it is committed beside one of the input. */
export function positionText(end: number): string {
  return `output=${end}`
}

/** The position that a commit carries; 0 where it carries none. */
export function readPosition(metadata: string): number {
  const found = /^output=(\d{1,15})$/.exec(metadata)
  return found === null ? 0 : Number(found[1])
}
