// From the counts of one window and one pair of models to the row that is stored and shown. Pure: equal counts give an
// equal row. "Alerts" are answers other than approve: what somebody has to look at, or a customer feels.
import { ACTIONS } from '../../contract/decision.js'
import type { AppliedThresholds } from '../../contract/record-types.js'
import { bigOf, numberOf } from '../../stats/exact-sum.js'
import { cohenKappa } from '../../stats/kappa.js'
import { wilson } from '../../stats/interval.js'
import { mcnemarMidP, pairedDifference } from '../../stats/paired-proportion.js'
import { kendallOfGrid, spearmanOfGrid } from '../../stats/rank-correlation.js'
import type { Cell } from '../port.js'
import { DIFFERENCE_UNIT, differenceOf, edgeOf, GRID_AXIS, VOLUME_AXIS } from './shadow-bins.js'
import { listOf, type PairCounts } from './shadow-counts.js'

/** Table → column → SQL type of the shadow monitor's rows. */
export const SHADOW_TABLES = {
  /**
   * One per decision and model that was compared, or would have been: `why` is shed or failed where a score is
   * missing. `flip_distance`: between the scores, in logits, where the actions differ; null where they agree.
   */
  shadow_pairs: {
    ...{ epoch: 'BIGINT', sequence: 'BIGINT', decided_at_ms: 'BIGINT', champion: 'VARCHAR', shadow: 'VARCHAR' },
    ...{ champion_score: 'DOUBLE', shadow_score: 'DOUBLE', champion_action: 'VARCHAR', shadow_action: 'VARCHAR' },
    ...{ flip_distance: 'DOUBLE', why: 'VARCHAR' },
  },
  shadow_windows: {
    epoch: 'BIGINT',
    sequence: 'BIGINT',
    window_ms: 'BIGINT',
    from_ms: 'BIGINT',
    until_ms: 'BIGINT',
    champion: 'VARCHAR',
    shadow: 'VARCHAR',
    segment: 'VARCHAR',
    pairs: 'BIGINT',
    answered_by_shadow: 'BIGINT',
    answered_by_other: 'BIGINT',
    shed: 'BIGINT',
    failed: 'BIGINT',
    thresholds_changed: 'BOOLEAN',
    difference_mean: 'DOUBLE',
    difference_sd: 'DOUBLE',
    difference_quantiles: 'DOUBLE[]',
    difference_bins: 'BIGINT[]',
    difference_counts: 'BIGINT[]',
    spearman: 'DOUBLE',
    spearman_error: 'DOUBLE',
    kendall: 'DOUBLE',
    kendall_error: 'DOUBLE',
    flips: 'BIGINT',
    flips_ruled: 'BIGINT',
    flip_share: 'DOUBLE',
    flip_low: 'DOUBLE',
    flip_high: 'DOUBLE',
    actions: 'BIGINT[]',
    amounts: 'BIGINT[]',
    amounts_unknown: 'BIGINT',
    champion_alerts: 'BIGINT',
    shadow_alerts: 'BIGINT',
    alert_difference: 'DOUBLE',
    alert_difference_low: 'DOUBLE',
    alert_difference_high: 'DOUBLE',
    mcnemar_p: 'DOUBLE',
    swap_in: 'BIGINT',
    swap_in_amount: 'BIGINT',
    swap_out: 'BIGINT',
    swap_out_amount: 'BIGINT',
    kappa: 'DOUBLE',
    kappa_se: 'DOUBLE',
    agreement: 'DOUBLE',
    at_champion: 'BIGINT[]',
    champion_thresholds: 'DOUBLE[]',
    shadow_thresholds: 'DOUBLE[]',
    equal_thresholds: 'DOUBLE[]',
    equal_volumes: 'BIGINT[]',
    grid_cells: 'BIGINT[]',
    grid_counts: 'BIGINT[]',
    champion_bins: 'BIGINT[]',
    champion_counts: 'BIGINT[]',
    shadow_bins: 'BIGINT[]',
    shadow_counts: 'BIGINT[]',
    telling_epochs: 'BIGINT[]',
    telling_sequences: 'BIGINT[]',
    telling_champion: 'DOUBLE[]',
    telling_shadow: 'DOUBLE[]',
  },
} as const

/** Quantiles of the difference that a row lists. */
export const DIFFERENCE_QUANTILES = [0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99]

/** Which window, whose pair, under which thresholds. */
export interface WindowKey {
  readonly windowMs: number
  readonly fromMs: number
  readonly champion: string
  readonly shadow: string
  readonly segment: string
  /** What was applied last in the window, and whether that changed inside it. */
  readonly championCuts: AppliedThresholds
  readonly shadowCuts: AppliedThresholds
  readonly cutsChanged: boolean
}

/** The row of `shadow_windows`. Numbers that nothing was counted for are null. */
export function summarise(key: WindowKey, counts: PairCounts): Record<string, Cell> {
  const { grid, championBins, shadowBins, telling } = counts
  const cells = listOf(grid)
  const champion = listOf(championBins)
  const shadow = listOf(shadowBins)
  return {
    window_ms: key.windowMs,
    from_ms: key.fromMs,
    until_ms: key.fromMs + key.windowMs,
    ...{ champion: key.champion, shadow: key.shadow, segment: key.segment },
    pairs: counts.pairs,
    answered_by_shadow: counts.answeredByShadow,
    answered_by_other: counts.answeredByOther,
    ...{ shed: counts.shed, failed: counts.failed, thresholds_changed: key.cutsChanged },
    ...differenceCells(counts),
    ...correlationCells(cells),
    ...flipCells(counts),
    ...volumeCells(key, counts),
    ...{ grid_cells: cells.places, grid_counts: cells.counts },
    ...{ champion_bins: champion.places, champion_counts: champion.counts },
    ...{ shadow_bins: shadow.places, shadow_counts: shadow.counts },
    telling_epochs: telling.map(({ epoch }) => epoch),
    telling_sequences: telling.map(({ sequence }) => sequence),
    telling_champion: telling.map(({ champion: score }) => score),
    telling_shadow: telling.map(({ shadow: score }) => score),
  }
}

function differenceCells({ pairs, differences, squares, differenceBins }: PairCounts): Record<string, Cell> {
  const { places, counts } = listOf(differenceBins)
  const sum = bigOf(differences)
  // n Σd² − (Σd)² in whole numbers: no digits cancel.
  const spread = Number(BigInt(pairs) * bigOf(squares) - sum * sum)
  return {
    difference_mean: pairs === 0 ? null : (Number(sum) / pairs) * DIFFERENCE_UNIT,
    difference_sd: pairs < 2 ? null : (Math.sqrt(spread / pairs) / Math.sqrt(pairs - 1)) * DIFFERENCE_UNIT,
    difference_quantiles: pairs === 0 ? null : quantilesOf(places, counts, DIFFERENCE_QUANTILES),
    difference_bins: places,
    difference_counts: counts,
  }
}

/** The middle of the bin that holds the value of rank ⌈q n⌉. */
export function quantilesOf(places: readonly number[], counts: readonly number[], wanted: readonly number[]): number[] {
  const n = counts.reduce((sum, count) => sum + count, 0)
  return wanted.map((q) => {
    const rank = Math.max(1, Math.ceil(q * n))
    let seen = 0
    const at = counts.findIndex((count) => (seen += count) >= rank)
    return differenceOf(places[at])
  })
}

function correlationCells({ places, counts }: { places: number[]; counts: number[] }): Record<string, Cell> {
  const { bins } = GRID_AXIS
  const cells = {
    ...{ bins, counts },
    columns: places.map((place) => Math.floor(place / bins)),
    rows: places.map((place) => place % bins),
  }
  const spearman = spearmanOfGrid(cells)
  const kendall = kendallOfGrid(cells)
  return {
    ...{ spearman: known(spearman.value), spearman_error: known(spearman.errorMax) },
    ...{ kendall: known(kendall.value), kendall_error: known(kendall.errorMax) },
  }
}

const SIZE = ACTIONS.length
const APPROVE = ACTIONS.indexOf('approve')

function flipCells(counts: PairCounts): Record<string, Cell> {
  const { actions, amounts, pairs } = counts
  const sum = (holds: (champion: number, shadow: number) => boolean): number =>
    actions.reduce((total, count, cell) => total + (holds(Math.floor(cell / SIZE), cell % SIZE) ? count : 0), 0)
  const money = (holds: (champion: number, shadow: number) => boolean): bigint =>
    amounts.reduce((total, one, cell) => total + (holds(Math.floor(cell / SIZE), cell % SIZE) ? bigOf(one) : 0n), 0n)
  const isIn = (champion: number, shadow: number): boolean => champion === APPROVE && shadow !== APPROVE
  const isOut = (champion: number, shadow: number): boolean => champion !== APPROVE && shadow === APPROVE
  const flips = sum((champion, shadow) => champion !== shadow)
  const both = sum((champion, shadow) => champion !== APPROVE && shadow !== APPROVE)
  const swapIn = sum(isIn)
  const swapOut = sum(isOut)
  const change = pairedDifference({ both, firstOnly: swapOut, secondOnly: swapIn, neither: actions[0] })
  const share = wilson(flips, pairs)
  const { kappa, se, agreement } = cohenKappa(actions, SIZE)
  return {
    ...{ flips, flips_ruled: counts.flipsRuled, flip_share: pairs === 0 ? null : flips / pairs },
    ...{ flip_low: share.low, flip_high: share.high, actions: [...actions], amounts: amounts.map(numberOf) },
    amounts_unknown: counts.amountsUnknown,
    ...{ champion_alerts: both + swapOut, shadow_alerts: both + swapIn, alert_difference: known(change.difference) },
    ...{ alert_difference_low: change.low, alert_difference_high: change.high },
    mcnemar_p: mcnemarMidP(swapOut, swapIn),
    ...{ swap_in: swapIn, swap_in_amount: money(isIn), swap_out: swapOut, swap_out_amount: money(isOut) },
    ...{ kappa: known(kappa), kappa_se: known(se), agreement: known(agreement) },
  }
}

function volumeCells(key: WindowKey, counts: PairCounts): Record<string, Cell> {
  const { actions } = counts
  // The champion's volume at or above each action: challenge, review, decline.
  const volumes = [1, 2, 3].map((least) =>
    actions.reduce((total, count, cell) => total + (Math.floor(cell / SIZE) >= least ? count : 0), 0),
  )
  const cuts = cutList(key.championCuts)
  const equal = volumes.map((volume) => equalVolume(counts.shadowBins, volume))
  return {
    at_champion: [...counts.atChampion],
    champion_thresholds: cuts,
    shadow_thresholds: cutList(key.shadowCuts),
    equal_thresholds: equal.map(({ threshold }, at) => (cuts[at] === NOT_USED ? NOT_USED : threshold)),
    equal_volumes: equal.map(({ volume }) => volume),
  }
}

/** A threshold that no score reaches stands for an action that is not used: lists hold numbers only. */
const NOT_USED = 2

function cutList({ challengeAt, reviewAt, declineAt }: AppliedThresholds): number[] {
  return [challengeAt ?? NOT_USED, reviewAt ?? NOT_USED, declineAt ?? NOT_USED]
}

/**
 * The threshold at which a model answers as often as `wanted`, or where bins do not allow it, as near as they do (the
 * lower volume of two equally near), and the volume that it would have.
 */
export function equalVolume(
  bins: ReadonlyMap<number, number>,
  wanted: number,
): { readonly threshold: number; readonly volume: number } {
  const { places, counts } = listOf(bins)
  let best = { threshold: NOT_USED, volume: 0 }
  let volume = 0
  for (let at = places.length - 1; at >= 0 && volume < wanted; at--) {
    volume += counts[at]
    if (Math.abs(volume - wanted) < Math.abs(best.volume - wanted)) {
      best = { threshold: edgeOf(VOLUME_AXIS, places[at]), volume }
    }
  }
  return best
}

function known(value: number): number | null {
  return Number.isNaN(value) ? null : value
}
