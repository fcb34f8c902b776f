// A policy tried: reads the newest decisions of a log that a server writes, decides each again by its logged score and
// vector, and counts what would change.
import { type DecisionFacts, type DecisionPersonal, isOfTransaction } from '../contract/record-types.js'
import { ACTIONS } from '../contract/decision.js'
import type { Thresholds } from '../contract/manifest.js'
import { subjectOf } from '../decision/condition.js'
import { createDecider, type Decided, type ModelCuts, thresholdsOf } from '../decision/decide.js'
import { readChain, readHead } from '../decision-log/chain.js'
import { createDisk } from '../decision-log/disk.js'
import type { Position } from '../decision-log/reader.js'
import { compileCatalogue } from '../features/compile.js'
import type { TrialResult, TrialWire } from './policy-trial.js'
import { readDecisionLog } from './restore.js'

/** Before the segment that holds this sequence; null where the log begins with it. */
function placeBefore(directory: string, sequence: number): Position | null {
  const disk = createDisk(directory)
  const { entries } = readChain(disk, readHead(disk).head?.segment ?? 0)
  const header = entries.findLast((entry) => (entry.header?.firstSequence ?? Infinity) <= sequence)?.header ?? null
  return header === null ? null : { ...header, sequence: header.firstSequence - 1 }
}

/** Throws what reading the log throws. */
export async function runTrial({ directory, policy, last, stated }: TrialWire): Promise<TrialResult> {
  const end = readHead(createDisk(directory)).head?.writtenSequence ?? 0
  const tally = createTally({ policy, stated })
  const from = placeBefore(directory, end - last)
  const options = { schema: policy.schema, live: true, from }
  await readDecisionLog(
    directory,
    {
      onRecord(record, { sequence }) {
        if (record.type !== 'decision' || sequence <= end - last || sequence > end) return
        if (isOfTransaction(record.facts)) tally.add(record.facts, record.personal)
      },
    },
    options,
  )
  return tally.result()
}

function createTally({ policy, stated }: Pick<TrialWire, 'policy' | 'stated'>) {
  const catalogue = compileCatalogue(policy.catalogue, policy.schema, policy.currencies)
  const decider = createDecider(policy, catalogue)
  const cells = ACTIONS.map(() => ACTIONS.map(() => ({ decisions: 0, amount_minor: 0 })))
  const rules = new Map((policy.rules ?? []).map(({ id, state }) => [id, { id, state, decisions: 0 }]))
  let [decisions, notRecomputed] = [0, 0]

  const held = new Map(stated.map(([reference, thresholds]) => [reference, cutsOf(reference, thresholds)]))

  function cutsOf(reference: string, thresholds: Thresholds | undefined): ModelCuts | null {
    const [name, version] = reference.split('@')
    return thresholdsOf(policy, { name, version, ...(thresholds !== undefined && { thresholds }) })
  }

  /** Of a model that is not loaded only what its record says, where no segment had cuts. */
  function cutsFor({ model, thresholds, segment }: DecisionFacts): ModelCuts | null {
    if (model === null) return null
    const reference = `${model.name}@${model.version}`
    const known = held.get(reference)
    if (known !== undefined) return known
    const { challengeAt = null, reviewAt = null, declineAt = null } = thresholds ?? {}
    const recorded = {
      ...(challengeAt !== null && { challenge_at: challengeAt }),
      ...(reviewAt !== null && { review_at: reviewAt }),
      ...(declineAt !== null && { decline_at: declineAt }),
    }
    return cutsOf(reference, segment === null ? recorded : undefined)
  }

  return {
    add(facts: DecisionFacts, { transaction, vector }: DecisionPersonal): void {
      const { model, score, action, degraded, decidedAtMs } = facts
      const cuts = cutsFor(facts)
      if (model === null || score === null || action === null || cuts === null) {
        notRecomputed++
        return
      }
      decisions++
      const decided: Decided = { ...facts }
      const answered = { model, score, degraded, decidedAtMs }
      const to = decider.decide(subjectOf(answered, transaction, catalogue.decodeVector(vector)), cuts, [], decided)
      for (const id of [...decided.rules, ...decided.rulesShadow]) {
        const rule = rules.get(id)
        if (rule !== undefined) rule.decisions++
      }
      const cell = cells[ACTIONS.indexOf(action)][ACTIONS.indexOf(to)]
      cell.decisions++
      cell.amount_minor += Number.isNaN(transaction.amountBaseMinor) ? 0 : transaction.amountBaseMinor
    },
    result(): TrialResult {
      const all = ACTIONS.flatMap((from, row) => ACTIONS.map((to, column) => ({ from, to, ...cells[row][column] })))
      const changes = all.filter(({ from, to, decisions: count }) => from !== to && count > 0)
      const changed = changes.reduce((sum, { decisions: count }) => sum + count, 0)
      return { decisions, would_change: changed, changes, rules: [...rules.values()], not_recomputed: notRecomputed }
    },
  }
}
