// A slice of the handbook's stream that can be replayed apart from the rest: payments to compare, and every payment
// that touches a customer or a terminal of theirs. Sends it through a server's score listener and compares what was
// logged with what was published. Holds no test.
import type { Payment, Published } from '../features/handbook.js'
import type { LoggedDecision, Rig } from './server-rig.js'

export interface Slice {
  /** In the order of the stream; those to compare among them. */
  readonly fed: readonly Payment[]
  readonly compared: ReadonlySet<string>
}

/**
 * Takes customers until their published payments are at least `rowsMin`: first those who paid most often at terminals
 * with a fraud somewhere in the stream, so that labels matter for many rows.
 */
export function pickSlice(payments: readonly Payment[], wanted: Published, rowsMin: number): Slice {
  const defrauded = new Set(payments.filter(({ fraud }) => fraud).map(({ terminal }) => terminal))
  const byCustomer = new Map<string, Payment[]>()
  for (const payment of payments) {
    if (!wanted.has(payment.transactionId)) continue
    byCustomer.set(payment.customer, [...(byCustomer.get(payment.customer) ?? []), payment])
  }
  const risky = ([, own]: readonly [string, readonly Payment[]]): number =>
    own.filter(({ terminal }) => defrauded.has(terminal)).length
  const customers = new Set<string>()
  const terminals = new Set<string>()
  const compared = new Set<string>()
  for (const [customer, own] of [...byCustomer].sort((one, other) => risky(other) - risky(one))) {
    if (compared.size >= rowsMin) break
    customers.add(customer)
    for (const { terminal, transactionId } of own) {
      terminals.add(terminal)
      compared.add(transactionId)
    }
  }
  const fed = payments.filter(({ customer, terminal }) => customers.has(customer) || terminals.has(terminal))
  return { fed, compared }
}

/** Labels are sent an hour after the payment, days before they may act. */
const KNOWN_AFTER_MS = 3_600_000
const BATCH_ROWS = 256

export interface Sent {
  readonly observed: number
  readonly decided: number
  readonly labels: number
}

/** History as `observe` in batches, the compared payments one by one as `decide`, each fraud's label soon after it. */
export async function sendSlice(rig: Rig, { fed, compared }: Slice): Promise<Sent> {
  const counts = { observed: 0, decided: 0, labels: 0 }
  let waiting: Payment[] = []
  const label = async (payments: readonly Payment[]): Promise<void> => {
    const labels = payments.filter(({ fraud }) => fraud).map(toLabel)
    if (labels.length === 0) return
    const answer = await rig.send('/v1/labels', labels)
    if (answer.status !== 202) throw new Error(`labels were answered with ${answer.status} ${answer.body?.code}`)
    counts.labels += labels.length
  }
  const observe = async (): Promise<void> => {
    if (waiting.length === 0) return
    const transactions = waiting.map(toWire)
    const answer = await rig.send('/v1/score/batch', { transactions }, { 'assay-mode': 'observe' })
    const rows: { status: number }[] = answer.status === 200 ? answer.body : []
    const taken = rows.filter(({ status }) => status === 202).length
    if (taken !== waiting.length) throw new Error(`a batch was answered with ${answer.status}, ${taken} rows taken`)
    counts.observed += taken
    await label(waiting)
    waiting = []
  }
  for (const payment of fed) {
    if (compared.has(payment.transactionId)) {
      await observe()
      const answer = await rig.score(toWire(payment), { 'assay-mode': 'decide' })
      if (answer.status !== 200) throw new Error(`a payment was answered with ${answer.status} ${answer.body?.code}`)
      counts.decided++
      await label([payment])
    } else if (waiting.push(payment) === BATCH_ROWS) await observe()
  }
  await observe()
  return counts
}

function toWire(payment: Payment): object {
  return {
    transaction_id: payment.transactionId,
    occurred_at: payment.at,
    amount_minor: Math.round(Number(payment.amount) * 100),
    currency: 'EUR',
    customer_id: payment.customer,
    terminal_id: payment.terminal,
  }
}

function toLabel({ transactionId, at }: Payment): object {
  const knownAt = new Date(Date.parse(at) + KNOWN_AFTER_MS).toISOString()
  return { transaction_id: transactionId, fraud: true, source: 'chargeback', known_at: knownAt }
}

export interface VectorComparison {
  readonly rows: number
  /** Values that are the published one rounded to float32, to the bit. */
  readonly exact: number
  /** Largest distance met, in float32 steps. */
  readonly steps: number
  /** Transactions with a value further off than one step. */
  readonly off: string[]
}

/** Compares the head of each logged vector, float32 as fed, with the published values. */
export function compareVectors(logged: readonly LoggedDecision[], wanted: Published): VectorComparison {
  const found = { rows: 0, exact: 0, steps: 0, off: Array<string>() }
  for (const { facts, personal } of logged) {
    const { transactionId } = personal.transaction
    const values = wanted.get(transactionId)
    if (values === undefined || facts.mode !== 'decide') continue
    const vector = new Float32Array(personal.vector.buffer, 0, values.length)
    const steps = values.map((value, index) => stepsApart(vector[index], value))
    const most = Math.max(...steps)
    found.rows++
    found.exact += steps.filter((step) => step === 0).length
    found.steps = Math.max(found.steps, most)
    if (!(most <= 1)) found.off.push(transactionId)
  }
  return found
}

/** Float32 values that lie between two numbers: 0 where both round to the same, Infinity where one is NaN. */
export function stepsApart(one: number, other: number): number {
  const [left, right] = Int32Array.from(new Int32Array(Float32Array.of(one, other).buffer))
  if (Number.isNaN(one) || Number.isNaN(other)) return Infinity
  // Negative numbers count down from zero, whose two signs are one value.
  const place = (bits: number): number => (bits < 0 ? -(bits & 0x7fffffff) : bits)
  return Math.abs(place(left) - place(right))
}

export interface LabelUse {
  /** Compared rows whose published risk a label raised. */
  readonly acted: number
  /** Compared rows whose terminal had a fraud, labelled by then, too young to count. */
  readonly heldBack: number
  /** Frauds met by one compared row too young to count, and by a later one that it counts for. */
  readonly turned: number
}

const DAY_MS = 86_400_000
const DELAY_MS = 7 * DAY_MS

/** What the 7 days of delay mean for the compared rows, by a scan over the frauds of each terminal. */
export function labelUse({ fed, compared }: Slice): LabelUse {
  const frauds = new Map<string, number[]>()
  const seen = { young: new Set<string>(), old: new Set<string>() }
  let acted = 0
  let heldBack = 0
  for (const { transactionId, terminal, at, fraud } of fed) {
    const nowMs = Date.parse(at)
    const own = frauds.get(terminal) ?? []
    if (compared.has(transactionId)) {
      const young = own.filter((ms) => ms + KNOWN_AFTER_MS < nowMs && ms > nowMs - DELAY_MS)
      const old = own.filter((ms) => ms <= nowMs - DELAY_MS && ms > nowMs - DELAY_MS - 30 * DAY_MS)
      if (young.length > 0) heldBack++
      if (old.length > 0) acted++
      for (const ms of young) seen.young.add(`${terminal} ${ms}`)
      for (const ms of old) seen.old.add(`${terminal} ${ms}`)
    }
    if (fraud) frauds.set(terminal, [...own, nowMs])
  }
  return { acted, heldBack, turned: [...seen.old].filter((fraud) => seen.young.has(fraud)).length }
}
