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
import { placeText } from './letters.js'
import { deadLetterOf, decisionOf, inSends } from './messages.js'
import { keepStanding, newOutput, type Output, positionText, readPosition, type Standing } from './output.js'
import type { InBatch, InMessage, Membership, StreamClient } from './port.js'
import { Row, type RowHost } from './row.js'
import type { Wave } from './wave.js'

export interface StreamOptions {
  readonly client: Pick<StreamClient, 'metadata' | 'readBack' | 'send'>
  readonly scoring: Scoring
  readonly clock: Clock
  readonly limits: Limits
  readonly topics: { readonly decisions: string; readonly deadLetters: string }
  readonly deadlineMs: () => number
  readonly counts: StreamCounts
  readonly wave: Wave
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
  /** Since when a partition waits, monotonic milliseconds: the last step of its batch, or the end of the membership. */
  readonly steppedAtMs: Map<number, number>
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
  const { client, scoring, clock, limits, topics, counts } = options
  let isStopped = false
  /** Rows handed over and not settled, of all partitions. */
  let open = 0
  const outputs = new Map<number, Output>()

  const step = (partition: number): void => void counts.steppedAtMs.set(partition, clock.monoMs())
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
      step(row.source.partition)
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

  const keep = (into: Map<string, Standing>) => (held: InMessage) =>
    keepStanding(into, held, limits.kafkaStandingBytesMax)

  /** What this server knows of the output partition, read anew under each assignment. */
  async function outputOf({ topic, partition }: InBatch, membership: Membership): Promise<Output | null> {
    const output = outputs.get(partition) ?? newOutput()
    outputs.set(partition, output)
    if (output.generation === membership.generation) return output
    const end = await untilDone(membership, `the decisions in ${topics.decisions} cannot be read`, async () => {
      const from = readPosition(await client.metadata(topic, partition))
      output.standing.clear()
      return client.readBack(partition, from, limits.kafkaStandingMax, keep(output.standing))
    })
    if (end === null) return null
    output.end = end
    output.generation = membership.generation
    return output
  }

  /** Sends the decisions; where another member has written since, finds out whose come first. */
  async function sendDecisions(rows: readonly Row[], partition: number, output: Output, membership: Membership) {
    const what = `nothing can be written to ${topics.decisions}`
    for (const messages of inSends(rows.flatMap(decisionOf), limits.kafkaSendBytesMax)) {
      const first = await untilDone(membership, what, () => client.send(topics.decisions, messages))
      if (first === null) return false
      step(partition)
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
      client.readBack(partition, output.end, limits.kafkaStandingMax, (held) => {
        if (held.offset < first) keep(earlier)(held)
      }),
    )
    if (read === null) return false
    for (const row of rows) if (row.outcome?.kind === 'answer') row.compare(row.outcome.body, earlier)
    return true
  }

  /** Resolves with the place of the newest, '' where there are none, null where the partition is given up meanwhile. */
  async function sendDeadLetters(rows: readonly Row[], partition: number, membership: Membership) {
    const letters = rows.flatMap((row) => deadLetterOf(row, clock.nowMs(), limits.kafkaSendBytesMax))
    const what = `nothing can be written to ${topics.deadLetters}`
    let newest = ''
    for (const messages of inSends(letters, limits.kafkaSendBytesMax)) {
      const first = await untilDone(membership, what, () => client.send(topics.deadLetters, messages))
      if (first === null) return null
      step(partition)
      newest = `${topics.deadLetters} ${placeText({ partition, offset: first + messages.length - 1 })}`
    }
    return newest
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

  /** Handles some messages to the end; false where the partition is given up meanwhile. */
  async function handle(batch: InBatch, messages: readonly InMessage[], output: Output, membership: Membership) {
    const { partition, endOffset } = batch
    const host: RowHost = {
      ...{ batch, scoring, clock, limits, deadlineMs: options.deadlineMs(), standing: output.standing },
      onSettled: () => void open--,
    }
    const rows = messages.map((message) => new Row(host, message))
    for (const row of rows) {
      if (!(await take(row, membership))) return false
      step(partition)
    }
    if (!(await settle(rows, membership))) return false
    if (!(await sendDecisions(rows, partition, output, membership))) return false
    if (!(await sayPassed(rows, output, membership))) return false
    const newest = await sendDeadLetters(rows, partition, membership)
    if (newest === null) return false
    const next = messages[messages.length - 1].offset + 1
    await membership.commit(next, positionText(output.end))
    step(partition)
    for (const row of rows) count(counts, row)
    const codes = rows.flatMap(({ outcome }) => (outcome?.kind === 'dead' ? [outcome.code] : []))
    options.wave.add(rows.length, codes, newest === '' ? null : newest)
    output.superseded.clear()
    counts.lag.set(partition, endOffset - next)
    return true
  }

  /** In parts; ends early where the partition is given up meanwhile. */
  async function handleAll(batch: InBatch, membership: Membership): Promise<void> {
    const { messages } = batch
    const output = await outputOf(batch, membership)
    if (output === null) return
    for (let at = 0; at < messages.length; at += limits.kafkaBatchRowsMax) {
      if (!(await handle(batch, messages.slice(at, at + limits.kafkaBatchRowsMax), output, membership))) return
    }
  }

  return {
    async onBatch(batch, membership) {
      const { messages, partition, endOffset } = batch
      if (messages.length === 0) return
      counts.lag.set(partition, endOffset - messages[0].offset)
      step(partition)
      try {
        await handleAll(batch, membership)
      } finally {
        counts.steppedAtMs.delete(partition)
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
