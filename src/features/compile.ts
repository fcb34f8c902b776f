// From a catalogue to what the state runs: checked, numbered, digested, once.
// Equal windows, masks and kept values are shared between features. Compiles nothing that has a fault.
import { canonicalDigest, canonicalJson, digestText } from '../contract/canonical-json.js'
import type { Catalogue, FeatureSpec } from '../contract/catalogue.js'
import { minorPerMajor } from '../contract/money.js'
import type { Currencies } from '../contract/policy.js'
import type { FieldValue, Transaction, TransactionSchema } from '../contract/transaction.js'
import { AssayError, faultsText } from '../errors.js'
import { calendarPart, zoneOffset } from './calendar.js'
import { catalogueFaults, durationMs, fieldType, type FieldTest, references } from './check.js'
import * as plan from './plan.js'
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
  /** Whether a feature is a label rate. */
  readonly labelled: boolean
  /** Largest delay of a label rate, ms; 0 where none has one. */
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
  const delays = catalogue.features.map((spec) =>
    spec.kind === 'aggregate' && spec.function === 'label_rate' ? delayMs(spec) : 0,
  )
  return {
    names,
    dtypes,
    featureDigests: digestEach(catalogue, places),
    digest: digestText(canonicalDigest(catalogue)),
    size: names.length,
    plan: createPlan(catalogue, schema, currencies),
    labelled: catalogue.features.some((spec) => spec.kind === 'aggregate' && spec.function === 'label_rate'),
    labelDelayMs: Math.max(...delays),
    indexOf: (name) => places.get(name) ?? -1,
    ...createVectorCodec(dtypes),
  }
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

function delayMs(spec: AggregateSpec): number {
  return spec.delay === undefined ? 0 : durationMs(spec.delay)
}

type AggregateSpec = Extract<FeatureSpec, { kind: 'aggregate' }>

/** What one compilation gathers: shared masks and sources, and the place of each field. */
interface Gathering {
  readonly schema: TransactionSchema
  readonly currencies: Currencies
  /** Minor units in one major unit of the base currency. */
  readonly minorPerMajor: number
  readonly masks: plan.Mask[]
  readonly maskKeys: Map<string, number>
  readonly sources: plan.Source[]
  readonly inputs: Set<number>
}

function createPlan(catalogue: Catalogue, schema: TransactionSchema, currencies: Currencies): plan.Plan {
  const gathering: Gathering = {
    schema,
    currencies,
    minorPerMajor: minorPerMajor(currencies),
    masks: [{ tests: [], needsAmount: false }],
    maskKeys: new Map([[maskKey([], false), 0]]),
    sources: [],
    inputs: new Set(),
  }
  const entities = new Map<string, [number, AggregateSpec][]>()
  const scalars: plan.Scalar[] = []
  catalogue.features.forEach((spec, feature) => {
    if (spec.kind === 'aggregate') entities.set(spec.entity, [...(entities.get(spec.entity) ?? []), [feature, spec]])
    else if (spec.kind !== 'ratio' && spec.kind !== 'difference') {
      scalars.push({ feature, value: scalarValue(spec, gathering) })
    }
  })
  const fields = [...entities].map(([name, specs]) => createFieldPlan(name, specs, gathering))
  const spansMs = catalogue.features.map((spec) =>
    spec.kind === 'aggregate' ? durationMs(spec.window) + delayMs(spec) : 0,
  )
  return {
    masks: gathering.masks,
    sources: gathering.sources,
    scalars,
    derived: deriveOrder(catalogue),
    fields,
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

/** Reads a field as features see it: `amount` in major units of the base; null where absent. Notes it as an input. */
function reader(name: string, gathering: Gathering): (tx: Transaction) => FieldValue {
  const field = fieldIndex(name, gathering)
  const { minorPerMajor } = gathering
  if (field === plan.CURRENCY_FIELD) return (tx) => tx.currency
  gathering.inputs.add(field)
  if (field === plan.AMOUNT_FIELD) {
    return (tx) => (Number.isNaN(tx.amountBaseMinor) ? null : tx.amountBaseMinor / minorPerMajor)
  }
  return (tx) => tx.fields[field]
}

function fieldIndex(name: string, gathering: Gathering): number {
  if (name === 'amount') return plan.AMOUNT_FIELD
  if (name === 'currency') return plan.CURRENCY_FIELD
  return gathering.schema.fields.findIndex((field) => field.name === name)
}

function maskKey(where: readonly FieldTest[], needsAmount: boolean): string {
  return `${needsAmount} ${canonicalJson(where)}`
}

function maskOf(spec: AggregateSpec, needsAmount: boolean, gathering: Gathering): number {
  const where = spec.where ?? []
  const key = maskKey(where, needsAmount)
  const known = gathering.maskKeys.get(key)
  if (known !== undefined) return known
  gathering.masks.push({ tests: where.map((test) => compileTest(test, gathering)), needsAmount })
  gathering.maskKeys.set(key, gathering.masks.length - 1)
  return gathering.masks.length - 1
}

/** A test on an absent value is false, whatever it asks. */
function compileTest(test: FieldTest, gathering: Gathering): (tx: Transaction) => boolean {
  const read = reader(test.field, gathering)
  const { op, value } = test
  if (Array.isArray(value)) {
    const wanted = new Set<FieldValue>(value)
    return (tx) => wanted.has(read(tx))
  }
  if (op === 'eq') return (tx) => read(tx) === value
  if (op === 'ne') {
    return (tx) => {
      const found = read(tx)
      return found !== null && found !== value
    }
  }
  const bound = Number(value)
  return (tx) => {
    const found = read(tx)
    if (typeof found !== 'number') return false
    return op === 'lt' ? found < bound : op === 'le' ? found <= bound : op === 'gt' ? found > bound : found >= bound
  }
}

function sourceOf(name: string, gathering: Gathering): number {
  const field = fieldIndex(name, gathering)
  const found = gathering.sources.findIndex((source) => source.field === field)
  if (found >= 0) return found
  if (field !== plan.CURRENCY_FIELD) gathering.inputs.add(field)
  gathering.sources.push({ field, hashed: fieldType(gathering.schema, name) === 'string' })
  return gathering.sources.length - 1
}

const CODES = {
  count: plan.COUNT,
  sum: plan.SUM,
  mean: plan.MEAN,
  max: plan.MAX,
  distinct: plan.DISTINCT,
  time_since_last: plan.TIME_SINCE_LAST,
  label_rate: plan.LABEL_RATE,
} as const

type FunctionName = keyof typeof CODES

function isFunctionName(name: string): name is FunctionName {
  return name in CODES
}

/** An aggregate before its columns are numbered. */
interface Draft {
  readonly feature: number
  readonly code: number
  readonly delay: number
  readonly span: number
  readonly mask: number
  readonly source: number
  readonly amounts: boolean
}

function draftAggregate(feature: number, spec: AggregateSpec, gathering: Gathering): Draft {
  const name: string = spec.function
  if (!isFunctionName(name)) throw new AssayError('ASSAY_CATALOGUE_INVALID', `unknown function in ${spec.name}`)
  const ofAmount = spec.of === 'amount'
  const summed = ofAmount && (name === 'sum' || name === 'mean')
  if (ofAmount) gathering.inputs.add(plan.AMOUNT_FIELD)
  const delay = delayMs(spec)
  return {
    feature,
    code: summed ? (name === 'sum' ? plan.SUM_AMOUNT : plan.MEAN_AMOUNT) : CODES[name],
    delay,
    span: delay + durationMs(spec.window),
    // Amounts are always known unless the policy lets unlisted currencies pass: then their events are counted apart.
    mask: maskOf(spec, summed && gathering.currencies.unlisted === 'missing', gathering),
    source: spec.of === undefined || summed ? -1 : sourceOf(spec.of, gathering),
    amounts: ofAmount,
  }
}

function createFieldPlan(
  name: string,
  specs: readonly [number, AggregateSpec][],
  gathering: Gathering,
): plan.FieldPlan {
  const drafts = specs.map(([feature, spec]) => draftAggregate(feature, spec, gathering))
  const edges = distinct([0, ...drafts.flatMap((draft) => [draft.delay, draft.span])]).sort((a, b) => a - b)
  const countMasks = distinct(drafts.map((draft) => draft.mask).filter((mask) => mask > 0))
  const rates = drafts.filter((draft) => draft.code === plan.LABEL_RATE)
  // Mask 0 is always among them: it tells whether an event is labelled.
  const labelMasks = rates.length === 0 ? [] : distinct([0, ...rates.map((draft) => draft.mask)])
  const sumMasks = distinct(drafts.filter(isSummed).map((draft) => draft.mask))
  const rawSources = distinct(drafts.map((draft) => draft.source).filter((source) => source >= 0))
  const field = fieldIndex(name, gathering)
  gathering.inputs.add(field)
  const aggregates = drafts.map((draft): plan.Aggregate => ({
    feature: draft.feature,
    code: draft.code,
    upper: edges.indexOf(draft.delay),
    lower: edges.indexOf(draft.span),
    current: draft.delay === 0,
    mask: draft.mask,
    countColumn: countMasks.indexOf(draft.mask),
    totalColumn: isSummed(draft)
      ? sumMasks.indexOf(draft.mask)
      : draft.code === plan.LABEL_RATE
        ? countMasks.length + labelMasks.indexOf(draft.mask)
        : -1,
    rawColumn: rawSources.indexOf(draft.source),
    source: draft.source,
    divisor: draft.amounts ? gathering.minorPerMajor : 1,
  }))
  const spanMs = Math.max(...edges)
  return {
    name,
    field,
    edges: Float64Array.from(edges),
    spanMs,
    countMasks,
    labelMasks,
    sumMasks,
    rawSources,
    aggregates,
  }
}

function isSummed(draft: Draft): boolean {
  return draft.code === plan.SUM_AMOUNT || draft.code === plan.MEAN_AMOUNT
}

function distinct(values: readonly number[]): number[] {
  return [...new Set(values)]
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
