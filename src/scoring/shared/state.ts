// The shared state of a server, put together: joined before the log is opened, attached to the log once that is there.
import { randomBytes } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import type { Config } from '../../config.js'
import type { Fleet } from '../../contract/fleet.js'
import type { Label } from '../../contract/label.js'
import { STATE_POLICY_DEFAULTS } from '../../contract/state.js'
import { AssayError, errorOf } from '../../errors.js'
import { SharedWindows } from '../../features/shared-windows.js'
import { createOpenWindows, type OpenWindows } from '../../features/state.js'
import type { RedisConnection } from '../../redis/connection.js'
import type { StateFailure } from '../../telemetry/state-metrics.js'
import type { Base } from '../base.js'
import { createIdentity } from '../identity.js'
import type { OpenState } from '../open-state.js'
import type { Order } from '../order.js'
import { createSupersede } from '../supersede.js'
import { type Behind, createBehind } from './behind.js'
import { joinFleet, keepFleet, lastFleet } from './fleet.js'
import { createKeys } from './keys.js'
import type { SharedParts } from './parts.js'
import { createStage } from './stage.js'
import { createWords } from './words.js'

export interface SharedState {
  /** The windows that are held here, for status. */
  readonly features: OpenWindows
  /** For rows that are thrown away: the same ways, to keys of their own that are gone soon. */
  forWarmUp(): SharedParts
  /** From here on, until `close`, what was decided alone is written back. */
  attach(state: OpenState, order: Order): SharedParts
  close(): void
}

export interface JoinDeps {
  readonly config: Config
  readonly base: Base
  readonly connection: RedisConnection
  /** For the Redis to answer. */
  readonly waitMs: number
}

/**
 * Joins the fleet of the prefix. Throws ASSAY_STATE_REFUSED, and ASSAY_STATE_UNAVAILABLE where the Redis does not
 * answer and this server was never part of the fleet: it does not know under which key its hashes are.
 */
export async function joinState({ config, base, connection, waitMs }: JoinDeps): Promise<SharedState> {
  const { fixed, logger } = base
  const { policy, catalogue, limits, clock, metrics } = fixed
  const { data_dir: dataDir, state } = config.process
  const keys = createKeys(state.redis.key_prefix, catalogue.digest)
  const fleet = await joinOrRemember(() => joinFleet(connection, keys.fleet, clock.nowMs()), dataDir, waitMs)
  const hashKey = Buffer.from(fleet.hash_key, 'hex')
  const entityNames = policy.schema.fields.filter(({ entity }) => entity === true).map(({ name }) => name)
  const identity = createIdentity(policy.schema, hashKey, limits.recordBytesMax)
  const onFault = createTell(base)
  const openWindows = (): { windows: SharedWindows; features: OpenWindows } => {
    const features = createOpenWindows(catalogue, { limits, hashKey, observedSinceMs: fleet.observed_since_ms })
    return { features, windows: new SharedWindows(catalogue, { state: features, entityNames, hashKey, limits }) }
  }
  const common = {
    ...{ policy, limits, clock, connection, identity, owner: randomBytes(8), onFault },
    onReply: (op: 'fold' | 'commit', micros: number): void => metrics.state.request(op, micros),
    onFailure: (reason: StateFailure): void => metrics.state.failed(reason),
  }
  const { features, windows } = openWindows()
  const stage = createStage({ ...common, windows, keys })
  const ttlMs = catalogue.plan.spanMs + limits.lateMsMax + policy.idempotency.window_ms
  const words = createWords({ connection, windows, keys, limits, ttlMs })
  let behind: Behind | null = null
  return {
    features,
    forWarmUp() {
      const apart = createKeys(`${state.redis.key_prefix}:warm-up`, catalogue.digest)
      const patient = { ...policy, state: { ...STATE_POLICY_DEFAULTS, wait_ms: WARM_UP_WAIT_MS } }
      const warming = { ...common, policy: patient, keys: apart, windows: openWindows().windows }
      const nothing = (): void => undefined
      return {
        stage: createStage({ ...warming, ttlMsMax: WARM_UP_TTL_MS }),
        ...{ leftBehind: nothing, superseded: nothing, label: nothing, waited: nothing },
      }
    },
    attach({ directory, log }, order) {
      const isUp = (): boolean => connection.isUp() && !stage.isOpen()
      const superseded = (): void => metrics.state.superseded()
      const back = createBehind({
        ...{ dataDir, directory, log, logged: policy.durability, schema: policy.schema, stage, words, onFault },
        onSuperseded: superseded,
        supersede: createSupersede({ log, codecs: fixed.codecs, order, wake: () => log.flush() }),
        isUp,
        onLook(records) {
          metrics.state.up(isUp())
          metrics.state.behind(records)
        },
        onDone: (records) => logger.event('SharedStateHealed', { records }),
      })
      behind = back
      return {
        ...{ stage, superseded },
        leftBehind: (sequence) => back.leftBehind(sequence),
        label(label: Label, sequence: number) {
          const startMs = clock.monoMs()
          words.deliver(label).then(
            () => metrics.state.request('label', (clock.monoMs() - startMs) * 1000),
            (error: unknown) => {
              back.leftBehind(sequence)
              onFault(faultOf(error))
            },
          )
        },
        waited: (labels) => void words.deliverWaiting(labels).catch((error: unknown) => onFault(faultOf(error))),
      }
    },
    close: () => behind?.close(),
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

/** Milliseconds that a row of the warm-up waits, and after which nothing is left of it. */
const WARM_UP_WAIT_MS = 500
const WARM_UP_TTL_MS = 10_000
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
