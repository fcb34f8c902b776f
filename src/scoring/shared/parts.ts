// The shared state as the pipeline uses it.
import type { Label } from '../../contract/label.js'
import type { Stage } from './stage.js'

export interface SharedParts {
  readonly stage: Stage
  /** The record of this sequence is to be written back. */
  leftBehind(this: void, sequence: number): void
  superseded(this: void): void
  /** What a label says, logged in the record of this sequence. */
  label(this: void, label: Label, sequence: number): void
  /** Words of labels that have waited for a transaction which is folded now. */
  waited(this: void, words: readonly Label[]): void
}
