// When things happen on the main thread: one flush per turn of the event loop, one tick per millisecond while anything
// is under way, and the lag of the loop seen by that tick. Nothing else in the scoring server sets a timer per row.
import type { Clock } from '../runtime/clock.js'

export interface Heartbeat {
  /** Flush at the end of this turn; tick until nothing is under way. */
  wake(): void
  /** Milliseconds by which the last tick came late; 0 at rest. */
  lagMs(): number
  close(): void
}

export interface HeartbeatDeps {
  readonly clock: Clock
  flush(): void
  tick(): void
  /** Anything that still needs ticks. */
  busy(): boolean
}

/** Idle ticks before the timer is put away; setting it up again costs more than a few idle ticks. */
const IDLE_TICKS_MAX = 250

/** Starts asleep. */
export function createHeartbeat(deps: HeartbeatDeps): Heartbeat {
  let flushing: NodeJS.Immediate | null = null
  let timer: NodeJS.Timeout | null = null
  let idleTicks = 0
  let lastMs = 0
  let lagMs = 0

  function flush(): void {
    flushing = null
    deps.flush()
  }

  function tick(): void {
    const nowMs = deps.clock.monoMs()
    lagMs = Math.max(0, nowMs - lastMs - 1)
    lastMs = nowMs
    deps.tick()
    idleTicks = deps.busy() ? 0 : idleTicks + 1
    if (idleTicks > IDLE_TICKS_MAX) stop()
  }

  function stop(): void {
    if (timer !== null) clearInterval(timer)
    timer = null
    lagMs = 0
  }

  return {
    wake() {
      flushing ??= setImmediate(flush)
      if (timer !== null) return
      idleTicks = 0
      lastMs = deps.clock.monoMs()
      timer = setInterval(tick, 1)
    },
    lagMs: () => lagMs,
    close() {
      stop()
      if (flushing !== null) clearImmediate(flushing)
      flushing = null
    },
  }
}
