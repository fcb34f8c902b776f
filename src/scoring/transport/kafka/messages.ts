// What goes out: decisions, dead letters, dead letters sent again, and how many of them one send takes.
import { holdsCardData } from '../../../contract/card-data.js'
import type { Formats } from './formats.js'
import { type Letter, readAttempt, readReplayOf, replayOfText } from './letters.js'
import type { InMessage, OutMessage } from './port.js'
import type { Row } from './row.js'

export const OVERHEAD_BYTES = 512
const HEADER_CHARS_MAX = 256

/** The decision, under the transaction's own key, in the partition of the same number; an observed one has none. */
export function decisionOf(
  row: Row,
  copyHeaders: readonly string[],
  formats: Pick<Formats, 'decisionType' | 'encode'>,
): OutMessage[] {
  const { outcome, message, source, traceparent } = row
  if (outcome?.kind !== 'answer' || !row.isDecided) return []
  const headers = copied(message, copyHeaders)
  headers['content-type'] = formats.decisionType
  if (outcome.as !== 'new') headers.replayed = 'true'
  if (traceparent !== null) headers.traceparent = traceparent
  return [{ partition: source.partition, key: message.key, value: formats.encode(outcome.body), headers }]
}

/** The named headers, but for one that is long or holds card data. */
function copied({ headers }: InMessage, names: readonly string[]): Record<string, string> {
  const kept: Record<string, string> = {}
  for (const name of names) {
    const value = headers[name]?.toString('utf8') ?? ''
    if (value !== '' && value.length <= HEADER_CHARS_MAX && !holdsCardData(value)) kept[name] = value
  }
  return kept
}

/**
 * The original bytes, and where they came from; where they hold card data, or are too many for a send, only that and
 * why. The attempts of a message that was sent again are counted on.
 */
export function deadLetterOf(row: Row, nowMs: number, bytesMax: number): OutMessage[] {
  const { outcome, message, source, mode } = row
  if (outcome?.kind !== 'dead') return []
  const isLeftOut = outcome.holdsCardData || bytesOf(message) > bytesMax
  const { key, value } = isLeftOut ? { key: null, value: null } : message
  const replayOf = readReplayOf(message.headers)
  const headers = {
    'assay-error-code': outcome.code,
    'assay-error-path': outcome.path,
    'assay-topic': source.topic,
    'assay-partition': String(source.partition),
    'assay-offset': String(source.offset),
    'assay-time': new Date(nowMs).toISOString(),
    'assay-attempt': String(readAttempt(message.headers) + row.tries),
    ...(isLeftOut && {
      'assay-left-out': outcome.holdsCardData ? 'card-data' : 'size',
      'assay-bytes': String(message.value?.length ?? 0),
    }),
    ...(mode !== 'decide' && { 'assay-mode': mode }),
    ...(replayOf !== null && { 'assay-replay-of': replayOf }),
  }
  return [{ partition: source.partition, key, value, headers }]
}

/** A dead letter of that topic on its way back: the message as it came, of the headers what this transport reads. */
export function replayOf(topic: string, letter: Letter, partition: number, { key, value }: InMessage): OutMessage {
  const headers = {
    'assay-replay-of': replayOfText(topic, letter.place),
    'assay-attempt': String(letter.attempt),
    ...(letter.mode !== null && { 'assay-mode': letter.mode }),
  }
  return { partition, key, value, headers }
}

/** The messages in as few sends as take at most so many bytes each; one that is longer goes alone. */
export function inSends(messages: readonly OutMessage[], bytesMax: number): OutMessage[][] {
  return inParts(messages, bytesMax, bytesOf)
}

/** The same of anything that has a size. */
export function inParts<Item>(items: readonly Item[], bytesMax: number, sizeOf: (item: Item) => number): Item[][] {
  const parts: Item[][] = []
  let left = 0
  for (const item of items) {
    const bytes = sizeOf(item)
    if (parts.length === 0 || bytes > left) {
      parts.push([])
      left = bytesMax
    }
    left -= bytes
    parts[parts.length - 1].push(item)
  }
  return parts
}

/** Bytes of key and value, with something for headers and framing. */
function bytesOf({ key, value }: Pick<OutMessage, 'key' | 'value'>): number {
  return (key?.length ?? 0) + (value?.length ?? 0) + OVERHEAD_BYTES
}
