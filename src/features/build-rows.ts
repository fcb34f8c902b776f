// From a foreign row to what the state folds: a transaction by the server's own validation, and what its label columns
// hold. Amounts in major units are taken exactly, never rounded.
import { isRejection } from '../contract/problem.js'
import { createInstant, isEpochMs, parseRfc3339, TIME_ALLOWED } from '../contract/time.js'
import type { Transaction, TransactionSchema } from '../contract/transaction.js'
import { CORE_FIELDS } from '../contract/transaction-schema.js'
import { compileTransaction } from '../contract/validate.js'
import { AssayError, faultsText, type InputFault, type Rejection } from '../errors.js'
import type { Limits } from '../limits.js'
import type { BuildSpec } from './build-spec.js'
import { booleanValue, type ColumnMap, readRowBatches, type Row, typedValue } from './read-rows.js'

export interface BuildRow {
  readonly number: number
  readonly tx: Transaction
  /** Of the label columns `fraud` and `approved`; null where the file has none or the row says nothing. */
  readonly fraud: boolean | null
  readonly approved: boolean | null
}

/** A row under our names, as a client would send it; not validated. */
export interface ForeignRow extends Pick<BuildRow, 'number' | 'fraud' | 'approved'> {
  readonly values: Readonly<Record<string, unknown>>
}

/** A file of transactions, and which of its columns stand for our names. */
export interface Transactions {
  readonly path: string
  readonly columns: ColumnMap
}

/** What a row means follows from these parts of a policy. */
export type RowSpec = Pick<BuildSpec, 'schema' | 'currencies'>

/** Streams transactions, validated as the server does it. Throws ASSAY_INPUT_INVALID with row and path. */
export async function* readTransactions(input: Transactions, spec: RowSpec, limits: Limits): AsyncGenerator<BuildRow> {
  const { schema, currencies } = spec
  // History lies where it lies: no clock of today has a say in it.
  const validator = compileTransaction({ schema, currencies, clock: 'replay' }, limits)
  for await (const rows of readForeign(input, spec)) {
    for (const { number, values, fraud, approved } of rows) {
      const tx = validator.check(values, 0)
      if (isRejection(tx)) throw inputFault(`${input.path}, row ${number}`, tx)
      yield { number, tx, fraud, approved }
    }
  }
}

/** What is wrong with the input at a place, as a coded error. */
export function inputFault(place: string, { detail, errors }: Rejection): AssayError {
  return new AssayError('ASSAY_INPUT_INVALID', `${place}: ${detail}: ${faultsText(errors)}`, { errors })
}

/**
 * Streams the rows, many at once, amounts in minor units, texts as the types that are declared. Throws
 * ASSAY_INPUT_INVALID.
 */
export async function* readForeign(input: Transactions, spec: RowSpec): AsyncGenerator<ForeignRow[]> {
  const columns = labelColumns(spec.schema)
  for await (const rows of readRowBatches(input.path, transactionNames(spec.schema), input.columns)) {
    yield rows.map((row) => foreignRow(row, spec, { columns, name: input.path }))
  }
}

function foreignRow(
  { number, values: given }: Row,
  spec: RowSpec,
  { columns, name: file }: { readonly columns: readonly LabelColumn[]; readonly name: string },
): ForeignRow {
  const place = (path: string): string => `${file}, row ${number}: ${path}`
  const labels: Record<LabelColumn, boolean | null> = { fraud: null, approved: null }
  for (const name of columns) {
    const value = given[name]
    if (value !== undefined) labels[name] = readBoolean(value, place(`/${name}`))
  }
  const { values, fault } = asSent(given, spec, columns)
  if (fault !== null) throw new AssayError('ASSAY_INPUT_INVALID', `${place(fault.path)}: ${fault.message}`)
  return { number, values, fraud: labels.fraud, approved: labels.approved }
}

const LABEL_COLUMNS = ['fraud', 'approved'] as const
type LabelColumn = (typeof LABEL_COLUMNS)[number]

/** Columns of a file that are labels: those that the schema does not declare as fields. */
export function labelColumns({ fields }: TransactionSchema): LabelColumn[] {
  return LABEL_COLUMNS.filter((name) => !fields.some((field) => field.name === name))
}

/** Names of ours that may stand in a file of transactions. */
export function transactionNames(schema: TransactionSchema): Set<string> {
  return new Set([...CORE_FIELDS, 'amount', ...LABEL_COLUMNS, ...schema.fields.map((field) => field.name)])
}

/**
 * The values of a row as a client would send them: without its labels, the amount in minor units, texts as the types
 * that the schema declares. `fault` says that `amount` is no whole number of minor units; then there is none.
 */
export function asSent(
  given: Readonly<Record<string, unknown>>,
  { schema, currencies }: RowSpec,
  labels: readonly LabelColumn[],
): { readonly values: Record<string, unknown>; readonly fault: InputFault | null } {
  const { amount } = given
  // Name by name: a rest of the object, and deleting from it, took three times as long as reading the row.
  const values: Record<string, unknown> = {}
  for (const name in given) {
    if (name !== 'amount' && !labels.some((label) => label === name)) values[name] = given[name]
  }
  let fault: InputFault | null = null
  const time = values.occurred_at
  if (typeof time === 'string' && /^\d+$/.test(time)) values.occurred_at = Number(time)
  if (values.amount_minor !== undefined) values.amount_minor = typedValue(values.amount_minor, 'integer')
  else if (amount !== undefined) {
    const exponent = currencies.list[String(values.currency)]?.exponent ?? 2
    const minor = minorUnits(amount, exponent)
    if (minor === null) fault = { path: '/amount', message: `a number with at most ${exponent} decimals` }
    else values.amount_minor = minor
  }
  if (typeof values.transaction_id === 'number') values.transaction_id = String(values.transaction_id)
  for (const { name, type } of schema.fields) {
    if (values[name] !== undefined) values[name] = typedValue(values[name], type)
  }
  return { values, fault }
}

/** `163.64` at two decimals → 16364; null for what is no whole number of minor units. */
export function minorUnits(amount: unknown, exponent: number): number | null {
  const text = typeof amount === 'number' ? String(amount) : amount
  const scaled = typeof text === 'string' && text.trim() !== '' ? Number(text) * 10 ** exponent : NaN
  const whole = Math.round(scaled)
  // A decimal text times a power of ten is off by the last bits of the product at most.
  const isWhole = Number.isSafeInteger(whole) && Math.abs(scaled - whole) <= Math.max(1e-9, Math.abs(scaled) * 1e-12)
  return isWhole ? whole : null
}

/** Throws ASSAY_INPUT_INVALID naming the place. */
export function readBoolean(value: unknown, place: string): boolean {
  const read = booleanValue(value)
  if (read === null) throw new AssayError('ASSAY_INPUT_INVALID', `${place}: 0, 1, true or false`)
  return read
}

/** RFC 3339 or epoch milliseconds → ms. Throws ASSAY_INPUT_INVALID naming the place. */
export function readTime(value: unknown, place: string): number {
  const instant = createInstant()
  if (typeof value === 'string' && parseRfc3339(value, instant)) return instant.occurredAtMs
  const number = typeof value === 'string' || typeof value === 'number' ? Number(value) : NaN
  if (isEpochMs(number)) return number
  throw new AssayError('ASSAY_INPUT_INVALID', `${place}: ${TIME_ALLOWED}`)
}
