// A dead letter as people look at it: where it lies, why it is there, where it came from, and whether it can be sent
// again. Pure, and without the bytes of value and key, which a summary never holds.
// What a letter says is what anybody may have written to its topic: texts are cut, and shown without control
// characters.
import { holdsCardData } from '../../../contract/card-data.js'
import { type Mode, parseMode } from '../../../contract/transaction.js'
import type { InMessage } from './port.js'

/** A place in a topic, written `partition:offset`. */
export interface Place {
  readonly partition: number
  readonly offset: number
}

export type LeftOut = 'card-data' | 'size'

export interface Letter {
  readonly place: Place
  /** When it was written, milliseconds since 1970; null where it does not say. */
  readonly timeMs: number | null
  readonly code: string
  readonly path: string
  readonly origin: (Place & { readonly topic: string }) | null
  /** Tries that have failed, over all replays. */
  readonly attempt: number
  /** Bytes of the original value; null where it had none. */
  readonly bytes: number | null
  /** Bytes that are held of value and key. */
  readonly heldBytes: number
  readonly hasValue: boolean
  readonly hasKey: boolean
  readonly leftOut: LeftOut | null
  /** The letter that was sent again, and failed as this one. */
  readonly replayOf: string | null
  /** Mode in which it is to be sent again, where that is not the usual one. */
  readonly mode: Mode | null
}

type Headers = InMessage['headers']

const TEXT_CHARS_MAX = 256
const REPLAY_OF = /^[a-zA-Z0-9._-]{1,249}\/\d{1,9}\/\d{1,15}$/

export function letterOf(partition: number, { offset, key, value, headers }: InMessage): Letter {
  const leftOut = textOf(headers, 'assay-left-out')
  const timeMs = Date.parse(textOf(headers, 'assay-time'))
  const topic = textOf(headers, 'assay-topic')
  const from = { partition: numberOf(headers, 'assay-partition'), offset: numberOf(headers, 'assay-offset') }
  return {
    place: { partition, offset },
    timeMs: Number.isNaN(timeMs) ? null : timeMs,
    code: textOf(headers, 'assay-error-code'),
    path: textOf(headers, 'assay-error-path'),
    origin: topic === '' || Number.isNaN(from.partition + from.offset) ? null : { topic, ...from },
    attempt: readAttempt(headers),
    bytes: value?.length ?? (leftOut === '' ? null : numberOf(headers, 'assay-bytes') || null),
    heldBytes: (value?.length ?? 0) + (key?.length ?? 0),
    hasValue: value !== null,
    hasKey: key !== null,
    leftOut: leftOut === 'card-data' || leftOut === 'size' ? leftOut : null,
    replayOf: readReplayOf(headers),
    mode: parseMode(textOf(headers, 'assay-mode')),
  }
}

/** Why a letter holds no value; null where it holds one. */
export function whyBare({ hasValue, leftOut }: Letter): string | null {
  if (hasValue) return null
  if (leftOut === 'card-data') return 'its bytes held card data and were left out'
  return leftOut === 'size' ? 'its bytes were too many for a dead letter and were left out' : 'it came without a value'
}

/** Why a letter cannot be sent to the topic, which has so many partitions; null where it can. */
export function whyNotSent(letter: Letter, topic: string, partitions: number): string | null {
  const bare = whyBare(letter)
  if (bare !== null) return bare
  if (letter.origin === null) return 'it does not say where it came from'
  if (letter.origin.topic !== topic) return `it came from ${letter.origin.topic}, not from ${topic}`
  if (letter.origin.partition < partitions) return null
  return `it came from partition ${letter.origin.partition}, ${topic} has ${partitions}`
}

/** Attempts that a message says have been made; 0 where it says nothing that can be so. */
export function readAttempt(headers: Headers): number {
  const text = textOf(headers, 'assay-attempt')
  return /^\d{1,4}$/.test(text) ? Number(text) : 0
}

/** `topic/partition/offset` of the letter that a message is a replay of; null where it is none. */
export function readReplayOf(headers: Headers): string | null {
  const text = textOf(headers, 'assay-replay-of')
  return REPLAY_OF.test(text) && !holdsCardData(text) ? text : null
}

export function replayOfText(topic: string, { partition, offset }: Place): string {
  return `${topic}/${partition}/${offset}`
}

export function placeText({ partition, offset }: Place): string {
  return `${partition}:${offset}`
}

/** A place as it is written on the command line; null where it is none. */
export function readPlace(text: string): Place | null {
  const found = /^(\d{1,9}):(\d{1,15})$/.exec(text)
  return found === null ? null : { partition: Number(found[1]), offset: Number(found[2]) }
}

/** A header's text as it may be shown: in one line, cut, without control characters, never with card data. */
export function shownText(text: string): string {
  if (holdsCardData(text)) return '[removed]'
  return plainText(text.slice(0, TEXT_CHARS_MAX)).replace(/[\n\t]/g, ' ')
}

/** Control characters, which a terminal would obey, are escaped; line breaks and tabs are not. */
export function plainText(text: string): string {
  const escaped = (char: string): string => `\\u{${(char.codePointAt(0) ?? 0).toString(16)}}`
  return text.replace(/[\p{Cc}\p{Cf}]/gu, (char) => (char === '\n' || char === '\t' ? char : escaped(char)))
}

function textOf(headers: Headers, name: string): string {
  const text = headers[name]?.subarray(0, 4 * TEXT_CHARS_MAX).toString('utf8') ?? ''
  return shownText(text)
}

/** NaN where it is no number. */
function numberOf(headers: Headers, name: string): number {
  const text = textOf(headers, name)
  return /^\d{1,15}$/.test(text) ? Number(text) : NaN
}
