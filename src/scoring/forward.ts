// The scoring port of a server that is still starting: listeners are open before there is anything behind them. It
// refuses as not ready; that of a server which takes over holds what comes meanwhile, for it is a moment.
import { reject } from '../errors.js'
import type { Limits } from '../limits.js'
import type { Clock } from '../runtime/clock.js'
import type { Metrics } from '../telemetry/metrics.js'
import { answerRejection } from './answers.js'
import type { Exchange, Scoring, StreamScoring } from './exchange.js'

export interface Forward extends Scoring {
  /** From here on requests are held. */
  hold(): void
  /** Here it is: what was held goes there, no faster than it is taken, each with its whole deadline. */
  give(scoring: StreamScoring): void
  /** There will be none: what was held is refused. */
  refuse(): void
}

interface Held {
  readonly exchange: Exchange
  readonly pass: (scoring: Scoring) => void
}

export interface ForwardDeps {
  readonly clock: Clock
  readonly limits: Pick<Limits, 'inFlightMax' | 'heldMsMax'>
  readonly metrics: Metrics
}

export function forward({ clock, limits, metrics }: ForwardDeps): Forward {
  let scoring: StreamScoring | null = null
  let isHolding = false
  const held: Held[] = []

  function take(exchange: Exchange, pass: Held['pass']): void {
    if (scoring !== null) pass(scoring)
    else if (isHolding) held.push({ exchange, pass })
    else throw new Error('the gate let a request through before readiness')
  }

  function refuse(): void {
    isHolding = false
    for (const { exchange } of held.splice(0)) {
      answerRejection(exchange, reject('ASSAY_NOT_READY', 'the server did not take over in time'), metrics)
    }
  }

  function release(): void {
    while (held.length > 0 && scoring?.hasRoom() === true) {
      const next = held.shift()
      if (next === undefined) return
      next.exchange.receivedAtMs = clock.monoMs()
      next.pass(scoring)
    }
    if (held.length > 0) setTimeout(release, 1)
  }

  return {
    gate(rows) {
      if (scoring !== null) return scoring.gate(rows)
      if (!isHolding) return 'ASSAY_NOT_READY'
      return held.length + rows > limits.inFlightMax ? 'ASSAY_OVERLOADED' : null
    },
    submit(bytes, exchange) {
      if (scoring !== null) return scoring.submit(bytes, exchange)
      const copy = Uint8Array.from(bytes)
      take(exchange, (to) => to.submit(copy, exchange))
    },
    submitValue: (value, exchange) => take(exchange, (to) => to.submitValue(value, exchange)),
    submitLabels: (value, exchange) => take(exchange, (to) => to.submitLabels(value, exchange)),
    inference: () => scoring?.inference() ?? null,
    infer: (asked, exchange) => take(exchange, (to) => to.infer(asked, exchange)),
    findDecision: (by) =>
      scoring === null ? reject('ASSAY_NOT_READY', 'the log is not read yet') : scoring.findDecision(by),
    hold() {
      isHolding = true
      setTimeout(() => (scoring === null ? refuse() : undefined), limits.heldMsMax).unref()
    },
    give(given) {
      scoring = given
      isHolding = false
      release()
    },
    refuse,
  }
}
