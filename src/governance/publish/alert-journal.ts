// Alerts to the logger and to the metrics: a line for each change once it is committed, counts of changes since the
// start, and what is open now. Bounded: a storm of changes is named up to a number, the rest counted in one line.
import type { EventName, Logger } from '../../telemetry/logger.js'
import type { Exposed, Sample } from '../../telemetry/exposition.js'
import { ALERT_KINDS } from '../../contract/silence.js'
import type { Alert, Transition } from '../alert.js'
import type { Publisher } from '../pipeline.js'
import type { DerivedRow } from '../port.js'

export interface AlertJournalDeps {
  readonly logger: Logger
  /** What is open now; nothing while the store cannot be used. */
  readonly open: () => readonly Alert[]
}

export interface AlertJournal extends Publisher {
  metrics(): readonly Exposed[]
}

const EVENT_OF = {
  opened: 'AlertOpened',
  escalated: 'AlertEscalated',
  resolved: 'AlertResolved',
  silenced: 'AlertSilenced',
  unsilenced: 'AlertUnsilenced',
} as const satisfies Record<Transition, EventName>
const EVENTS = new Map<string, EventName>(Object.entries(EVENT_OF))
const LEVELS = ['warning', 'critical'] as const
const STATES = ['firing', 'silenced'] as const
/** Changes of one batch that the logger names; all of them stand in the store. */
const CHANGES_TOLD_MAX = 100

/** Makes the journal of one process. */
export function createAlertJournal({ logger, open }: AlertJournalDeps): AlertJournal {
  const changes = new Map<string, { readonly labels: Sample['labels']; value: number }>()

  function count({ row }: DerivedRow): void {
    const labels = { kind: String(row.kind), level: String(row.level), transition: String(row.transition) }
    const key = Object.values(labels).join(' ')
    const held = changes.get(key)
    if (held === undefined) changes.set(key, { labels, value: 1 })
    else held.value++
  }

  return {
    name: 'journal',
    publish({ alerts }) {
      for (const row of alerts) count(row)
      for (const row of alerts.slice(0, CHANGES_TOLD_MAX)) tell(logger, row)
      if (alerts.length > CHANGES_TOLD_MAX) logger.event('AlertsLeftOut', { more: alerts.length - CHANGES_TOLD_MAX })
    },
    trouble: () => null,
    metrics: () => [
      {
        ...{ kind: 'gauge', name: 'assay_governance_alerts_open', help: 'Alerts that are open now' },
        ...{ labels: ['kind', 'level', 'state'], read: () => openSamples(open()) },
      },
      {
        ...{ kind: 'counter', name: 'assay_governance_alert_changes_total' },
        ...{ help: 'Alerts opened, escalated, resolved, silenced, unsilenced since the start' },
        ...{ labels: ['kind', 'level', 'transition'], read: () => [...changes.values()] },
      },
    ],
    close: () => Promise.resolve(),
  }
}

function tell(logger: Logger, { row }: DerivedRow): void {
  const name = EVENTS.get(String(row.transition))
  if (name === undefined) return
  logger.event(name, {
    ...{ alert_id: String(row.alert_id), kind: String(row.kind), severity: String(row.level) },
    ...{ summary: String(row.summary), labels: String(row.labels) },
    silenced_by: row.silenced_by === null ? null : String(row.silenced_by),
  })
}

/** Every combination, zeros too: a rule over a metric that is absent says nothing. */
function openSamples(alerts: readonly Alert[]): Sample[] {
  return ALERT_KINDS.flatMap((kind) =>
    LEVELS.flatMap((level) =>
      STATES.map((state) => {
        const isSilenced = state === 'silenced'
        const own = alerts.filter(
          (alert) => alert.kind === kind && alert.level === level && (alert.silencedBy !== null) === isSilenced,
        )
        return { labels: { kind, level, state }, value: own.length }
      }),
    ),
  )
}
