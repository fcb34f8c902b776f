// Dead letters as text and as JSON: a summary without value and key, and bytes as they can be shown.
import { isUtf8 } from 'node:buffer'
import { StringDecoder } from 'node:string_decoder'
import { holdsCardData } from '../../../contract/card-data.js'
import { type Letter, placeText, plainText } from './letters.js'

/** Whether there is a key, never which. */
export function keyWord({ hasKey, leftOut }: Letter): string {
  if (leftOut !== null) return 'left out'
  return hasKey ? 'present' : 'none'
}

/** One line, without value and key. */
export function rowOf(letter: Letter): string {
  const { place, timeMs, code, path, origin, attempt, bytes } = letter
  const columns = [
    ...[placeText(place), timeMs === null ? '-' : new Date(timeMs).toISOString(), code || '-', path || '-'],
    ...[origin === null ? '-' : `${origin.topic} ${placeText(origin)}`, `attempt ${attempt}`],
    ...[bytes === null ? 'no value' : `${bytes} bytes`, `key ${keyWord(letter)}`],
    ...(letter.leftOut === null ? [] : [`left out: ${letter.leftOut}`]),
    ...(letter.replayOf === null ? [] : [`replay of ${letter.replayOf}`]),
  ]
  return columns.join('  ')
}

/** The same for JSON. */
export function wireOf(letter: Letter): object {
  const { place, timeMs, code, path, origin, attempt, bytes } = letter
  return {
    ...{ place: placeText(place), time: timeMs === null ? null : new Date(timeMs).toISOString(), code, path },
    ...{ topic: origin?.topic ?? null, partition: origin?.partition ?? null, offset: origin?.offset ?? null },
    ...{ attempt, bytes, key: keyWord(letter), left_out: letter.leftOut, replay_of: letter.replayOf },
  }
}

/** Bytes as they can be shown. */
export interface Shown {
  readonly encoding: 'utf8' | 'base64' | 'removed'
  readonly data: string
  /** Bytes that were cut off. */
  readonly cut: number
}

/** Letters of this transport hold no card data; anybody may write to their topic. */
export function shownBytes(bytes: Buffer, bytesMax: number): Shown {
  if (holdsCardData(bytes.toString('latin1'))) return { encoding: 'removed', data: '', cut: bytes.length }
  const head = bytes.subarray(0, bytesMax)
  const cut = bytes.length - head.length
  // A character that the cut went through is left out.
  if (isUtf8(bytes)) return { encoding: 'utf8', data: new StringDecoder('utf8').write(head), cut }
  return { encoding: 'base64', data: head.toString('base64'), cut }
}

export function bytesText({ encoding, data, cut }: Shown): string {
  const rest = cut === 0 ? '' : `\n(${cut} bytes more)`
  return encoding === 'removed' ? '[removed: card data]' : `(${encoding})\n${plainText(data)}${rest}`
}
