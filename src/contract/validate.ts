// Bytes or a parsed value → Transaction, or every fault at once with its path. The fast path reads the usual shape
// straight from the bytes; whatever it does not know it hands to the general path, which alone decides and words
// faults. Both are made from one declaration and proven equal by test/contract/validate-fuzz. No value is ever echoed.
import { TypeCompiler } from '@sinclair/typebox/compiler'
import type { TObject } from '@sinclair/typebox'
import { type ErrorCode, reject, type Rejection } from '../errors.js'
import type { Limits } from '../limits.js'
import { holdsCardData, isCardDataName } from './card-data.js'
import { childPath, FaultList, parseJson } from './json.js'
import { compileCurrencies, type ToBase } from './money.js'
import { isRejection } from './problem.js'
import { createInstant, isEpochMs, parseRfc3339, TIME_ALLOWED } from './time.js'
import type { FieldValue, Transaction } from './transaction.js'
import { CORE_FIELDS, transactionJsonSchema } from './transaction-schema.js'
import { compileByteParser, type TransactionPolicy } from './validate-bytes.js'

export { isRejection } from './problem.js'

export interface TransactionValidator {
  /** One transaction from the bytes of a JSON body; nothing is kept of them. */
  parse(bytes: Uint8Array, nowMs: number): Transaction | Rejection
  /** One that is parsed already: a row of a batch, or decoded from Avro (see `parseJson` for what a text must keep). */
  check(value: unknown, nowMs: number): Transaction | Rejection
  /** `parse` without its fast path: the reference that tests compare with. */
  parseGeneral(bytes: Uint8Array, nowMs: number): Transaction | Rejection
  /** The JSON Schema of a transaction, for OpenAPI. */
  readonly schema: TObject
  /** How often a field that is not declared was dropped, by name; names beyond the bound count together as `*`. */
  readonly dropped: ReadonlyMap<string, number>
}

interface Plan {
  readonly policy: TransactionPolicy
  readonly limits: Limits
  readonly schema: TObject
  readonly known: ReadonlySet<string>
  /** Pattern of a declared identifier, by name. */
  readonly identifiers: ReadonlyMap<string, RegExp>
  readonly toBase: ReadonlyMap<string, ToBase>
}

/** Compiles the validator of a policy. Throws a RangeError where the currencies or a pattern do not compile. */
export function compileTransaction(policy: TransactionPolicy, limits: Limits): TransactionValidator {
  const schema = transactionJsonSchema(policy.schema, limits)
  const known = new Set([...CORE_FIELDS, ...policy.schema.fields.map((field) => field.name)])
  const identifiers = new Map(
    policy.schema.fields.flatMap(({ name, identifier: text }) =>
      text === undefined ? [] : [[name, new RegExp(text)] as const],
    ),
  )
  const plan: Plan = { policy, limits, schema, known, identifiers, toBase: compileCurrencies(policy.currencies) }
  const checker = TypeCompiler.Compile(schema)
  const dropped = new Map<string, number>()
  const parseBytes = compileByteParser({ policy, limits, toBase: plan.toBase })

  const check = (value: unknown, nowMs: number): Transaction | Rejection => {
    if (!isPlainObject(value)) return schemaFault(new FaultList(1), 'a JSON object')
    const faults = new Faults(limits.faultsMax)
    if (!checker.Check(value)) {
      for (const { path } of checker.Errors(value)) if (!faults.schema(...allowedAt(plan, path))) break
    }
    searchCardData(plan, value, faults)
    const transaction = build(plan, value, faults, nowMs)
    if (transaction === null || faults.code !== null) return faults.rejection()
    if (policy.schema.unknown_fields === 'drop') countDropped(dropped, plan, value)
    return transaction
  }
  const parseGeneral = (bytes: Uint8Array, nowMs: number): Transaction | Rejection => {
    const parsed = parseJson(bytes, limits)
    return isRejection(parsed) ? parsed : check(parsed.value, nowMs)
  }
  const parse = (bytes: Uint8Array, nowMs: number) => parseBytes(bytes, nowMs) ?? parseGeneral(bytes, nowMs)
  return { parse, check, parseGeneral, schema, dropped }
}

type Input = Record<string, unknown>

function isPlainObject(value: unknown): value is Input {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !ArrayBuffer.isView(value)
}

function schemaFault(faults: FaultList, message: string): Rejection {
  faults.add('', message)
  return reject('ASSAY_SCHEMA_INVALID', 'The input does not fit the schema', faults.list)
}

/** Which code stands for all faults together: what is never accepted first, then the schema, then single values. */
const CODE_ORDER: readonly ErrorCode[] = [
  'ASSAY_CARD_DATA_REFUSED',
  'ASSAY_SCHEMA_INVALID',
  'ASSAY_CURRENCY_UNLISTED',
  'ASSAY_TIME_IN_FUTURE',
]

const DETAILS: { readonly [code in ErrorCode]?: string } = {
  ASSAY_CARD_DATA_REFUSED: 'Card numbers, CVV, PIN and track data are never accepted; send a token instead',
  ASSAY_SCHEMA_INVALID: 'The input does not fit the schema',
  ASSAY_CURRENCY_UNLISTED: 'The currency is not listed in the policy',
  ASSAY_TIME_IN_FUTURE: 'occurred_at lies too far ahead of the clock of the server',
}

class Faults {
  private readonly faults: FaultList
  private readonly cards: FaultList
  code: ErrorCode | null = null

  constructor(max: number) {
    this.faults = new FaultList(max)
    this.cards = new FaultList(max)
  }

  schema(path: string, message: string): boolean {
    return this.add('ASSAY_SCHEMA_INVALID', path, message)
  }

  add(code: ErrorCode, path: string, message: string): boolean {
    if (this.code === null || CODE_ORDER.indexOf(code) < CODE_ORDER.indexOf(this.code)) this.code = code
    return (code === 'ASSAY_CARD_DATA_REFUSED' ? this.cards : this.faults).add(path, message)
  }

  rejection(): Rejection {
    const code = this.code ?? 'ASSAY_SCHEMA_INVALID'
    return reject(code, DETAILS[code] ?? '', [...this.cards.list, ...this.faults.list])
  }
}

/** Path and allowed values for a fault that the compiled schema found. */
function allowedAt(plan: Plan, path: string): [string, string] {
  const name = path.slice(1).replaceAll('~1', '/').replaceAll('~0', '~')
  if (!plan.known.has(name)) return [childPath('', name), 'a field that the schema does not declare']
  return [`/${name}`, plan.schema.properties[name]?.description ?? 'a value that fits the schema']
}

/** Looks into names and values at every depth; times, amounts and identifiers that match their pattern are exempt. */
function searchCardData(plan: Plan, input: Input, faults: Faults): void {
  for (const name of Object.keys(input)) {
    const value = input[name]
    const path = plan.known.has(name) ? `/${name}` : childPath('', name)
    if (!plan.known.has(name)) searchName(name, path, faults)
    if (!isExempt(plan, name, value)) searchValue(value, { path, depth: plan.limits.jsonDepthMax }, faults)
  }
}

/** Exempt only as what it is declared to be: a text in the place of an amount is searched like any other. */
function isExempt(plan: Plan, name: string, value: unknown): boolean {
  if (name === 'amount_minor') return typeof value === 'number'
  if (name === 'occurred_at')
    return typeof value === 'number' || (typeof value === 'string' && parseRfc3339(value, createInstant()))
  return typeof value === 'string' && plan.identifiers.get(name)?.test(value) === true
}

const NO_CARD_DATA = 'no card data'

function searchName(name: string, path: string, faults: Faults): void {
  if (isCardDataName(name) || holdsCardData(name)) faults.add('ASSAY_CARD_DATA_REFUSED', path, NO_CARD_DATA)
}

function searchValue(value: unknown, place: { path: string; depth: number }, faults: Faults): void {
  if (typeof value === 'string' || typeof value === 'number') {
    if (holdsCardData(String(value))) faults.add('ASSAY_CARD_DATA_REFUSED', place.path, NO_CARD_DATA)
    return
  }
  if (typeof value !== 'object' || value === null) return
  if (place.depth === 0) {
    faults.schema(place.path, 'fewer levels')
    return
  }
  for (const [name, member] of Object.entries(value)) {
    const path = Array.isArray(value) ? `${place.path}/${name}` : childPath(place.path, name)
    if (!Array.isArray(value)) searchName(name, path, faults)
    searchValue(member, { path, depth: place.depth - 1 }, faults)
  }
}

/** The transaction, or null where its core is not there; single values that are refused are noted in `faults`. */
function build(plan: Plan, input: Input, faults: Faults, nowMs: number): Transaction | null {
  const { policy, limits } = plan
  const time = readTime(input.occurred_at)
  if (time === null) faults.schema('/occurred_at', TIME_ALLOWED)
  else if (policy.clock === 'live' && time.occurredAtMs > nowMs + limits.clockAheadMsMax) {
    faults.add('ASSAY_TIME_IN_FUTURE', '/occurred_at', `at most ${limits.clockAheadMsMax} ms ahead of the server`)
  }
  const { currency, amount_minor: amount, transaction_id: id } = input
  const amountBase =
    typeof currency === 'string' && typeof amount === 'number' ? toBase(plan, currency, amount, faults) : NaN
  checkText(plan, input, faults)
  if (time === null || typeof id !== 'string' || typeof amount !== 'number' || typeof currency !== 'string') return null
  const fields: FieldValue[] = []
  for (const { name } of policy.schema.fields) fields.push(fieldValue(input, name))
  return {
    transactionId: id,
    occurredAtMs: time.occurredAtMs,
    offsetMinutes: time.offsetMinutes,
    amountMinor: amount + 0,
    currency,
    amountBaseMinor: amountBase,
    fields,
  }
}

/** A checked value of a declared field; -0 becomes 0, as a canonical form must not tell them apart. */
function fieldValue(input: Input, name: string): FieldValue {
  const value = Object.hasOwn(input, name) ? (input[name] as FieldValue | undefined) : null
  return typeof value === 'number' ? value + 0 : (value ?? null)
}

function readTime(value: unknown): ReturnType<typeof createInstant> | null {
  const target = createInstant()
  if (typeof value === 'string') return parseRfc3339(value, target) ? target : null
  if (typeof value !== 'number' || !isEpochMs(value)) return null
  target.occurredAtMs = value
  return target
}

function toBase(plan: Plan, currency: string, amount: number, faults: Faults): number {
  const convert = plan.toBase.get(currency)
  if (convert === undefined) {
    if (/^[A-Z]{3}$/.test(currency) && plan.policy.currencies.unlisted === 'refuse') {
      faults.add('ASSAY_CURRENCY_UNLISTED', '/currency', 'a currency that the policy lists')
    }
    return NaN
  }
  if (!(Number.isInteger(amount) && amount >= 0 && amount <= plan.limits.amountMinorMax)) return NaN
  const base = convert(amount)
  if (Number.isNaN(base)) faults.schema('/amount_minor', 'an amount that the base currency can hold')
  return base
}

const LONE_SURROGATE = /\p{Surrogate}/u

/** What the schema cannot say of texts: whole Unicode, and together no longer than a record can hold. */
function checkText(plan: Plan, input: Input, faults: Faults): void {
  let bytes = 0
  for (const name of plan.known) {
    const value = Object.hasOwn(input, name) ? input[name] : undefined
    if (typeof value !== 'string') continue
    bytes += Buffer.byteLength(value)
    if (LONE_SURROGATE.test(value)) faults.schema(`/${name}`, 'a text of whole Unicode characters')
  }
  const { transactionTextBytesMax } = plan.limits
  if (bytes > transactionTextBytesMax) faults.schema('', `texts of at most ${transactionTextBytesMax} bytes together`)
}

function countDropped(dropped: Map<string, number>, plan: Plan, input: Input): void {
  for (const name of Object.keys(input)) {
    if (plan.known.has(name)) continue
    const shown = childPath('', name).slice(1)
    const key = dropped.has(shown) || dropped.size < plan.limits.unknownNamesMax ? shown : '*'
    dropped.set(key, (dropped.get(key) ?? 0) + 1)
  }
}
