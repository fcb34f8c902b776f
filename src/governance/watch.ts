// What the sidecar sees of itself by the clock, as signals: how far it is behind the log, and what is lost that no
// record tells. Damage and gaps are not among it: they are findings of the log, and become alerts of record origin.
// Reads no clock itself; a rebuild has none of these signals.
import type { Signal } from './alert.js'
import { lagSignal, lossSignal } from './alert-signals.js'

/** What is looked at. */
export interface Seen {
  readonly lagSeconds: number
  /** Counters of lost things by name; a new process begins at 0. */
  readonly losses: Readonly<Record<string, number>>
}

export interface Watch {
  /** What one look says. A loss is told by the first look that sees it, and by no other. */
  look(seen: Seen, atMs: number): readonly Signal[]
}

/** Makes the watch of one process. */
export function createWatch({ lagSecondsMax }: { readonly lagSecondsMax: number }): Watch {
  const before = new Map<string, number>()
  return {
    look({ lagSeconds, losses }, atMs) {
      const lost = Object.entries(losses).map(([counter, total]) => {
        const signal = lossSignal(counter, total, before.get(counter) ?? 0, atMs)
        before.set(counter, total)
        return signal
      })
      return [lagSignal(lagSeconds, atMs, lagSecondsMax), ...lost]
    },
  }
}
