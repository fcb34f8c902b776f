// Rows of features under the route's name: each goes through routing, breaker, fallback and decision as a transaction
// does, and is logged as a decision without a fold. A row with a transaction_id is decided once while it is held here:
// again with the same features and entity it gets the same decision, with others it is refused.
// Held in memory, by count and by the window of the policy; a start begins with none.
import { createHash, randomUUID } from 'node:crypto'
import type { Rows } from '../../contract/inference-rows.js'
import { type Action, decisionId } from '../../contract/decision.js'
import type { Policy } from '../../contract/policy.js'
import { isRejection, problemCode } from '../../contract/problem.js'
import type { DecisionFacts } from '../../contract/record-types.js'
import type { DecisionLog } from '../../decision-log/port.js'
import { type Rejection, reject } from '../../errors.js'
import type { Limits } from '../../limits.js'
import type { Clock } from '../../runtime/clock.js'
import type { Exchange } from '../exchange.js'
import type { IdIndex } from '../id-index.js'
import type { Identity } from '../identity.js'
import type { FeatureRow } from '../row.js'
import type { Serving } from '../serving.js'

export interface RoutedDeps {
  readonly policy: Policy
  readonly limits: Limits
  readonly clock: Clock
  readonly log: DecisionLog
  readonly index: IdIndex
  readonly identity: Identity
  readonly serving: () => Serving
  readonly submitRow: (row: FeatureRow, exchange: Exchange) => void
}

/** What was decided of a row. */
export interface RowDecision {
  readonly decisionId: string
  readonly action: Action
  /** name@version of the model that answered. */
  readonly model: string
  readonly degraded: boolean
  readonly score: number
}

export interface RowsAsked {
  readonly rows: Rows
  readonly transactionIds: readonly (string | null)[]
  readonly entities: readonly (string | null)[]
  readonly exchange: Pick<Exchange, 'deadlineMs' | 'traceparent' | 'begunAtMs' | 'receivedAtMs'>
  /** Called once: the decisions in the order of the rows, or what the first row that has none was refused with. */
  readonly onDone: (outcome: readonly RowDecision[] | Rejection) => void
}

type OnRow = (outcome: RowDecision | Rejection) => void

/** A row under way, or decided. */
interface Held {
  readonly content: string
  readonly sinceMs: number
  decision: RowDecision | null
  /** Of its record; -1 where it has none. */
  sequence: number
  /** Whoever sent it first was told something. */
  isSettled: boolean
  readonly waiting: OnRow[]
}

/** ISO 4217: no currency is involved. */
const NO_CURRENCY = 'XXX'

export function createRouted(deps: RoutedDeps): { ask(asked: RowsAsked): void } {
  const { policy, limits, clock, log, index, identity } = deps
  /** By transaction_id, the oldest first. */
  const held = new Map<string, Held>()

  function find(transactionId: string): Held | null {
    const found = held.get(transactionId)
    if (found === undefined) return null
    if (clock.monoMs() - found.sinceMs <= policy.idempotency.window_ms) return found
    held.delete(transactionId)
    return null
  }

  /** Why one of the rows cannot be decided under its id; null where each can. Nothing was done then. */
  function refusal(ids: readonly (string | null)[], contents: readonly string[]): Rejection | null {
    const seen = new Map<string, string>()
    for (const [row, id] of ids.entries()) {
      if (id === null) continue
      const before = seen.get(id) ?? find(id)?.content ?? contents[row]
      seen.set(id, contents[row])
      identity.ofId(id)
      if (before === contents[row] && index.find(identity.hashes[0], identity.hashes[1]) < 0) continue
      const message = `row ${row}: a transaction_id names one transaction with one content`
      return reject('ASSAY_TRANSACTION_REUSED', message, [{ path: '/parameters/transaction_id', message }])
    }
    return null
  }

  /** A row whose id is held: its decision once that is durable, as whoever sent it first. */
  function repeat(known: Held, onRow: OnRow): void {
    const { isSettled, decision, sequence, waiting } = known
    if (!isSettled || decision === null) {
      if (waiting.length < limits.duplicatesWaitingMax) waiting.push(onRow)
      else onRow(reject('ASSAY_DUPLICATES_WAITING', `at most ${limits.duplicatesWaitingMax} repeats wait; retry`))
    } else if (sequence <= log.durableSequence()) onRow(decision)
    else onRow(reject('ASSAY_DECISION_UNCONFIRMED', 'its record is not durable yet; retry with the same id'))
  }

  function hold(transactionId: string, content: string): Held {
    const [oldest] = held.keys()
    if (held.size >= limits.rowIdsMax && oldest !== undefined) held.delete(oldest)
    const made = { content, sinceMs: clock.monoMs(), decision: null, sequence: -1, isSettled: false, waiting: [] }
    held.set(transactionId, made)
    return made
  }

  function submit(row: Omit<FeatureRow, 'onDecided'>, asked: RowsAsked, known: Held | null, onRow: OnRow): void {
    let decision: RowDecision | null = null
    const settle = (outcome: RowDecision | Rejection): void => {
      // What was not decided is forgotten; what was stands, also where nobody could be told in time.
      if (known !== null) known.isSettled = true
      if (known !== null && decision === null) held.delete(row.transaction.transactionId)
      onRow(outcome)
      for (const waiting of known?.waiting.splice(0) ?? []) waiting(outcome)
    }
    const onDecided = (facts: DecisionFacts, sequence: number): void => {
      decision = decisionOf(facts, log.logId)
      if (known !== null) Object.assign(known, { decision, sequence })
    }
    deps.submitRow(
      { ...row, onDecided },
      rowExchange(asked.exchange, (status, body) => {
        settle(status === 200 && decision !== null ? decision : rejectionOf(body))
      }),
    )
  }

  return {
    ask(asked) {
      const { rows, transactionIds, entities, onDone } = asked
      const { stickyField } = deps.serving()
      const ofRow = (row: number) => rows.values.subarray(row * rows.columns, (row + 1) * rows.columns)
      const contents = transactionIds.map((id, row) => (id === null ? '' : contentOf(ofRow(row), entities[row])))
      const refused = refusal(transactionIds, contents)
      if (refused !== null) return onDone(refused)
      const outcomes = new Array<RowDecision | Rejection | null>(rows.count).fill(null)
      let missing = rows.count
      for (const [row, id] of transactionIds.entries()) {
        const onRow: OnRow = (outcome) => {
          outcomes[row] = outcome
          if (--missing === 0) onDone(joined(outcomes))
        }
        const known = id === null ? null : find(id)
        if (known !== null) repeat(known, onRow)
        else {
          const entity = entities[row]
          const transaction = transactionOf(id ?? randomUUID(), clock.nowMs(), fieldsOf(policy, stickyField, entity))
          const made = id === null ? null : hold(id, contents[row])
          submit({ transaction, values: ofRow(row), entity }, asked, made, onRow)
        }
      }
    },
  }
}

function contentOf(values: Float64Array, entity: string | null): string {
  const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength)
  return createHash('sha256').update(bytes).update(JSON.stringify(entity)).digest('base64')
}

function fieldsOf({ schema }: Policy, stickyField: number, entity: string | null): (string | null)[] {
  return schema.fields.map((_, at) => (at === stickyField ? entity : null))
}

/** What there is of a transaction. Its amount is none: no rule and no figure asks for it. */
function transactionOf(
  transactionId: string,
  occurredAtMs: number,
  fields: (string | null)[],
): FeatureRow['transaction'] {
  const amount = { amountMinor: 0, currency: NO_CURRENCY, amountBaseMinor: NaN }
  return { transactionId, occurredAtMs, offsetMinutes: 0, ...amount, fields }
}

function decisionOf(facts: DecisionFacts, logId: Buffer): RowDecision {
  const { model, action, score, degraded, epoch, ordinal } = facts
  if (model === null || action === null || score === null) throw new Error('a decided row has no decision')
  const id = decisionId(logId, epoch, ordinal, true)
  return { decisionId: id, action, model: `${model.name}@${model.version}`, degraded, score }
}

function rowExchange(exchange: RowsAsked['exchange'], settle: (status: number, body: string) => void): Exchange {
  const { deadlineMs, traceparent, begunAtMs, receivedAtMs } = exchange
  return {
    ...{ mode: 'decide', deadlineMs, traceparent, begunAtMs, receivedAtMs, source: null, decidedElsewhere: null },
    ...{ stale: false, serverTiming: null },
    answer: settle,
  }
}

function rejectionOf(body: string): Rejection {
  const problem: unknown = JSON.parse(body)
  const detail = typeof problem === 'object' && problem !== null && 'detail' in problem ? String(problem.detail) : ''
  return reject(problemCode(problem), detail)
}

function joined(outcomes: readonly (RowDecision | Rejection | null)[]): readonly RowDecision[] | Rejection {
  const decisions: RowDecision[] = []
  for (const outcome of outcomes) {
    if (outcome === null) throw new Error('a row has no outcome')
    if (isRejection(outcome)) return outcome
    decisions.push(outcome)
  }
  return decisions
}
