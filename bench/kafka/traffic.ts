// Transactions at a steady rate into one topic while what comes out of others is timed, in a process of its own
// (traffic-process.ts): what it costs is on the same cores, but in nobody's event loop.
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { createSimulator } from '../../src/simulate/generator.js'
import type { Produced } from '../../test/kafka/topics.js'

/** Milliseconds between two sends: what falls due between them goes out in one, and is timed from it. */
export const TICK_MS = 5

export type TrafficOrder = { readonly topic: string; readonly ratePerSecond: number } | 'stop'

export interface TrafficReport {
  /** Of every message, from when it was to be sent to when it was consumed, in order of sending. */
  readonly latenciesMs: Float64Array
  /** How late the sends themselves were, at p99; inside the latencies. */
  readonly latenessP99Ms: number
  /** The longest time without a message coming out: of any partition, and by partition. */
  readonly longestGapMs: number
  readonly partitionGapsMs: readonly number[]
  /** Messages that came out more than once. */
  readonly repeats: number
}

export interface Traffic {
  /** Sends until it is stopped, which resolves when all has come out. */
  start(topic: string, ratePerSecond: number): { stop(): Promise<TrafficReport> }
  run(topic: string, ratePerSecond: number, seconds: number): Promise<TrafficReport>
  close(): Promise<void>
}

const PROCESS = fileURLToPath(new URL('./traffic-process.js', import.meta.url))

/** Resolves when it can send, and consumes `outputs`. No two of a broker have the same name. */
export async function startTraffic(address: string, name: string, outputs: readonly string[]): Promise<Traffic> {
  const child = fork(PROCESS, [address, name, ...outputs], { serialization: 'advanced' })
  await answer(child)
  function start(topic: string, ratePerSecond: number): { stop(): Promise<TrafficReport> } {
    order(child, { topic, ratePerSecond })
    return {
      stop() {
        const report = answer(child)
        order(child, 'stop')
        return report as Promise<TrafficReport>
      },
    }
  }
  return {
    start,
    async run(topic, ratePerSecond, seconds) {
      const running = start(topic, ratePerSecond)
      await delay(1_000 * seconds)
      return running.stop()
    },
    async close() {
      const exited = once(child, 'exit')
      child.kill('SIGTERM')
      await exited
    },
  }
}

function order(child: ChildProcess, what: TrafficOrder): void {
  child.send(what)
}

async function answer(child: ChildProcess): Promise<unknown> {
  const isDone = new AbortController()
  const { signal } = isDone
  const ended = once(child, 'exit', { signal }).then(() => {
    throw new Error('the traffic ended')
  })
  try {
    const [said] = (await Promise.race([once(child, 'message', { signal }), ended])) as [unknown]
    return said
  } finally {
    ended.catch(() => undefined)
    isDone.abort()
  }
}

/** Simulated transactions with a number that goes out with the decision; `name` begins their ids. */
export function createMessages(name: string): (sequence: number) => Produced {
  const startMs = Date.now() - 60 * 86_400_000
  const simulator = createSimulator({ seed: 1, customers: 2_000, terminals: 4_000, startMs, idPrefix: `${name}-` })
  return (sequence) => {
    const { wire } = simulator.next()
    const headers = { 'correlation-id': String(sequence) }
    return { key: wire.customer_id ?? null, value: JSON.stringify(wire), headers }
  }
}
