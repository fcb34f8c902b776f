// The scoring port of a server that is still starting: listeners are open before there is anything behind them.
import type { Scoring } from './exchange.js'

/** A scoring port before there is one: it refuses as not ready. */
export function forward(current: () => Scoring | null): Scoring {
  const ready = (): Scoring => {
    const scoring = current()
    if (scoring === null) throw new Error('the gate let a request through before readiness')
    return scoring
  }
  return {
    gate: (rows) => current()?.gate(rows) ?? (current() === null ? 'ASSAY_NOT_READY' : null),
    submit: (bytes, exchange) => ready().submit(bytes, exchange),
    submitValue: (value, exchange) => ready().submitValue(value, exchange),
    submitLabels: (value, exchange) => ready().submitLabels(value, exchange),
    findDecision: (by) => current()?.findDecision(by) ?? null,
  }
}
