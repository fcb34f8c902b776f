// Golden rows of a new bundle: spread over the ranks of the score, so that they reach into every part of the model.
// With the trainer's own scores they show that the exported file is the trained model; recorded by ourselves, only
// that it is the same file, read in the same order, on the next machine. Pure.
import { AssayError } from '../../errors.js'

export interface GoldenRows {
  readonly rows: readonly (readonly number[])[]
  /** What stands in golden.json; null where the runtime is still to be asked. */
  readonly scores: readonly number[] | null
  /** Rows that the trainer scored, and those beyond the tolerance among them. */
  readonly compared: number
  readonly beyond: number
  readonly errorMax: number
}

export interface ScoredRows {
  readonly values: Float64Array
  readonly width: number
  /** After the score map; no NaN. */
  readonly scores: Float64Array
}

const SPREAD = 96
const MISSING = 24
/** The share of rows whose thresholds an export may round across (library-side doubles), left out and counted. */
const BEYOND_SHARE_MAX = 0.01

/** Rows with the trainer's scores. Throws ASSAY_INPUT_INVALID where too many differ from what the runtime gives. */
export function trainerGolden(scored: ScoredRows, trainer: Float64Array, tolerance: number): GoldenRows {
  const differences = trainer.map((score, row) => Math.abs(score - scored.scores[row]))
  const compared = differences.filter((each) => !Number.isNaN(each))
  const beyond = compared.filter((each) => each > tolerance).length
  const errorMax = compared.reduce((largest, each) => Math.max(largest, each), 0)
  if (compared.length < 2) throw new AssayError('ASSAY_INPUT_INVALID', 'the column of scores holds fewer than two')
  if (beyond > compared.length * BEYOND_SHARE_MAX) {
    const detail =
      `${beyond} of ${compared.length} rows score differently from the trainer's by more than ${tolerance}, ` +
      `at most by ${errorMax.toPrecision(3)}: another order of features, output column or score map, or an export that rounds`
    throw new AssayError('ASSAY_INPUT_INVALID', detail)
  }
  const chosen = byRank(scored.scores, (row) => differences[row] <= tolerance)
  const scores = chosen.map((row) => Math.min(1, Math.max(0, trainer[row])))
  return { rows: chosen.map((row) => rowOf(scored, row)), scores, compared: compared.length, beyond, errorMax }
}

/** Rows that the runtime is to score: real ones, some with a feature missing where the model takes that, both ends. */
export function recordedGolden(scored: ScoredRows, missable: readonly boolean[]): GoldenRows {
  const spread = byRank(scored.scores, () => true).map((row) => rowOf(scored, row))
  const columns = missable.flatMap((may, column) => (may ? [column] : []))
  const missing = Array.from({ length: columns.length === 0 ? 0 : MISSING }, (_, at) => {
    const row = [...spread[(at * 7) % spread.length]]
    row[columns[at % columns.length]] = NaN
    return row
  })
  const ends = [edge(spread, Math.min), edge(spread, Math.max)]
  return { rows: [...spread, ...missing, ...ends], scores: null, compared: 0, beyond: 0, errorMax: 0 }
}

/** A row of every feature's lowest, or highest, value. */
function edge(rows: readonly (readonly number[])[], pick: (...values: number[]) => number): number[] {
  return rows[0].map((_, column) => {
    const known = rows.map((row) => row[column]).filter(Number.isFinite)
    return known.length === 0 ? 0 : pick(...known)
  })
}

/** Evenly over the ranks, the lowest and the highest among them. */
function byRank(scores: Float64Array, isTaken: (row: number) => boolean): number[] {
  const ranked = Array.from(scores, (_, row) => row).filter(isTaken)
  ranked.sort((a, b) => scores[a] - scores[b])
  const count = Math.min(SPREAD, ranked.length)
  return Array.from(
    { length: count },
    (_, at) => ranked[Math.round((at * (ranked.length - 1)) / Math.max(1, count - 1))],
  )
}

function rowOf({ values, width }: ScoredRows, row: number): number[] {
  return [...values.subarray(row * width, (row + 1) * width)]
}
