// One log-linear histogram over typed arrays: what the hot path writes instead of a metrics library.
// Invariant: a value lies in the bucket whose upper edge is the smallest edge at or above it, so that every bound of
// one or two significant digits (50 µs, 2.5 ms, 1 s) is an edge and exported buckets are exact, never interpolated.
// It refuses nothing: negative and NaN count as 0, values beyond the last edge as overflow.

/** Counted values: how many, their sum, and how many at or below a bound. */
export interface Counted {
  readonly count: number
  readonly sum: number
  countUpTo(bound: number): number
}

/** Bounds of what is timed, seconds: from 50 µs to 1 s, all of them edges. */
export const DURATION_BOUNDS_S = [
  0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1,
] as const

const FINE = 200
const STEPS = 180
const DECADES = 4
const OVERFLOW = FINE + STEPS * DECADES + 1
const SLOTS = OVERFLOW + 1

const NOTHING = new Float64Array(SLOTS)

/** Slices of the last minute; one is closed by each `roll`. */
const SLICES = 6

/**
 * Counts integers-rounded-up by value: steps of 1 to 200, then of 5 % and finer to 2,000,000, in the unit of the caller
 * (microseconds for durations). About 10 ns a record; no allocation after construction.
 */
export class Histogram implements Counted {
  /** Values recorded since the start. */
  count = 0
  /** Their sum. */
  sum = 0
  private readonly counts = new Float64Array(SLOTS)
  private readonly slices = Array.from({ length: SLICES }, () => new Float64Array(SLOTS))
  private slice = 0

  /** Counts one value. */
  record(value: number): void {
    const whole = value > 0 ? Math.ceil(value) : 0
    this.counts[slotOf(whole)] += 1
    this.count += 1
    if (value > 0) this.sum += value
  }

  /** Values at or below `bound`; exact where the bound is an edge. */
  countUpTo(bound: number): number {
    const last = slotOf(Math.ceil(bound))
    let total = 0
    for (let slot = 0; slot <= last; slot++) total += this.counts[slot]
    return total
  }

  /** Forgets everything. */
  reset(): void {
    for (const counts of [this.counts, ...this.slices]) counts.fill(0)
    this.count = 0
    this.sum = 0
  }

  /** Closes a slice of the last minute; called every ten seconds. */
  roll(): void {
    this.slices[this.slice].set(this.counts)
    this.slice = (this.slice + 1) % SLICES
  }

  /** Count and quantiles (upper edges) of what was recorded within the last six slices and the open one. */
  lastMinute(quantiles: readonly number[]): { count: number; values: number[] } {
    const before = this.slices[this.slice]
    let count = 0
    for (let slot = 0; slot < SLOTS; slot++) count += this.counts[slot] - before[slot]
    return { count, values: quantiles.map((q) => this.quantileSince(before, Math.max(1, Math.ceil(q * count)))) }
  }

  /** The upper edge of a quantile of everything since the start; 0 where nothing was recorded. */
  quantile(q: number): number {
    return this.quantileSince(NOTHING, Math.max(1, Math.ceil(q * this.count)))
  }

  private quantileSince(before: Float64Array, rank: number): number {
    let seen = 0
    for (let slot = 0; slot < SLOTS; slot++) {
      seen += this.counts[slot] - before[slot]
      if (seen >= rank) return edgeOf(slot)
    }
    return 0
  }
}

/** Slot of an integer ≥ 0: 0…200 by 1, then each tenfold range in 180 equal steps. */
function slotOf(value: number): number {
  if (value <= FINE) return value
  if (value <= 2_000) return FINE + Math.ceil((value - 200) / 10)
  if (value <= 20_000) return FINE + STEPS + Math.ceil((value - 2_000) / 100)
  if (value <= 200_000) return FINE + 2 * STEPS + Math.ceil((value - 20_000) / 1_000)
  if (value <= 2_000_000) return FINE + 3 * STEPS + Math.ceil((value - 200_000) / 10_000)
  return OVERFLOW
}

/** Upper edge of a slot; the overflow shows the last edge. */
function edgeOf(slot: number): number {
  if (slot <= FINE) return slot
  const decade = Math.min(Math.ceil((slot - FINE) / STEPS) - 1, DECADES - 1)
  const step = 10 ** (decade + 1)
  const base = 20 * step
  return Math.min(base + (slot - FINE - decade * STEPS) * step, 2_000_000)
}

/** Counts per bucket under the bounds they were counted by; the last bucket has none. Other bounds are rounded down. */
export function countedIn(bounds: readonly number[], counts: ArrayLike<number>, sum: number): Counted {
  const upTo = (last: number): number => {
    let total = 0
    for (let at = 0; at < last; at++) total += counts[at]
    return total
  }
  return {
    sum,
    count: upTo(counts.length),
    countUpTo: (bound) => upTo(bounds.filter((own) => own <= bound).length),
  }
}
