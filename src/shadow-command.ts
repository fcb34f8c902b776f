// `assay shadow run`: what a model would have decided over a past range of a decision log.
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { loadConfig } from './config.js'
import { AssayError } from './errors.js'
import type { Cell } from './governance/port.js'
import { runShadowRange } from './governance/shadow/range.js'

const HELP = `assay shadow run --model NAME@VERSION --since TIME --until TIME [--data DIR] [--models DIR] [--json]
    score the logged vectors of a past range with a model that did not answer them, and compare it with the champion:
    flips, alerts that would come and go with their amounts, agreement, rank correlation, thresholds of equal volume
    TIME is RFC 3339; DIR defaults to ASSAY_DATA_DIR (else ./data) and ASSAY_MODELS_DIR (else the package's models)
    one answer per champion, for all decisions and for each segment that the policy declares
    --json prints one line for each, with every figure and bin; no server or sidecar is needed

exit codes: 0 compared · 1 nothing to compare, damage, or the model is refused · 2 the command line is not valid
`

type Row = Readonly<Record<string, Cell>>

/** Runs the command; resolves to its exit code. Throws AssayError, ASSAY_USAGE for a bad command line. */
export async function shadowCommand(args: readonly string[]): Promise<number> {
  const { values, positionals } = parse(args)
  if (values.help === true) {
    process.stdout.write(HELP)
    return 0
  }
  const [sinceMs, untilMs] = [Date.parse(values.since ?? ''), Date.parse(values.until ?? '')]
  const { model } = values
  if (positionals.join(' ') !== 'run' || model?.includes('@') !== true || !(sinceMs < untilMs)) {
    const expected = '`shadow run --model NAME@VERSION --since TIME --until TIME`, TIME in RFC 3339, since before until'
    throw new AssayError('ASSAY_USAGE', `expected ${expected}`)
  }
  const { process: settings } = loadConfig({ env: process.env })
  const { rows, damage, whole } = await runShadowRange({
    directory: join(values.data ?? settings.data_dir, 'decision-log'),
    modelsDir: values.models ?? settings.models_dir,
    ...{ model, sinceMs, untilMs },
  })
  for (const { kind, segment, sequence, detail } of damage) {
    process.stderr.write(`${kind} in ${segment} at sequence ${sequence}: ${detail}\n`)
  }
  if (!whole) process.stderr.write('the log could not be read to the end that it states\n')
  for (const row of rows) process.stdout.write(values.json === true ? `${json(row)}\n` : text(row))
  if (rows.every((row) => row.pairs === 0)) {
    throw new AssayError('ASSAY_INPUT_INVALID', `no decision of the range can be compared with ${model}`)
  }
  return damage.length === 0 && whole ? 0 : 1
}

function parse(args: readonly string[]) {
  const one = { type: 'string' } as const
  const flags = { json: { type: 'boolean' }, help: { type: 'boolean', short: 'h' } } as const
  const options = { model: one, since: one, until: one, data: one, models: one, ...flags } as const
  try {
    return parseArgs({ args: [...args], allowPositionals: true, options })
  } catch (cause) {
    throw new AssayError('ASSAY_USAGE', cause instanceof Error ? cause.message : String(cause), { cause })
  }
}

/** Amounts are whole minor units below 2^53 in any range that a person asks for; beyond it they are texts. */
function json(row: Row): string {
  return JSON.stringify(row, (_, value: unknown) => {
    if (typeof value !== 'bigint') return value
    return value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : String(value)
  })
}

/** The answer in a sentence, then the figures. */
function text(row: Row): string {
  const number = (name: string): number => Number(row[name] ?? NaN)
  const percent = (name: string): string => `${(100 * number(name)).toPrecision(3)} %`
  const money = (name: string): string => (number(name) / 100).toLocaleString('en')
  const count = (name: string): string => number(name).toLocaleString('en')
  const name = (column: string): string => String(row[column])
  const list = (column: string): string => {
    const cell = row[column]
    return Array.isArray(cell) ? cell.map(shown).join(', ') : '–'
  }
  const segment = row.segment === '' ? '' : ` in segment ${name('segment')}`
  return [
    `${name('shadow')} would flip ${percent('flip_share')} of ${count('pairs')} decisions of ` +
      `${name('champion')}${segment} (${percent('flip_low')} to ${percent('flip_high')}): ${count('swap_in')} more alerts, ` +
      `${count('swap_out')} fewer`,
    `  amounts         ${money('swap_in_amount')} newly alerted, ${money('swap_out_amount')} no longer (base currency)`,
    `  alerts          ${count('champion_alerts')} and ${count('shadow_alerts')}; difference ${percent('alert_difference')} ` +
      `(${percent('alert_difference_low')} to ${percent('alert_difference_high')}), p ${shown(row.mcnemar_p)}`,
    `  agreement       ${percent('agreement')}, kappa ${shown(row.kappa)} (se ${shown(row.kappa_se)})`,
    `  scores          mean difference ${shown(row.difference_mean)}, sd ${shown(row.difference_sd)}, ` +
      `Spearman ${shown(row.spearman)} ± ${shown(row.spearman_error)}, Kendall ${shown(row.kendall)}`,
    `  equal volume    thresholds ${list('equal_thresholds')} in place of ${list('champion_thresholds')} (2: not used)`,
    `  not compared    ${count('failed')} failed`,
    '',
  ].join('\n')
}

function shown(value: Cell | undefined): string {
  return typeof value === 'number' ? String(Number(value.toPrecision(3))) : '–'
}
