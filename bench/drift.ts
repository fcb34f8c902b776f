// The drift monitor on what its issue asks to be shown: false alarms, shifts found, cost; two dummies beside it.
// usage: node dist/bench/drift.js [--quick]    the whole takes some minutes; --quick writes nothing
import * as cases from './drift-cases.js'
import { targetLine, writeReport } from './report.js'

const isQuick = process.argv.includes('--quick')
const SEEDS = isQuick ? 2 : 20
const WINDOWS = isQuick ? 40 : 720
const SHIFTS = isQuick ? 10 : 100
const DRAWS = isQuick ? 100 : 1000

const lines: string[] = []
const data: Record<string, unknown> = {}
const percent = (part: number, whole: number): string => `${((100 * part) / whole).toFixed(1)} %`
const columns = (name: string, cells: readonly string[]): string =>
  `  ${name.padEnd(44)}${cells.map((cell) => cell.padStart(20)).join('')}`

/** Standard deviations by which two shares of verdicts differ, as if verdicts were independent. */
function apart(a: cases.Stationary, b: cases.Stationary): number {
  const both = (a.below1Percent * a.verdicts + b.below1Percent * b.verdicts) / (a.verdicts + b.verdicts)
  const deviation = Math.sqrt(both * (1 - both) * (1 / a.verdicts + 1 / b.verdicts))
  return Math.abs(a.below1Percent - b.below1Percent) / deviation
}

function falseAlarms(): { worst: number; apart: number } {
  const seeds = Array.from({ length: SEEDS }, (_, at) => cases.stationary(at + 1, WINDOWS, false))
  const byRow = cases.stationary(1, WINDOWS, true)
  const worst = (name: (typeof cases.JUDGES)[number]): number => Math.max(...seeds.map(({ alarms }) => alarms[name]))
  const [first] = seeds
  lines.push(
    `Nothing changes: 30 features × ${WINDOWS} windows of ${cases.WINDOW_ROWS} × ${SEEDS} seeds, reference of 100,000 rows`,
    columns('alarms (watch or drift)', cases.JUDGES),
    columns(
      'worst seed',
      cases.JUDGES.map((name) => `${worst(name)}`),
    ),
    columns(
      'all seeds',
      cases.JUDGES.map((name) => `${seeds.reduce((sum, { alarms }) => sum + alarms[name], 0)}`),
    ),
    columns(
      'seed 1 row by row, through the bins',
      cases.JUDGES.map((name) => `${byRow.alarms[name]}`),
    ),
    `  seed 1, counts drawn at once: mean PSI ${first.meanPsi.toExponential(3)}, p below 1 % in ${percent(first.below1Percent, 1)}`,
    `  seed 1, row by row:           mean PSI ${byRow.meanPsi.toExponential(3)}, p below 1 % in ${percent(byRow.below1Percent, 1)}`,
    '',
  )
  data['stationary'] = { seeds, byRow }
  return { worst: worst('ours'), apart: apart(first, byRow) }
}

/** Shifts found, and a line each. */
function shifts(): Record<'amount' | 'nulls' | 'zeros', number> {
  const world = { seeds: SHIFTS, scale: 1.22, referenceRows: 70_000 }
  const amount = cases.amountShift({ ...world, stride: 1 })
  const spread = cases.amountShift({ ...world, stride: 4 })
  const nulls = cases.nullRate(DRAWS)
  const zeros = cases.zeroInflated(DRAWS)
  const found = ({ found: by, seeds }: cases.Found): string[] => cases.JUDGES.map((name) => percent(by[name], seeds))
  const falsely = ({ falsely: by, seeds }: cases.Found): string[] =>
    cases.JUDGES.map((name) => percent(by[name], seeds))
  lines.push(
    'Something changes: share of seeds in which it is found',
    columns('', cases.JUDGES),
    columns(`amounts × 1.22, two windows, ${SHIFTS} seeds`, found(amount)),
    columns('  the same without a change', falsely(amount)),
    columns('amounts × 1.22, windows of two days', found(spread)),
    columns('  the same without a change', falsely(spread)),
    columns(`null rate 1 → 5 %, one window, ${DRAWS} seeds`, found(nulls)),
    columns('  the same without a change', falsely(nulls)),
    ...zeros.flatMap((each) => [columns(`${each.name}, one window`, found(each.found))]),
    columns('  the last without a change', falsely(zeros[zeros.length - 1].found)),
    '',
  )
  data['shifts'] = { amount, spread, nulls, zeros }
  const share = ({ found: by, seeds }: cases.Found): number => (100 * by.ours) / seeds
  return {
    amount: Math.min(share(amount), share(spread)),
    nulls: share(nulls),
    zeros: Math.min(...zeros.map((each) => share(each.found))),
  }
}

function costs(): number {
  const measured = [0, 4, 16].map((segments) => cases.cost(isQuick ? 50_000 : 200_000, segments, isQuick ? 1 : 3))
  lines.push(
    'Cost on one core: 18 features, score, action, currency; verdicts of closed windows included; best of rounds',
  )
  for (const each of measured) {
    lines.push(
      `  ${String(each.segments).padStart(2)} segments  ${each.usPerDecision.toFixed(2)} µs a decision, ` +
        `${each.usPerValue.toFixed(3)} µs a feature value; checkpoint with a week of hours ` +
        `${(each.checkpointBytes / 1024).toFixed(0)} KiB in ${each.checkpointMs.toFixed(1)} ms`,
    )
  }
  lines.push('')
  data['cost'] = measured
  return measured[0].usPerValue
}

const stationary = falseAlarms()
const found = shifts()
const us = costs()
const moved = cases.absurdValue(isQuick ? 5 : 50)
const differing = cases.partitions(isQuick ? 100 : 2000)
data['absurd'] = moved
data['partitionsDiffering'] = differing
lines.push(
  'Wanted',
  targetLine('false alarms, worst seed', stationary.worst, { max: 1 }),
  targetLine('rows and counts apart, deviations', stationary.apart, { max: 4 }),
  targetLine('amounts × 1.22 found, % of seeds', found.amount, { min: 95 }),
  targetLine('null rate 1 → 5 % found, %', found.nulls, { min: 99 }),
  targetLine('zero-inflated found, least %', found.zeros, { min: 99 }),
  targetLine('one absurd value moves PSI × 1000', 1000 * moved, { max: 5 }),
  targetLine('partitions with other bytes', differing, { max: 0 }),
  targetLine('µs a feature value', us, { max: 2 }),
)
if (isQuick) process.stdout.write(`${lines.join('\n')}\n`)
else writeReport('drift', lines, data)
