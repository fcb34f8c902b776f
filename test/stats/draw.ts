// Draws counts and values from known distributions, seeded, for what tests and benches hold against theory.
import type { Cell } from '../../src/stats/bins.js'
import { logGamma } from '../../src/stats/gamma.js'
import type { Random } from '../../src/simulate/random.js'

/** A binomial count: inversion where few are expected, else Hörmann's BTRS (J. Stat. Comput. Simul. 46, 1993). */
export function binomial(random: Random, trials: number, chance: number): number {
  if (trials === 0 || chance <= 0) return 0
  if (chance >= 1) return trials
  if (chance > 0.5) return trials - binomial(random, trials, 1 - chance)
  if (trials * chance < 10) return invert(random, trials, chance)
  const spread = Math.sqrt(trials * chance * (1 - chance))
  const b = 1.15 + 2.53 * spread
  const a = -0.0873 + 0.0248 * b + 0.01 * chance
  const c = trials * chance + 0.5
  const alpha = (2.83 + 5.1 / b) * spread
  const odds = Math.log(chance / (1 - chance))
  const mode = Math.floor((trials + 1) * chance)
  const atMode = logGamma(mode + 1) + logGamma(trials - mode + 1)
  for (;;) {
    const u = random.uniform() - 0.5
    const v = random.uniform()
    const us = 0.5 - Math.abs(u)
    const k = Math.floor(((2 * a) / us + b) * u + c)
    if (k < 0 || k > trials) continue
    if (us >= 0.07 && v <= 0.92 - 4.2 / b) return k
    const left = Math.log((v * alpha) / (a / (us * us) + b))
    if (left <= atMode - logGamma(k + 1) - logGamma(trials - k + 1) + (k - mode) * odds) return k
  }
}

function invert(random: Random, trials: number, chance: number): number {
  const odds = chance / (1 - chance)
  let probability = (1 - chance) ** trials
  let left = random.uniform()
  let k = 0
  while (left > probability && k < trials) {
    left -= probability
    k++
    probability *= (odds * (trials - k + 1)) / k
  }
  return k
}

/** Counts of `rows` draws from these shares: one binomial after the other. */
export function multinomial(random: Random, rows: number, shares: ArrayLike<number>): Float64Array {
  const counts = new Float64Array(shares.length)
  let left = rows
  let mass = 1
  for (let at = 0; at < shares.length && left > 0; at++) {
    const share = shares[at]
    counts[at] = at === shares.length - 1 ? left : binomial(random, left, Math.min(1, share / mass))
    left -= counts[at]
    mass -= share
  }
  // What rounding of the shares left over belongs to the largest of them.
  if (left > 0) counts[sharesLargest(shares)] += left
  return counts
}

function sharesLargest(shares: ArrayLike<number>): number {
  let best = 0
  for (let at = 1; at < shares.length; at++) if (shares[at] > shares[best]) best = at
  return best
}

/** Shares from counts. */
export function sharesOf(counts: ArrayLike<number>): Float64Array {
  let total = 0
  for (let at = 0; at < counts.length; at++) total += counts[at]
  return Float64Array.from(counts, (count) => count / total)
}

/** Draws cells by cumulated shares, then a value that lies in the cell: rows as a model would see them. */
export function createRows(random: Random, cells: readonly Cell[], shares: ArrayLike<number>): () => number {
  const cumulated = new Float64Array(shares.length)
  let mass = 0
  for (let at = 0; at < shares.length; at++) cumulated[at] = mass += shares[at]
  const taken = new Set(cells.flatMap((cell) => (cell.kind === 'single' ? [cell.low ?? NaN] : [])))
  return () => {
    const place = random.uniform() * mass
    let at = 0
    while (at < cells.length - 1 && cumulated[at] <= place) at++
    return valueIn(cells[at], random, taken)
  }
}

function valueIn(cell: Cell, random: Random, taken: ReadonlySet<number>): number {
  if (cell.kind === 'null') return NaN
  if (cell.kind === '-inf') return -Infinity
  if (cell.kind === '+inf') return Infinity
  if (cell.kind === 'single') return cell.low ?? NaN
  const low = cell.low ?? (cell.high ?? 1) - 1
  const high = cell.high ?? low + 1
  for (;;) {
    const value = Math.fround(high - random.uniform() * (high - low))
    if (value > low && (cell.high === null || value <= high) && !taken.has(value)) return value
  }
}
