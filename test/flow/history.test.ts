// History imported into a server: killed in the middle and taken up again, folded once, and then the windows are those
// of `features build`; into a server that runs; and simulated, where there is none.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { CLI } from '../../bench/server.js'
import { compileTransaction } from '../../src/contract/validate.js'
import { readHead } from '../../src/decision-log/chain.js'
import { createDisk } from '../../src/decision-log/disk.js'
import { buildFeatures } from '../../src/features/replay.js'
import { chunksOf } from '../../src/features/row-chunks.js'
import { LIMITS } from '../../src/limits.js'
import { systemClock } from '../../src/runtime/clock.js'
import { importHistory, type ImportReport } from '../../src/scoring/history/import.js'
import { overHttp } from '../../src/scoring/history/over-http.js'
import { prepareScript, type Script } from '../../src/scoring/history/script.js'
import { compileCatalogue } from '../../src/features/compile.js'
import { createOperationsClient } from '../../src/scoring/operations-client.js'
import { verifyReplay } from '../../src/scoring/verify-replay.js'
import { createSimulator, type SimulatedTransaction } from '../../src/simulate/generator.js'
import { simulateHistory } from '../../src/simulate/history.js'
import { child } from '../governance/child.js'
import { POLICY_FILE } from '../reference-policy.js'
import { stepsApart } from './handbook-slice.js'
import { answer, type Edit, readLog, type Rig, startRig, until } from './server-rig.js'

t.setTimeout(300_000)

const DAY_MS = 86_400_000
const HISTORY_DAYS = 45
/** Payments after the history, scored over HTTP. */
const SCORED = 150
const POPULATION = { seed: 7, customers: 200, terminals: 200 }
/** A busy machine must not turn an answer into a 503: what is tested here is not time. */
const patient: Edit = ({ policy }) => {
  policy.budgets = { deadline_ms: 5_000, log_wait_ms: 20_000 }
}

function folderOf(t: Test): string {
  const folder = mkdtempSync(join(tmpdir(), 'assay-history-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

/** The stream as it comes: history up to a midnight, and what follows it. */
function simulated(): { history: SimulatedTransaction[]; after: SimulatedTransaction[]; untilMs: number } {
  const startMs = Math.floor(Date.now() / DAY_MS) * DAY_MS - (HISTORY_DAYS + 1) * DAY_MS
  const untilMs = startMs + HISTORY_DAYS * DAY_MS
  const simulator = createSimulator({ ...POPULATION, startMs })
  const history: SimulatedTransaction[] = []
  const after: SimulatedTransaction[] = []
  while (after.length < SCORED) {
    const next = simulator.next()
    if (next.occurredAtMs < untilMs) history.push(next)
    else after.push(next)
  }
  return { history, after, untilMs }
}

function writeRows(path: string, rows: readonly SimulatedTransaction[]): void {
  writeFileSync(path, rows.map(({ wire, fraud }) => `${JSON.stringify({ ...wire, fraud })}\n`).join(''))
}

async function importFile(
  t: Test,
  folder: string,
  path: string,
): Promise<{ code: number | null; report: ImportReport }> {
  const run = child(t, process.execPath, [CLI, 'history', 'import', '--in', path, '--json'], { ASSAY_DATA_DIR: folder })
  const code = await run.exited
  const line =
    run
      .output()
      .split('\n')
      .find((one) => one.startsWith('{"imported"')) ?? '{}'
  return { code, report: JSON.parse(line) as ImportReport }
}

void t.test('an import that is killed goes on, folds nothing twice, and fills the windows', async (t) => {
  const folder = folderOf(t)
  const dataDir = join(folder, 'data')
  const logDir = join(dataDir, 'decision-log')
  const [file, whole] = ['history.jsonl', 'whole.jsonl'].map((name) => join(folder, name))
  const { history, after } = simulated()
  writeRows(file, history)
  writeRows(whole, [...history, ...after])

  const killed = child(t, process.execPath, [CLI, 'history', 'import', '--in', file], { ASSAY_DATA_DIR: dataDir })
  const synced = (): number => readHead(createDisk(logDir)).head?.syncedSequence ?? 0
  await until(
    () => {
      if (killed.process.exitCode !== null) throw new Error(killed.output())
      try {
        return synced() > history.length / 8
      } catch {
        return false
      }
    },
    'a part of the import',
    { msMax: 120_000, everyMs: 5 },
  )
  killed.process.kill('SIGKILL')
  await killed.exited

  const { code, report } = await importFile(t, dataDir, file)
  t.equal(code, 0)
  t.match(report, { transactions: history.length, known: 0, refused: 0, windows: { cold: [] } })
  t.ok(report.done > 0 && report.done < history.length, `${report.done} of ${history.length} were there`)
  t.equal(report.done + report.imported, history.length)
  const again = await importFile(t, dataDir, file)
  t.match(again.report, { imported: 0, labels: 0, done: history.length, known: 0 })

  const rig = await startRig({ dataDir, edit: patient })
  t.teardown(() => rig.stop())
  t.match(rig.events.find(({ name }) => name === 'LogReplayed')?.fields, { transactions: 0 }, 'a snapshot was left')
  for (const { wire } of after) {
    const scored = await rig.score(wire)
    t.match(scored, { status: 200 })
    t.notOk(scored.body.features?.includes('cold'), 'nothing is cold')
  }
  await rig.stop()
  const { decisions } = await readLog(logDir)
  t.equal(decisions.length, history.length + after.length)
  t.equal(
    new Set(decisions.map(({ personal }) => personal.transaction.transactionId)).size,
    decisions.length,
    'once each',
  )
  t.same(await farFromBuild(folder, whole, decisions.slice(-SCORED)), [])
  const replay = await verifyReplay(logDir)
  t.match(replay, { compared: decisions.length, equal: decisions.length, unexplained: 0 })
})

/** Logged vectors that are not those of `features build`, in float32. */
async function farFromBuild(
  folder: string,
  input: string,
  decisions: Awaited<ReturnType<typeof readLog>>['decisions'],
): Promise<string[]> {
  const out = join(folder, 'features.csv')
  const none = { labels: null, columns: new Map(), labelColumns: new Map(), labelDelayMs: null }
  await buildFeatures({ spec: POLICY_FILE, input, out, ...none, fromMs: -Infinity, untilMs: Infinity }, LIMITS)
  const built = new Map(
    readFileSync(out, 'utf8')
      .split('\n')
      .map((line) => [line.slice(0, line.indexOf(',')), line.split(',').slice(1)]),
  )
  return decisions.flatMap(({ personal: { transaction, vector } }) => {
    const wanted = built.get(transaction.transactionId) ?? []
    const logged = new Float32Array(vector.buffer, 0, vector.byteLength / 4)
    const far = [...logged].flatMap((value, at) => {
      const number = wanted[at] === '' ? NaN : Number(wanted[at])
      const isEqual = Number.isNaN(number) ? Number.isNaN(value) : stepsApart(value, number) <= 1
      return isEqual ? [] : [`${transaction.transactionId}: ${value}, built ${wanted[at]}`]
    })
    return far
  })
}

const DAYS = { ...POPULATION, customers: 40, days: 40 }

/** History that ends so long ago, of other payments for each prefix. */
async function scriptOf(rig: Rig, endedMs: number, idPrefix: string): Promise<Script> {
  const nowMs = Date.now() - endedMs
  return prepareScript(
    {
      ...{ name: idPrefix, chunks: chunksOf([simulateHistory({ ...DAYS, nowMs, idPrefix })]), labels: null },
      validator: compileTransaction(rig.config.policy, LIMITS),
      schema: rig.config.policy.schema,
      ...{ labelDelayMs: 7 * DAY_MS, fromMs: -Infinity, untilMs: Infinity, gapMsMax: DAY_MS, nowMs: Date.now() },
    },
    LIMITS,
  )
}

function send(rig: Rig, script: Script): Promise<ImportReport> {
  const { policy } = rig.config
  const target = overHttp({
    ...{ url: rig.server.scoreUrl, key: null, policy, limits: LIMITS },
    operations: createOperationsClient({ url: rig.server.operationsUrl }, {}),
  })
  const catalogue = compileCatalogue(policy.catalogue, policy.schema, policy.currencies)
  return importHistory(script, target, {
    ...{ clock: systemClock, catalogue, gapMsMax: DAY_MS },
    onProgress: () => undefined,
  })
}

void t.test('a running server takes history in, and says what it has observed', async (t) => {
  const rig = await startRig({ edit: patient })
  t.teardown(() => rig.remove())
  const body = { amount_minor: 100, currency: 'EUR', customer_id: 'c1', terminal_id: 't1' }
  const pay = (id: string) => rig.score({ ...body, transaction_id: id, occurred_at: new Date().toISOString() })
  t.match((await pay('live-1')).body, { features: ['cold'] })
  const [history, overlapping, distant] = await Promise.all([
    scriptOf(rig, 3_600_000, 'h'),
    scriptOf(rig, 0, 'o'),
    scriptOf(rig, 3 * DAY_MS, 'd'),
  ])
  for (const script of [history, overlapping, distant]) t.teardown(() => script.close())
  const refused = { code: 'ASSAY_INPUT_INVALID' }
  await t.rejects(send(rig, distant), { ...refused, message: /^a gap: nothing is known of the time between/ })
  const before = (await rig.operations('/v1/status')).body
  t.equal(before.features.events, 2, 'nothing was taken of what is refused')

  const report = await send(rig, history)
  t.match(report, { imported: history.transactions, known: 0, refused: 0, done: 0, windows: { cold: [] } })
  t.match(await send(rig, history), { imported: 0, done: history.transactions, labels: 0 })
  t.notOk((await pay('live-2')).body.features?.includes('cold'), 'what was cold is warm')
  const { features, streams } = (await rig.operations('/v1/status')).body
  t.equal(features.observed_since, report.from)
  t.same(features.cold, [])
  t.match(streams[0], { topic: 'history', topic_id: history.source, bound: history.transactions + 1 })
  t.match((await rig.operations('/v1/audit')).body.controls[0], { kind: 'history', actor: 'local' })
  await t.rejects(send(rig, overlapping), { ...refused, message: /has observed payments .* itself: --until/ })

  const repeated = await rig.send(
    '/v1/score/batch',
    { transactions: [{ ...body, transaction_id: 'other', occurred_at: new Date().toISOString() }] },
    { 'assay-mode': 'observe', 'assay-history': `${history.source}/5` },
  )
  t.match(repeated.body, [{ status: 404, body: { code: 'ASSAY_DECISION_UNKNOWN' } }], 'a place is taken once')
  const bad = await rig.send('/v1/score/batch', {}, { 'assay-mode': 'observe', 'assay-history': 'x' })
  t.match(bad, { status: 400, body: { code: 'ASSAY_HEADER_INVALID' } })
  await rig.stop()
  const replay = await verifyReplay(rig.logDir)
  t.match(replay, { compared: history.transactions + 2, unexplained: 0, unrecomputable: 0 })
  t.equal((await readLog(rig.logDir)).labels.length, report.labels)

  const file = join(folderOf(t), 'same.jsonl')
  const lines: string[] = []
  await history.read((isLabel, bytes) => void (isLabel ? undefined : lines.push(`${bytes.toString()}\n`)))
  writeFileSync(file, lines.join(''))
  const atRest = await importFile(t, rig.dataDir, file)
  t.match(atRest.report, { imported: 0, done: history.transactions }, 'nor again at rest, from a file')
})

void t.test('a server under another policy is told nothing', async (t) => {
  const rig = await startRig({ edit: patient })
  t.teardown(() => rig.remove())
  const script = await scriptOf(rig, 3_600_000, 'h')
  t.teardown(() => script.close())
  const other = { ...rig, config: structuredClone(rig.config) }
  other.config.policy.currencies.list.USD = { exponent: 2, rate: 0.9 }
  await t.rejects(send(other, script), { code: 'ASSAY_CONFIG_INVALID' })
})

void t.test('`assay up` on an empty directory begins with simulated history, and says so', async (t) => {
  const folder = folderOf(t)
  const up = child(t, process.execPath, [CLI, 'up'], {
    ...{ ASSAY_DATA_DIR: folder, ASSAY_CONFIG: '', ASSAY_PROCESS__GOVERNANCE__PORT: '0' },
    ...{ ASSAY_PROCESS__HTTP__PORT: '0', ASSAY_PROCESS__OPERATIONS__PORT: '0' },
  })
  await until(() => up.output().includes('"try"'), 'the server', { msMax: 120_000 })
  const line = up
    .output()
    .split('\n')
    .find((one) => one.includes('"event":"HistoryImported"'))
  t.match(JSON.parse(line ?? '{}'), { reason: /^simulated: .*--no-history/ })
  const ready = up
    .output()
    .split('\n')
    .find((one) => one.startsWith('{"score"'))
  const { operations } = JSON.parse(ready ?? '{}') as { operations: string }
  const { features, routes } = (await answer(fetch(`${operations}/v1/status`))).body
  t.same(features.cold, [])
  t.equal(routes.revision, 0, 'who answers is as it was')
  up.process.kill('SIGTERM')
  t.equal(await up.exited, 0)
})
