// What is counted of published events, and how it is shown: by kind what went out, what waits, what was missed; faults
// by code.
import type { ErrorCode } from '../../errors.js'
import type { Exposed } from '../../telemetry/exposition.js'
import type { EventKind } from './cloud-events.js'
import type { Feed } from './event-feeds.js'

export interface EventCounts {
  sent(kind: EventKind, events: number): void
  failed(code: ErrorCode): void
  missed(kind: EventKind, rows: number): void
  readonly missedInAll: () => number
  readonly metrics: () => readonly Exposed[]
}

/** `feeds`: those that are read now; `sequence`: how far the store is. */
export function createEventCounts(
  feeds: () => readonly { readonly kind: EventKind; readonly feed: Feed }[],
  sequence: () => number,
): EventCounts {
  const sent = new Map<EventKind, number>()
  const missed = new Map<EventKind, number>()
  const faults = new Map<ErrorCode, number>()
  const ofKinds = (count: (kind: EventKind, feed: Feed) => number) => () =>
    feeds().map(({ kind, feed }) => ({ labels: { kind }, value: count(kind, feed) }))
  return {
    sent: (kind, events) => void sent.set(kind, (sent.get(kind) ?? 0) + events),
    failed: (code) => void faults.set(code, (faults.get(code) ?? 0) + 1),
    missed: (kind, rows) => void missed.set(kind, (missed.get(kind) ?? 0) + rows),
    missedInAll: () => [...missed.values()].reduce((sum, rows) => sum + rows, 0),
    metrics: () => [
      {
        ...{ kind: 'counter', name: 'assay_governance_events_published_total', labels: ['kind'] },
        ...{ help: 'Events that the brokers have acknowledged, repeats too' },
        read: ofKinds((kind) => sent.get(kind) ?? 0),
      },
      {
        ...{ kind: 'gauge', name: 'assay_governance_events_lag_records', labels: ['kind'] },
        help: 'Records of the store, or changes of alerts, that are not published yet',
        read: ofKinds((_, feed) => feed.lag(sequence())),
      },
      {
        ...{ kind: 'counter', name: 'assay_governance_events_missed_total', labels: ['kind'] },
        help: 'Rows that left with retention before they were published',
        read: ofKinds((kind) => missed.get(kind) ?? 0),
      },
      {
        ...{ kind: 'counter', name: 'assay_governance_events_faults_total', labels: ['code'] },
        help: 'What was refused or not answered and is tried again, by error code',
        read: () => [...faults].map(([code, value]) => ({ labels: { code }, value })),
      },
    ],
  }
}
