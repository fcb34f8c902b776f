// The command line of `assay model add`: options in, a bundle on disk and a report out. The manifest's own schema
// judges a score map, so that a kind that it learns is taken here as well. Exit codes: 0 added, 1 refused, 2 misuse.
import { readFile } from 'node:fs/promises'
import { parseArgs } from 'node:util'
import { Value } from '@sinclair/typebox/value'
import type { Catalogue } from '../../contract/catalogue.js'
import { type Manifest, Manifest as ManifestSchema, ScoreMap } from '../../contract/manifest.js'
import { AssayError, errorOf } from '../../errors.js'
import { parseColumns } from '../../features/read-rows.js'
import type { Limits } from '../../limits.js'
import type { CatalogueFacts } from '../columns.js'
import { type AddOptions, addModel } from './add-model.js'
import { reportText, warningText } from './report.js'
import type { CutOptions } from './cuts.js'
import type { OrderDeps, OrderOptions } from './order.js'

export interface AddCommandDeps {
  /** Of the policy of the file given with --config, else of the defaults. */
  readonly readCatalogue: (config: string | undefined) => {
    readonly facts: CatalogueFacts
    readonly catalogue: Catalogue
  }
  readonly modelsDir: string
  readonly confirm: OrderDeps['confirm']
  readonly limits: Limits
  readonly print: (text: string) => void
  readonly printError: (text: string) => void
}

export const ADD_HELP = `assay model add FILE --name NAME --version VERSION [options]
assay model add FOLDER [options]
    make a bundle of an ONNX model that was trained elsewhere: find its inputs and its score, check the order of its
    features on labelled rows, measure it, record golden rows, write it through the gate. FOLDER is a model of a
    repository, as Triton and KServe lay it out: NAME/VERSION/model.onnx, which says both (of several versions the
    highest, or --version). In the models directory itself it is completed where it lies

  --models DIR             where the bundle goes (ASSAY_MODELS_DIR, else the package's models)
  --config FILE            whose catalogue (ASSAY_CONFIG, else the defaults)

  order of the features, unless the model has an input for each, named after it:
  --features A,B,C         in the order in which the model was trained
  --features-file FILE     the same, separated by commas or lines
  --features-from-rows     the columns of the rows that are features, in their order
  --catalogue-order        every feature of the catalogue, in its order
  --own-columns            no features of the catalogue at all: the model answers inference calls only, under the
                           names of --features or numbered, and goes without thresholds
                           at a terminal an order that fits is shown, and taken if confirmed

  --rows FILE              labelled rows by feature name, as \`features build\` writes them: .csv, .csv.gz, .jsonl,
                           .jsonl.gz
  --columns L              foreign names in it: customer_count_1d=NB_TX_1DAY,…
  --label COLUMN           1 fraud, 0 not, empty unknown (fraud, where there is such a column)
  --score-column COLUMN    scores of the trainer's own library, after the score map: they become the golden scores;
                           without them golden rows are recorded from the runtime, and the card says so
  --tolerance X            by how much the two may differ, at most 0.01 (1e-5)

  --output NAME            which output is the score; found where only one can be
  --column C               which column of it, from 0 (1 of two, else 0)
  --score-map MAP          identity | sigmoid | linear:FROM,TO | prior_shift:TRAINED_RATE,REAL_RATE | table:FILE
                           FILE is JSON: {"raw": [ascending], "score": [not falling]}

  thresholds; without any the bundle loads as a shadow only:
  --review-rate R          share of the rows that reaches review or decline
  --decline-rate R         share of the rows that reaches decline
  --review-at S, --decline-at S, --challenge-at S
                           scores, in place of shares

  --json                   print the report as JSON

Without --rows, golden rows are made up from the kinds of the features, and there is no reference profile. An order that
does not rank clearly better than others is added with a warning ("order": "doubtful" in JSON).

`

const text = { type: 'string' } as const
const flag = { type: 'boolean', default: false } as const
const OPTIONS = {
  ...{ name: text, version: text, models: text, config: text, features: text, 'features-file': text },
  ...{
    'features-from-rows': flag,
    'catalogue-order': flag,
    'own-columns': flag,
    rows: text,
    columns: text,
    label: text,
  },
  ...{ 'score-column': text, tolerance: text, output: text, column: text, 'score-map': text },
  ...{ 'review-rate': text, 'decline-rate': text, 'review-at': text, 'decline-at': text, 'challenge-at': text },
  ...{ json: flag, help: { ...flag, short: 'h' } },
} as const

/** Runs the command; resolves to its exit code. Throws AssayError, ASSAY_USAGE for a bad command line. */
export async function addCommand(args: readonly string[], deps: AddCommandDeps): Promise<number> {
  const { values, positionals } = parse(args)
  if (values.help) {
    deps.print(ADD_HELP)
    return 0
  }
  const [file, ...more] = positionals
  if (file === undefined || more.length > 0) throw usage('`model add` needs one file, or one folder of a repository')
  const options = await readOptions(file, values, deps.modelsDir)
  const { facts, catalogue } = deps.readCatalogue(values.config)
  const report = await addModel(options, { facts, catalogue, confirm: deps.confirm, limits: deps.limits })
  deps.print(values.json ? `${JSON.stringify(report, null, 2)}\n` : reportText(report))
  deps.printError(warningText(report))
  return 0
}

type Values = ReturnType<typeof parse>['values']

function parse(args: readonly string[]) {
  try {
    return parseArgs({ args: [...args], options: OPTIONS, allowPositionals: true })
  } catch (cause) {
    throw usage(errorOf(cause).message)
  }
}

async function readOptions(file: string, values: Values, modelsDir: string): Promise<AddOptions> {
  const { properties } = ManifestSchema
  checkName('--name', values.name, properties.name.pattern)
  checkName('--version', values.version, properties.version.pattern)
  const order = await orderOptions(values)
  const rowsOptions = ['columns', 'label', 'score-column'] as const
  const lonely = rowsOptions.find((name) => values[name] !== undefined)
  if (values.rows === undefined && lonely !== undefined) throw usage(`--${lonely} needs --rows`)
  return {
    ...{ file, name: values.name, version: values.version, modelsDir: values.models ?? modelsDir, order },
    rows:
      values.rows === undefined
        ? null
        : {
            ...{ path: values.rows, columns: featureColumns(values.columns ?? '') },
            ...{ label: values.label ?? null, score: values['score-column'] ?? null },
          },
    output: values.output,
    column: numberOf('--column', values.column, { low: 0, high: 65_535, isWhole: true }),
    scoreMap: values['score-map'] === undefined ? undefined : await readScoreMap(values['score-map']),
    cuts: cutOptions(values),
    tolerance: numberOf('--tolerance', values.tolerance, { low: 0, high: 0.01 }) ?? 1e-5,
  }
}

function checkName(option: string, value: string | undefined, pattern: string | undefined): void {
  if (value === undefined || pattern === undefined || new RegExp(pattern).test(value)) return
  throw usage(`${option}: ${pattern} is allowed`)
}

async function orderOptions(values: Values): Promise<OrderOptions> {
  const ways = ['features', 'features-file', 'features-from-rows', 'catalogue-order'] as const
  const given = ways.filter((way) => values[way] !== undefined && values[way] !== false)
  if (given.length > 1) throw usage(`${given.map((way) => `--${way}`).join(' and ')} contradict each other`)
  const fromRows = values['features-from-rows']
  if (fromRows && values.rows === undefined) throw usage('--features-from-rows needs --rows')
  const path = values['features-file']
  const listed = path === undefined ? values.features : await readText(path)
  const names = listed?.split(/[,\r\n]/).map((name) => name.trim())
  const features = names?.filter((name) => name !== '') ?? null
  const ownColumns = values['own-columns']
  if (ownColumns && (fromRows || values['catalogue-order'])) {
    throw usage('--own-columns: --features names them, not the catalogue')
  }
  return { features, fromRows, catalogueOrder: values['catalogue-order'], ownColumns }
}

function featureColumns(option: string) {
  const columns = parseColumns(option)
  for (const [name, target] of columns) if ('constant' in target) throw usage(`--columns: ${name} must name a column`)
  return columns
}

function cutOptions(values: Values): CutOptions {
  const share = (name: 'review-rate' | 'decline-rate') => numberOf(`--${name}`, values[name], { low: 0, high: 1 })
  const score = (name: 'challenge-at' | 'review-at' | 'decline-at') =>
    numberOf(`--${name}`, values[name], { low: 0, high: 1 })
  return {
    ...{ challengeAt: score('challenge-at'), reviewAt: score('review-at'), declineAt: score('decline-at') },
    ...{ reviewRate: share('review-rate'), declineRate: share('decline-rate') },
  }
}

function numberOf(
  option: string,
  given: string | undefined,
  { low, high, isWhole = false }: { readonly low: number; readonly high: number; readonly isWhole?: boolean },
): number | undefined {
  if (given === undefined) return undefined
  const number = given.trim() === '' ? NaN : Number(given)
  if (number >= low && number <= high && (!isWhole || Number.isInteger(number))) return number
  throw usage(`${option}: ${isWhole ? 'a whole number' : 'a number'} from ${low} to ${high}`)
}

/** The parts of each kind that stand behind its colon. */
const PARTS: Readonly<Record<string, readonly string[]>> = {
  ...{ identity: [], sigmoid: [], linear: ['from', 'to'], prior_shift: ['trained_rate', 'real_rate'] },
}

async function readScoreMap(option: string): Promise<Manifest['score_map']> {
  const [kind, given = ''] = option.split(/:(.*)/s)
  const map: unknown = kind === 'table' ? await readTable(given) : { kind, ...partsOf(kind, given) }
  if (Value.Check(ScoreMap, map)) return map
  const kinds = ScoreMap.anyOf.map((each) => each.properties.kind.const)
  const faults = ScoreMap.anyOf
    .filter((each) => each.properties.kind.const === kind)
    .flatMap((each) => [...Value.Errors(each, map)].slice(0, 3).map(({ path, message }) => `${path} ${message}`))
  throw usage(`--score-map: ${faults.join('; ') || `one of ${kinds.join(', ')}`}; see \`assay model add --help\``)
}

function partsOf(kind: string, given: string): Record<string, number> {
  const names = Object.hasOwn(PARTS, kind) ? PARTS[kind] : []
  const numbers = given === '' ? [] : given.split(',').map(Number)
  if (numbers.length !== names.length) throw usage(`--score-map ${[kind, names.join(',')].filter(Boolean).join(':')}`)
  return Object.fromEntries(names.map((name, at) => [name, numbers[at]]))
}

async function readTable(path: string): Promise<unknown> {
  try {
    const table: unknown = JSON.parse(await readText(path))
    return typeof table === 'object' && table !== null ? { ...table, kind: 'table' } : table
  } catch (cause) {
    if (cause instanceof AssayError) throw cause
    throw usage(`--score-map: ${path} is not JSON`)
  }
}

async function readText(path: string): Promise<string> {
  return readFile(path, 'utf8').catch((cause: unknown) => {
    throw usage(`${path} cannot be read: ${errorOf(cause).message}`)
  })
}

function usage(detail: string): AssayError {
  return new AssayError('ASSAY_USAGE', detail)
}
