// Alerts: the store holds a row for each change of one, the newest row says how it stands.
import type * as wire from '../../../contract/governance.js'
import type { JsonRow } from '../../store/queries.js'
import type { PageQuery } from '../source.js'
import * as cells from './cells.js'
import type { Held } from './held.js'

const TABLE = 'alerts'
/**
 * The last change of each; rows are never deleted, so that rowid is their order. A join, since DuckDB 1.5.6 answers
 * QUALIFY row_number() over rowid wrongly, or ends with an internal error that closes the database.
 */
const NEWEST = `SELECT ${TABLE}.*, place FROM ${TABLE}
  JOIN (SELECT max(rowid) AS place FROM ${TABLE} GROUP BY alert_id) AS newest ON ${TABLE}.rowid = newest.place`

export async function alerts(held: Held, { limit, after }: PageQuery): Promise<wire.Alerts> {
  if (!(await held.hasTable(TABLE))) return { alerts: [], next: null }
  const before = after === null ? Number.MAX_SAFE_INTEGER : Number(after) || 0
  const found = await held
    .queries()
    .select(`SELECT * FROM (${NEWEST}) WHERE place < ? ORDER BY place DESC LIMIT ${limit + 1}`, [before])
  const rows = found.slice(0, limit)
  const last = rows.at(-1)
  return {
    alerts: rows.map(alertOf),
    next: found.length > limit && last !== undefined ? String(cells.number(last, 'place')) : null,
  }
}

/** How many are open and not silenced. */
export async function openAlerts(held: Held): Promise<number> {
  if (!(await held.hasTable(TABLE))) return 0
  const [row] = await held
    .queries()
    .select(`SELECT count(*) AS open FROM (${NEWEST}) WHERE resolved_at_ms IS NULL AND silenced_by IS NULL`)
  return cells.number(row ?? {}, 'open')
}

export function alertEvent(row: JsonRow): object {
  return { transition: cells.text(row, 'transition'), ...alertOf(row) }
}

function alertOf(row: JsonRow): wire.Alert {
  const isResolved = cells.maybeNumber(row, 'resolved_at_ms') !== null
  const open = cells.maybeText(row, 'silenced_by') === null ? 'firing' : 'silenced'
  return {
    id: cells.text(row, 'alert_id'),
    alert: cells.text(row, 'kind'),
    state: isResolved ? 'resolved' : open,
    severity: cells.text(row, 'level'),
    summary: cells.text(row, 'summary'),
    labels: labelsOf(cells.text(row, 'labels')),
    started_at: cells.time(cells.number(row, 'opened_at_ms')),
    ended_at: cells.maybeTime(row, 'resolved_at_ms'),
  }
}

function labelsOf(text: string): Record<string, string> {
  const labels: unknown = text === '' ? {} : JSON.parse(text)
  if (typeof labels !== 'object' || labels === null) return {}
  return Object.fromEntries(Object.entries(labels).map(([name, value]) => [name, String(value)]))
}
