// Times on the wire: RFC 3339 with the offset kept, or epoch milliseconds. Pure integer arithmetic on the proleptic
// Gregorian calendar (days from civil: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms"). Refuses dates
// that do not exist, offsets beyond a day, and instants outside [1980, 9999]: below lie epoch seconds sent by mistake.

/** 1980-01-01T00:00:00Z. Epoch seconds of our time, taken for milliseconds, would fall into January 1970. */
export const TIME_MS_MIN = 315_532_800_000
/** 9999-12-31T23:59:59.999Z. */
export const TIME_MS_MAX = 253_402_300_799_999

/** What is allowed, in words, for error messages and the OpenAPI document. */
export const TIME_ALLOWED = 'an RFC 3339 date-time with offset, or integer epoch milliseconds, from 1980 to 9999'

/** JSON Schema pattern of the RFC 3339 form; the calendar is checked beyond it. */
export const TIME_PATTERN =
  '^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\\.[0-9]{1,9})?([Zz]|[+-][0-9]{2}:[0-9]{2})$'

const DAY_MS = 86_400_000
const MONTH_DAYS = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]

export interface InstantTarget {
  occurredAtMs: number
  offsetMinutes: number
}

/** A cursor for the result, so that the hot path makes no object: fill, read, reuse. */
export function createInstant(): InstantTarget {
  return { occurredAtMs: NaN, offsetMinutes: 0 }
}

/** Milliseconds since 1970 of an RFC 3339 text; null where it is none. For what is read once. */
export function instantMs(text: string): number | null {
  const instant = createInstant()
  return parseRfc3339(text, instant) ? instant.occurredAtMs : null
}

/** True where the number is an integer of epoch milliseconds within the range. */
export function isEpochMs(value: number): boolean {
  return Number.isInteger(value) && value >= TIME_MS_MIN && value <= TIME_MS_MAX
}

/**
 * Reads RFC 3339 into `target`; false where the text is not one. Fractions beyond
 * milliseconds are cut. A leap second is taken where UTC may have one (23:59:60 at the end of a month), as the next
 * second.
 */
export function parseRfc3339(text: string, target: InstantTarget): boolean {
  const length = text.length
  if (length < 20 || length > 35) return false
  const year = number4(text, 0)
  const month = number2(text, 5)
  const day = number2(text, 8)
  const hour = number2(text, 11)
  const minute = number2(text, 14)
  const second = number2(text, 17)
  const separators =
    text.charCodeAt(4) === 45 &&
    text.charCodeAt(7) === 45 &&
    (text.charCodeAt(10) | 32) === 116 &&
    text.charCodeAt(13) === 58 &&
    text.charCodeAt(16) === 58
  if (!separators || !isDate(year, month, day)) return false
  if (!(hour >= 0 && hour < 24 && minute >= 0 && minute < 60 && second >= 0 && second <= 60)) return false
  let at = 19
  let ms = 0
  if (text.charCodeAt(at) === 46) {
    const start = ++at
    for (; at < length && at - start < 10; at++) {
      const digit = text.charCodeAt(at) - 48
      if (!(digit >= 0 && digit <= 9)) break
      if (at - start < 3) ms += digit * FRACTION[at - start]
    }
    if (at === start || at - start > 9) return false
  }
  const offset = parseOffset(text, at)
  if (Number.isNaN(offset)) return false
  const days = daysFromCivil(year, month, day)
  const value = days * DAY_MS + ((hour * 60 + minute - offset) * 60 + second) * 1000 + ms
  if (second === 60 && !isLeapInstant(value - ms)) return false
  if (!(value >= TIME_MS_MIN && value <= TIME_MS_MAX)) return false
  target.occurredAtMs = value
  target.offsetMinutes = offset
  return true
}

const FRACTION = [100, 10, 1]

/** Minutes of the offset that fills the text from `at` to its end; NaN where it does not. */
function parseOffset(text: string, at: number): number {
  const sign = text.charCodeAt(at)
  if ((sign | 32) === 122) return at + 1 === text.length ? 0 : NaN
  if ((sign !== 43 && sign !== 45) || at + 6 !== text.length || text.charCodeAt(at + 3) !== 58) return NaN
  const hours = number2(text, at + 1)
  const minutes = number2(text, at + 4)
  if (!(hours >= 0 && hours < 24 && minutes >= 0 && minutes < 60)) return NaN
  const total = hours * 60 + minutes
  return sign === 45 && total > 0 ? -total : total
}

function number2(text: string, at: number): number {
  const tens = text.charCodeAt(at) - 48
  const ones = text.charCodeAt(at + 1) - 48
  return tens >= 0 && tens <= 9 && ones >= 0 && ones <= 9 ? tens * 10 + ones : -1
}

function number4(text: string, at: number): number {
  const high = number2(text, at)
  const low = number2(text, at + 2)
  return high < 0 || low < 0 ? -1 : high * 100 + low
}

function isDate(year: number, month: number, day: number): boolean {
  if (year < 0 || month < 1 || month > 12 || day < 1) return false
  const leapDay = month === 2 && year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0) ? 1 : 0
  return day <= MONTH_DAYS[month - 1] + leapDay
}

function daysFromCivil(year: number, month: number, day: number): number {
  const shifted = month <= 2 ? year - 1 : year
  const era = Math.floor(shifted / 400)
  const yearOfEra = shifted - era * 400
  const dayOfYear = Math.floor((153 * (month + (month > 2 ? -3 : 9)) + 2) / 5) + day - 1
  const dayOfEra = yearOfEra * 365 + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100) + dayOfYear
  return era * 146_097 + dayOfEra - 719_468
}

/** The second after 23:59:60 UTC at a month's end: midnight of a first day. */
function isLeapInstant(value: number): boolean {
  return value % DAY_MS === 0 && new Date(value).getUTCDate() === 1
}

const UNIT_MS = new Map([
  ['ms', 1],
  ['s', 1_000],
  ['m', 60_000],
  ['h', 3_600_000],
  ['d', DAY_MS],
])

/** Milliseconds of `500ms`, `30s`, `30m`, `24h`, `7d`; null for any other text. */
export function parseDuration(text: string): number | null {
  const [, count = '', unit = ''] = /^(\d{1,6})([a-z]+)$/.exec(text) ?? []
  const unitMs = UNIT_MS.get(unit)
  return unitMs === undefined ? null : Number(count) * unitMs
}

/** As `parseDuration` reads it, in the largest unit of which it is a whole number. */
export function durationText(ms: number): string {
  const [unit, unitMs] = [...UNIT_MS].reverse().find(([, each]) => ms >= each && ms % each === 0) ?? ['ms', 1]
  return `${ms / unitMs}${unit}`
}

/** ISO 8601 in UTC with milliseconds, as Date.toISOString gives it, for years 1970 to 9999. */
export function isoTime(ms: number): string {
  const days = Math.floor(ms / DAY_MS)
  const rest = ms - days * DAY_MS
  const shifted = days + 719_468
  const era = Math.floor(shifted / 146_097)
  const dayOfEra = shifted - era * 146_097
  const yearOfEra = Math.floor(
    (dayOfEra - Math.floor(dayOfEra / 1460) + Math.floor(dayOfEra / 36_524) - Math.floor(dayOfEra / 146_096)) / 365,
  )
  const dayOfYear = dayOfEra - (365 * yearOfEra + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100))
  const shiftedMonth = Math.floor((5 * dayOfYear + 2) / 153)
  const day = dayOfYear - Math.floor((153 * shiftedMonth + 2) / 5) + 1
  const month = shiftedMonth < 10 ? shiftedMonth + 3 : shiftedMonth - 9
  const year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0)
  const seconds = Math.floor(rest / 1000)
  const clock = `${two(Math.floor(seconds / 3600))}:${two(Math.floor(seconds / 60) % 60)}:${two(seconds % 60)}`
  const fraction = rest % 1000
  return `${year}-${two(month)}-${two(day)}T${clock}.${fraction < 100 ? '0' : ''}${two(fraction)}Z`
}

function two(value: number): string {
  return value < 10 ? `0${value}` : `${value}`
}
