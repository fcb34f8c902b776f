// The shadow monitor: each decision as the champion and every other model see it, counted per pair of models, segment
// and window. The champion's score is the answered one, or its own shadow score where another model answered, so that a
// comparison does not depend on who got the traffic. Windows are minutes of record time; hours are sums of minutes.
// Invariant: rows follow from records, shadow scores and thresholds alone. Shed and failed pairs are counted, not
// paired.
import { Buffer } from 'node:buffer'
import type { Thresholds } from '../../contract/manifest.js'
import type { Segment } from '../../contract/policy.js'
import {
  type AppliedThresholds,
  type DecisionFacts,
  type DecodedRecord,
  isOfTransaction,
} from '../../contract/record-types.js'
import { decideByScore } from '../../decision/decide.js'
import { AssayError } from '../../errors.js'
import { LIMITS, type Limits } from '../../limits.js'
import type { Control, DerivedRow, Monitor, TailRecord } from '../port.js'
import {
  countPair,
  emptyCounts,
  mergeCounts,
  packCounts,
  type PackedCounts,
  type Pair,
  type PairCounts,
  tells,
  unpackCounts,
} from './shadow-counts.js'
import { createShadowCuts, cutsOn, NONE_STATED, type PairCuts } from './shadow-cuts.js'
import { createSegments, type Segments } from './segments.js'
import { SHADOW_TABLES, summarise } from './shadow-summary.js'

export const MINUTE_MS = 60_000
export const HOUR_MS = 3_600_000

/** The segment that holds every decision; named ones come beside it. */
export const ALL = ''
/** Where segments beyond their bound are counted. */
const OTHER = '(other)'

export interface ShadowMonitorOptions {
  /** Thresholds of a model's manifest; undefined for a model that the sidecar has no bundle of. */
  readonly manifestThresholds: (model: string) => Thresholds | undefined
  readonly limits?: Pick<Limits, 'amountSummedMax'>
  /** Pairs of models and segments in one window: a few kilobytes each. */
  readonly keysMax?: number
  /** Keep the sums of all that was taken, for `total`. */
  readonly keepsTotal?: boolean
}

export interface ShadowMonitor extends Monitor {
  /** Rows over everything taken, as of one window; only with `keepsTotal`, and since the monitor was made. */
  total(fromMs: number, untilMs: number): readonly DerivedRow[]
}

type Place = Pick<TailRecord, 'epoch' | 'sequence'>

interface Names {
  readonly champion: string
  readonly shadow: string
  readonly segment: string
}

interface Window extends Names {
  championCuts: AppliedThresholds
  shadowCuts: AppliedThresholds
  cutsChanged: boolean
  readonly counts: PairCounts
}

type Windows = Map<string, Window>

const KEYS_MAX = 256

export function createShadowMonitor(options: ShadowMonitorOptions): ShadowMonitor {
  const limits = options.limits ?? LIMITS
  const keysMax = options.keysMax ?? KEYS_MAX
  let minute = -1
  let minutes: Windows = new Map()
  let hours: Windows = new Map()
  const totals: Windows = new Map()
  const segments = createSegments()
  let rows: DerivedRow[] = []
  const cuts = createShadowCuts(options.manifestThresholds)

  /** Closes what ended before this time. Time that goes back counts into the open window. */
  function advance(timeMs: number, { epoch, sequence }: Place): void {
    const now = Math.floor(timeMs / MINUTE_MS)
    if (now <= minute) return
    if (minute >= 0) {
      rows.push(...rowsOf(minutes, MINUTE_MS, minute * MINUTE_MS, { epoch, sequence }))
      for (const window of minutes.values()) addTo(hours, window, keysMax)
      if (options.keepsTotal === true) for (const window of minutes.values()) addTo(totals, window, keysMax)
      minutes = new Map()
      const hour = Math.floor((minute * MINUTE_MS) / HOUR_MS)
      if (Math.floor((now * MINUTE_MS) / HOUR_MS) > hour) {
        rows.push(...rowsOf(hours, HOUR_MS, hour * HOUR_MS, { epoch, sequence }))
        hours = new Map()
      }
    }
    minute = now
  }

  function windowOf(names: Names, championCuts: AppliedThresholds, shadowCuts: AppliedThresholds): Window {
    const own = minutes.get(keyOf(names))
    const segment = own === undefined ? placeOf(minutes, names, keysMax) : names.segment
    const held = own ?? minutes.get(keyOf({ ...names, segment }))
    if (held === undefined) {
      const made = { ...names, segment, championCuts, shadowCuts, cutsChanged: false, counts: emptyCounts() }
      minutes.set(keyOf(made), made)
      return made
    }
    noteCuts(held, championCuts, shadowCuts)
    return held
  }

  function follow(control: Control): void {
    const gone = segments.follow(control)
    for (const windows of gone.size === 0 ? [] : [minutes, hours, totals]) {
      for (const [key, { segment }] of windows) if (gone.has(segment)) windows.delete(key)
    }
  }

  function takeDecision(at: TailRecord, record: DecisionRecord): void {
    follow(at.control)
    const { champion } = at.control.routes
    const scores = scoresOf(at, record.facts)
    const reference = scores.get(champion) ?? NOT_SCORED
    const lyingIn = segmentsOf(record, segments)
    const { transaction } = record.personal
    const ofChampion = cuts.of(champion, at.control, transaction) ?? NONE_STATED
    for (const [shadow, scored] of scores) {
      if (shadow === champion) continue
      // A model that nobody has chosen thresholds for yet is judged by those that it would be held to.
      const ofShadow = cuts.of(shadow, at.control, transaction) ?? ofChampion
      const pair = pairOf(at, record, { champion, shadow, reference, scored, ofChampion, ofShadow })
      for (const segment of lyingIn) {
        const { counts } = windowOf(
          { champion, shadow, segment },
          cutsOn(segment, ofChampion),
          cutsOn(segment, ofShadow),
        )
        if (pair === 'shed') counts.shed++
        else if (pair === 'failed') counts.failed++
        else countPair(counts, pair, limits.amountSummedMax)
      }
      rows.push({ table: 'shadow_pairs', row: pairRow(at, record.facts.decidedAtMs, { champion, shadow, pair }) })
    }
  }

  return {
    name: 'shadow',
    tables: SHADOW_TABLES,
    ages: { shadow_pairs: 'decided_at_ms', shadow_windows: 'until_ms' },
    take(at) {
      const { record } = at
      const timeMs = recordTimeMs(record)
      if (timeMs !== null) advance(timeMs, at)
      if (record.type === 'decision' && isOfTransaction(record.facts)) takeDecision(at, record)
    },
    total(fromMs, untilMs) {
      const all: Windows = new Map()
      for (const window of [...totals.values(), ...minutes.values()]) addTo(all, window, keysMax)
      return rowsOf(all, untilMs - fromMs, fromMs, {})
    },
    drain() {
      const drained = rows
      rows = []
      return drained
    },
    checkpoint() {
      const open = { minutes: packWindows(minutes), hours: packWindows(hours) }
      const state: State = { format: 1, minute, segments: segments.declared(), ...open }
      return Buffer.from(JSON.stringify(state))
    },
    restore(checkpoint) {
      const state = parseState(checkpoint)
      minute = state.minute
      segments.restore(state.segments ?? [])
      minutes = unpackWindows(state.minutes)
      hours = unpackWindows(state.hours)
      rows = []
    },
  }
}

/** Rows of these windows, in the order of their keys. */
function rowsOf(windows: Windows, windowMs: number, fromMs: number, closedBy: Partial<Place>): DerivedRow[] {
  return [...windows]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([, window]) => ({
      table: 'shadow_windows',
      row: { ...closedBy, ...summarise({ ...window, windowMs, fromMs }, window.counts) },
    }))
}

type DecisionRecord = Extract<DecodedRecord, { type: 'decision' | 'observed' }>

/** When a record was made; null for those that only point at others. */
function recordTimeMs(record: DecodedRecord): number | null {
  if ('facts' in record) return record.facts.decidedAtMs
  if (record.type === 'label') return record.label.foldedAtMs
  return record.type === 'control' ? record.control.foldedAtMs : null
}

/** All, the one that the decision names, and the declared ones that it lies in. */
function segmentsOf({ facts, personal }: DecisionRecord, segments: Segments): Iterable<string> {
  const declared = segments.declared()
  if (facts.segment === null && declared.length === 0) return ALL_ALONE
  const names = new Set([ALL])
  if (facts.segment !== null) names.add(facts.segment)
  declared.forEach(({ name }, at) => {
    if (segments.holds(at, personal.transaction)) names.add(name)
  })
  return names
}

const ALL_ALONE: Iterable<string> = [ALL]

interface Scored {
  readonly score: number | null
  readonly why: 'shed' | 'failed' | null
  readonly answered: boolean
}

const NOT_SCORED: Scored = { score: null, why: 'failed', answered: false }

interface Compared {
  readonly champion: string
  readonly shadow: string
  readonly reference: Scored
  readonly scored: Scored
  readonly ofChampion: PairCuts
  readonly ofShadow: PairCuts
}

/** Both scores and what they would decide; or why one is missing. */
function pairOf({ epoch, sequence }: Place, { facts, personal }: DecisionRecord, of: Compared): Outcome {
  const { champion, shadow, reference, scored, ofChampion, ofShadow } = of
  if (scored.why === 'shed' || reference.why === 'shed') return 'shed'
  if (scored.score === null || reference.score === null) return 'failed'
  const answered = reference.answered ? facts.scoreAction : null
  return {
    epoch,
    sequence,
    champion: reference.score,
    shadow: scored.score,
    championAction: answered ?? decideByScore(ofChampion.applied.cuts, reference.score),
    shadowAction: decideByScore(ofShadow.applied.cuts, scored.score),
    shadowAtChampion: decideByScore(ofChampion.applied.cuts, scored.score),
    amountBaseMinor: personal.transaction.amountBaseMinor,
    answeredBy: answeredBy(facts, champion, shadow),
    ruled: facts.rules.length > 0,
  }
}

type Outcome = Pair | 'shed' | 'failed'

/**
 * Every model's score of this decision: the answered one and the shadows'; the baseline's answers are no comparison.
 */
function scoresOf({ shadows }: TailRecord, facts: DecisionFacts): Map<string, Scored> {
  const scores = new Map<string, Scored>()
  for (const { model, score, why } of shadows) scores.set(model, { score, why, answered: false })
  const { model, score } = facts
  if (model !== null && (model.role !== 'baseline' || scores.has(referenceOf(model)))) {
    scores.set(referenceOf(model), { score, why: null, answered: true })
  }
  return scores
}

function referenceOf(model: { name: string; version: string }): string {
  return `${model.name}@${model.version}`
}

function answeredBy({ model }: DecisionFacts, champion: string, shadow: string): 'champion' | 'shadow' | 'other' {
  const reference = model === null ? null : referenceOf(model)
  if (reference === champion) return 'champion'
  return reference === shadow ? 'shadow' : 'other'
}

function pairRow(
  { epoch, sequence }: Place,
  decidedAtMs: number,
  of: { champion: string; shadow: string; pair: Outcome },
): DerivedRow['row'] {
  const { champion, shadow, pair } = of
  if (typeof pair === 'string') return { epoch, sequence, decided_at_ms: decidedAtMs, champion, shadow, why: pair }
  return {
    epoch,
    sequence,
    decided_at_ms: decidedAtMs,
    champion,
    shadow,
    champion_score: pair.champion,
    shadow_score: pair.shadow,
    champion_action: pair.championAction,
    shadow_action: pair.shadowAction,
    flip_distance: pair.championAction === pair.shadowAction ? null : tells(pair),
  }
}

function noteCuts(window: Window, championCuts: AppliedThresholds, shadowCuts: AppliedThresholds): void {
  if (!sameCuts(window.championCuts, championCuts) || !sameCuts(window.shadowCuts, shadowCuts)) {
    window.cutsChanged = true
    window.championCuts = championCuts
    window.shadowCuts = shadowCuts
  }
}

function sameCuts(one: AppliedThresholds, other: AppliedThresholds): boolean {
  if (one === other) return true
  const { challengeAt, reviewAt, declineAt } = one
  return challengeAt === other.challengeAt && reviewAt === other.reviewAt && declineAt === other.declineAt
}

function keyOf({ champion, shadow, segment }: Names): string {
  return `${champion} ${shadow} ${segment}`
}

/** The segment that these are counted under: their own, while there is room for it. */
function placeOf(windows: Windows, names: Names, keysMax: number): string {
  return names.segment === ALL || windows.size < keysMax || windows.has(keyOf(names)) ? names.segment : OTHER
}

function addTo(windows: Windows, window: Window, keysMax: number): void {
  const segment = placeOf(windows, window, keysMax)
  const key = keyOf({ ...window, segment })
  const held = windows.get(key)
  if (held === undefined) {
    const counts = emptyCounts()
    mergeCounts(counts, window.counts)
    windows.set(key, { ...window, segment, counts })
    return
  }
  mergeCounts(held.counts, window.counts)
  noteCuts(held, window.championCuts, window.shadowCuts)
  held.cutsChanged ||= window.cutsChanged
}

type PackedWindow = Omit<Window, 'counts'> & { readonly counts: PackedCounts }

interface State {
  readonly format: 1
  readonly minute: number
  /** Absent where it was written before a policy could declare any. */
  readonly segments?: readonly Segment[]
  readonly minutes: [string, PackedWindow][]
  readonly hours: [string, PackedWindow][]
}

function packWindows(windows: Windows): [string, PackedWindow][] {
  return [...windows].sort(([a], [b]) => (a < b ? -1 : 1)).map(([key, window]) => [key, packed(window)])
}

function packed(window: Window): PackedWindow {
  return { ...window, counts: packCounts(window.counts) }
}

function unpackWindows(windows: readonly [string, PackedWindow][]): Windows {
  return new Map(windows.map(([key, window]) => [key, { ...window, counts: unpackCounts(window.counts) }]))
}

function parseState(checkpoint: Uint8Array): State {
  const state: unknown = JSON.parse(Buffer.from(checkpoint).toString('utf8'))
  if (!isState(state))
    throw new AssayError('ASSAY_INPUT_INVALID', 'a checkpoint of the shadow monitor is of another release')
  return state
}

// The store's transaction vouches for the rest: only this code writes it.
function isState(state: unknown): state is State {
  return typeof state === 'object' && state !== null && 'format' in state && state.format === 1 && 'minutes' in state
}
