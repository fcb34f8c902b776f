// What the sidecar sees of itself by the clock, as signals: how far it is behind the log, and what is lost that no
// record tells. Damage and gaps are not among it: they are findings of the log, and become alerts of record origin.
// Reads no clock itself; a rebuild has none of these signals.
import type { Signal } from './alert.js'
import { lagSignal, lossCounterOf, lossSignal } from './alert-signals.js'
import type { DerivedRow } from './port.js'

/** What is looked at. */
export interface Seen {
  readonly lagSeconds: number
  /** Counters of lost things by name; a new process begins at 0. */
  readonly losses: Readonly<Record<string, number>>
}

export interface Watch {
  /** What one look says. A loss is critical until it is settled. */
  look(seen: Seen, atMs: number): readonly Signal[]
  /** Of these no row is to be written: nothing new, or of an alert that is open. */
  settle(losses: Seen['losses']): void
  /** These rows were committed: what they tell is settled. A row that a failing store loses is told again. */
  committed(alerts: readonly DerivedRow[]): void
}

/** Makes the watch of one process. */
export function createWatch({ lagSecondsMax }: { readonly lagSecondsMax: number }): Watch {
  const settled = new Map<string, number>()
  const settle = (counter: string, total: number): void => void settled.set(counter, total)
  return {
    look({ lagSeconds, losses }, atMs) {
      const lost = Object.entries(losses).map(([counter, total]) =>
        lossSignal(counter, total, settled.get(counter) ?? 0, atMs),
      )
      return [lagSignal(lagSeconds, atMs, lagSecondsMax), ...lost]
    },
    settle(losses) {
      for (const [counter, total] of Object.entries(losses)) settle(counter, total)
    },
    committed(alerts) {
      for (const { row } of alerts) {
        const counter = lossCounterOf(row)
        if (counter !== null) settle(counter, Number(row.value))
      }
    },
  }
}
