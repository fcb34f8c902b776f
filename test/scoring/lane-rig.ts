// A real lane on a fixture model, and what happened to every ticket. Shared by the tests of lanes; holds no test.
import { fileURLToPath } from 'node:url'
import { Worker } from 'node:worker_threads'
import type { Policy } from '../../src/contract/policy.js'
import type { Limits } from '../../src/limits.js'
import { TINY } from '../../src/limits.js'
import type { Bundle } from '../../src/models/bundle.js'
import { readBundle } from '../../src/models/bundle.js'
import { systemClock } from '../../src/runtime/clock.js'
import type { Hangs } from '../../src/scoring/lane/hangs.js'
import { createHangs } from '../../src/scoring/lane/hangs.js'
import { createLane } from '../../src/scoring/lane/create.js'
import type { Lane, LaneEvent, Ticket } from '../../src/scoring/lane/port.js'
import { createModelThreads, type ModelThreads } from '../../src/scoring/lane/threads.js'

export const BREAKER: Policy['breaker'] = { error_percent: 50, volume: 20, window_ms: 10_000, probe_after_ms: 30 }

/** In the first column of a row: what the thread of lane-mortal.ts does when it is to run a batch with such a row. */
export const MORTAL = { exit: 700_001, uncaught: 700_002, pause: 700_003 } as const

/** Lanes have such threads; the gate has a real one. */
export function createMortalThreads(): ModelThreads {
  const real = createModelThreads()
  const entry = new URL('./lane-mortal.js', import.meta.url)
  return {
    ...real,
    start: (task) => ('directory' in task ? real.start(task) : new Worker(entry, { workerData: task, execArgv: [] })),
  }
}

/** Compiled tests lie one level under the root; fixtures are not compiled. */
const MODELS = fileURLToPath(new URL('../../../test/fixtures/models/', import.meta.url))

export interface RigOptions {
  readonly limits?: Partial<Limits>
  readonly breaker?: Partial<Policy['breaker']>
  readonly deadlineMs?: number
  readonly hangs?: Hangs
  /** A thread that can be told by its rows to end (lane-mortal.ts). */
  readonly mortal?: boolean
  /** Where its threads come from; default: threads of its own. */
  readonly threads?: ModelThreads
  /** Called inside the listener, after a failure was noted. */
  readonly onFailure?: () => void
  readonly alter?: (bundle: Bundle) => Bundle
}

export interface Rig {
  readonly lane: Lane
  readonly bundle: Bundle
  readonly hangs: Hangs
  /** What was heard of each ticket, in order: a score, or the reason of the failure. */
  readonly heard: Map<Ticket, (number | string)[]>
  readonly events: LaneEvent[]
  /** Threads started, oldest first. */
  readonly workers: Worker[]
  /** Offers a row whose first column is `first` and whose others are those of golden row 0; returns what offer said. */
  offer(ticket: Ticket, first: number): string | null
  /** Offers one row as a flight of its own and returns what was heard of it. */
  score(first: number): Promise<number | string>
  until(holds: () => boolean): Promise<void>
}

/** Looks every millisecond: what is waited for may happen in another thread, without a call of ours. */
export async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await new Promise((resolve) => setTimeout(resolve, 1))
}

let ticketNext = 1_000_000

export function loadBundle(model: string): Promise<Bundle> {
  return readBundle(`${MODELS}${model}/1`)
}

/** Columns stand in the vector in reverse, from 3 on, so that picking and offset matter. */
export async function createRig(model: string, options: RigOptions = {}): Promise<Rig> {
  const read = await loadBundle(model)
  const bundle = options.alter?.(read) ?? read
  const width = bundle.golden.columns
  const columns = Int32Array.from({ length: width }, (_, i) => width - 1 - i)
  const hangs = options.hangs ?? createHangs()
  const heard = new Map<Ticket, (number | string)[]>()
  const events: LaneEvent[] = []
  const workers: Worker[] = []
  const hear = (ticket: Ticket, what: number | string): void => {
    heard.set(ticket, [...(heard.get(ticket) ?? []), what])
  }
  const threads = options.threads ?? (options.mortal === true ? createMortalThreads() : createModelThreads())
  const lane = await createLane(
    {
      bundle,
      columns,
      breaker: { ...BREAKER, ...options.breaker },
      deadlineMs: options.deadlineMs ?? 1000,
      // A healthy thread that a busy machine starves is no hang: only the tests of hangs ask for TINY's 200 ms.
      limits: { ...TINY, laneStopMs: 30_000, ...options.limits },
    },
    {
      clock: systemClock,
      hangs,
      listener: {
        onScore: (_lane, ticket, score) => hear(ticket, score),
        onFailure(_lane, ticket, reason) {
          hear(ticket, reason)
          options.onFailure?.()
        },
      },
      onEvent: (_lane, event) => events.push(event),
      threads: {
        ...threads,
        start(task) {
          const worker = threads.start(task)
          workers.push(worker)
          return worker
        },
      },
    },
  )
  const vector = new Float64Array(3 + width)
  const offer = (ticket: Ticket, first: number): string | null => {
    for (let i = 0; i < width; i++) vector[3 + columns[i]] = bundle.golden.values[i]
    vector[3 + columns[0]] = first
    return lane.offer(ticket, vector, 3)
  }
  return {
    lane,
    bundle,
    hangs,
    heard,
    events,
    workers,
    offer,
    until,
    async score(first) {
      const ticket = ticketNext++
      const refused = offer(ticket, first)
      lane.flush()
      if (refused !== null) return refused
      await until(() => heard.has(ticket))
      return heard.get(ticket)?.[0] ?? NaN
    },
  }
}
