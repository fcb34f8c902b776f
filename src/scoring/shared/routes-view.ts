// What status, /readyz and the metrics say of a server's fleet. It only reads.
import type { Forced } from '../../contract/control-state.js'
import { isoTime } from '../../contract/time.js'
import type { Metrics } from '../../telemetry/metrics.js'
import type { FleetView } from '../status.js'
import type { FleetRoutes } from './routes.js'
import type { Following } from './routes-follow.js'

export interface Viewed {
  readonly server: string
  readonly routes: Pick<FleetRoutes, 'shown'>
  readonly following: Pick<Following, 'isSeen' | 'seenAtMs' | 'servers'>
  readonly forcedHere: () => Forced | null
}

export function viewOf({ server, routes, following, forcedHere }: Viewed): FleetView {
  return {
    shown() {
      const { newest, heldBack } = routes.shown()
      const seenAtMs = following.seenAtMs()
      return {
        ...{ server, redis_seen: following.isSeen(), seen_at: seenAtMs === null ? null : isoTime(seenAtMs) },
        ...{ newest_revision: newest, held_back: heldBack, forced_here: forcedHere() },
        servers: [...following.servers()].sort((one, other) => one.operations.localeCompare(other.operations)),
      }
    },
    reasons() {
      const { heldBack } = routes.shown()
      return [
        ...(following.isSeen() ? [] : ['Redis is not seen: the last routes are kept']),
        ...(heldBack === null ? [] : [`routes of revision ${heldBack.revision} are not served: ${heldBack.why}`]),
        ...(forcedHere() === null ? [] : ['forced on this server alone: assay breaker release gives it back']),
      ]
    },
  }
}

export function registerFleet(metrics: Pick<Metrics, 'gauge'>, { routes, following }: Viewed): void {
  metrics.gauge({
    name: 'assay_fleet_seen',
    help: '1 while Redis answers what is asked about the routes',
    read: () => Number(following.isSeen()),
  })
  metrics.gauge({
    name: 'assay_fleet_servers',
    help: 'Servers of the fleet that have said within five seconds that they are there',
    read: () => following.servers().length,
  })
  metrics.gauge({
    name: 'assay_fleet_routes_revision',
    help: 'Newest revision of the routes of the fleet that this server knows of; -1 before it has seen one',
    read: () => routes.shown().newest ?? -1,
  })
  metrics.gauge({
    name: 'assay_fleet_routes_held_back',
    help: '1 where this server cannot serve the newest routes of its fleet and keeps its last ones',
    read: () => Number(routes.shown().heldBack !== null),
  })
}
