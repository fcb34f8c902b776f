// Many transactions in one request: each is a row of its own in the pipeline, with its own status.
// Invariant: answers stand in the order of the rows; the request is answered when the last row is. It refuses more rows
// than `batchRowsMax`, and a batch whose rows the gate would not take together.
import assert from 'node:assert'
import { type Rejection, reject } from '../../../errors.js'
import type { Limits } from '../../../limits.js'
import type { Exchange, Scoring } from '../../exchange.js'
import { historySource } from '../../history/source.js'
import type { HttpExchange } from './http-exchange.js'

/** Hands the rows of `{"transactions":[…]}` to the pipeline, or rejects the whole. */
export function submitBatch(value: unknown, exchange: HttpExchange, deps: { scoring: Scoring; limits: Limits }): void {
  const rows = readRows(value, deps.limits.batchRowsMax)
  if (!Array.isArray(rows)) return exchange.reject(rows)
  const refused = deps.scoring.gate(rows.length)
  if (refused !== null) return exchange.reject(reject(refused, `no room for ${rows.length} transactions`))
  const answers: string[] = new Array<string>(rows.length)
  let missing = rows.length
  const settle = (at: number, text: string) => {
    assert(answers[at] === undefined, 'a row is answered once')
    answers[at] = text
    missing -= 1
    if (missing === 0) exchange.answer(200, `[${answers.join(',')}]`, false, 0)
  }
  rows.forEach((row, at) =>
    deps.scoring.submitValue(
      row,
      rowExchange(exchange, at, (text) => settle(at, text)),
    ),
  )
}

function rowExchange(exchange: HttpExchange, at: number, settle: (text: string) => void): Exchange {
  const { history } = exchange
  return {
    mode: exchange.mode,
    deadlineMs: exchange.deadlineMs,
    traceparent: exchange.traceparent,
    begunAtMs: exchange.begunAtMs,
    receivedAtMs: exchange.receivedAtMs,
    source: history === null ? null : historySource(history.source, history.offset + at),
    decidedElsewhere: null,
    stale: false,
    serverTiming: null,
    answer(status, body, replayed, retryAfterS) {
      const flags = (replayed ? ',"replayed":true' : '') + (retryAfterS > 0 ? `,"retry_after_s":${retryAfterS}` : '')
      settle(`{"status":${status}${flags},"body":${body}}`)
    },
  }
}

function readRows(value: unknown, rowsMax: number): unknown[] | Rejection {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return invalid('', 'must be an object')
  const unknown = Object.keys(value).filter((name) => name !== 'transactions')
  if (unknown.length > 0) return invalid('', 'takes "transactions" and nothing else')
  const given: unknown = 'transactions' in value ? value.transactions : undefined
  if (!Array.isArray(given)) return invalid('/transactions', 'must be an array')
  const rows: unknown[] = given
  if (rows.length === 0) return invalid('/transactions', 'must hold at least one transaction')
  if (rows.length > rowsMax) return invalid('/transactions', `must hold at most ${rowsMax} transactions`)
  return rows
}

function invalid(path: string, message: string): Rejection {
  return reject('ASSAY_SCHEMA_INVALID', `the batch ${message}`, [{ path, message }])
}
