// `assay decision verify`: says of decisions whether record, bundle and policy give them again.
import { parseArgs } from 'node:util'
import { loadConfig } from '../config.js'
import { parseDecisionId } from '../contract/decision.js'
import { firstSequenceOf } from '../decision-log/chain.js'
import { createDisk } from '../decision-log/disk.js'
import { AssayError } from '../errors.js'
import { logDirectory } from './restore.js'
import { type Selection, verifyDecisions, type Verdict } from './verify-decision.js'

const HELP = `assay decision verify ID [--data DIR] [--models DIR] [--json]
assay decision verify --since TIME --until TIME [--data DIR] [--models DIR] [--json]
    recompute score, thresholds and action from record, bundle and policy, of an inference the score; no server needed
    TIME is RFC 3339; DIR defaults to ASSAY_DATA_DIR (else ./data) and ASSAY_MODELS_DIR (else the package's models)

exit codes: 0 all equal · 1 a decision differs, cannot be recomputed or was not found · 2 the command line is not valid
`

/** Runs the command; resolves to its exit code. Throws AssayError, ASSAY_USAGE for a bad command line. */
export async function decisionCommand(args: readonly string[]): Promise<number> {
  const { values, positionals } = parse(args)
  if (values.help === true) {
    process.stdout.write(HELP)
    return 0
  }
  const selection = selectionOf(positionals, values)
  const { process: settings } = loadConfig({ env: process.env })
  const places = {
    directory: logDirectory(values.data ?? settings.data_dir),
    modelsDir: values.models ?? settings.models_dir,
  }
  const json = values.json === true
  const summary = await verifyDecisions(places, selection, (verdict) => print(verdict, json, 'id' in selection))
  const total = summary.equal + summary.differs + summary.unverifiable
  if (total === 0) throw new AssayError('ASSAY_INPUT_INVALID', `the log holds no such decision${begins(places)}`)
  const { equal, differs, unverifiable } = summary
  if (!('id' in selection)) {
    process.stderr.write(
      `${total} decisions: ${equal} equal, ${differs} differ, ${unverifiable} cannot be recomputed\n`,
    )
  }
  return equal === total ? 0 : 1
}

/** In words, where older segments are not in the log any more. */
function begins({ directory }: { readonly directory: string }): string {
  const first = firstSequenceOf(createDisk(directory)) ?? 1
  return first === 1 ? '' : `; it begins with sequence ${first}, what is older may be in the archive`
}

function parse(args: readonly string[]) {
  const text = { type: 'string' } as const
  const options = { since: text, until: text, data: text, models: text, json: { type: 'boolean' } } as const
  try {
    const help = { type: 'boolean', short: 'h' } as const
    return parseArgs({ args: [...args], allowPositionals: true, options: { ...options, help } })
  } catch (cause) {
    throw new AssayError('ASSAY_USAGE', cause instanceof Error ? cause.message : String(cause), { cause })
  }
}

function selectionOf(words: readonly string[], values: { since?: string; until?: string }): Selection {
  const [verb, id, ...rest] = words
  const { since, until } = values
  if (verb === 'verify' && rest.length === 0) {
    if (id !== undefined && since === undefined && until === undefined) {
      if (parseDecisionId(id) !== null) return { id }
      throw new AssayError('ASSAY_USAGE', 'ID is a decision id: d_ and 32 characters')
    }
    const sinceMs = Date.parse(since ?? '')
    const untilMs = Date.parse(until ?? '')
    if (id === undefined && sinceMs <= untilMs) return { sinceMs, untilMs }
  }
  throw new AssayError('ASSAY_USAGE', 'expected `decision verify ID` or `decision verify --since TIME --until TIME`')
}

/** One decision is always shown; of many only those that are not equal, unless JSON is asked for. */
function print(verdict: Verdict, json: boolean, isOne: boolean): void {
  if (json) process.stdout.write(`${JSON.stringify(verdict)}\n`)
  else if (isOne || verdict.result !== 'equal') {
    process.stdout.write(`${verdict.decision_id} ${[verdict.result, ...verdict.details].join('; ')}\n`)
  }
}
