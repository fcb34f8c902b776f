// Writes real decision logs without a server: the codecs and the policy of the release, facts drawn from a seed. A log
// of a million decisions takes seconds, so that readers can be tried on long ones. Shared by tests and bench; no test.
import { cpSync, mkdirSync, renameSync, rmSync } from 'node:fs'
import { loadConfig } from '../../src/config.js'
import { digestText } from '../../src/contract/canonical-json.js'
import type { ControlState } from '../../src/contract/control-state.js'
import { ACTIONS } from '../../src/contract/decision.js'
import { type Policy, policyFingerprint } from '../../src/contract/policy.js'
import { createRecordCodecs } from '../../src/contract/record.js'
import type { DecisionFacts, DecisionPersonal, RecordType } from '../../src/contract/record-types.js'
import { type OpenDecisionLog, openDecisionLog } from '../../src/decision-log/open.js'
import { compileCatalogue } from '../../src/features/compile.js'
import { LIMITS } from '../../src/limits.js'
import { createRandom, type Random } from '../../src/simulate/random.js'

export interface WriterOptions {
  readonly seed?: number
  /** Record time of the first record. */
  readonly startMs?: number
  /** Milliseconds of record time between two decisions. */
  readonly stepMs?: number
  readonly segmentBytes?: number
  readonly policy?: Policy
  /** Byte that the digests of the models are filled with. */
  readonly digest?: number
  /** Ordinal of the first decision. */
  readonly ordinal?: number
}

export interface LogWriter {
  readonly log: OpenDecisionLog
  readonly control: ControlState
  /** Appends decisions; waits where the ring is full. */
  decisions(count: number): Promise<void>
  /** One of every other record type, and a control record that raises the revision of the routes. */
  others(): Promise<void>
  /** Resolves when everything appended is durable. */
  synced(): Promise<void>
  /** Ends the epoch cleanly. */
  close(): Promise<void>
}

export const START_MS = Date.UTC(2026, 10, 20, 12)

const CLOSE_MS = 10_000

/** The files of a log as they are now, as a power cut could leave them: without the writer's lock. */
export function copyLog(from: string, to: string): void {
  cpSync(from, to, { recursive: true, filter: (path) => !path.endsWith('.sock') })
}

/**
 * A log at rest that holds so many records more than it keeps. The call that it gives takes those back, as a volume
 * does that loses what it had not written.
 */
export async function writeToTakeBack(
  logDir: string,
  { kept, lost }: { readonly kept: number; readonly lost: number },
): Promise<() => void> {
  const base = `${logDir}-base`
  const writer = await openWriter(logDir)
  await writer.decisions(kept)
  await writer.synced()
  copyLog(logDir, base)
  await writer.decisions(lost)
  await writer.close()
  return () => {
    rmSync(logDir, { recursive: true })
    renameSync(base, logDir)
  }
}

/** The policy that the package ships. */
export function referencePolicy(): Policy {
  return structuredClone(loadConfig({ env: {} }).policy)
}

export async function openWriter(directory: string, options: WriterOptions = {}): Promise<LogWriter> {
  mkdirSync(directory, { recursive: true })
  const policy = options.policy ?? referencePolicy()
  const fingerprint = policyFingerprint(policy)
  const codecs = createRecordCodecs(policy.schema)
  const vector = compileCatalogue(policy.catalogue, policy.schema, policy.currencies)
  const random = createRandom(options.seed ?? 1)
  const control: ControlState = {
    format: 1,
    policy,
    policy_fingerprint: digestText(fingerprint),
    routes: { ...policy.routes, revision: 0, experiment_key: 'ab'.repeat(32) },
    models: [],
  }
  const waiting = new Set<() => void>()
  const log = await openDecisionLog({
    ...{ directory, durability: 'synced', diskBytesMax: Infinity },
    limits: { ...LIMITS, segmentBytes: options.segmentBytes ?? LIMITS.segmentBytes },
    schemas: Buffer.from(codecs.schemas),
    controlState: () => Buffer.from(JSON.stringify(control)),
    onProgress: () => {
      for (const look of waiting) look()
    },
  })
  let ordinal = options.ordinal ?? 1
  let nowMs = options.startMs ?? START_MS
  const until = (ready: () => boolean): Promise<void> =>
    new Promise((done) => {
      const look = (): void => {
        if (!ready()) return
        waiting.delete(look)
        done()
      }
      waiting.add(look)
      look()
    })
  const append = async (type: RecordType, encode: (buffer: Buffer, at: number) => number): Promise<void> => {
    if (!log.reserve()) {
      log.flush()
      await until(() => log.reserve())
    }
    log.append(type, encode)
  }
  const next = (): { facts: DecisionFacts; personal: DecisionPersonal } => {
    nowMs += options.stepMs ?? 1
    const place = { ordinal: ordinal++, epoch: log.epoch, nowMs }
    const applied = { policy: fingerprint, digest: options.digest ?? 0xab }
    return { facts: drawFacts(random, place, applied), personal: drawPersonal(random, place, vector) }
  }

  return {
    log,
    control,
    async decisions(count) {
      for (let i = 0; i < count; i++) {
        const { facts, personal } = next()
        await append('decision', (buffer, at) => codecs.encodeDecision(facts, personal, buffer, at))
        if (i % 256 === 255) log.flush()
      }
      log.flush()
    },
    async others() {
      const { facts, personal } = next()
      const { epoch } = log
      const observed = { ...facts, mode: 'observe' as const, action: null, score: null, scoreRaw: null, model: null }
      await append('observed', (buffer, at) => codecs.encodeObserved(observed, personal, buffer, at))
      const inference = { transactionId: 't-i', entity: 'c1', vector: personal.vector, traceparent: null }
      const unfolded = { ...facts, unfolded: true, mode: 'evaluate' as const }
      await append('inference', (buffer, at) => codecs.encodeInference(unfolded, inference, buffer, at))
      const label = {
        ...{ transactionId: 't-1', kind: 'fraud' as const, value: true, source: 'issuer' },
        ...{ knownAtMs: nowMs, occurredAtMs: null, entities: ['c1', null] },
      }
      await append('label', (buffer, at) =>
        codecs.encodeLabel({ ordinal: ordinal++, epoch, foldedAtMs: nowMs, label }, buffer, at),
      )
      control.routes = { ...control.routes, revision: control.routes.revision + 1 }
      const change = {
        kind: 'routes',
        actor: 'operator-2',
        reason: 'a trial',
        state: JSON.stringify(control),
        remoteAddress: null,
      }
      await append('control', (buffer, at) =>
        codecs.encodeControl({ ordinal: ordinal++, epoch, foldedAtMs: nowMs, ...change }, buffer, at),
      )
      log.controlChanged()
      const entries = [{ ordinal: 1, unfolded: false, told: 'pending' as const }]
      await append('reply', (buffer, at) => codecs.encodeReply({ epoch, atMs: nowMs, entries }, buffer, at))
      const instead = { ordinal: ordinal++, supersededEpoch: epoch, supersededOrdinal: 1, reason: 'erased' }
      await append('superseded', (buffer, at) =>
        codecs.encodeSuperseded({ epoch, atMs: nowMs, ...instead }, buffer, at),
      )
      log.flush()
    },
    synced: () => until(() => log.durableSequence() >= log.stats().lastSequence),
    close: () => log.close(CLOSE_MS),
  }
}

interface Place {
  readonly ordinal: number
  readonly epoch: number
  readonly nowMs: number
}

function drawFacts(
  random: Random,
  { ordinal, epoch, nowMs }: Place,
  { policy, digest }: { readonly policy: Buffer; readonly digest: number },
): DecisionFacts {
  const score = random.uniform() ** 4
  const action = ACTIONS[score > 0.9 ? 3 : score > 0.6 ? 2 : 0] ?? 'approve'
  const degraded = random.uniform() < 0.01
  const role = degraded ? ('baseline' as const) : ('champion' as const)
  const name = degraded ? 'baseline' : 'fraud-lgbm'
  return {
    ...{ ordinal, unfolded: false, epoch, mode: 'decide' },
    ...{ receivedAtMs: nowMs - 2, foldedAtMs: nowMs - 1, decidedAtMs: nowMs, action, score, scoreRaw: score },
    model: { name, version: '1', digest: Buffer.alloc(32, digest), role, provider: 'cpu' },
    ...{ prescribedModel: 'fraud-lgbm@1', bucket: random.integer(10_000), routesRevision: 0 },
    ...{ experiment: 'default', arm: 'champion', propensity: 0.95, rules: [], rulesShadow: [] },
    thresholds: { challengeAt: null, reviewAt: 0.6, declineAt: 0.9 },
    ...{ segment: null, scoreAction: action, reasons: [], features: 0, degraded },
    fallback: degraded ? [{ model: 'fraud-lgbm@1', role: 'champion', reason: 'deadline' }] : [],
    decidedElsewhere: null,
    policy,
    stages: { receiveUs: 10, validateUs: 3, featuresUs: 4, inferUs: 50 + random.integer(400), decideUs: 2 },
  }
}

function drawPersonal(
  random: Random,
  { ordinal, nowMs }: Place,
  vector: ReturnType<typeof compileCatalogue>,
): DecisionPersonal {
  const amountMinor = 1 + random.integer(50_000)
  const values = Float64Array.from({ length: vector.size }, () => random.integer(1_000) / 8)
  const bytes = Buffer.alloc(vector.vectorBytes)
  vector.encodeVector(values, 0, bytes, 0)
  return {
    transaction: {
      ...{ transactionId: `t-${ordinal}`, occurredAtMs: nowMs - 1_000, offsetMinutes: 0 },
      ...{ amountMinor, currency: 'EUR', amountBaseMinor: amountMinor },
      fields: [`c${random.integer(50_000)}`, `t${random.integer(10_000)}`],
    },
    ...{ vector: bytes, traceparent: null, source: null },
  }
}
