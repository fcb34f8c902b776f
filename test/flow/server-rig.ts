// A whole server inside the test's process, on a directory and ports of its own, and what a test needs to reach: its
// threads as they start, its events, its answers over HTTP, its metrics and its log. Shared by the flow tests; no test.
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Worker } from 'node:worker_threads'
import { type Config, loadConfig } from '../../src/config.js'
import type {
  ConsumedRecord,
  DecisionFacts,
  DecisionPersonal,
  LabelRecord,
  ReplyRecord,
  SupersededRecord,
} from '../../src/contract/record-types.js'
import { type Limits, LIMITS } from '../../src/limits.js'
import type { Clock } from '../../src/runtime/clock.js'
import { readDecisionLog } from '../../src/scoring/restore.js'
import { serve, type ServeDeps, type Server } from '../../src/serve.js'
import type { EventName, Fields } from '../../src/telemetry/logger.js'
import { QUICK } from './quick.js'

/** Compiled tests lie one level under the root; fixtures are not compiled. */
export const FIXTURE_MODELS = fileURLToPath(new URL('../../../test/fixtures/models', import.meta.url))

export type Edit = (config: Config) => void

export interface RigOptions {
  /** Changes the built-in configuration; ports, data directory and the logger are the rig's. */
  readonly edit?: Edit
  /** Others than those of the product and `QUICK`. */
  readonly limits?: Partial<Limits>
  readonly clock?: Clock
  readonly threads?: ServeDeps['threads']
  /** An existing data directory; by default a new one that `remove` deletes. */
  readonly dataDir?: string
  readonly routesFromFile?: boolean
  readonly policyFromFile?: boolean
}

export interface Answer {
  readonly status: number
  readonly headers: Headers
  readonly text: string
  // eslint-disable-next-line @typescript-eslint/no-explicit-any -- what a server says is looked at field by field
  readonly body: any
}

export interface Rig {
  readonly server: Server
  readonly config: Config
  readonly dataDir: string
  readonly logDir: string
  /** Threads started so far, oldest first. */
  readonly workers: Worker[]
  /** The threads that a model has had, oldest first. */
  threads(reference: string): readonly Worker[]
  readonly events: { name: EventName; fields: Fields }[]
  send(path: string, body: unknown, headers?: Record<string, string>): Promise<Answer>
  score(transaction: object, headers?: Record<string, string>): Promise<Answer>
  get(path: string): Promise<Answer>
  operations(path: string): Promise<Answer>
  /** Samples of one metric: label text → value. */
  metric(name: string): Promise<Map<string, number>>
  /** Drains; idempotent. */
  stop(): Promise<void>
  remove(): Promise<void>
}

/** Starts it and resolves when it is ready. */
export async function startRig(options: RigOptions = {}): Promise<Rig> {
  const dataDir = options.dataDir ?? (await mkdtemp(join(tmpdir(), 'assay-flow-')))
  const ports = { ASSAY_PROCESS__HTTP__PORT: '0', ASSAY_PROCESS__OPERATIONS__PORT: '0' }
  const config = structuredClone(loadConfig({ env: { ASSAY_DATA_DIR: dataDir, ...ports } }))
  options.edit?.(config)
  const events: Rig['events'] = []
  const workers: Worker[] = []
  const lanes = new Map<unknown, Worker[]>()
  const onWorker = (worker: Worker): void => void workers.push(worker)
  process.on('worker', onWorker)
  const event = (name: EventName, fields: Fields = {}): void => {
    events.push({ name, fields })
    const newest = workers.at(-1)
    // Lanes start one after the other, so a lane that becomes ready is the thread that was started last.
    if (name !== 'LaneReady' || fields.thread !== 'thread_ready' || newest === undefined) return
    lanes.set(fields.model, [...(lanes.get(fields.model) ?? []), newest])
  }
  const server = await serve(config, {
    logger: { event, flush: () => undefined },
    limits: { ...LIMITS, ...QUICK, ...options.limits },
    ...(options.clock !== undefined && { clock: options.clock }),
    ...(options.threads !== undefined && { threads: options.threads }),
    fromFile: { routes: options.routesFromFile ?? false, policy: options.policyFromFile ?? false },
  })
  let stopped: Promise<void> | null = null
  const stop = (): Promise<void> => {
    stopped ??= server.close().then(() => void process.off('worker', onWorker))
    return stopped
  }
  const send: Rig['send'] = (path, body, headers = {}) => request(server.scoreUrl + path, body, headers)
  return {
    ...{ server, config, dataDir, workers, events, send, stop },
    logDir: join(dataDir, 'decision-log'),
    threads: (reference) => lanes.get(reference) ?? [],
    score: (transaction, headers) => send('/v1/score', transaction, headers),
    get: (path) => answer(fetch(server.scoreUrl + path)),
    operations: (path) => answer(fetch(server.operationsUrl + path)),
    metric: async (name) => samples((await (await fetch(`${server.operationsUrl}/metrics`)).text()).split('\n'), name),
    async remove() {
      await stop()
      await rm(dataDir, { recursive: true, force: true })
    },
  }
}

/** POSTs a value as JSON, or text and bytes as they are. */
export function request(url: string, body: unknown, headers: Record<string, string> = {}): Promise<Answer> {
  const isRaw = typeof body === 'string' || body instanceof Uint8Array
  return answer(
    fetch(url, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...headers },
      body: isRaw ? body : JSON.stringify(body),
    }),
  )
}

export async function answer(response: Promise<Response>): Promise<Answer> {
  const { status, headers, ...rest } = await response.then(async (held) => ({
    status: held.status,
    headers: held.headers,
    text: await held.text(),
  }))
  return {
    status,
    headers,
    text: rest.text,
    body: rest.text.startsWith('{') || rest.text.startsWith('[') ? JSON.parse(rest.text) : null,
  }
}

function samples(lines: readonly string[], name: string): Map<string, number> {
  const found = new Map<string, number>()
  for (const line of lines) {
    const match = /^(\w+)(?:\{(.*)\})? (\S+)/.exec(line)
    if (match !== null && match[1] === name) found.set(match[2] ?? '', Number(match[3]))
  }
  return found
}

export interface LoggedDecision {
  readonly facts: DecisionFacts
  readonly personal: DecisionPersonal
}

export interface ReadLog {
  readonly logId: Buffer
  /** Decisions and observed transactions in the order of the log; vectors are copies. */
  readonly decisions: readonly LoggedDecision[]
  readonly replies: readonly ReplyRecord[]
  readonly superseded: readonly SupersededRecord[]
  readonly labels: readonly LabelRecord[]
  readonly consumed: readonly ConsumedRecord[]
}

/** A log at rest. */
export async function readLog(logDir: string): Promise<ReadLog> {
  const decisions: LoggedDecision[] = []
  const replies: ReplyRecord[] = []
  const superseded: SupersededRecord[] = []
  const labels: LabelRecord[] = []
  const consumed: ConsumedRecord[] = []
  let logId = Buffer.alloc(8)
  await readDecisionLog(logDir, {
    onSegment: (header) => void (logId = Buffer.from(header.logId)),
    onRecord(record) {
      if (record.type === 'reply') replies.push(record.reply)
      if (record.type === 'label') labels.push(record.label)
      if (record.type === 'consumed') consumed.push(record.consumed)
      if (record.type === 'superseded') superseded.push(record.superseded)
      if (record.type !== 'decision' && record.type !== 'observed') return
      const { facts, personal } = record
      decisions.push({ facts, personal: { ...personal, vector: Uint8Array.from(personal.vector) } })
    },
  })
  return { logId, decisions, replies, superseded, labels, consumed }
}

/** Looks every `everyMs`: what is waited for may happen in another thread. Throws where it does not come in time. */
export async function until(
  holds: () => boolean | Promise<boolean>,
  what: string,
  { msMax = 20_000, everyMs = 2 }: { msMax?: number; everyMs?: number } = {},
): Promise<void> {
  const endMs = performance.now() + msMax
  while (!(await holds())) {
    if (performance.now() > endMs) throw new Error(`${what}: not within ${msMax} ms`)
    await new Promise((resolve) => setTimeout(resolve, everyMs))
  }
}
