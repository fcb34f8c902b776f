// The command line of `assay features build`: options in, a report on stderr out. Exit codes: 0 done, 2 misuse,
// 1 anything else, each with its code from the error table.
import { parseArgs } from 'node:util'
import { AssayError } from '../errors.js'
import { LIMITS } from '../limits.js'
import { buildFeatures, type BuildOptions, type BuildReport } from './replay.js'
import { readTime } from './build-rows.js'
import { durationMs } from './check.js'
import { parseColumns } from './read-rows.js'

const HELP = `assay features build --spec SPEC --in TRANSACTIONS --out FILE [options]

Replays history through the feature code of the server and writes one row of features per transaction, in float64.

  --spec FILE           a policy (JSON or YAML), or a catalogue alone
  --in FILE             transactions in event order: .csv, .csv.gz, .jsonl, .jsonl.gz
  --out FILE            .csv, .csv.gz, .jsonl, .jsonl.gz or .parquet
  --columns LIST        foreign names: transaction_id=TRANSACTION_ID,amount=TX_AMOUNT,fraud=TX_FRAUD; currency=:EUR is a
                        constant; amount is in major units, amount_minor in minor units
  --labels FILE         labels with transaction_id, fraud, known_at and perhaps source; they act from known_at
  --label-columns LIST  foreign names in that file
  --label-delay D       when a label column becomes known, such as 7d; default: the largest delay of a label rate
  --from T, --until T   write only rows with from <= occurred_at < until; the others still fill the windows
  --json                print the report as JSON on stdout
  --help                this text

A label column (fraud) becomes known after the delay that the spec names, and is copied to the output.
`

const OPTIONS = {
  spec: { type: 'string' },
  in: { type: 'string' },
  out: { type: 'string' },
  columns: { type: 'string', default: '' },
  labels: { type: 'string' },
  'label-columns': { type: 'string', default: '' },
  'label-delay': { type: 'string' },
  from: { type: 'string' },
  until: { type: 'string' },
  json: { type: 'boolean', default: false },
  help: { type: 'boolean', short: 'h', default: false },
} as const

/** Runs the command; resolves to its exit code: 0 done, 2 misuse, 1 a fault. */
export async function featuresCommand(args: readonly string[]): Promise<number> {
  if (args.includes('--help') || args.includes('-h')) {
    process.stdout.write(HELP)
    return 0
  }
  try {
    const { options, json } = readOptions(args)
    const startMs = performance.now()
    const report = await buildFeatures(options, LIMITS)
    process.stderr.write(describe(report, options, performance.now() - startMs))
    if (json) process.stdout.write(`${JSON.stringify(report)}\n`)
    return 0
  } catch (error) {
    const code = error instanceof AssayError ? error.code : 'ASSAY_INPUT_INVALID'
    process.stderr.write(`${code}: ${error instanceof Error ? error.message : String(error)}\n`)
    return code === 'ASSAY_USAGE' ? 2 : 1
  }
}

function readOptions(args: readonly string[]): { options: BuildOptions; json: boolean } {
  const values = parse(args)
  const { spec, in: input, out } = values
  if (spec === undefined || input === undefined || out === undefined) {
    throw new AssayError('ASSAY_USAGE', '--spec, --in and --out are needed; --help says more')
  }
  const delay = values['label-delay']
  const labelDelayMs = delay === undefined ? null : durationMs(delay)
  if (Number.isNaN(labelDelayMs)) throw new AssayError('ASSAY_USAGE', '--label-delay: a duration such as 7d')
  const options: BuildOptions = {
    spec,
    input,
    out,
    labels: values.labels ?? null,
    columns: parseColumns(values.columns),
    labelColumns: parseColumns(values['label-columns']),
    fromMs: values.from === undefined ? -Infinity : timeOption(values.from, '--from'),
    untilMs: values.until === undefined ? Infinity : timeOption(values.until, '--until'),
    labelDelayMs,
  }
  return { options, json: values.json }
}

function parse(args: readonly string[]) {
  try {
    return parseArgs({ args: [...args], options: OPTIONS, allowPositionals: false }).values
  } catch (cause) {
    throw new AssayError('ASSAY_USAGE', cause instanceof Error ? cause.message : 'unknown option', { cause })
  }
}

function timeOption(text: string, name: string): number {
  try {
    // A date alone means its first instant in UTC.
    return readTime(/^\d{4}-\d{2}-\d{2}$/.test(text) ? `${text}T00:00:00Z` : text, name)
  } catch (cause) {
    throw new AssayError('ASSAY_USAGE', cause instanceof Error ? cause.message : name, { cause })
  }
}

function describe(report: BuildReport, options: BuildOptions, ms: number): string {
  const { state, flagged } = report
  const days = report.labelDelayMs / 86_400_000
  const labels = {
    none: 'no labels were used',
    column: `the label column became known ${days} days after the event; ${report.labelsFolded} labels folded`,
    file: `labels of ${options.labels} acted from known_at; ${report.labelsFolded} folded, ${report.labelsUnmatched} found no transaction`,
  }[report.labels]
  const flags = Object.entries(flagged).filter(([, rows]) => rows > 0)
  const lines = [
    `${report.rows} transactions folded, ${report.written} rows of ${report.features} features written to ${options.out}`,
    `catalogue ${report.catalogue}`,
    ...(report.inferred === null ? [] : [report.inferred]),
    labels,
    report.warmFromMs === null
      ? 'no feature looks back'
      : `every window is full from ${new Date(report.warmFromMs).toISOString()} on; before it rows are cold`,
    `written rows flagged: ${flags.length === 0 ? 'none' : flags.map(([name, rows]) => `${name} ${rows}`).join(', ')}`,
    `state: ${Object.entries(state.entities)
      .map(([name, count]) => `${count} ${name}`)
      .join(', ')}; ${state.events} events, ${Math.round(state.bytes / 1024)} KiB, ${state.evictions} evictions`,
    `${Math.round(ms)} ms`,
  ]
  return `${lines.join('\n')}\n`
}
