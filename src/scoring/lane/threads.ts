// The threads that models run in. One that is done with a model waits for the next: to start one and to load the
// runtime in it takes 0.4 s of a core in bursts, which payments under way feel.
// Invariant: a thread has one task at a time (entry.ts), and at most one waits without any.
import { Worker } from 'node:worker_threads'
import type { GateWire, LaneWire } from './wire.js'

export interface ModelThreads {
  /** Has a thread do this. */
  start(task: GateWire | LaneWire): Worker
  /** Its task is over, and nobody listens to it any more. */
  giveBack(thread: Worker): void
  /** Ends the one that waits. */
  close(): Promise<void>
}

export function createModelThreads(): ModelThreads {
  let spare: Worker | null = null
  return {
    start(task) {
      // One that has ended has no id.
      const thread = spare !== null && spare.threadId !== -1 ? spare : startThread()
      spare = null
      thread.ref()
      thread.postMessage(task)
      return thread
    },
    giveBack(thread) {
      if (spare !== null) return void thread.terminate()
      // The process ends without it.
      thread.unref()
      spare = thread
    },
    async close() {
      await spare?.terminate()
    },
  }
}

function startThread(): Worker {
  // No loaders of the parent: a thread runs the compiled file and nothing else.
  const thread = new Worker(new URL('./entry.js', import.meta.url), { name: 'model', execArgv: [] })
  // Whoever has given it a task hears of its end.
  thread.on('error', () => undefined)
  return thread
}
