// What the parts of the sidecar hand to each other. One batch of the decision log becomes one transaction of the store:
// its records, what the monitors derive from them, findings, alerts and the reader's position, all or nothing.
// Invariant: whatever a monitor derives follows from the records alone (their order, their times, their vectors), never
// from a wall clock, so that a rebuild from the log gives the same rows. What is shed is a row too.
import type { ControlState } from '../contract/control-state.js'
import type { DecodedRecord } from '../contract/record-types.js'
import type { Finding } from '../decision-log/finding.js'
import type { Position } from '../decision-log/reader.js'

/**
 * What held when a record was written: policy, routes and models, from the segment's head or a later control record.
 */
export type Control = ControlState

/**
 * The score that a shadow model gives to a logged vector; `score` is null where the pair was shed or the row failed.
 */
export interface ShadowScore {
  /** name@version */
  readonly model: string
  readonly score: number | null
  readonly why: 'shed' | 'failed' | null
}

/** One record of the log with what is known around it. Vectors are copies. */
export interface TailRecord {
  readonly epoch: number
  readonly sequence: number
  readonly record: DecodedRecord
  readonly control: Control
  /** One entry per shadow model, for decisions; empty otherwise. */
  readonly shadows: readonly ShadowScore[]
}

export interface Batch {
  readonly records: readonly TailRecord[]
  readonly findings: readonly Finding[]
  /** After the last record; null while there is nothing but findings. */
  readonly position: Position | null
  /** The log ended before what had been read: rows beyond this sequence have to go. Null in all other batches. */
  readonly takenBackTo: number | null
}

/** A value of a derived row, as the store takes it. */
export type Cell = string | number | bigint | boolean | null | readonly number[]

/** A row for one of the store's derived tables. */
export interface DerivedRow {
  readonly table: string
  readonly row: Readonly<Record<string, Cell>>
}

/** Derives rows from records. Holds open windows in memory; its checkpoint is written in the same transaction. */
export interface Monitor {
  /** Names its checkpoint in the store. */
  readonly name: string
  /** Columns of the tables that it writes, as SQL types: table → column → type. */
  readonly tables: Readonly<Record<string, Readonly<Record<string, string>>>>
  /** Table → its column of record time, ms: rows leave with retention. A table without one is kept. */
  readonly ages?: Readonly<Record<string, string>>
  take(record: TailRecord): void
  /** The rows derived since the last call. */
  drain(): readonly DerivedRow[]
  /** Everything that `restore` needs to go on after the last record taken. */
  checkpoint(): Uint8Array
  restore(checkpoint: Uint8Array): void
}
