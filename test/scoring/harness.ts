// A pipeline over real validation, windows, codecs and index; the lanes and the log are scripted, so that a test says
// when a model answers and when a record becomes durable. What is appended is kept, to be folded again.
import { loadConfig } from '../../src/config.js'
import { routingOf } from '../../src/contract/control-state.js'
import { compileLabels } from '../../src/contract/label.js'
import { type Policy, policyFingerprint } from '../../src/contract/policy.js'
import { FROM_FILE } from '../../src/contract/policy-live.js'
import { createDecider, cutsOf } from '../../src/decision/decide.js'
import { withoutTransaction } from '../../src/decision/without-transaction.js'
import { createRecordCodecs } from '../../src/contract/record.js'
import type { DecodedRecord, RecordType } from '../../src/contract/record-types.js'
import { compileTransaction } from '../../src/contract/validate.js'
import type { FallbackReason, Role } from '../../src/contract/decision.js'
import type { Mode } from '../../src/contract/transaction.js'
import type { DecisionLog, EncodeBody } from '../../src/decision-log/port.js'
import { compileCatalogue } from '../../src/features/compile.js'
import { createFeatureState } from '../../src/features/state.js'
import { LIMITS, type Limits } from '../../src/limits.js'
import { assemble, type Fixed } from '../../src/scoring/assemble.js'
import { createDecidedOffsets } from '../../src/scoring/decided.js'
import type { Exchange } from '../../src/scoring/exchange.js'
import { createFold } from '../../src/scoring/fold.js'
import { IdIndex } from '../../src/scoring/id-index.js'
import { createIdentity } from '../../src/scoring/identity.js'
import type { Lane, LaneListener, Ticket } from '../../src/scoring/lane/port.js'
import type { LaneModel, ModelSet, ServedModel } from '../../src/scoring/models.js'
import { createOrder } from '../../src/scoring/order.js'
import { bucketOf } from '../../src/scoring/route.js'
import type { Serving } from '../../src/scoring/serving.js'
import { createMetrics, type Metrics } from '../../src/telemetry/metrics.js'

export const START_MS = Date.parse('2026-03-02T10:00:00Z')

/** A clock that moves when told. */
export class ManualClock {
  ms = START_MS
  nowMs = (): number => Math.floor(this.ms)
  monoMs = (): number => this.ms - START_MS
}

/** A lane that answers when the test says so. */
export class ScriptedLane implements Partial<Lane> {
  refuses: FallbackReason | null = null
  predicted = 0.1
  readonly waiting: Ticket[] = []
  readonly expired: Ticket[] = []
  offered = 0
  constructor(
    readonly name: string,
    readonly listener: () => LaneListener,
  ) {}
  offer(ticket: Ticket): FallbackReason | null {
    if (this.refuses !== null) return this.refuses
    this.offered++
    this.waiting.push(ticket)
    return null
  }
  flush(): void {}
  hear(): void {}
  expire(ticket: Ticket): void {
    this.expired.push(ticket)
    const at = this.waiting.indexOf(ticket)
    if (at >= 0) this.waiting.splice(at, 1)
  }
  predictedMs = (): number => this.predicted
  state = (): 'ready' => 'ready'
  breakerState = (): 'closed' => 'closed'
  queuedRows = (): number => this.waiting.length
  answer(ticket: Ticket, score: number): void {
    this.listener().onScore(this as unknown as Lane, ticket, score, score)
  }
  fail(ticket: Ticket, reason: FallbackReason): void {
    this.listener().onFailure(this as unknown as Lane, ticket, reason)
  }
  answerAll(score: number): void {
    for (const ticket of this.waiting.splice(0)) this.answer(ticket, score)
  }
}

/** A log that keeps its records; they become durable by `sync`, and `roomFor` bounds what it takes until then. */
export class ScriptedLog implements DecisionLog {
  readonly logId = Buffer.from('0102030405060708', 'hex')
  readonly epoch = 1
  readonly records: { type: RecordType; sequence: number; body: Buffer }[] = []
  roomFor = Infinity
  isHealthy = true
  private reserved = 0
  private durable = 0
  private readonly scratch = Buffer.alloc(LIMITS.recordBytesMax)
  reserve(): boolean {
    if (!this.isHealthy || this.records.length - this.durable + this.reserved >= this.roomFor) return false
    this.reserved++
    return true
  }
  release(): void {
    this.reserved--
  }
  append(type: RecordType, encode: EncodeBody): number {
    if (this.reserved-- < 1) throw new Error('appended without a reservation')
    const end = encode(this.scratch, 0)
    if (end < 0) throw new Error('the record does not fit')
    this.records.push({ type, sequence: this.records.length + 1, body: Buffer.from(this.scratch.subarray(0, end)) })
    return this.records.length
  }
  flush(): void {}
  sync(upTo = this.records.length): void {
    this.durable = upTo
  }
  durableSequence(): number {
    return this.durable
  }
  healthy(): boolean {
    return this.isHealthy
  }
  close(): Promise<void> {
    return Promise.resolve()
  }
}

export interface Answer {
  status: number
  body: Record<string, unknown>
  replayed: boolean
  retryAfterS: number
  serverTiming: string | null
}

export interface HarnessOptions {
  readonly policy?: (policy: Policy) => Policy
  readonly limits?: Limits
  readonly challenger?: boolean
}

function scriptedModels(
  metrics: Metrics,
  lanes: { champion: ScriptedLane; challenger: ScriptedLane | null },
): ModelSet {
  return {
    champion: laneModel('champ@1', 'champion', lanes.champion, metrics.model('champ@1')),
    challenger:
      lanes.challenger === null ? null : laneModel('chall@2', 'challenger', lanes.challenger, metrics.model('chall@2')),
    baseline: {
      ...served('base@1', 'baseline', metrics.model('base@1')),
      score: () => 0.02,
      reasons: () => [{ code: 'amount', detail: null, contribution: 0.5 }],
    },
  }
}

function fixedParts(parts: Pick<Fixed, 'policy' | 'limits' | 'clock' | 'catalogue' | 'codecs' | 'metrics'>): Fixed {
  const { policy, limits } = parts
  return {
    ...parts,
    validator: compileTransaction(policy, limits),
    labels: compileLabels(policy.schema, limits),
  }
}

function decidersOf(policy: Policy, catalogue: Fixed['catalogue']): Pick<Serving, 'decider' | 'rowDecider'> {
  const rowDecider = createDecider(withoutTransaction(policy), catalogue)
  return { decider: createDecider(policy, catalogue), rowDecider }
}

/** Builds it; everything is reachable. */
export function createHarness(options: HarnessOptions = {}) {
  const limits = options.limits ?? LIMITS
  const base = structuredClone(loadConfig({ env: {} }).policy)
  const policy = options.policy?.(base) ?? base
  const catalogue = compileCatalogue(policy.catalogue, policy.schema, policy.currencies)
  const clock = new ManualClock()
  const log = new ScriptedLog()
  const codecs = createRecordCodecs(policy.schema)
  const metrics = createMetrics(limits, { nodeMetrics: false })
  const champion = new ScriptedLane('champion', () => assembly.pipeline)
  const challenger = new ScriptedLane('challenger', () => assembly.pipeline)
  const models = scriptedModels(metrics, { champion, challenger: options.challenger === true ? challenger : null })
  const key = Buffer.alloc(16, 7)
  const idsMax = policy.idempotency.ids_max
  const routes = { ...policy.routes, revision: 3, experiment_key: key.toString('hex') }
  const serving: Serving = {
    ...{ policy, live: FROM_FILE, policyDigest: policyFingerprint(policy), ...decidersOf(policy, catalogue) },
    routing: routingOf({ routes }),
    ...{ routes, models, watch: null },
    bucketOf: (entity) => bucketOf(key, entity),
    stickyField: policy.schema.fields.findIndex((field) => field.name === routes.sticky_by),
    propensity: routes.share / 10_000,
  }
  const live = {
    features: createFeatureState(catalogue, { limits }),
    index: new IdIndex({ idsMax, windowMs: policy.idempotency.window_ms, factsBytesMax: limits.factsBytesMax }),
    identity: createIdentity(policy.schema, key, limits.recordBytesMax),
    decided: createDecidedOffsets(limits),
    recall: () => Promise.resolve(new Map()),
    order: createOrder(clock, { ordinal: 0, ms: 0 }),
    lanes: [champion, challenger] as unknown as Lane[],
    ...{ log, serving: () => serving, loaded: null, shared: null, open: () => true },
  }
  const fixed = fixedParts({ policy, limits, clock, catalogue, codecs, metrics })
  const assembly = assemble(fixed, live)

  function exchange(answers: Answer[], mode: Mode = 'decide'): Exchange {
    return {
      mode,
      deadlineMs: policy.budgets.deadline_ms,
      traceparent: null,
      begunAtMs: clock.monoMs(),
      receivedAtMs: clock.monoMs(),
      source: null,
      decidedElsewhere: null,
      stale: false,
      serverTiming: null,
      answer(status, body, replayed, retryAfterS) {
        const { serverTiming } = this
        answers.push({ status, body: JSON.parse(body) as Record<string, unknown>, replayed, retryAfterS, serverTiming })
      },
    }
  }

  /** Sends one transaction; the list fills when it is answered. */
  function send(over: Record<string, unknown> = {}, mode: Mode = 'decide'): Answer[] {
    const answers: Answer[] = []
    const transaction = {
      transaction_id: 't-1',
      occurred_at: START_MS,
      amount_minor: 1_000,
      currency: 'EUR',
      customer_id: 'c1',
      terminal_id: 'p1',
      ...over,
    }
    assembly.scoring.submit(Buffer.from(JSON.stringify(transaction)), exchange(answers, mode))
    return answers
  }

  /** Sends labels. */
  function label(value: unknown): Answer[] {
    const answers: Answer[] = []
    assembly.scoring.submitLabels(value, exchange(answers))
    return answers
  }

  /** Time passes, a tick a millisecond. (The heartbeat's own timer runs too, on a clock that stands still.) */
  function wait(ms: number): void {
    for (let step = 0; step < ms; step++) {
      clock.ms++
      assembly.tick()
    }
  }
  return {
    ...{
      policy,
      limits,
      clock,
      log,
      codecs,
      metrics,
      catalogue,
      champion,
      challenger,
      assembly,
      live,
      send,
      label,
      wait,
    },
    /** Every record so far, decoded. */
    decoded: (): DecodedRecord[] => log.records.map(({ type, body }) => codecs.decode(type, body)),
    /** State and index as a fold of the log gives them. */
    refold() {
      const features = createFeatureState(catalogue, { limits })
      const vectors = new Map<number, Float64Array>()
      const fold = createFold({
        limits,
        features,
        vectorSize: catalogue.size,
        indexed: null,
        decided: null,
        onFolded: ({ facts, vector }) => vectors.set(facts.ordinal, vector.slice()),
      })
      for (const { type, sequence, body } of log.records) fold.take(codecs.decode(type, body), sequence)
      fold.end()
      return { features, vectors, fold }
    },
    close() {
      assembly.close()
      metrics.close()
    },
  }
}

export type Harness = ReturnType<typeof createHarness>

function laneModel(reference: string, role: Role, lane: ScriptedLane, metric: number): LaneModel {
  return {
    ...served(reference, role, metric),
    lane: lane as unknown as Lane,
    stated: CUTS,
    takesOwn: false,
    forced: false,
  }
}

const CUTS = { review_at: 0.5, decline_at: 0.9 }

function served(reference: string, role: Role, metric: number): ServedModel {
  const [name, version] = reference.split('@')
  const thresholds = { challengeAt: null, reviewAt: 0.5, declineAt: 0.9 }
  return {
    reference,
    answeredBy: { name, version, digest: Buffer.alloc(32, metric + 1), role, provider: null },
    cuts: { own: { thresholds, cuts: cutsOf(thresholds), segment: null }, bySegment: [] },
    metric,
  }
}
