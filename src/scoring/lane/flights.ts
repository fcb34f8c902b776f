// The rows one thread has been given and not yet answered, and the flights they belong to: which ticket, who still
// waits, and whether the flight succeeded. The thread answers in the order it was given rows,
// so both are plain queues in typed arrays: a row's generation is its place in that order, and nothing is allocated.
// Invariant: every flight of payments is reported exactly once; it fails if it threw, if a row of it expired (reported
// at once) or if half of its rows were bad. It refuses nothing: the caller looks at `queued` before `add`.
// Flights that were under way together share the cause that fails them: a failure is news only where its flight left
// after the last news was known.

import type { Ticket } from './port.js'

const THREW = 1
const TIMED_OUT = 2
const ENDED = 4
const UNREPORTED = 8

export interface Flights {
  /** A byte per place in the queue: 1 while somebody waits for that row. The thread reads it and skips the others. */
  readonly waiting: SharedArrayBuffer
  /** Rows added and not settled. */
  queued(): number
  /** Of these, the rows that somebody still waits for. */
  awaitedRows(): number
  /** Rows of the open flight. */
  openRows(): number
  /** Takes a row into the open flight; returns its place in the order, 32 bits that wrap. */
  add(ticket: Ticket): number
  /** The open flight's place among the flights, 32 bits that wrap. */
  openFlight(): number
  /** Hands the open flight over; false where it is empty. One that is not reported is nobody's failure. */
  end(isReported?: boolean): boolean
  /** Whether a flight was handed over and is not answered. */
  underWay(): boolean
  /** Gives a row up; false where nobody waits for it any more. */
  expire(ticket: Ticket): boolean
  /** The place of the oldest row: the next one to be settled. */
  place(): number
  ticket(): Ticket
  /** Whether somebody still waits for the oldest row. */
  awaited(): boolean
  /** Ends the oldest row, and its flight with its last one. */
  settle(bad: boolean, threw: boolean): void
}

/** Hears of each flight once; `isNews` says of a failed one that it left after the last news was heard. */
export type OnFlight = (failed: boolean, isNews: boolean) => void

/** Makes the table for at most `rowsMax` rows. */
export function createFlights(rowsMax: number, onFlight: OnFlight): Flights {
  let capacity = 1
  while (capacity < rowsMax) capacity *= 2
  const mask = capacity - 1
  const waiting = new SharedArrayBuffer(capacity)
  const waits = new Uint8Array(waiting)
  const tickets = new Float64Array(capacity)
  const flightOf = new Int32Array(capacity)
  // A flight has at least one row, so there are never more flights than rows; the open one may still be empty: + 1.
  const flightMask = capacity * 2 - 1
  const rows = new Int32Array(capacity * 2)
  const left = new Int32Array(capacity * 2)
  const bad = new Int32Array(capacity * 2)
  const marks = new Uint8Array(capacity * 2)
  /** Of each flight: how much news there had been when it left. */
  const knew = new Int32Array(capacity * 2)
  let head = 0
  let tail = 0
  let firstAwaited = 0
  let awaited = 0
  let flightHead = 0
  let flightTail = 0
  let news = 0

  const report = (flight: number, failed: boolean): void => {
    if ((marks[flight] & UNREPORTED) !== 0) return
    const isNews = failed && knew[flight] === news
    if (isNews) news = (news + 1) | 0
    onFlight(failed, isNews)
  }
  const find = (ticket: Ticket): number => {
    while (firstAwaited !== head && waits[firstAwaited & mask] === 0) firstAwaited = (firstAwaited + 1) >>> 0
    for (let at = firstAwaited; at !== head; at = (at + 1) >>> 0) {
      if (waits[at & mask] === 1 && tickets[at & mask] === ticket) return at & mask
    }
    return -1
  }

  return {
    waiting,
    queued: () => (head - tail) >>> 0,
    awaitedRows: () => awaited,
    openRows: () => rows[flightHead & flightMask],
    openFlight: () => flightHead,
    add(ticket) {
      const at = head & mask
      const flight = flightHead & flightMask
      tickets[at] = ticket
      flightOf[at] = flight
      waits[at] = 1
      awaited++
      rows[flight]++
      left[flight]++
      const place = head
      head = (head + 1) >>> 0
      return place
    },
    end(isReported = true) {
      const flight = flightHead & flightMask
      if (rows[flight] === 0) return false
      marks[flight] |= isReported ? ENDED : ENDED | UNREPORTED
      knew[flight] = news
      flightHead = (flightHead + 1) >>> 0
      const next = flightHead & flightMask
      rows[next] = left[next] = bad[next] = marks[next] = 0
      return true
    },
    underWay: () => flightTail !== flightHead,
    expire(ticket) {
      const at = find(ticket)
      if (at < 0) return false
      waits[at] = 0
      awaited--
      const flight = flightOf[at]
      if ((marks[flight] & TIMED_OUT) === 0) {
        marks[flight] |= TIMED_OUT
        report(flight, true)
      }
      return true
    },
    place: () => tail,
    ticket: () => tickets[tail & mask],
    awaited: () => waits[tail & mask] === 1,
    settle(isBad, threw) {
      const at = tail & mask
      const flight = flightOf[at]
      if (firstAwaited === tail) firstAwaited = (firstAwaited + 1) >>> 0
      awaited -= waits[at]
      waits[at] = 0
      tail = (tail + 1) >>> 0
      if (isBad) bad[flight]++
      if (threw) marks[flight] |= THREW
      if (--left[flight] > 0 || (marks[flight] & ENDED) === 0) return
      flightTail = (flightTail + 1) >>> 0
      if ((marks[flight] & TIMED_OUT) !== 0) return
      report(flight, (marks[flight] & THREW) !== 0 || bad[flight] * 2 >= rows[flight])
    },
  }
}
