// Folds a decision log again from nothing and compares every logged vector with the one that the fold computes.
// A vector may differ only where an earlier ordinal of its epoch died unlogged (semantics 1): those are named and
// counted apart; any other difference is unexplained, and a fault. Nor can a vector be recomputed whose windows reach
// back to segments that left the log. A log that was written under several catalogues is folded once for each, as its
// server did at each start.
import { decisionId } from '../contract/decision.js'
import type { Policy } from '../contract/policy.js'
import { type CompiledCatalogue, compileCatalogue } from '../features/compile.js'
import { createFeatureState } from '../features/state.js'
import { LIMITS } from '../limits.js'
import { createDecidedOffsets, type DecidedPartition } from './decided.js'
import { createFold, type Folded } from './fold.js'
import type { OrdinalGap } from './reorder.js'
import { readDecisionLog } from './restore.js'

export interface DifferingVector {
  readonly decision_id: string
  /** `not recomputable`: an earlier transaction of its epoch died unlogged, or left the log. `differs`: a fault. */
  readonly reason: 'not recomputable' | 'differs'
  /** The features that differ. */
  readonly features: readonly string[]
}

export interface ReplayReport {
  compared: number
  equal: number
  unrecomputable: number
  unexplained: number
  /** At most the first thousand; all are counted. */
  differing: DifferingVector[]
  gaps: readonly OrdinalGap[]
  /** Where the log begins, if older segments left it: vectors decided before `untilMs` may rest on those. */
  begins: { readonly sequence: number; readonly untilMs: number } | null
  /** Digest of the state that the whole log folds into under its last catalogue. */
  state: string | null
  /** What of streams the whole log has seen to the end. */
  decided: readonly DecidedPartition[]
}

/** A catalogue with what its values depend on, and the epochs written under it. */
interface Span {
  readonly policy: Policy
  readonly epochs: Set<number>
}

interface FirstSegment {
  readonly sequence: number
  readonly createdAtMs: number
}

const NAMED_MAX = 1_000

/** Replays the log at rest. Throws ASSAY_LOG_IO or ASSAY_LOG_DAMAGED where it cannot be read. */
export async function verifyReplay(directory: string): Promise<ReplayReport> {
  const { logId, spans, first } = await findSpans(directory)
  const report: ReplayReport = {
    ...{ compared: 0, equal: 0, unrecomputable: 0, unexplained: 0 },
    ...{ differing: [], gaps: [], begins: null, state: null, decided: [] },
  }
  for (const span of spans) await replaySpan(directory, span, { logId, report, first })
  return report
}

async function findSpans(directory: string): Promise<{ logId: Buffer; spans: Span[]; first: FirstSegment | null }> {
  const spans = new Map<string, Span>()
  let first: FirstSegment | null = null
  let logId = Buffer.alloc(8)
  await readDecisionLog(directory, {
    onRecord: () => undefined,
    onSegment(header, { policy }) {
      first ??= { sequence: header.firstSequence, createdAtMs: header.createdAtMs }
      logId = Buffer.from(header.logId)
      const text = JSON.stringify([policy.schema, policy.catalogue, policy.currencies])
      const span = spans.get(text) ?? { policy, epochs: new Set() }
      // The newest last: its fold is the state that a server would start with.
      spans.delete(text)
      spans.set(text, span)
      span.epochs.add(header.epoch)
    },
  })
  return { logId, spans: [...spans.values()], first }
}

async function replaySpan(
  directory: string,
  { policy, epochs }: Span,
  into: { logId: Buffer; report: ReplayReport; first: FirstSegment | null },
): Promise<void> {
  const { logId, report, first } = into
  const catalogue = compileCatalogue(policy.catalogue, policy.schema, policy.currencies)
  const features = createFeatureState(catalogue, { limits: LIMITS })
  const isPruned = first !== null && first.sequence > 1
  const spanMs = catalogue.plan.spanMs + LIMITS.lateMsMax
  const untilMs = isPruned ? first.createdAtMs + spanMs : -Infinity
  // What left the log with its first segments is the first gap, of no epoch's making.
  const gaps = (): readonly OrdinalGap[] => (isPruned && fold.gaps.at(0)?.from === 1 ? fold.gaps.slice(1) : fold.gaps)

  function compare({ facts, personal, vector }: Folded): void {
    if (!epochs.has(facts.epoch)) return
    report.compared++
    const names = differences(catalogue, personal.vector, vector)
    if (names.length === 0) {
      report.equal++
      return
    }
    const isAfterGap = gaps().some((gap) => gap.epoch === facts.epoch && gap.from < facts.ordinal)
    const explained = isAfterGap || facts.foldedAtMs < untilMs
    report[explained ? 'unrecomputable' : 'unexplained']++
    if (report.differing.length >= NAMED_MAX) return
    const reason = explained ? 'not recomputable' : 'differs'
    const id = decisionId(logId, facts.epoch, facts.ordinal, false)
    report.differing.push({ decision_id: id, reason, features: names })
  }

  const decided = createDecidedOffsets(LIMITS)
  const fold = createFold({
    ...{ limits: LIMITS, features, vectorSize: catalogue.size, indexed: null, decided, onFolded: compare },
  })
  await readDecisionLog(
    directory,
    { onRecord: (record, at) => fold.take(record, at.sequence) },
    { schema: policy.schema },
  )
  fold.end()
  report.gaps = gaps()
  if (isPruned) report.begins = { sequence: first.sequence, untilMs }
  report.state = features.digest()
  report.decided = decided.partitions()
}

/** Names of the features whose logged value is not the computed one, in the type in which it was logged. */
function differences(catalogue: CompiledCatalogue, logged: Uint8Array, vector: Float64Array): string[] {
  const bytes = Buffer.alloc(catalogue.vectorBytes)
  catalogue.encodeVector(vector, 0, bytes, 0)
  if (bytes.equals(logged)) return []
  const before = catalogue.decodeVector(logged)
  const now = catalogue.decodeVector(bytes)
  return catalogue.names.filter((_, at) => !Object.is(before[at], now[at]))
}
