// What a server shares with others through Redis, put together: the connection, its name among them, the keys, the
// windows, the routes. Invariant: with `process.state.kind: memory` nothing of it is loaded.
import { randomUUID } from 'node:crypto'
import type { Config } from '../../config.js'
import { AssayError } from '../../errors.js'
import type { RedisConnection } from '../../redis/connection.js'
import type { Base } from '../base.js'
import type { SharedRoutes } from './routes-open.js'
import type { SharedState } from './state.js'

export interface Shared {
  readonly connection: RedisConnection
  /** Of this start: random. */
  readonly server: string
  /** A key of this fleet. */
  key(name: string): string
  readonly routes: SharedRoutes
  /** Windows and decisions. */
  readonly state: SharedState
  close(): void
}

/** Milliseconds for which a start waits for Redis. */
const START_MS_MAX = 2_000
/** Milliseconds for the last words of a server; what is still asked fails then. */
const LEAVE_MS = 100

/**
 * Null with state in memory; a Redis that does not answer is no reason not to serve. Throws ASSAY_STATE_REFUSED where
 * it will not do, and ASSAY_USAGE.
 */
export async function openShared(config: Config, base: Base): Promise<Shared | null> {
  const { kind, redis } = config.process.state
  if (kind === 'memory') return null
  if (base.fromFile.routes) {
    throw new AssayError(
      'ASSAY_USAGE',
      '--routes-from-file is for routes of its own: `assay route set` changes a fleet',
    )
  }
  const [{ checkRedis, connectRedis }, { createLine }, { openRoutes }, { joinState }] = await Promise.all([
    import('../../redis/connection.js'),
    import('./line.js'),
    import('./routes-open.js'),
    import('./state.js'),
  ])
  const connection = connectRedis(redis, { onState: () => undefined })
  const [asking, waiting] = [createLine(connection), createLine(connection)]
  const end = (): void => {
    for (const one of [connection, asking, waiting]) one.close()
  }
  const server = randomUUID()
  const key = (name: string): string => `${redis.key_prefix}:${name}`
  try {
    await asking.ask(2 * START_MS_MAX, (line) => checkRedis(line, redis, START_MS_MAX)).catch(unlessAway)
    const state = await joinState({ config, base, connection, waitMs: START_MS_MAX })
    const routes = await openRoutes({ config, base, server, key, asking, waiting, waitMs: START_MS_MAX })
    const close = (): void => {
      routes.close()
      state.close()
      setTimeout(end, LEAVE_MS)
    }
    return { connection, server, key, routes, state, close }
  } catch (error) {
    end()
    throw error
  }
}

function unlessAway(error: unknown): void {
  if (!(error instanceof AssayError) || error.code !== 'ASSAY_STATE_UNAVAILABLE') throw error
}
