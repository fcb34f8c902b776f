// Where a policy is tried: reads the newest decisions of a log that a server writes, decides each again by its logged
// score and vector, counts what would change, says so, ends.
import assert from 'node:assert'
import { setPriority } from 'node:os'
import { parentPort, workerData } from 'node:worker_threads'
import type { DecisionFacts, DecisionPersonal } from '../contract/record-types.js'
import { ACTIONS } from '../contract/decision.js'
import { createSubject } from '../decision/condition.js'
import { createDecider, type Decided, type ModelCuts, thresholdsOf } from '../decision/decide.js'
import { readChain, readHead } from '../decision-log/chain.js'
import { createDisk } from '../decision-log/disk.js'
import type { Position } from '../decision-log/reader.js'
import { compileCatalogue } from '../features/compile.js'
import type { TrialResult, TrialWire } from './policy-trial.js'
import { readDecisionLog } from './restore.js'

/** Payments come first: on Linux this is the priority of the calling thread, not of the process. */
const NICE = 19

function isTrialWire(data: unknown): data is TrialWire {
  return typeof data === 'object' && data !== null && 'directory' in data && 'policy' in data && 'last' in data
}

/** Before the segment that holds this sequence; null where the log begins with it. */
function placeBefore(directory: string, sequence: number): Position | null {
  const disk = createDisk(directory)
  const { entries } = readChain(disk, readHead(disk).head?.segment ?? 0)
  const header = entries.findLast((entry) => (entry.header?.firstSequence ?? Infinity) <= sequence)?.header ?? null
  return header === null ? null : { ...header, sequence: header.firstSequence - 1 }
}

async function run({ directory, policy, last, stated }: TrialWire): Promise<TrialResult> {
  const end = readHead(createDisk(directory)).head?.writtenSequence ?? 0
  const tally = createTally({ policy, stated })
  const from = placeBefore(directory, end - last)
  const options = { schema: policy.schema, live: true, from }
  await readDecisionLog(
    directory,
    {
      onRecord(record, { sequence }) {
        if (record.type !== 'decision' || sequence <= end - last || sequence > end) return
        if (record.facts.mode === 'decide') tally.add(record.facts, record.personal)
      },
    },
    options,
  )
  return tally.result()
}

function createTally({ policy, stated }: Pick<TrialWire, 'policy' | 'stated'>) {
  const catalogue = compileCatalogue(policy.catalogue, policy.schema, policy.currencies)
  const decider = createDecider(policy, catalogue)
  const manifests = new Map(stated)
  const cells = ACTIONS.map(() => ACTIONS.map(() => ({ decisions: 0, amount_minor: 0 })))
  const rules = new Map((policy.rules ?? []).map(({ id, state }) => [id, { id, state, decisions: 0 }]))
  let [decisions, notRecomputed] = [0, 0]

  /** Of a model that is not loaded only what its record says, where no segment had cuts. */
  function cutsOf({ model, thresholds, segment }: DecisionFacts): ModelCuts | null {
    if (model === null) return null
    const { name, version } = model
    const reference = `${name}@${version}`
    const { challengeAt = null, reviewAt = null, declineAt = null } = thresholds ?? {}
    const recorded = {
      ...(challengeAt !== null && { challenge_at: challengeAt }),
      ...(reviewAt !== null && { review_at: reviewAt }),
      ...(declineAt !== null && { decline_at: declineAt }),
    }
    const known = manifests.has(reference) ? manifests.get(reference) : segment === null ? recorded : undefined
    return thresholdsOf(policy, { name, version, ...(known !== undefined && { thresholds: known }) })
  }

  return {
    add(facts: DecisionFacts, { transaction, vector }: DecisionPersonal): void {
      const { model, score, action, degraded, decidedAtMs } = facts
      const cuts = cutsOf(facts)
      if (model === null || score === null || action === null || cuts === null) {
        notRecomputed++
        return
      }
      decisions++
      const decided: Decided = { ...facts }
      const subject = Object.assign(createSubject(catalogue.decodeVector(vector)), {
        ...{ transaction, score, role: model.role, degraded, nowMs: decidedAtMs },
        model: `${model.name}@${model.version}`,
      })
      const to = decider.decide(subject, cuts, [], decided)
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

const data: unknown = workerData
assert(parentPort !== null && isTrialWire(data), 'a trial thread is started by createTrials')
if (process.platform === 'linux') setPriority(NICE)
parentPort.postMessage(await run(data))
