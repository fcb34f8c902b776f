// What makes sense of rules, lists and segments: names that are declared, values of the type of what they are held
// against, cuts that ascend, and conditions that can hold and can fail. Whether one can is tried: on every combination
// of values around those that it names, by `holds`, which is also what compiled conditions are tested against. Pure.
import type { InputFault } from '../errors.js'
import { LIMITS } from '../limits.js'
import { holdsCardData } from './card-data.js'
import { ROLES } from './decision.js'
import type { Policy } from './policy.js'
import { ANSWER_FACTS, type Condition, type ModelThresholds, type Scalar, type Test, type ValueList } from './rules.js'
import { instantMs } from './time.js'
import type { FieldSpec, FieldValue } from './transaction.js'

type Fault = (path: string, message: string) => void

/** What can be tested under one name: the type of its values, and what they may be. */
interface Subject {
  readonly type: FieldSpec['type']
  /** Inclusive bounds of a number. */
  readonly min: number
  readonly max: number
  /** Every value there is; null where there are others. */
  readonly all: readonly Scalar[] | null
  readonly canBeAbsent: boolean
  readonly sensitive: boolean
  readonly identifier: boolean
}

const PLAIN = { min: -Infinity, max: Infinity, all: null, sensitive: false, identifier: false } as const

/** Every fault of what the policy decides by beside the score. */
export function rulesFaults(policy: Policy): InputFault[] {
  const faults: InputFault[] = []
  const add: Fault = (path, message) => faults.push({ path: `/policy${path}`, message })
  checkLists(policy, add)
  checkNames(policy.rules?.map(({ id }) => id) ?? [], '/rules', 'id', add)
  const idBytes = (policy.rules ?? []).reduce((bytes, { id }) => bytes + id.length, 0)
  if (idBytes > LIMITS.ruleIdsBytesMax) {
    add('/rules', `ids of at most ${LIMITS.ruleIdsBytesMax} characters together: a record names those that matched`)
  }
  policy.rules?.forEach((rule, index) => {
    checkCondition(rule.when, { policy, path: `/rules/${index}/when`, fieldsOnly: false, add })
    if (rule.detail !== undefined && holdsCardData(rule.detail)) add(`/rules/${index}/detail`, 'never card data')
  })
  checkSegments(policy, add)
  for (const [model, thresholds] of Object.entries(policy.thresholds)) {
    checkThresholds(thresholds, policy, `/thresholds/${escape(model)}`, add)
  }
  return faults
}

function escape(key: string): string {
  return key.replaceAll('~', '~0').replaceAll('/', '~1')
}

function checkNames(names: readonly string[], path: string, key: string, add: Fault): void {
  names.forEach((name, index) => {
    if (names.indexOf(name) < index) add(`${path}/${index}/${key}`, 'declared once')
  })
}

function checkLists({ lists = {} }: Policy, add: Fault): void {
  const names = Object.keys(lists)
  const values = Object.values(lists).reduce((sum, list) => sum + list.values.length, 0)
  if (names.length > LIMITS.listsMax) add('/lists', `at most ${LIMITS.listsMax} lists`)
  if (values > LIMITS.listValuesMax) add('/lists', `at most ${LIMITS.listValuesMax} values in all lists together`)
  else for (const name of names) checkList(lists[name], `/lists/${escape(name)}`, add)
}

function checkList({ values, hashed }: ValueList, path: string, add: Fault): void {
  const seen = new Set<Scalar>()
  values.forEach(({ value, until }, index) => {
    const at = `${path}/values/${index}`
    if (seen.has(value)) add(`${at}/value`, 'stands once on a list')
    seen.add(value)
    if (typeof value !== typeof values[0].value) add(`${at}/value`, 'of the type of the first value')
    if (hashed !== undefined && !/^[0-9a-f]{64}$/.test(String(value))) add(`${at}/value`, 'SHA-256 in lower-case hex')
    if (hashed === undefined && typeof value === 'string' && holdsCardData(value)) add(`${at}/value`, 'never card data')
    if (until !== undefined && instantMs(until) === null) add(`${at}/until`, 'a time by RFC 3339')
  })
}

function checkSegments(policy: Policy, add: Fault): void {
  const segments = policy.segments ?? []
  const counted = new Set(policy.governance?.segments.map(({ name }) => name))
  checkNames(
    segments.map(({ name }) => name),
    '/segments',
    'name',
    add,
  )
  segments.forEach(({ name, when }, index) => {
    if (counted.has(name)) add(`/segments/${index}/name`, 'a name that no segment under /governance has')
    checkCondition(when, { policy, path: `/segments/${index}/when`, fieldsOnly: true, add })
  })
}

function checkThresholds(
  { by_segment: bySegment = {}, ...own }: ModelThresholds,
  { segments = [] }: Policy,
  path: string,
  add: Fault,
): void {
  checkOrder(own, path, add)
  for (const [name, cuts] of Object.entries(bySegment)) {
    const at = `${path}/by_segment/${escape(name)}`
    if (!segments.some((segment) => segment.name === name)) add(at, 'the name of a segment under /segments')
    checkOrder(cuts, at, add)
  }
}

/** Cuts ascend with their severity: else an action could never be taken. */
function checkOrder(cuts: ModelThresholds, path: string, add: Fault): void {
  const stated = (['challenge_at', 'review_at', 'decline_at'] as const).filter((key) => cuts[key] !== undefined)
  stated.forEach((key, index) => {
    const before = stated[index - 1]
    if (index > 0 && (cuts[before] ?? 0) >= (cuts[key] ?? 0)) add(`${path}/${key}`, `above ${before}`)
  })
}

interface Place {
  readonly policy: Policy
  readonly path: string
  readonly fieldsOnly: boolean
  readonly add: Fault
}

function checkCondition(condition: Condition, place: Place): void {
  const { path, add } = place
  const found: InputFault[] = []
  const size = { tests: 0, depth: 0 }
  checkPart(condition, { ...place, add: (at, message) => found.push({ path: at, message }) }, 1, size)
  if (size.tests > LIMITS.conditionTestsMax) add(path, `at most ${LIMITS.conditionTestsMax} tests`)
  else if (size.depth > LIMITS.conditionDepthMax) add(path, `at most ${LIMITS.conditionDepthMax} levels`)
  else if (found.length > 0) for (const fault of found) add(fault.path, fault.message)
  else {
    const outcome = outcomeOf(condition, place.policy)
    if (outcome === 'never') add(path, 'a condition that can hold: this one never does')
    if (outcome === 'always') add(path, 'a condition that can fail: this one always holds')
  }
}

function checkPart(part: Condition, place: Place, depth: number, size: { tests: number; depth: number }): void {
  const { path } = place
  size.depth = Math.max(size.depth, depth)
  if (depth > LIMITS.conditionDepthMax) return
  if ('all' in part)
    part.all.forEach((one, at) => checkPart(one, { ...place, path: `${path}/all/${at}` }, depth + 1, size))
  else if ('any' in part)
    part.any.forEach((one, at) => checkPart(one, { ...place, path: `${path}/any/${at}` }, depth + 1, size))
  else if ('not' in part) checkPart(part.not, { ...place, path: `${path}/not` }, depth + 1, size)
  else {
    size.tests++
    checkTest(part, place)
  }
}

function checkTest(test: Test, { policy, path, fieldsOnly, add }: Place): void {
  if (fieldsOnly && !('field' in test)) {
    add(path, 'a test on a field: segments are known before any model answers')
    return
  }
  const subject = subjectOf(test, policy)
  const [key, name] = nameOf(test)
  if (subject === null) {
    add(`${path}/${key}`, unknownName(key, name, policy))
    return
  }
  const { op, value } = test
  const wanted = subject.type === 'integer' ? 'number' : subject.type
  const fault = (message: string): void => add(`${path}/value`, message)
  if (op === 'present' || op === 'absent') {
    if (value !== undefined) fault(`none: ${op} asks for nothing more`)
  } else if (op === 'in_list') checkListTest(value, { subject, wanted, policy, fault })
  else if ((op === 'in') !== Array.isArray(value) || value === undefined) {
    fault(op === 'in' ? 'in takes several values: [one, another]' : `${op} takes one value`)
  } else {
    const values = [value].flat()
    if (values.some((one) => typeof one !== wanted)) fault(`of the type of ${name}: ${subject.type}`)
    else if (subject.sensitive) add(path, `${name} is sensitive, and a policy stands in the log in clear: use in_list`)
    else if (!subject.identifier && values.some((one) => typeof one === 'string' && holdsCardData(one))) {
      fault('never card data')
    }
    if (['lt', 'le', 'gt', 'ge'].includes(op) && wanted !== 'number') add(`${path}/op`, `${op} needs a number`)
  }
}

function checkListTest(
  value: Test['value'],
  of: { subject: Subject; wanted: string; policy: Policy; fault: (message: string) => void },
): void {
  const { subject, wanted, policy, fault } = of
  const lists = policy.lists ?? {}
  if (typeof value !== 'string' || !Object.hasOwn(lists, value)) {
    const known = Object.keys(lists)
    fault(`the name of a list: ${known.length === 0 ? 'none is declared under /policy/lists' : known.join(', ')}`)
    return
  }
  const { values, hashed } = lists[value]
  if (wanted === 'boolean') fault('no list: it can only be true or false')
  else if (hashed !== undefined && wanted !== 'string') fault('a list that is not hashed: only texts are')
  else if (subject.sensitive && hashed === undefined) fault('a list that is hashed (sha256): the field is sensitive')
  else if (hashed === undefined && values.some((entry) => typeof entry.value !== wanted)) {
    fault(`a list of values of the type of the field: ${subject.type}`)
  }
}

function nameOf(test: Test): readonly ['field' | 'feature' | 'answer', string] {
  if ('field' in test) return ['field', test.field]
  return 'feature' in test ? ['feature', test.feature] : ['answer', test.answer]
}

const NAMES_SHOWN = 8

function unknownName(key: string, name: string, { schema, catalogue }: Policy): string {
  const known =
    key === 'answer'
      ? [...ANSWER_FACTS]
      : key === 'feature'
        ? catalogue.features.map((feature) => feature.name)
        : ['amount', 'amount_minor', 'currency', ...schema.fields.map((field) => field.name)]
  const near = known.filter((one) => one.includes(name) || name.includes(one))
  const shown = (near.length > 0 ? near : known).slice(0, NAMES_SHOWN)
  return `no such ${key}; there is ${shown.join(', ')}${shown.length < known.length ? ' and others' : ''}`
}

/** What a test is about; null where there is nothing of that name. */
function subjectOf(test: Test, policy: Policy): Subject | null {
  if ('answer' in test) return ANSWERS[test.answer]
  if ('feature' in test) {
    const isKnown = policy.catalogue.features.some(({ name }) => name === test.feature)
    return isKnown ? { ...PLAIN, type: 'number', canBeAbsent: true } : null
  }
  const { currencies, schema } = policy
  const isOpen = currencies.unlisted === 'missing'
  switch (test.field) {
    case 'amount':
      return { ...PLAIN, type: 'number', min: 0, canBeAbsent: isOpen }
    case 'amount_minor':
      return { ...PLAIN, type: 'integer', min: 0, canBeAbsent: false }
    case 'currency':
      return { ...PLAIN, type: 'string', all: isOpen ? null : Object.keys(currencies.list), canBeAbsent: false }
    default: {
      const spec = schema.fields.find(({ name }) => name === test.field)
      if (spec === undefined) return null
      const { type, required, sensitive, identifier } = spec
      const said = { sensitive: sensitive === true, identifier: identifier !== undefined }
      return { ...PLAIN, ...said, type, all: type === 'boolean' ? [true, false] : null, canBeAbsent: required !== true }
    }
  }
}

const ANSWERS: { readonly [Fact in (typeof ANSWER_FACTS)[number]]: Subject } = {
  score: { ...PLAIN, type: 'number', min: 0, max: 1, canBeAbsent: false },
  role: { ...PLAIN, type: 'string', all: ROLES, canBeAbsent: false },
  degraded: { ...PLAIN, type: 'boolean', all: [true, false], canBeAbsent: false },
  model: { ...PLAIN, type: 'string', canBeAbsent: false },
}

/** Whether a condition holds, by what each test is about and whether that is on a list. */
export function holds(
  condition: Condition,
  valueOf: (test: Test) => FieldValue,
  isListed: (test: Test, value: FieldValue) => boolean,
): boolean {
  if ('all' in condition) return condition.all.every((one) => holds(one, valueOf, isListed))
  if ('any' in condition) return condition.any.some((one) => holds(one, valueOf, isListed))
  if ('not' in condition) return !holds(condition.not, valueOf, isListed)
  const found = valueOf(condition)
  const { op, value } = condition
  if (op === 'absent' || found === null) return op === 'absent' && found === null
  switch (op) {
    case 'present':
      return true
    case 'in_list':
      return isListed(condition, found)
    case 'in':
      return [value].flat().includes(found)
    case 'eq':
      return found === value
    case 'ne':
      return found !== value
    case 'lt':
      return Number(found) < Number(value)
    case 'le':
      return Number(found) <= Number(value)
    case 'gt':
      return Number(found) > Number(value)
    case 'ge':
      return Number(found) >= Number(value)
  }
}

/** One thing that can vary: the value of a name, or whether that is on a list. */
interface Axis {
  readonly key: string
  readonly values: readonly FieldValue[]
}

type Outcome = 'never' | 'always' | 'open'

/** What became of trying, for as long as what a payment is stays the same. */
const outcomes = new WeakMap<Condition, { readonly schema: Policy['schema']; readonly outcome: Outcome }>()

function outcomeOf(condition: Condition, policy: Policy): Outcome {
  const known = outcomes.get(condition)
  if (known?.schema === policy.schema) return known.outcome
  const outcome = tryOut(condition, policy)
  outcomes.set(condition, { schema: policy.schema, outcome })
  return outcome
}

/**
 * Tries the conditions of the policy one by one, so that its check finds them tried: a thread that answers requests has
 * no time for all of them at once.
 */
export function* tryConditions(policy: Policy): Generator<void> {
  for (const { when } of [...(policy.rules ?? []), ...(policy.segments ?? [])]) {
    if (testsOf(when).length > LIMITS.conditionTestsMax || outcomes.get(when)?.schema === policy.schema) continue
    outcomeOf(when, policy)
    yield
  }
}

/** Tries the condition on every combination; `open` where there are too many of them, or it can do both. */
function tryOut(condition: Condition, policy: Policy): Outcome {
  const axes = axesOf(testsOf(condition), policy)
  const combinations = axes.reduce((product, { values }) => product * values.length, 1)
  if (combinations > LIMITS.conditionTriesMax) return 'open'
  const current = new Map<string, FieldValue>()
  const valueOf = (test: Test): FieldValue => current.get(keyOf(test)) ?? null
  const isListed = (test: Test): boolean => current.get(listKeyOf(test)) === true
  const seen = new Set<boolean>()
  for (let number = 0; number < combinations && seen.size < 2; number++) {
    let rest = number
    for (const { key, values } of axes) {
      current.set(key, values[rest % values.length])
      rest = Math.floor(rest / values.length)
    }
    seen.add(holds(condition, valueOf, isListed))
  }
  if (seen.size === 2) return 'open'
  return seen.has(true) ? 'always' : 'never'
}

function testsOf(condition: Condition): Test[] {
  if ('all' in condition) return condition.all.flatMap(testsOf)
  if ('any' in condition) return condition.any.flatMap(testsOf)
  return 'not' in condition ? testsOf(condition.not) : [condition]
}

function keyOf(test: Test): string {
  return nameOf(test).join(' ')
}

function listKeyOf(test: Test): string {
  return `${keyOf(test)} on ${String(test.value)}`
}

function axesOf(tests: readonly Test[], policy: Policy): Axis[] {
  const axes = new Map<string, Axis>()
  for (const test of tests) {
    const key = keyOf(test)
    const subject = subjectOf(test, policy)
    if (subject !== null && !axes.has(key)) {
      const named = tests.filter((other) => keyOf(other) === key && other.op !== 'in_list')
      axes.set(key, { key, values: valuesAround(subject, named) })
    }
    if (test.op === 'in_list') axes.set(listKeyOf(test), { key: listKeyOf(test), values: [true, false] })
  }
  return [...axes.values()]
}

/** The values that are named, those between and beyond them, and none at all, as far as there can be such. */
function valuesAround(subject: Subject, tests: readonly Test[]): FieldValue[] {
  const named = tests.flatMap(({ value }) => (value === undefined ? [] : [value].flat()))
  const none = subject.canBeAbsent ? [null] : []
  if (subject.all !== null) return [...subject.all, ...none]
  if (subject.type === 'string') return [...new Set(named), '\u0000 any other', ...none]
  const points = [...new Set(named.map(Number))].sort((left, right) => left - right)
  const step = subject.type === 'integer' ? 1 : 0.5
  const around = points.flatMap((point, at) => [point, at + 1 < points.length ? (point + points[at + 1]) / 2 : point])
  const wide = [...around, (points[0] ?? 0) - step, (points.at(-1) ?? 0) + step, ...points.map((point) => point + step)]
  const [low, high] = [
    Number.isFinite(subject.min) ? [subject.min] : [],
    Number.isFinite(subject.max) ? [subject.max] : [],
  ]
  const possible = [...wide, ...low, ...high].filter((value) => value >= subject.min && value <= subject.max)
  const fitting = subject.type === 'integer' ? possible.filter(Number.isInteger) : possible
  return [...new Set(fitting), ...none]
}
