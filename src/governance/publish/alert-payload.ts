// Alert rows in the two formats that receivers of Prometheus alerts understand: what Alertmanager sends to a webhook
// (version 4), and what it takes itself (POST /api/v2/alerts). Pure.
import type { DerivedRow } from '../port.js'

export type AlertFormat = 'webhook' | 'v2'

/** One alert as it stands; what its newest row says. */
export interface Notice {
  readonly id: string
  readonly group: string
  readonly status: 'firing' | 'resolved'
  readonly labels: Readonly<Record<string, string>>
  readonly summary: string
  readonly openedAtMs: number
  readonly resolvedAtMs: number | null
}

/** The notice of a row of `alerts`; null for other rows, and for alerts that nobody is to be told of. */
export function noticeOf({ table, row }: DerivedRow): Notice | null {
  if (table !== 'alerts' || row.silenced_by !== null) return null
  const { alert_id: id, alert_group: group, kind, level, labels, summary } = row
  const { opened_at_ms: opened, resolved_at_ms: resolved } = row
  const own: unknown = JSON.parse(String(labels))
  return {
    ...{ id: String(id), group: String(group), summary: String(summary), openedAtMs: Number(opened) },
    status: resolved === null ? 'firing' : 'resolved',
    // Prometheus' own word for what an alert is about is `alertname`.
    labels: { alertname: `assay_${String(kind)}`, severity: String(level), ...texts(own), alert_id: String(id) },
    resolvedAtMs: resolved === null ? null : Number(resolved),
  }
}

function texts(value: unknown): Record<string, string> {
  if (typeof value !== 'object' || value === null) return {}
  return Object.fromEntries(Object.entries(value).map(([name, text]) => [name, String(text)]))
}

/** What goes into the body; all notices are of one group. */
export function payloadOf(format: AlertFormat, notices: readonly Notice[], receiver: string): unknown {
  if (format === 'v2') return notices.map(postable)
  const labels = notices.map((notice) => notice.labels)
  const group = notices[0]?.group ?? ''
  return {
    version: '4',
    ...{ groupKey: `{}:{group="${group}"}`, truncatedAlerts: 0, receiver, externalURL: '' },
    status: notices.some(({ status }) => status === 'firing') ? 'firing' : 'resolved',
    groupLabels: { group },
    commonLabels: common(labels),
    commonAnnotations: common(notices.map(({ summary }) => ({ summary }))),
    alerts: notices.map((notice) => ({
      ...{ status: notice.status, fingerprint: fingerprintOf(notice.id) },
      ...postable(notice),
      endsAt: timeOf(notice.resolvedAtMs),
    })),
  }
}

function postable({ labels, summary, openedAtMs, resolvedAtMs }: Notice) {
  return {
    labels,
    annotations: { summary },
    startsAt: timeOf(openedAtMs),
    ...(resolvedAtMs !== null && { endsAt: timeOf(resolvedAtMs) }),
    generatorURL: '',
  }
}

/** Alertmanager's own zero time stands for "not over". */
function timeOf(ms: number | null): string {
  return ms === null ? '0001-01-01T00:00:00Z' : new Date(ms).toISOString()
}

/** 16 hexadecimal digits, as Alertmanager's are. */
function fingerprintOf(id: string): string {
  return id.slice(2, 18)
}

function common(all: readonly Readonly<Record<string, string>>[]): Record<string, string> {
  const [first = {}] = all
  return Object.fromEntries(Object.entries(first).filter(([name, value]) => all.every((one) => one[name] === value)))
}
