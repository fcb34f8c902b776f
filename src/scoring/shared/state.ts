// The shared state of a server, put together: joined before the log is opened, attached to the log once that is there.
import { randomBytes } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import type { Config } from '../../config.js'
import type { Fleet } from '../../contract/fleet.js'
import type { Label } from '../../contract/label.js'
import { AssayError, errorOf } from '../../errors.js'
import { SharedWindows } from '../../features/shared-windows.js'
import { createOpenWindows, type OpenWindows } from '../../features/state.js'
import type { RedisConnection } from '../../redis/connection.js'
import type { SharedParts } from '../assemble.js'
import type { Base } from '../base.js'
import { createIdentity } from '../identity.js'
import type { OpenState } from '../open-state.js'
import type { Order } from '../order.js'
import { createSupersede } from '../supersede.js'
import { type Behind, createBehind } from './behind.js'
import { joinFleet, keepFleet, lastFleet } from './fleet.js'
import { createKeys } from './keys.js'
import { createStage, type Stage } from './stage.js'
import { createWords } from './words.js'

export interface SharedState {
  /** The windows that are held here, for status. */
  readonly features: OpenWindows
  readonly stage: Stage
  attach(state: OpenState, order: Order): AttachedState
}

export interface JoinDeps {
  readonly config: Config
  readonly base: Base
  readonly connection: RedisConnection
  /** For the Redis to answer. */
  readonly waitMs: number
}

export interface AttachedState extends SharedParts {
  readonly behind: Behind
  close(): void
}

/**
 * Joins the fleet of the prefix. Throws ASSAY_STATE_REFUSED, and ASSAY_STATE_UNAVAILABLE where the Redis does not answer
 * and this server was never part of the fleet: it does not know under which key its hashes are.
 */
export async function joinState({ config, base, connection, waitMs }: JoinDeps): Promise<SharedState> {
  const { fixed, logger } = base
  const { policy, catalogue, limits, clock, metrics } = fixed
  const { data_dir: dataDir, state } = config.process
  const keys = createKeys(state.redis.key_prefix, catalogue.digest)
  const fleet = await joinOrRemember(() => joinFleet(connection, keys.fleet, clock.nowMs()), dataDir, waitMs)
  const hashKey = Buffer.from(fleet.hash_key, 'hex')
  const features = createOpenWindows(catalogue, { limits, hashKey, observedSinceMs: fleet.observed_since_ms })
  const entityNames = policy.schema.fields.filter(({ entity }) => entity === true).map(({ name }) => name)
  const windows = new SharedWindows(catalogue, { state: features, entityNames, hashKey, limits })
  const onFault = createTell(base)
  const stage = createStage({
    ...{ policy, limits, clock, connection, windows, keys },
    identity: createIdentity(policy.schema, hashKey, limits.recordBytesMax),
    owner: randomBytes(8),
    onReply: (op, micros) => metrics.state.request(op, micros),
    onFailure: (reason) => metrics.state.failed(reason),
    onFault,
  })
  const ttlMs = catalogue.plan.spanMs + limits.lateMsMax + policy.idempotency.window_ms
  const words = createWords({ connection, windows, keys, limits, ttlMs })
  return {
    features,
    stage,
    attach({ directory, log }, order) {
      const isUp = (): boolean => connection.isUp() && !stage.isOpen()
      const onSuperseded = (): void => metrics.state.superseded()
      const behind = createBehind({
        ...{ dataDir, directory, log, logged: policy.durability, stage, words, onSuperseded, onFault },
        supersede: createSupersede({ log, codecs: fixed.codecs, order, wake: () => log.flush() }),
        isUp,
        onLook(records) {
          metrics.state.up(isUp())
          metrics.state.behind(records)
        },
        onDone: (records) => logger.event('SharedStateHealed', { records }),
      })
      return {
        ...{ stage, behind, superseded: onSuperseded },
        leftBehind: (sequence) => behind.leftBehind(sequence),
        label(label: Label, sequence: number) {
          words.deliver(label).catch((error: unknown) => {
            behind.leftBehind(sequence)
            onFault(faultOf(error))
          })
        },
        waited: (labels) => void words.deliverWaiting(labels).catch((error: unknown) => onFault(faultOf(error))),
        close: () => behind.close(),
      }
    },
  }
}

async function joinOrRemember(join: () => Promise<Fleet>, dataDir: string, waitMs: number): Promise<Fleet> {
  const untilMs = performance.now() + waitMs
  for (;;) {
    try {
      const fleet = await join()
      keepFleet(dataDir, fleet)
      return fleet
    } catch (error) {
      if (!(error instanceof AssayError) || error.code !== 'ASSAY_STATE_UNAVAILABLE') throw error
      const last = lastFleet(dataDir)
      if (performance.now() > untilMs) {
        if (last === null) throw error
        return last
      }
      await delay(20)
    }
  }
}

function faultOf(error: unknown): AssayError {
  return error instanceof AssayError ? error : new AssayError('ASSAY_INTERNAL', errorOf(error).message)
}

/** Milliseconds between two lines about what fails with every payment. */
const TELL_MS = 1_000

function createTell({ logger, fixed: { clock } }: Base): (fault: AssayError) => void {
  let toldAtMs = -Infinity
  return (fault) => {
    const nowMs = clock.monoMs()
    if (nowMs - toldAtMs < TELL_MS) return
    toldAtMs = nowMs
    logger.event('SharedStateFailed', { fault })
  }
}
