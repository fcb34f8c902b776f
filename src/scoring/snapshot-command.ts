// `assay features snapshot`: writes down what the decision log folds into, so that the next start reads that and folds
// only what follows. Beside a running server it reads no further than what is written, and gives way: a share of one
// core in short slices, and rests between the pieces that it writes.
import { setTimeout as delay } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { loadConfig } from '../config.js'
import { createRecordCodecs } from '../contract/record.js'
import { misfitOf, readHead } from '../decision-log/chain.js'
import { createDisk, type Disk } from '../decision-log/disk.js'
import { listSnapshots } from '../decision-log/snapshot-files.js'
import { AssayError, errorOf } from '../errors.js'
import { compileCatalogue } from '../features/compile.js'
import { LIMITS } from '../limits.js'
import { systemClock } from '../runtime/clock.js'
import { createPace } from '../runtime/pace.js'
import { foldLive, type LogState, type LogStateDeps } from './log-state.js'
import { logDirectory, openRecords } from './restore.js'
import { loadLogState, writeSnapshot } from './snapshot.js'

export const SNAPSHOT_HELP = `assay features snapshot [--config FILE] [--data DIR] [--json]
    write down the state that the decision log folds into (windows, ids, labels, offsets), from the newest snapshot on.
    A start of the server reads it and folds only what the log holds behind it. Works beside a running server, whose
    configuration must be given: under another catalogue, other fields or currencies a snapshot is foreign and passed by

DIR of --data: ASSAY_DATA_DIR (else ./data); snapshots lie in its snapshots/, the two newest are kept. \`assay govern\`
makes them by itself (process.governance.snapshot_records).
exit codes: 0 written, or nothing new · 1 refused, with the code on stderr · 2 the command line is not valid
`

/** Runs it; resolves to its exit code. Throws AssayError, ASSAY_USAGE for a bad command line. */
export async function snapshotCommand(args: readonly string[]): Promise<number> {
  const { values } = parse(args)
  if (values.help === true) {
    process.stdout.write(SNAPSHOT_HELP)
    return 0
  }
  const config = loadConfig({ ...(values.config !== undefined && { file: values.config }), env: process.env })
  const { policy } = config
  const dataDir = values.data ?? config.process.data_dir
  const catalogue = compileCatalogue(policy.catalogue, policy.schema, policy.currencies)
  const deps: LogStateDeps = { policy, limits: LIMITS, catalogue, codecs: createRecordCodecs(policy.schema) }
  const startedMs = performance.now()
  const state = await foldLog(dataDir, deps)
  const { position } = state
  if (position === null) throw new AssayError('ASSAY_INPUT_INVALID', 'the decision log holds no record yet')
  const newest = listSnapshots(dataDir).at(0)
  const isNew = newest?.epoch !== position.epoch || newest.sequence !== position.sequence
  const written = isNew ? await write(dataDir, deps, state) : null
  const { epoch, sequence } = position
  const { transactions } = state.fold.counts()
  const ms = Math.round(performance.now() - startedMs)
  if (values.json === true)
    process.stdout.write(`${JSON.stringify({ epoch, sequence, transactions, ms, ...written })}\n`)
  else if (written === null) process.stdout.write(`the newest snapshot covers all, up to record ${sequence}\n`)
  else {
    const size = `${(written.bytes / 2 ** 20).toFixed(1)} MiB in ${(ms / 1_000).toFixed(1)} s`
    process.stdout.write(`${written.path}: up to record ${sequence}, ${transactions} transactions more, ${size}\n`)
  }
  return 0
}

/** The state that the log folds into up to a record behind which nothing waits for an earlier one. */
async function foldLog(dataDir: string, deps: LogStateDeps): Promise<LogState> {
  const directory = logDirectory(dataDir)
  const disk = createDisk(directory)
  const state = await loadLogState(dataDir, {
    ...deps,
    misfit: (position) => misfitOf(disk, position, writtenSequence(disk)),
    onRefused: (path, detail) => process.stderr.write(`${path} is passed by: ${detail}\n`),
  })
  const { policy, limits } = deps
  await foldLive(state, directory, policy, createPace({ clock: systemClock, limits, delay }))
  if (state.fold.waiting() === 0) return state
  const { position: from, decoders } = state
  const records = openRecords(directory, { schema: policy.schema, live: true, from, decoders })
  try {
    // Rows that were decided late stand behind others: a few records on, nothing is missing between.
    while (state.fold.waiting() > 0) {
      const read = records.read({ onRecord: (record, at) => state.fold.take(record, at.sequence) }, 1)
      if (read === 0)
        throw new AssayError('ASSAY_NOT_READY', 'the last records wait for one that is not written: try again')
    }
    state.position = records.position()
  } finally {
    records.close()
  }
  return state
}

function writtenSequence(disk: Disk): number {
  return readHead(disk).head?.writtenSequence ?? -1
}

async function write(dataDir: string, deps: LogStateDeps, state: LogState) {
  try {
    return await writeSnapshot(dataDir, deps, state)
  } catch (cause) {
    throw new AssayError('ASSAY_LOG_IO', `the snapshot cannot be written: ${errorOf(cause).message}`, { cause })
  }
}

function parse(args: readonly string[]) {
  const [one, flag] = [{ type: 'string' }, { type: 'boolean' }] as const
  const options = { config: one, data: one, json: flag, help: { ...flag, short: 'h' } } as const
  try {
    return parseArgs({ args: [...args], options })
  } catch (cause) {
    throw new AssayError('ASSAY_USAGE', cause instanceof Error ? cause.message : String(cause), { cause })
  }
}
