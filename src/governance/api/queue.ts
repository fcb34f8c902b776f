// Bounds what the API asks of the store at once, so that a crowd of readers cannot starve the writing of batches.
// Invariant: at most `running` queries run and `waiting` wait; a query that takes too long is answered as such and
// keeps its place until it really ends.
import { AssayError } from '../../errors.js'

export interface QueueBounds {
  readonly running: number
  readonly waiting: number
  readonly timeoutMs: number
}

/** Runs a query when there is room. Rejects with ASSAY_OVERLOADED where there is none, or after `timeoutMs`. */
export type Queue = <Answer>(query: () => Promise<Answer>) => Promise<Answer>

export function createQueue(bounds: QueueBounds): Queue {
  const waiting: (() => void)[] = []
  let running = 0
  const leave = (): void => {
    running--
    waiting.shift()?.()
  }
  const enter = (): Promise<void> => {
    if (running < bounds.running) return Promise.resolve(void running++)
    if (waiting.length >= bounds.waiting) {
      return Promise.reject(new AssayError('ASSAY_OVERLOADED', 'too many queries are waiting'))
    }
    return new Promise((resolve) =>
      waiting.push(() => {
        running++
        resolve()
      }),
    )
  }
  return async (query) => {
    await enter()
    const answer = query().finally(leave)
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<never>((_, refuse) => {
      const message = `the query took longer than ${bounds.timeoutMs / 1000} s; ask for a shorter time`
      timer = setTimeout(() => refuse(new AssayError('ASSAY_OVERLOADED', message)), bounds.timeoutMs)
    })
    try {
      return await Promise.race([answer, late])
    } finally {
      clearTimeout(timer)
    }
  }
}
