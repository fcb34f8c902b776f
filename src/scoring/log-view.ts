// The decision log in metrics and status: what it has taken, how far it is durable, how long it has refused.
import type { OpenDecisionLog } from '../decision-log/open.js'
import type { Clock } from '../runtime/clock.js'
import { SYNC_SECONDS_BOUNDS } from '../decision-log/gauges.js'
import type { Metrics } from '../telemetry/metrics.js'
import { countedIn } from '../telemetry/histogram.js'
import type { LogView } from './status.js'

/** Watches for how long the log has been failing; looks only when asked. */
export function watchLog(log: OpenDecisionLog, clock: Clock): LogView {
  let failingSinceMs: number | null = null
  const unhealthyMs = (): number => {
    if (log.healthy()) failingSinceMs = null
    else failingSinceMs ??= clock.monoMs()
    return failingSinceMs === null ? 0 : clock.monoMs() - failingSinceMs
  }
  return {
    healthy: () => log.healthy(),
    unhealthyMs,
    facts() {
      const { syncSeconds: _, groupFrames: __, ...counters } = log.stats()
      const hoursLeft = log.hoursLeft()
      return {
        log_id: log.logId.toString('hex'),
        epoch: log.epoch,
        healthy: log.healthy(),
        hours_left: Number.isFinite(hoursLeft) ? hoursLeft : null,
        previous_epoch: log.recovery.previousEpoch,
        ...counters,
      }
    },
  }
}

/** Registers what is read at a scrape. */
export function registerLogMetrics(metrics: Metrics, log: OpenDecisionLog): void {
  const stats = (): ReturnType<OpenDecisionLog['stats']> => log.stats()
  metrics.counter({ name: 'assay_log_appended_total', help: 'Records appended', read: () => stats().appended })
  metrics.gauge({
    name: 'assay_log_synced_sequence',
    help: 'Sequence up to which every record is durable',
    read: () => stats().durableSequence,
  })
  metrics.histogram({
    name: 'assay_log_sync_duration_seconds',
    help: 'One sync of the decision log',
    bounds: SYNC_SECONDS_BOUNDS,
    read() {
      const { syncSeconds, syncSecondsSum } = stats()
      return [{ labels: {}, counted: countedIn(SYNC_SECONDS_BOUNDS, syncSeconds, syncSecondsSum) }]
    },
  })
  metrics.counter({
    name: 'assay_log_dropped_records_total',
    help: 'Records removed unarchived at the bound of bytes (on_full: drop_oldest)',
    read: () => stats().droppedRecords,
  })
  metrics.gauge({
    name: 'assay_log_hours_left',
    help: 'Hours until disk or bound are full at the recent rate',
    read: () => log.hoursLeft(),
  })
}
