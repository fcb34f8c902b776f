// A thread that is started for one answer.
import type { Worker } from 'node:worker_threads'

/** Its first message; null where none comes in time. Rejects where the thread fails or ends without one. */
export function answerOf(worker: Worker, waitMs: number): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => resolve(null), waitMs)
    const settle = (act: () => void): void => {
      clearTimeout(timer)
      act()
    }
    worker.once('message', (answer: unknown) => settle(() => resolve(answer)))
    worker.once('error', (error) => settle(() => reject(error)))
    worker.once('exit', (code) => settle(() => reject(new Error(`it ended with ${code}`))))
  })
}
