// Transactions in, decisions out. The rows of a fetch go through the same pipeline as requests; what they came to goes
// out in one send per topic, or in few where it is long; the position is committed last.
// Invariants: rows of a partition are offered in the order of their offsets, each once the one before it was taken or
// refused for good, so that windows see them in that order; a position is committed only when the brokers hold every
// decision and dead letter before it, and each decision was durable before it was sent. What comes again after a fault
// is answered by the decision that it got, whoever made it: before the first batch of an assignment the output is read
// from the committed position to its end. A message that nobody can decide blocks nobody.
import { setTimeout as delay } from 'node:timers/promises'
import type { Limits } from '../../../limits.js'
import type { Clock } from '../../../runtime/clock.js'
import type { Scoring } from '../../exchange.js'
import { createDelivery, type DeliveryOptions } from './delivery.js'
import type { Output } from './output.js'
import { createPatience } from './patience.js'
import type { InBatch, InMessage, Membership } from './port.js'
import { Row, type RowHost } from './row.js'

export interface StreamOptions {
  readonly client: DeliveryOptions['client']
  readonly scoring: Scoring
  readonly clock: Clock
  readonly limits: Limits
  readonly topics: DeliveryOptions['topics']
  readonly copyHeaders: readonly string[]
  readonly deadlineMs: () => number
  readonly counts: StreamCounts
  /** Something that is tried again was refused by the brokers, in words. */
  readonly onFault: (detail: string, error: unknown) => void
  /** The client does not even refuse: another one is to be made. */
  readonly onStuck: (error: unknown) => void
}

/** What the metrics show; by partition where a topic has them. */
export interface StreamCounts {
  decided: number
  replayed: number
  observed: number
  dead: number
  /** Decided by another server: taken over. */
  takenOver: number
  /** Decided here, while the output holds an earlier decision of another server. */
  superseded: number
  /** Messages not yet done, by partition, as of the last fetch. */
  readonly lag: Map<number, number>
}

export interface Stream {
  /** Done once its position is committed, or once the partition is another's or the stream is told to stop. */
  onBatch(batch: InBatch, membership: Membership): Promise<void>
  /** What is under way is let go of without a commit; it comes again. */
  stop(): void
}

/** Milliseconds between two tries of a row that the server cannot take. */
const ROW_RETRY_MS = 1

export function createStream(options: StreamOptions): Stream {
  const { scoring, clock, limits, counts } = options
  const patience = createPatience(options)
  const { isOver } = patience
  const delivery = createDelivery({ ...options, patience, onSuperseded: () => void counts.superseded++ })
  /** Rows handed over and not settled, of all partitions. */
  let open = 0

  /** Offers a row until it is taken, or refused for good. False where the partition is given up meanwhile. */
  async function take(row: Row, membership: Membership): Promise<boolean> {
    while (!isOver(membership)) {
      if (open < limits.kafkaRowsMax && scoring.gate(1) === null) {
        if (row.offer()) open++
        if (row.outcome?.kind !== 'again') return true
      }
      await delay(ROW_RETRY_MS)
      await membership.heartbeat()
    }
    return false
  }

  /** Waits until every row has come to something, offering again what is to be tried again. */
  async function settle(rows: readonly Row[], membership: Membership): Promise<boolean> {
    for (const row of rows) {
      while (row.outcome === null || row.outcome.kind === 'again') {
        if (row.outcome !== null && !(await take(row, membership))) return false
        if (row.outcome === null) await delay(ROW_RETRY_MS)
        await membership.heartbeat()
        if (isOver(membership)) return false
      }
    }
    return true
  }

  /** Handles some messages to the end; false where the partition is given up meanwhile. */
  async function handle(batch: InBatch, messages: readonly InMessage[], output: Output, membership: Membership) {
    const { partition, endOffset } = batch
    const host: RowHost = {
      ...{ batch, scoring, clock, limits, deadlineMs: options.deadlineMs(), standing: output.standing },
      onSettled: () => void open--,
    }
    const rows = messages.map((message) => new Row(host, message))
    for (const row of rows) if (!(await take(row, membership))) return false
    if (!(await settle(rows, membership))) return false
    if (!(await delivery.deliver(rows, output, membership))) return false
    for (const row of rows) count(counts, row)
    counts.lag.set(partition, endOffset - messages[messages.length - 1].offset - 1)
    return true
  }

  return {
    async onBatch(batch, membership) {
      if (batch.messages.length === 0) return
      counts.lag.set(batch.partition, batch.endOffset - batch.messages[0].offset)
      const output = await delivery.open(batch, membership)
      if (output === null) return
      const messages = batch.messages.filter(({ offset }) => offset >= output.begin)
      if (messages.length === 0) membership.advance(output.begin)
      for (let at = 0; at < messages.length; at += limits.kafkaBatchRowsMax) {
        if (!(await handle(batch, messages.slice(at, at + limits.kafkaBatchRowsMax), output, membership))) return
      }
    },
    stop: () => patience.stop(),
  }
}

function count(counts: StreamCounts, { outcome, mode }: Row): void {
  if (outcome?.kind === 'dead') counts.dead++
  else if (outcome?.kind !== 'answer') return
  else if (outcome.as === 'taken over') counts.takenOver++
  else if (mode === 'observe') counts.observed++
  else if (outcome.as === 'replayed') counts.replayed++
  else counts.decided++
}
