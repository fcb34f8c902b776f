// Who buys, where and when: customers with a spending profile, terminals with a popularity, the shape of a week.
// Invariant: everything follows from the seed; memory is a few numbers per customer and none per terminal.
// Written from the published description of the Fraud Detection Handbook's simulator (chapter 3, "Transaction data
// simulator": customer and terminal profiles, counts per day, amounts around the customer's mean); the code is our own,
// and profiles, weekdays, currencies and popularity are added.
import { createRandom, mix, mixUniform, type Random } from './random.js'

export interface PopulationOptions {
  readonly seed: number
  readonly customers: number
  readonly terminals: number
}

export interface Population {
  readonly customers: number
  readonly terminals: number
  /** Purchases per hour of everybody, at this hour of day (0–23, UTC) and weekday (0 = Sunday). */
  hourlyRate(hour: number, weekday: number): number
  /** Somebody who buys at this hour, in proportion to how often each does. */
  pickCustomer(random: Random, hour: number): number
  /** A terminal for a purchase of this customer: mostly one of the habitual ones. */
  pickTerminal(random: Random, customer: number): number
  /** Any terminal, popular ones more often. */
  anyTerminal(random: Random): number
  /** What this customer spends on average, in euros. */
  meanAmount(customer: number): number
}

const HABITUAL_TERMINALS = 12
const HABITUAL_SHARE = 0.85
/** Exponent of the popularity of terminals: 1 would be uniform; 1.6 gives the busiest tenth a quarter of the trade. */
const POPULARITY = 1.6
/** Purchases a day: between these for nine in ten customers. */
const DAILY_RATE_MIN = 0.2
const DAILY_RATE_MAX = 3.8
/** Sunday … Saturday. */
const WEEKDAY_SHAPE = [0.82, 0.95, 0.96, 0.98, 1.03, 1.16, 1.1]
const PROFILES: readonly { readonly share: number; readonly peaks: readonly (readonly [number, number, number])[] }[] =
  [
    // [hour of the peak, width in hours, weight]
    {
      share: 0.5,
      peaks: [
        [8, 1.5, 1],
        [12.5, 1.5, 1.5],
        [18, 2.5, 2.2],
      ],
    },
    {
      share: 0.35,
      peaks: [
        [11, 3, 2],
        [16, 3, 1.5],
      ],
    },
    { share: 0.15, peaks: [[21.5, 3.5, 2]] },
  ]

/** Builds the population; its cost is linear in the number of customers. */
export function createPopulation(options: PopulationOptions): Population {
  const { seed, customers, terminals } = options
  const random = createRandom(mix(seed, 0x706f70))
  const means = new Float64Array(customers)
  const members = PROFILES.map(() => new Array<number>())
  const rates = PROFILES.map(() => new Array<number>())
  for (let customer = 0; customer < customers; customer++) {
    // Lognormal around a median of 32 euros: most spend little, a few a lot.
    means[customer] = Math.min(400, Math.max(4, 32 * Math.exp(0.65 * random.normal())))
    const profile = pickProfile(random.uniform())
    members[profile].push(customer)
    rates[profile].push(DAILY_RATE_MIN + (DAILY_RATE_MAX - DAILY_RATE_MIN) * random.uniform())
  }
  const choices = rates.map((list) => createChoice(list))
  const shapes = PROFILES.map((profile) => hourShape(profile.peaks))
  const profileRate = (profile: number, hour: number): number => choices[profile].total * shapes[profile][hour]
  const total = Array.from({ length: 24 }, (_, hour) => sum(PROFILES.map((_profile, at) => profileRate(at, hour))))
  const anyTerminal = (from: Random): number => Math.floor(terminals * from.uniform() ** POPULARITY)
  return {
    customers,
    terminals,
    hourlyRate: (hour, weekday) => total[hour] * WEEKDAY_SHAPE[weekday],
    pickCustomer(from, hour) {
      let left = from.uniform() * total[hour]
      let profile = 0
      for (; profile < PROFILES.length - 1; profile++) {
        const rate = profileRate(profile, hour)
        if (left < rate) break
        left -= rate
      }
      // A profile without members has no rate; only rounding could lead to one.
      return members[profile][choices[profile].pick(from)] ?? 0
    },
    pickTerminal(from, customer) {
      if (from.uniform() >= HABITUAL_SHARE) return anyTerminal(from)
      // The habitual terminals are a hash, not a table; the first of them are visited more often.
      const habit = Math.floor(HABITUAL_TERMINALS * from.uniform() ** 1.5)
      return Math.floor(terminals * mixUniform(mix(seed, customer), habit) ** POPULARITY)
    },
    anyTerminal,
    meanAmount: (customer) => means[customer],
  }
}

function pickProfile(at: number): number {
  let left = at
  for (let profile = 0; profile < PROFILES.length - 1; profile++) {
    left -= PROFILES[profile].share
    if (left < 0) return profile
  }
  return PROFILES.length - 1
}

/** Share of a day's purchases in each hour: a mixture of bells around the clock over a small floor; sums to 1. */
function hourShape(peaks: readonly (readonly [number, number, number])[]): Float64Array {
  const shape = new Float64Array(24)
  for (let hour = 0; hour < 24; hour++) {
    let weight = 0.02
    for (const [peak, width, height] of peaks) {
      const distance = Math.abs(hour + 0.5 - peak)
      const around = Math.min(distance, 24 - distance)
      weight += (height / width) * Math.exp(-0.5 * (around / width) ** 2)
    }
    shape[hour] = weight
  }
  const all = sum(shape)
  return shape.map((weight) => weight / all)
}

interface Choice {
  readonly total: number
  pick(random: Random): number
}

/** Weighted choice in constant time: Vose's alias method (IEEE Trans. Softw. Eng. 17(9), 1991). */
function createChoice(weights: readonly number[]): Choice {
  const count = weights.length
  const total = sum(weights)
  const alias = new Int32Array(count)
  const keep = Float64Array.from(weights, (weight) => (weight * count) / total)
  const small: number[] = []
  const large: number[] = []
  keep.forEach((weight, at) => (weight < 1 ? small : large).push(at))
  for (;;) {
    const less = small.pop()
    if (less === undefined) break
    const more = large.pop()
    if (more === undefined) {
      keep[less] = 1
      continue
    }
    alias[less] = more
    keep[more] += keep[less] - 1
    ;(keep[more] < 1 ? small : large).push(more)
  }
  for (const at of large) keep[at] = 1
  return {
    total,
    pick(random) {
      const at = random.integer(count)
      return random.uniform() < keep[at] ? at : alias[at]
    },
  }
}

function sum(values: Iterable<number>): number {
  let all = 0
  for (const value of values) all += value
  return all
}
