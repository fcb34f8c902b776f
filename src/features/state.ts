// The windows of all entities as one deterministic fold of (transaction, ordinal, clock) and labels.
import type { Label } from '../contract/label.js'
import type { Transaction } from '../contract/transaction.js'
import type { Limits } from '../limits.js'
import type { CompiledCatalogue } from './compile.js'

export interface FeatureStateOptions {
  readonly limits: Limits
  /** Key of the hashes of entity values and transaction ids, 16 bytes; the same key gives the same digest. Zero by default. */
  readonly hashKey?: Uint8Array
  /** Start of observation, ms; the first folded event's time where absent. */
  readonly observedSinceMs?: number
}

export interface FeatureStateSize {
  readonly entities: Readonly<Record<string, number>>
  readonly events: number
  readonly bytes: number
  readonly evictions: number
  readonly labelsWaiting: number
  readonly labelsExpired: number
}

export interface FeatureState {
  /** Folds the transaction into its entities' windows and writes the vector, itself included; returns bits of FEATURE_FLAGS. */
  fold(tx: Transaction, ordinal: number, clockMs: number, out: Float64Array, outAt: number): number
  /** The vector and flags that `fold` would give now; nothing is changed. */
  evaluate(tx: Transaction, clockMs: number, out: Float64Array, outAt: number): number
  /** Folds a label: true where its transaction is held, false where it was kept waiting or has no effect on windows. */
  label(label: Label, ordinal: number, clockMs: number): boolean
  size(): FeatureStateSize
  /** `sha256:<hex>` over the whole state in canonical order: equal after equal folds. */
  digest(): string
  /** Start of observation, ms; NaN before the first event. */
  observedSinceMs(): number
  /** Moves the start of observation back, after history was imported. */
  observeSince(sinceMs: number): void
  /** Event time from which the feature of that index is warm; -Infinity where it needs no history, NaN before the first event. */
  warmFromMs(feature: number): number
}

/** An empty state for the catalogue. */
export declare function createFeatureState(compiled: CompiledCatalogue, options: FeatureStateOptions): FeatureState
