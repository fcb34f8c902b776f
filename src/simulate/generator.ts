// The stream of transactions: genuine purchases and criminals' merged in time order, with switches to change the world.
// Invariant: the same options and the same calls give the same stream; times never go backwards; memory is bounded by
// the number of customers. Ids hold letters, so none can be taken for a card number. Refuses empty populations.
import { AssayError } from '../errors.js'
import { createFrauds, probe, type Purchase, type Scenario } from './frauds.js'
import { createPopulation, type Population } from './population.js'
import { createRandom, mix, mixUniform, type Random } from './random.js'

/** What a client sends: the wire form of `POST /v1/score` under the reference policy. */
export interface WireTransaction {
  transaction_id: string
  occurred_at: string
  amount_minor: number
  currency: string
  customer_id?: string
  terminal_id?: string
}

export interface SimulatedTransaction {
  readonly wire: WireTransaction
  readonly occurredAtMs: number
  readonly fraud: boolean
  readonly scenario: Scenario | null
}

/** Fields that the `broken` switch can break: an entity goes missing, or the amount comes in major units. */
export type BrokenField = 'amount' | 'customer_id' | 'terminal_id'

export interface Switches {
  /** Factor on genuine amounts; 1 is off. */
  readonly amountScale: number
  /** Share of genuine purchases that go to merchants nobody has seen before. */
  readonly newMerchants: number
  /** The broken field, or null. */
  readonly broken: BrokenField | null
  /** Factor on the rate of genuine purchases; 1 is off. */
  readonly spike: number
  /** Share of the stream that is a wave of card testing at one terminal. */
  readonly attack: number
  /** Share of the stream that is a genuine crowd with ordinary purchases at one terminal, as at a festival. */
  readonly crowd: number
}

export const SWITCHES_OFF: Switches = Object.freeze({
  amountScale: 1,
  newMerchants: 0,
  broken: null,
  spike: 1,
  attack: 0,
  crowd: 0,
})

export interface SimulatorOptions {
  readonly seed: number
  readonly customers: number
  readonly terminals: number
  /** Event time of the start: milliseconds since 1970 UTC; rounded down to the day. */
  readonly startMs: number
  /** Begins every transaction_id; a letter first. Default `s` and the seed. */
  readonly idPrefix?: string
  readonly switches?: Partial<Switches>
}

export interface Simulator {
  /** The next transaction in time order; the stream has no end. */
  next(): SimulatedTransaction
  /** Changes the world from the next transaction on. */
  apply(switches: Partial<Switches>): void
}

const HOUR_MS = 3_600_000
const DAY_MS = 24 * HOUR_MS
const NEW_MERCHANTS = 50
/** Share of customers who pay in another currency, and euros for one unit of each (as in the reference policy). */
const FOREIGN_SHARE = 0.04
const FOREIGN: readonly (readonly [string, number])[] = [
  ['GBP', 1.17],
  ['CHF', 1.05],
  ['SEK', 0.088],
  ['PLN', 0.23],
]
/** Large genuine purchases exist too: this share is multiplied by two to six. */
const TREAT_SHARE = 0.012

/** Makes a seeded simulator. Throws ASSAY_USAGE where a size is not a positive integer. */
export function createSimulator(options: SimulatorOptions): Simulator {
  const { seed, customers, terminals } = options
  for (const size of [customers, terminals]) {
    if (!Number.isInteger(size) || size < 1) throw new AssayError('ASSAY_USAGE', 'customers and terminals must be ≥ 1')
  }
  const random = createRandom(mix(seed, 0x67656e))
  const population = createPopulation({ seed, customers, terminals })
  const frauds = createFrauds(population, createRandom(mix(seed, 0x667264)))
  const prefix = options.idPrefix ?? `s${seed}`
  let switches: Switches = { ...SWITCHES_OFF, ...options.switches }
  let count = 0
  let dayMs = Math.floor(options.startMs / DAY_MS) * DAY_MS
  let nowMs = dayMs
  frauds.startDay(dayMs)
  let genuineAtMs = nextArrival(random, population, { atMs: dayMs, spike: switches.spike })

  const wire = (purchase: Purchase, scenario: Scenario | null): SimulatedTransaction => {
    count++
    nowMs = Math.max(nowMs, Math.floor(purchase.atMs))
    return toWire({
      purchase,
      scenario,
      seed,
      broken: switches.broken,
      id: `${prefix}-${count.toString(36)}`,
      atMs: nowMs,
    })
  }
  const step = (): SimulatedTransaction | null => {
    if (switches.attack > 0 && random.uniform() < switches.attack) {
      const where = { atMs: nowMs, terminal: terminals >> 1, customer: random.integer(customers) }
      return wire(probe(random, where), 'card_testing')
    }
    if (switches.crowd > 0 && random.uniform() < switches.crowd) return wire(crowd(random, population, nowMs), null)
    const fraudAtMs = frauds.nextAtMs()
    if (fraudAtMs <= genuineAtMs && fraudAtMs < dayMs + DAY_MS) {
      const purchase = frauds.take()
      return purchase === null ? null : wire(purchase, purchase.scenario)
    }
    if (genuineAtMs >= dayMs + DAY_MS) {
      dayMs += DAY_MS
      frauds.startDay(dayMs)
      return null
    }
    const purchase = genuine(random, population, { atMs: genuineAtMs, switches })
    genuineAtMs = nextArrival(random, population, { atMs: genuineAtMs, spike: switches.spike })
    if (!frauds.strikes(purchase.terminal, purchase.atMs)) return wire(purchase, null)
    const amount = purchase.amount * (1 + 0.5 * random.uniform())
    return wire({ ...purchase, amount }, 'compromised_terminal')
  }

  return {
    next() {
      for (;;) {
        const transaction = step()
        if (transaction !== null) return transaction
      }
    },
    apply(changed) {
      switches = { ...switches, ...changed }
    },
  }
}

/** Time of the next genuine purchase: exact for a rate that is constant within each hour, since gaps have no memory. */
function nextArrival(random: Random, population: Population, from: { atMs: number; spike: number }): number {
  let atMs = from.atMs
  for (;;) {
    const hours = Math.floor(atMs / HOUR_MS)
    const rate = from.spike * population.hourlyRate(hours % 24, (4 + Math.floor(hours / 24)) % 7)
    const next = atMs + (HOUR_MS / rate) * random.exponential()
    const boundary = (hours + 1) * HOUR_MS
    if (next < boundary) return next
    atMs = boundary
  }
}

function genuine(random: Random, population: Population, at: { atMs: number; switches: Switches }): Purchase {
  const customer = population.pickCustomer(random, Math.floor(at.atMs / HOUR_MS) % 24)
  let terminal = population.pickTerminal(random, customer)
  if (at.switches.newMerchants > 0 && random.uniform() < at.switches.newMerchants) {
    terminal = population.terminals + random.integer(NEW_MERCHANTS)
  }
  // Lognormal around the customer's mean: exp(-s²/2) keeps the mean.
  let amount = population.meanAmount(customer) * Math.exp(0.6 * random.normal() - 0.18) * at.switches.amountScale
  if (random.uniform() < TREAT_SHARE) amount *= 2 + 4 * random.uniform()
  return { atMs: at.atMs, customer, terminal, amount }
}

/** Genuine, but a terminal this busy within the hour is otherwise seen in card testing alone. */
function crowd(random: Random, population: Population, atMs: number): Purchase {
  const customer = population.pickCustomer(random, Math.floor(atMs / HOUR_MS) % 24)
  return { atMs, customer, terminal: Math.floor(0.3 * population.terminals), amount: 8 + 32 * random.uniform() }
}

interface Emitted {
  readonly purchase: Purchase
  readonly scenario: Scenario | null
  readonly seed: number
  readonly broken: BrokenField | null
  readonly id: string
  readonly atMs: number
}

function toWire({ purchase, scenario, seed, broken, id, atMs }: Emitted): SimulatedTransaction {
  const { customer, terminal } = purchase
  let currency = 'EUR'
  let rate = 1
  const trait = mixUniform(mix(seed, 0x666f78), customer)
  if (trait < FOREIGN_SHARE) {
    ;[currency, rate] = FOREIGN[Math.floor((trait / FOREIGN_SHARE) * FOREIGN.length)] ?? ['EUR', 1]
  }
  const units = purchase.amount / rate
  const wire: WireTransaction = {
    transaction_id: id,
    occurred_at: new Date(atMs).toISOString(),
    amount_minor: Math.max(1, Math.round(broken === 'amount' ? units : 100 * units)),
    currency,
    customer_id: `c${customer}`,
    terminal_id: `t${terminal}`,
  }
  if (broken === 'customer_id') delete wire.customer_id
  if (broken === 'terminal_id') delete wire.terminal_id
  return { wire, occurredAtMs: atMs, fraud: scenario !== null, scenario }
}
