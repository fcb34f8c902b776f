// `assay schema try`: the validator of the server over a file of one's own, before the first request: how many rows it
// would refuse, with which code, and at which path. Nothing is scored or kept, and no value is ever printed: what is
// refused may be card data. Streams; what is counted apart is bounded.
import { parseArgs } from 'node:util'
import { type Config, loadConfig } from './config.js'
import { compileTransaction, isRejection, type TransactionValidator } from './contract/validate.js'
import { AssayError, type ErrorCode, ERRORS, type InputFault, reject, type Rejection } from './errors.js'
import { asSent, labelColumns, transactionNames } from './features/build-rows.js'
import {
  type ColumnMap,
  isJsonLines,
  parseColumns,
  readBodies,
  readRows,
  ROW_BYTES_MAX,
  watchColumns,
} from './features/read-rows.js'
import { LIMITS } from './limits.js'
import { type Clock, systemClock } from './runtime/clock.js'

const HELP = `assay schema try --in FILE [--columns LIST] [--config FILE] [--json]
    how many of your own values the schema of the policy would refuse, and why: counts by code and path, with the
    numbers of the first rows. Values are never printed

  --in FILE       .csv, .csv.gz, .jsonl or .jsonl.gz. Without --columns each line of .jsonl is a transaction as it would
                  be sent, unknown fields included; columns of a csv that are not ours are passed over, and named
  --columns LIST  foreign names: transaction_id=TRANSACTION_ID,amount=TX_AMOUNT; currency=:EUR is a constant; amount is
                  in major units, amount_minor in minor units; columns fraud and approved are
                  passed over
  --config FILE   the configuration whose policy is tried; default: ASSAY_CONFIG, else the defaults

A row counts once, under the code that it would be answered with, and once under each path that the answer names.
Repeats of a transaction_id are no matter of the schema.
exit codes: 0 no row would be refused · 1 some would, or an error with its code on stderr · 2 the command line is not
valid
`

/** Rows named for each reason. */
const FIRST_MAX = 5
/** Reasons counted apart: a schema has no more fields, and of names that it does not know some. */
const REASONS_MAX = LIMITS.fieldsMax + LIMITS.unknownNamesMax

export interface Reason {
  /** RFC 6901; empty for the whole row; `*` for all that are no longer counted apart. */
  readonly path: string
  /** What is allowed there. */
  readonly message: string
  readonly rows: number
  readonly first: readonly number[]
}

export interface TryReport {
  readonly rows: number
  readonly refused: number
  readonly codes: readonly { readonly code: ErrorCode; readonly rows: number; readonly reasons: readonly Reason[] }[]
  /** Fields that the policy says to drop, and how many rows had them. */
  readonly dropped: readonly { readonly name: string; readonly rows: number }[]
  readonly columns_unknown: readonly string[]
}

export interface TryOptions {
  readonly input: string
  readonly columns: ColumnMap
  readonly policy: Config['policy']
}

/** Runs `assay schema`; resolves to its exit code. Throws AssayError, ASSAY_USAGE for a bad command line. */
export async function schemaCommand(args: readonly string[]): Promise<number> {
  const { values, positionals } = parse(args)
  if (values.help === true) {
    process.stdout.write(HELP)
    return 0
  }
  const { in: input } = values
  if (positionals.join(' ') !== 'try' || input === undefined) {
    throw new AssayError('ASSAY_USAGE', 'expected `schema try --in FILE`; see `assay schema --help`')
  }
  const { policy } = loadConfig({ ...(values.config !== undefined && { file: values.config }), env: process.env })
  const report = await trySchema({ input, columns: parseColumns(values.columns ?? ''), policy }, systemClock)
  process.stdout.write(values.json === true ? `${JSON.stringify(report)}\n` : describe(report, input))
  return report.refused === 0 ? 0 : 1
}

function parse(args: readonly string[]) {
  const one = { type: 'string' } as const
  const flag = { type: 'boolean' } as const
  const options = { in: one, columns: one, config: one, json: flag, help: { ...flag, short: 'h' } } as const
  try {
    return parseArgs({ args: [...args], allowPositionals: true, options })
  } catch (cause) {
    throw new AssayError('ASSAY_USAGE', cause instanceof Error ? cause.message : String(cause), { cause })
  }
}

/** Validates every row. Throws ASSAY_INPUT_INVALID where the file cannot be read or has no row. */
export async function trySchema(options: TryOptions, clock: Clock): Promise<TryReport> {
  const { input, columns, policy } = options
  const names = transactionNames(policy.schema)
  for (const name of columns.keys()) {
    if (!names.has(name)) {
      throw new AssayError(
        'ASSAY_USAGE',
        `--columns: ${name} is no field of the schema; one of ${[...names].join(', ')}`,
      )
    }
  }
  const validator = compileTransaction(policy, LIMITS)
  const seen = watchColumns(names, columns, LIMITS.unknownNamesMax)
  const isRaw = isJsonLines(input) && columns.size === 0
  const refusals = isRaw
    ? tryBodies(input, validator, clock)
    : tryRows(options, { validator, clock, names, see: seen.see })
  const tally = new RefusalTally()
  for await (const { number, refusal } of refusals) tally.note(number, refusal)
  if (tally.rows === 0) throw new AssayError('ASSAY_INPUT_INVALID', `${input} has no row`)
  if (!isRaw && seen.known.size === 0 && ![...columns.values()].some((target) => 'column' in target)) {
    const detail = `no column is one of ${[...names].join(', ')}; --columns maps foreign names`
    throw new AssayError('ASSAY_INPUT_INVALID', `${input}: ${detail}`)
  }
  return {
    rows: tally.rows,
    refused: tally.refused,
    codes: tally.codes(),
    dropped: [...validator.dropped].map(([name, rows]) => ({ name, rows })),
    columns_unknown: [...seen.unknown],
  }
}

interface Tried {
  readonly number: number
  readonly refusal: Rejection | null
}

async function* tryBodies(input: string, validator: TransactionValidator, clock: Clock): AsyncGenerator<Tried> {
  for await (const { number, bytes } of readBodies(input)) {
    const result = bytes.length > ROW_BYTES_MAX ? tooLarge() : validator.parse(bytes, clock.nowMs())
    yield { number, refusal: isRejection(result) ? result : null }
  }
}

function tooLarge(): Rejection {
  const message = `at most ${ROW_BYTES_MAX} bytes`
  return reject('ASSAY_BODY_TOO_LARGE', message, [{ path: '', message }])
}

interface RowTrial {
  readonly validator: TransactionValidator
  readonly clock: Clock
  readonly names: ReadonlySet<string>
  readonly see: (columns: readonly string[]) => void
}

async function* tryRows(options: TryOptions, trial: RowTrial): AsyncGenerator<Tried> {
  const { input, columns, policy } = options
  const { validator, clock, names, see } = trial
  const labels = labelColumns(policy.schema)
  for await (const { number, values: given } of readRows(input, names, columns, { see })) {
    const { values, fault } = asSent(given, policy, labels)
    const result = validator.check(values, clock.nowMs())
    const refusal = isRejection(result) ? result : null
    yield { number, refusal: fault === null || refusal === null ? refusal : withAmount(refusal, fault) }
  }
}

/** An amount that became no minor units is told where it stands, not as the minor units that are missing for it. */
function withAmount(refusal: Rejection, fault: InputFault): Rejection {
  return { ...refusal, errors: [fault, ...refusal.errors.filter(({ path }) => path !== '/amount_minor')] }
}

interface Counted {
  readonly path: string
  readonly message: string
  rows: number
  readonly first: number[]
}

// A class: private state that only its own methods may change.
class RefusalTally {
  rows = 0
  refused = 0
  readonly #codes = new Map<ErrorCode, { rows: number; readonly reasons: Map<string, Counted> }>()
  #reasons = 0

  note(row: number, refusal: Rejection | null): void {
    this.rows++
    if (refusal === null) return
    this.refused++
    let code = this.#codes.get(refusal.code)
    if (code === undefined) this.#codes.set(refusal.code, (code = { rows: 0, reasons: new Map() }))
    code.rows++
    for (const fault of refusal.errors) {
      const reason = this.#reasonOf(code.reasons, fault)
      reason.rows++
      if (reason.first.length < FIRST_MAX) reason.first.push(row)
    }
  }

  /** The code that refuses most rows first, and its commonest reason. */
  codes(): TryReport['codes'] {
    return [...this.#codes]
      .map(([code, { rows, reasons }]) => ({ code, rows, reasons: [...reasons.values()].sort(byRows) }))
      .sort(byRows)
  }

  #reasonOf(reasons: Map<string, Counted>, fault: InputFault): Counted {
    // Where a text stops being JSON is no reason of its own.
    const message = fault.message.replace(/, at character \d+$/, '')
    const key = `${fault.path} ${message}`
    const known = reasons.get(key)
    if (known !== undefined) return known
    if (this.#reasons >= REASONS_MAX) return this.#rest(reasons)
    this.#reasons++
    const reason: Counted = { path: fault.path, message, rows: 0, first: [] }
    reasons.set(key, reason)
    return reason
  }

  #rest(reasons: Map<string, Counted>): Counted {
    const rest = reasons.get('*') ?? {
      path: '*',
      message: 'further reasons, each row as often as it has some',
      rows: 0,
      first: [],
    }
    reasons.set('*', rest)
    return rest
  }
}

function byRows(one: { readonly rows: number }, other: { readonly rows: number }): number {
  return other.rows - one.rows
}

function describe(report: TryReport, input: string): string {
  const { rows, refused } = report
  const share = `${((refused / rows) * 100).toPrecision(3)} %`
  const lines = [
    `${input}: ${rows} rows, ${refused === 0 ? 'none would be refused' : `${refused} would be refused (${share})`}`,
    ...report.codes.flatMap(({ code, rows: ofCode, reasons }) => [
      `${code}: ${ofCode} rows; ${ERRORS[code].message}`,
      ...reasons.map((reason) => `  ${reason.path || '/'}: ${reason.message}: ${reason.rows} rows, ${placed(reason)}`),
    ]),
    ...report.dropped.map(({ name, rows: with_ }) => `dropped: ${name}, in ${with_} rows`),
    ...(report.columns_unknown.length === 0 ? [] : [`columns passed over: ${report.columns_unknown.join(', ')}`]),
  ]
  return `${lines.join('\n')}\n`
}

function placed({ rows, first }: Reason): string {
  return `the first: ${first.join(', ')}${rows > first.length ? ' …' : ''}`
}
