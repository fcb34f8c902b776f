// History through the server's own feature code, row by row in event order, into a file for training or into a
// comparison. What a row's vector knows is what the server would have known: earlier events, and labels known by then.
// Refuses rows out of order, and a label column without a delay: it would tell the model the answer.
import type { Label } from '../contract/label.js'
import { FEATURE_FLAGS } from '../contract/decision.js'
import type { TransactionSchema } from '../contract/transaction.js'
import { AssayError } from '../errors.js'
import type { Limits } from '../limits.js'
import { type BuildSpec, readSpec } from './build-spec.js'
import { type BuildRow, readTransactions } from './build-rows.js'
import { type CompiledCatalogue, compileCatalogue } from './compile.js'
import { columnLabel, readLabels } from './label-rows.js'
import type { ColumnMap } from './read-rows.js'
import { createFeatureState, type FeatureState, type FeatureStateSize } from './state.js'
import { type FeatureSink, openSink } from './write-features.js'

export interface ReplayOptions {
  /** A file, policy or catalogue, JSON or YAML; or what was read of one. */
  readonly spec: string | BuildSpec
  /** Transactions: csv, csv.gz, jsonl, jsonl.gz, in event order. */
  readonly input: string
  /** Labels with known_at; the label column of the transactions plays no part in features then. */
  readonly labels: string | null
  readonly columns: ColumnMap
  readonly labelColumns: ColumnMap
  /** Rows with fromMs <= occurred_at < untilMs are written; all are folded. */
  readonly fromMs: number
  readonly untilMs: number
  /** Replaces the delay that the spec names for the label column, ms. */
  readonly labelDelayMs: number | null
}

export interface BuildOptions extends ReplayOptions {
  readonly out: string
}

/** Opens what takes the rows, with the first of them; `withFraud` where the file has a label column. */
export type OpenSink<S> = (compiled: CompiledCatalogue, withFraud: boolean) => S | Promise<S>

export interface ReplayReport {
  readonly rows: number
  readonly written: number
  readonly features: number
  readonly catalogue: string
  readonly inferred: string | null
  /** How labels became known: `column` after the delay, `file` at known_at, or `none`. */
  readonly labels: 'column' | 'file' | 'none'
  readonly labelDelayMs: number
  readonly labelsFolded: number
  /** Of a column of issuers' answers, known with their transactions. */
  readonly answersFolded: number
  readonly labelsUnmatched: number
  /** Written rows by flag. */
  readonly flagged: Readonly<Record<string, number>>
  /** Event time from which every window was observed for its whole length; null without windows or rows. */
  readonly warmFromMs: number | null
  readonly state: FeatureStateSize
}

/** Writes a file of features. As `replayHistory`; leaves no half file. */
export async function buildFeatures(options: BuildOptions, limits: Limits): Promise<ReplayReport> {
  const open: OpenSink<FeatureSink> = ({ names }, withFraud) => openSink(options.out, names, withFraud)
  return (await replayHistory(options, limits, open)).report
}

/**
 * Hands every row of the range to a sink. Throws ASSAY_USAGE, ASSAY_CATALOGUE_INVALID, or ASSAY_INPUT_INVALID with the
 * row.
 */
export async function replayHistory<S extends FeatureSink>(
  options: ReplayOptions,
  limits: Limits,
  open: OpenSink<S>,
): Promise<{ readonly sink: S; readonly report: ReplayReport }> {
  const currency = options.columns.get('currency')
  const base = currency !== undefined && 'constant' in currency ? currency.constant : 'EUR'
  const spec = typeof options.spec === 'string' ? await readSpec(options.spec, base) : options.spec
  const compiled = compileCatalogue(spec.catalogue, spec.schema, spec.currencies)
  const replay: Replay = {
    options,
    compiled,
    state: createFeatureState(compiled, { limits }),
    schema: spec.schema,
    labels: await labelsOfFile(options, spec.schema, limits),
    nextLabel: 0,
    labelDelayMs: options.labelDelayMs ?? compiled.labelDelayMs,
    vector: new Float64Array(compiled.size),
    lastMs: -Infinity,
    rows: 0,
    written: 0,
    labelsFolded: 0,
    answersFolded: 0,
    flagged: Object.fromEntries(Object.keys(FEATURE_FLAGS).map((name) => [name, 0])),
  }
  const rows = readTransactions({ path: options.input, columns: options.columns }, spec, limits)
  const { sink, withFraud } = await run(replay, rows, open)
  const warmFrom = compiled.names.map((_, feature) => replay.state.warmFromMs(feature)).filter(Number.isFinite)
  const report = {
    rows: replay.rows,
    written: replay.written,
    features: compiled.size,
    catalogue: compiled.digest,
    inferred: spec.inferred,
    labels: labelsOf(replay, withFraud),
    labelDelayMs: replay.labelDelayMs,
    labelsFolded: replay.labelsFolded,
    answersFolded: replay.answersFolded,
    labelsUnmatched: replay.state.size().labelsWaiting + replay.state.size().labelsExpired,
    flagged: replay.flagged,
    warmFromMs: warmFrom.length === 0 ? null : Math.max(...warmFrom),
    state: replay.state.size(),
  }
  return { sink, report }
}

async function labelsOfFile(options: ReplayOptions, schema: TransactionSchema, limits: Limits): Promise<Label[]> {
  const { labels: path, labelColumns: columns } = options
  return path === null ? [] : readLabels({ path, columns, schema, labelsMax: limits.buildLabelsMax })
}

function labelsOf({ options, compiled }: Replay, withFraud: boolean): ReplayReport['labels'] {
  if (options.labels !== null) return 'file'
  return withFraud && compiled.labelled ? 'column' : 'none'
}

interface Replay {
  readonly options: ReplayOptions
  readonly compiled: CompiledCatalogue
  readonly schema: TransactionSchema
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
  answersFolded: number
  readonly flagged: Record<string, number>
}

/** Folds and hands over every row; `withFraud` where the file has a label column. */
async function run<S extends FeatureSink>(
  replay: Replay,
  rows: AsyncGenerator<BuildRow>,
  open: OpenSink<S>,
): Promise<{ readonly sink: S; readonly withFraud: boolean }> {
  const { options, compiled } = replay
  let sink: S | null = null
  let withFraud = false
  try {
    for await (const row of rows) {
      if (sink === null) {
        withFraud = row.fraud !== null
        if (withFraud) checkDelay(replay)
        sink = await open(compiled, withFraud)
      }
      foldRow(replay, row)
      const t = row.tx.occurredAtMs
      if (t < options.fromMs || t >= options.untilMs) {
        sink.pass?.(row.tx.transactionId)
        continue
      }
      replay.written++
      const full = sink.write(row.tx.transactionId, replay.vector, row.fraud)
      if (full !== undefined) await full
    }
    sink ??= await open(compiled, false)
    await sink.close()
  } catch (error) {
    await sink?.abandon()
    throw error
  }
  return { sink, withFraud }
}

function checkDelay({ options, compiled, labelDelayMs }: Replay): void {
  if (options.labels !== null || !compiled.labelled || labelDelayMs > 0) return
  throw new AssayError(
    'ASSAY_USAGE',
    'the spec names no delay for its label rates: a label column would be known at once; give --labels or --label-delay',
  )
}

function foldRow(replay: Replay, { number, tx, fraud, approved }: BuildRow): void {
  const { options, schema, state, vector } = replay
  const t = tx.occurredAtMs
  if (t < replay.lastMs) {
    const place = `${options.input}, row ${number}`
    throw new AssayError('ASSAY_INPUT_INVALID', `${place}: occurred_at is earlier than in the row before; sort by it`)
  }
  replay.lastMs = t
  replay.rows++
  foldLabels(replay, t)
  const flags = state.fold(tx, number, t, vector, 0)
  if (t >= options.fromMs && t < options.untilMs) countFlags(replay, flags)
  if (options.labels !== null) return
  const source = 'column'
  if (fraud === true) {
    const word = { kind: 'fraud', value: true, source, knownAtMs: t + replay.labelDelayMs } as const
    replay.labels.push(columnLabel(tx, schema, word))
  }
  // An issuer answers within moments: the next transaction finds it.
  if (approved !== null) {
    state.label(columnLabel(tx, schema, { kind: 'authorisation', value: approved, source, knownAtMs: t }), number, t)
    replay.answersFolded++
  }
}

function foldLabels(replay: Replay, nowMs: number): void {
  const { labels, state } = replay
  while (replay.nextLabel < labels.length && labels[replay.nextLabel].knownAtMs <= nowMs) {
    state.label(labels[replay.nextLabel++], 0, nowMs)
    replay.labelsFolded++
  }
  // What was folded is let go from time to time, so that a long file needs no more than the labels of one delay.
  if (replay.nextLabel > 10_000) {
    replay.labels = labels.slice(replay.nextLabel)
    replay.nextLabel = 0
  }
}

function countFlags({ flagged }: Replay, flags: number): void {
  if (flags === 0) return
  for (const [name, bit] of Object.entries(FEATURE_FLAGS)) if ((flags & bit) !== 0) flagged[name]++
}
