// The verdict over one closed window: every quantity against training, or against another window, as rows of the store.
// watch: chance gives so large a PSI less often than `alpha`, and it is at least 0.02. drift: even a true PSI of 0.1
// gives it less often. Below the smallest number of rows there is no verdict. Causes are named, never swallowed.
import type { Cell as StoreCell, DerivedRow } from '../port.js'
import type { Cell } from '../../stats/bins.js'
import { psi } from '../../stats/psi.js'
import { textbookPsi } from '../../stats/textbook-psi.js'
import type { Series, SeriesKind } from './drift-layout.js'
import type { Window } from './drift-window.js'

export type DriftState = 'insufficient' | 'stable' | 'watch' | 'drift'
export type WindowKind = 'count' | 'hour' | 'day'
/** provisional: the first decisions of a model version whose bundle has no profile, in place of training. */
export type OwnReference = 'training' | 'provisional'
export type ReferenceKind = OwnReference | 'day_before' | 'week_before'

/** What a window of each kind is held against; `training` stands for what the model version has. */
export const REFERENCES: Readonly<Record<WindowKind, readonly Exclude<ReferenceKind, 'provisional'>[]>> = {
  count: ['training'],
  hour: ['training', 'day_before', 'week_before'],
  day: ['training', 'day_before'],
}

/** Whether alarms are made from it. Others are for the eye: days and weeks differ without any fault. */
export const raisesAlarms = (reference: unknown): boolean => reference === 'training' || reference === 'provisional'

/**
 * cold: more than half of the rows saw a feature window not yet observed for its whole length.
 * policy_changed: inside the window, or between it and the window that it is held against.
 * reference_cold: the same of the window that it is held against.
 * calendar: the feature follows the calendar, and the two spans cover different parts of its cycle: no verdict.
 * no_profile: the bundle's reference profile cannot be read: no verdict.
 * collecting: the bundle has none, and one is being made from the first rows: no verdict.
 */
export type DriftCause = 'cold' | 'policy_changed' | 'reference_cold' | 'calendar' | 'no_profile' | 'collecting'

const NO_VERDICT: ReadonlySet<DriftCause> = new Set(['calendar', 'no_profile', 'collecting'])

/** PSI below which a difference, however certain, moves nobody. */
export const WATCH_PSI = 0.02
/** The true PSI that is still tolerated: the customary border between small and moderate. */
export const TOLERATED_PSI = 0.1

export const DRIFT_TABLE = {
  ...{ epoch: 'BIGINT', sequence: 'BIGINT', model: 'VARCHAR', digest: 'VARCHAR', segment: 'VARCHAR', kind: 'VARCHAR' },
  ...{ series: 'VARCHAR', window_kind: 'VARCHAR', from_ms: 'BIGINT', until_ms: 'BIGINT', reference: 'VARCHAR' },
  ...{ n: 'BIGINT', reference_n: 'BIGINT', psi: 'DOUBLE', psi_at_least: 'DOUBLE', psi_at_most: 'DOUBLE' },
  ...{ p: 'DOUBLE', p_tolerated: 'DOUBLE', alpha: 'DOUBLE', psi_textbook: 'DOUBLE', state: 'VARCHAR' },
  ...{ causes: 'VARCHAR', cold_share: 'DOUBLE', counts: 'DOUBLE[]', reference_counts: 'DOUBLE[]' },
} as const

/** Where a window belongs. */
export interface Place {
  readonly epoch: number
  readonly sequence: number
  /** name@version */
  readonly model: string
  readonly digest: string
  /** Empty for all decisions. */
  readonly segment: string
}

export interface Comparison {
  readonly place: Place
  readonly windowKind: WindowKind
  readonly window: Window
  readonly referenceKind: ReferenceKind
  /** The other window; null for the profile. */
  readonly reference: Window | null
  readonly series: readonly Series[]
  /** False where there is no profile to hold it against. */
  readonly hasProfile: boolean
  readonly rowsMin: number
  readonly alpha: number
}

/** Rows of one comparison, a row for each quantity that the reference knows. */
export function compareWindow(of: Comparison): DerivedRow[] {
  const causes = causesOf(of)
  const rows: DerivedRow[] = []
  for (const series of of.series) {
    const end = series.from + series.cells.length
    const counts = of.window.counts.subarray(series.from, end)
    const reference = of.reference === null ? series.reference : of.reference.counts.subarray(series.from, end)
    if (reference === null) continue
    const own = isOffCycle(of, series) ? [...causes, 'calendar' as const] : causes
    const named = { kind: series.kind, name: series.name, cells: series.cells }
    rows.push(rowOf(of, { ...named, counts, reference, causes: own }))
    if (series.kind !== 'feature') continue
    const [now, then] = [nulls(counts), nulls(reference)]
    if (now[0] + then[0] === 0) continue
    const nullRate = { kind: 'null_rate' as const, name: series.name, cells: NULL_CELLS }
    rows.push(rowOf(of, { ...nullRate, counts: now, reference: then, causes }))
  }
  if (!of.hasProfile && of.reference === null) {
    rows.push(rowOf(of, { ...NO_PROFILE, causes: [of.referenceKind === 'training' ? 'no_profile' : 'collecting'] }))
  }
  return rows
}

interface Compared {
  readonly kind: SeriesKind | 'model'
  readonly name: string
  readonly cells: readonly Cell[]
  readonly counts: Float64Array
  readonly reference: Float64Array
  readonly causes: readonly DriftCause[]
}

const NONE = new Float64Array(0)
const NO_PROFILE = { kind: 'model', name: 'model', cells: [], counts: NONE, reference: NONE } as const

/** The two cells of a null rate. */
export const NULL_CELLS: readonly Cell[] = [
  { kind: 'null', label: 'null', low: null, high: null },
  { kind: 'category', label: 'present', low: null, high: null },
]

function nulls(counts: Float64Array): Float64Array {
  let present = 0
  for (let at = 1; at < counts.length; at++) present += counts[at] ?? 0
  return Float64Array.of(counts[0] ?? 0, present)
}

function rowOf(of: Comparison, { kind, name, cells, counts, reference, causes }: Compared): DerivedRow {
  const { place, window } = of
  const found = psi(reference, counts, { tolerated: TOLERATED_PSI })
  const isEnough = Math.min(found.n, found.referenceN) >= of.rowsMin
  const hasVerdict = isEnough && !causes.some((cause) => NO_VERDICT.has(cause))
  let state: DriftState = 'insufficient'
  if (hasVerdict) state = stateOf(found, of.alpha)
  const shown = (value: number): number | null => (isEnough ? value : null)
  const row: Record<keyof typeof DRIFT_TABLE, StoreCell> = {
    ...place,
    ...{ kind, series: name, window_kind: of.windowKind, from_ms: window.fromMs, until_ms: window.untilMs },
    ...{ reference: of.referenceKind, n: kind === 'model' ? window.rows : found.n, reference_n: found.referenceN },
    ...{ psi: shown(found.psi), psi_at_least: shown(found.atLeast), psi_at_most: shown(found.atMost) },
    ...{ p: shown(found.p), p_tolerated: shown(found.pTolerated), alpha: of.alpha },
    ...{ psi_textbook: isEnough ? textbookPsi(cells, reference, counts) : null, state, causes: causes.join(',') },
    cold_share: window.rows === 0 ? 0 : window.cold / window.rows,
    counts: Array.from(counts),
    // Those of a profile stand once in drift_cells.
    reference_counts: of.reference === null ? null : Array.from(reference),
  }
  return { table: 'drift', row }
}

function stateOf(found: { psi: number; p: number; pTolerated: number }, alpha: number): DriftState {
  if (found.pTolerated < alpha) return 'drift'
  return found.p < alpha && found.psi >= WATCH_PSI ? 'watch' : 'stable'
}

function causesOf({ window, reference }: Comparison): DriftCause[] {
  const causes: DriftCause[] = []
  if (isCold(window)) causes.push('cold')
  const isOther = reference !== null && (reference.isPolicyChanged || reference.policy !== window.policy)
  if (window.isPolicyChanged || isOther) causes.push('policy_changed')
  if (reference !== null && isCold(reference)) causes.push('reference_cold')
  return causes
}

const isCold = (window: Window): boolean => window.cold > window.rows / 2

/** Whether a calendar feature would be held against another part of its cycle. */
function isOffCycle(of: Comparison, { cycleDays: days }: Series): boolean {
  if (days === 0) return false
  // Some first rows cover whatever part of the cycle they happened in.
  if (of.referenceKind === 'provisional') return true
  if (of.referenceKind === 'week_before') return days > 7
  if (of.referenceKind === 'day_before') return days > 1
  return of.windowKind !== 'day' || days > 1
}
