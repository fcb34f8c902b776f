// Time as a dependency. Nothing below the composition roots reads a clock of its own.

export interface Clock {
  /** Wall clock, integer milliseconds since 1970 UTC. */
  nowMs(): number
  /** Monotonic milliseconds with fraction, for durations and deadlines. */
  monoMs(): number
}

export const systemClock: Clock = {
  nowMs: () => Date.now(),
  monoMs: () => performance.now(),
}
