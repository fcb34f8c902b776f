// The drift monitor: what each answering model version sees and says, against how it was in training, yesterday and
// last week; for all decisions and for each segment that the policy declares; in windows by count, hour and day.
// Invariant: rows follow from the records alone, so that a rebuild, or a kill at any record, gives the same ones.
// Only what was decided for real counts: tests, observed history and answers that were never folded do not.
import { FEATURE_FLAGS } from '../../contract/decision.js'
import type { Segment } from '../../contract/policy.js'
import type { DecisionFacts } from '../../contract/record-types.js'
import { LIMITS, type Limits } from '../../limits.js'
import type { Control, DerivedRow, Monitor, TailRecord } from '../port.js'
import { decodeCheckpoint, encodeCheckpoint, type TrackState } from './drift-checkpoint.js'
import { type Binding, bindLayout, createLayout, cyclesOf, type Layout, watchedFields } from './drift-layout.js'
import { parseProfile } from './drift-profile.js'
import { createSample, emptySample, type Sample, type SampleState } from './drift-provisional.js'
import { compareWindow, DRIFT_TABLE, NULL_CELLS, type Place, REFERENCES, type WindowKind } from './drift-verdict.js'
import type { OwnReference } from './drift-verdict.js'
import * as windows from './drift-window.js'
import { createSegments } from './segments.js'

/** A model version that answers. */
export interface AnsweringModel {
  readonly name: string
  readonly version: string
  /** 64 hexadecimal digits. */
  readonly digest: string
}

export interface DriftDeps {
  /** The text of reference-profile.json in the bundle; null where there is none. Asked once per model version. */
  loadProfile(model: AnsweringModel): string | null
  /** Names of the features that it reads, for a profile of its first rows; null where nobody says. Asked likewise. */
  featuresOf?(model: AnsweringModel): readonly string[] | null
}

export interface DriftOptions {
  /** False alarms that an operator accepts in 30 days, in all; replaces a chance of 1e-4 for each verdict. */
  readonly falseAlarmsPer30Days?: number | null
  readonly limits?: DriftLimits
}

type DriftLimits = Pick<
  Limits,
  'driftWindowRows' | 'driftProvisionalRows' | 'driftRowsMin' | 'driftModelsMax' | 'driftCategoriesMax'
>

const ALPHA = 1e-4
const ALPHA_MAX = 1e-2
/** Below it the tails are exact, but nothing real differs. */
const ALPHA_MIN = 1e-15
const BUDGET_MS = 30 * 24 * windows.HOUR_MS
const ALL = ''

export const DRIFT_CELLS_TABLE = {
  ...{ epoch: 'BIGINT', sequence: 'BIGINT', model: 'VARCHAR', digest: 'VARCHAR', kind: 'VARCHAR', series: 'VARCHAR' },
  ...{ cell: 'BIGINT', cell_kind: 'VARCHAR', label: 'VARCHAR', low: 'DOUBLE', high: 'DOUBLE', reference_n: 'BIGINT' },
} as const

/** What a model version is held against: a row when it first answers, another when its provisional profile stands. */
export const DRIFT_REFERENCES_TABLE = {
  ...{ epoch: 'BIGINT', sequence: 'BIGINT', model: 'VARCHAR', digest: 'VARCHAR', kind: 'VARCHAR', rows: 'BIGINT' },
  ...{ from_ms: 'BIGINT', until_ms: 'BIGINT', profile: 'VARCHAR' },
} as const

interface Track {
  readonly model: string
  readonly digest: string
  readonly profile: string | null
  readonly reference: OwnReference
  /** While a profile is being made of the first rows. */
  readonly sample: Sample | null
  readonly hasProfile: boolean
  readonly fields: TrackState['fields']
  readonly cycles: TrackState['cycles']
  readonly layout: Layout
  readonly cells: Int32Array
  /** All decisions, then the declared segments in their order. */
  bySegment: readonly windows.Windows[]
  lastUse: number
  /** Fingerprint of the policy that `binding` is of. */
  boundTo: string
  binding: Binding
}

/** Makes the monitor. What it counts beside all decisions is what the policy in the log declares. */
export function createDriftMonitor(deps: DriftDeps, options: DriftOptions = {}): Monitor {
  const { falseAlarmsPer30Days: budget = null, limits = LIMITS } = options
  const segments = createSegments()
  let names: readonly string[] = [ALL]
  let tracks: Track[] = []
  let hour = -1
  let decisions = 0
  let rows: DerivedRow[] = []

  /** Chance that each verdict over a window may be wrong: a budget is spent in proportion to the time covered. */
  function alphaFor(spanMs: number): number {
    if (budget === null) return ALPHA
    const perWindow = Object.values(REFERENCES).reduce((sum, references) => sum + references.length, 0)
    const verdicts = tracks.reduce((sum, { layout }) => sum + layout.series.length + layout.features.length, 0)
    const alpha = (budget * spanMs) / (BUDGET_MS * perWindow * verdicts * names.length)
    return Math.min(ALPHA_MAX, Math.max(ALPHA_MIN, alpha))
  }

  function compare(track: Track, at: Place, kind: WindowKind, window: windows.Window, others: Others): void {
    const { layout, hasProfile } = track
    const alpha = alphaFor(window.untilMs - window.fromMs)
    for (const listed of REFERENCES[kind]) {
      const referenceKind = listed === 'training' ? track.reference : listed
      const reference = listed === 'training' ? null : others[listed]
      const isShort = reference !== null && Math.min(window.rows, reference?.rows ?? 0) < limits.driftRowsMin
      if (reference === undefined || isShort) continue
      const { series } = layout
      const of = { place: at, windowKind: kind, window, referenceKind, reference, series, hasProfile, alpha }
      rows.push(...compareWindow({ ...of, rowsMin: limits.driftRowsMin }))
    }
  }

  function closeHour(track: Track, of: windows.Windows, at: Place): void {
    const { size } = track.layout
    const window = of.hour
    if (window.rows === 0) return
    window.fromMs = hour * windows.HOUR_MS
    window.untilMs = window.fromMs + windows.HOUR_MS
    compare(track, at, 'hour', window, {
      day_before: windows.pastHours(of, hour - windows.DAY_HOURS, 1, size) ?? undefined,
      week_before: windows.pastHours(of, hour - windows.WEEK_HOURS, 1, size) ?? undefined,
    })
    windows.keepHour(of, hour, window)
    of.hour = windows.emptyWindow(size)
  }

  /** A day counts only where all of it was watched: a part would cover another part of the daily cycle. */
  function closeDay(track: Track, of: windows.Windows, at: Place): void {
    const from = hour - (hour % windows.DAY_HOURS)
    const { size } = track.layout
    const window = of.sinceHour > from ? null : windows.pastHours(of, from, windows.DAY_HOURS, size)
    if (window === null) return
    const before = from - windows.DAY_HOURS
    const other = of.sinceHour > before ? null : windows.pastHours(of, before, windows.DAY_HOURS, size)
    compare(track, at, 'day', window, { day_before: other ?? undefined })
  }

  function advance(atMs: number, record: TailRecord): void {
    const now = Math.floor(atMs / windows.HOUR_MS)
    if (hour >= 0 && now > hour) {
      const isNextDay = Math.floor(now / windows.DAY_HOURS) > Math.floor(hour / windows.DAY_HOURS)
      forEach(tracks, names, record, closeHour)
      if (isNextDay) forEach(tracks, names, record, closeDay)
    }
    // Lanes may write a little out of order: what is late by an hour's border counts in the open hour.
    hour = Math.max(hour, now)
  }

  /** Windows of segments that are declared anew begin empty; those of what is declared no longer go. */
  function follow(control: Control): void {
    const gone = segments.follow(control)
    const now = namesOf(segments.declared())
    if (gone.size === 0 && names.join() === now.join()) return
    for (const track of tracks) {
      const held = new Map(names.map((name, at) => [name, track.bySegment[at]]))
      const windowsOf = (name: string): windows.Windows | undefined => (gone.has(name) ? undefined : held.get(name))
      track.bySegment = now.map((name) => windowsOf(name) ?? windows.createWindows(track.layout.size))
    }
    names = now
  }

  function trackOf(model: NonNullable<DecisionFacts['model']>, record: TailRecord): Track {
    const { name, version } = model
    const reference = `${name}@${version}`
    const digest = hexOf(model.digest)
    const known = tracks.find((track) => track.model === reference && track.digest === digest)
    if (known !== undefined) return known
    const profile = deps.loadProfile({ name, version, digest })
    const { policy } = record.control
    const parsed = profile === null ? null : parseProfile(profile)
    const fields = watchedFields(policy, parsed, limits.driftCategoriesMax)
    const isMissing = profile === null
    const made = createTrack(
      {
        ...{ model: reference, digest, profile, fields, cycles: cyclesOf(policy), lastUse: 0 },
        reference: isMissing ? 'provisional' : 'training',
        sample: isMissing ? emptySample(deps.featuresOf?.({ name, version, digest }) ?? null) : null,
      },
      { control: record.control, segments: names.length, limits },
    )
    if (tracks.length >= limits.driftModelsMax) {
      const oldest = tracks.reduce((least, each) => (each.lastUse < least.lastUse ? each : least))
      tracks = tracks.filter((each) => each !== oldest)
    }
    begin(made, record)
    return made
  }

  /** From here on its windows are held against what it has now. */
  function begin(track: Track, record: TailRecord, made: SampleState | null = null): void {
    tracks.push(track)
    rows.push(referenceRow(track, record, { made, rowsMax: limits.driftProvisionalRows }), ...cellRows(track, record))
  }

  /** The rows of the sample become the reference, and are held against nothing; its windows begin anew. */
  function freeze(track: Track, sample: Sample, record: TailRecord): void {
    const facts = { ...track, profile: sample.profile(track.layout), sample: null }
    tracks = tracks.filter((each) => each !== track)
    begin(createTrack(facts, { control: record.control, segments: names.length, limits }), record, sample.state())
  }

  return {
    name: 'drift',
    tables: { drift: DRIFT_TABLE, drift_cells: DRIFT_CELLS_TABLE, drift_references: DRIFT_REFERENCES_TABLE },
    ages: { drift: 'until_ms' },
    take(tail) {
      const { record, control } = tail
      if (record.type !== 'decision') return
      const { facts, personal } = record
      if (facts.mode !== 'decide' || facts.unfolded || facts.model === null) return
      // Hours that ended before this record were those of the segments before it.
      advance(facts.decidedAtMs, tail)
      follow(control)
      const track = trackOf(facts.model, tail)
      track.lastUse = ++decisions
      bind(track, control)
      track.binding.place(facts, personal, track.cells)
      const isCold = (facts.features & FEATURE_FLAGS.cold) !== 0
      const counted = { atMs: facts.decidedAtMs, isCold, policy: hexOf(facts.policy), cells: track.cells }
      track.bySegment.forEach((of, at) => {
        if (at > 0 && !segments.holds(at - 1, personal.transaction)) return
        if (of.sinceHour < 0) of.sinceHour = hour
        windows.countInto(of.hour, counted)
        windows.countInto(of.count, counted)
        if (of.count.rows < limits.driftWindowRows) return
        compare(track, placeOf(track, names[at] ?? ALL, tail), 'count', of.count, {})
        of.count = windows.emptyWindow(track.layout.size)
      })
      const { sample } = track
      sample?.take(facts, personal, track.cells)
      if (sample?.isFull() === true) freeze(track, sample, tail)
    },
    drain() {
      const drained = rows
      rows = []
      return drained
    },
    checkpoint() {
      const states = tracks.map(
        ({ model, digest, profile, reference, sample, fields, cycles, lastUse, bySegment }) => ({
          ...{ model, digest, profile, reference, sample: sample?.state() ?? null, fields, cycles, lastUse },
          windows: bySegment.map((of, at) => ({ segment: names[at] ?? ALL, windows: of })),
        }),
      )
      return encodeCheckpoint({ hour, decisions, segments: segments.declared(), tracks: states })
    },
    restore(checkpoint) {
      const state = decodeCheckpoint(checkpoint)
      hour = state.hour
      decisions = state.decisions
      rows = []
      segments.restore(state.segments)
      names = namesOf(state.segments)
      tracks = state.tracks.map((each) => restoreTrack(each, limits))
    },
  }
}

const namesOf = (declared: readonly Segment[]): string[] => [ALL, ...declared.map(({ name }) => name)]

type Others = { readonly day_before?: windows.Window | undefined; readonly week_before?: windows.Window | undefined }

function forEach(
  tracks: readonly Track[],
  names: readonly string[],
  record: TailRecord,
  close: (track: Track, of: windows.Windows, at: Place) => void,
): void {
  for (const track of tracks) {
    track.bySegment.forEach((of, at) => close(track, of, placeOf(track, names[at] ?? ALL, record)))
  }
}

function placeOf({ model, digest }: Track, segment: string, { epoch, sequence }: TailRecord): Place {
  return { epoch, sequence, model, digest, segment }
}

const UNBOUND: Binding = { place: () => undefined }

type TrackFacts = Omit<TrackState, 'windows'>

interface TrackPlace {
  readonly control: Control | null
  readonly segments: number
  readonly limits: DriftLimits
}

function createTrack(facts: TrackFacts, { control, segments, limits }: TrackPlace): Track {
  const profile = facts.profile === null ? null : parseProfile(facts.profile)
  const layout = createLayout(profile, facts.fields, facts.cycles)
  const rowsMax = limits.driftProvisionalRows
  const sample = facts.sample === null ? null : createSample(facts.sample, { rowsMax, size: layout.size })
  const track: Track = {
    ...{ ...facts, sample },
    ...{ hasProfile: profile !== null, layout, cells: new Int32Array(layout.places), boundTo: '', binding: UNBOUND },
    bySegment: Array.from({ length: segments }, () => windows.createWindows(layout.size)),
  }
  if (control !== null) bind(track, control)
  return track
}

function restoreTrack(state: TrackState, limits: DriftLimits): Track {
  return {
    ...createTrack(state, { control: null, segments: 0, limits }),
    bySegment: state.windows.map((each) => each.windows),
  }
}

function bind(track: Track, control: Control): void {
  if (track.boundTo === control.policy_fingerprint) return
  track.binding = bindLayout(track.layout, control.policy)
  track.sample?.follow(control.policy)
  track.boundTo = control.policy_fingerprint
}

/** kind: training, provisional, collecting, or unreadable. `rows` of a collecting one: how many it waits for. */
function referenceRow(
  { model, digest, profile, reference, sample, hasProfile }: Track,
  { epoch, sequence }: TailRecord,
  { made, rowsMax }: { readonly made: SampleState | null; readonly rowsMax: number },
): DerivedRow {
  const kind = sample !== null ? 'collecting' : hasProfile ? reference : 'unreadable'
  const rows = sample !== null ? rowsMax : (made?.rows ?? null)
  const row = { epoch, sequence, model, digest, kind, rows, from_ms: made?.fromMs ?? null }
  const own = { until_ms: made?.untilMs ?? null, profile: made === null ? null : profile }
  return { table: 'drift_references', row: { ...row, ...own } }
}

/** The bins of a model version, once: what the counts of its rows mean, and how training filled them. */
function cellRows(track: Track, { epoch, sequence }: TailRecord): DerivedRow[] {
  const { model, digest, layout } = track
  const row = (kind: string, series: string, cell: number, of: (typeof NULL_CELLS)[number], n: number | null) => ({
    table: 'drift_cells',
    row: {
      ...{ epoch, sequence, model, digest, kind, series, cell, cell_kind: of.kind },
      ...{ label: of.label, low: of.low, high: of.high, reference_n: n },
    },
  })
  return layout.series.flatMap(({ kind, name, cells, reference }) => {
    const own = cells.map((cell, at) => row(kind, name, at, cell, reference?.[at] ?? null))
    if (kind !== 'feature' || reference === null) return own
    const nulls = reference[0] ?? 0
    const counts = [nulls, reference.reduce((sum, count) => sum + count, 0) - nulls]
    return [...own, ...NULL_CELLS.map((cell, at) => row('null_rate', name, at, cell, counts[at] ?? null))]
  })
}

const hexOf = (bytes: Uint8Array): string =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('hex')
