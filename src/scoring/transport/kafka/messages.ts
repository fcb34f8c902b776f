// What goes out: decisions, dead letters, and how many of them one send takes.
import type { Formats } from './formats.js'
import type { OutMessage } from './port.js'
import type { Row } from './row.js'

const OVERHEAD_BYTES = 512

/** The decision, under the transaction's own key, in the partition of the same number; an observed one has none. */
export function decisionOf(row: Row, formats: Pick<Formats, 'decisionType' | 'encode'>): OutMessage[] {
  const { outcome, message, source, mode, traceparent } = row
  if (outcome?.kind !== 'answer' || mode === 'observe') return []
  const headers = {
    'content-type': formats.decisionType,
    ...(outcome.as !== 'new' && { replayed: 'true' }),
    ...(traceparent !== null && { traceparent }),
  }
  return [{ partition: source.partition, key: message.key, value: formats.encode(outcome.body), headers }]
}

/** The original bytes, and where they came from; where they hold card data, or are too many for a send, only that. */
export function deadLetterOf({ outcome, message, source, tries }: Row, nowMs: number, bytesMax: number): OutMessage[] {
  if (outcome?.kind !== 'dead') return []
  const isLeftOut = outcome.holdsCardData || bytesOf(message) > bytesMax
  const { key, value } = isLeftOut ? { key: null, value: null } : message
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

/** The messages in as few sends as take at most so many bytes each; one that is longer goes alone. */
export function inSends(messages: readonly OutMessage[], bytesMax: number): OutMessage[][] {
  const sends: OutMessage[][] = []
  let left = 0
  for (const message of messages) {
    const bytes = bytesOf(message)
    if (sends.length === 0 || bytes > left) {
      sends.push([])
      left = bytesMax
    }
    left -= bytes
    sends[sends.length - 1].push(message)
  }
  return sends
}

/** Bytes of key and value, with something for headers and framing. */
function bytesOf({ key, value }: Pick<OutMessage, 'key' | 'value'>): number {
  return (key?.length ?? 0) + (value?.length ?? 0) + OVERHEAD_BYTES
}
