// Transactions in, decisions out. The rows of a fetch go through the same pipeline as requests; what they came to goes
// out in one send per topic, or in few where it is long; the position is committed last.
// Invariants: rows of a partition are offered in the order of their offsets, each once the one before it was taken or
// refused for good, so that windows see them in that order; a position is committed only when the brokers hold every
// decision and dead letter before it, and each decision was durable before it was sent. What comes again after a fault
// is answered by the decision that it got, whoever made it: before the first batch of an assignment the output is read
// from the committed position to its end. A message that nobody can decide blocks nobody.
import { setImmediate as nextTurn, setTimeout as delay } from 'node:timers/promises'
import type { Limits } from '../../../limits.js'
import type { Clock } from '../../../runtime/clock.js'
import type { StreamScoring } from '../../exchange.js'
import type { Delivery } from './delivery.js'
import type { Formats } from './formats.js'
import type { Output } from './output.js'
import type { Patience } from './patience.js'
import type { BatchHandler, InBatch, InMessage, Membership } from './port.js'
import { Row, type RowHost } from './row.js'
import type { Wave } from './wave.js'

export interface StreamOptions {
  readonly scoring: Pick<StreamScoring, 'hasRoom' | 'decided' | 'recall'>
  readonly clock: Clock
  readonly limits: Limits
  readonly counts: StreamCounts
  readonly patience: Patience
  readonly delivery: Delivery
  readonly wave: Wave
  /** Hands a message's bytes to the pipeline. */
  readonly submit: RowHost['submit']
  readonly submitValue: RowHost['submitValue']
  /** How the first messages are read: as many as can be told for now, and one at least. */
  readonly readings: Formats['readings']
  readonly count: (counts: StreamCounts, row: Row) => void
  readonly deadlineMs: () => number
  readonly maxAgeMs: number | null
  readonly whenOlder: 'observe' | 'flag'
  /** They were decided before, and the log no longer holds how: they are passed over. */
  readonly onMissing: (rows: readonly Row[]) => void
}

/** What the metrics show; by partition where a topic has them. */
export interface StreamCounts {
  decided: number
  replayed: number
  observed: number
  /** Messages of labels. */
  labels: number
  dead: number
  /** Decided by another server: taken over. */
  takenOver: number
  /** Decided here, while the output holds an earlier decision of another server. */
  superseded: number
  /** Done before, with nothing left to be sent: dead letters, repeats. */
  consumed: number
  /** Decided before, with a decision that nobody holds any more. */
  missing: number
  /** Messages not yet done, by topic and partition, as of the last fetch. */
  readonly lag: Map<string, { readonly topic: string; readonly partition: number; readonly messages: number }>
  /** Since when a partition waits, monotonic milliseconds: the last step of its batch, or the end of the membership. */
  readonly steppedAtMs: Map<string, number>
}

/** How a partition is named in the counts. */
export function keyOf({ topic, partition }: { readonly topic: string; readonly partition: number }): string {
  return `${topic} ${partition}`
}

/** Milliseconds between two tries of a row that the server cannot take. */
const ROW_RETRY_MS = 1
/** Rows handed over in one turn of the event loop: requests that came meanwhile do not wait for a whole fetch. */
const ROWS_A_TURN = 16
/** Milliseconds between two looks at the group while rows are under way. */
const LOOK_MS = 50

/** The rows of a part that are handed over and not settled. */
interface UnderWay {
  rows: number
  /** Set while somebody waits for the last of them. */
  onNone: (() => void) | null
}

/**
 * Handles the batches of a topic: each is done once its position is committed, once the partition is another's, or once
 * patience is at its end; what was under way then comes again.
 */
export function createStream(options: StreamOptions): BatchHandler {
  const { scoring, clock, limits, counts, delivery } = options
  const { isOver, untilDone } = options.patience
  /** Rows handed over and not settled, of all partitions. */
  let open = 0

  const lagOf = ({ topic, partition, endOffset }: InBatch, next: number): void =>
    void counts.lag.set(keyOf({ topic, partition }), { topic, partition, messages: endOffset - next })
  const step = (batch: InBatch): void => void counts.steppedAtMs.set(keyOf(batch), clock.monoMs())

  /** Offers a row, if there is room. True where it is taken, or refused for good. */
  function offer(row: Row, underWay: UnderWay): boolean {
    if (open >= limits.kafkaRowsMax || !scoring.hasRoom()) return false
    if (row.offer()) {
      open++
      underWay.rows++
    }
    return row.outcome?.kind !== 'again'
  }

  /** Offers rows in turn, each until taken or refused for good. False where the partition is given up meanwhile. */
  async function offerAll({ rows, underWay, batch, membership }: Part): Promise<boolean> {
    for (let at = 0; at < rows.length; at++) {
      if (at % ROWS_A_TURN === 0) {
        if (at > 0) await nextTurn()
        step(batch)
      }
      if (isOver(membership)) return false
      while (!offer(rows[at], underWay)) {
        await delay(ROW_RETRY_MS)
        await membership.heartbeat()
        if (isOver(membership)) return false
      }
    }
    return true
  }

  /** Waits until none is under way. False where the partition is given up meanwhile. */
  async function untilNone({ underWay, batch, membership }: Part): Promise<boolean> {
    while (underWay.rows > 0) {
      const before = underWay.rows
      await noneWithin(underWay, LOOK_MS)
      if (underWay.rows < before) step(batch)
      await membership.heartbeat()
      if (isOver(membership)) return false
    }
    return true
  }

  /** Offers the rows until every one has come to something. False where the partition is given up meanwhile. */
  async function settle(part: Part): Promise<boolean> {
    for (let tries = 0; ; tries++) {
      const rows = part.rows.filter(({ outcome }) => outcome === null || outcome.kind === 'again')
      if (rows.length === 0) return true
      if (tries > 0) await delay(ROW_RETRY_MS)
      if (!(await offerAll({ ...part, rows })) || !(await untilNone(part))) return false
    }
  }

  /** Answers from the decision log what was decided before and is held nowhere else. */
  async function recall(part: Part): Promise<boolean> {
    const { rows, batch, membership } = part
    const forgotten = rows.filter(({ outcome }) => outcome?.kind === 'forgotten')
    if (forgotten.length === 0) return true
    const sources = forgotten.map(({ source }) => source)
    for (;;) {
      const told = await untilDone(membership, 'the decision log is not read', () => scoring.recall(sources))
      if (told === null) return false
      if (told.value !== null) {
        const held = told.value
        const missing = forgotten.filter((row) => !row.recall(held.get(row.source.offset) ?? null))
        if (missing.length > 0) options.onMissing(missing)
        // Some may be other messages than were decided under their offsets.
        return settle(part)
      }
      await delay(ROW_RETRY_MS)
      await membership.heartbeat()
      step(batch)
    }
  }

  /**
   * Handles messages to the end, as many as can be read for now. Their number; 0 where the partition is given up
   * meanwhile.
   */
  async function handle(batch: InBatch, places: readonly Place[], output: Output, membership: Membership) {
    const messages = places.map(({ message }) => message)
    const told = await untilDone(membership, 'schemas cannot be had', () => options.readings(messages))
    if (told === null) return 0
    const { maxAgeMs, whenOlder, submit, submitValue } = options
    const { standing, observeUntil, topicId } = output
    const underWay: UnderWay = { rows: 0, onNone: null }
    const onSettled = (): void => {
      open--
      underWay.rows--
      if (underWay.rows === 0) underWay.onNone?.()
    }
    const host: RowHost = {
      ...{ batch, topicId, clock, limits, maxAgeMs, whenOlder, standing, observeUntil, submit, submitValue, onSettled },
      ...{ decided: scoring.decided, deadlineMs: options.deadlineMs() },
    }
    const rows = told.value.map((reading, index) => new Row(host, messages[index], places[index].skipped, reading))
    const part = { rows, underWay, batch, membership }
    if (!(await settle(part))) return 0
    if (!(await recall(part))) return 0
    if (!(await delivery.deliver(rows, output, membership))) return 0
    step(batch)
    for (const row of rows) options.count(counts, row)
    const codes = rows.flatMap(({ outcome }) => (outcome?.kind === 'dead' ? [outcome.code] : []))
    options.wave.add(rows.length, codes, output.newestLetter)
    lagOf(batch, messages[rows.length - 1].offset + 1)
    return rows.length
  }

  /** In parts; ends early where the partition is given up meanwhile. */
  async function handleAll(batch: InBatch, membership: Membership): Promise<void> {
    const output = await delivery.open(batch, membership)
    if (output === null) return
    const places = placesOf(batch).filter(({ message }) => message.offset >= output.begin)
    if (places.length === 0) membership.advance(output.begin)
    for (let at = 0, done = 1; at < places.length && done > 0; at += done) {
      done = await handle(batch, places.slice(at, at + limits.kafkaBatchRowsMax), output, membership)
    }
  }

  return async (batch, membership) => {
    if (batch.messages.length === 0) return
    lagOf(batch, batch.messages[0].offset)
    step(batch)
    try {
      await handleAll(batch, membership)
    } finally {
      counts.steppedAtMs.delete(keyOf(batch))
    }
  }
}

/** Rows whose decisions are sent, and whose position is committed, at once. */
interface Part {
  readonly rows: readonly Row[]
  readonly underWay: UnderWay
  readonly batch: InBatch
  readonly membership: Membership
}

/** Resolves when none is under way, or after so many milliseconds. */
function noneWithin(underWay: UnderWay, ms: number): Promise<void> {
  return new Promise((resolve) => {
    const end = (): void => {
      clearTimeout(timer)
      underWay.onNone = null
      resolve()
    }
    const timer = setTimeout(end, ms)
    underWay.onNone = end
  })
}

interface Place {
  readonly message: InMessage
  /** Offsets right before it that hold no message: those of markers, of what was aborted or compacted away. */
  readonly skipped: number
}

function placesOf({ messages, from }: InBatch): Place[] {
  return messages.map((message, at) => {
    const after = at === 0 ? from : messages[at - 1].offset + 1
    return { message, skipped: Math.max(0, message.offset - after) }
  })
}

/** Counts a transaction by what it came to. */
export function countTransaction(counts: StreamCounts, { outcome, isDecided }: Row): void {
  if (outcome?.kind === 'dead') counts.dead++
  else if (outcome?.kind === 'consumed') counts.consumed++
  else if (outcome?.kind !== 'answer') return
  else if (outcome.as === 'taken over') counts.takenOver++
  else if (outcome.as === 'replayed') counts.replayed++
  else if (isDecided) counts.decided++
  else counts.observed++
}

export function countLabels(counts: StreamCounts, { outcome }: Row): void {
  if (outcome?.kind === 'dead') counts.dead++
  else counts.labels++
}
