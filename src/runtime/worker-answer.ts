// A thread that is waited for, for one answer.
import type { Worker } from 'node:worker_threads'

/** Its next message; null where none comes in time. Rejects where the thread fails or ends without one. */
export function answerOf(worker: Worker, waitMs: number): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const settle = (act: () => void): void => {
      clearTimeout(timer)
      worker.off('message', onMessage).off('error', reject).off('exit', onExit)
      act()
    }
    const timer = setTimeout(() => settle(() => resolve(null)), waitMs)
    const onMessage = (answer: unknown): void => settle(() => resolve(answer))
    const onExit = (code: number): void => settle(() => reject(new Error(`it ended with ${code}`)))
    worker.on('message', onMessage).on('error', reject).on('exit', onExit)
  })
}
