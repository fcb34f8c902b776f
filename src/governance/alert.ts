// From signals to alerts: what is wrong now, since when, and whether somebody has to be told. Pure: the same signals in
// the same order give the same alerts with the same ids; time comes with the signals, record time wherever they derive
// from records. Nothing flaps: an alert opens after so many bad signals in a row, resolves after so many good ones, and
// each time that it comes back soon it has to be good for twice as long, up to sixteen times. A book follows one clock:
// what records say and what this process sees stand in two.
import { createHash } from 'node:crypto'
import type { AlertKind } from '../contract/silence.js'
import { AssayError } from '../errors.js'
import type { DerivedRow } from './port.js'

/** How bad. `unknown` is neither bad nor good: too little was seen. */
export type Level = 'good' | 'unknown' | 'warning' | 'critical'

/** `record`: follows from the log alone, so that a rebuild gives it again; `clock`: seen by this process. */
export type Origin = 'record' | 'clock'

/** What one source says of one thing at one time. */
export interface Signal {
  readonly kind: AlertKind
  /** What it is about, such as model and feature; the alert's identity together with the kind. */
  readonly labels: Readonly<Record<string, string>>
  readonly level: Level
  readonly atMs: number
  readonly origin: Origin
  /** Of the record that it follows from; 0 for none. */
  readonly sequence: number
  readonly value: number | null
  /** One sentence. */
  readonly summary: string
}

export type Transition = 'opened' | 'escalated' | 'resolved' | 'silenced' | 'unsilenced'

export interface Alert {
  /** a_ and 20 hexadecimal digits: of kind, labels and the time of opening. */
  readonly id: string
  readonly kind: AlertKind
  readonly labels: Readonly<Record<string, string>>
  /** Alerts of one group are told together: those of one kind and one model. */
  readonly group: string
  readonly level: 'warning' | 'critical'
  readonly origin: Origin
  readonly openedAtMs: number
  /** null while it is open. */
  readonly resolvedAtMs: number | null
  readonly value: number | null
  readonly summary: string
  /** By whose order nobody is told; null where nobody ordered it. */
  readonly silencedBy: string | null
}

export interface AlertChange {
  readonly transition: Transition
  readonly atMs: number
  readonly sequence: number
  readonly alert: Alert
}

/** How many signals, and how long, it takes. */
export interface AlertRule {
  readonly openAfter: number
  readonly resolveAfter: number
  /**
   * Milliseconds without a bad signal after which it is over although nobody said so; null: only good signals end it.
   */
  readonly expireMs: number | null
  /** An alert that opens again within this long of its end has come back. */
  readonly returnMs: number
}

/** Nobody is told of alerts that fit, between these times; they are rows all the same. */
export interface Silence {
  readonly id: string
  readonly kind: AlertKind | null
  /** Each has to be equal; a label that is not named here may be anything. */
  readonly labels: Readonly<Record<string, string>>
  readonly fromMs: number
  readonly untilMs: number
}

const HOUR_MS = 3_600_000
const DAY_MS = 24 * HOUR_MS

/**
 * Drift and shadow signals stand for tests at 1e-4 already, so that one is enough; damage is no state that could turn
 * good, so that it ends a day after the last; what clocks see has to last.
 */
export const ALERT_RULES: Readonly<Record<AlertKind, AlertRule>> = {
  drift: { openAfter: 1, resolveAfter: 3, expireMs: DAY_MS, returnMs: DAY_MS },
  shadow: { openAfter: 1, resolveAfter: 5, expireMs: DAY_MS, returnMs: DAY_MS },
  log: { openAfter: 1, resolveAfter: 1, expireMs: DAY_MS, returnMs: DAY_MS },
  lag: { openAfter: 3, resolveAfter: 6, expireMs: null, returnMs: HOUR_MS },
  loss: { openAfter: 1, resolveAfter: 60, expireMs: null, returnMs: DAY_MS },
}

export const ALERT_TABLES = {
  alerts: {
    ...{ alert_id: 'VARCHAR', transition: 'VARCHAR', at_ms: 'BIGINT', sequence: 'BIGINT', kind: 'VARCHAR' },
    ...{ alert_group: 'VARCHAR', labels: 'VARCHAR', level: 'VARCHAR', origin: 'VARCHAR' },
    ...{ opened_at_ms: 'BIGINT', resolved_at_ms: 'BIGINT', value: 'DOUBLE', summary: 'VARCHAR' },
    silenced_by: 'VARCHAR',
  },
} as const

export interface AlertBookOptions {
  readonly rules?: Readonly<Record<AlertKind, AlertRule>>
  readonly silences?: readonly Silence[]
  /** Things that are not good, watched at once; beyond it new ones are counted and not watched. */
  readonly watchedMax?: number
}

export interface AlertBook {
  /** Names its checkpoint in the store; columns as a monitor states them. */
  readonly name: string
  readonly tables: typeof ALERT_TABLES
  take(signal: Signal): void
  /** Time passed: ends what expired, and silences. */
  advance(atMs: number): void
  /** A row per change since the last call. Tell nobody of a change before its row is committed. */
  drain(): { readonly rows: readonly DerivedRow[]; readonly changes: readonly AlertChange[] }
  open(): readonly Alert[]
  /** Signals about things beyond the bound. */
  unwatched(): number
  checkpoint(): Uint8Array
  restore(checkpoint: Uint8Array): void
}

interface Watched {
  alert: Alert | null
  bad: number
  good: number
  lastBadMs: number
  sequence: number
  /** When it was last over; null before the first time. */
  endedAtMs: number | null
  /** How often it came back soon. */
  returns: number
}

const WATCHED_MAX = 4096
const RETURNS_MAX = 4

export function createAlertBook(options: AlertBookOptions = {}): AlertBook {
  const rules = options.rules ?? ALERT_RULES
  const watchedMax = options.watchedMax ?? WATCHED_MAX
  const silences = options.silences ?? []
  let watched = new Map<string, Watched>()
  let unwatched = 0
  let changes: AlertChange[] = []

  function change(held: Watched, transition: Transition, atMs: number, alert: Alert): void {
    held.alert = transition === 'resolved' ? null : alert
    changes.push({ transition, atMs, sequence: held.sequence, alert })
  }

  function takeBad(held: Watched, signal: Signal & { level: 'warning' | 'critical' }): void {
    const rule = rules[signal.kind]
    const { atMs, level, value, summary } = signal
    held.good = 0
    held.bad++
    held.sequence = signal.sequence
    held.lastBadMs = Math.max(held.lastBadMs, atMs)
    if (held.alert === null) {
      if (held.bad < rule.openAfter) return
      // Twice as long to resolve with each return: whatever comes and goes, its changes become few.
      const isReturn = held.endedAtMs !== null && atMs - held.endedAtMs <= rule.returnMs
      held.returns = isReturn ? Math.min(RETURNS_MAX, held.returns + 1) : 0
      change(held, 'opened', atMs, opened(signal, level, silenceFor(silences, signal)?.id ?? null))
    } else if (level === 'critical' && held.alert.level === 'warning') {
      change(held, 'escalated', atMs, { ...held.alert, level, value, summary })
    }
  }

  function resolve(held: Watched, alert: Alert, atMs: number): void {
    Object.assign(held, { bad: 0, good: 0, endedAtMs: atMs })
    change(held, 'resolved', atMs, { ...alert, resolvedAtMs: atMs })
  }

  function takeGood(key: string, held: Watched, { kind, atMs }: Signal): void {
    const rule = rules[kind]
    held.bad = 0
    held.good++
    if (held.alert !== null && held.good >= rule.resolveAfter * 2 ** held.returns) resolve(held, held.alert, atMs)
    else if (held.alert === null && (held.endedAtMs === null || atMs - held.endedAtMs > rule.returnMs))
      watched.delete(key)
  }

  /** Ends what nobody called bad for so long, as of when that time was over, however late one looks. */
  function expire(held: Watched, atMs: number): void {
    const expireMs = held.alert === null ? null : rules[held.alert.kind].expireMs
    if (held.alert === null || expireMs === null || atMs - held.lastBadMs <= expireMs) return
    resolve(held, held.alert, held.lastBadMs + expireMs)
  }

  /** Silences begin and end between signals too: as of when they did, however late one looks. */
  function hush(held: Watched, atMs: number): void {
    const { alert } = held
    if (alert === null) return
    const silence = silenceFor(silences, { ...alert, atMs })
    if ((silence?.id ?? null) === alert.silencedBy) return
    if (silence === undefined) {
      const over = silences.find(({ id }) => id === alert.silencedBy)
      change(held, 'unsilenced', over?.untilMs ?? atMs, { ...alert, silencedBy: null })
    } else {
      const hushed = { ...alert, silencedBy: silence.id }
      if (alert.silencedBy === null) change(held, 'silenced', Math.max(silence.fromMs, alert.openedAtMs), hushed)
      else held.alert = hushed
    }
  }

  function advance(atMs: number): void {
    for (const held of watched.values()) {
      expire(held, atMs)
      hush(held, atMs)
    }
  }

  return {
    name: 'alerts',
    tables: ALERT_TABLES,
    take(signal) {
      const { level } = signal
      if (level === 'unknown') return
      const key = keyOf(signal)
      let held = watched.get(key)
      if (held === undefined) {
        if (level === 'good') return
        if (watched.size >= watchedMax) forgetEnded(watched)
        if (watched.size >= watchedMax) {
          unwatched++
          return
        }
        held = { alert: null, bad: 0, good: 0, lastBadMs: signal.atMs, sequence: 0, endedAtMs: null, returns: 0 }
        watched.set(key, held)
      }
      expire(held, signal.atMs)
      hush(held, signal.atMs)
      if (level === 'good') takeGood(key, held, signal)
      else takeBad(held, { ...signal, level })
    },
    advance,
    drain() {
      const drained = changes
      changes = []
      return { rows: drained.map(rowOf), changes: drained }
    },
    open: () => [...watched.values()].flatMap(({ alert }) => (alert === null ? [] : [alert])),
    unwatched: () => unwatched,
    checkpoint: () => Buffer.from(JSON.stringify({ format: 1, watched: [...watched] } satisfies State)),
    restore(checkpoint) {
      watched = new Map(parseState(checkpoint).watched)
      changes = []
    },
  }
}

/** Kind and labels in one text, whatever order the labels came in. */
function keyOf({ kind, labels }: Pick<Signal, 'kind' | 'labels'>): string {
  return JSON.stringify([kind, ...Object.entries(labels).sort(([a], [b]) => (a < b ? -1 : 1))])
}

function opened(signal: Signal, level: 'warning' | 'critical', silenced: string | null): Alert {
  const { kind, labels, origin, atMs, value, summary } = signal
  const hash = createHash('sha256')
    .update(`${keyOf(signal)} ${atMs}`)
    .digest('hex')
  return {
    ...{ id: `a_${hash.slice(0, 20)}`, kind, labels, level, origin, value, summary },
    group: labels.model === undefined ? kind : `${kind} ${labels.model}`,
    ...{ openedAtMs: atMs, resolvedAtMs: null, silencedBy: silenced },
  }
}

function silenceFor(
  silences: readonly Silence[],
  { kind, labels, atMs }: Pick<Signal, 'kind' | 'labels' | 'atMs'>,
): Silence | undefined {
  return silences.find(
    (one) =>
      (one.kind === null || one.kind === kind) &&
      one.fromMs <= atMs &&
      atMs < one.untilMs &&
      Object.entries(one.labels).every(([name, value]) => labels[name] === value),
  )
}

/** Makes room: what is over is remembered only to know its returns. */
function forgetEnded(watched: Map<string, Watched>): void {
  for (const [key, { alert, bad }] of watched) if (alert === null && bad === 0) watched.delete(key)
}

function rowOf({ transition, atMs, sequence, alert }: AlertChange): DerivedRow {
  const { id, kind, group, labels, level, origin, openedAtMs, resolvedAtMs, value, summary, silencedBy: by } = alert
  return {
    table: 'alerts',
    row: {
      ...{ alert_id: id, transition, at_ms: atMs, sequence, kind, alert_group: group, level },
      labels: JSON.stringify(labels),
      ...{ origin, opened_at_ms: openedAtMs, resolved_at_ms: resolvedAtMs, value, summary, silenced_by: by },
    },
  }
}

interface State {
  readonly format: 1
  readonly watched: [string, Watched][]
}

function parseState(checkpoint: Uint8Array): State {
  const state: unknown = JSON.parse(Buffer.from(checkpoint).toString('utf8'))
  if (!isState(state)) throw new AssayError('ASSAY_INPUT_INVALID', 'a checkpoint of the alerts is of another release')
  return state
}

// The store's transaction vouches for the rest: only this code writes it.
function isState(state: unknown): state is State {
  return typeof state === 'object' && state !== null && 'format' in state && state.format === 1 && 'watched' in state
}
