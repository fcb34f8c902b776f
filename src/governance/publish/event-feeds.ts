// What is to be published next, read from the store: a page of events of one kind after the place that was reached.
// Invariants: a page is bounded; rows are read in the order of the log, or in which they were written; only what stands
// durable in the log is published, so that a record which a power cut takes back was not told of. Where records were
// taken back all the same, the feed goes on at what the new epoch put in their place.
import type { ControlState } from '../../contract/control-state.js'
import type { Limits } from '../../limits.js'
import * as cells from '../api/answers/cells.js'
import type { Held } from '../api/answers/held.js'
import { committed, partOf, type Place, SOURCES } from '../api/answers/log-rows.js'
import type { Masks } from '../api/answers/masks.js'
import type { JsonRow, Queries } from '../store/queries.js'
import type { LogPlace, Places, RowPlace } from './event-places.js'
import { type CloudEvent, cloudEvent, type EventKind } from './cloud-events.js'

export interface FeedDeps {
  readonly held: Pick<Held, 'queries' | 'hasTable' | 'control' | 'forget'>
  readonly masks: Pick<Masks, 'mask'>
  readonly limits: Pick<Limits, 'kafkaBatchRowsMax' | 'tailBatchRecordsMax'>
  /** Up to where the log is durable; null where that cannot be said. */
  readonly durable: () => { readonly epoch: number; readonly sequence: number } | null
}

export interface EventPage {
  readonly events: readonly CloudEvent[]
  readonly more: boolean
  /** The brokers have acknowledged them. */
  done(): void
}

export interface Feed {
  readonly kind: EventKind
  page(reach: Place): Promise<EventPage>
  /** What is left where the store holds this sequence: records of the log, or rows of alerts. */
  lag(sequence: number): number
  /** So many rows of alerts were written. */
  noteAlerts(rows: number): void
  /** Adds its place to those of others. */
  noteIn(places: Places): Places
  /** The sequence up to which rows were published; -1 before the first, and for alerts. */
  sequence(): number
}

/** Log kinds with the tables that hold them. */
const KIND_OF = { predictions: 'decision', drift: 'drift', shadow: 'shadow' } as const
type LogKind = keyof typeof KIND_OF

/** How far events may be published now; null while nothing may. */
export async function reachOf({ held, durable }: FeedDeps): Promise<Place | null> {
  const [now, end] = [await committed(held.queries()), durable()]
  if (now === null || end === null) return null
  if (end.epoch === now.epoch) return { ...now, sequence: Math.min(now.sequence, end.sequence) }
  // The log has a later epoch, which may have taken back the end of this one: whoever reads it will find out.
  const first = await firstSince(held, now.epoch)
  return { ...now, epoch: now.epoch - 1, sequence: first === null ? now.sequence : first - 1 }
}

/** The first sequence of this epoch among all that may be published. */
async function firstSince(held: FeedDeps['held'], epoch: number): Promise<number | null> {
  let first: number | null = null
  for (const { table } of SOURCES) {
    if (!(await held.hasTable(table))) continue
    const [row] = await held.queries().select(`SELECT min(sequence) AS first FROM ${table} WHERE epoch >= ?`, [epoch])
    const own = cells.maybeNumber(row ?? {}, 'first')
    first = own === null ? first : Math.min(own, first ?? own)
  }
  return first
}

/** Rows of a table in the order of the log. */
export function createLogFeed(kind: LogKind, from: LogPlace | undefined, deps: FeedDeps): Feed {
  const { held, limits } = deps
  const source = SOURCES.find((one) => one.kind === KIND_OF[kind])
  if (source === undefined) throw new RangeError(`no table holds ${kind}`)
  let place = from

  /** Where to go on: another log is read from its beginning. */
  async function start(reach: Place): Promise<LogPlace> {
    if (place === undefined || place.log !== reach.log) return { log: reach.log, epoch: 0, sequence: -1 }
    if (place.epoch >= reach.epoch) return place
    const found = await held
      .queries()
      .select(`SELECT min(sequence) AS first FROM ${source?.table} WHERE epoch > ? AND sequence <= ?`, [
        place.epoch,
        place.sequence,
      ])
    const first = cells.maybeNumber(found[0] ?? {}, 'first')
    return first === null ? place : { ...place, sequence: first - 1 }
  }

  return {
    kind,
    lag: (sequence) => Math.max(0, sequence - Math.max(0, place?.sequence ?? 0)),
    noteAlerts: () => undefined,
    noteIn: (places) => (place === undefined ? places : { ...places, [kind]: place }),
    sequence: () => place?.sequence ?? -1,
    async page(reach) {
      if (!(await held.hasTable(source.table))) return NOTHING
      const at = await start(reach)
      if (at.sequence >= reach.sequence) return NOTHING
      // So that far behind a page still reads a part of the table.
      const to = Math.min(reach.sequence, at.sequence + limits.tailBatchRecordsMax)
      const { rows, end } = await partOf(held.queries(), source.from, {
        ...{ at: at.sequence, to, limit: limits.kafkaBatchRowsMax },
      })
      const events = await eventsOf(kind, rows, { ...deps, log: reach.log })
      const last = rows.at(-1)
      const epoch = end === reach.sequence ? reach.epoch : cells.number(last ?? {}, 'epoch') || at.epoch
      return {
        ...{ events, more: end < reach.sequence },
        done: () => void (place = { log: reach.log, epoch, sequence: end }),
      }
    },
  }
}

const NOTHING: EventPage = { events: [], more: false, done: () => undefined }

/** Alerts: in the order in which they were written, since a clock may write them at any time. */
export function createAlertFeed(from: RowPlace | undefined, deps: FeedDeps): Feed {
  const { held, limits } = deps
  let place = from
  let total = from?.rows ?? 0
  /** Where it was seen that the row told last stands in its place. */
  let seenIn: Queries | null = null

  const eventsFrom = async (row: number, log: string): Promise<CloudEvent[]> => {
    const sql = `SELECT * FROM alerts WHERE rowid >= ? LIMIT ${limits.kafkaBatchRowsMax}`
    return eventsOf('alerts', await held.queries().select(sql, [row]), { ...deps, log })
  }

  /** Rows of this table are never deleted: where one is another, the store was made anew, without the clock's. */
  async function start(queries: Queries, log: string): Promise<number> {
    const told = place?.rows ?? 0
    if (told === 0 || queries === seenIn) return told
    const [last] = await eventsFrom(told - 1, log)
    return last?.headers.ce_id === place?.last ? told : 0
  }

  return {
    kind: 'alerts',
    lag: () => Math.max(0, total - (place?.rows ?? 0)),
    noteAlerts: (rows) => void (total += rows),
    noteIn: (places) => (place === undefined ? places : { ...places, alerts: place }),
    sequence: () => -1,
    async page({ log }) {
      if (!(await held.hasTable('alerts'))) return NOTHING
      const queries = held.queries()
      const begin = await start(queries, log)
      seenIn = queries
      const [row] = await queries.select('SELECT count(*) AS alerts FROM alerts')
      total = cells.number(row ?? {}, 'alerts')
      const events = total > begin ? await eventsFrom(begin, log) : []
      const [rows, last] = [begin + events.length, events.at(-1)?.headers.ce_id ?? place?.last ?? '']
      if (begin < (place?.rows ?? 0)) place = undefined
      return { events, more: rows < total, done: () => void (place = { rows, last }) }
    },
  }
}

async function eventsOf(
  kind: EventKind,
  rows: readonly JsonRow[],
  { held, masks, log }: Pick<FeedDeps, 'held' | 'masks'> & { readonly log: string },
): Promise<CloudEvent[]> {
  if (rows.length === 0) return []
  // Read after the rows: what masks them is at least as new as they are.
  held.forget()
  const control: ControlState | null = await held.control()
  return rows.map((row) => cloudEvent(kind, row, { log, control, masks }))
}
