// Whether servers that share their state and read one stream have folded it as one: every transaction stands once in
// the list of each of its entities, and the features of all are those of a single state that was fed the same order.
// Beside what fault-judge.ts says of the decisions. No test.
import type { RedisServer } from '../redis/rig.js'
import type { Sent } from '../flow/fleet-clients.js'
import { fleetCatalogue, readHeld, readLogs } from '../flow/fleet-evidence.js'
import { compareFeatures } from '../flow/fleet-features.js'
import { listFindings } from '../flow/fleet-judge.js'
import type { FaultRun } from './fault-run.js'

export interface SharedJudgement {
  /** In words; none where all were folded as one. */
  readonly findings: readonly string[]
  /** Decisions whose features were compared at their place, and at some later moment. */
  readonly exact: number
  readonly later: number
  /** Decisions without the Redis: not compared. */
  readonly local: number
}

/** `redis` as the servers had it, at rest. */
export async function judgeShared(run: FaultRun, redis: RedisServer): Promise<SharedJudgement> {
  const sent = new Map<string, Sent>()
  for (const { value } of await run.topics.read('transactions')) {
    const transaction = JSON.parse(value) as Sent
    sent.set(transaction.transaction_id, transaction)
  }
  const held = await readHeld(redis.config({ key_prefix: run.topics.name }), sent)
  const compared = compareFeatures({ ...fleetCatalogue(), held, logs: await readLogs(run.dataDirs) })
  return { ...compared, findings: [...listFindings({ sent, lists: held.lists }), ...compared.findings] }
}
