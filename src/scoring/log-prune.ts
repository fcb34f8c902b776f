// `assay log prune`, and the same for the sidecar: moves the segments that nobody needs any more into the archive, and
// lets go of archived ones beyond their days. What a start still needs follows from the configuration: the longest
// window of its catalogue, and for how long a repeat is answered.
import { existsSync, mkdirSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { type Config, loadConfig } from '../config.js'
import { removeArchived } from '../decision-log/archive.js'
import { createDisk } from '../decision-log/disk.js'
import { planPrune, prune, type Pruned, type PrunePlan } from '../decision-log/prune.js'
import { readReaderPosition, storeDirectory } from '../decision-log/reader-position.js'
import { listSnapshots } from '../decision-log/snapshot-files.js'
import { AssayError } from '../errors.js'
import { compileCatalogue } from '../features/compile.js'
import { LIMITS } from '../limits.js'
import { logDirectory } from './restore.js'

const DAY_MS = 86_400_000

/** Milliseconds for which a start of this configuration still folds a record, or answers a repeat with it. */
export function keepMs({ policy }: Config): number {
  const { plan } = compileCatalogue(policy.catalogue, policy.schema, policy.currencies)
  return Math.max(plan.spanMs + LIMITS.lateMsMax, policy.idempotency.window_ms)
}

function planOf(config: Config, nowMs: number): PrunePlan {
  const { data_dir: dataDir } = config.process
  const cover = {
    reader: readReaderPosition(storeDirectory(config)),
    snapshot: listSnapshots(dataDir)[1] ?? null,
    ...{ keepMs: keepMs(config), nowMs },
  }
  return planPrune(createDisk(join(dataDir, 'decision-log')), cover)
}

/** `rest` is waited for between pieces of work. Throws ASSAY_LOG_IO, and ASSAY_INPUT_INVALID as the archive does. */
export async function pruneLog(
  config: Config,
  rest: () => Promise<void> = () => Promise.resolve(),
  nowMs: () => number = Date.now,
): Promise<Pruned> {
  const { data_dir: dataDir, log: settings } = config.process
  const log = join(dataDir, 'decision-log')
  const done = { segments: 0, records: 0, bytes: 0, removed: 0 }
  if (!existsSync(log)) return done
  try {
    const { segments } = planOf(config, nowMs())
    const directory = settings.archive_dir ?? join(dataDir, 'archive')
    if (segments.length > 0) makeDirectory(directory)
    if (!existsSync(directory)) return done
    const archive = createDisk(directory)
    await prune({ segments }, { log: createDisk(log), archive, nowMs, rest }, ({ records, bytes }) => {
      done.segments++
      done.records += records
      done.bytes += bytes
    })
    const { archive_days: days } = settings
    const beforeMs = days === 0 ? -Infinity : nowMs() - days * DAY_MS
    done.removed = removeArchived(archive, { beforeMs, nowMs: nowMs() })
    return done
  } catch (error) {
    if (!(error instanceof Error && 'syscall' in error)) throw error
    throw new AssayError('ASSAY_LOG_IO', `segments cannot be archived: ${error.message}`, { cause: error })
  }
}

function makeDirectory(directory: string): void {
  if (existsSync(directory)) return
  mkdirSync(directory, { recursive: true, mode: 0o750 })
  createDisk(dirname(directory)).syncDirectory()
}

export interface PruneArguments {
  readonly config: string | undefined
  readonly data: string | undefined
  readonly dryRun: boolean
  readonly json: boolean
}

/** Runs `assay log prune`; resolves to its exit code. */
export async function pruneCommand({ config: file, data, dryRun, json }: PruneArguments): Promise<number> {
  const { ASSAY_DATA_DIR: dataDir } = process.env
  const env = { ...process.env, ASSAY_DATA_DIR: data ?? dataDir }
  const config = loadConfig({ ...(file !== undefined && { file }), env })
  logDirectory(config.process.data_dir)
  const { segments, holding } = planOf(config, Date.now())
  const planned = {
    segments: segments.length,
    records: segments.reduce((sum, { records }) => sum + records, 0),
    bytes: segments.reduce((sum, { bytes }) => sum + bytes, 0),
    removed: 0,
  }
  const { removed, ...moved } = dryRun ? planned : await pruneLog(config)
  if (json) process.stdout.write(`${JSON.stringify({ ...moved, removed, dry_run: dryRun, next_stays: holding })}\n`)
  else {
    const verb = dryRun ? 'would go' : 'archived'
    process.stdout.write(`${moved.segments} segments ${verb}, ${moved.records} records, ${moved.bytes} bytes\n`)
    if (removed > 0) process.stdout.write(`${removed} archived segments removed\n`)
    process.stdout.write(`the next one stays: ${holding}\n`)
  }
  return 0
}
