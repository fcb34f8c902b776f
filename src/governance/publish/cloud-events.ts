// Stored rows as CloudEvents 1.0 in the binary mode of the Kafka protocol binding: attributes are headers, the value is
// the JSON that the API's stream shows, masked as there. Pure.
// Invariant: an id follows from what the row is of (log, record, window, alert), never from when or by whom it is sent,
// so that an event that is sent again has the id that it had.
import { createHash } from 'node:crypto'
import type { ControlState } from '../../contract/control-state.js'
import type { EventsConfig } from '../../contract/kafka.js'
import { isoTime } from '../../contract/time.js'
import { alertEvent } from '../api/answers/alerts.js'
import * as cells from '../api/answers/cells.js'
import { decisionRow } from '../api/answers/decision-row.js'
import { driftEvent } from '../api/answers/drift.js'
import type { Masks } from '../api/answers/masks.js'
import { shadowEvent } from '../api/answers/shadow.js'
import type { JsonRow } from '../store/queries.js'

/** What is published, each kind to a topic of its own. */
export type EventKind = keyof EventsConfig['topics']

/** A message of Kafka. Events of one key stay in order. */
export interface CloudEvent {
  readonly key: string
  readonly value: string
  readonly headers: Readonly<Record<string, string>>
}

export interface Shown {
  /** Id of the log, hexadecimal. */
  readonly log: string
  /** What holds after the newest record: by it fields are masked. */
  readonly control: ControlState | null
  readonly masks: Pick<Masks, 'mask'>
}

interface Described {
  readonly key: string
  readonly id: string
  readonly type: string
  readonly subject: string
  readonly timeMs: number
  readonly data: object
}

/** The event of a row of the kind's table. */
export function cloudEvent(kind: EventKind, row: JsonRow, shown: Shown): CloudEvent {
  const { key, id, type, subject, timeMs, data } = DESCRIBE[kind](row, shown)
  return {
    key,
    value: JSON.stringify(data),
    headers: {
      ...{ 'content-type': 'application/json', ce_specversion: '1.0', ce_id: id, ce_type: type },
      ...{ ce_source: `urn:assay:log:${shown.log}`, ce_subject: subject, ce_time: isoTime(timeMs) },
      // An alert may have no record behind it.
      ...(kind !== 'alerts' && placeOf(row)),
    },
  }
}

function placeOf(row: JsonRow): Record<string, string> {
  const [epoch, sequence] = [cells.number(row, 'epoch'), cells.number(row, 'sequence')]
  return { ce_assayepoch: String(epoch), ce_assaysequence: String(sequence) }
}

const DESCRIBE: Readonly<Record<EventKind, (row: JsonRow, shown: Shown) => Described>> = {
  /** Under the entity that routes the transaction, masked where the policy masks it; else under the transaction. */
  predictions(row, { control, masks }) {
    const data = decisionRow(row, control, { masks })
    const { decision_id: id, transaction_id: subject } = data
    const key = data.entities[control?.routes.sticky_by ?? ''] ?? subject
    return { key, id, type: 'assay.prediction', subject, timeMs: cells.number(row, 'decided_at_ms'), data }
  },
  drift(row) {
    const [model, series] = [cells.text(row, 'model'), cells.text(row, 'series')]
    const id = windowId('w', row, ['model', 'digest', 'segment', 'kind', 'series', 'window_kind', 'reference'])
    const timeMs = cells.number(row, 'until_ms')
    return { key: model, id, type: 'assay.drift', subject: series, timeMs, data: driftEvent(row) }
  },
  shadow(row) {
    const shadow = cells.text(row, 'shadow')
    const id = windowId('s', row, ['champion', 'shadow', 'segment', 'window_ms'])
    const timeMs = cells.number(row, 'until_ms')
    return { key: shadow, id, type: 'assay.shadow', subject: shadow, timeMs, data: shadowEvent(row) }
  },
  alerts(row) {
    const [alert, timeMs] = [cells.text(row, 'alert_id'), cells.number(row, 'at_ms')]
    const id = `${alert}-${cells.text(row, 'transition')}-${timeMs}`
    return { key: alert, id, type: 'assay.alert', subject: alert, timeMs, data: alertEvent(row) }
  },
}

/** Of the record that closed the window, the window's start and what it is of. */
function windowId(prefix: string, row: JsonRow, names: readonly string[]): string {
  const parts = ['epoch', 'sequence', 'from_ms', ...names].map((name) => row[name] ?? null)
  const digest = createHash('sha256').update(JSON.stringify(parts)).digest('hex')
  return `${prefix}_${digest.slice(0, 20)}`
}
