// The handbook's files as the proofs need them: the published features by transaction, and the stream in the order in
// which the publisher's own sort left it. Everything is read at run time: nothing of the data stands in the project.
import { readFileSync, writeFileSync } from 'node:fs'
import { gunzipSync } from 'node:zlib'
import { parseColumns } from '../../src/features/read-rows.js'

export const HANDBOOK_COLUMNS = parseColumns(
  'transaction_id=TRANSACTION_ID,occurred_at=TX_DATETIME,amount=TX_AMOUNT,customer_id=CUSTOMER_ID,' +
    'terminal_id=TERMINAL_ID,fraud=TX_FRAUD,currency=:EUR',
)

/** A transaction of the raw stream, as it stands in the file. */
export interface Payment {
  readonly line: string
  readonly transactionId: string
  readonly at: string
  readonly customer: string
  readonly terminal: string
  readonly amount: string
  readonly fraud: boolean
}

export interface Stream {
  readonly header: string
  readonly payments: readonly Payment[]
  /** Transactions that stand elsewhere than in the raw file: see `inPublishedOrder`. */
  readonly moved: readonly string[]
}

/** Published features by transaction_id. */
export type Published = ReadonlyMap<string, readonly number[]>

/** Place of the customer's count of one day among the published values. */
const CUSTOMER_COUNT_1D = 3

/** The 15 published values of every transaction of a file. */
export function published(path: string): Map<string, readonly number[]> {
  const [, ...rows] = gunzipSync(readFileSync(path)).toString().trim().split('\n')
  return new Map(
    rows.map((row) => {
      const cells = row.split(',')
      return [cells[0], cells.slice(1, 16).map(Number)]
    }),
  )
}

/** The raw stream in the order of the file, or with `wanted` in that of the published features. */
export function readStream(path: string, wanted?: Published): Stream {
  const [header, ...lines] = gunzipSync(readFileSync(path)).toString().trim().split('\n')
  const payments = lines.map((line): Payment => {
    const [transactionId, at, customer, terminal, amount, fraud] = line.split(',')
    return { line, transactionId, at, customer, terminal, amount, fraud: fraud === '1' }
  })
  const moved = wanted === undefined ? [] : inPublishedOrder(payments, wanted)
  return { header, payments, moved }
}

/**
 * Time alone does not order two payments of one customer in one second, and the publisher's sort was not stable: a
 * count that grows by one with each payment says in which order the features were computed. Puts such payments in that
 * order, in place, and returns those that moved. Nothing else is touched: not one payment leaves its second.
 */
function inPublishedOrder(payments: Payment[], wanted: Published): string[] {
  const moved: string[] = []
  for (let from = 0, end = 1; from < payments.length; from = end) {
    while (payments.at(end)?.at === payments[from].at) end++
    const places = new Map<string, number[]>()
    for (let place = from; place < end; place++) {
      const { customer, transactionId } = payments[place]
      if (wanted.has(transactionId)) places.set(customer, [...(places.get(customer) ?? []), place])
    }
    for (const tied of places.values()) {
      const count = ({ transactionId }: Payment): number => wanted.get(transactionId)?.[CUSTOMER_COUNT_1D] ?? NaN
      const sorted = tied.map((place) => payments[place]).sort((one, other) => count(one) - count(other))
      tied.forEach((place, index) => {
        if (payments[place] !== sorted[index]) moved.push(sorted[index].transactionId)
        payments[place] = sorted[index]
      })
    }
  }
  return moved
}

/** Writes a stream as plain csv. */
export function writeStream(stream: Stream, path: string): void {
  writeFileSync(path, [stream.header, ...stream.payments.map(({ line }) => line), ''].join('\n'))
}

export interface Comparison {
  readonly rows: number
  readonly largest: number
  /** Transactions with a value further off than the tolerance. */
  readonly off: string[]
}

/** Compares the first 15 columns of a built csv with the published values. */
export function compare(path: string, wanted: Published, tolerance: number): Comparison {
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
