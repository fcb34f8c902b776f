// The routes of a fleet, put together: what a start takes from them, what the control asks, what status shows.
import { hostname } from 'node:os'
import { setTimeout as delay } from 'node:timers/promises'
import type { Config } from '../../config.js'
import { authorityOf } from '../../contract/address.js'
import { isoTime } from '../../contract/time.js'
import { AssayError } from '../../errors.js'
import type { Base } from '../base.js'
import type { Control, Fleet } from '../control.js'
import type { FleetStart } from '../open-state.js'
import type { FleetView } from '../status.js'
import { createFleetRoutes } from './routes.js'
import { follow } from './routes-follow.js'
import { createRoutesStream, type RoutesStream, type StreamDeps } from './routes-stream.js'
import { registerFleet, viewOf } from './routes-view.js'

export interface SharedRoutes {
  readonly start: FleetStart
  readonly fleet: Fleet
  readonly view: FleetView
  /** Takes the fleet's routes over, serves them and follows. `port`: of the operations listener. */
  join(control: Control, baseline: string, port: number): Promise<void>
  close(): void
}

export interface RoutesDeps extends Omit<StreamDeps, 'heldMax'> {
  readonly config: Config
  readonly base: Base
  /** Id of this server. */
  readonly server: string
  /** Milliseconds for which a start waits for Redis, and then for its log. */
  readonly waitMs: number
}

const RETRY_MS = 50
const WILDCARDS: ReadonlySet<string> = new Set(['0.0.0.0', '::'])

/** Reads the newest entry. Throws ASSAY_STATE_REFUSED where the Redis will not do. */
export async function openRoutes({ config, base, server, waitMs, ...deps }: RoutesDeps): Promise<SharedRoutes> {
  const { logger, version, fixed } = base
  const { clock, limits, metrics } = fixed
  const { routesHeldMax: heldMax } = limits
  const stream = createRoutesStream({ ...deps, heldMax })
  const models = await modelsOf(stream, waitMs)
  const routes = createFleetRoutes({ stream, server, clock, logger, heldMax })
  const following = follow({ stream, routes, server, clock, logger })
  const startedAt = isoTime(clock.nowMs())
  let served: Control | null = null
  const viewed = { server, routes, following, forcedHere: () => served?.serving().routing.forced_here ?? null }
  registerFleet(metrics, viewed)
  return {
    start: { models, routing: (own) => answered(waitMs, () => routes.begin(own)) },
    fleet: routes,
    view: viewOf(viewed),
    async join(control, baseline, port) {
      served = control
      routes.attach(control, baseline)
      const { host } = config.process.operations
      const operations = authorityOf(WILDCARDS.has(host) ? hostname() : host, port)
      const revision = (): number => control.serving().routing.routes.revision
      await following.begin(() => ({ id: server, operations, revision: revision(), version, started_at: startedAt }))
      const untilMs = clock.monoMs() + waitMs
      while (revision() < control.standing().routing.routes.revision && clock.monoMs() < untilMs) await delay(2)
    },
    close: () => following.close(),
  }
}

/** The models of the newest routes; none where Redis does not answer. */
async function modelsOf(stream: RoutesStream, waitMs: number): Promise<string[]> {
  const found = await answered(waitMs, () => stream.newest()).catch(nothingIfAway)
  const { champion = null, challenger = null } = found?.entry?.routing.routes ?? {}
  return [champion, challenger].filter((model) => model !== null)
}

/** Asks again until there is an answer, for so long at most. */
async function answered<Answer>(waitMs: number, ask: () => Promise<Answer>): Promise<Answer> {
  const untilMs = performance.now() + waitMs
  for (;;) {
    try {
      return await ask()
    } catch (error) {
      if (!isAway(error) || performance.now() > untilMs) throw error
      await delay(RETRY_MS)
    }
  }
}

function isAway(error: unknown): boolean {
  return error instanceof AssayError && error.code === 'ASSAY_STATE_UNAVAILABLE'
}

function nothingIfAway(error: unknown): null {
  if (isAway(error)) return null
  throw error
}
