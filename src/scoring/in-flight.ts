// The rows under way: a fixed pool of contexts, made at start and reused, so that a transaction allocates little.
// Invariant: a context is in the pool or out, never both; its ticket changes with each use, so that a late result
// of an earlier use is recognised and dropped.
import type { DecisionFacts, DecisionPersonal } from '../contract/record-types.js'
import type { Transaction } from '../contract/transaction.js'
import type { Exchange } from './exchange.js'
import type { Ticket } from './lane/port.js'
import type { LaneModel } from './models.js'
import type { FeatureRow } from './row.js'
import type { Serving } from './serving.js'
import type { Claim } from './shared/stage.js'

const EMPTY = new Uint8Array(0)

/** Everything known of one transaction while it is under way. Made once; every field is set again by `take`. */
export class Context {
  readonly index: number
  /** Where its vector starts in the shared Float64Array of all vectors. */
  readonly vectorAt: number
  readonly facts: DecisionFacts
  readonly personal: DecisionPersonal
  ticket: Ticket
  /** Place in the list of rows that wait for a lane, or -1. */
  waitingAt = -1
  exchange: Exchange | null = null
  /** What the transaction began with: a change of the routes meanwhile is not for it. */
  serving!: Serving
  transactionId = ''
  /** Set where features came in place of a transaction. */
  row: FeatureRow | null = null
  /** Entry in the id index, or -1 where it is not indexed. */
  entry = -1
  /** The model whose lane has the row now. */
  lane: LaneModel | null = null
  prescribed: 'champion' | 'challenger' = 'champion'
  /** Step in the chain of the prescribed role. */
  step = 0
  /** A lane took the row and failed. */
  handedOver = false
  /** Monotonic ms at which the current lane is given up. */
  giveUpAtMs = 0
  deadlineAtMs = 0
  /** Monotonic ms of the hand-over to the current lane, and of the append. */
  offeredAtMs = 0
  appendedAtMs = 0
  /** Room in the log is reserved or used; false only under serve_and_count. */
  logged = false
  sequence = -1
  /** Under which its decision is committed to the shared state; null: to none. */
  claim: Claim | null = null
  /** The shared state did not answer in time. */
  withoutState = false
  /** It answers what was decided before. */
  replayed = false
  /** Labels that this context stands for; 0 for a transaction. */
  labels = 0

  constructor(index: number, vectorAt: number, made: { facts: DecisionFacts; personal: DecisionPersonal }) {
    this.index = index
    this.ticket = index
    this.vectorAt = vectorAt
    this.facts = made.facts
    this.personal = made.personal
  }
}

/** Facts and personal data with every field set to nothing; their shapes never change afterwards. */
export function blank(): { facts: DecisionFacts; personal: DecisionPersonal } {
  const transaction: Transaction = {
    transactionId: '',
    occurredAtMs: 0,
    offsetMinutes: 0,
    amountMinor: 0,
    currency: '',
    amountBaseMinor: 0,
    fields: [],
  }
  const facts: DecisionFacts = {
    ordinal: 0,
    unfolded: false,
    epoch: 0,
    mode: 'decide',
    receivedAtMs: 0,
    foldedAtMs: 0,
    decidedAtMs: 0,
    action: null,
    score: null,
    scoreRaw: null,
    model: null,
    prescribedModel: null,
    bucket: -1,
    routesRevision: 0,
    experiment: null,
    arm: null,
    propensity: null,
    rules: [],
    rulesShadow: [],
    thresholds: null,
    segment: null,
    scoreAction: null,
    reasons: [],
    features: 0,
    degraded: false,
    fallback: [],
    decidedElsewhere: null,
    policy: EMPTY,
    stages: { receiveUs: 0, validateUs: 0, featuresUs: 0, inferUs: 0, decideUs: 0 },
  }
  return { facts, personal: { transaction, vector: EMPTY, traceparent: null, source: null } }
}

export interface InFlight {
  /** One vector of the catalogue's size per context, side by side. */
  readonly vectors: Float64Array
  /** A fresh context, or null where all are out. */
  take(): Context | null
  give(context: Context): void
  /** The context that this ticket names, or null where it has been given back since. */
  byTicket(ticket: Ticket): Context | null
  /** Contexts that wait for a lane; order is of no meaning. */
  readonly waiting: readonly Context[]
  startWaiting(context: Context): void
  stopWaiting(context: Context): void
  out(): number
}

/** Makes the pool: `max` contexts with vectors of `vectorSize` values. */
export function createInFlight(max: number, vectorSize: number): InFlight {
  const contexts = Array.from({ length: max }, (_, index) => new Context(index, index * vectorSize, blank()))
  const free = contexts.map((_, index) => max - 1 - index)
  const waiting: Context[] = []

  function stopWaiting(context: Context): void {
    if (context.waitingAt < 0) return
    const last = waiting[waiting.length - 1]
    waiting[context.waitingAt] = last
    last.waitingAt = context.waitingAt
    waiting.length--
    context.waitingAt = -1
  }

  return {
    vectors: new Float64Array(max * vectorSize),
    take() {
      const index = free.pop()
      if (index === undefined) return null
      const context = contexts[index]
      context.ticket += max
      return context
    },
    give(context) {
      stopWaiting(context)
      context.exchange = null
      context.lane = null
      context.row = null
      free.push(context.index)
    },
    byTicket(ticket) {
      const context = contexts[ticket % max]
      return context.ticket === ticket && context.exchange !== null ? context : null
    },
    waiting,
    startWaiting(context) {
      context.waitingAt = waiting.length
      waiting.push(context)
    },
    stopWaiting,
    out: () => max - free.length,
  }
}
