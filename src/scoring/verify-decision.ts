// Recomputes decisions from their records, the bundles and the policy that stands in the log: the logged vector goes
// through the model that answered, its score through the thresholds, and both are compared with what was logged.
// It needs no running server and trusts nothing but digests.
import { join } from 'node:path'
import { digestText } from '../contract/canonical-json.js'
import { type ControlState, stateAfter } from '../contract/control-state.js'
import { decisionId } from '../contract/decision.js'
import type { Policy } from '../contract/policy.js'
import { policyFingerprint } from '../contract/policy.js'
import {
  type AnsweredBy,
  type AppliedThresholds,
  type DecisionFacts,
  type DecisionPersonal,
  inferenceVector,
  isOfTransaction,
} from '../contract/record-types.js'
import { subjectOf } from '../decision/condition.js'
import { createDecider, type Decided, type Decider, thresholdsOf } from '../decision/decide.js'
import { withoutTransaction } from '../decision/without-transaction.js'
import { AssayError } from '../errors.js'
import { type CompiledCatalogue, compileCatalogue } from '../features/compile.js'
import { type Bundle, readBundle } from '../models/bundle.js'
import { bindColumns } from '../models/columns.js'
import { createRunner, type Runner } from '../models/golden-rows.js'
import { openSession } from '../models/session.js'
import { readDecisionLog } from './restore.js'

/** A decision's own answer, or all between two times. */
export type Selection = { readonly id: string } | { readonly sinceMs: number; readonly untilMs: number }

export interface Verdict {
  readonly decision_id: string
  readonly result: 'equal' | 'differs' | 'unverifiable'
  /** What differs, or why it cannot be recomputed. */
  readonly details: readonly string[]
}

export interface VerifySummary {
  equal: number
  differs: number
  unverifiable: number
}

/**
 * Largest difference of a recomputed score: one row alone and the same row in a batch may add up in another order.
 * The action is recomputed from the logged score, so that this cannot move it. Here the CPU computes: what a device
 * gave may differ from the trainer's score by the bundle's tolerance, and the CPU's by as much to the other side.
 */
export const SCORE_TOLERANCE = 1e-6

interface Compiled {
  readonly catalogue: CompiledCatalogue
  readonly fingerprint: Buffer
  readonly decider: Decider
  /** Of rows of features that came without a transaction. */
  readonly rowDecider: Decider
}

interface Loaded {
  readonly bundle: Bundle
  readonly runner: Runner
}

/** A decision; of an inference, `asked` is the row that the model was given, and there is nothing that was decided. */
interface Row {
  readonly facts: DecisionFacts
  readonly policy: Policy
  readonly logId: Buffer
  readonly of: { readonly personal: DecisionPersonal } | { readonly asked: Float64Array }
}

/** Verifies the selected decisions of a log at rest; `onVerdict` sees each. */
export async function verifyDecisions(
  places: { readonly directory: string; readonly modelsDir: string },
  selection: Selection,
  onVerdict: (verdict: Verdict) => void,
): Promise<VerifySummary> {
  const verifier = createVerifier(places.modelsDir)
  const summary: VerifySummary = { equal: 0, differs: 0, unverifiable: 0 }
  let rows: Row[] = []
  /** A decision may stand behind a change that was made while it was under way: its record names its policy. */
  const policies = new Map<string, Policy>()
  let held: ControlState | null = null
  let logId: Buffer = Buffer.alloc(8)
  const hold = (state: ControlState): void => {
    held = state
    if (!policies.has(state.policy_fingerprint)) policies.set(state.policy_fingerprint, state.policy)
  }
  try {
    await readDecisionLog(places.directory, {
      onSegment(header, state) {
        logId = Buffer.from(header.logId)
        hold(state)
      },
      onRecord(record) {
        if (record.type === 'control' && held !== null) hold(stateAfter(held, record.control.state))
        if ((record.type !== 'decision' && record.type !== 'inference') || held === null) return
        const { facts } = record
        if (!selects(selection, facts, logId)) return
        const policy = policies.get(digestText(facts.policy)) ?? held.policy
        // The vector is a view that the next record overwrites.
        const of =
          record.type === 'inference'
            ? { asked: inferenceVector(record.personal) }
            : { personal: { ...record.personal, vector: Uint8Array.from(record.personal.vector) } }
        rows.push({ facts, of, policy, logId })
      },
      async onChunk() {
        const chunk = rows
        rows = []
        for (const row of chunk) {
          const verdict = await verifier.verify(row)
          summary[verdict.result]++
          onVerdict(verdict)
        }
      },
    })
  } finally {
    await verifier.close()
  }
  return summary
}

function selects(selection: Selection, facts: DecisionFacts, logId: Buffer): boolean {
  if (!('id' in selection)) return facts.decidedAtMs >= selection.sinceMs && facts.decidedAtMs < selection.untilMs
  return decisionId(logId, facts.epoch, facts.ordinal, facts.unfolded) === selection.id
}

function createVerifier(modelsDir: string) {
  const compiled = new Map<Policy, Compiled>()
  const models = new Map<string, Promise<Loaded>>()
  const sessions: { close(): Promise<void> }[] = []

  function compile(policy: Policy): Compiled {
    const known = compiled.get(policy)
    if (known !== undefined) return known
    const catalogue = compileCatalogue(policy.catalogue, policy.schema, policy.currencies)
    const decider = createDecider(policy, catalogue)
    const rowDecider = createDecider(withoutTransaction(policy), catalogue)
    const made = { catalogue, fingerprint: policyFingerprint(policy), decider, rowDecider }
    compiled.set(policy, made)
    return made
  }

  async function load(model: AnsweredBy): Promise<Loaded> {
    const { name, version } = model
    const bundle = await readBundle(join(modelsDir, name, version), { identity: { name, version } })
    const digest = `sha256:${Buffer.from(model.digest).toString('hex')}`
    if (bundle.digest !== digest) throw refused(`${name}@${version} has ${bundle.digest}, the record ${digest}`)
    const session = bundle.manifest.kind === 'onnx' ? await openSession(bundle, { rowsMax: 1 }) : null
    if (session !== null) sessions.push(session)
    return { bundle, runner: await createRunner(bundle, session, 1) }
  }

  async function verify({ facts, of, policy, logId }: Row): Promise<Verdict> {
    const decision_id = decisionId(logId, facts.epoch, facts.ordinal, facts.unfolded)
    const { model } = facts
    if (model === null) return { decision_id, result: 'unverifiable', details: ['the record names no model'] }
    const compiled = compile(policy)
    const key = `${model.name}@${model.version} ${Buffer.from(model.digest).toString('hex')}`
    const loading = models.get(key) ?? load(model)
    models.set(key, loading)
    try {
      const loaded = await loading
      const details =
        'asked' in of
          ? await compareScore(loaded, of.asked, facts)
          : await compare({ facts, policy, personal: of.personal, loaded, compiled })
      if (!compiled.fingerprint.equals(facts.policy)) details.push('the policy is not the one that the record names')
      return { decision_id, result: details.length === 0 ? 'equal' : 'differs', details }
    } catch (error) {
      if (!(error instanceof AssayError)) throw error
      return { decision_id, result: 'unverifiable', details: [error.message] }
    }
  }

  return {
    verify,
    close: async () => {
      await Promise.all(sessions.map((session) => session.close()))
    },
  }
}

function refused(detail: string): AssayError {
  return new AssayError('ASSAY_BUNDLE_REFUSED', detail)
}

interface Comparison extends Pick<Row, 'facts' | 'policy'> {
  readonly personal: DecisionPersonal
  readonly loaded: Loaded
  readonly compiled: Compiled
}

/** `row`: what the model was fed, in its own order. */
async function compareScore(
  { bundle, runner }: Loaded,
  row: ArrayLike<number>,
  facts: DecisionFacts,
): Promise<string[]> {
  if (row.length !== runner.rows.length) return [`the row has ${row.length} columns, the model ${runner.rows.length}`]
  runner.rows.set(row)
  await runner.run(1)
  const [score] = runner.out.scores
  const { score: logged } = facts
  const { provider } = facts.model ?? {}
  const onDevice = (provider ?? 'cpu') === 'cpu' ? 0 : 2 * bundle.golden.tolerance
  if (logged !== null && Math.abs(score - logged) <= SCORE_TOLERANCE + onDevice) return []
  return [`score ${score} is recomputed, ${logged} was logged`]
}

async function compare({ facts, personal, policy, loaded, compiled }: Comparison): Promise<string[]> {
  const { bundle } = loaded
  const { catalogue } = compiled
  const binding = bindColumns(bundle.manifest, catalogue.names, catalogue.featureDigests)
  if ('faults' in binding) throw refused(binding.faults.map((fault) => fault.message).join('; '))
  const vector = catalogue.decodeVector(personal.vector)
  const details = await compareScore(
    loaded,
    Array.from(binding.columns, (column) => vector[column]),
    facts,
  )
  const { score: logged, model } = facts
  const cuts = thresholdsOf(policy, bundle.manifest)
  if (cuts === null) return [...details, 'other thresholds were applied']
  if (logged === null || model === null) return details
  const { degraded, decidedAtMs } = facts
  const decided: Decided = { ...facts }
  const answered = { model, score: logged, degraded, decidedAtMs }
  const subject = subjectOf(answered, personal.transaction, vector)
  const decider = isOfTransaction(facts) || facts.mode !== 'decide' ? compiled.decider : compiled.rowDecider
  decider.decide(subject, cuts, [], decided)
  return [...details, ...differences(decided, facts)]
}

/** Where the recomputed decision is not the logged one. */
function differences(decided: Decided, facts: DecisionFacts): string[] {
  const found: string[] = []
  const differs = (what: string, recomputed: unknown, logged: unknown): void => {
    if (JSON.stringify(recomputed) !== JSON.stringify(logged)) {
      found.push(`${what}: ${JSON.stringify(recomputed)} is recomputed, ${JSON.stringify(logged)} was logged`)
    }
  }
  if (!sameCuts(decided.thresholds, facts.thresholds)) found.push('other thresholds were applied')
  differs('segment', decided.segment, facts.segment)
  differs('action by the score', decided.scoreAction, facts.scoreAction)
  differs('rules', decided.rules, facts.rules)
  differs('rules in trial', decided.rulesShadow, facts.rulesShadow)
  differs('action', decided.action, facts.action)
  // Those of a model follow; they are no part of what it decided.
  differs('reasons of rules', decided.reasons, facts.reasons.slice(0, decided.reasons.length))
  return found
}

function sameCuts(left: AppliedThresholds | null, right: AppliedThresholds | null): boolean {
  if (left === null || right === null) return left === right
  const { challengeAt, reviewAt, declineAt } = right
  return left.challengeAt === challengeAt && left.reviewAt === reviewAt && left.declineAt === declineAt
}
