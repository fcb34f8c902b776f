// The handbook's files as the proof needs them: the published features by transaction, and the stream in the order in
// which the publisher's own sort left it.
import { createReadStream, createWriteStream } from 'node:fs'
import { createInterface } from 'node:readline'
import { createGunzip } from 'node:zlib'
import { parseColumns } from '../../src/features/read-rows.js'

export const HANDBOOK_COLUMNS = parseColumns(
  'transaction_id=TRANSACTION_ID,occurred_at=TX_DATETIME,amount=TX_AMOUNT,customer_id=CUSTOMER_ID,' +
    'terminal_id=TERMINAL_ID,fraud=TX_FRAUD,currency=:EUR',
)

/**
 * Two payments of customer 3414 in the same second, 2018-08-08T10:25:54Z. The published file counts 1240489 after 1240490
 * (5 and 4 transactions in a day), the raw file lists it before: the publisher's sort by time is not stable. Time alone
 * does not say which came first, so the proof feeds these two in the order that was published.
 */
export const TIED = ['1240489', '1240490'] as const

/** Streams the lines of a gzip file. */
export async function* lines(path: string): AsyncGenerator<string> {
  const input = createReadStream(path).pipe(createGunzip())
  for await (const line of createInterface({ input, crlfDelay: Infinity })) yield line
}

/** transaction_id → its 15 published values. */
export async function published(path: string): Promise<Map<string, number[]>> {
  const rows = new Map<string, number[]>()
  for await (const line of lines(path)) {
    const cells = line.split(',')
    if (rows.size > 0 || cells[0] !== 'TRANSACTION_ID') rows.set(cells[0], cells.slice(1, 16).map(Number))
  }
  return rows
}

/** Writes the raw stream as plain csv with the tied pair in the published order; true where both were found. */
export async function writeInPublishedOrder(from: string, to: string): Promise<boolean> {
  const out = createWriteStream(to)
  let held = ''
  let swapped = false
  let text = ''
  for await (const line of lines(from)) {
    const id = line.slice(0, line.indexOf(','))
    if (id === TIED[0]) {
      held = line
      continue
    }
    text += `${line}\n`
    if (id === TIED[1] && held !== '') {
      text += `${held}\n`
      swapped = true
    }
    if (text.length > 1 << 20) {
      out.write(text)
      text = ''
    }
  }
  await new Promise<void>((resolve, fail) => {
    out.on('error', fail)
    out.end(text, resolve)
  })
  return swapped
}

export interface Comparison {
  readonly rows: number
  readonly largest: number
  /** Transactions with a value further off than the tolerance. */
  readonly off: string[]
}

/** Compares the first 15 columns of a built csv (plain) with the published values. */
export async function compare(
  built: AsyncIterable<string>,
  wanted: ReadonlyMap<string, number[]>,
  tolerance: number,
): Promise<Comparison> {
  let rows = 0
  let largest = 0
  const off: string[] = []
  for await (const line of built) {
    const cells = line.split(',')
    const values = wanted.get(cells[0])
    if (values === undefined) continue
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
