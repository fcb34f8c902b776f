// What one compilation of a catalogue gathers: fields as features read them, masks and kept values, each once.
import { canonicalJson } from '../contract/canonical-json.js'
import { minorPerMajor } from '../contract/money.js'
import type { Currencies } from '../contract/policy.js'
import type { FieldValue, Transaction, TransactionSchema } from '../contract/transaction.js'
import { fieldType } from './check.js'
import { ANY_MARKS, type FieldTest, fraudOf, isLabelTest, type LabelTest, markSet, type MarkSet } from './marks.js'
import * as plan from './plan.js'

type Test = FieldTest | LabelTest

interface Wanted {
  readonly tests: readonly FieldTest[]
  readonly needsAmount: boolean
  readonly marks: MarkSet
}

/** What one compilation gathers: shared masks and sources, and the place of each field. */
export interface Gathering {
  readonly schema: TransactionSchema
  readonly currencies: Currencies
  /** Minor units in one major unit of the base currency. */
  readonly minorPerMajor: number
  readonly masks: plan.Mask[]
  /** What each mask was made of, and its number by the canonical JSON of that. */
  readonly wanted: Wanted[]
  readonly maskKeys: Map<string, number>
  readonly sources: plan.Source[]
  readonly inputs: Set<number>
}

/** Of nothing but mask 0, every event. */
export function createGathering(schema: TransactionSchema, currencies: Currencies): Gathering {
  const gathering: Gathering = {
    schema,
    currencies,
    minorPerMajor: minorPerMajor(currencies),
    masks: [],
    wanted: [],
    maskKeys: new Map(),
    sources: [],
    inputs: new Set(),
  }
  maskOf([], false, gathering)
  return gathering
}

/** Reads a field as features see it: `amount` in major units of the base; null where absent. Notes it as an input. */
export function reader(name: string, gathering: Gathering): (tx: Transaction) => FieldValue {
  const field = fieldIndex(name, gathering)
  const { minorPerMajor } = gathering
  if (field === plan.CURRENCY_FIELD) return (tx) => tx.currency
  gathering.inputs.add(field)
  if (field === plan.AMOUNT_FIELD) {
    return (tx) => (Number.isNaN(tx.amountBaseMinor) ? null : tx.amountBaseMinor / minorPerMajor)
  }
  return (tx) => tx.fields[field]
}

export function fieldIndex(name: string, gathering: Gathering): number {
  if (name === 'amount') return plan.AMOUNT_FIELD
  if (name === 'currency') return plan.CURRENCY_FIELD
  return gathering.schema.fields.findIndex((field) => field.name === name)
}

/** The number of the mask of events that pass `where`; of those whatever labels say as well. */
export function maskOf(where: readonly Test[], needsAmount: boolean, gathering: Gathering): number {
  const tests = where.filter((test): test is FieldTest => !isLabelTest(test))
  return maskFor({ tests, needsAmount, marks: markSet(where.filter(isLabelTest)) }, gathering)
}

/** Of a mask those events that are fraud. */
export function fraudMaskOf(mask: number, gathering: Gathering): number {
  const wanted = gathering.wanted[mask]
  return maskFor({ ...wanted, marks: fraudOf(wanted.marks) }, gathering)
}

function maskFor(wanted: Wanted, gathering: Gathering): number {
  const key = canonicalJson(wanted)
  const known = gathering.maskKeys.get(key)
  if (known !== undefined) return known
  const { tests, needsAmount, marks } = wanted
  const within = marks === ANY_MARKS ? gathering.masks.length : maskFor({ ...wanted, marks: ANY_MARKS }, gathering)
  const compiled = tests.map((test) => compileTest(test, gathering))
  gathering.masks.push({ tests: compiled, needsAmount, marks, within })
  gathering.wanted.push(wanted)
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

export function sourceOf(name: string, gathering: Gathering): number {
  const field = fieldIndex(name, gathering)
  const found = gathering.sources.findIndex((source) => source.field === field)
  if (found >= 0) return found
  if (field !== plan.CURRENCY_FIELD) gathering.inputs.add(field)
  gathering.sources.push({ field, hashed: fieldType(gathering.schema, name) === 'string' })
  return gathering.sources.length - 1
}
