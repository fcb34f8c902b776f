// Keeps a lane's thread alive. A thread that ends unasked is replaced after a pause that doubles, a bounded number of
// times in a row; one that makes no progress for `laneStopMs` hangs inside a native call, which nothing but SIGKILL
// ends: it is abandoned with its link, and replaced if the process's ledger (hangs.ts) still has the replacement.
// Invariant: at most one thread of a lane takes rows. It reads no row and knows no breaker.

import { AssayError } from '../../errors.js'
import type { Limits } from '../../limits.js'
import type { Clock } from '../../runtime/clock.js'
import type { Hangs } from './hangs.js'
import type { Link } from './link.js'
import type { LaneCounters, LaneEvent, LaneState } from './port.js'

/** Looks of the watchdog without progress that make a hang. Counted, so that a pause of the whole process is none. */
const LOOKS = 8

export interface KeeperDeps {
  readonly limits: Limits
  readonly clock: Clock
  readonly hangs: Hangs
  readonly counters: LaneCounters
  /** Starts a thread. */
  connect(life: { onReady(): void; onEnd(detail: string, refused: boolean): void }): Link
  /** How the first thread fared; a fault leaves the lane unloaded. */
  onFirst(fault: AssayError | null): void
  /** The current link was given up; its rows have been failed. */
  onLost(): void
  emit(event: LaneEvent): void
}

export interface Keeper {
  state(): LaneState
  /** The current link, or the last one where the state is not `ready`. */
  link(): Link
  close(deadlineMs: number): Promise<void>
}

interface Life {
  readonly link: Link
  alive: boolean
  /** NaN until it was ready. */
  readyAtMs: number
}

/** Starts the first thread at once. */
export function createKeeper(deps: KeeperDeps): Keeper {
  const { limits, clock, hangs, counters } = deps
  let state: LaneState = 'restarting'
  let first = true
  let deaths = 0
  let closed: { promise: Promise<void>; done: () => void } | null = null
  let timer: NodeJS.Timeout | undefined
  let quiet = 0
  let rounds = 0

  const begin = (): Life => {
    const own: Life = {
      alive: true,
      readyAtMs: NaN,
      link: deps.connect({
        onReady: () => ready(own),
        onEnd: (detail, refused) => ended(own, detail, refused),
      }),
    }
    timer = later(limits.laneStartMs, () => hung(own))
    return own
  }
  const ready = (own: Life): void => {
    if (!own.alive || state !== 'restarting') return
    clearTimeout(timer)
    quiet = 0
    own.readyAtMs = clock.monoMs()
    state = 'ready'
    deps.emit({ kind: 'thread_ready' })
    if (!first) return
    first = false
    deps.onFirst(null)
  }
  const lose = (own: Life): void => {
    own.alive = false
    // Before the rows are failed: who hears of it may offer again at once.
    state = 'not_loaded'
    clearTimeout(timer)
    own.link.giveUp(closed === null ? 'model_error' : 'not_loaded')
    deps.onLost()
  }
  const unload = (): void => {
    state = 'not_loaded'
    clearTimeout(timer)
    clearInterval(watch)
  }
  const ended = (own: Life, detail: string, refused: boolean): void => {
    if (!own.alive) {
      hangs.returned()
      deps.emit({ kind: 'thread_returned' })
      return
    }
    lose(own)
    if (closed !== null) return closed.done()
    if (first) {
      unload()
      return deps.onFirst(new AssayError(refused ? 'ASSAY_BUNDLE_REFUSED' : 'ASSAY_MODEL_FAILED', detail))
    }
    counters.threadsDied++
    if (clock.monoMs() - own.readyAtMs > limits.laneRestartMsMax) deaths = 0
    const restartInMs = Math.min(limits.laneRestartMs * 2 ** deaths, limits.laneRestartMsMax)
    if (++deaths > limits.laneRestartsMax) {
      unload()
      return deps.emit({ kind: 'thread_died', detail, restartInMs: null })
    }
    state = 'restarting'
    timer = later(restartInMs, () => (life = begin()))
    deps.emit({ kind: 'thread_died', detail, restartInMs })
  }
  const abandon = (own: Life): void => {
    counters.threadsAbandoned++
    hangs.abandoned()
    lose(own)
    own.link.abandon()
  }
  const hung = (own: Life): void => {
    abandon(own)
    if (first) {
      unload()
      return deps.onFirst(new AssayError('ASSAY_MODEL_FAILED', `not loaded within ${limits.laneStartMs} ms`))
    }
    const replaced = hangs.takeReplacement()
    if (replaced) {
      state = 'restarting'
      life = begin()
    } else unload()
    deps.emit({ kind: 'thread_abandoned', replaced })
  }
  const look = (): void => {
    const { link } = life
    const now = link.rounds()
    if (state !== 'ready' || !link.busy() || now !== rounds) quiet = 0
    else if (++quiet > LOOKS) hung(life)
    rounds = now
  }

  const watch = setInterval(look, limits.laneStopMs / LOOKS).unref()
  let life = begin()

  return {
    state: () => state,
    link: () => life.link,
    close(deadlineMs) {
      if (closed !== null) return closed.promise
      closed = deferred()
      unload()
      if (!life.alive) closed.done()
      else {
        life.link.stop()
        timer = later(Math.min(deadlineMs, limits.laneStopMs), () => {
          abandon(life)
          closed?.done()
        })
      }
      return closed.promise
    },
  }
}

function later(ms: number, run: () => void): NodeJS.Timeout {
  return setTimeout(run, ms).unref()
}

function deferred(): { promise: Promise<void>; done: () => void } {
  let done = (): void => undefined
  const promise = new Promise<void>((resolve) => {
    done = resolve
  })
  return { promise, done }
}
