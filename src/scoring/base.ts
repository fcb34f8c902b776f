// What a scoring server is made of before it has looked at any file but its configuration.
import { createLedger, type Ledger } from '../access/ledger.js'
import { type Config, packageVersion } from '../config.js'
import { compileLabels } from '../contract/label.js'
import { openApiDocument } from '../contract/openapi.js'
import type { Policy } from '../contract/policy.js'
import { createRecordCodecs } from '../contract/record.js'
import { compileTransaction } from '../contract/validate.js'
import { compileCatalogue } from '../features/compile.js'
import { LIMITS, type Limits } from '../limits.js'
import { type Clock, systemClock } from '../runtime/clock.js'
import type { Logger } from '../telemetry/logger.js'
import { createMetrics } from '../telemetry/metrics.js'
import type { Fixed } from './assemble.js'
import { createHangs, type Hangs } from './lane/hangs.js'
import type { LaneListener } from './lane/port.js'
import { createModelThreads, type ModelThreads } from './lane/threads.js'
import type { Starting } from './status.js'
import { type Binding, loadBinding } from './transport/http/binding.js'

export interface Base {
  readonly fixed: Fixed
  readonly version: string
  readonly binding: Binding
  readonly logger: Logger
  readonly ledger: Ledger
  readonly hangs: Hangs
  readonly modelThreads: ModelThreads
  readonly starting: Starting
  /** Takes the routes, or the policy, of the configuration where the log holds others. */
  readonly fromFile: FromFile
  /** The policy that serves, or will: that of the configuration until the log was looked at. */
  readonly live: { policy: Policy }
  /** Models that were refused, and why. */
  readonly refused: Map<string, string>
  readonly relay: { target: LaneListener | null }
  readonly openApi: string
  readonly operationsOpenApi: string
}

export interface FromFile {
  readonly routes: boolean
  readonly policy: boolean
}

export interface BaseDeps {
  readonly logger: Logger
  readonly limits?: Limits
  readonly clock?: Clock
  readonly fromFile?: FromFile
}

/** Builds it. Throws ASSAY_BINDING_MISSING and ASSAY_CATALOGUE_INVALID. */
export function createBase({ policy }: Config, deps: BaseDeps): Base {
  const limits = deps.limits ?? LIMITS
  const clock = deps.clock ?? systemClock
  const ledger = createLedger({ logger: deps.logger, clock, limits })
  const version = packageVersion()
  const fixed: Fixed = {
    policy,
    limits,
    clock,
    validator: compileTransaction(policy, limits),
    labels: compileLabels(policy.schema, limits),
    catalogue: compileCatalogue(policy.catalogue, policy.schema, policy.currencies),
    codecs: createRecordCodecs(policy.schema),
    metrics: createMetrics(limits),
  }
  for (const metric of ledger.counters) fixed.metrics.counter(metric)
  for (const metric of ledger.gauges) fixed.metrics.gauge(metric)
  return {
    fixed,
    version,
    binding: loadBinding(),
    ...{ logger: deps.logger, ledger },
    hangs: createHangs(),
    modelThreads: createModelThreads(),
    starting: { phase: 'log', replayed: 0 },
    fromFile: deps.fromFile ?? { routes: false, policy: false },
    live: { policy },
    refused: new Map(),
    relay: { target: null },
    openApi: JSON.stringify(openApiDocument(policy, { version, listener: 'score' })),
    operationsOpenApi: JSON.stringify(openApiDocument(policy, { version, listener: 'operations' })),
  }
}

/** How far the start is, for probes and for who watches. */
export function enter({ starting, logger }: Base, phase: 'models' | 'replay' | 'warm_up'): void {
  starting.phase = phase
  logger.event('PhaseEntered', { phase })
}
