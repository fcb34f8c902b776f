// The sidecar lets go of old segments beside a log that is written, and says so; of what was dropped before it had read
// it, it reports the gap.
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import type { Config } from '../../src/config.js'
import { firstSequenceOf } from '../../src/decision-log/chain.js'
import { createDisk } from '../../src/decision-log/disk.js'
import { READER_POSITION_NAME, readReaderPosition } from '../../src/decision-log/reader-position.js'
import { SNAPSHOTS_FOLDER, snapshotName } from '../../src/decision-log/snapshot-files.js'
import { verifyLog } from '../../src/decision-log/verify.js'
import type { GovernDeps } from '../../src/govern.js'
import { removeStore } from '../../src/governance/store/open.js'
import { LIMITS } from '../../src/limits.js'
import { pruneLog } from '../../src/scoring/log-prune.js'
import { until } from '../flow/server-rig.js'
import { folder, reached, startSidecar } from './govern-rig.js'
import { openWriter } from './written-log.js'

t.setTimeout(100_000)

const QUICK = { ...LIMITS, pruneMs: 5, tailGatherMs: 1, tailPollMsMax: 5, governRetryMs: 5, governRetryMsMax: 50 }
const DAY_MS = 86_400_000
const segmentBytes = 64 << 10

/** Prunes as if sixty days had passed; counts its runs. */
function pruning(): { runs: number; deps: Partial<GovernDeps> } {
  const counted = { runs: 0, deps: {} }
  const prune = async (config: Config, rest: () => Promise<void>) => {
    const pruned = await pruneLog(config, rest, () => Date.now() + 60 * DAY_MS)
    counted.runs++
    return pruned
  }
  counted.deps = { prune, limits: QUICK }
  return counted
}

function snapshotAt(dataDir: string, sequence: number): void {
  mkdirSync(join(dataDir, SNAPSHOTS_FOLDER), { recursive: true })
  writeFileSync(join(dataDir, SNAPSHOTS_FOLDER, snapshotName({ epoch: 1, sequence })), '')
}

const lookAgain = async (counted: { runs: number }): Promise<void> => {
  const { runs } = counted
  await until(() => counted.runs >= runs + 2, 'two more looks')
}

void t.test('the sidecar archives what it has read while the server writes on', async (t: Test) => {
  const dataDir = folder(t)
  const logDir = join(dataDir, 'decision-log')
  const store = join(dataDir, 'governance')
  const writer = await openWriter(logDir, { segmentBytes })
  await writer.decisions(600)
  await writer.synced()
  const counted = pruning()
  const sidecar = await startSidecar(t, dataDir, counted.deps)
  await reached(sidecar, 600)
  await lookAgain(counted)
  t.equal(readReaderPosition(store)?.sequence, 600, 'how far it is stands beside the store')
  snapshotAt(dataDir, 550)
  await lookAgain(counted)
  t.notOk(existsSync(join(dataDir, 'archive')), 'one snapshot is not enough')

  snapshotAt(dataDir, 600)
  await until(() => sidecar.events.some(({ name }) => name === 'SegmentsArchived'), 'segments are archived')
  const [event] = sidecar.events.filter(({ name }) => name === 'SegmentsArchived')
  const first = firstSequenceOf(createDisk(logDir)) ?? 0
  t.ok(first > 100 && first <= 551, `the log begins with ${first}: the second-newest snapshot covers 550`)
  t.match(event?.fields, { records: first - 1, segments: readdirSync(join(dataDir, 'archive')).length, removed: 0 })
  await writer.decisions(200)
  await writer.synced()
  await reached(sidecar, 800)
  await writer.close()
  t.notOk(verifyLog(logDir).damaged)
  t.equal(sidecar.facts().damageTotal, 0, 'and no gap for whoever had read it')
  await sidecar.close(5_000)
  t.equal(readReaderPosition(store)?.sequence, 800, 'written at the end too')

  await t.test('a rebuild begins where the log does, without damage', async (t) => {
    removeStore(store)
    t.equal(readReaderPosition(store), null, 'what a lost store had read counts no more')
    const again = await startSidecar(t, dataDir)
    await reached(again, 800)
    t.match(again.facts(), { damageTotal: 0, recordsTotal: 801 - first })
    const rows = await again.queries()?.select('SELECT kind, detail FROM findings')
    t.match(rows, [{ kind: 'begins_later', detail: `the log begins with sequence ${first}` }])
    await again.close(5_000)
  })
})

void t.test('what cannot be archived is told and stays; what was dropped unread is a gap', async (t) => {
  const dataDir = folder(t)
  const logDir = join(dataDir, 'decision-log')
  const writer = await openWriter(logDir, { segmentBytes })
  await writer.decisions(300)
  await writer.close()
  for (const sequence of [299, 300]) snapshotAt(dataDir, sequence)
  writeFileSync(join(dataDir, 'archive'), 'no directory')
  const before = readdirSync(logDir)
  const sidecar = await startSidecar(t, dataDir, pruning().deps)
  await reached(sidecar, 300)
  const failures = () => sidecar.events.filter(({ name }) => name === 'ArchiveFailed')
  await until(() => failures().length > 1, 'it is tried again')
  t.match(failures()[0]?.fields.error, { code: 'ASSAY_LOG_IO' })
  t.same(readdirSync(logDir), before)
  t.equal(sidecar.facts().state, 'reading')
  await sidecar.close(5_000)

  const more = await openWriter(logDir, { segmentBytes, ordinal: 301 })
  await more.decisions(300)
  await more.close()
  const first = (): number => firstSequenceOf(createDisk(logDir)) ?? 0
  const oldest = (): string =>
    readdirSync(logDir)
      .filter((name) => name.endsWith('.segment'))
      .sort()[0] ?? ''
  while (first() <= 301) rmSync(join(logDir, oldest()))
  const again = await startSidecar(t, dataDir)
  await reached(again, 600)
  const rows = await again.queries()?.select(`SELECT detail, damage FROM findings WHERE kind = 'gap'`)
  t.same(rows, [{ detail: `sequences 301 to ${first() - 1} are missing`, damage: true }])
  await again.close(5_000)
})

void t.test('a position that cannot be read is none', (t) => {
  const directory = t.testdir({ [READER_POSITION_NAME]: '{"log_id":"aa","epoch":1' })
  t.equal(readReaderPosition(directory), null)
  writeFileSync(join(directory, READER_POSITION_NAME), '{"log_id":"aa","epoch":1,"sequence":"7"}')
  t.equal(readReaderPosition(directory), null)
  writeFileSync(join(directory, READER_POSITION_NAME), '{"log_id":"aa","epoch":1,"sequence":7}')
  t.match(readReaderPosition(directory), { epoch: 1, sequence: 7 })
  t.match(readFileSync(join(directory, READER_POSITION_NAME), 'utf8'), 'aa')
  t.end()
})
