// When things happen on the main thread: one flush per turn of the event loop, one tick per millisecond while anything
// is under way, and the lag of the loop seen by that tick. Nothing else in the scoring server sets a timer per row.
import type { Clock } from '../runtime/clock.js'

export interface Heartbeat {
  /** Flush at the end of this turn; tick until nothing is under way. */
  wake(): void
  /**
   * Inside a long turn of the loop (a thousand sockets with a request each take tens of milliseconds): every other
   * millisecond does what cannot wait for the turn's end. A clock reading (50 ns) where there is nothing to do.
   */
  beat(): void
  /** Milliseconds by which the last turn of the loop came late; 0 at rest. */
  lagMs(): number
  close(): void
}

export interface HeartbeatDeps {
  readonly clock: Clock
  flush(): void
  tick(): void
  /** Deadlines, results and hand-overs. It hears no log: the caller may be answering what is durable itself. */
  pulse(): void
  /** A tick or pulse came so many milliseconds after it was due. */
  onLate(lateMs: number): void
  /** Anything that still needs ticks. */
  busy(): boolean
}

/** Milliseconds from tick or pulse to the next pulse: each breaks up batches, so that twice as many cost 3 % of CPU. */
const PULSE_MS = 2

/** Idle ticks before the timer is put away; setting it up again costs more than a few idle ticks. */
const IDLE_TICKS_MAX = 250

/** Starts asleep. */
export function createHeartbeat(deps: HeartbeatDeps): Heartbeat {
  let flushing: NodeJS.Immediate | null = null
  let timer: NodeJS.Timeout | null = null
  let idleTicks = 0
  let lastMs = 0
  let beatMs = 0
  let lagMs = 0

  function flush(): void {
    flushing = null
    deps.flush()
  }

  function late(nowMs: number): void {
    deps.onLate(Math.max(0, nowMs - beatMs - 1))
    beatMs = nowMs
  }

  function tick(): void {
    const nowMs = deps.clock.monoMs()
    lagMs = Math.max(0, nowMs - lastMs - 1)
    lastMs = nowMs
    late(nowMs)
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
      lastMs = beatMs = deps.clock.monoMs()
      timer = setInterval(tick, 1)
    },
    beat() {
      if (timer === null) return
      const nowMs = deps.clock.monoMs()
      if (nowMs - beatMs < PULSE_MS) return
      late(nowMs)
      deps.pulse()
    },
    lagMs: () => lagMs,
    close() {
      stop()
      if (flushing !== null) clearImmediate(flushing)
      flushing = null
    },
  }
}
