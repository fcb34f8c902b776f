// Runs the whole path before readiness, so that the first payment does not meet cold code. Nothing of it stays: the
// windows, the index and the log it writes to are thrown away, only the lanes and the compiled code are the real ones.
import { connect } from 'node:net'
import type { Policy } from '../contract/policy.js'
import type { FieldSpec, FieldValue } from '../contract/transaction.js'
import type { DecisionLog } from '../decision-log/port.js'
import { createFeatureState } from '../features/state.js'
import { assemble, type Fixed, type Live } from './assemble.js'
import { createDecidedOffsets } from './decided.js'
import type { Scoring } from './exchange.js'
import { IdIndex } from './id-index.js'
import type { LaneListener } from './lane/port.js'
import { createOrder } from './order.js'
import { createServing, type Serving } from './serving.js'

/** A slow model ends it by time. */
const WARM_MS_MAX = 10_000
const CONNECTIONS = 16
/** Beside a server that answers payments: milliseconds between two requests of the one connection, and in all. */
const BESIDE = { restMs: 2, warmMsMax: 10_000 } as const
const SCRATCH_IDS = 16_384
/** Transactions under one snapshot before the other takes its turn. */
const SNAPSHOT_ROWS = 100

export interface WarmUpDeps {
  /** The parts that are real in the warm-up too. */
  readonly live: Pick<Live, 'identity' | 'serving' | 'lanes' | 'loaded' | 'shared'>
  /** Sends the lanes' results to this pipeline from now on. */
  readonly aim: (listener: LaneListener) => void
  /** Another server needs the cores. */
  readonly isBeside: boolean
  /** Opens a listener on a free loopback port over this scoring. */
  readonly listen: (scoring: Scoring) => Promise<{ port: number; close(deadlineMs: number): Promise<void> }>
}

/** Scores `warmUpRows` synthetic transactions over loopback HTTP into parts that are thrown away. */
export async function warmUp(fixed: Fixed, deps: WarmUpDeps): Promise<void> {
  const { limits, clock, policy, catalogue } = fixed
  const snapshots = [deps.live.serving(), exchanged(deps.live, fixed)]
  let begun = 0
  const scratch = assemble(fixed, {
    ...deps.live,
    serving: () => snapshots[Math.floor(begun++ / SNAPSHOT_ROWS) % snapshots.length],
    features: createFeatureState(catalogue, { limits }),
    index: new IdIndex({
      idsMax: SCRATCH_IDS,
      windowMs: policy.idempotency.window_ms,
      factsBytesMax: limits.factsBytesMax,
    }),
    decided: createDecidedOffsets(limits),
    recall: () => Promise.resolve(new Map()),
    order: createOrder(clock, { ordinal: 0, ms: 0 }),
    log: createScratchLog(limits.recordBytesMax, () => scratch.progress()),
    open: () => true,
  })
  deps.aim(scratch.listener)
  const listener = await deps.listen(scratch.scoring)
  try {
    const requests = sampleBodies(policy, limits.warmUpRows, clock.nowMs()).map(toRequest)
    const connections = deps.isBeside ? 1 : CONNECTIONS
    const share = Math.ceil(requests.length / connections)
    const untilMs = clock.monoMs() + (deps.isBeside ? BESIDE.warmMsMax : WARM_MS_MAX)
    const how = { isOver: () => clock.monoMs() > untilMs, restMs: deps.isBeside ? BESIDE.restMs : 0 }
    await Promise.all(
      Array.from({ length: connections }, (_, at) => {
        return sendAll(listener.port, requests.slice(at * share, (at + 1) * share), how)
      }),
    )
  } finally {
    await listener.close(100)
    scratch.close()
  }
}

/**
 * Champion and challenger in each other's place: code that has met one snapshot only, and one model in each role, would
 * be thrown away at the first change of routes, while payments wait. As it is where the challenger would answer nobody.
 */
function exchanged({ serving, loaded }: WarmUpDeps['live'], { catalogue, limits }: Fixed): Serving {
  const before = serving()
  const { routing } = before
  const { champion, challenger } = before.models
  if (loaded === null || challenger === null || challenger.lane === null) return before
  const routes = { ...before.routes, champion: challenger.reference, challenger: champion.reference }
  const { bucketsHeldMax } = limits
  return createServing({ ...before, routing: { ...routing, routes } }, { catalogue, loaded, bucketsHeldMax }, before)
}

function toRequest(body: string): Buffer {
  const head = 'POST /v1/score HTTP/1.1\r\nHost: warm-up\r\nContent-Type: application/json\r\n'
  return Buffer.from(`${head}Content-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`)
}

/** One connection, one request after the other. Answers are counted by their status lines, not read. */
function sendAll(
  port: number,
  requests: readonly Buffer[],
  { isOver, restMs }: { isOver: () => boolean; restMs: number },
): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1')
    let next = 0
    const send = (): void => {
      if (next === requests.length || isOver()) socket.end()
      else socket.write(requests[next++])
    }
    socket.on('connect', send)
    socket.on('data', () => (restMs === 0 ? send() : setTimeout(send, restMs)))
    socket.on('error', reject)
    socket.on('close', () => resolve())
  })
}

/** A decision log that keeps nothing and is durable as soon as it is flushed. */
export function createScratchLog(recordBytesMax: number, onProgress: () => void): DecisionLog {
  const scratch = Buffer.alloc(recordBytesMax)
  let sequence = 0
  let durable = 0
  return {
    logId: Buffer.alloc(8),
    epoch: 0,
    reserve: () => true,
    release: () => undefined,
    append(_type, encode) {
      encode(scratch, 0)
      return ++sequence
    },
    flush() {
      if (durable === sequence) return
      durable = sequence
      setImmediate(onProgress)
    },
    durableSequence: () => durable,
    healthy: () => true,
    close: () => Promise.resolve(),
  }
}

/** Strings tried against an identifier's pattern; a field that takes none of them is left out. */
const SAMPLES = ['1', 'a1', 'A1', '0001', '00000001', 'abcdefgh', '1234567']

/** Bodies of POST /v1/score that fit the policy's schema: `entities` different values per entity field. */
export function sampleBodies(policy: Policy, count: number, nowMs: number): string[] {
  const [currency] = Object.keys(policy.currencies.list)
  return Array.from({ length: count }, (_, at) => {
    const fields = policy.schema.fields.flatMap((field) => {
      const value = sampleOf(field, at)
      return value === null ? [] : [[field.name, value] as const]
    })
    return JSON.stringify({
      transaction_id: `warm-up-${at}`,
      occurred_at: new Date(nowMs - count + at).toISOString(),
      amount_minor: 100 + ((at * 7919) % 20_000),
      currency,
      ...Object.fromEntries(fields),
    })
  })
}

function sampleOf(field: FieldSpec, at: number): FieldValue {
  switch (field.type) {
    case 'boolean':
      return at % 2 === 0
    case 'integer':
    case 'number':
      return at % 50
    case 'string': {
      const pattern = new RegExp(field.identifier ?? '')
      const samples = [`${at % 50}`, ...SAMPLES]
      return samples.find((sample) => pattern.test(sample)) ?? null
    }
  }
}
