// A trainer's own features against ours: the replay hands each row over as it would to a file, and here it is held
// against the row of the same transaction. Values are judged as a model is fed with them, in steps of the column's
// type, or by a tolerance. Counts everything and keeps the first few places of each kind; changes nothing.
import { AssayError } from '../errors.js'
import type { Limits } from '../limits.js'
import type { CompiledCatalogue } from './compile.js'
import { type ExpectedRows, readExpected } from './expected-rows.js'
import type { ColumnMap } from './read-rows.js'
import { replayHistory, type ReplayOptions, type ReplayReport } from './replay.js'
import { type CountSteps, createStepCounter } from './steps.js'
import type { Dtype } from './vector.js'
import type { FeatureSink } from './write-features.js'

/** Values are equal where one of the three says so. */
export interface Tolerance {
  /** In the type fed: see `steps.ts`. */
  readonly steps: number
  /** |ours − theirs|. */
  readonly absolute: number
  /** |ours − theirs| as a share of the larger of the two. */
  readonly relative: number
}

export interface CheckOptions extends ReplayOptions {
  /** Features of the trainer: csv, csv.gz, jsonl, jsonl.gz. */
  readonly expect: string
  readonly featureColumns: ColumnMap
  readonly tolerance: Tolerance
}

/** A value as it is printed: null for nothing, the infinite by name. */
export type Shown = number | string | null

export interface Difference {
  /** In the file of the trainer, from 1. */
  readonly row: number
  readonly transaction_id: string
  readonly ours: Shown
  readonly theirs: Shown
}

export interface FeatureReport {
  readonly feature: string
  readonly column: string
  readonly dtype: Dtype
  readonly differing: number
  /** Of the rows compared. */
  readonly share: number
  /** Rows where only one side has a finite number, among those that differ. */
  readonly one_sided: number
  /** Over all other rows, equal ones too. */
  readonly largest_difference: number
  readonly largest_steps: Shown
  readonly first: readonly Difference[]
}

export interface CheckReport {
  /** Every value compared is equal, and every row of the trainer was compared. */
  readonly equal: boolean
  /** Compared. */
  readonly rows: number
  /** Rows of the trainer whose transaction lies outside the range. */
  readonly rows_outside: number
  readonly only_in_features: {
    readonly rows: number
    readonly first: readonly { readonly row: number; readonly transaction_id: string }[]
  }
  readonly only_in_transactions: { readonly rows: number; readonly first: readonly string[] }
  /** Features of ours that the file has no column for. */
  readonly features_lacking: readonly string[]
  /** Columns of the file that are no feature of ours. */
  readonly columns_unknown: readonly string[]
  readonly tolerance: Tolerance
  readonly features: readonly FeatureReport[]
  readonly replay: ReplayReport
}

/** Places named of each kind. */
const FIRST_MAX = 5
const WAITING = 0
const COMPARED = 1
const OUTSIDE = 2

/** Replays and compares. Throws as `replayHistory` and `readExpected`, and where not one row could be compared. */
export async function checkFeatures(options: CheckOptions, limits: Limits): Promise<CheckReport> {
  const { expect, featureColumns, tolerance } = options
  const { sink, report } = await replayHistory(options, limits, async (compiled) => {
    const expected = await readExpected(expect, featureColumns, compiled.names, limits)
    return new Comparison(compiled, expected, tolerance)
  })
  if (sink.rows === 0) {
    const detail = `no row has the transaction_id of a transaction of ${options.input} in the range`
    throw new AssayError('ASSAY_INPUT_INVALID', `${expect}: ${detail}`)
  }
  const { compiled, expected } = sink
  const onlyInFeatures = sink.unmatched()
  const features = sink.tallies.map((tally) => describeTally(tally, { compiled, rows: sink.rows, featureColumns }))
  return {
    equal: onlyInFeatures.rows === 0 && features.every(({ differing }) => differing === 0),
    rows: sink.rows,
    rows_outside: sink.rowsOutside,
    only_in_features: onlyInFeatures,
    only_in_transactions: { rows: sink.alone, first: sink.firstAlone },
    features_lacking: compiled.names.filter((name) => !expected.columns.known.has(name)),
    columns_unknown: [...expected.columns.unknown],
    tolerance,
    features,
    replay: report,
  }
}

interface Tally {
  readonly feature: number
  readonly countSteps: CountSteps
  differing: number
  oneSided: number
  largest: number
  largestSteps: number
  readonly first: Difference[]
}

// A class: identity and private state meet.
class Comparison implements FeatureSink {
  rows = 0
  rowsOutside = 0
  /** Transactions that the file has no row for. */
  alone = 0
  readonly firstAlone: string[] = []
  readonly tallies: readonly Tally[]
  readonly #state: Uint8Array

  constructor(
    readonly compiled: CompiledCatalogue,
    readonly expected: ExpectedRows,
    readonly tolerance: Tolerance,
  ) {
    this.#state = new Uint8Array(expected.rows).fill(WAITING)
    this.tallies = compiled.names.flatMap((name, feature) =>
      expected.columns.known.has(name) ? [createTally(feature, compiled.dtypes[feature])] : [],
    )
  }

  write(transactionId: string, vector: Float64Array): undefined {
    const place = this.expected.places.get(transactionId)
    if (place === undefined) {
      this.alone++
      if (this.firstAlone.length < FIRST_MAX) this.firstAlone.push(transactionId)
      return
    }
    this.rows++
    this.#state[place] = COMPARED
    for (const tally of this.tallies) {
      const [ours, theirs] = [vector[tally.feature], this.expected.value(place, tally.feature)]
      if (isEqual(tally, ours, theirs, this.tolerance)) continue
      tally.differing++
      if (tally.first.length === FIRST_MAX) continue
      tally.first.push({ row: place + 1, transaction_id: transactionId, ours: shown(ours), theirs: shown(theirs) })
    }
  }

  pass(transactionId: string): void {
    const place = this.expected.places.get(transactionId)
    if (place === undefined || this.#state[place] !== WAITING) return
    this.#state[place] = OUTSIDE
    this.rowsOutside++
  }

  /** Rows of the file whose transaction never came. */
  unmatched(): CheckReport['only_in_features'] {
    const first: { row: number; transaction_id: string }[] = []
    let rows = 0
    for (const [id, place] of this.expected.places) {
      if (this.#state[place] !== WAITING) continue
      rows++
      if (first.length < FIRST_MAX) first.push({ row: place + 1, transaction_id: id })
    }
    return { rows, first }
  }

  close(): Promise<void> {
    return Promise.resolve()
  }

  abandon(): Promise<void> {
    return Promise.resolve()
  }
}

function createTally(feature: number, dtype: Dtype): Tally {
  const countSteps = createStepCounter(dtype)
  return { feature, countSteps, differing: 0, oneSided: 0, largest: 0, largestSteps: 0, first: [] }
}

/** Notes how far the two lie apart, and says whether that is near enough. */
function isEqual(tally: Tally, ours: number, theirs: number, tolerance: Tolerance): boolean {
  const steps = tally.countSteps(ours, theirs)
  if (steps === 0 && !(Math.abs(ours - theirs) > tally.largest)) return true
  const difference = Math.abs(ours - theirs)
  if (!Number.isFinite(difference)) {
    tally.oneSided++
    return false
  }
  tally.largest = Math.max(tally.largest, difference)
  tally.largestSteps = Math.max(tally.largestSteps, steps)
  const larger = Math.max(Math.abs(ours), Math.abs(theirs))
  return steps <= tolerance.steps || difference <= tolerance.absolute || difference <= tolerance.relative * larger
}

function describeTally(
  tally: Tally,
  context: { readonly compiled: CompiledCatalogue; readonly rows: number; readonly featureColumns: ColumnMap },
): FeatureReport {
  const { compiled, rows, featureColumns } = context
  const feature = compiled.names[tally.feature]
  const target = featureColumns.get(feature)
  return {
    feature,
    column: target !== undefined && 'column' in target ? target.column : feature,
    dtype: compiled.dtypes[tally.feature],
    differing: tally.differing,
    share: tally.differing / rows,
    one_sided: tally.oneSided,
    largest_difference: tally.largest,
    largest_steps: shown(tally.largestSteps),
    first: tally.first,
  }
}

function shown(value: number): Shown {
  if (Number.isNaN(value)) return null
  return Number.isFinite(value) ? value : String(value)
}
