// Tumbling windows over the decisions of one model version in one segment: by count, by the hour, and days as sums of
// their hours. Closed hours are kept for a week, since the same hour of yesterday and of last week are the fair
// comparison for whatever follows the clock.
// Invariant: counts are whole numbers over a frozen layout; time is the record's. Whoever takes records decides which.
import { addCounts, decodeCounts, encodeCounts } from '../../stats/counts.js'

export const HOUR_MS = 3_600_000
export const DAY_HOURS = 24
export const WEEK_HOURS = 7 * DAY_HOURS

/** Counts of a span of decisions, and what else must be known to read them. */
export interface Window {
  /** Time of the first decision of a window by count, else its border. */
  fromMs: number
  /** Time of the last decision of a window by count, else its border. */
  untilMs: number
  rows: number
  /** Rows with a feature whose window was not observed for its whole length. */
  cold: number
  /** Fingerprint of the first row's policy, as hex. */
  policy: string
  isPolicyChanged: boolean
  readonly counts: Float64Array
}

/** A closed hour: its counts as bytes, which are a fifth of the array. */
interface PastHour {
  readonly hour: number
  readonly rows: number
  readonly cold: number
  readonly policy: string
  readonly isPolicyChanged: boolean
  readonly bytes: Uint8Array
}

/** The windows of one model version in one segment. */
export interface Windows {
  count: Window
  hour: Window
  /** Closed hours in ascending order, a week of them. */
  past: PastHour[]
  /** The hour of the first decision ever counted; −1 before it. */
  sinceHour: number
}

export function emptyWindow(size: number): Window {
  return { fromMs: 0, untilMs: 0, rows: 0, cold: 0, policy: '', isPolicyChanged: false, counts: new Float64Array(size) }
}

export function createWindows(size: number): Windows {
  return { count: emptyWindow(size), hour: emptyWindow(size), past: [], sinceHour: -1 }
}

/** One decision, as its windows count it. */
export interface Counted {
  readonly atMs: number
  readonly isCold: boolean
  readonly policy: string
  readonly cells: Int32Array
}

/** Counts a decision; borders of time are set by whoever opens and closes. */
export function countInto(window: Window, { atMs, isCold, policy, cells }: Counted): void {
  if (window.rows === 0) {
    window.fromMs = atMs
    window.policy = policy
  } else if (window.policy !== policy) window.isPolicyChanged = true
  window.untilMs = Math.max(window.untilMs, atMs)
  window.rows++
  if (isCold) window.cold++
  const { counts } = window
  for (let at = 0; at < cells.length; at++) {
    const cell = cells[at] ?? -1
    if (cell >= 0) counts[cell] = (counts[cell] ?? 0) + 1
  }
}

/** Keeps a closed hour and lets go of those older than a week. */
export function keepHour(windows: Windows, hour: number, window: Window): void {
  const { rows, cold, policy, isPolicyChanged, counts } = window
  windows.past.push({ hour, rows, cold, policy, isPolicyChanged, bytes: encodeCounts(counts) })
  while ((windows.past[0]?.hour ?? hour) < hour - WEEK_HOURS) windows.past.shift()
}

/** The hours [from, from + length) as one window, merged by addition; null where nothing was counted in them. */
export function pastHours(windows: Windows, from: number, length: number, size: number): Window | null {
  const within = windows.past.filter(({ hour }) => hour >= from && hour < from + length)
  const first = within[0]
  if (first === undefined) return null
  const merged = emptyWindow(size)
  merged.fromMs = from * HOUR_MS
  merged.untilMs = (from + length) * HOUR_MS
  merged.policy = first.policy
  for (const { rows, cold, policy, isPolicyChanged, bytes } of within) {
    merged.rows += rows
    merged.cold += cold
    merged.isPolicyChanged ||= isPolicyChanged || policy !== first.policy
    addCounts(merged.counts, decodeCounts(bytes, size))
  }
  return merged
}
