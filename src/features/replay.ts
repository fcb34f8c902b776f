// History through the server's own feature code, row by row in event order, into a file for
// training. What a row's vector knows is what the server would have known: earlier events, and labels known by then.
// Refuses rows out of order, and a label column without a delay: it would tell the model the answer.
import type { Label } from '../contract/label.js'
import { FEATURE_FLAGS } from '../contract/decision.js'
import { AssayError } from '../errors.js'
import type { Limits } from '../limits.js'
import { readSpec } from './build-spec.js'
import { type BuildRow, readLabels, readTransactions } from './build-rows.js'
import { type CompiledCatalogue, compileCatalogue } from './compile.js'
import type { ColumnMap } from './read-rows.js'
import { createFeatureState, type FeatureState, type FeatureStateSize } from './state.js'
import { type FeatureSink, openSink } from './write-features.js'

export interface BuildOptions {
  /** Policy or catalogue, JSON or YAML. */
  readonly spec: string
  /** Transactions: csv, csv.gz, jsonl, jsonl.gz, in event order. */
  readonly input: string
  /** Labels with known_at; the label column of the transactions plays no part in features then. */
  readonly labels: string | null
  readonly columns: ColumnMap
  readonly labelColumns: ColumnMap
  readonly out: string
  /** Rows with fromMs <= occurred_at < untilMs are written; all are folded. */
  readonly fromMs: number
  readonly untilMs: number
  /** Replaces the delay that the spec names for the label column, ms. */
  readonly labelDelayMs: number | null
}

export interface BuildReport {
  readonly rows: number
  readonly written: number
  readonly features: number
  readonly catalogue: string
  readonly inferred: string | null
  /** How labels became known: `column` after the delay, `file` at known_at, or `none`. */
  readonly labels: 'column' | 'file' | 'none'
  readonly labelDelayMs: number
  readonly labelsFolded: number
  readonly labelsUnmatched: number
  /** Written rows by flag. */
  readonly flagged: Readonly<Record<string, number>>
  /** Event time from which every window was observed for its whole length; null without windows or rows. */
  readonly warmFromMs: number | null
  readonly state: FeatureStateSize
}

/**
 * Runs a build. Throws ASSAY_INPUT_INVALID with the row, ASSAY_CATALOGUE_INVALID, or ASSAY_USAGE; leaves no half file.
 */
export async function buildFeatures(options: BuildOptions, limits: Limits): Promise<BuildReport> {
  const currency = options.columns.get('currency')
  const spec = await readSpec(
    options.spec,
    currency !== undefined && 'constant' in currency ? currency.constant : 'EUR',
  )
  const compiled = compileCatalogue(spec.catalogue, spec.schema, spec.currencies)
  const build: Build = {
    options,
    compiled,
    state: createFeatureState(compiled, { limits }),
    labels:
      options.labels === null ? [] : await readLabels(options.labels, options.labelColumns, limits.buildLabelsMax),
    nextLabel: 0,
    labelDelayMs: options.labelDelayMs ?? compiled.labelDelayMs,
    vector: new Float64Array(compiled.size),
    lastMs: -Infinity,
    rows: 0,
    written: 0,
    labelsFolded: 0,
    flagged: Object.fromEntries(Object.keys(FEATURE_FLAGS).map((name) => [name, 0])),
  }
  const rows = readTransactions({ path: options.input, columns: options.columns }, spec, limits)
  const withFraud = await run(build, rows)
  const warmFrom = compiled.names.map((_, feature) => build.state.warmFromMs(feature)).filter(Number.isFinite)
  return {
    rows: build.rows,
    written: build.written,
    features: compiled.size,
    catalogue: compiled.digest,
    inferred: spec.inferred,
    labels: options.labels !== null ? 'file' : withFraud && compiled.labelled ? 'column' : 'none',
    labelDelayMs: build.labelDelayMs,
    labelsFolded: build.labelsFolded,
    labelsUnmatched: build.state.size().labelsWaiting + build.state.size().labelsExpired,
    flagged: build.flagged,
    warmFromMs: warmFrom.length === 0 ? null : Math.max(...warmFrom),
    state: build.state.size(),
  }
}

interface Build {
  readonly options: BuildOptions
  readonly compiled: CompiledCatalogue
  readonly state: FeatureState
  /** In the order in which they become known; a label column adds to it as rows pass, a file fills it beforehand. */
  labels: Label[]
  nextLabel: number
  readonly labelDelayMs: number
  readonly vector: Float64Array
  lastMs: number
  rows: number
  written: number
  labelsFolded: number
  readonly flagged: Record<string, number>
}

/** Folds and writes every row; true where the file has a label column. */
async function run(build: Build, rows: AsyncGenerator<BuildRow>): Promise<boolean> {
  const { options, compiled } = build
  let sink: FeatureSink | null = null
  let withFraud = false
  try {
    for await (const row of rows) {
      if (sink === null) {
        withFraud = row.fraud !== null
        if (withFraud) checkDelay(build)
        sink = openSink(options.out, compiled.names, withFraud)
      }
      foldRow(build, row)
      const t = row.tx.occurredAtMs
      if (t < options.fromMs || t >= options.untilMs) continue
      build.written++
      const full = sink.write(row.tx.transactionId, build.vector, row.fraud)
      if (full !== undefined) await full
    }
    sink ??= openSink(options.out, compiled.names, false)
    await sink.close()
  } catch (error) {
    await sink?.abandon()
    throw error
  }
  return withFraud
}

function checkDelay({ options, compiled, labelDelayMs }: Build): void {
  if (options.labels !== null || !compiled.labelled || labelDelayMs > 0) return
  throw new AssayError(
    'ASSAY_USAGE',
    'the spec names no delay for its label rates: a label column would be known at once; give --labels or --label-delay',
  )
}

function foldRow(build: Build, { number, tx, fraud }: BuildRow): void {
  const { options, state, vector } = build
  const t = tx.occurredAtMs
  if (t < build.lastMs) {
    const place = `${options.input}, row ${number}`
    throw new AssayError('ASSAY_INPUT_INVALID', `${place}: occurred_at is earlier than in the row before; sort by it`)
  }
  build.lastMs = t
  build.rows++
  foldLabels(build, t)
  const flags = state.fold(tx, number, t, vector, 0)
  if (t >= options.fromMs && t < options.untilMs) countFlags(build, flags)
  if (fraud === true && options.labels === null)
    build.labels.push(columnLabel(tx.transactionId, t + build.labelDelayMs))
}

function foldLabels(build: Build, nowMs: number): void {
  const { labels, state } = build
  while (build.nextLabel < labels.length && labels[build.nextLabel].knownAtMs <= nowMs) {
    state.label(labels[build.nextLabel++], 0, nowMs)
    build.labelsFolded++
  }
  // What was folded is let go from time to time, so that a long file needs no more than the labels of one delay.
  if (build.nextLabel > 10_000) {
    build.labels = labels.slice(build.nextLabel)
    build.nextLabel = 0
  }
}

function columnLabel(transactionId: string, knownAtMs: number): Label {
  return { transactionId, kind: 'fraud', value: true, source: 'column', knownAtMs, occurredAtMs: null, entities: [] }
}

function countFlags({ flagged }: Build, flags: number): void {
  if (flags === 0) return
  for (const [name, bit] of Object.entries(FEATURE_FLAGS)) if ((flags & bit) !== 0) flagged[name]++
}
