// What one window knows of one pair of models: integers alone (and the few most telling pairs), so that windows add up
// exactly, in any order, and survive a checkpoint. What is shown of it is computed in shadow-summary.ts.
import { ACTIONS, type Action } from '../../contract/decision.js'
import { addExact, emptySum, type ExactSum, mergeExact } from '../../stats/exact-sum.js'
import { binOf, differenceBin, GRID_AXIS, logitOf, unitsOf, VOLUME_AXIS } from './shadow-bins.js'

/** Pairs of one window that are kept to look at. */
export const TELLING_MAX = 10

/** A decision on which both models differ much. */
export interface Telling {
  readonly epoch: number
  readonly sequence: number
  readonly champion: number
  readonly shadow: number
}

/** One decision as both models see it. */
export interface Pair {
  readonly epoch: number
  readonly sequence: number
  readonly champion: number
  readonly shadow: number
  readonly championAction: Action
  readonly shadowAction: Action
  /** What the champion's own thresholds make of the shadow's score. */
  readonly shadowAtChampion: Action
  /** Minor units of the base currency; NaN where unknown. */
  readonly amountBaseMinor: number
  /** Whose score was answered. */
  readonly answeredBy: 'champion' | 'shadow' | 'other'
  /** A rule decided: whatever the models say, the action would have been the same. */
  readonly ruled: boolean
}

export interface PairCounts {
  pairs: number
  answeredByShadow: number
  answeredByOther: number
  shed: number
  failed: number
  /** Champion's action × shadow's action, row-major in the order of ACTIONS. */
  actions: number[]
  amounts: ExactSum[]
  amountsUnknown: number
  /** Shadow's score under the champion's thresholds. */
  atChampion: number[]
  /** Flips that a rule would have made without effect. */
  flipsRuled: number
  differences: ExactSum
  squares: ExactSum
  differenceBins: Map<number, number>
  grid: Map<number, number>
  championBins: Map<number, number>
  shadowBins: Map<number, number>
  telling: Telling[]
}

const SIZE = ACTIONS.length

export function emptyCounts(): PairCounts {
  return {
    ...{ pairs: 0, answeredByShadow: 0, answeredByOther: 0, shed: 0, failed: 0, amountsUnknown: 0, flipsRuled: 0 },
    actions: new Array<number>(SIZE * SIZE).fill(0),
    amounts: Array.from({ length: SIZE * SIZE }, emptySum),
    atChampion: new Array<number>(SIZE).fill(0),
    differences: emptySum(),
    squares: emptySum(),
    differenceBins: new Map(),
    grid: new Map(),
    championBins: new Map(),
    shadowBins: new Map(),
    telling: [],
  }
}

/** Counts one pair. `amountMax` bounds what one decision adds to a sum. */
export function countPair(counts: PairCounts, pair: Pair, amountMax: number): void {
  counts.pairs++
  if (pair.answeredBy === 'shadow') counts.answeredByShadow++
  if (pair.answeredBy === 'other') counts.answeredByOther++
  const cell = ACTIONS.indexOf(pair.championAction) * SIZE + ACTIONS.indexOf(pair.shadowAction)
  counts.actions[cell]++
  if (Number.isNaN(pair.amountBaseMinor)) counts.amountsUnknown++
  else addExact(counts.amounts[cell], Math.min(Math.round(pair.amountBaseMinor), amountMax))
  counts.atChampion[ACTIONS.indexOf(pair.shadowAtChampion)]++
  if (pair.ruled && pair.championAction !== pair.shadowAction) counts.flipsRuled++
  const units = unitsOf(pair.shadow - pair.champion)
  addExact(counts.differences, units)
  addExact(counts.squares, units * units)
  bump(counts.differenceBins, differenceBin(units))
  const champion = logitOf(pair.champion)
  const shadow = logitOf(pair.shadow)
  bump(counts.grid, binOf(GRID_AXIS, champion) * GRID_AXIS.bins + binOf(GRID_AXIS, shadow))
  bump(counts.championBins, binOf(VOLUME_AXIS, champion))
  bump(counts.shadowBins, binOf(VOLUME_AXIS, shadow))
  keepTelling(counts.telling, pair)
}

/** Adds the counts of another window of the same pair of models. */
export function mergeCounts(into: PairCounts, from: PairCounts): void {
  into.pairs += from.pairs
  into.answeredByShadow += from.answeredByShadow
  into.answeredByOther += from.answeredByOther
  into.shed += from.shed
  into.failed += from.failed
  into.amountsUnknown += from.amountsUnknown
  into.flipsRuled += from.flipsRuled
  from.actions.forEach((count, cell) => (into.actions[cell] += count))
  from.amounts.forEach((sum, cell) => {
    mergeExact(into.amounts[cell], sum)
  })
  from.atChampion.forEach((count, at) => (into.atChampion[at] += count))
  mergeExact(into.differences, from.differences)
  mergeExact(into.squares, from.squares)
  for (const name of ['differenceBins', 'grid', 'championBins', 'shadowBins'] as const) {
    for (const [bin, count] of from[name]) bump(into[name], bin, count)
  }
  for (const telling of from.telling) keepTelling(into.telling, telling)
}

function bump(bins: Map<number, number>, bin: number, by = 1): void {
  bins.set(bin, (bins.get(bin) ?? 0) + by)
}

/** Distance on the logit axis, where 0.001 against 0.01 tells as much as 0.99 against 0.999. */
export function tells(pair: Telling): number {
  return Math.abs(logitOf(pair.shadow) - logitOf(pair.champion))
}

/** Keeps the list short and in order: the most telling first, of equals the earliest. */
function keepTelling(list: Telling[], pair: Telling): void {
  const weight = tells(pair)
  if (weight === 0) return
  const last = list.at(-1)
  if (list.length === TELLING_MAX && last !== undefined && isBefore(last, tells(last), pair, weight)) return
  const { epoch, sequence, champion, shadow } = pair
  const place = list.findIndex((held) => !isBefore(held, tells(held), pair, weight))
  list.splice(place < 0 ? list.length : place, 0, { epoch, sequence, champion, shadow })
  if (list.length > TELLING_MAX) list.pop()
}

function isBefore(one: Telling, oneWeight: number, other: Telling, otherWeight: number): boolean {
  if (oneWeight !== otherWeight) return oneWeight > otherWeight
  return one.epoch !== other.epoch ? one.epoch < other.epoch : one.sequence < other.sequence
}

/** A map as two lists, bins ascending: the same bytes whatever order the pairs came in. */
export function listOf(bins: ReadonlyMap<number, number>): { places: number[]; counts: number[] } {
  // Sorted as machine integers: each batch's checkpoint comes through here.
  const places = [...Int32Array.from(bins.keys()).sort()]
  return { places, counts: places.map((place) => bins.get(place) ?? 0) }
}

/** Plain data for a checkpoint. */
export type PackedCounts = Omit<PairCounts, MapName> & Record<MapName, [number[], number[]]>
type MapName = 'differenceBins' | 'grid' | 'championBins' | 'shadowBins'

export function packCounts(counts: PairCounts): PackedCounts {
  const pack = (bins: ReadonlyMap<number, number>): [number[], number[]] => {
    const { places, counts: held } = listOf(bins)
    return [places, held]
  }
  const { differenceBins, grid, championBins, shadowBins } = counts
  return {
    ...counts,
    differenceBins: pack(differenceBins),
    grid: pack(grid),
    championBins: pack(championBins),
    shadowBins: pack(shadowBins),
  }
}

export function unpackCounts(packed: PackedCounts): PairCounts {
  const unpack = ([places, counts]: [number[], number[]]) => new Map(places.map((place, at) => [place, counts[at]]))
  return {
    ...packed,
    differenceBins: unpack(packed.differenceBins),
    grid: unpack(packed.grid),
    championBins: unpack(packed.championBins),
    shadowBins: unpack(packed.shadowBins),
  }
}
