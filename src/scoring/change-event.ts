// A change that serves, as an event of the logger.
import { digestText } from '../contract/canonical-json.js'
import { policyFingerprint } from '../contract/policy.js'
import { isoTime } from '../contract/time.js'
import type { Logger } from '../telemetry/logger.js'
import type { Changed } from './control.js'
import { isOfPolicy } from './policy-change.js'

/** Which part has changed says the kind. */
export function changeEvent(logger: Logger, { asked, actor, reason, standing }: Changed): void {
  const by = { kind: asked.kind, actor, reason }
  const { routing, policy, live } = standing
  if (isOfPolicy(asked)) {
    const fingerprint = digestText(policyFingerprint(policy))
    return logger.event('PolicyChanged', { ...by, revision: live.revision, policy: fingerprint })
  }
  if (asked.kind === 'history') {
    const { transactions, labels, from_ms: fromMs, until_ms: untilMs } = asked.history
    const times = { from: isoTime(fromMs), until: isoTime(untilMs) }
    return logger.event('HistoryImported', { actor, reason, transactions, labels, ...times })
  }
  const { revision, champion, challenger, share } = routing.routes
  const { loaded, forced } = routing
  logger.event('RoutesChanged', { ...by, revision, champion, challenger, share, ...forced, loaded })
}
