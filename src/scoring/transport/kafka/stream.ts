// Transactions in, decisions out. The rows of a fetch go through the same pipeline as requests; what they came to goes
// out in one send per topic; the position is committed last.
// Invariants: rows of a partition are offered in the order of their offsets, each once the one before it was taken or
// refused for good, so that windows see them in that order; a position is committed only when the brokers hold every
// decision and dead letter before it, and each decision was durable before it was sent. What comes again after a fault
// is answered by the decision that it got. A message that nobody can decide blocks nobody.
import { setTimeout as delay } from 'node:timers/promises'
import type { Limits } from '../../../limits.js'
import type { Clock } from '../../../runtime/clock.js'
import type { Scoring } from '../../exchange.js'
import type { InBatch, Membership, OutMessage, StreamClient } from './port.js'
import { Row, type RowHost } from './row.js'

export interface StreamOptions {
  readonly client: Pick<StreamClient, 'send'>
  readonly scoring: Scoring
  readonly clock: Clock
  readonly limits: Pick<Limits, 'bodyBytesMax' | 'kafkaRowsMax' | 'kafkaTriesMax' | 'kafkaRetryMsMax'>
  readonly topics: { readonly decisions: string; readonly deadLetters: string }
  readonly deadlineMs: () => number
  readonly counts: StreamCounts
  /** Something that is tried again was refused by the brokers, in words. */
  readonly onFault: (detail: string, error: unknown) => void
}

/** What the metrics show; by partition where a topic has them. */
export interface StreamCounts {
  decided: number
  replayed: number
  observed: number
  dead: number
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
const SEND_RETRY_MS = 100

export function createStream(options: StreamOptions): Stream {
  const { client, scoring, clock, limits, topics, counts } = options
  let isStopped = false
  /** Rows handed over and not settled, of all partitions. */
  let open = 0

  const isOver = (membership: Membership): boolean => isStopped || membership.isRevoked()

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

  async function send(topic: string, messages: readonly OutMessage[], membership: Membership): Promise<boolean> {
    for (let waitMs = SEND_RETRY_MS; messages.length > 0; waitMs = Math.min(2 * waitMs, limits.kafkaRetryMsMax)) {
      try {
        await client.send(topic, messages)
        return true
      } catch (error) {
        options.onFault(`nothing can be written to ${topic}`, error)
      }
      await delay(waitMs)
      await membership.heartbeat()
      if (isOver(membership)) return false
    }
    return true
  }

  return {
    async onBatch(batch, membership) {
      const { messages, partition, endOffset } = batch
      const last = messages.at(-1)
      if (last === undefined) return
      counts.lag.set(partition, endOffset - messages[0].offset)
      const host: RowHost = {
        ...{ batch, scoring, clock, limits, deadlineMs: options.deadlineMs() },
        onSettled: () => void open--,
      }
      const rows = messages.map((message) => new Row(host, message))
      for (const row of rows) if (!(await take(row, membership))) return
      if (!(await settle(rows, membership))) return
      if (!(await send(topics.decisions, rows.flatMap(decisionOf), membership))) return
      const dead = rows.flatMap((row) => deadLetterOf(row, clock.nowMs()))
      if (!(await send(topics.deadLetters, dead, membership))) return
      for (const row of rows) count(counts, row)
      await membership.commit(last.offset + 1)
      counts.lag.set(partition, endOffset - last.offset - 1)
    },
    stop: () => void (isStopped = true),
  }
}

function count(counts: StreamCounts, { outcome, mode }: Row): void {
  if (outcome?.kind === 'dead') counts.dead++
  else if (outcome?.kind !== 'answer') return
  else if (mode === 'observe') counts.observed++
  else if (outcome.replayed) counts.replayed++
  else counts.decided++
}

/** The decision, under the transaction's own key, in the partition of the same number; an observed one has none. */
function decisionOf({ outcome, message, source, mode, traceparent }: Row): OutMessage[] {
  if (outcome?.kind !== 'answer' || mode === 'observe') return []
  const headers = {
    'content-type': 'application/json',
    ...(outcome.replayed && { replayed: 'true' }),
    ...(traceparent !== null && { traceparent }),
  }
  return [{ partition: source.partition, key: message.key, value: Buffer.from(outcome.body), headers }]
}

/** The original bytes, and where they came from; where they hold card data, only that. */
function deadLetterOf({ outcome, message, source, tries }: Row, nowMs: number): OutMessage[] {
  if (outcome?.kind !== 'dead') return []
  const { key, value } = outcome.holdsCardData ? { key: null, value: null } : message
  const headers = {
    'assay-error-code': outcome.code,
    'assay-error-path': outcome.path,
    'assay-topic': source.topic,
    'assay-partition': String(source.partition),
    'assay-offset': String(source.offset),
    'assay-time': new Date(nowMs).toISOString(),
    'assay-attempt': String(tries),
  }
  return [{ partition: source.partition, key, value, headers }]
}
