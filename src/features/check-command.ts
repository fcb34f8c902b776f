// The command line of `assay features check`: options in, a comparison on stdout out. Exit codes: 0 everything equal,
// 1 differences, or an error with its code, 2 misuse.
import { parseArgs } from 'node:util'
import { AssayError } from '../errors.js'
import { LIMITS } from '../limits.js'
import { effectiveSpec } from './build-spec.js'
import {
  checkFeatures,
  type CheckOptions,
  type CheckReport,
  type FeatureReport,
  type Shown,
} from './compare-features.js'
import { parseColumns } from './read-rows.js'
import { describeReplay, REPLAY_HELP, REPLAY_OPTIONS, replayOptions } from './replay-options.js'

export const CHECK_HELP = `assay features check --in TRANSACTIONS --expect FEATURES [options]

Replays history through the feature code of the server, as \`features build\` does, and compares each row with the one
that a trainer has made for the same transaction. Says of each feature how far the two lie apart, in how many rows they
differ, and where first.

  --expect FILE         the trainer's features with transaction_id, in any order: .csv, .csv.gz, .jsonl, .jsonl.gz
  --feature-columns L   foreign names in that file: transaction_id=ID,customer_count_1d=NB_TX_1DAY
  --spec FILE           a policy (JSON or YAML), or a catalogue alone; default: the policy of the configuration
${REPLAY_HELP}\
  --from T, --until T   compare only rows with from <= occurred_at < until; the others still fill the windows
  --steps N             how many steps of the type fed two values may lie apart; default 1. A step of float32 leads to
                        the next number that float32 can hold; int64 must be equal
  --absolute X          values are equal, too, where they differ by at most X
  --relative X          or by at most this share of the larger one
  --json                print the comparison as JSON
  --help                this text

An empty field, null and NaN are the same: nothing is known. Rows on one side only are counted, and the first are named;
a row of FEATURES without its transaction counts as a difference. FEATURES is held in memory, 8 bytes for a feature of
the spec and some 100 for a row, ${LIMITS.checkBytesMax >>> 20} MiB at most; transactions are streamed.

exit codes: 0 everything equal · 1 differences, or an error with its code on stderr · 2 the command line is not valid
`

const OPTIONS = {
  ...REPLAY_OPTIONS,
  expect: { type: 'string' },
  'feature-columns': { type: 'string', default: '' },
  steps: { type: 'string', default: '1' },
  absolute: { type: 'string', default: '0' },
  relative: { type: 'string', default: '0' },
  json: { type: 'boolean', default: false },
  help: { type: 'boolean', short: 'h', default: false },
} as const

/** Runs the command; resolves to its exit code. Throws AssayError, ASSAY_USAGE for a bad command line. */
export async function checkCommand(args: readonly string[]): Promise<number> {
  const values = parse(args)
  if (values.help) {
    process.stdout.write(CHECK_HELP)
    return 0
  }
  const options = readOptions(values)
  const report = await checkFeatures(options, LIMITS)
  process.stdout.write(values.json ? `${JSON.stringify(report)}\n` : describe(report, options))
  return report.equal ? 0 : 1
}

function parse(args: readonly string[]) {
  try {
    return parseArgs({ args: [...args], options: OPTIONS, allowPositionals: false }).values
  } catch (cause) {
    throw new AssayError('ASSAY_USAGE', cause instanceof Error ? cause.message : 'unknown option', { cause })
  }
}

function readOptions(values: ReturnType<typeof parse>): CheckOptions {
  const { in: input, expect } = values
  if (input === undefined || expect === undefined) {
    throw new AssayError('ASSAY_USAGE', '--in and --expect are needed; --help says more')
  }
  const steps = numberOption(values.steps, '--steps')
  const [absolute, relative] = [
    numberOption(values.absolute, '--absolute'),
    numberOption(values.relative, '--relative'),
  ]
  return {
    ...replayOptions(input, values.spec ?? effectiveSpec(process.env), values),
    expect,
    featureColumns: parseColumns(values['feature-columns'], '--feature-columns'),
    tolerance: { steps, absolute, relative },
  }
}

function numberOption(text: string, name: string): number {
  const number = text.trim() === '' ? NaN : Number(text)
  if (Number.isFinite(number) && number >= 0) return number
  throw new AssayError('ASSAY_USAGE', `${name}: a number from 0 on`)
}

function describe(report: CheckReport, options: CheckOptions): string {
  const { features, only_in_features: theirs, only_in_transactions: ours } = report
  const ids = theirs.first.map(({ row, transaction_id: id }) => `${id} (row ${row})`)
  const lines = [
    ...table(features),
    ...features.flatMap(differences),
    `${report.rows} rows compared` + (report.rows_outside > 0 ? `, ${report.rows_outside} lie outside the range` : ''),
    `only in ${options.expect}: ${theirs.rows}${named(ids, theirs.rows)}`,
    `only in ${options.input}: ${ours.rows}${named(ours.first, ours.rows)}`,
    `features of ours that the file lacks: ${report.features_lacking.join(', ') || 'none'}`,
    `columns that are no feature of ours: ${report.columns_unknown.join(', ') || 'none'}`,
    ...describeReplay(report.replay, options),
    report.equal ? 'equal' : 'not equal',
  ]
  return `${lines.join('\n')}\n`
}

function named(first: readonly string[], rows: number): string {
  return rows === 0 ? '' : `: ${first.join(', ')}${rows > first.length ? ' …' : ''}`
}

function table(features: readonly FeatureReport[]): string[] {
  const rows = features.map((each) => [
    each.feature,
    each.column,
    String(each.differing),
    each.differing === 0 ? '0 %' : `${(each.share * 100).toPrecision(2)} %`,
    each.largest_difference === 0 ? '0' : each.largest_difference.toPrecision(3),
    String(each.largest_steps),
    String(each.one_sided),
  ])
  const all = [['feature', 'column', 'differing', 'share', 'largest', 'steps', 'one-sided'], ...rows]
  const widths = all[0].map((_, at) => Math.max(...all.map((row) => row[at].length)))
  // Names to the left, numbers to the right.
  return all.map((row) =>
    row.map((cell, at) => (at < 2 ? cell.padEnd(widths[at]) : cell.padStart(widths[at]))).join('  '),
  )
}

function differences({ feature, first }: FeatureReport): string[] {
  return first.map(({ row, transaction_id: id, ours, theirs }) => {
    return `${feature}: row ${row}, transaction ${id}: ours ${value(ours)}, theirs ${value(theirs)}`
  })
}

function value(given: Shown): string {
  return given === null ? 'nothing' : String(given)
}
