// The pace of the sidecar, or of any other reader, beside a server that writes: a share of one core, in short slices
// with rests between them. Idle priority alone does not do. Linux gives an idle thread a small share, not none: it puts
// a thread of the server aside for one that has waited, until the next tick, some 4 ms, while the other core stands
// idle (scheduler's trace). Rests bound that to a slice: with slices of 0.25 ms in place of 2, all parts resting, the
// server's threads waited for the sidecar some 16 in place of 25 ms a second while it caught up. Hence also one thread
// at a time (governance/pipeline.ts), and no more than what it takes to come nearer to the log's end.
import type { Limits } from '../limits.js'
import type { Clock } from './clock.js'
import { wait } from './rests.js'

export interface Pace {
  /** Between two pieces of work, a record or a column: keeps the thread for a rest where a slice is over. */
  readonly rest: () => void
  /**
   * After a batch: the log ended at `end`, `lag` records are left. Resolves when the batch has had its rests. There are
   * rests while the log grows and the sidecar comes nearer to its end all the same; else it works through.
   */
  follow(batch: { readonly records: number; readonly end: number; readonly lag: number }): Promise<void>
}

/** Where nobody is to be given way to. */
export const WITHOUT_REST: Pace = { rest: () => undefined, follow: () => Promise.resolve() }

export interface PaceOptions {
  readonly clock: Clock
  /** CPU of this process, all threads, milliseconds; the system's by default. */
  readonly cpuMs?: () => number
  readonly limits: Pick<Limits, 'paceRestMs' | 'paceSliceUs' | 'tailBatchRecordsMax'>
  /** Keeps the thread for so many milliseconds. */
  readonly keepThread?: (ms: number) => void
  readonly delay: (ms: number) => Promise<void>
}

/** The log may grow by this share of what is read, so that the end of a lag is in sight. */
const GROWTH_MAX = 0.8
/** Milliseconds of rest that are owed at most: the pipeline does not wait for what a long query cost. */
const OWED_MS_MAX = 1_000

export function createPace(options: PaceOptions): Pace {
  const { clock, cpuMs = processCpuMs, limits, keepThread = wait, delay } = options
  const sliceMs = limits.paceSliceUs / 1_000
  /** Of one core. */
  const share = 1 / (1 + limits.paceRestMs)
  const look = (): { atMs: number; cpuMs: number } => ({ atMs: clock.monoMs(), cpuMs: cpuMs() })
  /** Until a first batch has shown whether the log grows. */
  let isResting = true
  let lastEnd: number | null = null
  /** Since when the share is kept, and since the last batch. */
  let kept = look()
  let batch = kept
  let sliceBeganMs = kept.atMs

  /** Milliseconds that should have gone by, and have not, for what was worked. */
  function owedMs(): number {
    const now = look()
    const owed = (now.cpuMs - kept.cpuMs) / share - (now.atMs - kept.atMs)
    // Time in which nothing was to be done is not saved up.
    if (owed <= 0) kept = now
    if (owed <= OWED_MS_MAX) return owed
    kept = { atMs: now.atMs, cpuMs: now.cpuMs - OWED_MS_MAX * share }
    return OWED_MS_MAX
  }

  return {
    rest() {
      if (!isResting || clock.monoMs() - sliceBeganMs < sliceMs) return
      const owed = owedMs()
      if (owed > 0) keepThread(Math.min(owed, sliceMs / share))
      sliceBeganMs = clock.monoMs()
    },
    async follow({ records, end, lag }) {
      const now = look()
      const tookMs = now.atMs - batch.atMs
      const grown = lastEnd === null ? null : end - lastEnd
      const grownWithRests = ((grown ?? 0) / tookMs) * Math.max(tookMs, (now.cpuMs - batch.cpuMs) / share)
      batch = now
      lastEnd = end
      if (grown === null) return
      const wasResting = isResting
      isResting = grown > 0 && (lag <= limits.tailBatchRecordsMax || grownWithRests <= GROWTH_MAX * records)
      if (!isResting) return
      if (!wasResting) kept = now
      const owed = owedMs()
      if (owed > 0) await delay(owed)
    },
  }
}

function processCpuMs(): number {
  const { user, system } = process.cpuUsage()
  return (user + system) / 1e3
}
