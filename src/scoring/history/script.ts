// History made ready to be imported: every transaction and label checked, in the order in which a server would have
// met them, before anything of it is sent.
// Invariant: the same input gives the same script, so that a place in it means the same after a restart. Refuses rows
// out of order, twice, from the future or after a gap, each with its row.
import { createHash, type Hash, randomBytes } from 'node:crypto'
import type { Label, LabelValidator } from '../../contract/label.js'
import { isRejection } from '../../contract/problem.js'
import { isoTime } from '../../contract/time.js'
import type { Transaction, TransactionSchema } from '../../contract/transaction.js'
import type { TransactionValidator } from '../../contract/validate.js'
import { AssayError, type Rejection } from '../../errors.js'
import { inputFault } from '../../features/build-rows.js'
import { HashTable } from '../../features/hash-table.js'
import { columnLabel, labelOnWire } from '../../features/label-rows.js'
import type { RowChunk } from '../../features/row-chunks.js'
import type { Limits } from '../../limits.js'
import { createHasher } from '../../runtime/hash.js'
import { createSpool, type Spool, type Visit } from './spool.js'

export interface HistoryInput {
  /** What refusals call it. */
  readonly name: string
  readonly chunks: AsyncIterable<RowChunk>
  /** What the server makes of a row. */
  readonly validator: Pick<TransactionValidator, 'parse'>
  readonly schema: TransactionSchema
  /** In the order in which they became known; null: those of the label column. */
  readonly labels: readonly Label[] | null
  /** After which a label column became known, ms; null where nothing says it. */
  readonly labelDelayMs: number | null
  /** Rows with fromMs <= occurred_at < untilMs are taken. */
  readonly fromMs: number
  readonly untilMs: number
  /** The longest time without a transaction that is no gap, ms. */
  readonly gapMsMax: number
  readonly nowMs: number
}

export interface Script {
  /** Digests of the transactions, and of transactions and labels: 32 hexadecimal digits. */
  readonly source: string
  readonly digest: string
  readonly transactions: number
  readonly labels: number
  /** Event times of the first and the last transaction, ms. */
  readonly fromMs: number
  readonly untilMs: number
  /** Each entry as JSON, as a client sends it. */
  read(visit: Visit): Promise<void>
  close(): void
}

/** What the label columns of a row hold. */
interface Columns {
  readonly fraud: boolean | null
  readonly approved: boolean | null
}

const LINE_END = 10
/** Source of the labels of a label column. */
const COLUMN_SOURCE = 'history'

/** Reads all of it. Throws ASSAY_INPUT_INVALID with the row, and what reading the rows throws. */
export async function prepareScript(input: HistoryInput, limits: Limits): Promise<Script> {
  const spool = createSpool()
  try {
    return await fill(spool, input, limits)
  } catch (error) {
    spool.close()
    throw error
  }
}

async function fill(spool: Spool, input: HistoryInput, limits: Limits): Promise<Script> {
  const { name, validator, schema, nowMs } = input
  const ids = createIds(limits.historyRowsMax)
  const sources = createHash('sha256')
  const all = createHash('sha256')
  const labels = { given: input.labels ?? [], next: 0, column: new Array<Label>(), count: 0 }
  let [firstMs, lastMs, transactions] = [NaN, -Infinity, 0]

  function addLabel(label: Label): void {
    const text = JSON.stringify(labelOnWire(label, schema))
    spool.add(true, Buffer.from(text))
    all.update(`${transactions} ${text}\n`)
    labels.count++
  }

  /** Those that were known by then; at the end, when the history was written down, all. */
  function addLabels(knownMs: number, untilMs = knownMs): void {
    for (; labels.next < labels.given.length && labels.given[labels.next].knownAtMs <= knownMs; labels.next++) {
      addLabel(labels.given[labels.next])
    }
    while (labels.column.length > 0 && labels.column[0].knownAtMs <= knownMs) {
      const [label] = labels.column.splice(0, 1)
      addLabel({ ...label, knownAtMs: Math.min(label.knownAtMs, untilMs, nowMs) })
    }
  }

  /** A report of fraud becomes known after the delay; an issuer's answer is, when the next transaction comes. */
  function addColumns(tx: Transaction, { fraud, approved }: Columns): void {
    const source = COLUMN_SOURCE
    const t = tx.occurredAtMs
    if (fraud === true) {
      const word = { kind: 'fraud', value: true, source, knownAtMs: t + labelDelay(input) } as const
      labels.column.push(columnLabel(tx, schema, word))
    }
    if (approved === null) return
    addLabel(columnLabel(tx, schema, { kind: 'authorisation', value: approved, source, knownAtMs: t }))
  }

  /** False where it lies outside of what is wanted. */
  function take(line: Uint8Array, number: number, { fraud, approved }: Columns): boolean {
    const tx = validator.parse(line, nowMs)
    if (isRejection(tx)) throw inputFault(`${name}, row ${number}`, tx)
    const { occurredAtMs: t, transactionId } = tx
    if (t < input.fromMs || t >= input.untilMs) return false
    const fault = rowFault(t, lastMs, input.gapMsMax) ?? ids.add(transactionId)
    if (fault !== null) throw new AssayError('ASSAY_INPUT_INVALID', `${name}, row ${number}: ${fault}`)
    addLabels(t)
    spool.add(false, line)
    if (input.labels === null) addColumns(tx, { fraud, approved })
    if (transactions++ === 0) firstMs = t
    lastMs = t
    return true
  }

  /** False once rows come that are no longer wanted. Those that are stand side by side. */
  function takeChunk({ first, lines, frauds, approvals }: RowChunk): boolean {
    let from = 0
    let begin = -1
    let isWanted = true
    for (let at = 0; isWanted && at < frauds.length; at++) {
      const end = lines.indexOf(LINE_END, from)
      const isTaken = take(lines.subarray(from, end), first + at, { fraud: frauds[at], approved: approvals[at] })
      if (isTaken && begin < 0) begin = from
      if (isTaken || transactions === 0) from = end + 1
      else isWanted = false
    }
    if (begin >= 0) sources.update(lines.subarray(begin, from))
    return isWanted
  }

  for await (const chunk of input.chunks) if (!takeChunk(chunk)) break
  if (transactions === 0) throw new AssayError('ASSAY_INPUT_INVALID', `${name} holds no transaction of that time`)
  addLabels(Infinity, lastMs)
  const source = shortened(sources)
  const digest = shortened(all.update(source))
  const read = (visit: Visit): Promise<void> => spool.read(visit)
  const counts = { transactions, labels: labels.count }
  return { source, digest, ...counts, fromMs: firstMs, untilMs: lastMs, read, close: () => spool.close() }
}

function rowFault(t: number, lastMs: number, gapMsMax: number): string | null {
  if (t < lastMs) return '/occurred_at: earlier than in the row before; sort by it'
  if (t - lastMs <= gapMsMax || lastMs === -Infinity) return null
  return `/occurred_at: nothing since ${isoTime(lastMs)}: a gap longer than ${gapMsMax} ms; --gap-max allows longer ones`
}

function labelDelay({ labelDelayMs }: HistoryInput): number {
  if (labelDelayMs !== null) return labelDelayMs
  const detail = 'the catalogue names no delay for its label rates: a label column would be known at once'
  throw new AssayError('ASSAY_USAGE', `${detail}; give --labels or --label-delay`)
}

/** Throws ASSAY_INPUT_INVALID where a server would refuse the label. */
export function checkLabel(label: Label, place: string, by: LabelCheck): void {
  const checked: Label[] | Rejection = by.labels.check(labelOnWire(label, by.schema), by.nowMs)
  if (!isRejection(checked)) return
  throw inputFault(place, checked)
}

export interface LabelCheck {
  readonly labels: LabelValidator
  readonly schema: TransactionSchema
  readonly nowMs: number
}

/** Finds ids that come twice, by 64 bits of a keyed hash: some 25 bytes each. */
function createIds(max: number): { add(id: string): string | null } {
  const hasher = createHasher(randomBytes(16))
  const table = new HashTable()
  let lows = new Uint32Array(1 << 16)
  return {
    add(id) {
      if (table.entries === max) return `more than ${max} transactions: import them in parts, --from and --until`
      hasher.string(id)
      const { a: low, b: high } = hasher
      for (
        let place = table.next(low, high, table.start(low, high));
        place >= 0;
        place = table.next(low, high, table.after(low, high, place))
      ) {
        if (lows[table.valueAt(low, high, place)] === low) return '/transaction_id: stands in a row before'
      }
      if (table.entries === lows.length) {
        const grown = new Uint32Array(2 * lows.length)
        grown.set(lows)
        lows = grown
      }
      lows[table.entries] = low
      table.add(low, high, table.entries)
      return null
    },
  }
}

function shortened(hash: Hash): string {
  return hash.digest('hex').slice(0, 32)
}
