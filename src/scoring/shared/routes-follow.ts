// Keeps a server in step with its fleet: waits for entries, and every second says that it is there and looks whether
// anything was missed. Invariant: one wait and one look at a time, each bounded, whatever becomes of Redis; it never
// gives up, and backs off.
import { setTimeout as delay } from 'node:timers/promises'
import { AssayError, errorOf } from '../../errors.js'
import type { Clock } from '../../runtime/clock.js'
import type { Logger } from '../../telemetry/logger.js'
import type { FleetRoutes } from './routes.js'
import type { RoutesStream } from './routes-stream.js'

export interface Following {
  /** Resolves once the routes of the fleet are known here; where Redis does not answer, after a while without them. */
  begin(said: () => FleetServer): Promise<void>
  isSeen(): boolean
  /** When Redis last answered, epoch milliseconds; null: never. */
  seenAtMs(): number | null
  servers(): readonly FleetServer[]
  close(): void
}

/** What each server says of itself. */
export interface FleetServer {
  readonly id: string
  /** host:port of its operations listener. */
  readonly operations: string
  /** That it serves. */
  readonly revision: number
  readonly version: string
  readonly started_at: string
}

export interface FollowDeps {
  readonly stream: RoutesStream
  readonly routes: FleetRoutes
  readonly server: string
  readonly clock: Clock
  readonly logger: Pick<Logger, 'event'>
}

const BEAT_MS = 1_000
const WAIT_MS = 1_000
const RETRY_MS = 50
const RETRY_MS_MAX = 1_000
/** Milliseconds for which a start waits for Redis before it serves its last routes. */
const BEGIN_MS_MAX = 2_000

export function follow({ stream, routes, server, clock, logger }: FollowDeps): Following {
  let isOpen = true
  let isSeen = true
  let seenAtMs: number | null = null
  let servers: readonly FleetServer[] = []

  function seen(error: unknown): void {
    if (error === null) seenAtMs = clock.nowMs()
    if (!isOpen || isSeen === (error === null)) return
    isSeen = error === null
    if (isSeen) logger.event('FleetReached', { servers: servers.length })
    else logger.event('FleetLost', { detail: 'the last routes are kept', error: errorOf(error) })
  }

  async function wait(): Promise<void> {
    let retryMs = RETRY_MS
    while (isOpen) {
      const position = routes.position()
      try {
        if (position === null) throw new AssayError('ASSAY_STATE_UNAVAILABLE', 'the fleet was not seen yet')
        routes.take(await stream.wait(position, WAIT_MS))
        retryMs = RETRY_MS
      } catch {
        // Whoever beats says what is wrong.
        await delay(retryMs, undefined, { ref: false })
        retryMs = Math.min(2 * retryMs, RETRY_MS_MAX)
      }
    }
  }

  async function beat(said: () => FleetServer): Promise<void> {
    try {
      servers = (await stream.beat(server, said())).filter(isServer)
      routes.present(new Set(servers.map(({ id }) => id)))
      await routes.look()
      seen(null)
    } catch (error) {
      seen(error)
    }
    routes.retry()
  }

  async function beatOn(said: () => FleetServer): Promise<void> {
    while (isOpen) {
      await delay(BEAT_MS, undefined, { ref: false })
      await beat(said)
    }
  }

  return {
    async begin(said) {
      const untilMs = clock.monoMs() + BEGIN_MS_MAX
      while (routes.shown().heldBack === null && routes.position() === null && clock.monoMs() < untilMs) {
        await beat(said)
        if (routes.position() === null) await delay(RETRY_MS)
      }
      void wait()
      void beatOn(said)
    },
    isSeen: () => isSeen,
    seenAtMs: () => seenAtMs,
    servers: () => servers,
    close() {
      isOpen = false
      routes.detach()
      void stream.leave(server).catch(() => undefined)
    },
  }
}

function isServer(said: unknown): said is FleetServer {
  return typeof said === 'object' && said !== null && 'id' in said && 'operations' in said && 'revision' in said
}
