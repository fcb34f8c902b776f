// When the sidecar lets go of old segments: now and then, one run at a time, beside the pipeline and in small pieces.
// It says first how far its store has come, since nothing that it has not read may go. What fails is told, counted and
// tried again at the next look; the log keeps what was not archived.
import { setTimeout as delay } from 'node:timers/promises'
import type { Pruned } from '../decision-log/prune.js'
import type { Position } from '../decision-log/reader.js'
import { writeReaderPosition } from '../decision-log/reader-position.js'
import { errorOf } from '../errors.js'
import type { Limits } from '../limits.js'
import type { Exposed } from '../telemetry/exposition.js'
import type { Logger } from '../telemetry/logger.js'

export interface PruningDeps {
  /** Of the store. */
  readonly directory: string
  readonly limits: Pick<Limits, 'pruneMs'>
  readonly logger: Logger
  /** Of the store's last commit; null while it is closed or new. */
  readonly position: () => Position | null
  /** `rest` is to be waited for between pieces of work; it rejects once this is closed. */
  readonly prune: (rest: () => Promise<void>) => Promise<Pruned>
}

export interface Pruning {
  metrics(): readonly Exposed[]
  /** Ends what is under way at its next piece. */
  close(): Promise<void>
}

/** Milliseconds after each piece of 256 KiB, which take about as much. */
const REST_MS = 5

export function createPruning({ directory, limits, logger, position, prune }: PruningDeps): Pruning {
  const stop = new AbortController()
  const rest = (): Promise<void> => delay(REST_MS, undefined, { signal: stop.signal })
  const totals = { segments: 0, failures: 0 }
  let running: Promise<void> | null = null

  async function run(): Promise<void> {
    try {
      notePosition()
      const { segments, records, bytes, removed } = await prune(rest)
      totals.segments += segments
      if (segments + removed > 0) logger.event('SegmentsArchived', { segments, records, bytes, removed })
    } catch (error) {
      if (stop.signal.aborted) return
      totals.failures++
      logger.event('ArchiveFailed', { error: errorOf(error) })
    }
  }

  function notePosition(): void {
    const at = position()
    if (at !== null) writeReaderPosition(directory, at)
  }

  const timer = setInterval(() => {
    running ??= run().finally(() => (running = null))
  }, limits.pruneMs).unref()

  const counter = (name: string, help: string, read: () => number): Exposed => {
    return { kind: 'counter', name, help, labels: [], read }
  }
  return {
    metrics: () => [
      counter('assay_governance_segments_archived_total', 'Segments moved to the archive', () => totals.segments),
      counter('assay_governance_archive_failures_total', 'Times that archiving failed', () => totals.failures),
    ],
    async close() {
      clearInterval(timer)
      stop.abort()
      await running
      try {
        notePosition()
      } catch (error) {
        logger.event('ArchiveFailed', { error: errorOf(error) })
      }
    },
  }
}
