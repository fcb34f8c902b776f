// A connection that answers in time or is replaced: a Redis that hangs holds nobody up, and what was asked of it does
// not pile up. Invariant: whoever asks hears within the time that was given, and nothing is asked twice.
import { AssayError } from '../../errors.js'
import type { RedisConnection } from '../../redis/connection.js'

export interface Line {
  /** Rejects as the connection does, and with ASSAY_STATE_UNAVAILABLE where there is no answer within `msMax`. */
  ask<Answer>(msMax: number, asked: (connection: RedisConnection) => Promise<Answer>): Promise<Answer>
  close(): void
}

/** One beside another, of the same kind. It connects in the background; until that is done whoever asks is refused. */
export function createLine(beside: Pick<RedisConnection, 'duplicate'>): Line {
  let connection: RedisConnection | null = beside.duplicate()

  function replace(held: RedisConnection): void {
    held.close()
    if (held !== connection) return
    try {
      connection = beside.duplicate()
    } catch {
      // A file that it needs is gone: whoever asks next hears of it.
      connection = null
    }
  }

  return {
    async ask(msMax, asked) {
      const held = (connection ??= beside.duplicate())
      let timer: NodeJS.Timeout | undefined
      let isAnswered = false
      const late = new Promise<never>((_, fail) => {
        const end = (): void => {
          if (isAnswered) return
          fail(new AssayError('ASSAY_STATE_UNAVAILABLE', `no answer within ${msMax} ms`))
          replace(held)
        }
        // After a turn of the loop that took long the answer may be there and not read yet.
        timer = setTimeout(() => setImmediate(end), msMax)
      })
      try {
        return await Promise.race([asked(held), late])
      } finally {
        isAnswered = true
        clearTimeout(timer)
      }
    },
    close: () => connection?.close(),
  }
}
