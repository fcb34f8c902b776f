// The options that `simulate` and `traffic` share: numbers, times and the switches, from text to values.
// Invariant: a bad value is ASSAY_USAGE with the option's name; nothing is guessed.
import { parseDuration } from '../contract/time.js'
import { AssayError } from '../errors.js'
import type { Switches } from './generator.js'

export const SWITCH_OPTIONS = {
  drift: { type: 'string' },
  broken: { type: 'string' },
  spike: { type: 'string' },
  attack: { type: 'string' },
} as const

type Values = Record<string, string | boolean | undefined>

/** An integer option of at least `min`. */
export function count(values: Values, name: string, fallback: number, min = 1): number {
  const number = values[name] === undefined ? fallback : Number(values[name])
  if (Number.isSafeInteger(number) && number >= min) return number
  throw new AssayError('ASSAY_USAGE', `--${name} must be an integer ≥ ${min}`)
}

/** A number within bounds. */
export function amountOf(text: string, name: string, bounds: { min: number; max: number }): number {
  const number = Number(text)
  if (text !== '' && number >= bounds.min && number <= bounds.max) return number
  throw new AssayError('ASSAY_USAGE', `--${name} must be a number from ${bounds.min} to ${bounds.max}`)
}

/** An RFC 3339 date or time, as milliseconds since 1970 UTC. */
export function instant(text: string, name: string): number {
  const ms = Date.parse(text)
  if (Number.isNaN(ms)) throw new AssayError('ASSAY_USAGE', `--${name} must be a date or time such as 2025-01-01`)
  return ms
}

/** A duration such as 30s, 5m, 2h or 7d, in milliseconds. */
export function durationMs(text: string, name: string): number {
  const ms = parseDuration(text)
  if (ms !== null) return ms
  throw new AssayError('ASSAY_USAGE', `--${name} must be a duration such as 30s, 5m or 7d`)
}

/** The switches that the options turn on; what is absent is left out. */
export function switchesFrom(values: Values): Partial<Switches> {
  const { drift, broken, spike, attack } = values
  const changed: { -readonly [K in keyof Switches]?: Switches[K] } = {}
  if (typeof drift === 'string') {
    const [kind, size] = drift.split(':')
    if (kind === 'amount') changed.amountScale = amountOf(size ?? '1.5', 'drift', { min: 0.01, max: 100 })
    else if (kind === 'merchants') changed.newMerchants = amountOf(size ?? '0.3', 'drift', { min: 0, max: 1 })
    else throw new AssayError('ASSAY_USAGE', '--drift must be amount[:FACTOR] or merchants[:SHARE]')
  }
  if (broken === 'amount' || broken === 'customer_id' || broken === 'terminal_id') changed.broken = broken
  else if (broken !== undefined)
    throw new AssayError('ASSAY_USAGE', '--broken must be amount, customer_id or terminal_id')
  if (typeof spike === 'string') changed.spike = amountOf(spike, 'spike', { min: 0.01, max: 1000 })
  if (typeof attack === 'string') changed.attack = amountOf(attack, 'attack', { min: 0, max: 0.9 })
  return changed
}
