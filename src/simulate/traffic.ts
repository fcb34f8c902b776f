// Open-loop traffic against a running server: each transaction has an intended start, and is sent then or as soon after
// as the process gets to it, whether or not the server keeps up; latency counts from the intended start.
// Invariant: bounded in time and in what is under way; labels follow their transactions by the given delay.
import type { Clock } from '../runtime/clock.js'
import type { Client } from './client.js'
import type { SimulatedTransaction, Simulator, Switches } from './generator.js'
import type { Tally } from './tally.js'

export interface TrafficPlan {
  /** Transactions a second. */
  readonly rate: number
  readonly durationMs: number
  /** From this moment of the run on, the switches act and the rate is multiplied. */
  readonly afterMs: number
  readonly switches: Partial<Switches>
  readonly spike: { readonly factor: number; readonly durationMs: number }
  /** Milliseconds from a fraud's decision to its label; null sends no labels. */
  readonly labelDelayMs: number | null
}

export interface TrafficDeps {
  readonly clock: Clock
  readonly client: Client
  readonly simulator: Simulator
  readonly tally: Tally
  /** Gets the progress line, once a second. */
  readonly say: (line: string) => void
}

export interface TrafficEnd {
  readonly reason: 'done' | 'stopped' | 'caught_up'
  readonly labels: { readonly sent: number; readonly failed: number; readonly notDue: number }
}

export interface Traffic {
  /** Resolves once everything sent was answered or failed. */
  readonly ended: Promise<TrafficEnd>
  /** Ends the run early; what is under way is still awaited. */
  stop(): void
}

/** Requests under way; beyond it a due transaction is counted as not sent. */
const UNDER_WAY_MAX = 4096
const LABELS_WAITING_MAX = 100_000
const LABELS_A_POST = 256
const TICK_MS = 2
const LINE_MS = 1000

type Wire = SimulatedTransaction['wire']

interface Due {
  readonly atMs: number
  readonly label: Pick<Wire, 'transaction_id' | 'occurred_at' | 'customer_id' | 'terminal_id'> & {
    readonly fraud: true
    readonly source: string
    readonly known_at: string
  }
}

/** Starts sending at once. */
export function startTraffic(deps: TrafficDeps, plan: TrafficPlan): Traffic {
  const { clock, client, simulator, tally } = deps
  const startedMs = clock.monoMs()
  const labels: Due[] = []
  const labelCounts = { sent: 0, failed: 0 }
  /** Of the run, not of the clock: sums of steps stay exact. */
  let nextMs = 0
  let underWay = 0
  let reason: TrafficEnd['reason'] | null = null
  let switched = false
  let resolveEnd: (end: TrafficEnd) => void = () => undefined
  const ended = new Promise<TrafficEnd>((resolve) => (resolveEnd = resolve))

  const rateAt = (ms: number): number => {
    const spiking = ms >= plan.afterMs && ms < plan.afterMs + plan.spike.durationMs
    return spiking ? plan.rate * plan.spike.factor : plan.rate
  }
  const send = (each: SimulatedTransaction, intendedMs: number): void => {
    underWay++
    client.post('/v1/score', JSON.stringify(each.wire), (reply) => {
      underWay--
      tally.count(reply, { fraud: each.fraud, latencyMs: clock.monoMs() - intendedMs })
      if (each.fraud && reply.status === 200 && plan.labelDelayMs !== null && labels.length < LABELS_WAITING_MAX) {
        labels.push({
          atMs: clock.monoMs() + plan.labelDelayMs,
          label: labelOf(each, clock.nowMs() + plan.labelDelayMs),
        })
      }
    })
  }
  const sendLabels = (nowMs: number): void => {
    while (labels.length > 0 && labels[0].atMs <= nowMs) {
      const due = labels.splice(0, Math.min(LABELS_A_POST, firstLater(labels, nowMs)))
      underWay++
      client.post('/v1/labels', JSON.stringify(due.map(({ label }) => label)), (reply) => {
        underWay--
        labelCounts[reply.status === 202 ? 'sent' : 'failed'] += due.length
      })
    }
  }
  const sendDue = (nowMs: number): void => {
    for (; nextMs <= nowMs - startedMs; nextMs += 1000 / rateAt(nextMs)) {
      if (!switched && nextMs >= plan.afterMs) {
        switched = true
        simulator.apply(plan.switches)
      }
      if (nextMs >= plan.durationMs) {
        reason ??= 'done'
        return
      }
      const each = simulator.next()
      if (each.occurredAtMs > clock.nowMs()) {
        reason ??= 'caught_up'
        return
      }
      if (underWay < UNDER_WAY_MAX) send(each, startedMs + nextMs)
      else tally.skip()
    }
  }
  const tick = (): void => {
    const nowMs = clock.monoMs()
    if (reason === null) sendDue(nowMs)
    sendLabels(nowMs)
    if (reason === null || underWay > 0) return
    clearInterval(ticking)
    clearInterval(lining)
    resolveEnd({ reason, labels: { ...labelCounts, notDue: labels.length } })
  }
  const line = (): string => {
    const seconds = (ms: number): string => `${Math.round(ms / 1000)}s`
    return `${seconds(clock.monoMs() - startedMs)} of ${seconds(plan.durationMs)}  ${tally.line(LINE_MS / 1000)}`
  }
  const ticking = setInterval(tick, TICK_MS)
  const lining = setInterval(() => deps.say(line()), LINE_MS)
  return {
    ended,
    stop() {
      reason ??= 'stopped'
    },
  }
}

function labelOf(each: SimulatedTransaction, knownAtMs: number): Due['label'] {
  const { transaction_id, occurred_at, customer_id, terminal_id } = each.wire
  const known_at = new Date(Math.round(knownAtMs)).toISOString()
  return { transaction_id, fraud: true, source: 'chargeback', known_at, occurred_at, customer_id, terminal_id }
}

/** How many labels at the front are due. */
function firstLater(labels: readonly Due[], nowMs: number): number {
  const later = labels.findIndex(({ atMs }) => atMs > nowMs)
  return later === -1 ? labels.length : later
}
