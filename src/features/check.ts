// Every fault of a catalogue, each with its path, before anything is compiled: unknown fields and entities, tests that
// cannot hold, duplicate names, references that lead nowhere or in a circle, values that a column's type cannot say.
import type { Catalogue, FeatureSpec } from '../contract/catalogue.js'
import { parseDuration } from '../contract/time.js'
import type { FieldSpec, TransactionSchema } from '../contract/transaction.js'
import type { InputFault } from '../errors.js'
import { LIMITS } from '../limits.js'
import { zoneOffset } from './calendar.js'
import { type FieldTest, fraudOf, isLabelTest, markSet } from './marks.js'

type Aggregate = Extract<FeatureSpec, { kind: 'aggregate' }>
export type FieldType = FieldSpec['type']

/** Milliseconds of a window or delay; NaN where it is none: it begins with no zero. */
export function durationMs(text: string): number {
  return (text.startsWith('0') ? null : parseDuration(text)) ?? NaN
}

/** Type of a name that features may read: amount, currency, or a declared field; null where unknown. */
export function fieldType(schema: TransactionSchema, name: string): FieldType | null {
  if (name === 'amount') return 'number'
  if (name === 'currency') return 'string'
  return schema.fields.find((field) => field.name === name)?.type ?? null
}

/** All faults of a catalogue against the schema; empty where it may be compiled. */
export function catalogueFaults(catalogue: Catalogue, schema: TransactionSchema): InputFault[] {
  const faults: InputFault[] = []
  const first = new Map<string, number>()
  catalogue.features.forEach((spec, index) => {
    const path = `/catalogue/features/${index}`
    const fault = (member: string, message: string): void => {
      faults.push({ path: `${path}${member}`, message })
    }
    const earlier = first.get(spec.name)
    if (earlier === undefined) first.set(spec.name, index)
    else fault('/name', `the name is taken by feature ${earlier}`)
    checkSpec(spec, schema, fault)
    checkInt64(spec, schema, fault)
  })
  checkReferences(catalogue, first, faults)
  return faults
}

type Fault = (member: string, message: string) => void

function checkSpec(spec: FeatureSpec, schema: TransactionSchema, fault: Fault): void {
  switch (spec.kind) {
    case 'field': {
      const type = fieldType(schema, spec.field)
      if (type === null) fault('/field', 'no such field: declare it in the schema')
      else if (type === 'string') fault('/field', 'a string has no number: use kind category')
      return
    }
    case 'category': {
      const type = fieldType(schema, spec.field)
      if (type === null) fault('/field', 'no such field: declare it in the schema')
      else if (type === 'number') fault('/field', 'a category is of a string, an integer or a boolean')
      return
    }
    case 'calendar':
      checkCalendar(spec, fault)
      return
    case 'aggregate':
      checkAggregate(spec, schema, fault)
      return
    case 'ratio':
    case 'difference':
      return
  }
}

const PART_RANGE = { hour: [0, 23], weekday: [1, 7], day_of_month: [1, 31], month: [1, 12] } as const

function checkCalendar(spec: Extract<FeatureSpec, { kind: 'calendar' }>, fault: Fault): void {
  if (zoneOffset(spec.zone) === null) fault('/zone', 'the zone must be utc, offset or a known IANA name')
  const [low, high] = PART_RANGE[spec.part]
  spec.in?.forEach((value, i) => {
    if (value < low || value > high) fault(`/in/${i}`, `${spec.part} lies between ${low} and ${high}`)
  })
}

function checkAggregate(spec: Aggregate, schema: TransactionSchema, fault: Fault): void {
  const entity = schema.fields.find((field) => field.name === spec.entity)
  if (entity === undefined) fault('/entity', 'no such field: declare it in the schema')
  else if (entity.entity !== true) fault('/entity', 'the field is not declared as an entity')
  else if (entity.type !== 'string') fault('/entity', 'an entity is a string')
  for (const member of ['window', 'delay'] as const) {
    const text = spec[member]
    if (text !== undefined && Number.isNaN(durationMs(text))) fault(`/${member}`, 'not a duration such as 30m, 24h, 7d')
  }
  checkOf(spec, schema, fault)
  spec.where?.forEach((test, i) => {
    if (!isLabelTest(test)) checkTest(test, schema, (member, message) => fault(`/where/${i}${member}`, message))
  })
  const marks = markSet((spec.where ?? []).filter(isLabelTest))
  if (marks === 0) fault('/where', 'the tests on labels contradict each other')
  else if (spec.function === 'label_rate' && fraudOf(marks) === 0) fault('/where', 'no fraud is among these')
  if (spec.bucketed !== undefined) checkBuckets(spec, spec.bucketed, fault)
}

/** What whole buckets of one width can say. */
function checkBuckets(spec: Aggregate, bucketed: string, fault: Fault): void {
  const widthMs = durationMs(bucketed)
  const [windowMs, delayMs] = [durationMs(spec.window), spec.delay === undefined ? 0 : durationMs(spec.delay)]
  if (Number.isNaN(widthMs)) fault('/bucketed', 'not a duration such as 30m, 24h, 7d')
  else if (windowMs % widthMs !== 0) fault('/bucketed', 'the window must be a whole number of buckets')
  else if (delayMs % widthMs !== 0) fault('/bucketed', 'the delay must be a whole number of buckets')
  else if ((windowMs + delayMs) / widthMs > LIMITS.bucketsMax) {
    fault('/bucketed', `window and delay together are more than ${LIMITS.bucketsMax} buckets`)
  }
  if (spec.function === 'distinct') fault('/bucketed', 'distinct needs every event: leave it out')
  const where = spec.where ?? []
  const byLabel = where.some(isLabelTest)
  if (byLabel && spec.function !== 'count' && spec.function !== 'label_rate') {
    fault('/where', 'in buckets labels can be counted, no more: use count or label_rate')
  }
  if ((byLabel || spec.function === 'label_rate') && !where.every(isLabelTest)) {
    fault('/where', 'a label finds no transaction in buckets: it cannot be tested on a field of its transaction')
  }
}

function checkOf(spec: Aggregate, schema: TransactionSchema, fault: Fault): void {
  const takesOf = ['sum', 'mean', 'max', 'distinct'].includes(spec.function)
  if (!takesOf) {
    if (spec.of !== undefined) fault('/of', `${spec.function} is of nothing: leave it out`)
    return
  }
  if (spec.of === undefined) {
    fault('/of', `${spec.function} must say of what`)
    return
  }
  const type = fieldType(schema, spec.of)
  if (type === null) fault('/of', 'no such field: declare it in the schema')
  else if (spec.function !== 'distinct' && type !== 'number' && type !== 'integer') {
    fault('/of', `${spec.function} is of a number`)
  }
}

function checkTest(test: FieldTest, schema: TransactionSchema, fault: Fault): void {
  const type = fieldType(schema, test.field)
  if (type === null) {
    fault('/field', 'no such field: declare it in the schema')
    return
  }
  const wanted = type === 'integer' ? 'number' : type
  const values = Array.isArray(test.value) ? test.value : [test.value]
  if ((test.op === 'in') !== Array.isArray(test.value)) fault('/value', 'in takes a list, every other test one value')
  if (values.some((value) => typeof value !== wanted)) fault('/value', `the field is of type ${type}`)
  if (['lt', 'le', 'gt', 'ge'].includes(test.op) && wanted !== 'number') fault('/op', `${test.op} needs a number`)
}

/** An int64 column cannot say NaN or a fraction. */
function checkInt64(spec: FeatureSpec, schema: TransactionSchema, fault: Fault): void {
  if (spec.dtype !== 'int64') return
  const whole =
    spec.kind === 'calendar' ||
    (spec.kind === 'aggregate' && (spec.function === 'count' || spec.function === 'distinct')) ||
    (spec.kind === 'field' && ['integer', 'boolean'].includes(fieldType(schema, spec.field) ?? '')) ||
    (spec.kind === 'category' && [spec.other, ...Object.values(spec.table)].every(Number.isSafeInteger))
  if (!whole) fault('/dtype', 'the values of this feature are not whole numbers')
  if (spec.kind !== 'calendar' && !Number.isSafeInteger(spec.missing)) fault('/missing', 'int64 needs a whole number')
}

/** Names that a ratio or difference refers to, with the member that does. */
export function references(spec: FeatureSpec): readonly (readonly [member: string, name: string])[] {
  if (spec.kind === 'ratio') {
    return [
      ['numerator', spec.numerator],
      ['denominator', spec.denominator],
    ]
  }
  if (spec.kind === 'difference') {
    return [
      ['minuend', spec.minuend],
      ['subtrahend', spec.subtrahend],
    ]
  }
  return []
}

function checkReferences(catalogue: Catalogue, places: ReadonlyMap<string, number>, faults: InputFault[]): void {
  // 1: on the way down from here, 2: leads to an end.
  const state = new Uint8Array(catalogue.features.length)
  const visit = (index: number): void => {
    state[index] = 1
    for (const [member, name] of references(catalogue.features[index])) {
      const path = `/catalogue/features/${index}/${member}`
      const target = places.get(name)
      if (target === undefined) faults.push({ path, message: 'no such feature' })
      else if (state[target] === 1) faults.push({ path, message: 'the references lead in a circle' })
      else if (state[target] === 0) visit(target)
    }
    state[index] = 2
  }
  catalogue.features.forEach((_, index) => {
    if (state[index] === 0) visit(index)
  })
}
