// What is counted of state that servers share: requests to it, failures, decisions made without it.
// Invariant: label sets are the two closed lists below, and a server whose state is its own shows no sample of any.
import type { Exposed, Sample } from './exposition.js'
import { DURATION_BOUNDS_S, Histogram } from './histogram.js'

/** What is asked: fold a transaction under its claim, commit its decision, fold a label, read or change the routes. */
export const STATE_OPS = ['fold', 'commit', 'label', 'routes'] as const
export type StateOp = (typeof STATE_OPS)[number]

/** Why there was no answer: not in time, no connection or a refusal, or nothing asked because the breaker is open. */
export const STATE_FAILURES = ['timeout', 'unavailable', 'open'] as const
export type StateFailure = (typeof STATE_FAILURES)[number]

export interface StateMetrics {
  /** Whether the Redis answers. Where it is never said, state is not shared, and nothing below is shown. */
  up(isUp: boolean): void
  /** A request was answered after so many microseconds. */
  request(op: StateOp, microseconds: number): void
  failed(reason: StateFailure): void
  /** A decision was made with features from the windows of this server alone. */
  decidedLocally(): void
  /** So many records wait to be written back. */
  behind(records: number): void
  /** A decision does not stand: another server has decided the transaction. */
  superseded(): void
}

/** The counters with what a scrape shows of them; `reset` forgets counts, not what holds now. */
export function createStateMetrics(): { state: StateMetrics; exposed: Exposed[]; reset(): void } {
  const requests = STATE_OPS.map(() => new Histogram())
  const failures = new Float64Array(STATE_FAILURES.length)
  const counts = { up: false, isShared: false, behind: 0, local: 0, superseded: 0 }
  const whereShared = <Shown>(shown: readonly Shown[]): readonly Shown[] => (counts.isShared ? shown : [])
  const single = (kind: 'gauge' | 'counter', name: string, help: string, value: () => number): Exposed => {
    return { kind, name, help, labels: [], read: () => whereShared<Sample>([{ labels: {}, value: value() }]) }
  }
  return {
    state: {
      up(isUp) {
        counts.isShared = true
        counts.up = isUp
      },
      request: (op, microseconds) => requests[STATE_OPS.indexOf(op)].record(microseconds),
      failed(reason) {
        failures[STATE_FAILURES.indexOf(reason)] += 1
      },
      decidedLocally() {
        counts.local += 1
      },
      behind(records) {
        counts.behind = records
      },
      superseded() {
        counts.superseded += 1
      },
    },
    exposed: [
      single('gauge', 'assay_state_up', '1 while the Redis with the shared state answers', () => Number(counts.up)),
      {
        ...{ kind: 'histogram', bounds: DURATION_BOUNDS_S, unitsPerBound: 1e6, labels: ['op'] },
        ...{ name: 'assay_state_request_seconds', help: 'From a request to the shared state to its answer' },
        parts: () => whereShared(STATE_OPS.map((op, index) => ({ labels: { op }, counted: requests[index] }))),
      },
      {
        ...{ kind: 'counter', name: 'assay_state_failures_total', labels: ['reason'] },
        help: 'Requests to the shared state that got no answer in time, by reason',
        read: () =>
          whereShared(STATE_FAILURES.map((reason, index) => ({ labels: { reason }, value: failures[index] }))),
      },
      single(
        'counter',
        'assay_decisions_local_total',
        'Decisions with features from the windows of this server alone',
        () => counts.local,
      ),
      single(
        'gauge',
        'assay_state_behind_records',
        'Records that wait to be written back to the shared state',
        () => counts.behind,
      ),
      single(
        'counter',
        'assay_state_superseded_total',
        'Decisions that do not stand: another server has decided the transaction',
        () => counts.superseded,
      ),
    ],
    reset() {
      for (const histogram of requests) histogram.reset()
      failures.fill(0)
      counts.local = 0
      counts.superseded = 0
    },
  }
}
