// Columns of prefixes: place k holds what the events up to k come to, so that a window is a subtraction. An event that
// comes late is put into the middle, and all behind it rise; so do they where a label makes an event one of a column's.
import type { MarkedColumns } from './plan.js'
import type { Stretch } from './slab.js'

/** Sums stay whole numbers below 2^53: beyond this the base of the prefixes is taken off. */
export const REBASE_ABOVE = 2 ** 52

/** Prefix at `at` from the one before it, and the count added to all that follow up to `end`. */
export function addCount(shorts: Uint16Array, at: number, end: number, count: number): void {
  shorts[at] = shorts[at - 1] + count
  for (let k = at + 1; k <= end; k++) shorts[k] += count
}

/** The same of sums; apart, so that each knows its kind of array. */
export function addAmount(floats: Float64Array, at: number, end: number, amount: number): void {
  floats[at] = floats[at - 1] + amount
  for (let k = at + 1; k <= end; k++) floats[k] += amount
}

/** Takes the base off all prefixes from `base` to `end`. */
export function rebase(floats: Float64Array, base: number, end: number): void {
  const taken = floats[base]
  for (let k = base; k <= end; k++) floats[k] -= taken
}

/** Puts the event at `at`, of events up to `to`, into the columns or takes it out, where it is not so already. */
export function moveEvent(columns: MarkedColumns, isIn: boolean, stretch: Stretch, at: number, to: number): void {
  const { capacity, floats, sums, shorts, counts } = stretch
  const column = counts + columns.count * capacity
  const within = counts + columns.withinCount * capacity
  const isWithin = columns.withinCount < 0 || shorts[within + at] !== shorts[within + at - 1]
  const wanted = isIn && isWithin
  if ((shorts[column + at] !== shorts[column + at - 1]) === wanted) return
  for (let k = column + at; k < column + to; k++) shorts[k] += wanted ? 1 : -1
  if (columns.sum < 0) return
  const amounts = sums + columns.withinSum * capacity
  const amount = floats[amounts + at] - floats[amounts + at - 1]
  const sum = sums + columns.sum * capacity
  for (let k = sum + at; k < sum + to; k++) floats[k] += wanted ? amount : -amount
}
