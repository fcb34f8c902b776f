// Conditions of a policy as functions: names become places, lists become maps, once; nothing is looked up by name for
// a decision. `holds` of rules-check.ts says the same slowly, and tests hold the two against each other.
import { createHash } from 'node:crypto'
import type { Role } from '../contract/decision.js'
import type { Policy } from '../contract/policy.js'
import type { Condition, Scalar, Test, ValueList } from '../contract/rules.js'
import { instantMs } from '../contract/time.js'
import type { FieldValue, Transaction } from '../contract/transaction.js'

/** What is decided on. One object is used again and again: nothing keeps it. */
export interface Subject {
  transaction: Transaction
  /** The catalogue's vector starts at `at`. */
  vectors: Float64Array
  at: number
  score: number
  role: Role
  degraded: boolean
  /** name@version of the model that answered. */
  model: string
  /** The clock of the decision: values of lists expire by it. */
  nowMs: number
}

/** One with nothing in it yet. */
export function createSubject(vectors: Float64Array = new Float64Array(0)): Subject {
  const transaction: Transaction = {
    ...{ transactionId: '', occurredAtMs: 0, offsetMinutes: 0, amountMinor: 0, currency: '' },
    ...{ amountBaseMinor: NaN, fields: [] },
  }
  return { transaction, vectors, at: 0, score: 0, role: 'baseline', degraded: false, model: '', nowMs: 0 }
}

export type Predicate = (subject: Subject) => boolean

/** What is asked of the compiled catalogue: the place of a feature in the vector (or −1), and the types as fed. */
export interface Columns {
  readonly dtypes: readonly ('float32' | 'float64' | 'int64')[]
  indexOf(name: string): number
}

export interface ConditionContext {
  readonly policy: Policy
  readonly columns: Columns
  readonly lists: Lists
}

/** Lists as they are asked: whether a value is on one at a time. */
export type Lists = ReadonlyMap<string, (value: FieldValue, nowMs: number) => boolean>

/** The lists of a policy, ready to be asked. */
export function compileLists(policy: Policy): Lists {
  return new Map(Object.entries(policy.lists ?? {}).map(([name, list]) => [name, compileList(list)]))
}

function compileList({ values, hashed }: ValueList): (value: FieldValue, nowMs: number) => boolean {
  const untilMs = new Map<FieldValue, number>(
    values.map(({ value, until }) => [value, until === undefined ? Infinity : (instantMs(until) ?? 0)]),
  )
  const isOn = (value: FieldValue, nowMs: number): boolean => nowMs < (untilMs.get(value) ?? -Infinity)
  return hashed === undefined ? isOn : (value, nowMs) => typeof value === 'string' && isOn(sha256(value), nowMs)
}

function sha256(text: string): string {
  return createHash('sha256').update(text, 'utf8').digest('hex')
}

/** The condition as a function; the policy has no fault (rules-check.ts). */
export function compileCondition(condition: Condition, context: ConditionContext): Predicate {
  if ('all' in condition) return joined(condition.all, context, false)
  if ('any' in condition) return joined(condition.any, context, true)
  if ('not' in condition) {
    const inner = compileCondition(condition.not, context)
    return (subject) => !inner(subject)
  }
  return compileTest(condition, context)
}

/** One after the other, until one says `ends`. */
function joined(parts: readonly Condition[], context: ConditionContext, ends: boolean): Predicate {
  const all = parts.map((part) => compileCondition(part, context))
  const [first, second] = all
  if (all.length === 1) return first
  if (all.length === 2) return ends ? (s) => first(s) || second(s) : (s) => first(s) && second(s)
  return (subject) => {
    for (let at = 0; at < all.length; at++) if (all[at](subject) === ends) return ends
    return !ends
  }
}

function compileTest(test: Test, context: ConditionContext): Predicate {
  const number = numberReader(test, context)
  if (number !== null && test.op !== 'in_list') return compileNumberTest(test, number)
  const read = number === null ? valueReader(test, context) : nullable(number)
  const { op, value } = test
  if (op === 'present') return (subject) => read(subject) !== null
  if (op === 'absent') return (subject) => read(subject) === null
  if (op === 'in_list') {
    const isOn = context.lists.get(String(value)) ?? (() => false)
    return (subject) => isOn(read(subject), subject.nowMs)
  }
  if (op === 'in') {
    const wanted = new Set<FieldValue>(scalars(value))
    return (subject) => wanted.has(read(subject))
  }
  if (op === 'ne') {
    return (subject) => {
      const found = read(subject)
      return found !== null && found !== value
    }
  }
  return (subject) => read(subject) === value
}

function scalars(value: Test['value']): readonly Scalar[] {
  return value === undefined ? [] : [value].flat()
}

/** NaN stands for a number that is absent: no comparison with it holds. */
type NumberReader = (subject: Subject) => number

function nullable(read: NumberReader): (subject: Subject) => FieldValue {
  return (subject) => {
    const found = read(subject)
    return Number.isNaN(found) ? null : found
  }
}

function compileNumberTest({ op, value }: Test, read: NumberReader): Predicate {
  const bound = Number(value)
  switch (op) {
    case 'lt':
      return (subject) => read(subject) < bound
    case 'le':
      return (subject) => read(subject) <= bound
    case 'gt':
      return (subject) => read(subject) > bound
    case 'ge':
      return (subject) => read(subject) >= bound
    case 'ne':
      return (subject) => {
        const found = read(subject)
        return !Number.isNaN(found) && found !== bound
      }
    case 'in': {
      const wanted = new Set(scalars(value).map(Number))
      return (subject) => wanted.has(read(subject))
    }
    case 'present':
      return (subject) => !Number.isNaN(read(subject))
    case 'absent':
      return (subject) => Number.isNaN(read(subject))
    case 'eq':
    case 'in_list':
      return (subject) => read(subject) === bound
  }
}

/** Reads what a test is about where that is a number, as it stands in the record; null where it is of another type. */
function numberReader(test: Test, { policy, columns }: ConditionContext): NumberReader | null {
  if ('answer' in test) return test.answer === 'score' ? (subject) => subject.score : null
  if ('feature' in test) return featureReader(columns, columns.indexOf(test.feature))
  const { currencies, schema } = policy
  if (test.field === 'amount_minor') return ({ transaction }) => transaction.amountMinor
  if (test.field === 'amount') {
    const minorPerMajor = 10 ** (currencies.list[currencies.base]?.exponent ?? 2)
    return ({ transaction }) => transaction.amountBaseMinor / minorPerMajor
  }
  const at = schema.fields.findIndex(({ name }) => name === test.field)
  const type = schema.fields[at]?.type
  if (type !== 'number' && type !== 'integer') return null
  return ({ transaction }) => {
    const found = transaction.fields[at]
    return typeof found === 'number' ? found : NaN
  }
}

/** A feature as the models get it and the record keeps it: a float32 column holds no more. */
function featureReader({ dtypes }: Columns, place: number): NumberReader {
  if (dtypes[place] === 'float32') return ({ vectors, at }) => Math.fround(vectors[at + place])
  if (dtypes[place] === 'int64') return ({ vectors, at }) => Math.trunc(vectors[at + place])
  return ({ vectors, at }) => vectors[at + place]
}

function valueReader(test: Test, { policy }: ConditionContext): (subject: Subject) => FieldValue {
  if ('answer' in test) {
    if (test.answer === 'role') return ({ role }) => role
    return test.answer === 'degraded' ? ({ degraded }) => degraded : ({ model }) => model
  }
  if ('feature' in test) return () => null
  if (test.field === 'currency') return ({ transaction }) => transaction.currency
  const at = policy.schema.fields.findIndex(({ name }) => name === test.field)
  return ({ transaction }) => transaction.fields[at] ?? null
}
