// Where windows, recent transactions and routes are kept: in the server's own memory, or in a Redis or Valkey that
// several servers share. `process.state` says where it is, the policy's `state` what becomes of a payment without it.
import { type Static, Type } from '@sinclair/typebox'
import type { InputFault } from '../errors.js'
import { hostOf, isLoopback } from './address.js'

const File = Type.Union([Type.String({ minLength: 1 }), Type.Null()])
const Name = Type.Union([Type.String({ pattern: '^[^\\s]{1,256}$' }), Type.Null()])

export const RedisConfig = Type.Object(
  {
    /** `sentinel`: `nodes` are the sentinels; `cluster`: some of its nodes, which name the others. */
    topology: Type.Union([Type.Literal('standalone'), Type.Literal('sentinel'), Type.Literal('cluster')]),
    /** host:port, or unix:PATH of a standalone one. */
    nodes: Type.Array(Type.String({ pattern: '^(unix:/.+|[^\\s/]+:[0-9]{1,5})$' }), { minItems: 1, maxItems: 64 }),
    /** What the sentinels call the primary. */
    master_name: Name,
    username: Name,
    password_file: File,
    /** The sentinels' own, where they ask for one. */
    sentinel_password_file: File,
    database: Type.Integer({ minimum: 0, maximum: 15 }),
    /** Servers with the same prefix are one fleet; every key begins with it. */
    key_prefix: Type.String({ pattern: '^[A-Za-z0-9._:-]{1,32}$' }),
    tls: Type.Union([
      Type.Object({ ca_file: File, cert_file: File, key_file: File }, { additionalProperties: false }),
      Type.Null(),
    ]),
  },
  { additionalProperties: false },
)
export type RedisConfig = Static<typeof RedisConfig>

export const StateConfig = Type.Object(
  {
    kind: Type.Union([Type.Literal('memory'), Type.Literal('redis')]),
    redis: RedisConfig,
  },
  { additionalProperties: false },
)
export type StateConfig = Static<typeof StateConfig>

export const STATE_DEFAULTS: StateConfig = {
  kind: 'memory',
  redis: {
    ...{ topology: 'standalone', nodes: ['127.0.0.1:6379'], master_name: null, username: null, password_file: null },
    ...{ sentinel_password_file: null, database: 0, key_prefix: 'assay', tls: null },
  },
}

/** What becomes of a payment whose shared state does not answer in time. */
export const StatePolicy = Type.Object(
  {
    /** Milliseconds of the deadline that shared state may take. */
    wait_ms: Type.Number({ minimum: 0.5, maximum: 1000 }),
    /** `local`: features from what this server has seen; `baseline`: the same, and no model but the baseline. */
    on_unavailable: Type.Union([Type.Literal('local'), Type.Literal('baseline')]),
  },
  { additionalProperties: false },
)
export type StatePolicy = Static<typeof StatePolicy>

export const STATE_POLICY_DEFAULTS: StatePolicy = { wait_ms: 4, on_unavailable: 'local' }

/** What the schema cannot say; nothing is asked of what is not used. */
export function stateFaults({ kind, redis }: StateConfig): InputFault[] {
  if (kind === 'memory') return []
  const faults: InputFault[] = []
  const refuse = (key: string, message: string): void =>
    void faults.push({ path: `/process/state/redis/${key}`, message })
  const { topology, nodes, database, master_name: master, username, password_file: password, tls } = redis
  const isSentinel = topology === 'sentinel'
  if (isSentinel && master === null) refuse('master_name', 'what the sentinels call the primary')
  if (!isSentinel && redis.sentinel_password_file !== null) refuse('sentinel_password_file', 'only with sentinels')
  if (topology === 'cluster' && database !== 0) refuse('database', 'a cluster has database 0 only')
  if (topology === 'standalone' && nodes.length > 1) refuse('nodes', 'one, where it is standalone')
  if (topology !== 'standalone' && nodes.some(isSocket)) refuse('nodes', 'unix: only where it is standalone')
  if (username !== null && password === null) refuse('username', 'only with password_file')
  if (tls !== null && (tls.cert_file === null) !== (tls.key_file === null))
    refuse('tls', 'cert_file and key_file belong together')
  const isRemote = nodes.some((node) => !isSocket(node) && !isLoopback(hostOf(node)))
  for (const key of ['password_file', 'sentinel_password_file'] as const) {
    if (isRemote && tls === null && redis[key] !== null)
      refuse(key, 'beyond loopback only with tls: the password would go in the clear')
  }
  return faults
}

export function isSocket(node: string): boolean {
  return node.startsWith('unix:')
}
