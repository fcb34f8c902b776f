// Civil time of an event: hour, weekday, day of month, month in UTC, in an IANA zone, or at the offset written in the
// event. A zone's offsets are read from Intl once, at compile time; per transaction it is integer arithmetic and a
// short search. Outside the tabulated years Intl is asked each time: right, but slow.
import type { Transaction } from '../contract/transaction.js'

export type CalendarPart = 'hour' | 'weekday' | 'day_of_month' | 'month'

const DAY_MS = 86_400_000
const TABLE_FROM_MS = Date.UTC(1970, 0, 1)
const TABLE_UNTIL_MS = Date.UTC(2100, 0, 1)
// Two changes of a zone's offset that cancel out within a week do not occur; the shortest known pause is Ramadan's
// month.
const STEP_MS = 7 * DAY_MS

/** Offset from UTC in ms at an instant. */
export type OffsetAt = (tx: Transaction) => number

/** The offsets of a zone: `utc`, `offset` (that of the event) or an IANA name; null where the name is unknown. */
export function zoneOffset(zone: string): OffsetAt | null {
  if (zone === 'utc') return () => 0
  if (zone === 'offset') return (tx) => tx.offsetMinutes * 60_000
  let format: Intl.DateTimeFormat
  try {
    format = new Intl.DateTimeFormat('en-US', { timeZone: zone, timeZoneName: 'longOffset' })
  } catch {
    return null
  }
  const table = tabulate((ms) => readOffset(format, ms))
  return (tx) => {
    const ms = tx.occurredAtMs
    if (ms < TABLE_FROM_MS || ms >= TABLE_UNTIL_MS) return readOffset(format, ms)
    return table.offsets[lastAtOrBefore(table.from, ms)]
  }
}

interface OffsetTable {
  /** Start of each stretch of one offset, ms, ascending. */
  readonly from: Float64Array
  readonly offsets: Float64Array
}

function tabulate(offsetAt: (ms: number) => number): OffsetTable {
  const from = [TABLE_FROM_MS]
  const offsets = [offsetAt(TABLE_FROM_MS)]
  let before = offsets[0]
  for (let ms = TABLE_FROM_MS; ms < TABLE_UNTIL_MS; ms += STEP_MS) {
    const end = ms + STEP_MS
    let low = ms
    while (offsetAt(end) !== before) {
      // Bisect to the first change after `low`, to the second.
      let high = end
      while (high - low > 1000) {
        const middle = low + Math.floor((high - low) / 2000) * 1000
        if (offsetAt(middle) === before) low = middle
        else high = middle
      }
      before = offsetAt(high)
      from.push(high)
      offsets.push(before)
      low = high
    }
  }
  return { from: Float64Array.from(from), offsets: Float64Array.from(offsets) }
}

function lastAtOrBefore(from: Float64Array, ms: number): number {
  let low = 0
  let high = from.length
  while (high - low > 1) {
    const middle = (low + high) >>> 1
    if (from[middle] <= ms) low = middle
    else high = middle
  }
  return low
}

/** Reads `GMT`, `GMT+02:00` or `GMT-00:44:30` off the end of Intl's text: 1.4 µs, against 5 for formatToParts. */
function readOffset(format: Intl.DateTimeFormat, ms: number): number {
  const match = /GMT(?:([+-])(\d\d):(\d\d)(?::(\d\d))?)?$/.exec(format.format(ms))
  if (match === null || match[1] === undefined) return 0
  const seconds = Number(match[2]) * 3600 + Number(match[3]) * 60 + Number(match[4] ?? 0)
  return (match[1] === '-' ? -seconds : seconds) * 1000
}

/** One part of civil time; weekday 1 = Monday … 7, month 1 … 12. */
export function calendarPart(part: CalendarPart, localMs: number): number {
  const day = Math.floor(localMs / DAY_MS)
  switch (part) {
    case 'hour':
      return Math.floor((localMs - day * DAY_MS) / 3_600_000)
    case 'weekday':
      // 1970-01-01 was a Thursday.
      // Not by %: on floats it is a call (bench/features.ts).
      return day + 3 - Math.floor((day + 3) / 7) * 7 + 1
    case 'day_of_month':
      return civil(day).day
    case 'month':
      return civil(day).month
  }
}

/** Days since 1970 → day and month, after Hinnant, "chrono-Compatible Low-Level Date Algorithms", civil_from_days. */
function civil(day: number): { day: number; month: number } {
  const shifted = day + 719_468
  const era = Math.floor(shifted / 146_097)
  const dayOfEra = shifted - era * 146_097
  const yearOfEra = Math.floor(
    (dayOfEra - Math.floor(dayOfEra / 1460) + Math.floor(dayOfEra / 36_524) - Math.floor(dayOfEra / 146_096)) / 365,
  )
  const dayOfYear = dayOfEra - (365 * yearOfEra + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100))
  const shiftedMonth = Math.floor((5 * dayOfYear + 2) / 153)
  return {
    day: dayOfYear - Math.floor((153 * shiftedMonth + 2) / 5) + 1,
    month: shiftedMonth < 10 ? shiftedMonth + 3 : shiftedMonth - 9,
  }
}
