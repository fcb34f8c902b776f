// From what one batch derived to alert rows: the pipeline's step between monitoring and publishing. Alerts of record
// origin come out the same however the log was cut into batches: their times are those of windows and records. What the
// clock sees is kept in a book of its own, so that it never takes room from what follows from the log.
import { createHash } from 'node:crypto'
import type { Finding } from '../decision-log/finding.js'
import { AssayError } from '../errors.js'
import { type Alert, type AlertBook, type AlertBookOptions, createAlertBook, type Signal } from './alert.js'
import { findingSignal, SIGNAL_OPTIONS, type SignalOptions, signalOf } from './alert-signals.js'
import type { Batch, DerivedRow, TailRecord } from './port.js'

export interface AlerterOptions extends AlertBookOptions {
  readonly signals?: SignalOptions
}

export interface Alerter extends Pick<AlertBook, 'name' | 'tables' | 'checkpoint' | 'restore'> {
  consider(derived: readonly DerivedRow[], batch: Batch): readonly DerivedRow[]
  /** What this process sees of itself. True where rows come of it: they stand in what `consider` gives next. */
  observe(signals: readonly Signal[]): boolean
  open(): readonly Alert[]
  /** Signals about things beyond the bound. */
  unwatched(): number
}

/** Findings remembered, since a reader that starts again reports again what it finds on its way. */
const HEARD_MAX = 1024

export function createAlerter(options: AlerterOptions = {}): Alerter {
  const book = createAlertBook(options)
  const clockBook = createAlertBook(options)
  const signals = options.signals ?? SIGNAL_OPTIONS
  let decidedAtMs = 0
  let heard = new Set<string>()
  let waiting: readonly DerivedRow[] = []

  function takeFinding(finding: Finding, records: readonly TailRecord[], beforeMs: number): void {
    const before = records.filter(({ sequence }) => sequence < finding.sequence)
    const signal = findingSignal(
      finding,
      before.reduce((atMs, record) => latest(record, atMs), beforeMs),
    )
    if (signal === null || heard.has(keyOf(finding))) return
    heard = new Set([...heard, keyOf(finding)].slice(-HEARD_MAX))
    book.take(signal)
  }

  return {
    ...{ name: book.name, tables: book.tables },
    open: () => [...book.open(), ...clockBook.open()],
    unwatched: () => book.unwatched() + clockBook.unwatched(),
    consider(derived, { records, findings }) {
      const beforeMs = decidedAtMs
      for (const row of derived) {
        const signal = signalOf(row, signals)
        if (signal !== null) book.take(signal)
      }
      for (const finding of findings) takeFinding(finding, records, beforeMs)
      decidedAtMs = records.reduce((atMs, record) => latest(record, atMs), decidedAtMs)
      book.advance(decidedAtMs)
      const rows = [...waiting, ...book.drain().rows]
      waiting = []
      return rows
    },
    observe(seen) {
      for (const signal of seen) {
        clockBook.take(signal)
        clockBook.advance(signal.atMs)
      }
      waiting = [...waiting, ...clockBook.drain().rows]
      return waiting.length > 0
    },
    checkpoint: () =>
      Buffer.concat([
        Buffer.from(`${JSON.stringify({ decidedAtMs, heard: [...heard] })}\n`),
        book.checkpoint(),
        Buffer.from('\n'),
        clockBook.checkpoint(),
      ]),
    restore(checkpoint) {
      const [own = '', records = '', clock = ''] = Buffer.from(checkpoint).toString('utf8').split('\n')
      const state: unknown = JSON.parse(own)
      if (!isState(state))
        throw new AssayError('ASSAY_INPUT_INVALID', 'a checkpoint of the alerter is of another release')
      decidedAtMs = state.decidedAtMs
      heard = new Set(state.heard)
      waiting = []
      book.restore(Buffer.from(records))
      clockBook.restore(Buffer.from(clock))
    },
  }
}

interface State {
  readonly decidedAtMs: number
  readonly heard: readonly string[]
}

// The store's transaction vouches for the rest: only this code writes it.
function isState(state: unknown): state is State {
  return typeof state === 'object' && state !== null && 'decidedAtMs' in state && 'heard' in state
}

/** What makes a finding the same one; as the store sees it, too. */
function keyOf({ kind, epoch, sequence, detail }: Finding): string {
  return createHash('sha256').update(`${kind} ${epoch} ${sequence} ${detail}`).digest('hex').slice(0, 16)
}

function latest({ record }: TailRecord, atMs: number): number {
  return record.type === 'decision' ? Math.max(atMs, record.facts.decidedAtMs) : atMs
}
