// The handbook's files as the proof needs them: the published features by transaction, and the stream in the order in
// which the publisher's own sort left it.
import { readFileSync, writeFileSync } from 'node:fs'
import { gunzipSync } from 'node:zlib'
import { parseColumns } from '../../src/features/read-rows.js'

export const HANDBOOK_COLUMNS = parseColumns(
  'transaction_id=TRANSACTION_ID,occurred_at=TX_DATETIME,amount=TX_AMOUNT,customer_id=CUSTOMER_ID,' +
    'terminal_id=TERMINAL_ID,fraud=TX_FRAUD,currency=:EUR',
)

/**
 * Two payments of customer 3414 in the same second, 2018-08-08T10:25:54Z. The published file counts 1240489 after
 * 1240490 (5 and 4 transactions in a day), the raw file lists it before: the publisher's sort by time is not stable.
 * Time alone does not say which came first, so the proof feeds these two in the order that was published.
 */
export const TIED = ['1240489', '1240490'] as const

/** transaction_id → its 15 published values. */
export function published(path: string): Map<string, number[]> {
  const [, ...rows] = gunzipSync(readFileSync(path)).toString().trim().split('\n')
  return new Map(
    rows.map((row) => {
      const cells = row.split(',')
      return [cells[0], cells.slice(1, 16).map(Number)]
    }),
  )
}

/** Writes the raw stream as plain csv with the tied pair in the published order; true where both stood side by side. */
export function writeInPublishedOrder(from: string, to: string): boolean {
  const bytes = gunzipSync(readFileSync(from))
  const first = bytes.indexOf(`\n${TIED[0]},`) + 1
  const second = bytes.indexOf(10, first) + 1
  const end = bytes.indexOf(10, second) + 1
  const sideBySide = first > 0 && bytes.subarray(second).indexOf(`${TIED[1]},`) === 0
  const swapped = [bytes.subarray(second, end), bytes.subarray(first, second)]
  writeFileSync(to, Buffer.concat([bytes.subarray(0, first), ...swapped, bytes.subarray(end)]))
  return sideBySide
}

export interface Comparison {
  readonly rows: number
  readonly largest: number
  /** Transactions with a value further off than the tolerance. */
  readonly off: string[]
}

/** Compares the first 15 columns of a built csv with the published values. */
export function compare(path: string, wanted: ReadonlyMap<string, number[]>, tolerance: number): Comparison {
  let rows = 0
  let largest = 0
  const off: string[] = []
  for (const line of readFileSync(path, 'latin1').split('\n')) {
    const values = wanted.get(line.slice(0, line.indexOf(',')))
    if (values === undefined) continue
    const cells = line.split(',')
    rows++
    let worst = 0
    values.forEach((value, i) => {
      const difference = Math.abs(value - Number(cells[i + 1] === '' ? NaN : cells[i + 1]))
      // NaN must count as a difference.
      if (!(difference <= worst)) worst = Number.isNaN(difference) ? Infinity : difference
    })
    largest = Math.max(largest, worst)
    if (worst > tolerance) off.push(cells[0])
  }
  return { rows, largest, off }
}
