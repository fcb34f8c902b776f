// A change that serves, as an event of the logger.
import { digestText } from '../contract/canonical-json.js'
import { isoTime } from '../contract/time.js'
import type { Logger } from '../telemetry/logger.js'
import type { Changed } from './control.js'

/** Which of them has changed says the kind. */
export function changeEvent(logger: Logger, { change, standing, actor, reason }: Changed): void {
  const { routing, policyDigest, live } = standing
  const { kind } = change
  const by = { actor, reason }
  if (kind === 'history') {
    const { transactions, labels, from_ms: fromMs, until_ms: untilMs } = change.history
    const times = { from: isoTime(fromMs), until: isoTime(untilMs) }
    return logger.event('HistoryImported', { ...by, transactions, labels, ...times })
  }
  if (kind.startsWith('policy')) {
    return logger.event('PolicyChanged', { kind, ...by, revision: live.revision, policy: digestText(policyDigest) })
  }
  const { revision, champion, challenger, share } = routing.routes
  const { loaded, forced } = routing
  logger.event('RoutesChanged', { kind, ...by, revision, champion, challenger, share, ...forced, loaded })
}
