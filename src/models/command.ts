// `assay model check DIR` and `assay model list`: thin doors to the gate and the bundle reader. What it prints and
// where the catalogue comes from is handed in, so that this folder needs neither the console nor the feature compiler.
import { parseArgs } from 'node:util'
import { AssayError } from '../errors.js'
import { type Listed, listBundles, readBundle } from './bundle.js'
import { type CatalogueFacts, OWN_COLUMNS } from './columns.js'
import { type Admission, admit } from './gate.js'

export interface ModelCommandDeps {
  /** The catalogue of the effective policy: of the file given with --config, else of the defaults. */
  readonly readFacts: (configPath: string | undefined) => Promise<CatalogueFacts>
  readonly env: Readonly<Record<string, string | undefined>>
  /** Of the verbs that stand elsewhere. */
  readonly moreHelp: string
  /** Writes text to stdout and stderr, as it is. */
  readonly print: (text: string) => void
  readonly printError: (text: string) => void
}

const HELP = `assay model check DIR [--config FILE] [--json]
    run the gate over one bundle: digests, features, shapes, golden scores, missing values, µs per row
assay model list [--models DIR] [--json]
    the bundles under DIR (default: ASSAY_MODELS_DIR, else the package's models), digests checked, the gate not run

exit codes: 0 all is well · 1 a bundle is refused (each misfit on stderr) · 2 the command line is not valid

`

/** Runs one model command and returns its exit code; prints refusals with their code instead of throwing them. */
export async function modelCommand(args: readonly string[], deps: ModelCommandDeps): Promise<number> {
  try {
    const { values, positionals } = parse(args)
    const [verb, ...rest] = positionals
    if (values.help === true) {
      deps.print(HELP + deps.moreHelp)
      return 0
    }
    const json = values.json === true
    if (verb === 'check' && rest.length === 1) return await check(rest[0], { deps, json, config: values.config })
    const directory = values.models ?? deps.env.ASSAY_MODELS_DIR ?? 'models'
    if (verb === 'list' && rest.length === 0) return await list(directory, { deps, json })
    throw new AssayError(
      'ASSAY_USAGE',
      'expected `model add`, `check`, `list`, `status`, `load`, `unload` or `approve`; see `assay model --help`',
    )
  } catch (error) {
    if (!(error instanceof AssayError)) throw error
    printRefusal(error, deps)
    return error.code === 'ASSAY_USAGE' ? 2 : 1
  }
}

function parse(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      allowPositionals: true,
      options: {
        help: { type: 'boolean', short: 'h' },
        json: { type: 'boolean' },
        config: { type: 'string' },
        models: { type: 'string' },
      },
    })
  } catch (cause) {
    throw new AssayError('ASSAY_USAGE', cause instanceof Error ? cause.message : String(cause), { cause })
  }
}

interface Context {
  readonly deps: ModelCommandDeps
  readonly json: boolean
}

async function check(directory: string, context: Context & { config: string | undefined }): Promise<number> {
  const { deps, json, config } = context
  const facts = await deps.readFacts(config)
  const admission = await admit(await readBundle(directory), facts)
  deps.print(
    json
      ? jsonLine({ ...admission, columns: admission.columns === null ? null : [...admission.columns] })
      : describe(admission),
  )
  return 0
}

function describe(admission: Admission): string {
  const { name, version, digest, columns, goldenRows, goldenErrorMax, timings, loadMs } = admission
  const speed = timings.map(({ rows, microsPerRow }) => `${microsPerRow.toFixed(1)} µs a row in batches of ${rows}`)
  return `${name}@${version} is admitted
  digest   ${digest}
  features ${columns === null ? OWN_COLUMNS : `${columns.length}, catalogue columns ${columns.join(' ')}`}
  golden   ${goldenRows} rows, largest difference ${goldenErrorMax.toExponential(1)}
  speed    ${speed.join(', ')}; loaded in ${loadMs.toFixed(0)} ms
`
}

async function list(directory: string, context: Context): Promise<number> {
  const { deps, json } = context
  const listed = await listBundles(directory)
  deps.print(json ? jsonLine(listed.map(summary)) : listed.map(line).join('') || `no bundles under ${directory}\n`)
  for (const { error } of listed) if (error !== null) printRefusal(error, deps)
  return listed.some(({ error }) => error !== null) ? 1 : 0
}

function summary({ name, version, directory, bundle, error }: Listed) {
  if (bundle === null) return { name, version, directory, state: 'refused', errors: error?.errors ?? [] }
  const { manifest, digest } = bundle
  const { kind, features, thresholds } = manifest
  return { name, version, directory, state: 'whole', kind, digest, features: features.length, thresholds }
}

function line({ name, version, bundle }: Listed): string {
  const id = `${name}@${version}`.padEnd(24)
  if (bundle === null) return `${id} refused\n`
  return `${id} ${bundle.manifest.kind.padEnd(9)} ${bundle.manifest.features.length} features  ${bundle.digest}\n`
}

function printRefusal(error: AssayError, deps: ModelCommandDeps): void {
  deps.printError(`${error.code}: ${error.message}\n`)
}

function jsonLine(value: unknown): string {
  return `${JSON.stringify(value, null, 2)}\n`
}
