// The windowed aggregates of a catalogue as plans: per entity field the columns that its events keep, or per width of
// buckets the columns that a bucket keeps, each once however many aggregates read it.
import type { FeatureSpec } from '../contract/catalogue.js'
import type { Label } from '../contract/label.js'
import { AssayError } from '../errors.js'
import { durationMs } from './check.js'
import { fieldIndex, fraudMaskOf, type Gathering, maskOf, sourceOf } from './gather.js'
import { ANY_MARKS, dependsOn } from './marks.js'
import * as plan from './plan.js'

export type AggregateSpec = Extract<FeatureSpec, { kind: 'aggregate' }>

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
  /** As in `plan.Aggregate`. */
  readonly partMask: number
  readonly source: number
  readonly divisor: number
}

/** Milliseconds of the delay, 0 where there is none. */
export function delayMs(spec: AggregateSpec): number {
  return spec.delay === undefined ? 0 : durationMs(spec.delay)
}

/** Plans for all aggregates, given with their places in the vector. */
export function planWindows(
  specs: readonly (readonly [feature: number, spec: AggregateSpec])[],
  gathering: Gathering,
): Pick<plan.Plan, 'fields' | 'buckets' | 'labelSpansMs' | 'bucketLabelSpansMs'> {
  const exact = new Map<string, Draft[]>()
  const bucketed = new Map<string, { readonly spec: AggregateSpec; readonly drafts: Draft[] }>()
  for (const [feature, spec] of specs) {
    const draft = draftAggregate(feature, spec, gathering)
    if (spec.bucketed === undefined) {
      exact.set(spec.entity, [...(exact.get(spec.entity) ?? []), draft])
      continue
    }
    const key = `${spec.entity} ${durationMs(spec.bucketed)}`
    const known = bucketed.get(key)
    if (known === undefined) bucketed.set(key, { spec, drafts: [draft] })
    else known.drafts.push(draft)
  }
  return {
    fields: [...exact].map(([name, drafts]) => fieldPlan(name, drafts, gathering)),
    buckets: [...bucketed.values()].map(({ spec, drafts }) => bucketPlan(spec, drafts, gathering)),
    labelSpansMs: labelSpans([...exact.values()].flat(), gathering),
    bucketLabelSpansMs: labelSpans(
      [...bucketed.values()].flatMap(({ drafts }) => drafts),
      gathering,
    ),
  }
}

function draftAggregate(feature: number, spec: AggregateSpec, gathering: Gathering): Draft {
  const name: string = spec.function
  if (!isFunctionName(name)) throw new AssayError('ASSAY_CATALOGUE_INVALID', `unknown function in ${spec.name}`)
  const ofAmount = spec.of === 'amount'
  const summed = ofAmount && (name === 'sum' || name === 'mean')
  if (ofAmount) gathering.inputs.add(plan.AMOUNT_FIELD)
  const delay = delayMs(spec)
  // Amounts are always known unless the policy lets unlisted currencies pass: then their events are counted apart.
  const mask = maskOf(spec.where ?? [], summed && gathering.currencies.unlisted === 'missing', gathering)
  return {
    feature,
    code: summed ? (name === 'sum' ? plan.SUM_AMOUNT : plan.MEAN_AMOUNT) : CODES[name],
    delay,
    span: delay + durationMs(spec.window),
    mask,
    partMask: name === 'label_rate' ? fraudMaskOf(mask, gathering) : mask,
    source: spec.of === undefined || summed ? -1 : sourceOf(spec.of, gathering),
    divisor: ofAmount ? gathering.minorPerMajor : 1,
  }
}

function labelSpans(drafts: readonly Draft[], { masks }: Gathering): plan.LabelSpans {
  const spanOf = (kind: Label['kind']): number =>
    Math.max(0, ...drafts.filter(({ partMask }) => dependsOn(masks[partMask].marks, kind)).map(({ span }) => span))
  return { fraud: spanOf('fraud'), authorisation: spanOf('authorisation') }
}

/** The entity field's place; a transaction without an entity lacks an input. */
function entityField(name: string, gathering: Gathering): number {
  const field = fieldIndex(name, gathering)
  gathering.inputs.add(field)
  return field
}

function fieldPlan(name: string, drafts: readonly Draft[], gathering: Gathering): plan.FieldPlan {
  const { masks } = gathering
  const edges = distinct([0, ...drafts.flatMap((draft) => [draft.delay, draft.span])]).sort((a, b) => a - b)
  const wanted = distinct(drafts.flatMap(({ mask, partMask }) => [mask, partMask]))
  // What labels move is told by what would be there without them; mask 0 needs no column.
  const countMasks = [
    ...distinct(wanted.map((mask) => masks[mask].within)).filter((mask) => mask > 0),
    ...wanted.filter((mask) => masks[mask].marks !== ANY_MARKS),
  ]
  const summed = distinct(drafts.filter(isSummed).map((draft) => draft.mask))
  const sumMasks = distinct([...summed, ...summed.map((mask) => masks[mask].within)])
  const rawSources = distinct(drafts.map((draft) => draft.source).filter((source) => source >= 0))
  const marked = countMasks
    .filter((mask) => masks[mask].marks !== ANY_MARKS)
    .map((mask): plan.MarkedColumns => ({
      marks: masks[mask].marks,
      count: countMasks.indexOf(mask),
      withinCount: countMasks.indexOf(masks[mask].within),
      sum: sumMasks.indexOf(mask),
      withinSum: sumMasks.indexOf(masks[mask].within),
    }))
  const aggregates = drafts.map((draft): plan.Aggregate => ({
    feature: draft.feature,
    code: draft.code,
    upper: edges.indexOf(draft.delay),
    lower: edges.indexOf(draft.span),
    current: draft.delay === 0,
    mask: draft.mask,
    partMask: draft.partMask,
    countColumn: countMasks.indexOf(draft.mask),
    totalColumn: isSummed(draft)
      ? sumMasks.indexOf(draft.mask)
      : draft.code === plan.LABEL_RATE
        ? countMasks.indexOf(draft.partMask)
        : -1,
    rawColumn: rawSources.indexOf(draft.source),
    source: draft.source,
    divisor: draft.divisor,
  }))
  return {
    name,
    field: entityField(name, gathering),
    edges: Float64Array.from(edges),
    spanMs: Math.max(...edges),
    countMasks,
    marked,
    sumMasks,
    rawSources,
    aggregates,
  }
}

/** Places of columns that are kept once. */
class Columns {
  readonly list: plan.BucketColumn[] = []

  at(mask: number, source: number): number {
    const found = this.list.findIndex((column) => column.mask === mask && column.source === source)
    return found >= 0 ? found : this.list.push({ mask, source }) - 1
  }
}

function bucketPlan(
  { entity, bucketed = '' }: AggregateSpec,
  drafts: readonly Draft[],
  gathering: Gathering,
): plan.BucketPlan {
  const { masks, schema } = gathering
  const field = entityField(entity, gathering)
  const [counts, sums, maxima] = [new Columns(), new Columns(), new Columns()]
  const marked = distinct(
    drafts.flatMap(({ mask, partMask }) => [masks[mask].marks, masks[partMask].marks]).filter((m) => m !== ANY_MARKS),
  )
  // Columns of labels and of maxima stand behind others, of which there may still come more.
  const placed = drafts.map((draft) => {
    const { code, mask, source } = draft
    const byLabels = masks[mask].marks !== ANY_MARKS
    const isMean = code === plan.MEAN || code === plan.MEAN_AMOUNT
    const isMax = code === plan.MAX || code === plan.TIME_SINCE_LAST
    return {
      draft,
      count: isMean
        ? counts.at(mask, source)
        : !byLabels && (code === plan.COUNT || code === plan.LABEL_RATE)
          ? counts.at(mask, -1)
          : -1,
      sum: isMean || code === plan.SUM || code === plan.SUM_AMOUNT ? sums.at(mask, source) : -1,
      max: isMax ? maxima.at(mask, code === plan.MAX ? source : plan.TIME_SOURCE) : -1,
    }
  })
  const markedAt = (mask: number): number => counts.list.length + marked.indexOf(masks[mask].marks)
  const aggregates = placed.map(({ draft, count, sum, max }): plan.BucketAggregate => {
    const byLabels = masks[draft.mask].marks !== ANY_MARKS
    return {
      feature: draft.feature,
      code: draft.code,
      upperMs: draft.delay,
      lowerMs: draft.span,
      current: draft.delay === 0 && !byLabels,
      mask: draft.mask,
      source: draft.source,
      count: byLabels ? markedAt(draft.mask) : count,
      part: draft.code === plan.LABEL_RATE ? markedAt(draft.partMask) : -1,
      value: max < 0 ? sum : sums.list.length + max,
      divisor: draft.divisor,
    }
  })
  return {
    name: entity,
    field,
    labelEntity: schema.fields.slice(0, field).filter((spec) => spec.entity === true).length,
    widthMs: durationMs(bucketed),
    spanMs: Math.max(...drafts.map(({ span }) => span)),
    counts: counts.list,
    marked,
    sums: sums.list,
    maxima: maxima.list,
    aggregates,
  }
}

function isSummed(draft: Draft): boolean {
  return draft.code === plan.SUM_AMOUNT || draft.code === plan.MEAN_AMOUNT
}

function distinct(values: readonly number[]): number[] {
  return [...new Set(values)]
}
