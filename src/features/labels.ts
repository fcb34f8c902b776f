// What each source last said of a transaction, of one kind of label, in flat arrays: labels beside held transactions,
// and labels that wait for one. Both lists are bounded; the first to come leaves first. A waiting label that leaves is
// counted as expired. A transaction is fraud where the latest word of any source says so; of answers the latest counts.
import type { Label } from '../contract/label.js'
import type { Image } from '../runtime/image.js'
import { HashTable } from './hash-table.js'

const NONE = -1
const WAITING = 0
const HELD = 1
/** What a label takes, without its place in the table. */
export const BYTES_PER_ROW = 49

export interface LabelBounds {
  readonly waitingMax: number
  readonly heldMax: number
}

// A class: private state and speed meet.
export class LabelStore {
  expired = 0
  readonly #kind: Label['kind']
  readonly #bounds: readonly [number, number]
  readonly #table = new HashTable()
  readonly #idLow: Uint32Array
  readonly #idHigh: Uint32Array
  readonly #sourceLow: Uint32Array
  readonly #sourceHigh: Uint32Array
  readonly #knownAt: Float64Array
  /** Event time of a held transaction, after which the label may go. */
  readonly #eventAt: Float64Array
  readonly #says: Uint8Array
  readonly #list: Uint8Array
  readonly #next: Int32Array
  readonly #previous: Int32Array
  readonly #first: [number, number] = [NONE, NONE]
  readonly #last: [number, number] = [NONE, NONE]
  readonly #size: [number, number] = [0, 0]
  #rowsUsed = 0
  #freeRow = NONE

  constructor(kind: Label['kind'], bounds: LabelBounds) {
    this.#kind = kind
    this.#bounds = [bounds.waitingMax, bounds.heldMax]
    const rows = bounds.waitingMax + bounds.heldMax + 2
    this.#idLow = new Uint32Array(rows)
    this.#idHigh = new Uint32Array(rows)
    this.#sourceLow = new Uint32Array(rows)
    this.#sourceHigh = new Uint32Array(rows)
    this.#knownAt = new Float64Array(rows)
    this.#eventAt = new Float64Array(rows)
    this.#says = new Uint8Array(rows)
    this.#list = new Uint8Array(rows)
    this.#next = new Int32Array(rows)
    this.#previous = new Int32Array(rows)
  }

  get waiting(): number {
    return this.#size[WAITING]
  }

  get held(): number {
    return this.#size[HELD]
  }

  get bytes(): number {
    return this.#table.bytes + this.#rowsUsed * BYTES_PER_ROW
  }

  /** What holds of this transaction; 0 where nothing is known. Of answers known at once the higher one holds. */
  value(idLow: number, idHigh: number): number {
    if (this.#table.entries === 0) return 0
    let says = 0
    let knownAt = -Infinity
    for (let row = this.#find(idLow, idHigh, null); row >= 0; row = this.#find(idLow, idHigh, row)) {
      const sameTime = this.#kind === 'fraud' || this.#knownAt[row] === knownAt
      if (sameTime ? this.#says[row] > says : this.#knownAt[row] > knownAt) says = this.#says[row]
      knownAt = Math.max(knownAt, this.#knownAt[row])
    }
    return says
  }

  /**
   * Takes the word of a source. False where it has no effect: the source said as much at that time or later.
   * `eventAtMs` is the time of the held transaction, NaN where it is not held.
   */
  put(id: readonly [number, number], source: readonly [number, number], word: Word): boolean {
    for (let row = this.#find(id[0], id[1], null); row >= 0; row = this.#find(id[0], id[1], row)) {
      if (this.#sourceLow[row] !== source[0] || this.#sourceHigh[row] !== source[1]) continue
      if (word.knownAtMs <= this.#knownAt[row]) return false
      this.#knownAt[row] = word.knownAtMs
      this.#says[row] = word.says
      return true
    }
    let row = this.#freeRow
    if (row >= 0) this.#freeRow = this.#next[row]
    else row = this.#rowsUsed++
    this.#idLow[row] = id[0]
    this.#idHigh[row] = id[1]
    this.#sourceLow[row] = source[0]
    this.#sourceHigh[row] = source[1]
    this.#knownAt[row] = word.knownAtMs
    this.#eventAt[row] = word.eventAtMs
    this.#says[row] = word.says
    this.#table.add(id[0], id[1], row)
    this.#append(row, Number.isNaN(word.eventAtMs) ? WAITING : HELD)
    return true
  }

  /** The transaction is held from now on: its labels wait no longer. */
  hold(idLow: number, idHigh: number, eventAtMs: number): void {
    if (this.#table.entries === 0) return
    for (let row = this.#find(idLow, idHigh, null); row >= 0; row = this.#find(idLow, idHigh, row)) {
      this.#eventAt[row] = eventAtMs
      this.#unlink(row)
      this.#append(row, HELD)
    }
  }

  /** Lets go of labels whose transaction has left every window; two per call, so that no call is long. */
  sweep(heldFrom: number): void {
    for (let i = 0; i < 2; i++) {
      const row = this.#first[HELD]
      if (row < 0 || this.#eventAt[row] > heldFrom) return
      this.#remove(row)
    }
  }

  /** Hands every label over, in the order in which they would leave: for the digest. */
  walk(visit: (words: readonly number[]) => void): void {
    for (const list of [WAITING, HELD] as const) {
      for (let row = this.#first[list]; row >= 0; row = this.#next[row]) {
        visit([
          list,
          this.#idLow[row],
          this.#idHigh[row],
          this.#sourceLow[row],
          this.#sourceHigh[row],
          this.#knownAt[row],
          this.#says[row],
        ])
      }
    }
  }

  async serialize(image: Image): Promise<void> {
    this.expired = await image.number(this.expired)
    this.#rowsUsed = await image.number(this.#rowsUsed)
    this.#freeRow = await image.number(this.#freeRow)
    for (const list of [WAITING, HELD] as const) {
      this.#first[list] = await image.number(this.#first[list])
      this.#last[list] = await image.number(this.#last[list])
      this.#size[list] = await image.number(this.#size[list])
    }
    const columns = [
      ...[this.#idLow, this.#idHigh, this.#sourceLow, this.#sourceHigh, this.#knownAt, this.#eventAt, this.#says],
      ...[this.#list, this.#next, this.#previous],
    ]
    for (const column of columns) await image.array(column.subarray(0, this.#rowsUsed))
    await this.#table.serialize(image)
  }

  /** The row of this transaction after `previous` (null: the first), or -1. */
  #find(idLow: number, idHigh: number, previous: number | null): number {
    let passed = previous === null
    for (
      let place = this.#table.next(idLow, idHigh, this.#table.start(idLow, idHigh));
      place >= 0;
      place = this.#table.next(idLow, idHigh, this.#table.after(idLow, idHigh, place))
    ) {
      const row = this.#table.valueAt(idLow, idHigh, place)
      if (passed && this.#idLow[row] === idLow) return row
      if (row === previous) passed = true
    }
    return NONE
  }

  #append(row: number, list: 0 | 1): void {
    this.#list[row] = list
    this.#next[row] = NONE
    this.#previous[row] = this.#last[list]
    if (this.#last[list] >= 0) this.#next[this.#last[list]] = row
    else this.#first[list] = row
    this.#last[list] = row
    this.#size[list]++
    if (this.#size[list] <= this.#bounds[list]) return
    if (list === WAITING) this.expired++
    this.#remove(this.#first[list])
  }

  #remove(row: number): void {
    this.#unlink(row)
    this.#table.remove(this.#idLow[row], this.#idHigh[row], row)
    this.#next[row] = this.#freeRow
    this.#freeRow = row
  }

  #unlink(row: number): void {
    const list = this.#list[row] === WAITING ? WAITING : HELD
    const next = this.#next[row]
    const previous = this.#previous[row]
    if (previous >= 0) this.#next[previous] = next
    else this.#first[list] = next
    if (next >= 0) this.#previous[next] = previous
    else this.#last[list] = previous
    this.#size[list]--
  }
}

/**
 * One word of a source: fraud as 1 and its reversal as 0, or an answer as 1 (approved) and 2 (declined); since when;
 * and the event time of the held transaction or NaN.
 */
export interface Word {
  readonly says: number
  readonly knownAtMs: number
  readonly eventAtMs: number
}
