// `assay backup` and `assay restore`: the decision log and the bundles that decisions name, copied to another directory
// while the server runs, and made into a data directory again. A backup is `decision-log/`, `models/`, `backup.json`.
// Invariant: `backup.json` says nothing that is not durable in the copy; a restore is there whole or not at all.
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { loadConfig } from './config.js'
import { isoTime, parseDuration } from './contract/time.js'
import { createLogBackup, restoreLog } from './decision-log/backup.js'
import { createDisk } from './decision-log/disk.js'
import { AssayError, errorOf } from './errors.js'
import { listBundles } from './models/bundle.js'

const BACKUP_HELP = `assay backup --to DIR [--data DIR] [--models DIR] [--every 1s] [--once]
    copy what is durable in the decision log, and every bundle, until SIGTERM; --once ends when the copy is level
assay backup status --to DIR [--max-age 60s] [--json]
    up to which record and moment the copy is whole; exit code 1 where that moment is older than --max-age

DIR of --data and --models: ASSAY_DATA_DIR (else ./data) and ASSAY_MODELS_DIR (else the package's models).
Keep DIR of --to on another machine's disk: what was durable a pass ago survives the loss of the data directory.
exit codes: 0 done · 1 refused, or too old, with the code on stderr · 2 the command line is not valid
`
const RESTORE_HELP = `assay restore --from DIR [--data DIR] [--models DIR]
    make a data directory of a backup: every checksum is looked at first, nothing that is there is overwritten.
    Bundles that are missing in the models directory are put there. The server that starts on it takes an epoch that no
    lost start can have used, replays the log, and answers what was decided before as it was decided

exit codes: 0 restored · 1 refused, with the code on stderr · 2 the command line is not valid
`
const STATE = 'backup.json'
/** Milliseconds after which bundles are looked at again. */
const BUNDLES_EVERY_MS = 60_000
/** Milliseconds between two lines about how it goes. */
const SAY_EVERY_MS = 60_000

interface State {
  readonly format: 1
  /** Of the log, hex. */
  readonly log_id: string
  /** Of the last record that the copy holds durably. */
  readonly epoch: number
  readonly sequence: number
  /** Everything that was durable at this moment is in the copy. */
  readonly level_at: string
}

/** Runs `assay backup`; resolves to its exit code. Throws AssayError, ASSAY_USAGE for a bad command line. */
export async function backupCommand(args: readonly string[]): Promise<number> {
  const { values, positionals } = parse(args)
  if (values.help === true) return help(BACKUP_HELP)
  const { to } = values
  const isStatus = positionals.join(' ') === 'status'
  if (to === undefined || (positionals.length > 0 && !isStatus) || values.from !== undefined) {
    throw usage('expected `backup --to DIR` or `backup status --to DIR`')
  }
  if (isStatus) return status(to, values)
  const { dataDir, modelsDir } = placesOf(values)
  const everyMs = durationOf(values.every ?? '1s', '--every')
  const source = join(dataDir, 'decision-log')
  if (!existsSync(source)) throw new AssayError('ASSAY_INPUT_INVALID', `${source} holds no decision log`)
  mkdirSync(join(to, 'decision-log'), { recursive: true, mode: 0o750 })
  const backup = createLogBackup(createDisk(source), createDisk(join(to, 'decision-log')))
  const stop = new AbortController()
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => stop.abort())
  let bundlesAtMs = -Infinity
  let saidAtMs = -Infinity
  for (;;) {
    const beganMs = Date.now()
    try {
      const copied = await backup.pass()
      if (copied !== null) {
        const { logId, epoch, sequence } = copied
        writeState(to, { format: 1, log_id: logId, epoch, sequence, level_at: isoTime(beganMs) })
      }
      if (beganMs - bundlesAtMs >= BUNDLES_EVERY_MS || values.once === true) {
        await copyBundles(modelsDir, join(to, 'models'))
        bundlesAtMs = beganMs
      }
      if (copied !== null && (beganMs - saidAtMs >= SAY_EVERY_MS || values.once === true)) {
        process.stdout.write(`level with record ${copied.sequence} of epoch ${copied.epoch}, ${isoTime(beganMs)}\n`)
        saidAtMs = beganMs
      }
    } catch (error) {
      // A start of the server may replace its last segment meanwhile, and disks come back: the next pass goes on.
      const isFinal = error instanceof AssayError && error.code === 'ASSAY_BACKUP_REFUSED'
      if (isFinal || values.once === true) throw error instanceof AssayError ? error : ioError(error)
      process.stderr.write(`the copy waits: ${errorOf(error).message}\n`)
    }
    if (values.once === true) return 0
    await delay(everyMs, undefined, { signal: stop.signal }).catch(() => undefined)
    if (stop.signal.aborted) return 0
  }
}

/** Runs `assay restore`; as `backupCommand`. */
export async function restoreCommand(args: readonly string[]): Promise<number> {
  const { values, positionals } = parse(args)
  if (values.help === true) return help(RESTORE_HELP)
  const { from } = values
  if (from === undefined || positionals.length > 0 || values.to !== undefined)
    throw usage('expected `restore --from DIR`')
  const state = readState(from)
  const { dataDir, modelsDir } = placesOf(values)
  const [target, unfinished] = [join(dataDir, 'decision-log'), join(dataDir, 'decision-log.restoring')]
  if (existsSync(target) && readdirSync(target).length > 0) {
    throw new AssayError('ASSAY_BACKUP_REFUSED', `${target} is not empty: move it away, or name another --data`)
  }
  rmSync(unfinished, { recursive: true, force: true })
  mkdirSync(unfinished, { recursive: true, mode: 0o750 })
  try {
    const restored = await restoreLog(createDisk(join(from, 'decision-log')), createDisk(unfinished))
    if (restored.sequence < state.sequence) {
      const detail = `the copy ends with record ${restored.sequence}, ${STATE} says ${state.sequence}`
      throw new AssayError('ASSAY_BACKUP_REFUSED', detail)
    }
    await copyBundles(join(from, 'models'), modelsDir)
    rmSync(target, { recursive: true, force: true })
    renameSync(unfinished, target)
    createDisk(dataDir).syncDirectory()
    const text = `${target}: up to record ${restored.sequence}, all that was durable at ${state.level_at}`
    process.stdout.write(`${text}; the next epoch is ${restored.epoch + 1}\n`)
    return 0
  } catch (error) {
    rmSync(unfinished, { recursive: true, force: true })
    throw error instanceof AssayError ? error : ioError(error)
  }
}

type Values = ReturnType<typeof parse>['values']

function parse(args: readonly string[]) {
  const one = { type: 'string' } as const
  const flag = { type: 'boolean' } as const
  const places = { to: one, from: one, data: one, models: one } as const
  const options = { ...places, every: one, once: flag, 'max-age': one, json: flag } as const
  try {
    const help = { ...flag, short: 'h' } as const
    return parseArgs({ args: [...args], allowPositionals: true, options: { ...options, help } })
  } catch (cause) {
    throw new AssayError('ASSAY_USAGE', cause instanceof Error ? cause.message : String(cause), { cause })
  }
}

function placesOf(values: Values): { dataDir: string; modelsDir: string } {
  const { process: settings } = loadConfig({ env: process.env })
  return { dataDir: values.data ?? settings.data_dir, modelsDir: values.models ?? settings.models_dir }
}

function help(text: string): number {
  process.stdout.write(text)
  return 0
}

function usage(detail: string): AssayError {
  return new AssayError('ASSAY_USAGE', `${detail}; see --help`)
}

function ioError(cause: unknown): AssayError {
  return new AssayError('ASSAY_LOG_IO', `the copy cannot be read or written: ${errorOf(cause).message}`, { cause })
}

/** 500ms, 1s, 5m. */
function durationOf(text: string, option: string): number {
  const ms = parseDuration(text) ?? 0
  if (ms === 0) throw usage(`${option} must be a duration such as 500ms, 1s or 5m`)
  return ms
}

function status(to: string, values: Values): number {
  const maxAgeMs = durationOf(values['max-age'] ?? '60s', '--max-age')
  const state = readState(to)
  const ageMs = Date.now() - Date.parse(state.level_at)
  const shown = { ...state, age_s: Math.max(0, Math.round(ageMs / 1_000)), late: ageMs > maxAgeMs }
  const text = `level with record ${state.sequence} of epoch ${state.epoch} at ${state.level_at}, ${shown.age_s} s ago\n`
  process.stdout.write(values.json === true ? `${JSON.stringify(shown)}\n` : text)
  return shown.late ? 1 : 0
}

function writeState(to: string, state: State): void {
  const path = join(to, STATE)
  writeFileSync(`${path}.new`, `${JSON.stringify(state)}\n`, { flush: true })
  renameSync(`${path}.new`, path)
}

function readState(directory: string): State {
  try {
    const state: unknown = JSON.parse(readFileSync(join(directory, STATE), 'utf8'))
    if (isState(state)) return state
  } catch (cause) {
    throw new AssayError('ASSAY_INPUT_INVALID', `${directory} holds no ${STATE} that can be read`, { cause })
  }
  throw new AssayError('ASSAY_INPUT_INVALID', `${STATE} has a format that this release does not read`)
}

function isState(value: unknown): value is State {
  return typeof value === 'object' && value !== null && 'format' in value && value.format === 1
}

/** A version never changes: what is there is left. Bundles that are not whole are no evidence and are left out. */
async function copyBundles(from: string, to: string): Promise<void> {
  for (const { name, version, directory, bundle } of await listBundles(from)) {
    const target = join(to, name, version)
    if (bundle === null || existsSync(target)) continue
    mkdirSync(join(to, name), { recursive: true })
    // A listing passes over names that begin with a dot.
    const unfinished = join(to, name, `.${version}`)
    rmSync(unfinished, { recursive: true, force: true })
    cpSync(directory, unfinished, { recursive: true })
    renameSync(unfinished, target)
  }
}
