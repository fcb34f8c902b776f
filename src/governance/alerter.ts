// From what one batch derived to alert rows: the pipeline's step between monitoring and publishing. Alerts of record
// origin come out the same however the log was cut into batches: their times are those of windows and records.
import type { Finding } from '../decision-log/finding.js'
import { type AlertBook, type AlertBookOptions, createAlertBook, type Signal } from './alert.js'
import { findingSignal, SIGNAL_OPTIONS, type SignalOptions, signalOf } from './alert-signals.js'
import type { Batch, DerivedRow, TailRecord } from './port.js'

export interface AlerterOptions extends AlertBookOptions {
  readonly signals?: SignalOptions
}

export interface Alerter extends Pick<AlertBook, 'name' | 'tables' | 'open' | 'silence' | 'checkpoint' | 'restore'> {
  consider(derived: readonly DerivedRow[], batch: Batch): readonly DerivedRow[]
  /** What this process sees of itself; its rows come with the next batch. */
  observe(signal: Signal): void
}

export function createAlerter(options: AlerterOptions = {}): Alerter {
  const book = createAlertBook(options)
  const signals = options.signals ?? SIGNAL_OPTIONS
  let decidedAtMs = 0

  function takeFinding(finding: Finding, records: readonly TailRecord[], beforeMs: number): void {
    const before = records.filter(({ sequence }) => sequence < finding.sequence)
    const signal = findingSignal(
      finding,
      before.reduce((atMs, record) => latest(record, atMs), beforeMs),
    )
    if (signal !== null) book.take(signal)
  }

  return {
    ...{ name: book.name, tables: book.tables },
    open: () => book.open(),
    silence(silences) {
      book.silence(silences)
    },
    consider(derived, { records, findings }) {
      const beforeMs = decidedAtMs
      for (const row of derived) {
        const signal = signalOf(row, signals)
        if (signal !== null) book.take(signal)
      }
      for (const finding of findings) takeFinding(finding, records, beforeMs)
      decidedAtMs = records.reduce((atMs, record) => latest(record, atMs), decidedAtMs)
      book.advance(decidedAtMs, 'record')
      return book.drain().rows
    },
    observe(signal) {
      book.take(signal)
      book.advance(signal.atMs, 'clock')
    },
    checkpoint: () => Buffer.concat([Buffer.from(`${decidedAtMs}\n`), book.checkpoint()]),
    restore(checkpoint) {
      const bytes = Buffer.from(checkpoint)
      const end = bytes.indexOf(10)
      decidedAtMs = Number(bytes.toString('utf8', 0, end))
      book.restore(bytes.subarray(end + 1))
    },
  }
}

function latest({ record }: TailRecord, atMs: number): number {
  return record.type === 'decision' ? Math.max(atMs, record.facts.decidedAtMs) : atMs
}
