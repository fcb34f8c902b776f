// Transactions in, decisions out. The rows of a fetch go through the same pipeline as requests; what they came to goes
// out in one send per topic, or in few where it is long; the position is committed last.
// Invariants: rows of a partition are offered in the order of their offsets, each once the one before it was taken or
// refused for good, so that windows see them in that order; a position is committed only when the brokers hold every
// decision and dead letter before it, and each decision was durable before it was sent. What comes again after a fault
// is answered by the decision that it got, whoever made it: before the first batch of an assignment the output is read
// from the committed position to its end. A message that nobody can decide blocks nobody.
import { setTimeout as delay } from 'node:timers/promises'
import { AssayError } from '../../../errors.js'
import type { Limits } from '../../../limits.js'
import type { Clock } from '../../../runtime/clock.js'
import type { Scoring } from '../../exchange.js'
import type { Formats } from './formats.js'
import { deadLetterOf, decisionOf, inSends } from './messages.js'
import { keepStanding, newOutput, type Output, positionText, readPosition, type Standing } from './output.js'
import type { InBatch, InMessage, Membership, StreamClient } from './port.js'
import { Row, type RowHost } from './row.js'

export interface StreamOptions {
  readonly client: Pick<StreamClient, 'metadata' | 'readBack' | 'send'>
  readonly scoring: Scoring
  readonly formats: Pick<Formats, 'readings' | 'decisionType' | 'encode' | 'bodyOf'>
  readonly clock: Clock
  readonly limits: Limits
  readonly topics: { readonly decisions: string; readonly deadLetters: string }
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
/** Milliseconds before the second try of what the brokers refused; doubled with each. */
const RETRY_MS = 100
/** Milliseconds between two looks at the group while the brokers take their time. */
const BEAT_MS = 500

export function createStream(options: StreamOptions): Stream {
  const { client, scoring, formats, clock, limits, topics, counts } = options
  let isStopped = false
  /** Rows handed over and not settled, of all partitions. */
  let open = 0
  const outputs = new Map<number, Output>()

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

  /** Ends the membership where the client neither does it nor refuses to. */
  async function withinTime<Result>(acting: Promise<Result>): Promise<Result> {
    const isOver = new AbortController()
    const late = delay(limits.kafkaAnswerMsMax, undefined, { signal: isOver.signal }).then(() => {
      const error = new AssayError('ASSAY_KAFKA_UNAVAILABLE', `no answer within ${limits.kafkaAnswerMsMax} ms`)
      options.onStuck(error)
      throw error
    })
    try {
      return await Promise.race([acting, late])
    } finally {
      late.catch(() => undefined)
      isOver.abort()
    }
  }

  /** Tries until it succeeds; null where the partition is given up meanwhile. */
  async function untilDone<Result>(
    membership: Membership,
    what: string,
    act: () => Promise<Result>,
  ): Promise<Result | null> {
    for (let waitMs = RETRY_MS; !isOver(membership); waitMs = Math.min(2 * waitMs, limits.kafkaRetryMsMax)) {
      try {
        return await beating(membership, withinTime(act()))
      } catch (error) {
        options.onFault(what, error)
      }
      await delay(waitMs)
      await membership.heartbeat()
    }
    return null
  }

  /** Keeps the decisions of an output partition from `from` on; resolves with its end. */
  async function readDecisions(into: Map<string, Standing>, partition: number, from: number, before = Infinity) {
    const held: InMessage[] = []
    const end = await client.readBack(partition, from, limits.kafkaStandingMax, (message) => {
      const bytes = message.value?.length ?? Infinity
      if (message.offset < before && bytes <= limits.kafkaStandingBytesMax) held.push(message)
    })
    for (const message of held) {
      const body = await formats.bodyOf(message)
      if (body !== null) keepStanding(into, body)
    }
    return end
  }

  /** What this server knows of the output partition, read anew under each assignment. */
  async function outputOf({ topic, partition }: InBatch, membership: Membership): Promise<Output | null> {
    const output = outputs.get(partition) ?? newOutput()
    outputs.set(partition, output)
    if (output.generation === membership.generation) return output
    const end = await untilDone(membership, `the decisions in ${topics.decisions} cannot be read`, async () => {
      const from = readPosition(await client.metadata(topic, partition))
      output.standing.clear()
      return readDecisions(output.standing, partition, from)
    })
    if (end === null) return null
    output.end = end
    output.generation = membership.generation
    return output
  }

  /** Sends the decisions; where another member has written since, finds out whose come first. */
  async function sendDecisions(rows: readonly Row[], partition: number, output: Output, membership: Membership) {
    const what = `nothing can be written to ${topics.decisions}`
    const decisions = rows.flatMap((row) => decisionOf(row, formats))
    for (const messages of inSends(decisions, limits.kafkaSendBytesMax)) {
      const first = await untilDone(membership, what, () => client.send(topics.decisions, messages))
      if (first === null) return false
      if (first > output.end && !(await readBetween(rows, partition, output, first, membership))) return false
      output.end = first + messages.length
    }
    return true
  }

  /** Compares with what somebody else wrote between the end known and this server's own messages. */
  async function readBetween(
    rows: readonly Row[],
    partition: number,
    output: Output,
    first: number,
    membership: Membership,
  ): Promise<boolean> {
    const earlier = new Map<string, Standing>()
    const read = await untilDone(membership, `the decisions in ${topics.decisions} cannot be read`, () =>
      readDecisions(earlier, partition, output.end, first),
    )
    if (read === null) return false
    for (const row of rows) if (row.outcome?.kind === 'answer') row.compare(row.outcome.body, earlier)
    return true
  }

  async function sendDeadLetters(rows: readonly Row[], membership: Membership): Promise<boolean> {
    const letters = rows.flatMap((row) => deadLetterOf(row, clock.nowMs(), limits.kafkaSendBytesMax))
    for (const messages of inSends(letters, limits.kafkaSendBytesMax)) {
      const what = `nothing can be written to ${topics.deadLetters}`
      if ((await untilDone(membership, what, () => client.send(topics.deadLetters, messages))) === null) return false
    }
    return true
  }

  /** Logs which decisions of this server do not stand. */
  async function sayPassed(rows: readonly Row[], output: Output, membership: Membership): Promise<boolean> {
    for (const { passed } of rows) {
      if (passed === null || output.superseded.has(passed.decisionId)) continue
      const reason = `${passed.by} stands before it in its output partition`
      while (!scoring.supersede(passed.decisionId, reason)) {
        await delay(ROW_RETRY_MS)
        await membership.heartbeat()
        if (isOver(membership)) return false
      }
      output.superseded.add(passed.decisionId)
      counts.superseded++
    }
    return true
  }

  /**
   * Handles messages to the end, from the one at an index on: as many as are sent at once and can be read for now.
   * Their number; 0 where the partition is given up meanwhile.
   */
  async function handle(batch: InBatch, at: number, output: Output, membership: Membership): Promise<number> {
    const messages = batch.messages.slice(at, at + limits.kafkaBatchRowsMax)
    const readings = await untilDone(membership, 'schemas cannot be had', () => formats.readings(messages))
    if (readings === null) return 0
    const { partition, endOffset } = batch
    const host: RowHost = {
      ...{ batch, scoring, clock, limits, deadlineMs: options.deadlineMs(), standing: output.standing },
      onSettled: () => void open--,
    }
    const rows = readings.map((reading, index) => new Row(host, messages[index], reading))
    for (const row of rows) if (!(await take(row, membership))) return 0
    if (!(await settle(rows, membership))) return 0
    if (!(await sendDecisions(rows, partition, output, membership))) return 0
    if (!(await sayPassed(rows, output, membership))) return 0
    if (!(await sendDeadLetters(rows, membership))) return 0
    const next = messages[rows.length - 1].offset + 1
    await membership.commit(next, positionText(output.end))
    for (const row of rows) count(counts, row)
    output.superseded.clear()
    counts.lag.set(partition, endOffset - next)
    return rows.length
  }

  return {
    async onBatch(batch, membership) {
      const { messages, partition, endOffset } = batch
      if (messages.length === 0) return
      counts.lag.set(partition, endOffset - messages[0].offset)
      const output = await outputOf(batch, membership)
      if (output === null) return
      for (let at = 0, done = 1; at < messages.length && done > 0; at += done) {
        done = await handle(batch, at, output, membership)
      }
    },
    stop: () => void (isStopped = true),
  }
}

/** Waits, and stays in the group meanwhile. */
async function beating<Result>(membership: Membership, acting: Promise<Result>): Promise<Result> {
  const timer = setInterval(() => void membership.heartbeat().catch(() => undefined), BEAT_MS)
  try {
    return await acting
  } finally {
    clearInterval(timer)
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
