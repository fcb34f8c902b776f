// Fills the shared state by the code of a server, without one. Only the scripts that are let through reach the Redis:
// the others are answered here as if all had gone well, so that each can be measured alone.
import { loadConfig } from '../../src/config.js'
import type { Transaction } from '../../src/contract/transaction.js'
import { compileCatalogue } from '../../src/features/compile.js'
import { SharedWindows } from '../../src/features/shared-windows.js'
import { createOpenWindows } from '../../src/features/state.js'
import { LIMITS } from '../../src/limits.js'
import type { RedisConnection, Reply, Script } from '../../src/redis/connection.js'
import { systemClock } from '../../src/runtime/clock.js'
import { createIdentity } from '../../src/scoring/identity.js'
import { joinFleet } from '../../src/scoring/shared/fleet.js'
import { createKeys } from '../../src/scoring/shared/keys.js'
import { CLAIM, COMMIT, FOLD } from '../../src/scoring/shared/scripts.js'
import { createStage } from '../../src/scoring/shared/stage.js'

export interface Writer {
  /** Claims, folds and commits with that answer; nothing is kept here, so each list comes whole. */
  write(tx: Transaction, body: string): Promise<void>
  /** Claims and folds as for a decision: of a list that was read before the rest comes. */
  fold(tx: Transaction): Promise<void>
}

/** Two writers of one fleet use the same tokens in the same order: what one has claimed the other can commit. */
const OWNER = Buffer.from('a bench.')
/** What is answered of a script that is not let through. */
const NOWHERE: ReadonlyMap<Script, Reply> = new Map<Script, Reply>([
  [CLAIM, [Buffer.from('N'), Buffer.alloc(0)]],
  [FOLD, null],
  [COMMIT, [Buffer.from('K')]],
])

/** Of the fleet of that prefix, under the reference policy. */
export async function openWriter(
  connection: RedisConnection,
  prefix: string,
  through: readonly Script[],
): Promise<Writer> {
  const { policy } = loadConfig({ env: {} })
  const catalogue = compileCatalogue(policy.catalogue, policy.schema, policy.currencies)
  const keys = createKeys(prefix, catalogue.digest)
  const { hash_key: hex, observed_since_ms: observedSinceMs } = await joinFleet(connection, keys.fleet, Date.now())
  const hashKey = Buffer.from(hex, 'hex')
  const state = createOpenWindows(catalogue, { limits: LIMITS, hashKey, observedSinceMs })
  const entityNames = policy.schema.fields.filter(({ entity }) => entity === true).map(({ name }) => name)
  const stage = createStage({
    ...{ policy, limits: LIMITS, clock: systemClock, keys, owner: OWNER },
    connection: {
      ...connection,
      async run(script, names, args) {
        return through.includes(script) ? connection.run(script, names, args) : (NOWHERE.get(script) ?? null)
      },
    },
    windows: new SharedWindows(catalogue, { state, entityNames, hashKey, limits: LIMITS }),
    identity: createIdentity(policy.schema, hashKey, LIMITS.recordBytesMax),
    onReply: () => undefined,
    onFailure: (reason) => console.error(`the Redis did not answer: ${reason}`),
    onFault: (error) => console.error(error.message),
  })
  const out = new Float64Array(catalogue.size)
  return {
    async write(tx, body) {
      const committed = await stage.writeBack(tx, 'D', body, tx.occurredAtMs)
      if (committed === 'claimed' || committed.kind !== 'kept') throw new Error(`${tx.transactionId} was not kept`)
    },
    fold: (tx) =>
      new Promise((resolve, reject) => {
        stage.begin(tx, 'D', { out, at: 0, clockMs: tx.occurredAtMs, peeks: false }, (begun) => {
          if (begun.kind === 'folded' && begun.claim !== null) resolve()
          else reject(new Error(`${tx.transactionId} was not folded`))
        })
      }),
  }
}

/** A transaction of that customer, and of a terminal or none. */
export function transactionOf(
  transactionId: string,
  occurredAtMs: number,
  fields: readonly [customer: string, terminal: string | null],
): Transaction {
  const amount = { amountMinor: 1_250, amountBaseMinor: 1_250, currency: 'EUR' }
  return { transactionId, occurredAtMs, offsetMinutes: 0, ...amount, fields: [...fields] }
}

/** So many at once: more would only lengthen queues. */
const AT_ONCE = 256

/** Does it for 0 to `count` - 1, a batch after the other. */
export async function inBatches(count: number, each: (index: number) => Promise<void>): Promise<void> {
  for (let from = 0; from < count; from += AT_ONCE) {
    const batch = Array.from({ length: Math.min(AT_ONCE, count - from) }, (_, at) => each(from + at))
    await Promise.all(batch)
  }
}
