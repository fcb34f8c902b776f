// Days of simulated payments up to now, as rows of history: what a server is filled with that has none of its own.
// Invariant: the rows are those that `assay simulate` with the same population would write, in time order.
import type { ForeignRow } from '../features/build-rows.js'
import { createSimulator, type SimulatorOptions } from './generator.js'

const DAY_MS = 86_400_000

export interface SimulatedDays extends Omit<SimulatorOptions, 'startMs'> {
  readonly days: number
  readonly nowMs: number
}

/** The rows, one at a time. */
export function* simulateHistory({ days, nowMs, ...population }: SimulatedDays): Generator<ForeignRow> {
  const simulator = createSimulator({ ...population, startMs: nowMs - days * DAY_MS })
  for (let number = 1; ; number++) {
    const { wire, occurredAtMs, fraud } = simulator.next()
    if (occurredAtMs >= nowMs) return
    yield { number, values: { ...wire }, fraud, approved: null }
  }
}
