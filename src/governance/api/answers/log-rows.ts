// What the tables of the log hold after a place, whole sequences at a time: for the stream, and for what is published.
// Invariant: a page ends between two sequences, so that what one record caused is told as a whole.
import { type JsonRow, jsonRow, type Queries } from '../../store/queries.js'
import type { StreamKind } from '../source.js'
import * as cells from './cells.js'

/**
 * Tables whose rows carry their sequence. Only columns that are shown are read. Of one sequence the decision comes last
 * and carries the id, behind the windows that it closed: however a reader breaks off, it is told of no decision twice.
 */
export const SOURCES: readonly { readonly kind: StreamKind; readonly table: string; readonly from: string }[] = [
  { kind: 'control', table: 'controls', from: 'controls' },
  { kind: 'drift', table: 'drift', from: '(SELECT * EXCLUDE (counts, reference_counts) FROM drift)' },
  {
    kind: 'shadow',
    table: 'shadow_windows',
    from: `(SELECT epoch, sequence, window_ms, from_ms, until_ms, champion, shadow, segment, pairs, shed, flips, flip_share,
      flip_low, flip_high FROM shadow_windows)`,
  },
  { kind: 'decision', table: 'decisions', from: "(SELECT * EXCLUDE (vector) FROM decisions WHERE kind = 'decision')" },
]

/** A place in a log; its id in hexadecimal digits. */
export interface Place {
  readonly log: string
  readonly epoch: number
  readonly sequence: number
}

/** Where the store stands now; null before the first record. */
export async function committed(queries: Queries): Promise<Place | null> {
  const [row] = await queries.select('SELECT log_id, epoch, sequence FROM position')
  if (row === undefined) return null
  return {
    log: cells.text(row, 'log_id'),
    epoch: cells.number(row, 'epoch'),
    sequence: cells.number(row, 'sequence'),
  }
}

/** Rows of one table after `at`: whole sequences, about `limit` rows; and up to which sequence they are complete. */
export async function partOf(
  queries: Queries,
  from: string,
  { at, to, limit }: { readonly at: number; readonly to: number; readonly limit: number },
): Promise<{ readonly rows: readonly JsonRow[]; readonly end: number }> {
  const found = await queries.select(
    `SELECT * FROM ${from} WHERE sequence > ? AND sequence <= ? ORDER BY sequence LIMIT ${limit + 1}`,
    [at, to],
  )
  const next = found[limit]
  if (next === undefined) return { rows: found.map(jsonRow), end: to }
  const cut = cells.number(next, 'sequence')
  const rows = found.filter((row) => cells.number(row, 'sequence') < cut)
  if (rows.length > 0) return { rows: rows.map(jsonRow), end: cut - 1 }
  // One record closed more windows than a page holds.
  const whole = await queries.select(`SELECT * FROM ${from} WHERE sequence = ?`, [cut])
  return { rows: whole.map(jsonRow), end: cut }
}
