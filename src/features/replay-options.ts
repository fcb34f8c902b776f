// What the commands that replay history have in common on their command lines: where transactions and labels come
// from, under which names, and which rows are wanted; and what both say of a replay.
import { AssayError } from '../errors.js'
import { readTime } from './build-rows.js'
import type { BuildSpec } from './build-spec.js'
import { durationMs } from './check.js'
import { parseColumns } from './read-rows.js'
import type { ReplayOptions, ReplayReport } from './replay.js'

/** For `parseArgs`. */
export const REPLAY_OPTIONS = {
  spec: { type: 'string' },
  in: { type: 'string' },
  columns: { type: 'string', default: '' },
  labels: { type: 'string' },
  'label-columns': { type: 'string', default: '' },
  'label-delay': { type: 'string' },
  from: { type: 'string' },
  until: { type: 'string' },
} as const

/** Their lines in a help text. */
export const REPLAY_HELP = `\
  --in FILE             transactions in event order: .csv, .csv.gz, .jsonl, .jsonl.gz
  --columns LIST        foreign names: transaction_id=TRANSACTION_ID,amount=TX_AMOUNT,fraud=TX_FRAUD; currency=:EUR is a
                        constant; amount is in major units, amount_minor in minor units
                        approved=COLUMN holds issuers' answers, known with their transaction
  --labels FILE         labels with transaction_id, fraud or approved, known_at and perhaps source, occurred_at and
                        entities; they act from known_at, and label columns do not act then
  --label-columns LIST  foreign names in that file
  --label-delay D       when a label column becomes known, such as 7d; default: the largest delay of a label rate
`

export interface ReplayValues {
  readonly columns: string
  readonly labels?: string | undefined
  readonly 'label-columns': string
  readonly 'label-delay'?: string | undefined
  readonly from?: string | undefined
  readonly until?: string | undefined
}

/** The options as a replay takes them. Throws ASSAY_USAGE. */
export function replayOptions(input: string, spec: string | BuildSpec, values: ReplayValues): ReplayOptions {
  const delay = values['label-delay']
  const labelDelayMs = delay === undefined ? null : durationMs(delay)
  if (Number.isNaN(labelDelayMs)) throw new AssayError('ASSAY_USAGE', '--label-delay: a duration such as 7d')
  return {
    spec,
    input,
    labels: values.labels ?? null,
    columns: parseColumns(values.columns),
    labelColumns: parseColumns(values['label-columns'], '--label-columns'),
    fromMs: values.from === undefined ? -Infinity : timeOption(values.from, '--from'),
    untilMs: values.until === undefined ? Infinity : timeOption(values.until, '--until'),
    labelDelayMs,
  }
}

/** A time or a date, ms. Throws ASSAY_USAGE. */
export function timeOption(text: string, name: string): number {
  try {
    // A date alone means its first instant in UTC.
    return readTime(/^\d{4}-\d{2}-\d{2}$/.test(text) ? `${text}T00:00:00Z` : text, name)
  } catch (cause) {
    throw new AssayError('ASSAY_USAGE', cause instanceof Error ? cause.message : name, { cause })
  }
}

/** What catalogue was replayed, which labels acted and what the windows had seen, a line each. */
export function describeReplay(report: ReplayReport, options: ReplayOptions): string[] {
  const days = report.labelDelayMs / 86_400_000
  const labels = {
    none: 'no labels were used',
    column: `the label column became known ${days} days after the event; ${report.labelsFolded} labels folded`,
    file: `labels of ${options.labels} acted from known_at; ${report.labelsFolded} folded, ${report.labelsUnmatched} found no transaction`,
  }[report.labels]
  const flags = Object.entries(report.flagged).filter(([, rows]) => rows > 0)
  return [
    `catalogue ${report.catalogue}`,
    ...(report.inferred === null ? [] : [report.inferred]),
    labels,
    ...(report.answersFolded === 0
      ? []
      : [`${report.answersFolded} answers of issuers, known with their transactions`]),
    report.warmFromMs === null
      ? 'no feature looks back'
      : `every window is full from ${new Date(report.warmFromMs).toISOString()} on; before it rows are cold`,
    `rows flagged: ${flags.length === 0 ? 'none' : flags.map(([name, rows]) => `${name} ${rows}`).join(', ')}`,
  ]
}
