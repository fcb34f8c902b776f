// The command line of `assay features build`: options in, a report on stderr out. Exit codes: 0 done, 2 misuse,
// 1 anything else, each with its code from the error table.
import { parseArgs } from 'node:util'
import { AssayError } from '../errors.js'
import { LIMITS } from '../limits.js'
import { buildFeatures, type BuildOptions, type ReplayReport } from './replay.js'
import { describeReplay, REPLAY_HELP, REPLAY_OPTIONS, replayOptions } from './replay-options.js'

export const BUILD_HELP = `assay features build --spec SPEC --in TRANSACTIONS --out FILE [options]

Replays history through the feature code of the server and writes one row of features per transaction, in float64.

  --spec FILE           a policy (JSON or YAML), or a catalogue alone
${REPLAY_HELP}\
  --out FILE            .csv, .csv.gz, .jsonl, .jsonl.gz or .parquet
  --from T, --until T   write only rows with from <= occurred_at < until; the others still fill the windows
  --json                print the report as JSON on stdout
  --help                this text

A label column (fraud) becomes known after the delay that the spec names, and is copied to the output.
`

const OPTIONS = {
  ...REPLAY_OPTIONS,
  out: { type: 'string' },
  json: { type: 'boolean', default: false },
  help: { type: 'boolean', short: 'h', default: false },
} as const

/** Runs the command; resolves to its exit code: 0 done, 2 misuse, 1 a fault. */
export async function buildCommand(args: readonly string[]): Promise<number> {
  if (args.includes('--help') || args.includes('-h')) {
    process.stdout.write(BUILD_HELP)
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
  const options: BuildOptions = { ...replayOptions(input, spec, values), out }
  return { options, json: values.json }
}

function parse(args: readonly string[]) {
  try {
    return parseArgs({ args: [...args], options: OPTIONS, allowPositionals: false }).values
  } catch (cause) {
    throw new AssayError('ASSAY_USAGE', cause instanceof Error ? cause.message : 'unknown option', { cause })
  }
}

function describe(report: ReplayReport, options: BuildOptions, ms: number): string {
  const { state } = report
  const lines = [
    `${report.rows} transactions folded, ${report.written} rows of ${report.features} features written to ${options.out}`,
    ...describeReplay(report, options),
    `state: ${Object.entries(state.entities)
      .map(([name, count]) => `${count} ${name}`)
      .join(', ')}; ${state.events} events, ${Math.round(state.bytes / 1024)} KiB, ${state.evictions} evictions`,
    `${Math.round(ms)} ms`,
  ]
  return `${lines.join('\n')}\n`
}
