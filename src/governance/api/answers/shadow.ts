// Shadow models against the champion: windows of the monitor, added up over any range. Whole hours come from the rows
// of hours, the rest from those of minutes, so that a long range is few rows.
import { ACTIONS } from '../../../contract/decision.js'
import type * as wire from '../../../contract/governance.js'
import { addExact, emptySum } from '../../../stats/exact-sum.js'
import { shownSegment, storedSegment } from './segments.js'
import { GRID_AXIS } from '../../monitors/shadow-bins.js'
import { emptyCounts, mergeCounts, type PairCounts } from '../../monitors/shadow-counts.js'
import { summarise } from '../../monitors/shadow-summary.js'
import type { JsonRow } from '../../store/queries.js'
import type { ShadowQuery } from '../source.js'
import * as cells from './cells.js'
import { exponentOf } from './decision-row.js'
import type { Held } from './held.js'

const TABLE = 'shadow_windows'
const MINUTE_MS = 60_000
const HOUR_MS = 3_600_000
const ROWS_MAX = 2_000
/** What a list holds for an action that is not used. */
const NOT_USED = 2
const SIZE = ACTIONS.length
const DECLINE = ACTIONS.indexOf('decline')

export async function shadowOverview(held: Held, query: ShadowQuery): Promise<wire.ShadowOverview> {
  if (!(await held.hasTable(TABLE))) return { models: [] }
  const names = await held
    .queries()
    .select(`SELECT shadow FROM ${TABLE} GROUP BY shadow ORDER BY max(until_ms) DESC, shadow LIMIT 32`)
  const all = await Promise.all(names.map((row) => summaryOf(held, cells.text(row, 'shadow'), query)))
  return { models: all.flatMap((one) => (one === null ? [] : [one.summary])) }
}

export async function shadowModel(held: Held, model: string, query: ShadowQuery): Promise<wire.ShadowDetail | null> {
  if (!(await held.hasTable(TABLE))) return null
  const own = await summaryOf(held, model, query)
  if (own === null) return null
  const [segments, flips] = await Promise.all([segmentsOf(held, own, query), flipsOf(held, own, query.limit)])
  return {
    summary: own.summary,
    segments,
    thresholds: { champion: cutsFrom(own.row, 'champion_thresholds'), shadow: cutsFrom(own.row, 'shadow_thresholds') },
    density: densityOf(own.row),
    quadrants: quadrantsOf(own.row),
    series: own.rows.map((row) => ({
      at: cells.time(cells.number(row, 'from_ms')),
      pairs: cells.number(row, 'pairs'),
      flips: cells.number(row, 'flips'),
      low: cells.maybeNumber(row, 'flip_low'),
      high: cells.maybeNumber(row, 'flip_high'),
    })),
    flips,
  }
}

interface Added {
  readonly summary: wire.ShadowModel
  /** The sum, in the columns of the table. */
  readonly row: JsonRow
  /** The windows that it adds up, without their bins, oldest first. */
  readonly rows: readonly JsonRow[]
}

async function summaryOf(held: Held, model: string, query: ShadowQuery): Promise<Added | null> {
  const segment = storedSegment(query.segment)
  const found = await windowsOf(held, model, { ...query, segment })
  const last = found.at(-1)
  if (last === undefined) return null
  const champion = cells.text(last, 'champion')
  const rows = found.filter((row) => row.champion === champion)
  const counts = { ...emptyCounts(), ...(await binsOf(held, { model, champion, segment, rows })) }
  for (const row of rows) mergeCounts(counts, countsOf(row))
  const cuts = {
    championCuts: appliedFrom(last, 'champion_thresholds'),
    shadowCuts: appliedFrom(last, 'shadow_thresholds'),
  }
  const fromMs = cells.number(rows[0] ?? last, 'from_ms')
  const windowMs = cells.number(last, 'until_ms') - fromMs
  const row = jsonOf(
    summarise({ windowMs, fromMs, champion, shadow: model, segment, ...cuts, cutsChanged: false }, counts),
  )
  const control = await held.control()
  const currency = control?.policy.currencies.base ?? null
  const money = { currency, exponent: exponentOf(control, currency ?? '') }
  return { summary: modelOf(row, money), row, rows }
}

/** Bins of a window: the column of their places, and that of their counts. */
const BINS = {
  differenceBins: ['difference_bins', 'difference_counts'],
  grid: ['grid_cells', 'grid_counts'],
  championBins: ['champion_bins', 'champion_counts'],
  shadowBins: ['shadow_bins', 'shadow_counts'],
} as const
/** A window's bins take up to 200 kB: they are added up where they lie, and never sorted. */
const NO_BINS = `* EXCLUDE (${[...Object.values(BINS).flat(), 'telling_epochs', 'telling_sequences'].join(', ')})`

/** Windows that cover the range without overlap, oldest first, without their bins. */
async function windowsOf(
  held: Held,
  model: string,
  { sinceMs, untilMs, segment }: Pick<ShadowQuery, 'sinceMs' | 'untilMs'> & { readonly segment: string },
): Promise<JsonRow[]> {
  const from = sinceMs ?? 0
  const until = untilMs ?? Number.MAX_SAFE_INTEGER
  const sql = `SELECT * FROM (SELECT ${NO_BINS} FROM ${TABLE} WHERE shadow = ? AND segment = ? AND window_ms = ?
     AND from_ms >= ? AND until_ms <= ? ORDER BY from_ms DESC LIMIT ${ROWS_MAX}) ORDER BY from_ms`
  const queries = held.queries()
  const hours = await queries.select(sql, [model, segment, HOUR_MS, from, until])
  const first = hours[0]
  const last = hours.at(-1)
  const minutes = await queries.select(sql, [model, segment, MINUTE_MS, from, until])
  const within = (row: JsonRow): boolean =>
    first !== undefined &&
    last !== undefined &&
    cells.number(row, 'from_ms') >= cells.number(first, 'from_ms') &&
    cells.number(row, 'from_ms') < cells.number(last, 'until_ms')
  const rest = minutes.filter((row) => !within(row))
  return [...hours, ...rest].sort((one, other) => cells.number(one, 'from_ms') - cells.number(other, 'from_ms'))
}

interface Windows {
  readonly model: string
  readonly champion: string
  readonly segment: string
  readonly rows: readonly JsonRow[]
}

/** The bins of these windows, added up in the store. */
async function binsOf(held: Held, windows: Windows): Promise<Pick<PairCounts, keyof typeof BINS>> {
  const { model, champion, segment, rows } = windows
  const of = (windowMs: number): string => {
    const own = rows.filter((row) => cells.number(row, 'window_ms') === windowMs)
    const starts = own.map((row) => cells.number(row, 'from_ms')).join(', ')
    return `window_ms = ${windowMs} AND from_ms IN (${starts || 'NULL'})`
  }
  const where = `shadow = ? AND champion = ? AND segment = ? AND (${of(HOUR_MS)} OR ${of(MINUTE_MS)})`
  const added = async ([places, counts]: readonly [string, string]): Promise<Map<number, number>> => {
    const found = await held.queries().select(
      `SELECT place, CAST(sum(held) AS BIGINT) AS held FROM
       (SELECT unnest(${places}) AS place, unnest(${counts}) AS held FROM ${TABLE} WHERE ${where}) GROUP BY place`,
      [model, champion, segment],
    )
    return new Map(found.map((row) => [cells.number(row, 'place'), cells.number(row, 'held')]))
  }
  return {
    differenceBins: await added(BINS.differenceBins),
    grid: await added(BINS.grid),
    championBins: await added(BINS.championBins),
    shadowBins: await added(BINS.shadowBins),
  }
}

async function segmentsOf(held: Held, own: Added, query: ShadowQuery): Promise<wire.ShadowModel[]> {
  const { model, segment } = own.summary
  const found = await held
    .queries()
    .select(`SELECT DISTINCT segment FROM ${TABLE} WHERE shadow = ? ORDER BY segment LIMIT 64`, [model])
  const names = found.map((row) => shownSegment(cells.text(row, 'segment')))
  const all = await Promise.all(
    names.map(async (name) => (name === segment ? own : summaryOf(held, model, { ...query, segment: name }))),
  )
  return all.flatMap((one) => (one === null ? [] : [one.summary]))
}

/** A row's integers but for its bins, to be added. The sum of differences is that of its mean, to within a unit. */
function countsOf(row: JsonRow): PairCounts {
  const pairs = cells.number(row, 'pairs')
  const differences = emptySum()
  addExact(differences, Math.round(cells.number(row, 'difference_mean') * pairs * 1e6))
  return {
    ...emptyCounts(),
    pairs,
    answeredByShadow: cells.number(row, 'answered_by_shadow'),
    answeredByOther: cells.number(row, 'answered_by_other'),
    shed: cells.number(row, 'shed'),
    failed: cells.number(row, 'failed'),
    actions: cells.numbers(row, 'actions'),
    amounts: cells.numbers(row, 'amounts').map((amount) => {
      const sum = emptySum()
      addExact(sum, amount)
      return sum
    }),
    amountsUnknown: cells.number(row, 'amounts_unknown'),
    atChampion: cells.numbers(row, 'at_champion'),
    flipsRuled: cells.number(row, 'flips_ruled'),
    differences,
  }
}

/** What `summarise` gives, as a row of the store would be read. */
function jsonOf(row: ReturnType<typeof summarise>): JsonRow {
  return Object.fromEntries(
    Object.entries(row).map(([name, value]) => [name, typeof value === 'bigint' ? Number(value) : value]),
  )
}

function modelOf(
  row: JsonRow,
  money: { readonly currency: string | null; readonly exponent: number },
): wire.ShadowModel {
  const actions = cells.numbers(row, 'actions')
  const declines = (by: 'champion' | 'shadow'): number =>
    actions.reduce((sum, pairs, cell) => {
      const [champion, shadow] = [Math.floor(cell / SIZE) === DECLINE, cell % SIZE === DECLINE]
      return sum + (champion !== shadow && (by === 'champion' ? champion : shadow) ? pairs : 0)
    }, 0)
  const { review_at: reviewAt, decline_at: declineAt } = cutsFrom(row, 'equal_thresholds')
  const pairs = cells.number(row, 'pairs')
  return {
    model: cells.text(row, 'shadow'),
    champion: cells.text(row, 'champion'),
    segment: shownSegment(cells.text(row, 'segment')),
    from: cells.maybeTime(row, 'from_ms'),
    until: cells.maybeTime(row, 'until_ms'),
    ...{ pairs, shed: cells.number(row, 'shed'), failed: cells.number(row, 'failed') },
    flips: cells.number(row, 'flips'),
    flip_share: {
      value: cells.maybeNumber(row, 'flip_share'),
      low: pairs === 0 ? null : cells.maybeNumber(row, 'flip_low'),
      high: pairs === 0 ? null : cells.maybeNumber(row, 'flip_high'),
    },
    ...{ swap_in: cells.number(row, 'swap_in'), swap_out: cells.number(row, 'swap_out') },
    swap_in_minor: cells.number(row, 'swap_in_amount'),
    swap_out_minor: cells.number(row, 'swap_out_amount'),
    ...{ declines_more: declines('shadow'), declines_fewer: declines('champion') },
    ...money,
    kappa: cells.maybeNumber(row, 'kappa'),
    rank_correlation: cells.maybeNumber(row, 'spearman'),
    mean_difference: cells.maybeNumber(row, 'difference_mean'),
    equal_volume_threshold: reviewAt ?? declineAt,
  }
}

function cutsFrom(row: JsonRow, name: string): wire.Cuts {
  const [challenge, review, decline] = cells.numbers(row, name)
  const cut = (value: number | undefined): number | null => (value === undefined || value >= NOT_USED ? null : value)
  return { challenge_at: cut(challenge), review_at: cut(review), decline_at: cut(decline) }
}

function appliedFrom(row: JsonRow, name: string) {
  const { challenge_at: challengeAt, review_at: reviewAt, decline_at: declineAt } = cutsFrom(row, name)
  return { challengeAt, reviewAt, declineAt }
}

function densityOf(row: JsonRow): wire.ShadowDetail['density'] {
  const { bins, logitMax } = GRID_AXIS
  const counts = cells.numbers(row, 'grid_counts')
  return {
    edges: Array.from({ length: bins + 1 }, (_, at) => (2 * logitMax * at) / bins - logitMax),
    cells: cells.numbers(row, 'grid_cells').map((place, at) => ({
      champion: Math.floor(place / bins),
      shadow: place % bins,
      pairs: counts[at] ?? 0,
    })),
  }
}

function quadrantsOf(row: JsonRow): wire.ShadowDetail['quadrants'] {
  const amounts = cells.numbers(row, 'amounts')
  return cells.numbers(row, 'actions').map((pairs, cell) => ({
    champion: ACTIONS[Math.floor(cell / SIZE)] ?? '',
    shadow: ACTIONS[cell % SIZE] ?? '',
    pairs,
    minor: amounts[cell] ?? 0,
  }))
}

/** Pairs on which the models take different actions, the furthest apart first, each with its decision. */
async function flipsOf(held: Held, { row }: Added, limit: number): Promise<wire.ShadowFlip[]> {
  if (!(await held.hasTable('shadow_pairs'))) return []
  const queries = held.queries()
  const furthest = await queries.select(
    `SELECT * FROM shadow_pairs WHERE shadow = ? AND champion = ? AND decided_at_ms >= ? AND decided_at_ms < ?
     AND flip_distance IS NOT NULL ORDER BY flip_distance DESC, sequence LIMIT ${limit}`,
    [
      cells.text(row, 'shadow'),
      cells.text(row, 'champion'),
      cells.number(row, 'from_ms'),
      cells.number(row, 'until_ms'),
    ],
  )
  if (furthest.length === 0) return []
  // By their sequences, in order of which the table lies: a join would read all of it.
  const sequences = furthest.map((pair) => cells.number(pair, 'sequence'))
  const own = await queries.select(
    `SELECT sequence, decision_id, transaction_id, amount_minor, currency FROM decisions
     WHERE sequence IN (${sequences.join(', ')})`,
  )
  const decisions = new Map(own.map((decision) => [cells.number(decision, 'sequence'), decision]))
  const found = furthest.flatMap((pair) => {
    const decision = decisions.get(cells.number(pair, 'sequence'))
    return decision === undefined ? [] : [{ ...pair, ...decision }]
  })
  const control = await held.control()
  return found.map((pair) => {
    const currency = cells.text(pair, 'currency')
    return {
      decision_id: cells.text(pair, 'decision_id'),
      transaction_id: cells.text(pair, 'transaction_id'),
      decided_at: cells.time(cells.number(pair, 'decided_at_ms')),
      champion_score: cells.number(pair, 'champion_score'),
      shadow_score: cells.number(pair, 'shadow_score'),
      champion_action: cells.text(pair, 'champion_action'),
      shadow_action: cells.text(pair, 'shadow_action'),
      ...{ amount_minor: cells.number(pair, 'amount_minor'), currency, exponent: exponentOf(control, currency) },
    }
  })
}

/** What every shadow said of one decision, or why it said nothing. */
export async function shadowsOf(held: Held, sequence: number): Promise<wire.DecisionDetail['shadows']> {
  if (!(await held.hasTable('shadow_pairs'))) return []
  const rows = await held
    .queries()
    .select('SELECT * FROM shadow_pairs WHERE sequence = ? ORDER BY shadow LIMIT 32', [sequence])
  return rows.map((row) => ({
    model: cells.text(row, 'shadow'),
    score: cells.maybeNumber(row, 'shadow_score'),
    action: cells.maybeText(row, 'shadow_action'),
    why: cells.maybeText(row, 'why'),
  }))
}

/** A closed window as the stream tells it. */
export function shadowEvent(row: JsonRow): object {
  return {
    ...{ model: cells.text(row, 'shadow'), champion: cells.text(row, 'champion') },
    segment: shownSegment(cells.text(row, 'segment')),
    ...{ from: cells.maybeTime(row, 'from_ms'), until: cells.maybeTime(row, 'until_ms') },
    ...{ pairs: cells.number(row, 'pairs'), shed: cells.number(row, 'shed'), flips: cells.number(row, 'flips') },
    flip_share: {
      value: cells.maybeNumber(row, 'flip_share'),
      low: cells.maybeNumber(row, 'flip_low'),
      high: cells.maybeNumber(row, 'flip_high'),
    },
  }
}
