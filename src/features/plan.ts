// What the compiler hands to the state: numbered masks, sources, window edges and columns. Plain data and small
// closures, made once; the windows run over it without looking at a definition again.
import type { Label } from '../contract/label.js'
import type { Transaction } from '../contract/transaction.js'
import type { MarkSet } from './marks.js'

export const COUNT = 0
export const SUM_AMOUNT = 1
export const MEAN_AMOUNT = 2
export const SUM = 3
export const MEAN = 4
export const MAX = 5
export const DISTINCT = 6
export const TIME_SINCE_LAST = 7
export const LABEL_RATE = 8

/**
 * Which events an aggregate is about: those that pass all tests, with a known amount where it is about amounts, and of
 * which labels say what is wanted. Mask 0 is every event.
 */
export interface Mask {
  readonly tests: readonly ((tx: Transaction) => boolean)[]
  readonly needsAmount: boolean
  readonly marks: MarkSet
  /** The same mask whatever labels say; itself where it asks for none. */
  readonly within: number
}

/**
 * A value kept per event: the amount (-1) in minor units of the base, the currency (-2), or a declared field by its
 * index.
 */
export interface Source {
  readonly field: number
  /** Strings are kept as 52 bits of their keyed hash. */
  readonly hashed: boolean
}

export const AMOUNT_FIELD = -1
export const CURRENCY_FIELD = -2

/**
 * One aggregate over the window between two edges of its entity field. Column numbers are those of the field's slab.
 */
export interface Aggregate {
  /** Place in the vector. */
  readonly feature: number
  readonly code: number
  /** Edge numbers: events at or before t - edge(upper) and after t - edge(lower). */
  readonly upper: number
  readonly lower: number
  /** Whether the transaction itself lies in the window (no delay). */
  readonly current: boolean
  readonly mask: number
  /** Those of the mask that are fraud (LABEL_RATE), else the mask. */
  readonly partMask: number
  /** Prefix counts of the mask, -1 for mask 0. */
  readonly countColumn: number
  /** Prefix sums of amounts (SUM_AMOUNT, MEAN_AMOUNT) or prefix counts of partMask (LABEL_RATE), else -1. */
  readonly totalColumn: number
  /** Raw values (SUM, MEAN, MAX, DISTINCT) and where the current value stands among the sources, else -1. */
  readonly rawColumn: number
  readonly source: number
  /** From the kept unit to the feature's: 10^-exponent for amounts given as a divisor, else 1. */
  readonly divisor: number
}

/** Columns that follow what labels say: an event enters them and leaves them when a word comes. */
export interface MarkedColumns {
  readonly marks: MarkSet
  /** Prefix counts, and those of the mask whatever labels say; -1 there for every event. */
  readonly count: number
  readonly withinCount: number
  /** Prefix sums of amounts of both; -1 where none are kept. */
  readonly sum: number
  readonly withinSum: number
}

/** The windows kept per value of one entity field. */
export interface FieldPlan {
  readonly name: string
  /** Index among the declared fields. */
  readonly field: number
  /** Ascending distances from t in ms; the first is 0. */
  readonly edges: Float64Array
  /** The longest window with its delay, ms. */
  readonly spanMs: number
  /** Masks whose prefix counts are kept, in the order of the columns. */
  readonly countMasks: readonly number[]
  /** Empty: labels play no part here. */
  readonly marked: readonly MarkedColumns[]
  /** Masks whose prefix sums of amounts are kept. */
  readonly sumMasks: readonly number[]
  /** Sources whose values are kept. */
  readonly rawSources: readonly number[]
  readonly aggregates: readonly Aggregate[]
}

/** In place of a source: the amount as it is summed, and the time of the event. */
export const AMOUNT_SUMMED = -1
export const TIME_SOURCE = -2

/** What a bucket keeps of a value: of the events of a mask whose value is known. */
export interface BucketColumn {
  readonly mask: number
  /** A source, AMOUNT_SUMMED or TIME_SOURCE. Of a count: the source that must be known, or -1. */
  readonly source: number
}

/** One aggregate over whole buckets. Columns are those of its plan, -1 where it has none. */
export interface BucketAggregate {
  readonly feature: number
  readonly code: number
  /** The window is (t - lowerMs, t - upperMs], each edge moved on to the end of its bucket. */
  readonly upperMs: number
  readonly lowerMs: number
  /** Whether the transaction itself is in the window and not yet in a bucket. */
  readonly current: boolean
  readonly mask: number
  readonly source: number
  readonly count: number
  /** Count of the frauds among them (LABEL_RATE). */
  readonly part: number
  /** Sum or maximum. */
  readonly value: number
  readonly divisor: number
}

/** The buckets kept per value of one entity field, all of one width. Labels count in columns of their own. */
export interface BucketPlan {
  readonly name: string
  /** Index among the declared fields. */
  readonly field: number
  /** Its place among the entities of a label. */
  readonly labelEntity: number
  readonly widthMs: number
  /** The longest window with its delay, ms. */
  readonly spanMs: number
  readonly counts: readonly BucketColumn[]
  /** Counts that labels move, in columns behind `counts`. */
  readonly marked: readonly MarkSet[]
  readonly sums: readonly BucketColumn[]
  /** In columns behind `sums`. */
  readonly maxima: readonly BucketColumn[]
  readonly aggregates: readonly BucketAggregate[]
}

/** A feature of the transaction alone; NaN where nothing is known. */
export interface Scalar {
  readonly feature: number
  readonly value: (tx: Transaction) => number
}

/** A ratio or difference of two features, in an order in which both are there before. */
export interface Derived {
  readonly feature: number
  readonly ratio: boolean
  readonly left: number
  readonly right: number
}

export type LabelSpans = Readonly<Record<Label['kind'], number>>

export interface Plan {
  readonly masks: readonly Mask[]
  readonly sources: readonly Source[]
  readonly scalars: readonly Scalar[]
  readonly derived: readonly Derived[]
  readonly fields: readonly FieldPlan[]
  readonly buckets: readonly BucketPlan[]
  /** Per feature the value for "nothing known". */
  readonly missing: Float64Array
  /** Per feature how far back it looks, ms; 0 where it needs no history. */
  readonly spansMs: Float64Array
  /** The longest of them. */
  readonly spanMs: number
  /** How far back those look that a word of this kind can change, ms; 0 where there are none. */
  readonly labelSpansMs: LabelSpans
  readonly bucketLabelSpansMs: LabelSpans
  /**
   * Declared fields, and AMOUNT_FIELD, that some feature reads: absent in a transaction, they set the flag `missing`.
   */
  readonly inputs: Int32Array
}
