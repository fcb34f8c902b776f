// Who steals: three scenarios, as scheduled purchases and as terminals that are compromised for a while.
// Invariant: purchases come out in time order; what is pending is bounded by the number of customers.
// The first two follow the Fraud Detection Handbook's published description (chapter 3, "Fraud scenarios generation":
// scenario 2, a terminal compromised for 28 days, "a criminal use of a terminal, through phishing for example";
// scenario 3, a customer's credentials leaked, amounts multiplied for 14 days). Card testing follows the networks'
// public descriptions of enumeration attacks: bursts of tiny amounts at one merchant, larger purchases later.
import type { Population } from './population.js'
import type { Random } from './random.js'

export type Scenario = 'compromised_terminal' | 'stolen_credentials' | 'card_testing'
export const SCENARIOS: readonly Scenario[] = ['compromised_terminal', 'stolen_credentials', 'card_testing']

/** Who pays whom, when and how much; the amount is in euros. */
export interface Purchase {
  readonly atMs: number
  readonly customer: number
  readonly terminal: number
  readonly amount: number
}

export interface FraudPurchase extends Purchase {
  readonly scenario: Scenario
}

export interface Frauds {
  /** Time of the next purchase that is pending; Infinity where there is none. */
  nextAtMs(): number
  /** Takes that purchase; null where there is none. */
  take(): FraudPurchase | null
  /** Draws what starts on the day that begins at this time. */
  startDay(dayMs: number): void
  /** Whether a purchase at this terminal, at this time, is the criminal's. */
  strikes(terminal: number, atMs: number): boolean
}

type Step =
  | { readonly atMs: number; readonly kind: 'spend'; readonly customer: number; readonly untilMs: number }
  | { readonly atMs: number; readonly kind: 'probe'; readonly terminal: number; readonly left: number }

const HOUR_MS = 3_600_000
const DAY_MS = 24 * HOUR_MS
/** Starts a day: terminals compromised per terminal, credentials stolen and bursts of card testing per customer. */
const COMPROMISED_PER_TERMINAL = 0.0003
const STOLEN_PER_CUSTOMER = 0.00045
const BURSTS_PER_CUSTOMER = 0.00006
const COMPROMISED_SHARE = 0.6
/** Mean time between two purchases with stolen credentials. */
const STOLEN_GAP_MS = 16 * HOUR_MS
const PROBES_MIN = 40
const PROBES_MORE = 80
/** Mean time between two probes of a burst. */
const PROBE_GAP_MS = 25_000
/** Share of probed cards that are spent on later. */
const PROBED_SPENT = 0.05

/** Pending steps are bounded by `pendingMax` (default: the number of customers); beyond it nothing new starts. */
export function createFrauds(population: Population, random: Random, pendingMax = population.customers): Frauds {
  const steps = createHeap()
  const compromised = new Map<number, { fromMs: number; untilMs: number }>()
  const start = (step: Step): void => {
    if (steps.size() < pendingMax) steps.push(step)
  }
  const steal = (customer: number, atMs: number): void => {
    start({ atMs, kind: 'spend', customer, untilMs: atMs + DAY_MS * (1 + 13 * random.uniform()) })
  }
  return {
    nextAtMs: () => steps.firstAtMs(),
    take() {
      const step = steps.pop()
      if (step === null) return null
      if (step.kind === 'spend') {
        const atMs = step.atMs + STOLEN_GAP_MS * random.exponential()
        if (atMs <= step.untilMs) steps.push({ ...step, atMs })
        return spend(population, random, step)
      }
      const customer = random.integer(population.customers)
      if (random.uniform() < PROBED_SPENT) steal(customer, step.atMs + HOUR_MS * (2 + 46 * random.uniform()))
      if (step.left > 1) {
        steps.push({ ...step, atMs: step.atMs + PROBE_GAP_MS * random.exponential(), left: step.left - 1 })
      }
      return probe(random, { atMs: step.atMs, terminal: step.terminal, customer })
    },
    startDay(dayMs) {
      const within = (): number => dayMs + DAY_MS * random.uniform()
      for (const [terminal, { untilMs }] of compromised) if (untilMs < dayMs) compromised.delete(terminal)
      for (let left = random.poisson(population.terminals * COMPROMISED_PER_TERMINAL); left > 0; left--) {
        const fromMs = within()
        const untilMs = fromMs + DAY_MS * (4 + 24 * random.uniform())
        compromised.set(random.integer(population.terminals), { fromMs, untilMs })
      }
      for (let left = random.poisson(population.customers * STOLEN_PER_CUSTOMER); left > 0; left--) {
        steal(random.integer(population.customers), within())
      }
      for (let left = random.poisson(population.customers * BURSTS_PER_CUSTOMER); left > 0; left--) {
        const probes = PROBES_MIN + random.integer(PROBES_MORE)
        start({ atMs: within(), kind: 'probe', terminal: random.integer(population.terminals), left: probes })
      }
    },
    strikes(terminal, atMs) {
      const during = compromised.get(terminal)
      if (during === undefined || atMs < during.fromMs || atMs > during.untilMs) return false
      return random.uniform() < COMPROMISED_SHARE
    },
  }
}

function spend(population: Population, random: Random, step: { atMs: number; customer: number }): FraudPurchase {
  const factor = (2 + 4 * random.uniform()) * Math.exp(0.35 * random.normal())
  return {
    atMs: step.atMs,
    customer: step.customer,
    terminal: population.anyTerminal(random),
    amount: population.meanAmount(step.customer) * factor,
    scenario: 'stolen_credentials',
  }
}

/** One probe of card testing: a tiny amount, often exactly one euro. */
export function probe(random: Random, where: { atMs: number; terminal: number; customer: number }): FraudPurchase {
  const amount = random.uniform() < 0.3 ? 1 : 0.5 + 4.5 * random.uniform()
  return { ...where, amount, scenario: 'card_testing' }
}

/** A binary heap by time; ties leave in an order that depends only on the pushes. */
function createHeap() {
  const heap: Step[] = []
  const at = (index: number): number => heap[index]?.atMs ?? Infinity
  const swap = (left: number, right: number): void => {
    const held = heap[left]
    const other = heap[right]
    if (held === undefined || other === undefined) return
    heap[left] = other
    heap[right] = held
  }
  return {
    size: () => heap.length,
    firstAtMs: () => at(0),
    push(step: Step): void {
      let index = heap.push(step) - 1
      while (index > 0 && at((index - 1) >> 1) > at(index)) {
        swap(index, (index - 1) >> 1)
        index = (index - 1) >> 1
      }
    },
    pop(): Step | null {
      const first = heap[0]
      const last = heap.pop()
      if (first === undefined || last === undefined) return null
      if (heap.length === 0) return first
      heap[0] = last
      for (let index = 0; ;) {
        const left = 2 * index + 1
        const child = at(left + 1) < at(left) ? left + 1 : left
        if (at(child) >= at(index)) return first
        swap(index, child)
        index = child
      }
    },
  }
}
