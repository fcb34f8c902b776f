// What is known of the output, and how decisions, dead letters and the position reach the brokers: one after the other,
// the position last; or in one transaction.
// Invariant: a position is committed only when the brokers hold every decision and dead letter before it, and what
// stands before this server's decisions on the output has been looked at.
import { setTimeout as delay } from 'node:timers/promises'
import type { Limits } from '../../../limits.js'
import type { Clock } from '../../../runtime/clock.js'
import type { StreamScoring } from '../../exchange.js'
import type { Formats } from './formats.js'
import { placeText } from './letters.js'
import { deadLetterOf, decisionOf, inSends } from './messages.js'
import { keepStanding, newOutput, type Output, positionText, readPosition, type Standing } from './output.js'
import type { Patience } from './patience.js'
import type { InBatch, InMessage, Membership, OutMessage, Position, StreamClient, Transactions } from './port.js'
import type { Row } from './row.js'

export interface DeliveryOptions {
  readonly client: Pick<StreamClient, 'bounds' | 'topicId' | 'position' | 'readBack' | 'send' | 'transactions'>
  readonly formats: Pick<Formats, 'decisionType' | 'encode' | 'bodyOf'>
  readonly scoring: Pick<StreamScoring, 'supersede' | 'consume' | 'decided'>
  readonly clock: Clock
  readonly limits: Limits
  readonly topics: { readonly decisions: string; readonly deadLetters: string }
  readonly copyHeaders: readonly string[]
  /** Milliseconds since 1970 from which a new group takes history in; null: all of it; undefined: none. */
  readonly bootstrapFromMs: number | null | undefined
  readonly patience: Patience
  readonly onSuperseded: () => void
  /** Of the transactions' topic, before anything of it was fetched. */
  readonly topicId: string | null
}

export interface Delivery {
  /**
   * What this server knows of the output partition, read anew under each assignment. Null where it is given up, and
   * where the batch is to be fetched again, since it may be of another topic of that name.
   */
  open(batch: InBatch, membership: Membership): Promise<Output | null>
  /** What the rows came to, and the position after them. False where the partition is given up meanwhile. */
  deliver(rows: readonly Row[], output: Output, membership: Membership): Promise<boolean>
}

/** Milliseconds between two looks at whether the log has room. */
const LOG_RETRY_MS = 1

/** Of labels, which have no output: dead letters and the position. */
export function createInputDelivery(options: DeliveryOptions): Delivery {
  return {
    open: () => Promise.resolve(newOutput(null)),
    async deliver(rows, output, membership) {
      if (!(await sendDeadLetters(options, rows, output, membership))) return false
      await membership.commit(rows[rows.length - 1].source.offset + 1, '')
      return true
    },
  }
}

export function createDelivery(options: DeliveryOptions): Delivery {
  const { client, formats, scoring, limits, topics, patience } = options
  const { untilDone } = patience
  const outputs = new Map<number, Output>()

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

  const decisionsOf = (rows: readonly Row[]): OutMessage[] =>
    rows.flatMap((row) => decisionOf(row, options.copyHeaders, formats))

  /** Reads the output from the committed position on; where that is asked for, once nobody else can write to it. */
  async function look(batch: InBatch, output: Output, membership: Membership): Promise<boolean> {
    const { topic, partition } = batch
    const known = output.topicId
    output.topicId = await client.topicId(topic)
    // No id comes again: what was fetched between two equal answers is of that topic.
    if (output.topicId !== known) return false
    await client.transactions?.fence(partition)
    const committed = await client.position(topic, partition)
    const held = committed.offset < 0 ? await beginning(batch) : committed
    // The group refuses it where this is no member any more: who took the partition is not to be fenced.
    if (committed.offset < 0 || client.transactions !== null) await membership.commit(held.offset, held.metadata)
    output.standing.clear()
    const { end, observeUntil } = readPosition(held.metadata)
    output.end = await readDecisions(output.standing, partition, end)
    output.observeUntil = observeUntil
    output.begin = output.next = held.offset
    output.generation = membership.generation
    return true
  }

  /** The position of a group that has none: where it reads first, or at the history that it is to take in. */
  async function beginning({ topic, partition, messages }: InBatch): Promise<Position> {
    const { bootstrapFromMs } = options
    if (bootstrapFromMs === undefined) return { offset: messages[0].offset, metadata: '' }
    const { start, end } = await client.bounds(topic, partition, bootstrapFromMs)
    return { offset: start, metadata: positionText({ end: 0, observeUntil: end }) }
  }

  /** Sends the decisions; where another member has written since, finds out whose come first. */
  async function sendDecisions(rows: readonly Row[], partition: number, output: Output, membership: Membership) {
    const what = `nothing can be written to ${topics.decisions}`
    for (const messages of inSends(decisionsOf(rows), limits.kafkaSendBytesMax)) {
      const sent = await untilDone(membership, what, () => client.send(topics.decisions, messages))
      if (sent === null) return false
      const first = sent.value
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

  /** Tries until the log takes it. False where the partition is given up meanwhile. */
  async function untilLogged(membership: Membership, log: () => boolean): Promise<boolean> {
    while (!log()) {
      await delay(LOG_RETRY_MS)
      await membership.heartbeat()
      if (patience.isOver(membership)) return false
    }
    return true
  }

  /** Logs which decisions of this server do not stand. */
  async function sayPassed(rows: readonly Row[], output: Output, membership: Membership): Promise<boolean> {
    for (const { passed } of rows) {
      if (passed === null || output.superseded.has(passed.decisionId)) continue
      const reason = `${passed.by} stands before it in its output partition`
      if (!(await untilLogged(membership, () => scoring.supersede(passed.decisionId, reason)))) return false
      output.superseded.add(passed.decisionId)
      options.onSuperseded()
    }
    return true
  }

  /** Logs what the brokers hold the outcome of and has no record of its own: dead letters, repeats. */
  async function sayConsumed(rows: readonly Row[], membership: Membership): Promise<boolean> {
    for (const { outcome, source } of rows) {
      if (source.topicId === null || scoring.decided.has(source)) continue
      const code = outcome?.kind === 'dead' ? outcome.code : null
      if (!(await untilLogged(membership, () => scoring.consume(source, code)))) return false
    }
    return true
  }

  async function deliverInTurn(rows: readonly Row[], output: Output, membership: Membership): Promise<boolean> {
    const { partition, offset } = rows[rows.length - 1].source
    if (!(await sendDecisions(rows, partition, output, membership))) return false
    if (!(await sayPassed(rows, output, membership))) return false
    if (!(await sendDeadLetters(options, rows, output, membership))) return false
    if (!(await sayConsumed(rows, membership))) return false
    await membership.commit(offset + 1, positionText(output))
    output.next = offset + 1
    return true
  }

  async function deliverAtOnce(
    rows: readonly Row[],
    output: Output,
    membership: Membership,
    transactions: Transactions,
  ): Promise<boolean> {
    const { partition, offset } = rows[rows.length - 1].source
    if (!(await sayPassed(rows, output, membership))) return false
    const sends = [
      ...inSends(decisionsOf(rows), limits.kafkaSendBytesMax).map((messages) => ({
        topic: topics.decisions,
        messages,
      })),
      ...inSends(lettersOf(options, rows), limits.kafkaSendBytesMax).map((messages) => ({
        topic: topics.deadLetters,
        messages,
      })),
    ]
    const position = { offset: offset + 1, metadata: positionText(output) }
    // Tried once: whether it came to something is seen when the partition is looked at anew.
    output.generation = -1
    const what = `nothing can be written to ${topics.decisions}`
    const done = await patience.once(membership, what, () => transactions.deliver(partition, sends, position))
    if (done === null) return false
    // Where the partition is given up meanwhile, what was committed does not come again.
    await sayConsumed(rows, membership)
    output.generation = membership.generation
    output.next = offset + 1
    membership.advance(offset + 1)
    return true
  }

  return {
    async open(batch, membership) {
      const output = outputs.get(batch.partition) ?? newOutput(options.topicId)
      outputs.set(batch.partition, output)
      // Under an assignment offsets only rise, but where a topic was made again.
      const goesOn = batch.messages[0].offset >= output.next
      if (output.generation === membership.generation && goesOn) return output
      const what = `the decisions in ${topics.decisions} cannot be read`
      const done = await untilDone(membership, what, () => look(batch, output, membership))
      return done?.value === true ? output : null
    },
    async deliver(rows, output, membership) {
      const { transactions } = client
      const isDone =
        transactions === null
          ? await deliverInTurn(rows, output, membership)
          : await deliverAtOnce(rows, output, membership, transactions)
      if (isDone) output.superseded.clear()
      return isDone
    },
  }
}

function lettersOf({ clock, limits }: DeliveryOptions, rows: readonly Row[]): OutMessage[] {
  return rows.flatMap((row) => deadLetterOf(row, clock.nowMs(), limits.kafkaSendBytesMax))
}

async function sendDeadLetters(
  options: DeliveryOptions,
  rows: readonly Row[],
  output: Output,
  membership: Membership,
): Promise<boolean> {
  const { client, limits, patience, topics } = options
  const what = `nothing can be written to ${topics.deadLetters}`
  for (const messages of inSends(lettersOf(options, rows), limits.kafkaSendBytesMax)) {
    const sent = await patience.untilDone(membership, what, () => client.send(topics.deadLetters, messages))
    if (sent === null) return false
    const { partition } = messages[0]
    output.newestLetter = `${topics.deadLetters} ${placeText({ partition, offset: sent.value + messages.length - 1 })}`
  }
  return true
}
