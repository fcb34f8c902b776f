// The pace of the sidecar, or of any other reader, beside a server that writes: a share of one core, in short slices
// with rests between them. Idle priority alone does not do. Linux gives an idle thread a small share, not none: it puts
// a thread of the server aside for one that has waited, until the next tick, some 4 ms, while the other core stands
// idle (scheduler's trace). Rests bound that to a slice: with slices of 0.25 ms in place of 2, all parts resting, the
// server's threads waited for the sidecar some 16 in place of 25 ms a second while it caught up. Hence also one thread
// at a time (governance/pipeline.ts), and no larger share than what it takes to come nearer to the log's end.
import type { Limits } from '../limits.js'
import type { Clock } from './clock.js'
import { wait } from './rests.js'

export interface Pace {
  /** Between two pieces of work, a record or a column: keeps the thread for a rest where a slice is over. */
  readonly rest: () => void
  /**
   * After a batch: the log ended at `end`, `lag` records are left. Resolves when the batch has had its rests. While the
   * log grows the share is the least that brings the sidecar nearer to its end; where nobody writes there are no rests.
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
  const shareMin = 1 / (1 + limits.paceRestMs)
  const look = (): { atMs: number; cpuMs: number } => ({ atMs: clock.monoMs(), cpuMs: cpuMs() })
  /** Of one core; 1: without rests. */
  let share = shareMin
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
    return Math.min(owed, OWED_MS_MAX)
  }

  /** What the next batch is to be read with, as this one was: its rests are time in which the log grows. */
  function shareFor({ records, end, lag }: { records: number; end: number; lag: number }, now: typeof batch): number {
    if (lastEnd === null) return share
    const grown = end - lastEnd
    if (grown === 0) return 1
    if (lag <= limits.tailBatchRecordsMax) return shareMin
    const grownPerMs = grown / (now.atMs - batch.atMs)
    const needed = (grownPerMs * (now.cpuMs - batch.cpuMs)) / (GROWTH_MAX * records)
    return Math.min(1, Math.max(shareMin, needed))
  }

  return {
    rest() {
      if (share === 1 || clock.monoMs() - sliceBeganMs < sliceMs) return
      const owed = owedMs()
      if (owed > 0) keepThread(Math.min(owed, sliceMs / share))
      sliceBeganMs = clock.monoMs()
    },
    async follow(done) {
      const owed = share === 1 ? 0 : owedMs()
      const now = look()
      share = shareFor(done, now)
      batch = now
      lastEnd = done.end
      if (owed > 0 && share < 1) await delay(owed)
      kept = look()
    },
  }
}

function processCpuMs(): number {
  const { user, system } = process.cpuUsage()
  return (user + system) / 1e3
}
