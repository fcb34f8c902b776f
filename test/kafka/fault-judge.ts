// Whether a run with faults kept the promise of delivery, by what the broker and the logs hold: every transaction has
// one decision that stands, in order per key; a later one is logged as superseded by the server that made it; no
// position was ahead of its decisions; and one server's features are those of a run without faults. No test.
import { join } from 'node:path'
import { startServer } from '../../bench/server.js'
import { decisionId } from '../../src/contract/decision.js'
import { readLog, type ReadLog, until } from '../flow/server-rig.js'
import type { Broker } from './broker.js'
import { type FaultRun, type Sample, streamEnv } from './fault-run.js'
import { connectTopics, type Read } from './topics.js'

export interface Judgement {
  /** In words; none where the promise was kept. */
  readonly findings: readonly string[]
  readonly transactions: number
  /** Messages on the output beyond the first of their transaction: the same decision again, and other decisions. */
  readonly repeats: number
  readonly later: number
  readonly superseded: number
  /** Transactions that a server took over as another had decided them. */
  readonly takenOver: number
}

interface Decided {
  readonly partition: number
  readonly offset: number
  /** The first on the output stands. */
  readonly decisionIds: readonly string[]
}

export interface JudgeOptions {
  /** A transaction may have a later decision, which is superseded. */
  readonly pausesAllowed: boolean
  /** The servers share their state: another's decision stands in a log beside its own. */
  readonly isShared?: boolean
}

export async function judge(run: FaultRun, { pausesAllowed, isShared = false }: JudgeOptions): Promise<Judgement> {
  const inputs = await run.topics.read('transactions')
  const decided = decisionsOf(await run.topics.read('decisions'))
  const logs = await Promise.all(run.dataDirs.map((dataDir) => readLog(join(dataDir, 'decision-log'))))
  const findings: string[] = []
  const superseded = new Set(logs.flatMap(supersededIn))
  let repeats = 0
  let later = 0
  for (const [transaction, { decisionIds }] of decided) {
    const distinct = new Set(decisionIds)
    repeats += decisionIds.length - distinct.size
    later += distinct.size - 1
    if (distinct.size > 1 && !pausesAllowed) findings.push(`${transaction} has ${distinct.size} decisions`)
    for (const id of [...distinct].slice(1)) if (!superseded.has(id)) findings.push(`${id} is not logged superseded`)
  }
  const dead = await run.topics.count('dead')
  if (dead > 0) findings.push(`${dead} dead letters`)
  findings.push(...orderFindings(inputs, decided), ...run.samples.flatMap((taken) => ahead(taken, inputs, decided)))
  findings.push(...doubles(logs, isShared))
  const taken = logs.flatMap(({ decisions }) => decisions.filter(({ facts }) => facts.decidedElsewhere !== null))
  const transactions = new Set(inputs.map(transactionOf)).size
  return { findings, transactions, repeats, later, superseded: superseded.size, takenOver: taken.length }
}

function decisionsOf(outputs: readonly Read[]): Map<string, Decided> {
  const decided = new Map<string, Decided & { decisionIds: string[] }>()
  for (const { partition, offset, value } of outputs) {
    const { transaction_id: id, decision_id: decision } = JSON.parse(value) as Record<string, string>
    const known = decided.get(id)
    if (known === undefined) decided.set(id, { partition, offset: Number(offset), decisionIds: [decision] })
    else known.decisionIds.push(decision)
  }
  return decided
}

function transactionOf({ value }: Read): string {
  return (JSON.parse(value) as { transaction_id: string }).transaction_id
}

/** Inputs without a decision, and decisions of a partition that stand in another order than their transactions. */
function orderFindings(inputs: readonly Read[], decided: ReadonlyMap<string, Decided>): string[] {
  const findings: string[] = []
  const seen = new Set<string>()
  const lastOf = new Map<string, number>()
  for (const input of inputs) {
    const id = transactionOf(input)
    const decision = decided.get(id)
    if (decision === undefined) findings.push(`${id} has no decision`)
    if (decision === undefined || seen.has(id)) continue
    seen.add(id)
    if (decision.partition !== input.partition) findings.push(`${id} is decided in another partition`)
    const key = `${input.partition} ${input.key}`
    if ((lastOf.get(key) ?? -1) > decision.offset) findings.push(`${id} is decided before an earlier one of its key`)
    lastOf.set(key, decision.offset)
  }
  return findings
}

/** Transactions before a position that had no decision when the position was seen. */
function ahead(sample: Sample, inputs: readonly Read[], decided: ReadonlyMap<string, Decided>): string[] {
  return inputs.flatMap((input) => {
    if (Number(input.offset) >= (sample.committed.get(input.partition) ?? 0)) return []
    const at = decided.get(transactionOf(input))?.offset ?? Infinity
    const end = sample.outputEnds.get(input.partition) ?? 0
    return at < end ? [] : [`${transactionOf(input)} was committed before it was decided`]
  })
}

/** Transactions that one log holds twice; of its own making, where state is shared. */
function doubles(logs: readonly ReadLog[], isShared: boolean): string[] {
  return logs.flatMap(({ decisions }) => {
    const counted = decisions.filter(({ facts }) => !isShared || facts.decidedElsewhere === null)
    const ids = counted.map(({ personal }) => personal.transaction.transactionId)
    const seen = new Set<string>()
    return ids.flatMap((id) => (seen.size === seen.add(id).size ? [`${id} was folded twice`] : []))
  })
}

function supersededIn({ logId, superseded }: ReadLog): string[] {
  return superseded.map((record) => decisionId(logId, record.supersededEpoch, record.supersededOrdinal, false))
}

/** Of the features (in the catalogue's order; null: not compared) those that a run without faults gives otherwise. */
export async function compareFeatures(
  run: FaultRun,
  broker: Broker,
  {
    folder,
    features,
    env = {},
  }: { folder: string; features: readonly (string | null)[]; env?: Record<string, string> },
): Promise<string[]> {
  const { group, transactions } = run.topics.names
  const topics = await connectTopics(broker.address, `${group}.calm`, { input: transactions })
  await topics.create((await run.topics.ends('transactions')).size)
  const server = await startServer({ dataDir: folder, env: { ...streamEnv(broker, topics), ...env } })
  const wanted = await run.topics.count('transactions')
  const isDone = async (): Promise<boolean> => (await topics.committed().catch(() => 0)) >= wanted
  await until(isDone, 'a run without faults', { msMax: 300_000, everyMs: 200 })
  await server.stop()
  await topics.close()
  const expected = await vectors(folder)
  const found = await vectors(run.dataDirs[0])
  const differing = new Map<string, number>()
  for (const [id, vector] of found) {
    const wantedVector = expected.get(id)
    for (const [at, feature] of features.entries()) {
      if (feature === null) continue
      const same = wantedVector?.subarray(4 * at, 4 * at + 4).equals(vector.subarray(4 * at, 4 * at + 4)) ?? false
      if (!same) differing.set(feature, (differing.get(feature) ?? 0) + 1)
    }
  }
  if (found.size !== expected.size) differing.set('transactions', Math.abs(found.size - expected.size))
  return [...differing].map(([feature, count]) => `${feature} of ${count}`)
}

async function vectors(dataDir: string): Promise<Map<string, Buffer>> {
  const { decisions } = await readLog(join(dataDir, 'decision-log'))
  return new Map(
    decisions.map(({ personal: { transaction, vector } }) => [transaction.transactionId, Buffer.from(vector)]),
  )
}
