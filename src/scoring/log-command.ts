// `assay log verify | cat | export | prune`: checks, prints and exports a decision log at rest or beside a running
// server, and lets go of what nobody needs in it. The first three write nothing into the log's directory.
import { once } from 'node:events'
import { parseArgs } from 'node:util'
import { RECORD_TYPES } from '../contract/record-types.js'
import { AssayError } from '../errors.js'
import { verifyLog } from '../decision-log/verify.js'
import { pruneCommand } from './log-prune.js'
import { createRowMaker, exportLog, type ExportFormat } from './log-export.js'
import { logDirectory, readDecisionLog } from './restore.js'
import { type ReplayReport, verifyReplay } from './verify-replay.js'

const HELP = `assay log verify [--replay] [--data DIR] [--json]
    check every checksum, sequence and link; with --replay fold the log again, compare every vector and show
    which offsets of streams are decided
assay log cat [--data DIR] [--type decision,label,…] [--limit N]
    print records as JSON lines
assay log export --out FILE.jsonl|.parquet|.avro [--data DIR] [--type decision,…] [--json]
    write records to a file, JSON lines of every type, Parquet and Avro of decisions and observed transactions
assay log prune [--config FILE] [--data DIR] [--dry-run] [--json]
    move the oldest segments to the archive (process.log.archive_dir) that the sidecar has read, the second-newest
    snapshot covers, and that are older than every window and than the idempotency window; the sidecar does it too
    --dry-run says only which would go; each time it says what keeps the next one

DIR is the data directory (ASSAY_DATA_DIR, else ./data; of prune the configuration's). Fields that the policy declares
sensitive are masked; --reveal shows them.
exit codes: 0 whole, written, or pruned as far as may be
            1 damage, a vector that differs, or an error, each named on stderr · 2 the command line is not valid
`

interface Options {
  readonly directory: string
  readonly json: boolean
  readonly replay: boolean
  readonly types: ReadonlySet<string> | null
  readonly limit: number
  readonly reveal: boolean
  readonly out: string | undefined
}

/** Runs one log command; resolves to its exit code. Throws AssayError, ASSAY_USAGE for a bad command line. */
export async function logCommand(args: readonly string[]): Promise<number> {
  const { values, positionals } = parse(args)
  const [verb] = positionals
  if (values.help === true) {
    process.stdout.write(HELP)
    return 0
  }
  if (positionals.length !== 1 || verb === undefined || !['verify', 'cat', 'export', 'prune'].includes(verb)) {
    const verbs = '`log verify`, `log cat`, `log export` or `log prune`'
    throw new AssayError('ASSAY_USAGE', `expected ${verbs}; see \`assay log --help\``)
  }
  if (verb === 'prune') {
    const { config, data } = values
    return pruneCommand({ config, data, dryRun: values['dry-run'] === true, json: values.json === true })
  }
  const options: Options = {
    directory: logDirectory(values.data ?? process.env.ASSAY_DATA_DIR ?? './data'),
    json: values.json === true,
    replay: values.replay === true,
    types: values.type === undefined ? null : typesOf(values.type),
    limit: values.limit === undefined ? Infinity : limitOf(values.limit),
    out: values.out,
    reveal: values.reveal === true,
  }
  if (verb === 'verify') return verify(options)
  return verb === 'cat' ? cat(options) : runExport(options)
}

function typesOf(text: string): ReadonlySet<string> {
  const types = text.split(',')
  const unknown = types.find((type) => !Object.hasOwn(RECORD_TYPES, type))
  if (unknown === undefined) return new Set(types)
  throw new AssayError('ASSAY_USAGE', `--type ${unknown}: one of ${Object.keys(RECORD_TYPES).join(', ')}`)
}

function limitOf(text: string): number {
  const limit = Number(text)
  if (Number.isSafeInteger(limit) && limit >= 0 && text !== '') return limit
  throw new AssayError('ASSAY_USAGE', '--limit must be an integer ≥ 0')
}

function parse(args: readonly string[]) {
  const text = { type: 'string' } as const
  const flag = { type: 'boolean' } as const
  const options = {
    ...{ data: text, type: text, limit: text, out: text, config: text },
    ...{ json: flag, replay: flag, reveal: flag, 'dry-run': flag },
  }
  try {
    return parseArgs({
      args: [...args],
      allowPositionals: true,
      options: { ...options, help: { ...flag, short: 'h' } },
    })
  } catch (cause) {
    throw new AssayError('ASSAY_USAGE', cause instanceof Error ? cause.message : String(cause), { cause })
  }
}

async function verify(options: Options): Promise<number> {
  const bytes = verifyLog(options.directory)
  const replay = options.replay ? await verifyReplay(options.directory) : null
  if (options.json) process.stdout.write(`${JSON.stringify({ ...bytes, replay })}\n`)
  else process.stdout.write(describe(bytes, replay))
  for (const finding of bytes.findings) {
    const { kind, segment, offset, sequence, detail } = finding
    process.stderr.write(`${kind}: ${segment} offset ${offset} sequence ${sequence}: ${detail}\n`)
  }
  for (const { decision_id, reason, features } of replay?.differing ?? []) {
    process.stderr.write(`${reason}: ${decision_id}: ${features.join(', ')}\n`)
  }
  return bytes.damaged || (replay !== null && replay.unexplained > 0) ? 1 : 0
}

function describe(bytes: ReturnType<typeof verifyLog>, replay: ReplayReport | null): string {
  const rows = bytes.epochs.map(({ epoch, firstSequence, lastSequence, records }) => {
    const counts = Object.entries(records).map(([type, count]) => `${count} ${type}`)
    return `  epoch ${epoch}: sequences ${firstSequence} to ${lastSequence}: ${counts.join(', ')}`
  })
  const state = bytes.damaged ? 'DAMAGED' : 'whole'
  const head = `log ${bytes.logId ?? '(empty)'}: ${bytes.records} records in ${bytes.segments} segments, ${state}`
  if (replay === null) return [head, ...rows, ''].join('\n')
  const { compared, equal, unrecomputable, unexplained, gaps, begins, decided } = replay
  const result = `replay: ${compared} vectors, ${equal} equal, ${unrecomputable} not recomputable, ${unexplained} differ`
  const rest =
    begins === null
      ? []
      : [`  the log begins with sequence ${begins.sequence}: vectors before ${isoOf(begins.untilMs)} may rest on more`]
  const died = gaps.map(({ epoch, from, to }) => `  epoch ${epoch}: ordinals ${from} to ${to} died unlogged`)
  const offsets = decided.map(
    ({ topic, topic_id: id, partition, from, bound, ranges_above: above, end }) =>
      `  ${topic} (${id}) partition ${partition}: offsets ${from} to ${bound - 1} decided` +
      (above > 0 ? `, and ${above} ranges up to ${end - 1}` : ''),
  )
  return [head, ...rows, result, ...rest, ...died, ...offsets, ''].join('\n')
}

function isoOf(ms: number): string {
  return new Date(ms).toISOString()
}

class LimitReached extends Error {}

async function cat(options: Options): Promise<number> {
  let left = options.limit
  const rows = createRowMaker(options.reveal)
  try {
    await readDecisionLog(options.directory, {
      onSegment: (header, { policy }) => rows.under(header.logId, policy),
      onFinding: ({ kind, detail }) => void (kind === 'begins_later' && process.stderr.write(`${kind}: ${detail}\n`)),
      onRecord(record, at) {
        if (options.types !== null && !options.types.has(record.type)) return
        if (left-- <= 0) throw new LimitReached()
        process.stdout.write(`${JSON.stringify(rows.plain(record, at.sequence))}\n`)
      },
      // A reader slower than the disk must not fill our memory.
      async onChunk() {
        if (process.stdout.writableNeedDrain) await once(process.stdout, 'drain')
      },
    })
  } catch (error) {
    if (!(error instanceof LimitReached)) throw error
  }
  return 0
}

const FORMATS: readonly ExportFormat[] = ['jsonl', 'parquet', 'avro']

async function runExport(options: Options): Promise<number> {
  const { out } = options
  const format = FORMATS.find((known) => out?.endsWith(`.${known}`))
  if (out === undefined || format === undefined) {
    throw new AssayError('ASSAY_USAGE', '--out FILE names a file that ends in .jsonl, .parquet or .avro')
  }
  const { directory, types, reveal } = options
  const rows = await exportLog({ directory, types, reveal, file: out, format })
  if (options.json) process.stdout.write(`${JSON.stringify({ rows, out })}\n`)
  else process.stderr.write(`${rows} records written to ${out}\n`)
  return 0
}
