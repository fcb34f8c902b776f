// `assay govern`: runs the governance sidecar until it is told to end. `assay govern rebuild`: makes its store anew.
import { spawnSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { setPriority } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { Value } from '@sinclair/typebox/value'
import { type Config, loadConfig } from './config.js'
import { Manifest } from './contract/manifest.js'
import { instantMs } from './contract/time.js'
import { AssayError } from './errors.js'
import { firstSequenceOf } from './decision-log/chain.js'
import { createDisk } from './decision-log/disk.js'
import { storeDirectory } from './decision-log/reader-position.js'
import { govern, type GovernDeps, type Sidecar } from './govern.js'
import { createAlerter } from './governance/alerter.js'
import { openGovernanceApi } from './governance/api/open.js'
import { createDriftMonitor } from './governance/monitors/drift.js'
import { createShadowMonitor } from './governance/monitors/shadow.js'
import type { Publisher } from './governance/pipeline.js'
import { createKafkaEvents, type EventPublisher, type EventsDeps } from './governance/publish/kafka-events.js'
import { createSnapshots } from './governance/publish/snapshots.js'
import { createWebhook } from './governance/publish/webhook.js'
import { chooseShadows } from './governance/shadow/choose.js'
import { createShadowHost } from './governance/shadow/host.js'
import { removeStore } from './governance/store/open.js'
import { LIMITS } from './limits.js'
import { systemClock } from './runtime/clock.js'
import { pruneLog } from './scoring/log-prune.js'
import { loggerOf } from './serve-command.js'
import type { Logger } from './telemetry/logger.js'

const HELP = `assay govern [--config FILE]
    follow the decision log of the same configuration: store, drift, shadows, alerts, console; with
    process.governance.kafka.brokers, what it derives goes to Kafka as CloudEvents
    it may start before the server, end before it and be killed at any time: it goes on where its store ends
    SIGTERM and SIGINT end it after the transaction under way
    --supervised, as \`assay up\` starts it: ends with the process that started it
assay govern rebuild [--config FILE]
    remove the store and derive it anew from the decision log, then end; no sidecar may run meanwhile

exit codes: 0 ended as told · 1 cannot go on, the code says why · 2 the command line is not valid
`

const NICE = 10
const CLOSE_MS = 5_000

/** Runs until told to end; resolves with the exit code. Throws AssayError for what it cannot go on with. */
export async function governCommand(args: readonly string[]): Promise<number> {
  const { values, positionals } = parse(args)
  if (values.help === true) {
    process.stdout.write(HELP)
    return 0
  }
  const isRebuild = positionals[0] === 'rebuild'
  if (positionals.length > (isRebuild ? 1 : 0)) {
    throw new AssayError('ASSAY_USAGE', 'expected `govern` or `govern rebuild`; see `assay govern --help`')
  }
  const config = loadConfig({ ...(values.config !== undefined && { file: values.config }), env: process.env })
  giveWay(config.process.governance.priority)
  return isRebuild ? rebuild(config) : run(config, values)
}

interface Started {
  readonly config?: string
  readonly supervised?: boolean
}

async function run(config: Config, { config: file, supervised = false }: Started): Promise<number> {
  const told = untilTold({ isSupervised: supervised })
  const sidecar = await start(config, { isOffline: false, publishers: publishersOf(config, file) })
  if (sidecar.url !== null) process.stdout.write(`assay governs\n  console     ${sidecar.url}\n`)
  try {
    await Promise.race([told, sidecar.ended])
  } finally {
    await sidecar.close(CLOSE_MS)
  }
  return 0
}

/** Reads until nothing is left of what stood in the log when it began to be read. */
async function rebuild(config: Config): Promise<number> {
  const told = untilTold().then(() => true)
  const directory = storeDirectory(config)
  removeStore(directory)
  const sidecar = await start(config, { isOffline: true, publishers: [] })
  const look = async (): Promise<boolean> => {
    for (;;) {
      const { state, lagRecords } = sidecar.facts()
      if ((state === 'reading' || state === 'waiting') && lagRecords === 0) return false
      await new Promise((resolve) => setTimeout(resolve, 50))
    }
  }
  try {
    const wasTold = await Promise.race([told, look(), sidecar.ended.then(() => true)])
    const { sequence, findingsTotal } = sidecar.facts()
    const end = wasTold ? 'ended early' : 'rebuilt'
    const from = firstSequence(config)
    process.stdout.write(`${end}: sequences ${from} to ${sequence}, ${findingsTotal} findings, in ${directory}\n`)
    return 0
  } finally {
    await sidecar.close(CLOSE_MS)
  }
}

/** What was archived is not in the new store. */
function firstSequence({ process: { data_dir: dataDir } }: Config): number {
  const directory = join(dataDir, 'decision-log')
  return existsSync(directory) ? (firstSequenceOf(createDisk(directory)) ?? 0) : 0
}

/** Joins the parts that this release has; offline there is nobody to show anything to. */
async function start(
  config: Config,
  { isOffline, publishers }: { readonly isOffline: boolean; readonly publishers: readonly Publisher[] },
): Promise<Sidecar> {
  const logger = loggerOf(config)
  let sidecar: Sidecar | null = null
  const lag = (): number => (isOffline ? 0 : (sidecar?.facts().lagRecords ?? 0))
  sidecar = await govern(config, {
    logger,
    ...(await derivingParts(config, { logger, lag })),
    publishers,
    ...(isOffline ? { isOffline } : { createApi: openGovernanceApi, createEvents: eventsOf, prune: pruneLog }),
  })
  return sidecar
}

/** `file`: the configuration's, for the command that is started. */
function publishersOf({ process: { data_dir: dataDir, governance } }: Config, file?: string): Publisher[] {
  const { snapshot_records: records, alerts } = governance
  const cli = fileURLToPath(new URL('./cli.js', import.meta.url))
  const args = ['features', 'snapshot', ...(file === undefined ? [] : ['--config', file])]
  const command = [process.execPath, cli, ...args] as const
  const { webhook } = alerts
  return [
    ...(webhook === null ? [] : [createWebhook({ ...webhook, ...secretOf(webhook) })]),
    ...(records === 0 ? [] : [createSnapshots({ dataDir, records, command, clock: systemClock, limits: LIMITS })]),
  ]
}

/** What goes out to Kafka; null where no brokers are named. */
export function eventsOf({ process: { governance } }: Config, deps: EventsDeps): EventPublisher | null {
  return governance.kafka.brokers.length === 0 ? null : createKafkaEvents(governance.kafka, deps)
}

/** What derives in this release: monitors, shadow models, alerts. `lag`: records not read yet. */
export async function derivingParts(
  config: Config,
  { logger, lag }: { readonly logger: Logger; readonly lag: () => number },
): Promise<Required<Pick<GovernDeps, 'createMonitors' | 'createShadows' | 'createAlerter'>>> {
  const { models_dir: modelsDir, governance } = config.process
  const { flip_share_max: flipShareMax } = governance.alerts
  const silences = governance.alerts.silences.map(({ from, until, ...rest }) => {
    return { ...rest, fromMs: instantMs(from) ?? 0, untilMs: instantMs(until) ?? 0 }
  })
  const chosen = await chooseShadows({ configured: governance.shadows, modelsDir })
  for (const model of chosen.leftOut) logger.event('ModelRefused', { model, detail: 'more shadows than the bound' })
  const onFault = (model: string, detail: string): void => logger.event('ModelRefused', { model, detail })
  return {
    createMonitors: () => [
      createDriftMonitor({
        loadProfile: (model) => readProfile(modelsDir, model),
        featuresOf: (model) => readFeatures(modelsDir, model),
      }),
      createShadowMonitor({ manifestThresholds: chosen.manifestThresholds }),
    ],
    createShadows: (_, rest) => createShadowHost({ modelsDir, shadows: chosen.shadows, lag, rest, onFault }),
    createAlerter: () => createAlerter({ signals: { flipShareMax }, silences }),
  }
}

function secretOf({ authorization_file: file }: { readonly authorization_file: string | null }) {
  return { authorization: file === null ? null : readFileSync(file, 'utf8').trim() }
}

/** The reference profile in a model's bundle; null where it has none, and drift then says so. */
function readProfile(modelsDir: string, model: { readonly name: string; readonly version: string }): string | null {
  const file = join(modelsDir, model.name, model.version, 'reference-profile.json')
  return existsSync(file) ? readFileSync(file, 'utf8') : null
}

/** The features that a model's manifest lists; null where there is none that can be read. */
function readFeatures(
  modelsDir: string,
  model: { readonly name: string; readonly version: string },
): readonly string[] | null {
  const file = join(modelsDir, model.name, model.version, 'manifest.json')
  if (!existsSync(file)) return null
  try {
    const manifest: unknown = JSON.parse(readFileSync(file, 'utf8'))
    return Value.Check(Manifest, manifest) ? manifest.features.map(({ name }) => name) : null
  } catch (error) {
    if (error instanceof SyntaxError) return null
    throw error
  }
}

/** Resolves at a signal, or when the supervisor that started this process is gone. */
function untilTold({ isSupervised } = { isSupervised: false }): Promise<void> {
  return new Promise((resolve) => {
    for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => resolve())
    if (!isSupervised) return
    // It may be gone already: this process took its time to start.
    if (process.connected) process.once('disconnect', () => resolve())
    else resolve()
  })
}

/**
 * The sidecar gives way to whoever answers payments. At nice 10 it still keeps a core for the rest of its slice, some
 * 3 ms, when a payment wants it: the server's p99 beside it was 2.7 ms higher in four runs, and 0.8 in ten at idle
 * priority (bench/governance-beside). On Linux a priority is a thread's: those that run are told too, later ones
 * inherit it.
 */
function giveWay(priority: Config['process']['governance']['priority']): void {
  const idle = ['--idle', '--all-tasks', '--pid', '0', String(process.pid)]
  if (priority === 'idle' && spawnSync('chrt', idle, { stdio: 'ignore' }).status === 0) return
  const tasks = '/proc/self/task'
  const threads = existsSync(tasks) ? readdirSync(tasks).map(Number) : [0]
  try {
    for (const thread of threads) setPriority(thread, NICE)
  } catch (error) {
    // Priorities can only be refused, and then the sidecar runs at the one it has.
    if (!(error instanceof Error && 'code' in error && error.code === 'ERR_SYSTEM_ERROR')) throw error
  }
}

function parse(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      allowPositionals: true,
      options: { help: { type: 'boolean', short: 'h' }, config: { type: 'string' }, supervised: { type: 'boolean' } },
    })
  } catch (cause) {
    throw new AssayError('ASSAY_USAGE', cause instanceof Error ? cause.message : String(cause), { cause })
  }
}
