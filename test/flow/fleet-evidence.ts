// What a fleet leaves behind, in the words of its clients: the entities' lists in the Redis with names in place of
// hashes, and the decisions of every server's log. Reads only; both at rest. No test.
import { join } from 'node:path'
import { loadConfig } from '../../src/config.js'
import type { FeatureSpec } from '../../src/contract/catalogue.js'
import { decisionId } from '../../src/contract/decision.js'
import { fleetFromText } from '../../src/contract/fleet.js'
import type { DecodedRecord } from '../../src/contract/record-types.js'
import type { RedisConfig } from '../../src/contract/state.js'
import type { Transaction } from '../../src/contract/transaction.js'
import { type CompiledCatalogue, compileCatalogue } from '../../src/features/compile.js'
import { EntryCodec, hashAt } from '../../src/features/shared-entry.js'
import { checkRedis, connectRedis, type RedisConnection } from '../../src/redis/connection.js'
import { createRenderer } from '../../src/scoring/answers.js'
import { readDecisionLog } from '../../src/scoring/restore.js'
import type { Sent } from './fleet-clients.js'

/** The list of an entity. */
export interface EntityList {
  /** customer_id or terminal_id, and the value. */
  readonly field: Field
  readonly name: string
  /** In the order of the list; what nobody sent stands as its hash. */
  readonly transactionIds: readonly string[]
}

export type Field = (typeof FIELDS)[number]
export const FIELDS = ['customer_id', 'terminal_id'] as const

/** What the Redis holds. */
export interface Held {
  readonly lists: readonly EntityList[]
  readonly hashKey: Buffer
  readonly observedSinceMs: number
}

/** A decision in a server's log. */
export interface LoggedDecision {
  readonly server: number
  readonly transactionId: string
  /** Of whoever made it. */
  readonly decisionId: string
  /** The answer but for `logged`. */
  readonly text: string
  /** False: another server's. */
  readonly isOwn: boolean
  /** Bits of FEATURE_FLAGS. */
  readonly flags: number
  /** As fed; of own decisions. */
  readonly vector: Buffer
}

export interface Logs {
  readonly decisions: readonly LoggedDecision[]
  /** Decision ids. */
  readonly superseded: ReadonlySet<string>
  readonly transactions: ReadonlyMap<string, Transaction>
}

const WAIT_MS = 30_000
const MAGIC = 'ASY1'
const HEAD_BYTES = 16
const LOGGED = /"logged":"[a-z]+",/
const DECISION_ID = /"decision_id":"(d_[a-z2-7]{32})"/

/** The catalogue of the reference policy, which the servers have. */
export function fleetCatalogue(): { features: readonly FeatureSpec[]; catalogue: CompiledCatalogue } {
  const { catalogue, schema, currencies } = loadConfig({ env: {} }).policy
  return { features: catalogue.features, catalogue: compileCatalogue(catalogue, schema, currencies) }
}

/** Reads every entity's list; the Redis answers again where a fail-over was. */
export async function readHeld(config: RedisConfig, sent: ReadonlyMap<string, Sent>): Promise<Held> {
  const connection = connectRedis(config, { onState: () => undefined })
  try {
    await checkRedis(connection, config, WAIT_MS)
    return await readLists(connection, config.key_prefix, sent)
  } finally {
    connection.close()
  }
}

async function readLists(connection: RedisConnection, prefix: string, sent: ReadonlyMap<string, Sent>): Promise<Held> {
  const fleet = fleetFromText(String(await connection.call('get', `${prefix}:fleet`)))
  if (fleet === null) throw new Error('there is no fleet')
  const hashKey = Buffer.from(fleet.hash_key, 'hex')
  const codec = new EntryCodec(fleetCatalogue().catalogue.plan, hashKey)
  const names = new Map<string, string>()
  const remember = (value: string | undefined): void => {
    if (value !== undefined) names.set(hex(codec.hash(value)), value)
  }
  for (const { transaction_id: id, customer_id: customer, terminal_id: terminal } of sent.values()) {
    for (const value of [id, customer, terminal]) remember(value)
  }
  const nameOf = (hash: string): string => names.get(hash) ?? `nobody's ${hash}`
  const keys = await connection.call('keys', `${prefix}:e:*`)
  if (!Array.isArray(keys)) throw new TypeError('a list of keys was expected')
  const lists: EntityList[] = []
  for (const key of keys.map(String)) {
    const [, field = '', hash = ''] = /\{(\w+):([0-9a-f]{16})\}$/.exec(key) ?? []
    const known = FIELDS.find((name) => name === field)
    const bytes = await connection.call('get', key)
    if (known === undefined || !Buffer.isBuffer(bytes)) throw new TypeError(`${key} is no list of an entity`)
    lists.push({ field: known, name: nameOf(hash), transactionIds: entriesOf(bytes, codec, key).map(nameOf) })
  }
  return { lists, hashKey, observedSinceMs: fleet.observed_since_ms }
}

/** Hashes of the transactions of a whole list. */
function entriesOf(list: Buffer, codec: EntryCodec, key: string): string[] {
  if (list.toString('latin1', 0, MAGIC.length) !== MAGIC) throw new TypeError(`${key} begins otherwise`)
  if (list.readUInt32LE(4) !== 0 || list.readDoubleLE(8) > -Infinity) throw new Error(`${key} has lost its beginning`)
  const hashes: string[] = []
  for (let at = HEAD_BYTES; at < list.length; at += codec.bytes) hashes.push(hex(hashAt(list, at + 1)))
  return hashes
}

function hex([low, high]: readonly [number, number]): string {
  return high.toString(16).padStart(8, '0') + low.toString(16).padStart(8, '0')
}

/** Reads the logs of all servers, each at rest. */
export async function readLogs(dataDirs: readonly string[]): Promise<Logs> {
  const decisions: LoggedDecision[] = []
  const superseded = new Set<string>()
  const transactions = new Map<string, Transaction>()
  // A text that several logs hold is held once.
  const texts = new Map<string, string>()
  for (const [server, dataDir] of dataDirs.entries()) {
    let logId: Buffer = Buffer.alloc(8)
    let render = createRenderer(logId)
    const take = (record: DecodedRecord): void => {
      if (record.type === 'superseded') {
        const { supersededEpoch, supersededOrdinal } = record.superseded
        superseded.add(decisionId(logId, supersededEpoch, supersededOrdinal, false))
      }
      if (record.type !== 'decision' && record.type !== 'observed') return
      const { facts, personal } = record
      const { transaction } = personal
      const { transactionId } = transaction
      if (!transactions.has(transactionId)) transactions.set(transactionId, transaction)
      const rendered = render(facts, transactionId, 'synced').replace(LOGGED, '')
      const text = texts.get(rendered) ?? rendered
      texts.set(text, text)
      const isOwn = facts.decidedElsewhere === null
      decisions.push({
        ...{ server, transactionId, decisionId: DECISION_ID.exec(text)?.[1] ?? '', text, isOwn },
        ...{ flags: facts.features, vector: isOwn ? Buffer.from(personal.vector) : Buffer.alloc(0) },
      })
    }
    await readDecisionLog(join(dataDir, 'decision-log'), {
      onSegment(header) {
        logId = Buffer.from(header.logId)
        render = createRenderer(logId)
      },
      onRecord: take,
    })
  }
  return { decisions, superseded, transactions }
}
