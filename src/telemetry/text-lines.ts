// The logger's JSON lines as text for a person at a terminal: time, level, event, then `name=value`.
// It only changes how a line looks: what may stand in it, and at which level, the logger decides.
import type { DestinationStream } from 'pino'

const EVENT_CHARS = 14

/** A stream for `createLogger` that hands each line to `write` as text, with its line end. */
export function textLines(write: (line: string) => void): DestinationStream {
  return { write: (line) => write(`${asText(JSON.parse(line))}\n`) }
}

function asText(line: unknown): string {
  const { time, level, event, pid: _, ...fields } = Object.fromEntries(Object.entries(line ?? {}))
  const shown = Object.entries(fields).map(([name, value]) => `${name}=${plain(value)}`)
  // The time is ISO 8601 in UTC: its hours, minutes and seconds are enough beside a running process.
  const head = `${String(time).slice(11, 19)} ${String(level).padEnd(5)} ${String(event).padEnd(EVENT_CHARS)}`
  return [head, ...shown].join(' ').trimEnd()
}

/** Texts stand bare where they are one word, so that they can be copied. */
function plain(value: unknown): string {
  if (typeof value === 'string') return /^[^\s"]+$/.test(value) ? value : JSON.stringify(value)
  if (Array.isArray(value)) return `[${value.map(plain).join(', ')}]`
  return JSON.stringify(value)
}
