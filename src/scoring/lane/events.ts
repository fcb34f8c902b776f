// What happens to a lane, as events of the logger.
import type { Logger } from '../../telemetry/logger.js'
import type { Lane, LaneEvent } from './port.js'

/** Writes one event of a lane under the name that operators know it by. */
export function laneEvent(logger: Logger, lane: Lane, event: LaneEvent): void {
  const model = `${lane.name}@${lane.version}`
  switch (event.kind) {
    case 'breaker':
      return logger.event(event.state === 'closed' ? 'BreakerClosed' : 'BreakerOpened', { model, state: event.state })
    case 'thread_died':
      return logger.event('LaneRestarted', { model, detail: event.detail, restart_in_ms: event.restartInMs })
    case 'thread_abandoned':
      return logger.event('LaneAbandoned', { model, replaced: event.replaced })
    case 'run_threw':
      return logger.event('ModelRefused', { model, detail: event.detail })
    case 'thread_ready':
    case 'thread_returned':
      return logger.event('LaneReady', { model, thread: event.kind })
  }
}
