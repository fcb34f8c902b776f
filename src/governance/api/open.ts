// Puts the API together: the store's answers behind a listener, told of each commit as any publisher is.
import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { createGuard } from '../../access/guard.js'
import { holdKeys } from '../../access/held-keys.js'
import { createLedger, type Ledger } from '../../access/ledger.js'
import { readTls } from '../../access/tls-files.js'
import { type Config, packageVersion } from '../../config.js'
import { originOf } from '../../contract/address.js'
import type { Limits } from '../../limits.js'
import type { Clock } from '../../runtime/clock.js'
import { createExposition, type Exposed } from '../../telemetry/exposition.js'
import type { Logger } from '../../telemetry/logger.js'
import type { GovernFacts } from '../health.js'
import type { Publisher } from '../pipeline.js'
import type { Queries } from '../store/queries.js'
import { createMasks, readMaskKey } from './answers/masks.js'
import { createStoreSource } from './answers/store-source.js'
import { createAccess } from './auth.js'
import { openApiListener, type ApiListener } from './listener.js'
import { apiDocument } from './openapi.js'
import { readStaticFiles } from './static-files.js'

export interface GovernanceApiDeps {
  readonly config: Config
  readonly limits: Limits
  readonly clock: Clock
  readonly logger: Logger
  /** null while the store cannot be used. */
  readonly queries: () => Queries | null
  readonly facts: () => GovernFacts
  /** More metrics of the sidecar's parts. */
  readonly metrics?: readonly Exposed[]
}

export interface GovernanceApi extends Publisher {
  readonly url: string
}

/** Opens the listener of `process.governance`. Throws ASSAY_ADDRESS_REFUSED, or ASSAY_CONFIG_INVALID for its tokens. */
export async function openGovernanceApi(deps: GovernanceApiDeps): Promise<GovernanceApi> {
  const { config, limits, clock, logger, queries, facts } = deps
  const { host, port, tls, tokens_file: tokensFile, data_dir: dataDir } = config.process.governance
  const directory = dataDir ?? join(config.process.data_dir, 'governance')
  const version = packageVersion()
  let opened: ApiListener | null = null
  const source = createStoreSource(
    { clock, masks: createMasks(limits.masksMax, maskKey(directory)), queries, facts },
    {
      version,
      policy: config.policy,
      directory,
      logDirectory: join(config.process.data_dir, 'decision-log'),
      logBytesMax: config.process.log.disk_bytes_max,
      streams: () => opened?.streams.count() ?? 0,
    },
  )
  const ledger = createLedger({ logger, clock, limits })
  const onRead = ledger.keysRead.bind(ledger, 'governance', tokensFile ?? '')
  const guard =
    tokensFile === null ? null : createGuard(holdKeys(tokensFile, { clock, limits, onRead }), { clock, limits })
  const metrics = [...metricsOf(facts, () => opened, version), ...ledgerMetrics(ledger), ...(deps.metrics ?? [])]
  const exposition = createExposition(metrics, true)
  const listener = await openApiListener(
    {
      ...{ source, limits, clock, files: readStaticFiles(), openApi: JSON.stringify(apiDocument(version)) },
      access: createAccess(guard),
      guarded: guard !== null,
      onDenied: (refusal) => ledger.refused('governance', refusal),
      scrape: (accept) => exposition.scrape(accept),
      readiness: () => ({ ready: facts().ready, reasons: facts().troubles }),
      onFault: (error) => logger.event('RequestFailed', { error: error instanceof Error ? error : String(error) }),
    },
    { host, port, tls: readTls(tls, '/process/governance/tls') },
  )
  opened = listener
  return {
    name: 'api',
    url: originOf({ host, tls }, listener.port),
    publish: () => source.committed(),
    trouble: () => null,
    close(deadlineMs) {
      guard?.close()
      return listener.close(deadlineMs)
    },
  }
}

/** The API answers whatever the disk does: masks are then those of this process. */
function maskKey(directory: string): Uint8Array {
  try {
    return readMaskKey(directory)
  } catch {
    return randomBytes(32)
  }
}

function ledgerMetrics({ counters, gauges }: Ledger): Exposed[] {
  return [
    ...counters.map((metric): Exposed => ({ kind: 'counter', labels: [], ...metric })),
    ...gauges.map((metric): Exposed => ({ kind: 'gauge', labels: [], ...metric })),
  ]
}

function metricsOf(facts: () => GovernFacts, listener: () => ApiListener | null, version: string): Exposed[] {
  const none: readonly string[] = []
  const gauge = (name: string, help: string, read: () => number): Exposed => {
    return { kind: 'gauge', name, help, labels: none, read }
  }
  const counter = (name: string, help: string, read: () => number): Exposed => {
    return { kind: 'counter', name, help, labels: none, read }
  }
  return [
    gauge('assay_governance_lag_records', 'Records of the log not read yet', () => facts().lagRecords),
    gauge('assay_governance_lag_seconds', 'Age of the oldest record not read yet', () => facts().lagSeconds),
    gauge('assay_governance_ready', '1 while the store can be used', () => (facts().ready ? 1 : 0)),
    counter('assay_governance_records_total', 'Records read since the start', () => facts().recordsTotal),
    counter('assay_governance_batches_total', 'Transactions of the store since the start', () => facts().batchesTotal),
    counter('assay_governance_findings_total', 'Findings in the log since the start', () => facts().findingsTotal),
    counter('assay_governance_damage_total', 'Findings of lost or changed evidence', () => facts().damageTotal),
    counter('assay_governance_rebuilds_total', 'Stores made anew since the start', () => facts().rebuildsTotal),
    gauge('assay_governance_streams', 'Open event streams', () => listener()?.streams.count() ?? 0),
    counter('assay_governance_streams_skipped_total', 'Times that a slow reader was told it missed events', () => {
      return listener()?.streams.missed() ?? 0
    }),
    {
      kind: 'gauge',
      name: 'assay_build_info',
      help: 'The release',
      labels: ['version'],
      read: () => [{ labels: { version }, value: 1 }],
    },
  ]
}
