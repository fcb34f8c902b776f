// One loaded model as the pipeline holds it: a thread behind a ring (link.ts), kept alive (keeper.ts), guarded by a
// breaker (breaker.ts). Invariant: an accepted row gets exactly one of onScore and onFailure, or its owner expired it.
// It refuses rows while its breaker is not closed: probes are golden rows, never a payment.

import type { FallbackReason } from '../../contract/decision.js'
import type { Policy } from '../../contract/policy.js'
import { CPU_ALONE, type LaneProviders } from '../../contract/providers.js'
import { LIMITS } from '../../limits.js'
import type { Limits } from '../../limits.js'
import type { Bundle } from '../../models/bundle.js'
import type { Clock } from '../../runtime/clock.js'
import { createBreaker } from './breaker.js'
import type { Breaker } from './breaker.js'
import type { Hangs } from './hangs.js'
import { createKeeper } from './keeper.js'
import type { Keeper } from './keeper.js'
import { startLink } from './link.js'
import type { Lane, LaneCounters, LaneEvent, LaneListener } from './port.js'
import type { ModelThreads } from './threads.js'
import { batchRowsMax } from './wire.js'

export interface LaneOptions {
  /** A bundle of kind onnx that passed the gate. */
  readonly bundle: Bundle
  /** Indexes into the catalogue's vector in the order the model takes them (`bindColumns`). */
  readonly columns: Int32Array
  readonly breaker: Policy['breaker']
  /** The policy's `deadline_ms`: a probe with a run slower than this does not close the breaker. */
  readonly deadlineMs: number
  /** Payments are answered while it loads: the first thread takes its time. One that replaces another does not. */
  readonly isBeside?: boolean
  readonly limits?: Limits
  /** What the model is to run on; the CPU alone by default. */
  readonly providers?: LaneProviders
}

export interface LaneDeps {
  readonly clock: Clock
  readonly listener: LaneListener
  /** One per process, shared by all lanes. */
  readonly hangs: Hangs
  readonly onEvent?: (lane: Lane, event: LaneEvent) => void
  /** Those of the process; a test may hand in some that it can end. */
  readonly threads: ModelThreads
}

/**
 * Starts the thread, loads the model in it, checks the golden rows and measures. Resolves once it may take rows.
 * Throws ASSAY_BUNDLE_REFUSED (it does not fit its manifest, golden rows differ) or ASSAY_MODEL_FAILED (the thread
 * ended, or did not get there within `laneStartMs`).
 */
export function createLane(options: LaneOptions, deps: LaneDeps): Promise<Lane> {
  const limits = options.limits ?? LIMITS
  const providers = options.providers ?? CPU_ALONE
  const { name, version } = options.bundle.manifest
  const counters = noCounts()
  const batchRows = new Uint32Array(batchRowsMax(providers, limits) + 1)
  const emit = (event: LaneEvent): void => deps.onEvent?.(lane, event)

  let wasClosed = true
  const breaker = createBreaker(
    { policy: options.breaker, failuresInRow: limits.breakerFailuresInRow },
    {
      onState(state) {
        // A probe that fails opens it again, which is the same spell.
        if (state === 'open' && wasClosed) counters.breakerOpened++
        wasClosed = state === 'closed'
        emit({ kind: 'breaker', state })
      },
      onProbe() {
        // Without a thread there is nothing to probe: try again later, or never if none will come.
        if (keeper.state() === 'not_loaded') return
        if (keeper.state() === 'restarting') return breaker.probed(false)
        counters.probes++
        keeper.link().probe()
      },
    },
  )
  let isFirst = true
  const connect: Parameters<typeof createKeeper>[0]['connect'] = (life) => {
    const isBeside = isFirst && options.isBeside === true
    isFirst = false
    return startLink(
      { bundle: options.bundle, columns: options.columns, limits, isBeside, providers },
      { counters, batchRows, threads: deps.threads },
      {
        onReady: () => life.onReady(),
        onEnd: (detail, refused) => life.onEnd(detail, refused),
        onScore: (ticket, score, raw) => deps.listener.onScore(lane, ticket, score, raw),
        onFailure: (ticket, reason) => deps.listener.onFailure(lane, ticket, reason),
        onFlight(failed, isNews) {
          if (failed) counters.flightsFailed++
          else counters.flightsOk++
          breaker.record(failed, isNews)
        },
        onProbed(matched, slowestMs) {
          const fits = matched && slowestMs <= options.deadlineMs
          if (fits) counters.probesMatched++
          breaker.probed(fits)
        },
        onThrew: (detail) => emit({ kind: 'run_threw', detail }),
      },
    )
  }
  let onFirst: Parameters<typeof createKeeper>[0]['onFirst'] = () => undefined
  const keeper = createKeeper({
    limits,
    clock: deps.clock,
    hangs: deps.hangs,
    counters,
    connect,
    emit,
    onFirst: (fault) => onFirst(fault),
    onLost: () => breaker.probed(false),
  })
  const lane = present({ name, version, digest: options.bundle.digest, counters, batchRows }, keeper, breaker)
  return new Promise((resolve, reject) => {
    onFirst = (fault) => {
      if (fault === null) return resolve(lane)
      breaker.close()
      reject(fault)
    }
  })
}

function present(
  facts: Pick<Lane, 'name' | 'version' | 'digest' | 'counters' | 'batchRows'>,
  keeper: Keeper,
  breaker: Breaker,
): Lane {
  const { name, version, digest, batchRows } = facts
  const counters: LaneCounters = facts.counters
  /** Why no row is taken; null where some are. */
  const refusal = (): FallbackReason | null => {
    if (keeper.state() !== 'ready') return 'not_loaded'
    if (breaker.closed()) return null
    return breaker.forced() ? 'forced' : 'breaker_open'
  }
  // Member by member: an object that begins with a spread gets a shape of its own each time, and code compiled for the
  // pipeline would be thrown away with every model that comes to serve. So it is with the hooks above.
  return {
    name,
    version,
    digest,
    counters,
    batchRows,
    offer(ticket, vector, at) {
      const closed = refusal()
      if (closed !== null) return closed
      if (keeper.link().offer(ticket, vector, at)) return null
      // No flight can leave any more whose failure would open the breaker: the refusal stands for one.
      if (keeper.link().awaitedRows() === 0) breaker.record(true, true)
      return 'queue_full'
    },
    offerDirect: (direct) => refusal() ?? (keeper.link().offerDirect(direct) ? null : 'queue_full'),
    rowsPerRun: () => keeper.link().rowsPerRun(),
    flush() {
      if (keeper.state() === 'ready') keeper.link().flush()
    },
    hear() {
      if (keeper.state() === 'ready') keeper.link().hear()
    },
    expire(ticket) {
      if (keeper.link().expire(ticket)) counters.expired++
    },
    predictedMs: () => (keeper.state() === 'ready' ? keeper.link().predictedMs() : Infinity),
    provider: () => keeper.link().provider(),
    queuedRows: () => keeper.link().queued(),
    breakerState: () => breaker.state(),
    state: () => keeper.state(),
    forceOpen: () => breaker.forceOpen(),
    release: () => breaker.release(),
    async close(deadlineMs) {
      await keeper.close(deadlineMs)
      breaker.close()
    },
  }
}

function noCounts(): LaneCounters {
  return {
    scored: 0,
    invalid: 0,
    failed: 0,
    expired: 0,
    late: 0,
    skipped: 0,
    runs: 0,
    flightsOk: 0,
    flightsFailed: 0,
    breakerOpened: 0,
    probes: 0,
    probesMatched: 0,
    threadsDied: 0,
    threadsAbandoned: 0,
  }
}
