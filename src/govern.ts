// The composition root of the governance sidecar: the only place where its objects are built.
// Runs one attempt after the other: open the store, go on from its position, until it is closed or something refuses.
// What a disk, a lock or a log refuses is tried again with back-off and named by `facts`; a log that took records back
// makes the store anew; a store that cannot be used ends the sidecar. Nothing is lost meanwhile: the log holds it.
import { statfsSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import type { Config } from './config.js'
import { type Finding, isDamage } from './decision-log/finding.js'
import type { Pruned } from './decision-log/prune.js'
import type { Position } from './decision-log/reader.js'
import { storeDirectory } from './decision-log/reader-position.js'
import { AssayError } from './errors.js'
import type { Alerter } from './governance/alerter.js'
import { createHealth, type GovernFacts, type Health } from './governance/health.js'
import { type Committed, type Ended, type Publisher, runPipeline, type ShadowScorer } from './governance/pipeline.js'
import { createPace, type Pace } from './runtime/pace.js'
import type { Monitor } from './governance/port.js'
import { createPruning, type Pruning } from './governance/pruning.js'
import { createLake, takePartitionsBack } from './governance/store/lake.js'
import { openStore, removeStore, type Store } from './governance/store/open.js'
import { createQueries, type Queries } from './governance/store/queries.js'
import type { Tables } from './governance/store/tables.js'
import { createTail, type Tail } from './governance/tail.js'
import { createAlertJournal } from './governance/publish/alert-journal.js'
import type { EventPublisher, EventsDeps } from './governance/publish/kafka-events.js'
import { createWatch, type Watch } from './governance/watch.js'
import { LIMITS, type Limits } from './limits.js'
import { type Clock, systemClock } from './runtime/clock.js'
import type { Exposed } from './telemetry/exposition.js'
import type { Logger } from './telemetry/logger.js'

/** What the listener needs. `queries` is null while the store cannot be used. */
export interface ApiDeps {
  readonly config: Config
  readonly limits: Limits
  readonly clock: Clock
  readonly logger: Logger
  queries(): Queries | null
  facts(): GovernFacts
  /** Of the parts that the listener does not know. */
  readonly metrics: readonly Exposed[]
}

/** A listener over what the sidecar knows; what was committed is shown to it as to any publisher. */
export interface Api extends Publisher {
  readonly url: string
}

export interface GovernDeps {
  readonly logger: Logger
  readonly clock?: Clock
  readonly limits?: Limits
  /** New ones for each attempt: they hold open windows. */
  readonly createMonitors?: (config: Config) => readonly Monitor[]
  /** `rest` is to be called between pieces of work (pace.ts). */
  readonly createShadows?: (config: Config, rest: () => void) => Promise<ShadowScorer>
  readonly createAlerter?: (config: Config) => Alerter
  /** Live as long as the sidecar. */
  readonly publishers?: readonly Publisher[]
  /** Of what was derived to brokers; null where that is off. */
  readonly createEvents?: (config: Config, deps: EventsDeps) => EventPublisher | null
  readonly createApi?: (deps: ApiDeps) => Promise<Api>
  /** Lets go of what nobody needs in the log; waits for `rest` between pieces of work. */
  readonly prune?: (config: Config, rest: () => Promise<void>) => Promise<Pruned>
  /** A rebuild beside which nobody waits: it does not look at itself. */
  readonly isOffline?: boolean
  /** Bytes that can still be written to the store's file system. */
  readonly freeBytes?: (directory: string) => number
}

export interface Sidecar {
  /** Null without a listener. */
  readonly url: string | null
  facts(): GovernFacts
  queries(): Queries | null
  /** Settles when the sidecar has ended: by `close`, or rejects with what it cannot go on with. */
  readonly ended: Promise<void>
  /** Ends after the transaction under way. */
  close(deadlineMs: number): Promise<void>
}

/** Milliseconds between two looks at a full disk. */
const ROOM_POLL_MS = 1_000
/** Findings of one batch that the logger names; all of them stand in the store. */
const FINDINGS_TOLD_MAX = 10
/** Milliseconds that a batch under way gets at the end. */
const PART_CLOSE_MS = 2_000

/** Everything that lives as long as the sidecar. */
interface Base {
  readonly config: Config
  readonly deps: GovernDeps
  readonly limits: Limits
  readonly clock: Clock
  readonly logger: Logger
  readonly directory: string
  readonly health: Health
  readonly stop: AbortController
  readonly publishers: Publisher[]
  readonly watch: Watch
  events: EventPublisher | null
  /** What made a rebuild necessary: the new store begins with it. */
  carried: readonly Finding[]
  open: Open | null
}

/** What one attempt holds. */
interface Open {
  readonly store: Store
  readonly tail: Tail
  readonly queries: Queries
  readonly alerter: Alerter | null
}

/** Starts it; resolves when the listener is open. */
export async function govern(config: Config, deps: GovernDeps): Promise<Sidecar> {
  const limits = deps.limits ?? LIMITS
  const clock = deps.clock ?? systemClock
  const directory = storeDirectory(config)
  const watch = createWatch({ lagSecondsMax: config.process.governance.alerts.lag_seconds_max })
  const base: Base = {
    ...{ config, deps, limits, clock, logger: deps.logger, directory, carried: [], open: null, events: null },
    ...{ health: createHealth(clock), stop: new AbortController(), watch, publishers: [...(deps.publishers ?? [])] },
  }
  const facts = (): GovernFacts => base.health.facts(base.open, base.publishers)
  const queries = (): Queries | null => base.open?.queries ?? null
  const journal = createAlertJournal({ logger: base.logger, open: () => base.open?.alerter?.open() ?? [] })
  base.publishers.push(journal)
  const durable: EventsDeps['durable'] = () => base.open?.tail.durable() ?? null
  base.events =
    deps.createEvents?.(config, { directory, limits, clock, logger: deps.logger, queries, facts, durable }) ?? null
  if (base.events !== null) base.publishers.push(base.events)
  const pruning = pruningOf(base)
  const metrics = [...journal.metrics(), ...(base.events?.metrics() ?? []), ...(pruning?.metrics() ?? [])]
  const shown = { queries, facts, metrics }
  const api = (await deps.createApi?.({ config, limits, clock, logger: deps.logger, ...shown })) ?? null
  if (api !== null) base.publishers.push(api)
  base.logger.event('SidecarStarted', { directory, url: api?.url ?? null })
  const ended = runAttempts(base)
  const watching = deps.isOffline === true ? null : startWatching(base)
  // Whoever awaits `ended` sees the error; until somebody does, it is not unhandled.
  ended.catch(() => undefined)
  return {
    url: api?.url ?? null,
    facts,
    queries,
    ended,
    async close(deadlineMs) {
      if (watching !== null) clearInterval(watching)
      await pruning?.close()
      base.stop.abort()
      base.open?.tail.close()
      await Promise.race([ended.catch(() => undefined), delay(deadlineMs, undefined, { ref: false })])
      await Promise.all(base.publishers.map((publisher) => publisher.close(PART_CLOSE_MS)))
      base.logger.event('SidecarStopped', {})
      base.logger.flush()
    },
  }
}

function pruningOf(base: Base): Pruning | null {
  const { config, deps, directory, limits, logger } = base
  const { prune } = deps
  if (prune === undefined) return null
  const position = (): Position | null => base.open?.store.resume()?.position ?? null
  return createPruning({ directory, limits, logger, position, prune: (rest) => prune(config, rest) })
}

/** While the store cannot be used there is nobody to tell: a loss is then told by the first look after it. */
function startWatching(base: Base): NodeJS.Timeout {
  return setInterval(() => lookAtSelf(base), base.limits.watchMs).unref()
}

function lookAtSelf({ open, health, publishers, clock, watch }: Base): void {
  if (open === null || open.alerter === null) return
  const { lagSeconds, takenBackTotal } = health.facts(open, publishers)
  const losses = {
    records_taken_back: takenBackTotal,
    alerts_undelivered: publishers.reduce((sum, publisher) => sum + (publisher.undelivered?.() ?? 0), 0),
    signals_unwatched: open.alerter.unwatched(),
    events_unpublished: publishers.reduce((sum, publisher) => sum + (publisher.unpublished?.() ?? 0), 0),
  }
  if (open.alerter.observe(watch.look({ lagSeconds, losses }, clock.nowMs()))) open.tail.nudge()
  else watch.settle(losses)
}

async function runAttempts(base: Base): Promise<void> {
  const { limits, clock, stop, health, logger } = base
  let retryMs = limits.governRetryMs
  while (!stop.signal.aborted) {
    const beganMs = clock.monoMs()
    try {
      const ended = await attempt(base)
      if (ended.kind === 'taken_back')
        logger.event('StoreRebuilt', { detail: `the log took back what follows ${ended.to}` })
    } catch (error) {
      const fault = asFault(error)
      health.failed(fault)
      logger.event('StoreFailed', { error: fault, retry_in_ms: fault.retryable ? retryMs : null })
      if (!fault.retryable) throw fault
      if (clock.monoMs() - beganMs > limits.governRetryMsMax) retryMs = limits.governRetryMs
      await delay(retryMs, undefined, { signal: stop.signal }).catch(() => undefined)
      retryMs = Math.min(2 * retryMs, limits.governRetryMsMax)
    }
  }
}

/** One life of the store: from its position until the pipeline ends. */
async function attempt(base: Base): Promise<Ended> {
  const { config, deps, directory, health } = base
  const monitors = deps.createMonitors?.(config) ?? []
  const alerter = deps.createAlerter?.(config) ?? null
  const declaring = [...monitors, ...(alerter === null ? [] : [alerter])]
  const tables: Tables = Object.fromEntries(declaring.flatMap((one) => Object.entries(one.tables)))
  if (!(await hasRoom(base))) return { kind: 'closed' }
  const { memory_bytes_max: memoryBytesMax, threads } = config.process.governance
  const pace = paceOf(base)
  const store = await openStore({ directory, tables, memoryBytesMax, threads, rest: pace.rest })
  let shadows: ShadowScorer | null = null
  try {
    shadows = (await deps.createShadows?.(config, pace.rest)) ?? null
    await writeCarried(base, store)
    const upkeep = await createLake(store.database, lakeOptions(base, monitors))
    // From here on the clock's signals reach the alerter: it is restored before anything else may run.
    const open = openParts(base, { store, alerter, pace })
    base.open = open
    const ended = await runPipeline({
      ...{ tail: open.tail, store, monitors, alerter, shadows, publishers: base.publishers },
      ...{ upkeep, pace },
      room: () => hasRoom(base),
      onCommitted: (committed) => noteCommitted(base, committed),
    })
    if (ended.kind === 'taken_back') await takeBack(base, store, ended)
    return ended
  } catch (error) {
    throw otherLog(error, directory)
  } finally {
    base.open?.tail.close()
    base.open = null
    health.closed()
    await shadows?.close(PART_CLOSE_MS)
    await store.close()
    if (health.wantsRebuild()) removeStore(directory)
  }
}

function paceOf({ clock, limits, stop }: Base): Pace {
  const rest = (ms: number): Promise<void> => delay(ms, undefined, { signal: stop.signal }).catch(() => undefined)
  return createPace({ clock, limits, delay: rest })
}

function openParts(base: Base, parts: Pick<Open, 'store' | 'alerter'> & { readonly pace: Pace }): Open {
  const { config, limits, logger, health } = base
  const { store, alerter, pace } = parts
  const from = store.resume()
  const logDirectory = join(config.process.data_dir, 'decision-log')
  const tail = createTail({ directory: logDirectory, from, limits, rest: pace.rest })
  const logId = (): Uint8Array | null => store.resume()?.position.logId ?? null
  const queries = createQueries(store.database, { logId, limits })
  if (store.remade) logger.event('StoreRebuilt', { detail: 'the store was of an earlier release' })
  logger.event('StoreOpened', { epoch: from?.position.epoch ?? 0, sequence: from?.position.sequence ?? 0 })
  health.opened(store.recordedAtMs())
  return { store, tail, queries, alerter }
}

function lakeOptions(base: Base, monitors: readonly Monitor[]): Parameters<typeof createLake>[1] {
  const { config, directory, logger, events } = base
  const { lake, retention_days: rowDays, lake_retention_days: partitionDays } = config.process.governance
  const ages = Object.fromEntries(monitors.flatMap((one) => Object.entries(one.ages ?? {})))
  const onWritten = (day: string, decisions: number): void => logger.event('PartitionWritten', { day, decisions })
  const publishing = events === null ? {} : { taken: events.published, onMissed: events.missed }
  return { directory: join(directory, 'lake'), enabled: lake, rowDays, partitionDays, ages, onWritten, ...publishing }
}

function noteCommitted({ health, logger, watch }: Base, { batch, alerts }: Committed): void {
  health.committed(batch)
  watch.committed(alerts)
  const damage = batch.findings.filter(isDamage)
  for (const finding of damage.slice(0, FINDINGS_TOLD_MAX)) logger.event('FindingReported', { ...finding })
  if (damage.length > FINDINGS_TOLD_MAX) logger.event('FindingReported', { more: damage.length - FINDINGS_TOLD_MAX })
}

/**
 * The log ends before what was read of it. What was derived from the rest cannot be told apart in sums and windows, so
 * all of it goes, and is derived again: the simplest way that is exact.
 */
async function takeBack(base: Base, store: Store, { batch, to }: Ended & { kind: 'taken_back' }): Promise<void> {
  await takePartitionsBack(store.database, join(base.directory, 'lake'), to)
  base.health.takenBack(batch, { from: store.resume()?.position.sequence ?? to, to })
  base.carried = batch.findings.filter(({ kind }) => kind === 'reader_ahead')
}

async function writeCarried(base: Base, store: Store): Promise<void> {
  if (base.carried.length === 0) return
  const batch = { records: [], findings: base.carried, position: null, takenBackTo: null }
  await store.write({ batch, derived: [], checkpoints: new Map(), control: null })
  base.carried = []
}

/** Waits for room on the disk. False once the sidecar is closing. */
async function hasRoom(base: Base): Promise<boolean> {
  const { config, deps, directory, stop, health, logger } = base
  const floor = config.process.governance.disk_free_bytes_min
  const freeBytes = deps.freeBytes ?? freeBytesOf
  let isPaused = false
  while (!stop.signal.aborted) {
    const free = freeBytes(directory)
    if (free >= floor) break
    if (!isPaused) logger.event('StorePaused', { free_bytes: free, disk_free_bytes_min: floor })
    isPaused = true
    health.paused(`the disk has ${free} bytes left, below disk_free_bytes_min (${floor})`)
    await delay(ROOM_POLL_MS, undefined, { signal: stop.signal }).catch(() => undefined)
  }
  health.paused(null)
  return !stop.signal.aborted
}

/** Of the directory, or of the nearest one above it that is there. */
function freeBytesOf(directory: string): number {
  try {
    const { bavail, bsize } = statfsSync(directory)
    return bavail * bsize
  } catch {
    const above = join(directory, '..')
    return above === directory ? Infinity : freeBytesOf(above)
  }
}

/** A position that belongs to another log: the store was made from a log that is not here any more. */
function otherLog(error: unknown, directory: string): unknown {
  if (!(error instanceof AssayError) || error.code !== 'ASSAY_INPUT_INVALID') return error
  const detail = `${directory} was derived from another decision log; \`assay govern rebuild\` makes it anew`
  return new AssayError('ASSAY_STORE_REFUSED', detail, { cause: error })
}

function asFault(error: unknown): AssayError {
  if (error instanceof AssayError) return error
  const detail = error instanceof Error ? error.message : String(error)
  return new AssayError('ASSAY_INTERNAL', detail, { cause: error })
}
