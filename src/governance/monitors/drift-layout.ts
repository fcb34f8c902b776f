// What is watched of one model version, as one flat array of cells: its features, score, actions and the transaction's
// categorical fields, one after the other. A decision becomes the list of its cells, which every open window counts.
// Invariant: the layout of a model version never changes, so that its windows can be added and compared; a change of
// policy moves only where in the logged vector a feature is found.
import { ACTIONS } from '../../contract/decision.js'
import type { Policy } from '../../contract/policy.js'
import type { DecisionFacts, DecisionPersonal } from '../../contract/record-types.js'
import { fieldReader } from '../../contract/transaction.js'
import { compileCatalogue } from '../../features/compile.js'
import { type CategoryBins, type Cell, createCategoryBins, type NumberBins } from '../../stats/bins.js'
import type { ReferenceProfile } from './drift-profile.js'

export type SeriesKind = 'feature' | 'null_rate' | 'score' | 'action' | 'field'

/** One quantity: its cells stand at `from` in the counts of a window. */
export interface Series {
  readonly kind: SeriesKind
  readonly name: string
  readonly cells: readonly Cell[]
  readonly from: number
  /** Counts in training; null where the profile says nothing of it. */
  readonly reference: Float64Array | null
  /** After how many days a feature that follows the calendar begins again; 0 for everything else. */
  readonly cycleDays: number
}

/** Features that follow the calendar, and their cycles in days. */
export type Cycles = Readonly<Record<string, number>>

/** A field of the transaction and the values that have cells of their own. */
export interface WatchedField {
  readonly name: string
  readonly categories: readonly string[]
}

interface BinnedFeature {
  readonly name: string
  readonly digest: string
  readonly bins: NumberBins
  readonly from: number
}

export interface Layout {
  readonly series: readonly Series[]
  readonly size: number
  /** Cells that one decision falls into, at most. */
  readonly places: number
  readonly features: readonly BinnedFeature[]
  readonly score: { readonly bins: NumberBins; readonly from: number } | null
  readonly action: { readonly bins: CategoryBins; readonly from: number }
  readonly fields: readonly { readonly name: string; readonly bins: CategoryBins; readonly from: number }[]
}

/** Lays out what is watched. Without a profile there are no bins for numbers: actions and fields remain. */
export function createLayout(
  profile: ReferenceProfile | null,
  fields: readonly WatchedField[],
  cycles: Cycles,
): Layout {
  const series: Series[] = []
  let size = 0
  const add = (kind: SeriesKind, name: string, cells: readonly Cell[], reference: Float64Array | null): number => {
    const from = size
    const cycleDays = kind === 'feature' ? (cycles[name] ?? 0) : 0
    series.push({ kind, name, cells, from, reference, cycleDays })
    size += cells.length
    return from
  }
  const features = (profile?.features ?? []).map(({ name, digest, bins, counts }) => ({
    ...{ name, digest, bins },
    from: add('feature', name, bins.cells, counts),
  }))
  const score = profile?.score
  const scored = score && { bins: score.bins, from: add('score', 'score', score.bins.cells, score.counts) }
  const actions = createCategoryBins(ACTIONS)
  const action = { bins: actions, from: add('action', 'action', actions.cells, countsOf(actions, profile?.actions)) }
  const watched = fields.map(({ name, categories }) => {
    const bins = createCategoryBins(categories)
    const known = profile?.fields.find((each) => each.name === name)
    return { name, bins, from: add('field', name, bins.cells, countsOf(bins, known?.counts, known?.nulls)) }
  })
  return {
    ...{ series, size, places: features.length + 2 + watched.length },
    ...{ features, score: scored ?? null, action, fields: watched },
  }
}

function countsOf(bins: CategoryBins, known?: Readonly<Record<string, number>>, nulls = 0): Float64Array | null {
  if (known === undefined) return null
  const counts = new Float64Array(bins.cells.length)
  counts[0] = nulls
  for (const [category, count] of Object.entries(known)) counts[bins.cellOf(category)] += count
  return counts
}

/**
 * Fields whose values are few and known beforehand: the currency, booleans, texts that a feature of the catalogue
 * tabulates, and what the profile counted. Ids are not watched: all of their values are new.
 */
export function watchedFields(policy: Policy, profile: ReferenceProfile | null, categoriesMax: number): WatchedField[] {
  const found = new Map<string, string[]>([['currency', Object.keys(policy.currencies.list)]])
  for (const field of policy.schema.fields) if (field.type === 'boolean') found.set(field.name, ['false', 'true'])
  for (const spec of policy.catalogue.features) {
    if (spec.kind === 'category') found.set(spec.field, [...(found.get(spec.field) ?? []), ...Object.keys(spec.table)])
  }
  for (const { name, counts } of profile?.fields ?? []) found.set(name, Object.keys(counts))
  const known = new Set(['currency', ...policy.schema.fields.map((field) => field.name)])
  return [...found]
    .filter(([name]) => known.has(name))
    .map(([name, categories]) => ({ name, categories: [...new Set(categories)].sort().slice(0, categoriesMax) }))
}

/** Where a decision's values stand under one policy. */
export interface Binding {
  /** The cells that a decision falls into, written to `out`; −1 where the policy does not have the quantity. */
  place(facts: DecisionFacts, personal: DecisionPersonal, out: Int32Array): void
}

const CYCLE_DAYS = { hour: 1, weekday: 7, day_of_month: 366, month: 366 } as const

/** The cycles of a catalogue: a feature keeps its cycle, since another definition is another feature. */
export function cyclesOf(policy: Policy): Cycles {
  const calendar = policy.catalogue.features.flatMap((spec) =>
    spec.kind === 'calendar' ? [[spec.name, CYCLE_DAYS[spec.part]] as const] : [],
  )
  return Object.fromEntries(calendar)
}

/** Binds a layout to a policy; the catalogue must compile, as it did in the server that wrote it. */
export function bindLayout(layout: Layout, policy: Policy): Binding {
  const { catalogue, schema, currencies } = policy
  const compiled = compileCatalogue(catalogue, schema, currencies)
  const starts = Int32Array.from({ length: compiled.size + 1 }, () => 0)
  compiled.dtypes.forEach((dtype, at) => (starts[at + 1] = (starts[at] ?? 0) + (dtype === 'float32' ? 4 : 8)))
  const columns = layout.features.map(({ name, digest, bins, from }) => {
    const at = compiled.indexOf(name)
    const isSame = at >= 0 && compiled.featureDigests[at] === digest
    return { bins, from, byte: isSame ? (starts[at] ?? 0) : -1, dtype: isSame ? compiled.dtypes[at] : null }
  })
  const fields = layout.fields.map(({ name, bins, from }) => {
    return { bins, from, read: fieldReader(policy.schema, name) }
  })
  return {
    place(facts, { vector, transaction }, out) {
      const view = new DataView(vector.buffer, vector.byteOffset, vector.byteLength)
      const isWhole = vector.byteLength === compiled.vectorBytes
      let end = 0
      for (const { bins, from, byte, dtype } of columns) {
        if (byte < 0 || !isWhole) out[end++] = -1
        else if (dtype === 'float32') out[end++] = from + bins.cellOf(view.getFloat32(byte, true))
        else if (dtype === 'float64') out[end++] = from + bins.cellOf(view.getFloat64(byte, true))
        else out[end++] = from + bins.cellOf(Number(view.getBigInt64(byte, true)))
      }
      const { score, action } = layout
      out[end++] = score === null ? -1 : score.from + score.bins.cellOf(facts.score ?? NaN)
      out[end++] = action.from + action.bins.cellOf(facts.action)
      for (const { bins, from, read } of fields) {
        out[end++] = read === null ? -1 : from + bins.cellOf(read(transaction))
      }
    },
  }
}
