// What derived rows, findings and figures say, as signals for alerts. Pure. Bad and good do not touch: between them
// lies a band in which nothing is said, so that a value at a border does not come and go.
import { type Finding, isDamage } from '../decision-log/finding.js'
import { wilsonScore } from '../stats/interval.js'
import type { Signal } from './alert.js'
import { raisesAlarms } from './monitors/drift-verdict.js'
import type { Cell, DerivedRow } from './port.js'

export interface SignalOptions {
  /** Share of decisions that a shadow may flip before somebody is told. */
  readonly flipShareMax: number
}

export const SIGNAL_OPTIONS: SignalOptions = { flipShareMax: 0.02 }

/** Two-sided 1e-4: some thousand windows a day are looked at. */
const Z = 3.890591886413
/** Below it there is no verdict. */
const PAIRS_MIN = 100
/** Good is what lies under this part of the bound. */
const GOOD_PART = 0.8
const MINUTE_MS = 60_000

/** The signal of a row; null for rows that say nothing about alerts. */
export function signalOf({ table, row }: DerivedRow, options: SignalOptions = SIGNAL_OPTIONS): Signal | null {
  if (table === 'drift') return driftSignal(row)
  return table === 'shadow_windows' && row.window_ms === MINUTE_MS ? shadowSignal(row, options) : null
}

type Row = DerivedRow['row']

/** Drift against the reference that alarms are made from. */
function driftSignal(row: Row): Signal | null {
  if (!raisesAlarms(row.reference)) return null
  const [model, series, kind, state] = [text(row.model), text(row.series), text(row.kind), text(row.state)]
  const level = DRIFT_LEVELS[state] ?? 'unknown'
  const causes = text(row.causes)
  const named = causes === '' || causes === '[]' ? '' : `; named cause: ${causes}`
  const why = row.reference === 'provisional' ? `${named}; against its first live rows, no training` : named
  return {
    ...{ kind: 'drift', level, origin: 'record', atMs: number(row.until_ms), sequence: number(row.sequence) },
    labels: { model, series, quantity: kind, segment: text(row.segment), window: text(row.window_kind) },
    value: typeof row.psi === 'number' ? row.psi : null,
    summary: `${series} (${kind}) of ${model}: ${state}, PSI ${shown(row.psi)} over ${shown(row.n)} rows${why}`,
  }
}

const DRIFT_LEVELS: Readonly<Record<string, Signal['level']>> = { stable: 'good', watch: 'warning', drift: 'critical' }

function shadowSignal(row: Row, { flipShareMax }: SignalOptions): Signal {
  const [champion, shadow, segment] = [text(row.champion), text(row.shadow), text(row.segment)]
  const [flips, pairs] = [number(row.flips), number(row.pairs)]
  const share = pairs === 0 ? 0 : flips / pairs
  const isBad = wilsonScore(flips, pairs, Z).low > flipShareMax
  const level =
    pairs < PAIRS_MIN ? 'unknown' : isBad ? 'warning' : share < GOOD_PART * flipShareMax ? 'good' : 'unknown'
  const percent = (100 * share).toPrecision(3)
  return {
    ...{ kind: 'shadow', level, origin: 'record', atMs: number(row.until_ms), sequence: number(row.sequence) },
    labels: { model: shadow, champion, segment },
    value: share,
    summary: `${shadow} would flip ${percent} % of ${pairs} decisions of ${champion}; ${100 * flipShareMax} % are allowed`,
  }
}

/** Damage, gaps and records taken back; null for what is no loss. `atMs`: record time of the record before. */
export function findingSignal(finding: Finding, atMs: number): Signal | null {
  if (!isDamage(finding)) return null
  const { kind, segment, offset, sequence, detail } = finding
  return {
    ...{ kind: 'log', level: 'critical', origin: 'record', atMs, sequence, value: null },
    labels: { finding: kind, log_segment: segment },
    summary: `${kind} at byte ${offset} of ${segment}, sequence ${sequence}: ${detail}`,
  }
}

/** How far the sidecar is behind. */
export function lagSignal(lagSeconds: number, atMs: number, lagSecondsMax: number): Signal {
  const level = lagSeconds > lagSecondsMax ? 'warning' : lagSeconds < GOOD_PART * lagSecondsMax ? 'good' : 'unknown'
  return {
    ...{ kind: 'lag', labels: {}, level, origin: 'clock', atMs, sequence: 0, value: lagSeconds },
    summary: `the sidecar is ${lagSeconds.toFixed(0)} s behind the log; ${lagSecondsMax} s are allowed`,
  }
}

/** A counter of lost things: bad where it rose since the last look. */
export function lossSignal(counter: string, total: number, before: number, atMs: number): Signal {
  const lost = Math.max(0, total - before)
  return {
    ...{ kind: 'loss', labels: { counter }, level: lost > 0 ? 'critical' : 'good', origin: 'clock', atMs, sequence: 0 },
    ...{ value: total, summary: `${counter} rose by ${lost} to ${total}` },
  }
}

/** The counter that an alert's row tells of; null for rows of other kinds. */
export function lossCounterOf({ kind, labels }: Row): string | null {
  const held: unknown = kind === 'loss' ? JSON.parse(text(labels)) : null
  return typeof held === 'object' && held !== null && 'counter' in held ? String(held.counter) : null
}

function text(cell: Cell | undefined): string {
  return typeof cell === 'string' ? cell : ''
}

function number(cell: Cell | undefined): number {
  return typeof cell === 'number' || typeof cell === 'bigint' ? Number(cell) : 0
}

function shown(cell: Cell | undefined): string {
  return typeof cell === 'number' ? String(Number(cell.toPrecision(3))) : '–'
}
