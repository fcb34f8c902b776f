// A reference for a model version whose bundle has none: the first decisions that it answers, counted over bins that
// are frozen from those rows as the trainer's are. Pure: it follows from the records alone, so that a rebuild, or a
// kill at any record, gives the same one. It knows no training: what is wrong from its first row on looks right.
import { ACTIONS } from '../../contract/decision.js'
import type { Policy } from '../../contract/policy.js'
import type { DecisionFacts, DecisionPersonal } from '../../contract/record-types.js'
import { isoTime } from '../../contract/time.js'
import { type CompiledCatalogue, compileCatalogue } from '../../features/compile.js'
import type { Cell } from '../../stats/bins.js'
import { freezeBins, PROFILE_BINS } from '../../stats/freeze-bins.js'
import type { Layout } from './drift-layout.js'

/** What was collected so far; all that a sample needs to go on. */
export interface SampleState {
  /** Names of the features that the model reads; null where nobody says: all of the catalogue. */
  readonly reads: readonly string[] | null
  readonly features: readonly { readonly name: string; readonly digest: string }[]
  readonly rows: number
  /** Times of the first and the last row; 0 before there is one. */
  readonly fromMs: number
  readonly untilMs: number
  /** Row-major: the features, then the score. */
  readonly values: Float32Array
  /** By cell of the layout, which has actions and fields only. */
  readonly counts: Float64Array
}

export interface Sample {
  /** Reads vectors as this policy lays them out; begins anew where it defines the features otherwise. */
  follow(policy: Policy): void
  /** `cells`: where the layout places the decision. */
  take(facts: DecisionFacts, personal: DecisionPersonal, cells: Int32Array): void
  isFull(): boolean
  /** The rows as the text of a reference-profile.json. */
  profile(layout: Layout): string
  state(): SampleState
}

/** A text that no category is likely to be, so that what had no cell of its own has none in the profile. */
const keyOf = ({ kind, label }: Cell): string => (kind === 'unseen' ? '(unseen)' : label)

export function emptySample(reads: SampleState['reads']): SampleState {
  return { reads, features: [], ...NOTHING }
}

const NOTHING = { rows: 0, fromMs: 0, untilMs: 0, values: new Float32Array(0), counts: new Float64Array(0) }

/** Goes on from `state` up to `rowsMax` rows, over a layout of `size` cells. */
export function createSample(state: SampleState, { rowsMax, size }: { rowsMax: number; size: number }): Sample {
  const { reads } = state
  let { features, rows, fromMs, untilMs } = state
  let width = features.length + 1
  let values = new Float32Array(rowsMax * width)
  values.set(state.values)
  const counts = new Float64Array(size)
  counts.set(state.counts)
  let compiled: CompiledCatalogue | null = null
  let columns: readonly number[] = []

  function column(at: number): Float32Array {
    return Float32Array.from({ length: rows }, (_, row) => values[row * width + at])
  }

  return {
    follow({ catalogue, schema, currencies }) {
      const next = compileCatalogue(catalogue, schema, currencies)
      compiled = next
      const defined = next.names
        .map((name, at) => ({ name, digest: next.featureDigests[at] }))
        .filter(({ name }) => reads === null || reads.includes(name))
      columns = defined.map(({ name }) => next.indexOf(name))
      if (JSON.stringify(defined) === JSON.stringify(features)) return
      features = defined
      width = features.length + 1
      values = new Float32Array(rowsMax * width)
      counts.fill(0)
      rows = 0
    },
    take({ decidedAtMs, score }, { vector }, cells) {
      if (compiled === null || vector.byteLength !== compiled.vectorBytes) return
      const decoded = compiled.decodeVector(vector)
      const from = rows * width
      columns.forEach((at, place) => (values[from + place] = decoded[at]))
      values[from + width - 1] = score ?? NaN
      for (const cell of cells) if (cell >= 0) counts[cell]++
      if (rows++ === 0) fromMs = decidedAtMs
      untilMs = Math.max(rows === 1 ? decidedAtMs : untilMs, decidedAtMs)
    },
    isFull: () => rows >= rowsMax,
    profile(layout) {
      const span = { first: isoTime(fromMs), last: isoTime(untilMs), rows }
      return JSON.stringify({
        ...{ format: 1, bins: PROFILE_BINS, provisional: true, features_from: span, score_from: span },
        features: features.map((feature, at) => ({ ...feature, ...freezeBins(column(at), PROFILE_BINS) })),
        score: freezeBins(column(width - 1), PROFILE_BINS),
        actions: Object.fromEntries(ACTIONS.map((action, at) => [action, counts[layout.action.from + 1 + at]])),
        fields: layout.fields.map(({ name, bins, from }) => ({
          ...{ name, null: counts[from] },
          counts: Object.fromEntries(bins.cells.slice(1).map((cell, at) => [keyOf(cell), counts[from + 1 + at]])),
        })),
      })
    },
    state: () => ({
      ...{ reads, features, rows, fromMs, untilMs },
      values: values.slice(0, rows * width),
      counts: counts.slice(),
    }),
  }
}
