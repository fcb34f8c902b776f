// The features of servers that share their state, against those of a single state that is fed the same order.
//
// The order is that of each entity's list: two lists may hold the same two transactions in opposite orders, since their
// scripts run in slots of their own. So the single state is fed list by list, once for each entity field, and of a
// transaction those features are compared that rest on that field.
// A decision is compared at the transaction's place, where its windows were taken, and must be equal. Where a server
// found the transaction in its lists already (flag `folded`: its first server died, or lost its claim), it was scored
// as the lists stood then: its features must be those of some moment at or after its place. Features of `local` windows
// are not compared. Event times span less than any list holds, so that no frontier of any server takes part. Pure.
import type { FeatureSpec } from '../../src/contract/catalogue.js'
import { FEATURE_FLAGS } from '../../src/contract/decision.js'
import type { Transaction } from '../../src/contract/transaction.js'
import { references } from '../../src/features/check.js'
import type { CompiledCatalogue } from '../../src/features/compile.js'
import { createFeatureState } from '../../src/features/state.js'
import { LIMITS } from '../../src/limits.js'
import { type EntityList, type Field, FIELDS, type Held, type LoggedDecision, type Logs } from './fleet-evidence.js'

export interface FeatureEvidence {
  readonly features: readonly FeatureSpec[]
  readonly catalogue: CompiledCatalogue
  readonly held: Held
  readonly logs: Pick<Logs, 'decisions' | 'transactions'>
}

export interface FeatureVerdict {
  readonly findings: readonly string[]
  /** Decisions whose features were compared at their place, and at some later moment. */
  readonly exact: number
  readonly later: number
  /** Decisions of local windows: not compared. */
  readonly local: number
}

export function compareFeatures(evidence: FeatureEvidence): FeatureVerdict {
  const own = evidence.logs.decisions.filter(({ isOwn }) => isOwn)
  const shared = own.filter(({ flags }) => (flags & FEATURE_FLAGS.local) === 0)
  const byTransaction = new Map<string, LoggedDecision[]>()
  for (const decision of shared) {
    const { transactionId: id } = decision
    byTransaction.set(id, [...(byTransaction.get(id) ?? []), decision])
  }
  const findings = shared
    .filter(({ flags }) => (flags & FEATURE_FLAGS.shared) === 0)
    .map(({ decisionId }) => `${decisionId}: of no shared windows`)
  const compared = new Set<LoggedDecision>()
  for (const field of FIELDS) {
    const replay = createReplay(field, evidence)
    for (const list of evidence.held.lists.filter((one) => one.field === field)) {
      findings.push(...replayList(list, { replay, byTransaction, compared }))
    }
  }
  const later = [...compared].filter(isLater).length
  return { findings, exact: compared.size - later, later, local: own.length - shared.length }
}

function isLater({ flags }: LoggedDecision): boolean {
  return (flags & FEATURE_FLAGS.folded) !== 0
}

interface Replay {
  /** Folds it; false where nobody knows it. */
  fold(transactionId: string): boolean
  /** Looks at one that was folded before, as of now. */
  revisit(transactionId: string): void
  /** What of the vector of that last call is otherwise in a logged one. */
  differing(logged: Buffer): string[]
}

/** A state of which the windows of one field are looked at. */
function createReplay(field: Field, { features, catalogue, held, logs }: FeatureEvidence): Replay {
  const { hashKey, observedSinceMs } = held
  const state = createFeatureState(catalogue, { limits: LIMITS, hashKey, observedSinceMs })
  const looked = catalogue.names.flatMap((name, at) =>
    entitiesOf(name, features).every((entity) => entity === field) ? [{ name, at }] : [],
  )
  const out = new Float64Array(catalogue.size)
  const bytes = Buffer.alloc(catalogue.vectorBytes)
  let vector: Float64Array = out
  let ordinal = 0
  const write = (transactionId: string, take: (transaction: Transaction) => number): boolean => {
    const transaction = logs.transactions.get(transactionId)
    if (transaction === undefined) return false
    take(transaction)
    // As it is fed to a model, and logged.
    catalogue.encodeVector(out, 0, bytes, 0)
    vector = catalogue.decodeVector(bytes)
    return true
  }
  return {
    fold: (id) => write(id, (transaction) => state.fold(transaction, ordinal++, transaction.occurredAtMs, out, 0)),
    revisit: (id) => void write(id, (transaction) => state.revisit(transaction, transaction.occurredAtMs, out, 0)),
    differing(logged) {
      const found = catalogue.decodeVector(logged)
      return looked.filter(({ at }) => !Object.is(found[at], vector[at])).map(({ name }) => name)
    },
  }
}

interface Replaying {
  readonly replay: Replay
  readonly byTransaction: ReadonlyMap<string, readonly LoggedDecision[]>
  readonly compared: Set<LoggedDecision>
}

function replayList({ name, transactionIds }: EntityList, { replay, byTransaction, compared }: Replaying): string[] {
  const findings: string[] = []
  let waiting: LoggedDecision[] = []
  for (const id of transactionIds) {
    if (!replay.fold(id)) findings.push(`${id}: in the list of ${name}, in no log`)
    const taken: LoggedDecision[] = []
    for (const decision of byTransaction.get(id) ?? []) {
      const differing = replay.differing(decision.vector)
      compared.add(decision)
      if (differing.length > 0 && isLater(decision)) taken.push(decision)
      else if (differing.length > 0) {
        findings.push(`${id}: by the list of ${name} ${decision.decisionId} differs in ${differing.join(', ')}`)
      }
    }
    waiting = [...waiting, ...taken].filter((decision) => {
      replay.revisit(decision.transactionId)
      return replay.differing(decision.vector).length > 0
    })
  }
  const never = waiting.map(({ transactionId, decisionId }) => {
    return `${transactionId}: by the list of ${name} ${decisionId} has features of no moment`
  })
  return [...findings, ...never]
}

/** The entity fields that a feature rests on, by whatever other features. */
function entitiesOf(name: string, features: readonly FeatureSpec[]): string[] {
  const spec = features.find((one) => one.name === name)
  if (spec === undefined) throw new RangeError(`no feature ${name}`)
  if (spec.kind === 'aggregate') return [spec.entity]
  return references(spec).flatMap(([, other]) => entitiesOf(other, features))
}
