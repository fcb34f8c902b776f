// Sends dead letters again, in the order in which they lie, and says of each what became of it.
// Invariant: a letter is reported as sent only once all in-sync replicas have it; where a send failed it is not known
// whether the brokers have it, and nothing is sent after it. What is sent twice is decided once: by its first decision.
import { holdsCardData } from '../../../contract/card-data.js'
import type { Limits } from '../../../limits.js'
import type { LetterBox } from './letter-box.js'
import { type Letter, placeText, replayOfText, whyNotSent } from './letters.js'
import { inParts, OVERHEAD_BYTES, replayOf } from './messages.js'
import type { InMessage, OutMessage } from './port.js'

export interface Fate {
  readonly letter: Letter
  /** `unknown`: its send failed. `left`: an earlier one's did. `gone`: it is not held any more. */
  readonly kind: 'sent' | 'refused' | 'unknown' | 'left' | 'gone'
  /** Where it was sent to, or why not. */
  readonly detail: string
}

export interface ReplayOptions {
  readonly box: Pick<LetterBox, 'inputPartitions' | 'readAt' | 'send'>
  readonly topics: { readonly transactions: string; readonly deadLetters: string }
  readonly limits: Pick<Limits, 'kafkaSendBytesMax'>
  /** Says what would be done, and sends nothing. */
  readonly isDry: boolean
  readonly onFate: (fate: Fate) => void
}

interface Sendable {
  readonly letter: Letter
  /** Partition of the input. */
  readonly to: number
}

/** Resolves with the error that ended it, null where nothing failed. Each letter has its fate then. */
export async function replayLetters(letters: readonly Letter[], options: ReplayOptions): Promise<unknown> {
  const { topics, limits, isDry, onFate } = options
  const sendable: Sendable[] = []
  for (const letter of inOrder(letters)) {
    const why = whyNotSent(letter, topics.transactions, options.box.inputPartitions)
    if (why !== null || letter.origin === null) onFate({ letter, kind: 'refused', detail: why ?? '' })
    else sendable.push({ letter, to: letter.origin.partition })
  }
  if (isDry) {
    for (const { letter, to } of sendable) onFate({ letter, kind: 'sent', detail: `${topics.transactions} ${to}` })
    return null
  }
  let failure: unknown = null
  for (const run of runsOf(sendable)) {
    for (const part of inParts(run, limits.kafkaSendBytesMax, ({ letter }) => letter.heldBytes + OVERHEAD_BYTES)) {
      if (failure === null) failure = await sendPart(part, options)
      else for (const { letter } of part) onFate({ letter, kind: 'left', detail: 'an earlier one was not sent' })
    }
  }
  return failure
}

/** Letters that were not sent again, or whose replay has not come back as a newer letter among these. */
export function newestOf(letters: readonly Letter[], topic: string): Letter[] {
  const cameBack = new Set(letters.map((letter) => letter.replayOf))
  return letters.filter(({ place }) => !cameBack.has(replayOfText(topic, place)))
}

function inOrder(letters: readonly Letter[]): Letter[] {
  return [...letters].sort(({ place: a }, { place: b }) => a.partition - b.partition || a.offset - b.offset)
}

/** Neighbours that lie in one partition and go to one. */
function runsOf(sendable: readonly Sendable[]): Sendable[][] {
  const runs: Sendable[][] = []
  for (const each of sendable) {
    const last = runs.at(-1)?.at(-1)
    if (last?.to === each.to && last.letter.place.partition === each.letter.place.partition) runs.at(-1)?.push(each)
    else runs.push([each])
  }
  return runs
}

/** Letters of this transport never do; anybody may write to their topic. */
function isCard({ key, value }: InMessage): boolean {
  return [key, value].some((part) => part !== null && holdsCardData(part.toString('latin1')))
}

/** Reads the bytes of letters of one run, and sends them. Resolves with the error, null where there was none. */
async function sendPart(part: readonly Sendable[], { box, topics, onFate }: ReplayOptions): Promise<unknown> {
  const [{ letter: first, to }] = part
  const offsets = part.map(({ letter }) => letter.place.offset)
  const going: { letter: Letter; message: OutMessage }[] = []
  try {
    const read = await box.readAt(first.place.partition, offsets)
    const held = new Map(read.map((message) => [message.offset, message]))
    for (const { letter } of part) {
      const message = held.get(letter.place.offset)
      if (message === undefined) onFate({ letter, kind: 'gone', detail: 'it is not held any more' })
      else if (isCard(message)) onFate({ letter, kind: 'refused', detail: 'it holds card data' })
      else going.push({ letter, message: replayOf(topics.deadLetters, letter, to, message) })
    }
  } catch (error) {
    for (const { letter } of part) onFate({ letter, kind: 'left', detail: 'its bytes could not be read' })
    return error
  }
  if (going.length === 0) return null
  try {
    const start = await box.send(going.map(({ message }) => message))
    for (const [at, { letter }] of going.entries())
      onFate({
        letter,
        kind: 'sent',
        detail: `${topics.transactions} ${placeText({ partition: to, offset: start + at })}`,
      })
    return null
  } catch (error) {
    for (const { letter } of going) onFate({ letter, kind: 'unknown', detail: 'its send failed: it may have gone out' })
    return error
  }
}
