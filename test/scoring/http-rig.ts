// A score listener over a pipeline made for the tests: real validation, answers given at once, later, or when told to.
import { parseJson } from '../../src/contract/json.js'
import { isRejection, problemStatus, renderProblem } from '../../src/contract/problem.js'
import { compileTransaction } from '../../src/contract/validate.js'
import type { TransactionPolicy } from '../../src/contract/validate-bytes.js'
import type { Rejection } from '../../src/errors.js'
import { type Limits, TINY } from '../../src/limits.js'
import { systemClock } from '../../src/runtime/clock.js'
import type { Exchange, Scoring } from '../../src/scoring/exchange.js'
import { type Binding, loadBinding } from '../../src/scoring/transport/http/binding.js'
import type { Admit } from '../../src/scoring/transport/http/auth.js'
import type { Listener } from '../../src/scoring/transport/http/listener.js'
import { createScoreListener } from '../../src/scoring/transport/http/score-listener.js'
import { referencePolicy } from '../reference-policy.js'

const POLICY: TransactionPolicy = referencePolicy()

export const binding: Binding = loadBinding()

export interface Rig {
  readonly listener: Listener
  readonly port: number
  /** Transactions that reached the pipeline and were valid. */
  readonly accepted: { transactionId: string; exchange: Exchange }[]
  /** Codes counted. */
  readonly rejected: string[]
  readonly faults: unknown[]
  /** What the gate says. */
  gate: ReturnType<Scoring['gate']>
  /** How the pipeline answers: in the call, a turn later, or when `release` is called. */
  timing: 'now' | 'later' | 'held'
  /** Throws inside the pipeline. */
  throws: boolean
  /** Rows refused by the pipeline itself. */
  refuse: Rejection | null
  release(): void
}

export const sample = (id: string, more: object = {}): string =>
  JSON.stringify({
    transaction_id: id,
    occurred_at: 1_795_341_600_000,
    amount_minor: 16364,
    currency: 'EUR',
    customer_id: '852',
    terminal_id: '5161',
    ...more,
  })

export async function openRig(
  options: { limits?: Partial<Limits>; admit?: Admit; port?: number; shared?: boolean } = {},
): Promise<Rig> {
  const limits = { ...TINY, ...options.limits }
  const validator = compileTransaction({ ...POLICY, clock: 'replay' }, limits)
  const held: (() => void)[] = []
  const answered = new Map<string, string>()

  const settle = (exchange: Exchange, status: number, body: string, replayed = false) => {
    const answer = () => exchange.answer(status, body, replayed, status === 503 ? 1 : 0)
    if (rig.timing === 'now') answer()
    else if (rig.timing === 'later') setImmediate(answer)
    else held.push(answer)
  }
  const take = (result: ReturnType<typeof validator.check>, exchange: Exchange) => {
    if (rig.throws) throw new Error('a bug')
    const rejection = isRejection(result) ? result : rig.refuse
    if (rejection !== null) return settle(exchange, problemStatus(rejection), renderProblem(rejection))
    if (isRejection(result)) return
    rig.accepted.push({ transactionId: result.transactionId, exchange })
    const first = answered.get(result.transactionId)
    const body = JSON.stringify({ decision_id: `d_${result.transactionId}`, transaction_id: result.transactionId })
    answered.set(result.transactionId, body)
    settle(exchange, exchange.mode === 'observe' ? 202 : 200, first ?? body, first !== undefined)
  }
  const scoring: Scoring = {
    gate: () => rig.gate,
    submit: (bytes, exchange) => take(validator.parse(bytes, 0), exchange),
    submitValue: (value, exchange) => take(validator.check(value, 0), exchange),
    submitLabels: (value, exchange) => settle(exchange, 202, JSON.stringify({ labels: [value].flat().length })),
    inference: () => null,
    infer: (_asked, exchange) => exchange.answerInference({ body: '{}', jsonBytes: null }),
    findDecision: (by) =>
      answered.get('transactionId' in by ? by.transactionId : by.decisionId.replace(/^d_/, '')) ?? null,
  }
  const rig: Omit<Rig, 'listener' | 'port'> = {
    accepted: [],
    rejected: [],
    faults: [],
    gate: null,
    timing: 'now',
    throws: false,
    refuse: null,
    release: () => held.splice(0).forEach((answer) => answer()),
  }
  const listener = await createScoreListener(
    {
      uws: binding.uws,
      limits,
      clock: systemClock,
      scoring,
      parseJson: (bytes) => parseJson(bytes, limits),
      parseAvro: () => ({ value: JSON.parse(sample('from-avro')) }),
      openApi: '{"openapi":"3.1.0"}',
      version: '0',
      deadlineMs: () => 8,
      admit: options.admit ?? null,
      onRejected: (code) => rig.rejected.push(code),
      onFault: (error) => rig.faults.push(error),
    },
    { host: '127.0.0.1', port: options.port ?? 0, shared: options.shared ?? false },
  )
  return Object.assign(rig, { listener, port: listener.port })
}
