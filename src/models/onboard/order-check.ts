// Whether the features stand in the order in which the model was trained. A wrong order cannot be seen in a model, but
// in what it makes of labelled rows: the order given is held against others (of the catalogue, of the alphabet, of the
// file, at random, and each with two features exchanged). It only warns: a weak model may rank no better than chance.
import { aucDeviations, aucInterval, type Roc, rocOf } from '../../stats/roc.js'
import { pickRows } from './rows.js'
import { createDraw } from './sample.js'

export interface OrderVerdict {
  readonly verdict: 'confirmed' | 'doubtful' | 'unchecked'
  readonly why: string
  /** Orders that it was held against, on so many rows. */
  readonly compared: number
  readonly rows: number
}

export interface OrderRows {
  /** Row-major, in the order given. */
  readonly values: Float64Array
  /** 1 fraud, 0 not. */
  readonly labels: ArrayLike<number>
  readonly names: readonly string[]
}

export interface OrderCheckDeps {
  /** Raw outputs; higher must mean fraud, as the score map has it. */
  readonly score: (values: Float64Array) => Promise<Float64Array>
  /** Orders that others might have meant: what they are called, and their names. */
  readonly others: readonly (readonly [string, readonly string[]])[]
  /** Milliseconds that one row takes, as measured on the rows themselves. */
  readonly msPerRow: number
}

interface Alternative {
  readonly what: string
  readonly kind: 'named' | 'random' | 'exchanged'
  /** The column of the rows that stands at each place. */
  readonly columns: readonly number[]
}

/** Of either kind; below that nothing can be told. */
const ROWS_MIN = 10
const ROWS_MAX = 4_000
/** Rows below which pairs are not exchanged one by one: the time is better spent on the likely orders. */
const ROWS_ENOUGH = 500
/** Exchanges up to which every pair is tried; of more features only neighbours are. */
const PAIRS_MAX = 500
const SHUFFLES = 20
/** Milliseconds of scoring for all orders together, so that the check does not outlast the patience for it. */
const WORK_MS = 10_000
/** Standard errors by which another order must be better: of few that are likely, and of many that are tried. */
const BETTER = { named: 2, random: 2, exchanged: 4 }
const CLEARLY = 2

/** Holds the order given against others. */
export async function checkOrder(rows: OrderRows, deps: OrderCheckDeps): Promise<OrderVerdict> {
  const affordable = (orders: number) => Math.floor(WORK_MS / (deps.msPerRow * (orders + 1)))
  const few = likelyOrders(rows.names, deps.others)
  const many = [...few, ...exchanges(rows.names)]
  const all = affordable(many.length) >= ROWS_ENOUGH ? many : few
  const sample = sampleOf(rows, affordable(all.length))
  const { labels } = sample
  const frauds = labels.reduce((sum, label) => sum + label, 0)
  const said = { compared: 0, rows: labels.length }
  if (frauds < ROWS_MIN || labels.length - frauds < ROWS_MIN) {
    const why = `${ROWS_MIN} frauds and as many others are needed, there are ${frauds} and ${labels.length - frauds}`
    return { verdict: 'unchecked', why, ...said }
  }
  const given = rocOf(await deps.score(sample.values), labels)
  const found: { each: Alternative; roc: Roc }[] = []
  for (const each of all) {
    const raw = await deps.score(reordered(sample.values, each.columns))
    // An order in which some row cannot be fed at all is none that anybody meant.
    if (!raw.some(Number.isNaN)) found.push({ each, roc: rocOf(raw, labels) })
  }
  const doubt = doubtOf(given, found)
  const [verdict, why] =
    doubt === null ? (['confirmed', 'no other order ranks better'] as const) : (['doubtful', doubt] as const)
  return { verdict, why, compared: found.length, rows: labels.length }
}

function doubtOf(given: Roc, found: readonly { each: Alternative; roc: Roc }[]): string | null {
  const auc = given.auc.toFixed(4)
  const better = found
    .filter(({ each, roc }) => aucDeviations(roc, given) >= BETTER[each.kind])
    .sort((a, b) => b.roc.auc - a.roc.auc)
    .at(0)
  if (better !== undefined) return `${better.each.what} gives an AUC of ${better.roc.auc.toFixed(4)}, this order ${auc}`
  if (given.auc < 0.5) return `an AUC of ${auc} is worse than chance: is the column that of fraud?`
  if (aucInterval(given).low <= 0.5) return `an AUC of ${auc} is hardly better than chance`
  const random = found.filter(({ each }) => each.kind === 'random').sort((a, b) => a.roc.auc - b.roc.auc)
  const middle = random.at(random.length >> 1)
  if (middle === undefined || aucDeviations(given, middle.roc) >= CLEARLY) return null
  return `an order at random gives an AUC of ${middle.roc.auc.toFixed(4)}, this one ${auc}`
}

function likelyOrders(names: readonly string[], others: OrderCheckDeps['others']): Alternative[] {
  const own = names.map((_, at) => at)
  const draw = createDraw(11)
  const named = others.map(([what, order]) => ({
    ...{ what, kind: 'named' as const },
    columns: order.flatMap((name) => (names.includes(name) ? [names.indexOf(name)] : [])),
  }))
  const random = Array.from({ length: SHUFFLES }, () => ({
    ...{ what: 'an order at random', kind: 'random' as const },
    columns: own
      .map((at) => [draw(), at])
      .sort(([a], [b]) => a - b)
      .map(([, at]) => at),
  }))
  const isOther = ({ columns }: Alternative) => columns.length === own.length && columns.some((from, at) => from !== at)
  return [...named, ...random].filter(isOther)
}

function exchanges(names: readonly string[]): Alternative[] {
  const own = names.map((_, at) => at)
  const pairs = own.flatMap((a) => own.slice(a + 1).map((b) => [a, b] as const))
  const tried = pairs.length <= PAIRS_MAX ? pairs : pairs.filter(([a, b]) => b === a + 1)
  return tried.map(([a, b]) => ({
    ...{ what: `${names[a]} exchanged with ${names[b]}`, kind: 'exchanged' as const },
    columns: own.map((at) => (at === a ? b : at === b ? a : at)),
  }))
}

/** At most so many rows, evenly spaced; half of them frauds where there are as many. */
function sampleOf({ values, labels, names }: OrderRows, affordable: number) {
  const rowsMax = Math.min(ROWS_MAX, Math.max(2 * ROWS_MIN, affordable))
  const of = (label: number) => Array.from(labels, (_, row) => row).filter((row) => labels[row] === label)
  const frauds = spaced(of(1), rowsMax >> 1)
  const rows = [...frauds, ...spaced(of(0), rowsMax - frauds.length)]
  return { values: pickRows(values, names.length, rows), labels: rows.map((row) => labels[row]) }
}

function spaced(rows: readonly number[], max: number): readonly number[] {
  if (rows.length <= max) return rows
  return Array.from({ length: max }, (_, at) => rows[Math.floor((at * rows.length) / max)])
}

function reordered(values: Float64Array, columns: readonly number[]): Float64Array {
  const width = columns.length
  const moved = new Float64Array(values.length)
  for (let first = 0; first < values.length; first += width) {
    for (let at = 0; at < width; at += 1) moved[first + at] = values[first + columns[at]]
  }
  return moved
}
