// Cells of the store's rows as typed values. Pure. A column that is missing or of another type reads as null, or as the
// neutral value where an answer must have one: rows come from this release's own tables.
import type { JsonRow, JsonValue } from '../../store/queries.js'
import { isoTime } from '../../../contract/time.js'

export function textOr<Else>(value: unknown, otherwise: Else): string | Else {
  return typeof value === 'string' ? value : otherwise
}

export const text = (row: JsonRow, name: string): string => textOr(row[name], '')
export const maybeText = (row: JsonRow, name: string): string | null => textOr(row[name], null)

export function maybeNumber(row: JsonRow, name: string): number | null {
  const value = row[name]
  return typeof value === 'number' && Number.isFinite(value) ? value : null
}

export const number = (row: JsonRow, name: string): number => maybeNumber(row, name) ?? 0
export const flag = (row: JsonRow, name: string): boolean => row[name] === true

/** Milliseconds as RFC 3339. */
export function time(ms: number): string {
  return isoTime(ms)
}

export function maybeTime(row: JsonRow, name: string): string | null {
  const ms = maybeNumber(row, name)
  return ms === null ? null : time(ms)
}

export function list(row: JsonRow, name: string): readonly JsonValue[] {
  const value = row[name]
  return isList(value) ? value : []
}

function isList(value: JsonValue | undefined): value is readonly JsonValue[] {
  return Array.isArray(value)
}

export const numbers = (row: JsonRow, name: string): number[] =>
  list(row, name).map((value) => (typeof value === 'number' ? value : 0))

export const texts = (row: JsonRow, name: string): string[] =>
  list(row, name).filter((value): value is string => typeof value === 'string')

/** The members of a list that are objects. */
export function rows(row: JsonRow, name: string): JsonRow[] {
  return list(row, name).flatMap((value) => (isRow(value) ? [value] : []))
}

export function isRow(value: JsonValue | undefined): value is JsonRow {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Uint8Array)
}

/** A quotient, or null where nothing was counted. */
export const ratio = (part: number, whole: number): number | null => (whole === 0 ? null : part / whole)

/** Microseconds as milliseconds. */
export const msOf = (us: number | null): number | null => (us === null ? null : us / 1000)
