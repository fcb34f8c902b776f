// A server whose old segments left the log: it starts, answers repeats as before and computes the same vectors, and the
// tools say what they lack. The clock of the server stands forty days back while the first half is decided, so that the
// longest window of the reference catalogue has passed.
import { cpSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { CLI } from '../../bench/server.js'
import { type Config, loadConfig } from '../../src/config.js'
import { firstSequenceOf } from '../../src/decision-log/chain.js'
import { createDisk } from '../../src/decision-log/disk.js'
import { openLogReader, type Position } from '../../src/decision-log/reader.js'
import { storeDirectory, writeReaderPosition } from '../../src/decision-log/reader-position.js'
import { SNAPSHOTS_FOLDER, snapshotName } from '../../src/decision-log/snapshot-files.js'
import { keepMs, pruneLog } from '../../src/scoring/log-prune.js'
import { verifyReplay } from '../../src/scoring/verify-replay.js'
import { child } from '../governance/child.js'
import { openWriter } from '../governance/written-log.js'
import { readLog, type Rig, startRig, until } from './server-rig.js'

// Four starts of a whole server.
t.setTimeout(300_000)

const DAY_MS = 86_400_000
const EACH = 340
const limits = { segmentBytes: 64 << 10 }
const folder = mkdtempSync(join(tmpdir(), 'assay-prune-'))
t.teardown(() => rmSync(folder, { recursive: true, force: true }))

const logOf = (dataDir: string): string => join(dataDir, 'decision-log')
const configOf = (dataDir: string): Config => loadConfig({ env: { ASSAY_DATA_DIR: dataDir } })

function startOn(dataDir: string, clock: { aheadMs: number }): Promise<Rig> {
  return startRig({
    ...{ dataDir, limits },
    clock: { nowMs: () => Date.now() + clock.aheadMs, monoMs: () => performance.now() },
    // What is answered is asked, not how fast it is on a busy machine.
    edit: ({ policy }) => void (policy.budgets = { deadline_ms: 1_000, log_wait_ms: 10_000 }),
  })
}

const transaction = (id: string, number: number, atMs: number): object => ({
  ...{ transaction_id: id, occurred_at: new Date(atMs).toISOString(), customer_id: `c${number % 5}` },
  ...{ amount_minor: 1_000 + 37 * number, currency: 'EUR' },
})

/** Scores one after the other; decision ids by transaction id. */
async function scoreAll(t: Test, rig: Rig, transactions: readonly object[]): Promise<string[]> {
  const ids: string[] = []
  for (const one of transactions) {
    let answer = await rig.score(one)
    await until(async () => answer.status !== 503 || (answer = await rig.score(one)).status !== 503, 'an answer')
    if (answer.status !== 200) t.fail(answer.text)
    ids.push(answer.body.decision_id)
  }
  return ids
}

function lastPosition(dataDir: string): Position {
  const reader = openLogReader(logOf(dataDir))
  reader.read({ onRecord: () => undefined })
  const position = reader.position()
  reader.close()
  if (position === null) throw new Error('the log is empty')
  return position
}

/** Says that sidecar and two snapshots have come so far. */
function coverUpTo(dataDir: string, position: Position): void {
  writeReaderPosition(storeDirectory(configOf(dataDir)), position)
  mkdirSync(join(dataDir, SNAPSHOTS_FOLDER), { recursive: true })
  for (const back of [0, 1]) {
    const place = { epoch: position.epoch, sequence: position.sequence - back }
    writeFileSync(join(dataDir, SNAPSHOTS_FOLDER, snapshotName(place)), '')
  }
}

const later = (): number => Date.now() + 60 * DAY_MS

void t.test('a pruned log answers as the whole one does', async (t) => {
  const whole = join(folder, 'whole')
  const clock = { aheadMs: -40 * DAY_MS }
  const rig = await startOn(whole, clock)
  const oldMs = Date.now() - 40 * DAY_MS
  const old = Array.from({ length: EACH }, (_, i) => transaction(`old-${i}`, i, oldMs + i))
  const oldIds = await scoreAll(t, rig, old)
  clock.aheadMs = 0
  const newMs = Date.now()
  const recent = Array.from({ length: EACH }, (_, i) => transaction(`new-${i}`, i, newMs - 60_000 + i))
  const ids = await scoreAll(t, rig, recent)
  const status = (await rig.operations('/v1/status')).body.decision_log
  t.ok(status.hours_left > 0, 'hours are left')
  t.match(status, { droppedRecords: 0, droppedSegments: 0 })
  t.equal((await rig.metric('assay_log_dropped_records_total')).get(''), 0)
  await rig.stop()
  const end = lastPosition(whole)
  const lastOld = { ...end, sequence: EACH }

  const [pruned, tooFar] = [join(folder, 'pruned'), join(folder, 'too-far')]
  for (const copy of [pruned, tooFar]) cpSync(whole, copy, { recursive: true })
  await t.test('nothing goes while anything is missing', async (t) => {
    const none = { segments: 0 }
    t.match(await pruneLog(configOf(pruned), undefined, later), none, 'no sidecar has ever run')
    coverUpTo(pruned, lastOld)
    const [newest = ''] = readdirSync(join(pruned, SNAPSHOTS_FOLDER)).sort().reverse()
    rmSync(join(pruned, SNAPSHOTS_FOLDER, newest))
    t.match(await pruneLog(configOf(pruned), undefined, later), none, 'one snapshot is not enough')
    coverUpTo(pruned, lastOld)
    const soon = (): number => Date.now() + keepMs(configOf(pruned)) - 60_000
    t.match(await pruneLog(configOf(pruned), undefined, soon), none, 'the longest window has not passed')
    const env = { ASSAY_DATA_DIR: pruned, ASSAY_POLICY__IDEMPOTENCY__WINDOW_MS: String(90 * DAY_MS) }
    t.match(await pruneLog(loadConfig({ env }), undefined, later), none, 'the idempotency window has not passed')
    t.notOk(readdirSync(pruned).includes('archive'))
  })

  const moved = await pruneLog(configOf(pruned), undefined, later)
  t.ok(moved.segments > 1 && moved.records > 20 && moved.records <= EACH, JSON.stringify(moved))
  t.equal(firstSequenceOf(createDisk(logOf(pruned))), moved.records + 1)
  t.equal(readdirSync(join(pruned, 'archive')).length, moved.segments)
  coverUpTo(tooFar, end)
  t.ok((await pruneLog(configOf(tooFar), undefined, later)).records > EACH)

  const askedMs = Date.now()
  const probes = Array.from({ length: 20 }, (_, i) => transaction(`probe-${i}`, i, askedMs + i))
  const vectors: string[][] = []
  for (const dataDir of [whole, pruned, tooFar]) {
    const again = await startOn(dataDir, clock)
    if (dataDir !== tooFar) t.same(await scoreAll(t, again, recent.slice(0, 40)), ids.slice(0, 40), 'repeats')
    await scoreAll(t, again, probes)
    t.equal(again.events.filter(({ name }) => name === 'LogRecovered').length, 0, 'a log that begins later is whole')
    await again.stop()
    const { decisions } = await readLog(logOf(dataDir))
    const own = decisions.filter(({ personal }) => personal.transaction.transactionId.startsWith('probe-'))
    vectors.push(own.map(({ personal }) => Buffer.from(personal.vector).toString('hex')))
  }
  t.equal(vectors[0]?.length, probes.length)
  t.same(vectors[1], vectors[0], 'the same features')
  t.notSame(vectors[2], vectors[0], 'which they are not where younger segments went')
  await tools(t, pruned, { old: oldIds[0] ?? '', recent: ids[EACH - 1] ?? '', first: moved.records + 1 })
})

void t.test(
  'a vector whose windows do not reach back to what left the log is still a fault where it differs',
  async (t) => {
    for (const [days, result] of [
      [0, 'unrecomputable'],
      [60, 'unexplained'],
    ] as const) {
      const directory = join(folder, result)
      const writer = await openWriter(directory, {
        segmentBytes: limits.segmentBytes,
        startMs: Date.now() + days * DAY_MS,
      })
      await writer.decisions(300)
      await writer.close()
      const [first = ''] = readdirSync(directory).filter((name) => name.endsWith('.segment'))
      rmSync(join(directory, first))
      const report = await verifyReplay(directory)
      // The writer draws its vectors.
      t.ok(report.compared > 50 && report[result] === report.compared, JSON.stringify(report).slice(0, 200))
    }
  },
)

async function tools(t: Test, dataDir: string, known: { old: string; recent: string; first: number }): Promise<void> {
  const run = async (...args: string[]): Promise<{ code: number | null; output: string }> => {
    const command = child(t, process.execPath, [CLI, ...args, '--data', dataDir], {})
    const code = await command.exited
    return { code, output: command.output() }
  }
  const begins = new RegExp(`begins with sequence ${known.first}`)
  const replay = await verifyReplay(logOf(dataDir))
  t.match(replay, { unexplained: 0, gaps: [], begins: { sequence: known.first } })
  const verified = await run('log', 'verify', '--replay')
  t.match(verified, { code: 0, output: /segments, whole/ })
  t.match(verified.output, begins)
  t.match((await run('log', 'cat', '--limit', '1')).output, begins)
  t.match(await run('decision', 'verify', known.recent), { code: 0 })
  const gone = await run('decision', 'verify', known.old)
  t.match(gone, { code: 1, output: /ASSAY_INPUT_INVALID.*holds no such decision/ })
  t.match(gone.output, begins)
  t.match(await run('log', 'prune'), { code: 0, output: /^0 segments archived.*the sidecar has not read it/s })
  coverUpTo(dataDir, lastPosition(dataDir))
  t.match(await run('log', 'prune', '--dry-run'), { code: 0, output: /0 segments would go.*it is too young/s })
  t.match(await run('log', 'prune', '--json'), { code: 0, output: /"segments":0,.*"dry_run":false/ })
  t.match(await run('log', 'prune', 'now'), { code: 2, output: /ASSAY_USAGE/ })
  const empty = child(t, process.execPath, [CLI, 'log', 'prune', '--data', join(folder, 'none')], {})
  t.equal(await empty.exited, 1)
  t.match(empty.output(), /ASSAY_INPUT_INVALID.*there is no decision log/)
}
