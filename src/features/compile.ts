// From a catalogue to what the state runs: checked, numbered, digested, once.
// Equal windows, masks and kept values are shared between features. Compiles nothing that has a fault.
import { canonicalDigest, digestText } from '../contract/canonical-json.js'
import type { Catalogue, FeatureSpec } from '../contract/catalogue.js'
import type { Currencies } from '../contract/policy.js'
import type { Transaction, TransactionSchema } from '../contract/transaction.js'
import { AssayError, faultsText } from '../errors.js'
import type { Limits } from '../limits.js'
import { calendarPart, zoneOffset } from './calendar.js'
import { catalogueFaults, durationMs, references } from './check.js'
import { type AggregateSpec, delayMs, planWindows } from './compile-windows.js'
import { createGathering, type Gathering, reader } from './gather.js'
import { isLabelTest } from './marks.js'
import type * as plan from './plan.js'
import { createVectorCodec, type Dtype } from './vector.js'

export type { Dtype } from './vector.js'

export interface CompiledCatalogue {
  readonly names: readonly string[]
  readonly dtypes: readonly Dtype[]
  /**
   * sha256:<hex> over the canonical JSON of each definition; a ratio or difference holds digests in place of the names
   * it refers to.
   */
  readonly featureDigests: readonly string[]
  readonly digest: string
  readonly size: number
  /** Bytes of one encoded vector. */
  readonly vectorBytes: number
  /** What the state runs. */
  readonly plan: plan.Plan
  /** The limits with the bounds that the catalogue sets. */
  readonly bounded: (limits: Limits) => Limits
  /** Whether a feature asks which transactions were fraud. */
  readonly labelled: boolean
  /** Largest delay of those, ms; 0 where none has one. */
  readonly labelDelayMs: number
  /** Place of a feature in the vector, or -1. */
  indexOf(name: string): number
  /**
   * Writes vector[at, at + size) as fed, each column in its dtype, little-endian; returns the end, or -1 if it does not
   * fit.
   */
  encodeVector(vector: Float64Array, at: number, buffer: Buffer, pos: number): number
  /** The vector that `encodeVector` wrote; throws RangeError on another length. */
  decodeVector(bytes: Uint8Array): Float64Array
}

/** Checks and compiles; throws ASSAY_CATALOGUE_INVALID that names every fault with its path. */
export function compileCatalogue(
  catalogue: Catalogue,
  schema: TransactionSchema,
  currencies: Currencies,
): CompiledCatalogue {
  const faults = catalogueFaults(catalogue, schema)
  if (faults.length > 0) {
    throw new AssayError('ASSAY_CATALOGUE_INVALID', faultsText(faults), { errors: faults })
  }
  const names = catalogue.features.map((spec) => spec.name)
  const dtypes = catalogue.features.map((spec): Dtype => dtypeOf(spec))
  const places = new Map(names.map((name, index) => [name, index]))
  const delays = catalogue.features.flatMap((spec) =>
    spec.kind === 'aggregate' && asksForFraud(spec) ? [delayMs(spec)] : [],
  )
  return {
    names,
    dtypes,
    featureDigests: digestEach(catalogue, places),
    digest: digestText(canonicalDigest(catalogue)),
    size: names.length,
    plan: createPlan(catalogue, schema, currencies),
    bounded: ({ entitiesMax, featureEventsMax, ...limits }) => ({
      ...limits,
      entitiesMax: catalogue.bounds?.entities_max ?? entitiesMax,
      featureEventsMax: catalogue.bounds?.events_max ?? featureEventsMax,
    }),
    labelled: delays.length > 0,
    labelDelayMs: Math.max(0, ...delays),
    indexOf: (name) => places.get(name) ?? -1,
    ...createVectorCodec(dtypes),
  }
}

function asksForFraud(spec: AggregateSpec): boolean {
  const tests = (spec.where ?? []).filter(isLabelTest)
  return spec.function === 'label_rate' || tests.some(({ label }) => label === 'fraud')
}

function dtypeOf(spec: FeatureSpec): Dtype {
  return spec.dtype ?? 'float32'
}

/** Digest of each definition; where it refers to others, their digests stand in place of their names. */
function digestEach(catalogue: Catalogue, places: ReadonlyMap<string, number>): string[] {
  const digests: string[] = []
  const digestOf = (index: number): string => {
    // Looked up before it descends: a chain of ratios would cost exponential time otherwise.
    const known = digests.at(index)
    if (known !== undefined) return known
    const spec = catalogue.features[index]
    const referred = references(spec).map(([member, name]) => [member, digestOf(places.get(name) ?? 0)])
    const digest = digestText(canonicalDigest({ ...spec, ...Object.fromEntries(referred) }))
    digests[index] = digest
    return digest
  }
  catalogue.features.forEach((_, index) => digestOf(index))
  return digests
}

function createPlan(catalogue: Catalogue, schema: TransactionSchema, currencies: Currencies): plan.Plan {
  const gathering = createGathering(schema, currencies)
  const aggregates: [number, AggregateSpec][] = []
  const scalars: plan.Scalar[] = []
  catalogue.features.forEach((spec, feature) => {
    if (spec.kind === 'aggregate') aggregates.push([feature, spec])
    else if (spec.kind !== 'ratio' && spec.kind !== 'difference') {
      scalars.push({ feature, value: scalarValue(spec, gathering) })
    }
  })
  const windows = planWindows(aggregates, gathering)
  const spansMs = catalogue.features.map((spec) =>
    spec.kind === 'aggregate' ? durationMs(spec.window) + delayMs(spec) : 0,
  )
  return {
    masks: gathering.masks,
    sources: gathering.sources,
    scalars,
    derived: deriveOrder(catalogue),
    ...windows,
    missing: Float64Array.from(catalogue.features, (spec) =>
      spec.kind === 'calendar' || spec.missing === 'nan' ? NaN : spec.missing,
    ),
    spansMs: Float64Array.from(spansMs),
    spanMs: Math.max(0, ...spansMs),
    inputs: Int32Array.from(gathering.inputs),
  }
}

type ScalarSpec = Extract<FeatureSpec, { kind: 'field' | 'calendar' | 'category' }>

function scalarValue(spec: ScalarSpec, gathering: Gathering): (tx: Transaction) => number {
  if (spec.kind === 'calendar') {
    const { part } = spec
    const offset = zoneOffset(spec.zone)
    if (offset === null) throw new AssayError('ASSAY_CATALOGUE_INVALID', `unknown zone in ${spec.name}`)
    // Every part lies below 32: one bit each.
    const wanted = spec.in?.reduce((bits, value) => bits | (1 << value), 0) ?? null
    return (tx) => {
      const value = calendarPart(part, tx.occurredAtMs + offset(tx))
      return wanted === null ? value : (wanted >>> value) & 1
    }
  }
  const read = reader(spec.field, gathering)
  if (spec.kind === 'field') {
    return (tx) => {
      const value = read(tx)
      return value === null ? NaN : Number(value)
    }
  }
  const table = new Map(Object.entries(spec.table))
  const { other } = spec
  return (tx) => {
    const value = read(tx)
    return value === null ? NaN : (table.get(String(value)) ?? other)
  }
}

/** Ratios and differences, each after those that it refers to. */
function deriveOrder(catalogue: Catalogue): plan.Derived[] {
  const places = new Map(catalogue.features.map((spec, index) => [spec.name, index]))
  const order: plan.Derived[] = []
  const done = new Set<number>()
  const visit = (feature: number): void => {
    const spec = catalogue.features[feature]
    const targets = references(spec).map(([, name]) => places.get(name) ?? 0)
    if (targets.length === 0 || done.has(feature)) return
    targets.forEach(visit)
    done.add(feature)
    order.push({ feature, ratio: spec.kind === 'ratio', left: targets[0], right: targets[1] })
  }
  catalogue.features.forEach((_, feature) => visit(feature))
  return order
}
