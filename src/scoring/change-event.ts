// A change that serves, as an event of the logger.
import { digestText } from '../contract/canonical-json.js'
import { policyFingerprint } from '../contract/policy.js'
import type { Logger } from '../telemetry/logger.js'
import type { Standing } from './serving.js'

/** Which of the two has changed says the kind. */
export function changeEvent(
  logger: Logger,
  { standing, ...change }: { kind: string; actor: string; reason: string; standing: Standing },
): void {
  const { routing, policy, live } = standing
  if (change.kind.startsWith('policy')) {
    const fingerprint = digestText(policyFingerprint(policy))
    return logger.event('PolicyChanged', { ...change, revision: live.revision, policy: fingerprint })
  }
  const { revision, champion, challenger, share } = routing.routes
  const { loaded, forced } = routing
  logger.event('RoutesChanged', { ...change, revision, champion, challenger, share, ...forced, loaded })
}
