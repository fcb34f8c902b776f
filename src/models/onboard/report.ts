// What is known of a model that was added, as MODEL_CARD.md and as the command prints it: only what was measured. Pure.
import type { Manifest, Thresholds } from '../../contract/manifest.js'
import { OWN_COLUMNS } from '../columns.js'
import type { Admission } from '../gate.js'
import type { ModelInput } from '../inputs.js'
import type { FeatureOrder } from './order.js'
import type { OrderVerdict } from './order-check.js'
import type { ScoreOutput } from './score-output.js'

/** What was found out and written. */
export interface AddReport {
  readonly name: string
  readonly version: string
  readonly directory: string
  readonly digest: string
  readonly bytes: number
  readonly inputs: readonly ModelInput[]
  readonly features: readonly string[]
  readonly features_from: FeatureOrder['from']
  readonly output: ScoreOutput
  readonly score_map: NonNullable<Manifest['score_map']>
  readonly takes_nan: boolean
  readonly thresholds: Thresholds | null
  /** The share of the rows that reaches each threshold; null where rows were made up. */
  readonly shares: Record<string, number> | null
  /** Null where rows were made up. */
  readonly rows: RowFacts | null
  readonly auc: { readonly value: number; readonly low: number; readonly high: number } | null
  readonly average_precision: number | null
  readonly order: OrderVerdict
  readonly golden: GoldenFacts
  readonly timings: Admission['timings']
  readonly load_ms: number
}

export interface RowFacts {
  readonly file: string
  readonly rows: number
  readonly frauds: number | null
  /** Rows without a score: a value was missing that the model must have. */
  readonly unscored: number
}

export interface GoldenFacts {
  readonly source: 'trainer' | 'self-recorded'
  readonly rows: number
  /** Rows that the trainer scored; those that the runtime scores differently are not among the golden rows. */
  readonly rows_compared: number
  readonly rows_beyond_tolerance: number
  readonly largest_difference: number
}

/** The card; it names no folder. */
export function modelCard(report: AddReport): string {
  const { name, version, features, output } = report
  const missing = report.takes_nan ? 'taken' : 'not taken'
  return `# ${name} ${version}

Trained elsewhere, added by \`assay model add\`. ${inputText(report)}; output \`${output.name}\`, column
${output.column}, score map ${JSON.stringify(report.score_map)}. Missing values are ${missing}.

## Intended use

Not stated by whoever trained it: write it here, with the data, the period and the population it was trained on.

## Data

Features, in order (${orderSource(report)}): ${features.map((each) => `\`${each}\``).join(', ')}.
${rowsText(report)}

## Metrics

${metricsText(report)}

## Golden rows

${goldenText(report)}

## Thresholds

${report.thresholds === null ? noCutsText(report) : thresholdsText(report)}

## Speed

${speedText(report)}, on the machine that added it.

## Limits

- Whatever is not stated above is not known here: calibration, fairness, how the rows were chosen.
`
}

/** What the command prints. */
export function reportText(report: AddReport): string {
  const { auc, average_precision: precision, order, rows } = report
  const lines = [
    `${report.name}@${report.version} is added: ${report.directory}`,
    `  digest     ${report.digest}, ${report.bytes} bytes`,
    `  input      ${inputText(report)}`,
    `  features   ${report.features.length}, ${orderSource(report)}: ${report.features.join(', ')}`,
    `  output     ${report.output.name}, column ${report.output.column} of ${report.output.width}; ${mapText(report)}`,
    `  missing    ${report.takes_nan ? 'values may be missing' : 'no value may be missing'}`,
    `  rows       ${rows === null ? `none given: ${MADE_UP}` : rowsText(report)}`,
    ...(auc === null ? [] : [`  AUC        ${aucText(auc)}; average precision ${precision?.toFixed(4) ?? '–'}`]),
    `  order      ${order.verdict}: ${order.why}`,
    `  golden     ${goldenText(report)}`,
    `  thresholds ${report.thresholds === null ? noCutsText(report) : thresholdsText(report)}`,
    `  speed      ${speedText(report)}; loaded in ${report.load_ms.toFixed(0)} ms`,
  ]
  return `${lines.join('\n')}\n`
}

/** What nobody should overlook, for stderr. */
export function warningText({ order, features }: AddReport): string {
  if (order.verdict !== 'doubtful') return ''
  return `WARNING: the order of the features is doubtful: ${order.why}
  given: ${features.join(', ')}
  A wrong order scores without an error. Make sure of it (--features) before this model is routed to.
`
}

const MADE_UP = 'golden rows are made up from the catalogue, and there is no reference profile'

function inputText({ inputs }: AddReport): string {
  const [first] = inputs
  if (inputs.length === 1) return `Input \`${first.name}\`, ${first.dtype} [N, ${first.columns}]`
  return `${inputs.length} inputs, ${[...new Set(inputs.map(({ dtype }) => dtype))].join(' and ')}`
}

function orderSource({ features_from: from }: AddReport): string {
  const said = {
    ...{ features: 'as given', rows: 'as the columns of the rows', catalogue: 'as the catalogue' },
    ...{ inputs: 'as the inputs are named', confirmed: 'as confirmed at a terminal', own: OWN_COLUMNS },
  }
  return said[from]
}

function mapText({ score_map: map }: AddReport): string {
  return map.kind === 'identity' ? 'probabilities as they are' : `score map ${JSON.stringify(map)}`
}

function rowsText({ rows }: AddReport): string {
  if (rows === null) return `No rows were given: ${MADE_UP}.`
  const frauds = rows.frauds === null ? 'without labels' : `${rows.frauds} frauds`
  return `${rows.rows} rows were given, ${frauds}, ${rows.unscored} of them without a score.`
}

function metricsText(report: AddReport): string {
  const { auc, average_precision: precision, order } = report
  const judged = `Order of the features: ${order.verdict} (${order.why}; ${order.compared} orders, ${order.rows} rows).`
  if (auc === null) return `None: no labelled rows were given. ${judged}`
  return `On the rows given, which may be those it was trained on: AUC ROC ${aucText(auc)} (DeLong),
average precision ${precision?.toFixed(4) ?? '–'}. ${judged}`
}

function aucText({ value, low, high }: NonNullable<AddReport['auc']>): string {
  return `${value.toFixed(4)}, 95 % ${low.toFixed(4)} – ${high.toFixed(4)}`
}

function goldenText({ golden }: AddReport): string {
  const { rows, rows_compared: compared, rows_beyond_tolerance: beyond, largest_difference: largest } = golden
  if (golden.source === 'self-recorded') {
    return `${rows} rows, self-recorded: they show that file and order stay what they are, not that the export is right`
  }
  const differing = `${beyond} of ${compared} differ by more than the tolerance, at most by ${largest.toExponential(1)}`
  return `${rows} rows with the trainer's scores; ${differing}`
}

function noCutsText({ features_from: from }: AddReport): string {
  if (from === 'own') return 'none: it answers inference calls, and decides nothing'
  return 'none: it decides nothing, and loads as a shadow only (--review-rate, --decline-rate, --review-at, --decline-at)'
}

function thresholdsText({ thresholds, shares }: AddReport): string {
  const reached = (name: string) => (shares === null ? '' : ` (${(100 * shares[name]).toFixed(2)} % of the rows)`)
  return Object.entries(thresholds ?? {})
    .map(([name, cut]) => `${name} ${cut}${reached(name)}`)
    .join(', ')
}

function speedText({ timings }: AddReport): string {
  return timings.map(({ rows, microsPerRow }) => `${microsPerRow.toFixed(1)} µs a row in batches of ${rows}`).join(', ')
}
