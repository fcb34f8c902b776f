// What the drift monitor must show, as functions of seeds and sizes: the bench runs them in full, tests in short.
// Every verdict comes from the monitor's own code (compareWindow, createDriftMonitor), never from a copy of its rules.
import { compareWindow, REFERENCES } from '../src/governance/monitors/drift-verdict.js'
import { createDriftMonitor } from '../src/governance/monitors/drift.js'
import { emptyWindow } from '../src/governance/monitors/drift-window.js'
import type { Series } from '../src/governance/monitors/drift-layout.js'
import type { DerivedRow } from '../src/governance/port.js'
import { LIMITS } from '../src/limits.js'
import { createSimulator } from '../src/simulate/generator.js'
import { createRandom, mix, type Random } from '../src/simulate/random.js'
import { type Cell, createNumberBins, type NumberBins } from '../src/stats/bins.js'
import { addCounts, decodeCounts, encodeCounts } from '../src/stats/counts.js'
import { psi } from '../src/stats/psi.js'
import { createRig, DEPS, HOUR_MS, POLICY, profileOf, START_MS } from '../test/governance/drift-rig.js'
import { createRows, multinomial, sharesOf } from '../test/stats/draw.js'
import { binsFrom } from '../test/stats/reference-bins.js'

export const WINDOW_ROWS = LIMITS.driftWindowRows

/** A feature that does not change: its bins and the true shares of their cells. */
export interface Feature {
  readonly name: string
  readonly bins: NumberBins
  readonly shares: Float64Array
}

/** What each of four judges says of windows: ours, the usual textbook rule, and two that do not look. */
export const JUDGES = ['ours', 'textbook PSI > 0.1', 'always', 'never'] as const
export type Alarms = Record<(typeof JUDGES)[number], number>

const none = (): Alarms => ({ ours: 0, 'textbook PSI > 0.1': 0, always: 0, never: 0 })

/** Thirty shapes: those of the reference catalogue, and those that break naive monitors. */
export function thirtyFeatures(): Feature[] {
  const known = new Map(
    [...profileOf('fraud-xgb').features, ...profileOf('fraud-lgbm').features].map((each) => [each.name, each]),
  )
  const real = [...known.values()].map(({ name, bins, counts }) => ({ name, bins, shares: sharesOf(counts) }))
  const edges = Array.from({ length: 19 }, (_, at) => at + 1)
  const even = (count: number, mass: number): number[] => Array.from({ length: count }, () => mass / count)
  const made: [string, number[], number[], number[]][] = [
    ['even', [], edges, [0, 0, 0, ...even(20, 1)]],
    ['null in 1 %', [], edges, [0.01, 0, 0, ...even(20, 0.99)]],
    ['null in one of a million', [], edges, [1e-6, 0, 0, ...even(20, 1 - 1e-6)]],
    ['nearly always null', [], edges, [0.98, 0, 0, ...even(20, 0.02)]],
    ['zero in 96.5 %', [0], [1, 2, 3, 4], [0, 0, 0, 0.965, 0.012, 0.008, 0.007, 0.005, 0.003]],
    ['zero in 99.9 %', [0], [1], [0, 0, 0, 0.999, 0.0006, 0.0004]],
    ['a flag', [0, 1], [], [0, 0, 0, 0.9, 0.1, 0]],
    ['infinite now and then', [], edges, [1e-4, 2e-4, 5e-4, ...even(20, 1 - 8e-4)]],
    ['a long tail of rare cells', [], edges, [0, 0, 0, ...even(10, 0.999), ...even(10, 0.001)]],
    ['constant', [7], [], [0, 0, 0, 1, 0]],
  ]
  const shapes = made.map(([name, singles, uppers, shares]) => {
    return { name, bins: createNumberBins(singles, uppers), shares: Float64Array.from(shares) }
  })
  return [...real, ...shapes].slice(-30)
}

const PLACE = { epoch: 1, sequence: 1, model: 'm@1', digest: '', segment: '' }

/** The monitor's rows on counts of windows; the reference is training. */
export function judge(
  features: readonly (Feature & { reference: Float64Array })[],
  counts: Float64Array,
): DerivedRow[] {
  let from = 0
  const series = features.map(({ name, bins, reference }): Series => {
    const placed = { kind: 'feature' as const, name, cells: bins.cells, from, reference, cycleDays: 0 }
    from += bins.cells.length
    return placed
  })
  const rows = counts.subarray(0, features[0].bins.cells.length).reduce((sum, count) => sum + count, 0)
  const window = { ...emptyWindow(0), rows, counts }
  const [referenceKind] = REFERENCES.count
  const of = { place: PLACE, windowKind: 'count' as const, window, referenceKind, reference: null, series }
  return compareWindow({ ...of, hasProfile: true, rowsMin: LIMITS.driftRowsMin, alpha: 1e-4 })
}

/** Adds what each judge says: an alarm is a watch or a drift. */
function tally(rows: readonly DerivedRow[], into: Alarms): void {
  for (const { row } of rows) {
    into.always++
    if (row['state'] === 'watch' || row['state'] === 'drift') into.ours++
    if (Number(row['psi_textbook']) > 0.1 && row['kind'] === 'feature') into['textbook PSI > 0.1']++
  }
}

export interface Stationary {
  readonly alarms: Alarms
  readonly verdicts: number
  /** Of what is left after the bias was taken off and what fell below 0 was cut. */
  readonly meanPsi: number
  /** Share of p-values below 1 %. */
  readonly below1Percent: number
}

/** One seed: a reference drawn anew, then windows of the same features; by counts, or row by row through the bins. */
export function stationary(seed: number, windows: number, byRow: boolean): Stationary {
  const random = createRandom(mix(seed, 0x737461))
  const features = thirtyFeatures().map((each) => {
    const reference = multinomial(random, 100_000, each.shares)
    return { ...each, reference, row: createRows(random, each.bins.cells, each.shares) }
  })
  const alarms = none()
  let verdicts = 0
  let psis = 0
  let small = 0
  for (let window = 0; window < windows; window++) {
    const drawn = features.map((each) =>
      byRow ? countRows(each, WINDOW_ROWS) : multinomial(random, WINDOW_ROWS, each.shares),
    )
    const rows = judge(features, joined(drawn))
    tally(rows, alarms)
    for (const { row } of rows) {
      verdicts++
      psis += Number(row['psi'])
      small += Number(row['p']) < 0.01 ? 1 : 0
    }
  }
  return { alarms, verdicts, meanPsi: psis / verdicts, below1Percent: small / verdicts }
}

function countRows({ bins, row }: Feature & { row: () => number }, rows: number): Float64Array {
  const counts = new Float64Array(bins.cells.length)
  for (let each = 0; each < rows; each++) counts[bins.cellOf(row())]++
  return counts
}

function joined(parts: readonly Float64Array[]): Float64Array {
  const whole = new Float64Array(parts.reduce((sum, part) => sum + part.length, 0))
  let at = 0
  for (const part of parts) {
    whole.set(part, at)
    at += part.length
  }
  return whole
}

/** In how many of the seeds each judge finds a change in its windows; and alarms over as many unchanged windows. */
export interface Found {
  readonly seeds: number
  readonly found: Alarms
  readonly falsely: Alarms
}

/**
 * Amounts of the simulator, × `scale` after the reference: found within two windows? A window takes every `stride`-th
 * amount: 1 is half a day as it comes, 4 is spread over two days.
 */
export function amountShift(of: { seeds: number; scale: number; referenceRows: number; stride: number }): Found {
  const found = none()
  const falsely = none()
  for (let seed = 1; seed <= of.seeds; seed++) {
    const simulator = createSimulator({ seed, customers: 5000, terminals: 10_000, startMs: START_MS })
    const amounts = (rows: number, stride: number): Float32Array =>
      Float32Array.from({ length: rows }, () => {
        for (let skipped = 1; skipped < stride; skipped++) simulator.next()
        return euros(simulator.next().wire)
      })
    const { bins, counts: reference } = binsFrom(amounts(of.referenceRows, 1))
    const windows = (): DerivedRow[] =>
      [1, 2].flatMap(() => {
        const counts = new Float64Array(bins.cells.length)
        for (const amount of amounts(WINDOW_ROWS, of.stride)) counts[bins.cellOf(amount)]++
        return judge([{ name: 'amount', bins, shares: counts, reference }], counts)
      })
    any(windows(), falsely)
    simulator.apply({ amountScale: of.scale })
    any(windows(), found)
  }
  return { seeds: of.seeds, found, falsely }
}

function euros({ amount_minor: minor, currency }: { amount_minor: number; currency: string }): number {
  return (minor / 100) * (POLICY.currencies.list[currency]?.rate ?? NaN)
}

/** Counts once where any of the rows is an alarm. */
function any(rows: readonly DerivedRow[], into: Alarms): void {
  const each = none()
  tally(rows, each)
  for (const name of JUDGES) into[name] += each[name] > 0 ? 1 : 0
}

/** Shares before and after, windows drawn from both; found within one window? */
export function shareShift(
  seeds: number,
  cells: readonly Cell[],
  before: readonly number[],
  after: readonly number[],
): Found {
  const found = none()
  const falsely = none()
  const bins = { cells, cellOf: () => 0 }
  for (let seed = 1; seed <= seeds; seed++) {
    const random = createRandom(mix(seed, 0x736866))
    const feature = { name: 'f', bins, shares: sharesOf(before), reference: multinomial(random, 100_000, before) }
    any(judge([feature], multinomial(random, WINDOW_ROWS, before)), falsely)
    any(judge([feature], multinomial(random, WINDOW_ROWS, after)), found)
  }
  return { seeds, found, falsely }
}

/** Zero-inflated features as they drift: fewer zeros, or the same zeros and other values above them. */
export function zeroInflated(seeds: number): readonly { readonly name: string; readonly found: Found }[] {
  const { cells } = createNumberBins([0], [1, 2, 3])
  const rest = (zeros: number, shape: readonly number[]): number[] => [
    0,
    0,
    0,
    zeros,
    ...shape.map((s) => s * (1 - zeros)),
  ]
  const flat = [0.25, 0.25, 0.25, 0.25]
  const run = (before: number[], after: number[]): Found => shareShift(seeds, cells, before, after)
  return [
    { name: 'zero in 96.5 % → 92 %', found: run(rest(0.965, flat), rest(0.92, flat)) },
    { name: 'zero in 80 % → 70 %', found: run(rest(0.8, flat), rest(0.7, flat)) },
    { name: 'zero in 80 %, the rest larger', found: run(rest(0.8, flat), rest(0.8, [0.1, 0.2, 0.3, 0.4])) },
    { name: 'zero in 95 %, the rest larger', found: run(rest(0.95, flat), rest(0.95, [0.02, 0.08, 0.2, 0.7])) },
  ]
}

/** Null rate 1 → 5 %. */
export function nullRate(seeds: number): Found {
  const { bins, shares } = thirtyFeatures().find((each) => each.name === 'null in 1 %') ?? thirtyFeatures()[0]
  const after = Array.from(shares, (share, at) => (at === 0 ? 0.05 : (share * 0.95) / 0.99))
  return shareShift(seeds, bins.cells, Array.from(shares), after)
}

/** How far one absurd value in a window moves PSI, at most, over all features and kinds of absurdity. */
export function absurdValue(windows: number): number {
  const random = createRandom(0x616273)
  let worst = 0
  for (const { bins, shares } of thirtyFeatures()) {
    const reference = multinomial(random, 100_000, shares)
    for (let window = 0; window < windows; window++) {
      const counts = multinomial(random, WINDOW_ROWS, shares)
      const before = psi(reference, counts).psi
      for (const absurd of [NaN, Infinity, -Infinity, 3e38, -3e38, 0]) {
        const moved = Float64Array.from(counts)
        moved[bins.cellOf(absurd)]++
        worst = Math.max(worst, Math.abs(psi(reference, moved).psi - before))
      }
    }
  }
  return worst
}

/** Partitions of one window into pods, merged in any order: how many of them give other bytes. */
export function partitions(trials: number): number {
  const random = createRandom(0x706172)
  const { bins, shares } = thirtyFeatures()[0]
  const row = createRows(random, bins.cells, shares)
  let differing = 0
  for (let trial = 0; trial < trials; trial++) {
    const pods = Array.from({ length: 1 + random.integer(9) }, () => new Float64Array(bins.cells.length))
    const whole = new Float64Array(bins.cells.length)
    for (let each = 0; each < 500; each++) {
      const cell = bins.cellOf(row())
      whole[cell]++
      pods[random.integer(pods.length)][cell]++
    }
    const merged = new Float64Array(bins.cells.length)
    for (const bytes of shuffled(
      pods.map((pod) => encodeCounts(pod)),
      random,
    ))
      addCounts(merged, decodeCounts(bytes, merged.length))
    if (!Buffer.from(encodeCounts(merged)).equals(encodeCounts(whole))) differing++
  }
  return differing
}

function shuffled<T>(values: readonly T[], random: Random): T[] {
  const left = [...values]
  return values.map(() => left.splice(random.integer(left.length), 1)[0])
}

export interface Cost {
  readonly segments: number
  readonly usPerValue: number
  readonly usPerDecision: number
  readonly checkpointMs: number
  readonly checkpointBytes: number
}

/** CPU of the monitor per feature value, windows closed and verdicts given as on a busy server; best of the rounds. */
export function cost(decisions: number, segments: number, rounds: number): Cost {
  const declared = Array.from({ length: segments }, (_, at) => ({ name: `s${at}`, field: 'currency', values: ['EUR'] }))
  const rig = createRig(1)
  rig.use({ ...POLICY, governance: { segments: declared } })
  const records = Array.from({ length: 20_000 }, (_, at) =>
    rig.decide({ model: 'fraud-xgb', atMs: START_MS + at, currency: at % 2 === 0 ? 'EUR' : 'USD' }),
  )
  const values = profileOf('fraud-xgb').features.length
  let best = Infinity
  let checkpointMs = Infinity
  let checkpointBytes = 0
  for (let round = 0; round < rounds; round++) {
    const monitor = createDriftMonitor(DEPS)
    const before = process.cpuUsage()
    for (let at = 0; at < decisions; at++) {
      monitor.take(records[at % records.length])
      if (at % WINDOW_ROWS === 0) monitor.drain()
    }
    const { user, system } = process.cpuUsage(before)
    best = Math.min(best, (user + system) / decisions)
    // A week of hours behind it, which is the most that a checkpoint holds.
    for (let hour = 1; hour <= 168; hour++)
      monitor.take(rig.decide({ model: 'fraud-xgb', atMs: START_MS + hour * HOUR_MS }))
    monitor.drain()
    const start = performance.now()
    checkpointBytes = monitor.checkpoint().length
    checkpointMs = Math.min(checkpointMs, performance.now() - start)
  }
  return { segments, usPerValue: best / values, usPerDecision: best, checkpointMs, checkpointBytes }
}
