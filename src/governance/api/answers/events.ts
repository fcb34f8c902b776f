// The stream as pages of the store: rows of every table in the order of the log.
// A cursor is log, epoch, sequence, and how many alert rows were told (they may be told late, by a clock).
// Invariant: the id of an event stands on the last of its sequence alone. Whoever goes on after an id gets everything
// behind it, at least once.
import { AssayError } from '../../../errors.js'
import type { JsonRow, Queries } from '../../store/queries.js'
import type { Missed, StreamEvent, StreamKind, StreamPage } from '../source.js'
import * as cells from './cells.js'
import { decisionRow } from './decision-row.js'
import { driftEvent } from './drift.js'
import type { Held } from './held.js'
import { alertEvent } from './alerts.js'
import { committed, partOf, SOURCES } from './log-rows.js'
import { shadowEvent } from './shadow.js'
import { controlOf } from './tables.js'

interface Cursor {
  /** First eight hex digits of the log's id; empty before the first record. */
  readonly log: string
  readonly epoch: number
  readonly sequence: number
  readonly alerts: number
}

const CURSOR = /^([0-9a-f]{8}|0)-(\d{1,10})-(\d{1,16})-(\d{1,16})$/

const format = ({ log, epoch, sequence, alerts }: Cursor): string => `${log}-${epoch}-${sequence + 1}-${alerts}`

/** Throws ASSAY_HEADER_INVALID for a text that was never given out. */
function parse(text: string): Cursor {
  const match = CURSOR.exec(text)
  if (match === null) throw new AssayError('ASSAY_HEADER_INVALID', 'Last-Event-ID is none of ours')
  const [, log = '', epoch, sequence, alerts] = match
  return { log, epoch: Number(epoch), sequence: Number(sequence) - 1, alerts: Number(alerts) }
}

/** Where the store stands now. */
async function standsAt(queries: Queries): Promise<Omit<Cursor, 'alerts'>> {
  const now = await committed(queries)
  return now === null ? { log: '0', epoch: 0, sequence: -1 } : { ...now, log: now.log.slice(0, 8) }
}

async function alertRows(held: Held): Promise<number> {
  if (!(await held.hasTable('alerts'))) return 0
  const [row] = await held.queries().select('SELECT count(*) AS alerts FROM alerts')
  return cells.number(row ?? {}, 'alerts')
}

export async function newest(held: Held): Promise<string> {
  const [now, alerts] = await Promise.all([standsAt(held.queries()), alertRows(held)])
  return format({ ...now, alerts })
}

/** Where to go on after an id. Where the log took records back since, at what its new epoch put in their place. */
export async function resume(held: Held, id: string): Promise<string> {
  const cursor = parse(id)
  const queries = held.queries()
  const now = await standsAt(queries)
  if (now.log === '0') return id
  if (cursor.log !== '0' && cursor.log !== now.log) {
    throw new AssayError('ASSAY_HEADER_INVALID', 'Last-Event-ID is of another decision log')
  }
  const [row] = await queries.select('SELECT min(sequence) AS first FROM decisions WHERE epoch > ?', [cursor.epoch])
  const first = cells.maybeNumber(row ?? {}, 'first')
  const sequence = first !== null && first <= cursor.sequence && cursor.epoch > 0 ? first - 1 : cursor.sequence
  return format({ ...cursor, log: now.log, sequence })
}

export async function events(
  held: Held,
  after: string,
  kinds: readonly StreamKind[],
  limit: number,
): Promise<StreamPage> {
  const at = parse(after)
  const queries = held.queries()
  const now = await standsAt(queries)
  // The store is being made anew: it has not come so far again. Equally far there may be an alert of the clock.
  if (now.sequence < at.sequence) return { events: [], cursor: after, more: false }
  const wanted = await asyncFilter(
    SOURCES,
    async ({ kind, table }) => kinds.includes(kind) && (await held.hasTable(table)),
  )
  const parts = await Promise.all(
    wanted.map(async (source) => ({
      ...source,
      ...(await partOf(queries, source.from, { at: at.sequence, to: now.sequence, limit })),
    })),
  )
  const end = Math.min(now.sequence, ...parts.map((part) => part.end))
  const more = end < now.sequence
  const alerts = await newAlerts(held, at.alerts, { more, isWanted: kinds.includes('alert'), limit })
  const control = await held.control()
  const shown = {
    decision: (row: JsonRow) => decisionRow(row, control, held),
    ...{ control: controlOf, drift: driftEvent, shadow: shadowEvent, alert: alertEvent },
  }
  const ordered = parts
    .flatMap(({ kind, rows }) => rows.map((row) => ({ kind, row, sequence: cells.number(row, 'sequence') })))
    .filter(({ sequence }) => sequence <= end)
    .sort((one, other) => one.sequence - other.sequence)
  const told = ordered.map(({ kind, row, sequence }, i): StreamEvent => {
    const isLast = ordered[i + 1]?.sequence !== sequence
    const id = isLast ? format({ ...at, log: now.log, epoch: cells.number(row, 'epoch'), sequence }) : null
    return { id, kind, data: shown[kind](row) }
  })
  const tail = alerts.rows.map((row): StreamEvent => ({ id: null, kind: 'alert', data: shown.alert(row) }))
  const last = ordered.at(-1)
  const epoch = more ? cells.number(last?.row ?? {}, 'epoch') || at.epoch : now.epoch
  return {
    events: [...told, ...tail],
    cursor: format({ log: now.log, epoch, sequence: end, alerts: alerts.told }),
    more,
  }
}

/** Rows of alerts beyond those told, once everything before them was; and how many have been told then. */
async function newAlerts(
  held: Held,
  told: number,
  { more, isWanted, limit }: { readonly more: boolean; readonly isWanted: boolean; readonly limit: number },
): Promise<{ readonly rows: readonly JsonRow[]; readonly told: number }> {
  if (more || !(await held.hasTable('alerts'))) return { rows: [], told }
  const count = await alertRows(held)
  // Fewer than told: the store was made anew, and what only a clock had seen is gone.
  if (!isWanted || count <= told) return { rows: [], told: count }
  // Rows of this table are never deleted, so that rowid counts them.
  const rows = await held.queries().select(`SELECT * FROM alerts WHERE rowid >= ? LIMIT ${limit}`, [told])
  return { rows, told: told + rows.length }
}

async function asyncFilter<Value>(
  values: readonly Value[],
  keep: (value: Value) => Promise<boolean>,
): Promise<Value[]> {
  const kept = await Promise.all(values.map(keep))
  return values.filter((_, at) => kept[at])
}

/** Decisions between two cursors, for a reader that was too slow for them. */
export async function missed(held: Held, from: string, until: string): Promise<Missed> {
  const [row] = await held
    .queries()
    .select("SELECT count(*) AS decisions FROM decisions WHERE sequence > ? AND sequence <= ? AND kind = 'decision'", [
      parse(from).sequence,
      parse(until).sequence,
    ])
  return { from, until, decisions: cells.number(row ?? {}, 'decisions') }
}
