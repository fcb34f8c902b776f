// `assay history import`: past transactions and labels into the windows of a server, as observed: into the data
// directory where no server runs on it, else over the listeners of the one that does. All of the input is checked
// before anything of it is sent; where it ends early, the same command goes on.
import { readFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { type Config, loadConfig } from './config.js'
import { originOf } from './contract/address.js'
import { compileLabels } from './contract/label.js'
import { isoTime, parseDuration } from './contract/time.js'
import { compileTransaction } from './contract/validate.js'
import { isLocked } from './decision-log/lock.js'
import { AssayError } from './errors.js'
import { readLabels } from './features/label-rows.js'
import { compileCatalogue, type CompiledCatalogue } from './features/compile.js'
import { parseColumns } from './features/read-rows.js'
import { timeOption } from './features/replay-options.js'
import { readChunks } from './features/row-chunks.js'
import { LIMITS } from './limits.js'
import { systemClock } from './runtime/clock.js'
import { type Base, createBase } from './scoring/base.js'
import { type HistoryTarget, importHistory, type ImportReport } from './scoring/history/import.js'
import { intoLog } from './scoring/history/into-log.js'
import { overHttp } from './scoring/history/over-http.js'
import { checkLabel, prepareScript, type Script } from './scoring/history/script.js'
import { logDirectoryOf, openState, type OpenState, type Prepared, prepareState } from './scoring/open-state.js'
import { createOperationsClient } from './scoring/operations-client.js'
import { writeSnapshot } from './scoring/snapshot.js'
import { heldOf, join, type Running } from './serve.js'
import { loggerOf } from './serve-command.js'

const HELP = `assay history import --in TRANSACTIONS [--labels LABELS] [options]
    fill the windows of a server from history: each transaction is folded and logged as observed, none is scored. Works
    on the data directory of a server that does not run, and over the listeners of one that does

  --in FILE             transactions in event order: .csv, .csv.gz, .jsonl, .jsonl.gz
  --columns LIST        foreign names: transaction_id=TRANSACTION_ID,amount=TX_AMOUNT,fraud=TX_FRAUD; currency=:EUR is
                        a constant; amount is in major units, amount_minor in minor units
                        approved=COLUMN holds issuers' answers, known with their transaction
  --labels FILE         labels with transaction_id, fraud or approved, known_at and perhaps source, occurred_at and
                        entities; each told in its place in time, and label columns are not told then
  --label-columns LIST  foreign names in that file
  --label-delay D       when a label column (fraud) becomes known, such as 7d; default: the largest delay of a label
                        rate
  --from T, --until T   only rows with from <= occurred_at < until
  --gap-max D           the longest time without a transaction, within the history and to what the server has observed
                        itself (1d)
  --config FILE         the configuration of the server; its policy says what a transaction is
  --data DIR            the data directory (ASSAY_DATA_DIR, else ./data)
  --url URL             score listener of a running server; --operations URL: its operations listener. Default: those of
                        the configuration, where a server holds the data directory
  --key-file FILE       a scoring key; --token-file FILE: a token with the role operator
  --json                print the report as JSON

All of it is read and checked first: rows out of order, twice, from the future, behind a gap, or that the policy does
not take are refused with their row, and nothing is changed. Meanwhile it lies in the folder for temporary files
(TMPDIR), some 150 bytes a transaction. Where an import ended early, the same command goes on behind the last
transaction that the decision log holds; once it is through, the same command changes nothing.
exit codes: 0 imported · 1 refused, or transactions were, with the code on stderr · 2 the command line is not valid
`
const GAP_MAX = '1d'
const LOG_CLOSE_MS = 30_000

/** Runs it; resolves to its exit code. Throws AssayError, ASSAY_USAGE for a bad command line. */
export async function historyCommand(args: readonly string[]): Promise<number> {
  const { values, positionals } = parse(args)
  if (values.help === true) {
    process.stdout.write(HELP)
    return 0
  }
  if (positionals.join(' ') !== 'import' || values.in === undefined) {
    throw new AssayError('ASSAY_USAGE', 'expected `history import --in FILE`; see `assay history --help`')
  }
  const config = configOf(values)
  const { policy } = config
  const catalogue = compileCatalogue(policy.catalogue, policy.schema, policy.currencies)
  // Models are admitted, and what the log holds is folded, while the input is read.
  const preparing = (await isForDirectory(values, config)) ? prepareAtRest(config) : null
  let script: Script
  try {
    script = await readHistory(values, values.in, config, catalogue)
  } catch (error) {
    await preparing?.close()
    throw error
  }
  try {
    const gapMsMax = durationOf(values['gap-max'], '--gap-max')
    const said = `${script.transactions} transactions from ${isoTime(script.fromMs)} to ${isoTime(script.untilMs)}`
    process.stderr.write(`${values.in}: ${said}, ${script.labels} labels\n`)
    const run = (target: HistoryTarget): Promise<ImportReport> =>
      importHistory(script, target, {
        ...{ clock: systemClock, catalogue, gapMsMax },
        onProgress: (transactions) => process.stderr.write(`${transactions} of ${script.transactions}\n`),
      })
    const report = await send(config, values, preparing, run)
    process.stdout.write(values.json === true ? `${JSON.stringify(report)}\n` : describe(report, config))
    const [refused] = report.firstRefused
    if (refused === undefined) return 0
    throw new AssayError(
      refused.code,
      `${report.refused} transactions were refused, the first is number ${refused.place}`,
    )
  } finally {
    script.close()
  }
}

type Values = ReturnType<typeof parse>['values']
type Run = (target: HistoryTarget) => Promise<ImportReport>

function configOf(values: Values): Config {
  const config = loadConfig({ ...(values.config !== undefined && { file: values.config }), env: process.env })
  if (values.data === undefined) return config
  return { ...config, process: { ...config.process, data_dir: values.data } }
}

async function readHistory(
  values: Values,
  path: string,
  { policy }: Config,
  catalogue: CompiledCatalogue,
): Promise<Script> {
  const nowMs = systemClock.nowMs()
  const columns = parseColumns(values.columns ?? '')
  const delay = values['label-delay']
  const { schema } = policy
  const by = { labels: compileLabels(schema, LIMITS), schema, nowMs }
  const labels =
    values.labels === undefined
      ? null
      : await readLabels({
          ...{ path: values.labels, schema, labelsMax: LIMITS.buildLabelsMax },
          columns: parseColumns(values['label-columns'] ?? ''),
          check: (label, place) => checkLabel(label, place, by),
        })
  const named = catalogue.labelled && catalogue.labelDelayMs === 0 ? null : catalogue.labelDelayMs
  return prepareScript(
    {
      ...{ name: path, labels, schema, chunks: readChunks({ path, columns }, policy), nowMs },
      validator: compileTransaction(policy, LIMITS),
      labelDelayMs: delay === undefined ? named : durationOf(delay, '--label-delay'),
      fromMs: values.from === undefined ? -Infinity : timeOption(values.from, '--from'),
      untilMs: values.until === undefined ? Infinity : timeOption(values.until, '--until'),
      gapMsMax: durationOf(values['gap-max'], '--gap-max'),
    },
    LIMITS,
  )
}

function durationOf(text = GAP_MAX, name: string): number {
  const ms = parseDuration(text)
  if (ms === null) throw new AssayError('ASSAY_USAGE', `${name}: a duration such as 12h or 7d`)
  return ms
}

/** No server is named, and none holds the directory. Throws ASSAY_USAGE where its windows are not its own. */
async function isForDirectory({ url, operations }: Values, config: Config): Promise<boolean> {
  if (url !== undefined || operations !== undefined || (await isLocked(logDirectoryOf(config)))) return false
  if (config.process.state.kind === 'memory') return true
  throw new AssayError('ASSAY_USAGE', 'windows that servers share are filled through one that runs: --url URL')
}

/** What a server makes ready before it opens its log. */
interface AtRest {
  readonly base: Base
  readonly prepared: Promise<Prepared>
  close(): Promise<void>
}

function prepareAtRest(config: Config): AtRest {
  const base = createBase(config, { logger: loggerOf(config) })
  const prepared = prepareState(config, base, { isBeside: false })
  // Whoever waits for it hears of it.
  prepared.catch(() => undefined)
  return {
    ...{ base, prepared },
    async close() {
      await prepared.then(
        (state) => state.close(),
        () => undefined,
      )
      base.fixed.metrics.close()
    },
  }
}

/** To the server that is named or that holds the directory, else into the directory. */
async function send(config: Config, values: Values, preparing: AtRest | null, run: Run): Promise<ImportReport> {
  if (preparing === null) return run(running(config, values))
  try {
    return await atRest(config, preparing, run)
  } catch (error) {
    if (!(error instanceof AssayError && error.code === 'ASSAY_LOG_LOCKED')) throw error
    process.stderr.write('a server holds the data directory: the history goes there\n')
    return run(running(config, values))
  }
}

function running(config: Config, values: Values): HistoryTarget {
  const { http, operations } = config.process
  const key = values['key-file']
  return overHttp({
    url: new URL(values.url ?? originOf(http, http.port)).origin,
    key: key === undefined ? null : readKey(key),
    operations: createOperationsClient(
      { url: values.operations ?? originOf(operations, operations.port), tokenFile: values['token-file'] },
      process.env,
    ),
    policy: config.policy,
    limits: LIMITS,
  })
}

function readKey(path: string): string {
  try {
    return readFileSync(path, 'utf8').trim()
  } catch (cause) {
    throw new AssayError('ASSAY_INPUT_INVALID', `the key file ${path} cannot be read`, { cause })
  }
}

/** Opens log and state as a server does, and ends them as its drain does. */
async function atRest(config: Config, preparing: AtRest, run: Run): Promise<ImportReport> {
  const { base } = preparing
  const state = await openAtRest(config, preparing)
  const server = join(base, state)
  const target = intoLog(heldOf(server), 'history imported')
  try {
    const report = await run(target)
    await state.log.close(LOG_CLOSE_MS)
    if (report.imported > 0) await keepState(config, server)
    return report
  } finally {
    target.close()
    server.assembly.close()
    await state.log.close(LOG_CLOSE_MS)
    server.control.close()
    await state.loaded.close()
    base.fixed.metrics.close()
  }
}

async function openAtRest(config: Config, preparing: AtRest): Promise<OpenState> {
  try {
    return await openState(config, preparing.base, { prepared: await preparing.prepared })
  } catch (error) {
    await preparing.close()
    throw error
  }
}

/** A snapshot, so that the next start does not fold all of it again. */
async function keepState(config: Config, { base, state: { log, folded }, order }: Running): Promise<void> {
  const { logId, epoch } = log
  folded.fold.advance({ epoch, ordinal: order.last(), ms: order.nowMs() })
  folded.position = { logId, epoch, sequence: log.durableSequence() }
  await writeSnapshot(config.process.data_dir, base.fixed, folded)
}

function describe(report: ImportReport, { policy }: Config): string {
  const { transactions, from, until, imported, known, done, refused, labels, ms, windows } = report
  const before = known + done
  const behindMs = systemClock.nowMs() - Date.parse(until)
  const span = ({ feature, warm_from: from }: ImportReport['windows']['cold'][number]): string =>
    `  ${feature} from ${from ?? 'the first transaction on'}\n`
  return [
    `${transactions} transactions from ${from} to ${until}\n`,
    `imported   ${imported} transactions and ${labels} labels in ${(ms / 1_000).toFixed(1)} s\n`,
    `known      ${before} transactions, observed or decided before: not folded again\n`,
    `refused    ${refused}\n`,
    `full       ${windows.full.length === 0 ? 'no window' : windows.full.join(', ')}\n`,
    `cold       ${windows.cold.length === 0 ? 'no window\n' : `\n${windows.cold.map(span).join('')}`}`,
    policy.clock === 'live' && behindMs > 2 * 86_400_000
      ? `The history ends ${Math.floor(behindMs / 86_400_000)} days ago: what happened since is in no window.\n`
      : '',
  ].join('')
}

function parse(args: readonly string[]) {
  const [one, flag] = [{ type: 'string' }, { type: 'boolean' }] as const
  const options = {
    ...{ in: one, columns: one, labels: one, 'label-columns': one, 'label-delay': one, from: one, until: one },
    ...{ 'gap-max': one, config: one, data: one, url: one, operations: one, 'key-file': one, 'token-file': one },
    ...{ json: flag, help: { ...flag, short: 'h' } },
  } as const
  try {
    return parseArgs({ args: [...args], options, allowPositionals: true })
  } catch (cause) {
    throw new AssayError('ASSAY_USAGE', cause instanceof Error ? cause.message : String(cause), { cause })
  }
}
