// Old segments leave the log for the archive: each condition keeps them, no crash loses one, and what was archived is
// the log again.
import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { type Archiving, archiveSegment, removeArchived } from '../../src/decision-log/archive.js'
import { createLogBackup, restoreLog } from '../../src/decision-log/backup.js'
import { firstSequenceOf, readHeader } from '../../src/decision-log/chain.js'
import { createDisk, type Disk } from '../../src/decision-log/disk.js'
import { isDamage } from '../../src/decision-log/finding.js'
import { planPrune, type PruneCover, prune } from '../../src/decision-log/prune.js'
import { openLogReader } from '../../src/decision-log/reader.js'
import { verifyLog } from '../../src/decision-log/verify.js'
import { endOf, fullCover, mortalDisks, putTogether, segmentsIn, writeSegments } from './prune-rig.js'
import { openSmallLog, readBodies } from './small-log.js'

t.setTimeout(100_000)

let clockMs = 1_000
const nowMs = (): number => clockMs++

function archiving(log: string, archive: string): Archiving {
  mkdirSync(archive, { recursive: true })
  return { log: createDisk(log), archive: createDisk(archive), nowMs, rest: () => Promise.resolve() }
}

async function pruneAll(log: string, archive: string): Promise<number> {
  const at = archiving(log, archive)
  let moved = 0
  await prune(planPrune(at.log, fullCover(log)), at, () => void moved++)
  return moved
}

const firstOf = (log: string, name: string): number => {
  const header = readHeader(createDisk(log), name)
  return typeof header === 'string' ? NaN : header.firstSequence
}

void t.test('each condition by itself keeps a segment', async (t) => {
  const log = t.testdir()
  await writeSegments(log, 70, 30)
  const names = segmentsIn(log)
  t.ok(names.length >= 7, `${names.length} segments`)
  const cover = fullCover(log)
  const plan = (change: Partial<PruneCover> = {}) => planPrune(createDisk(log), { ...cover, ...change })
  const going = (change: Partial<PruneCover> = {}): string[] => plan(change).segments.map(({ name }) => name)

  t.same(going(), names.slice(0, -1), 'all but the newest')
  t.equal(plan().holding, 'it is the newest')
  const total = plan().segments.reduce((sum, { records }) => sum + records, 0)
  t.equal(total, firstOf(log, names.at(-1) ?? '') - 1, 'every record is counted')

  t.match(plan({ reader: null }), { segments: [], holding: 'the sidecar has not read it' })
  const end = endOf(log)
  t.match(plan({ reader: { ...end, logId: Buffer.alloc(8) } }), { segments: [], holding: /sidecar/ }, 'another log')
  const last = firstOf(log, names[2] ?? '') - 1
  t.same(going({ reader: { ...end, epoch: 1, sequence: last } }), names.slice(0, 2), 'the sidecar stands at its end')
  t.same(going({ reader: { ...end, epoch: 1, sequence: last - 1 } }), names.slice(0, 1), 'and one record before it')
  t.match(plan({ reader: { ...end, epoch: 1, sequence: 71 } }), { segments: [] }, 'a power cut took its place back')

  t.match(plan({ snapshot: null }), { segments: [], holding: 'snapshots do not cover it' })
  t.same(going({ snapshot: { epoch: 1, sequence: last } }), names.slice(0, 2))
  t.same(going({ snapshot: { epoch: 1, sequence: last - 1 } }), names.slice(0, 1))
  t.match(plan({ snapshot: { epoch: 1, sequence: 71 } }), { segments: [] })

  t.match(plan({ keepMs: 1e9 }), { segments: [], holding: 'it is too young' })
  const header = readHeader(createDisk(log), names[1] ?? '')
  const sealedMs = typeof header === 'string' ? NaN : header.createdAtMs
  t.ok(going({ nowMs: sealedMs + cover.keepMs }).includes(names[0] ?? ''))
  t.same(going({ nowMs: sealedMs + cover.keepMs - 1 }), [], 'its newest record is as young as the next segment')
})

void t.test('what was archived and what is left are the log again, and each alone is whole', async (t) => {
  const folder = t.testdir()
  const [log, archive] = [path.join(folder, 'log'), path.join(folder, 'archive')]
  await writeSegments(log, 50, 40)
  const whole = readBodies(log)
  const names = segmentsIn(log)
  t.equal(await pruneAll(log, archive), names.length - 1)
  t.same(segmentsIn(log), names.slice(-1))
  t.same(
    readdirSync(archive).sort(),
    names.slice(0, -1).map((name) => `${name}.gz`),
  )
  const pruned = verifyLog(log)
  t.notOk(pruned.damaged)
  t.match(pruned.findings[0], { kind: 'begins_later', detail: `the log begins with sequence ${91 - pruned.records}: ` })
  t.equal(firstSequenceOf(createDisk(log)), 91 - pruned.records)

  const again = putTogether({ log, archive }, path.join(folder, 'again'))
  t.match(verifyLog(again), { damaged: false, records: 90 })
  t.same(readBodies(again).bodies, whole.bodies)
  t.notOk(verifyLog(again).findings.some(({ kind }) => kind === 'begins_later'))

  await writeSegments(log, 40)
  t.equal(endOf(log).sequence, 130, 'a server goes on where it was')
  t.notOk(verifyLog(log).damaged)
  t.ok((await pruneAll(log, archive)) > 1, 'and its segments go later')
  t.match(verifyLog(putTogether({ log, archive }, path.join(folder, 'later'))), { damaged: false, records: 130 })
})

void t.test(
  'a process killed at any call leaves each record in one place at least, and a repeat finishes',
  async (t) => {
    const folder = t.testdir()
    const model = path.join(folder, 'model')
    await writeSegments(model, 35)
    const { bodies } = readBodies(model)
    const names = segmentsIn(model)
    t.ok(names.length >= 3)
    let kills = 0
    for (let at = 1; ; at++) {
      const [log, archive] = [path.join(folder, `${at}/log`), path.join(folder, `${at}/archive`)]
      cpSync(model, log, { recursive: true })
      mkdirSync(archive)
      const plan = planPrune(createDisk(log), fullCover(log))
      const mortal = { ...archiving(log, archive), ...mortalDisks({ log, archive }, at) }
      const killed = await prune(plan, mortal, () => undefined)
        .then(() => false)
        .catch((error: unknown) => error instanceof Error && error.message === 'killed')
      const after = putTogether({ log, archive }, path.join(folder, `${at}/after`))
      t.same(readBodies(after).bodies, bodies, `killed at call ${at}`)
      t.notOk(verifyLog(log).damaged, 'no hole in what is left')
      await pruneAll(log, archive)
      t.same(segmentsIn(log), names.slice(-1))
      const finished = putTogether({ log, archive }, path.join(folder, `${at}/finished`))
      t.match(verifyLog(finished), { damaged: false, records: bodies.length })
      if (!killed) break
      kills++
    }
    t.ok(kills >= 7 * (names.length - 1), `${kills} kills`)
  },
)

void t.test('a segment leaves only after the name of its archived file is durable, made now or found', async (t) => {
  const folder = t.testdir()
  const [log, archive] = [path.join(folder, 'log'), path.join(folder, 'archive')]
  await writeSegments(log, 20)
  const [name = ''] = segmentsIn(log)
  const at = archiving(log, archive)
  const segment = readFileSync(path.join(log, name))
  for (const found of [false, true]) {
    writeFileSync(path.join(log, name), segment)
    const calls: string[] = []
    const told = (disk: Disk, of: string): Disk => ({
      ...disk,
      rename: (from, to) => (calls.push(`${of} rename`), disk.rename(from, to)),
      remove: (file) => (calls.push(`${of} remove`), disk.remove(file)),
      syncDirectory: () => (calls.push(`${of} sync`), disk.syncDirectory()),
    })
    await archiveSegment(
      { ...at, log: told(at.log, 'log'), archive: told(at.archive, 'archive') },
      { name, newestMs: 0 },
    )
    t.same(calls, [...(found ? [] : ['archive rename']), 'archive sync', 'log remove', 'log sync'])
  }
})

void t.test('an archived file that is not the segment, or does not read back, costs nothing', async (t) => {
  const folder = t.testdir()
  const [log, archive] = [path.join(folder, 'log'), path.join(folder, 'archive')]
  await writeSegments(log, 40)
  const [name = ''] = segmentsIn(log)
  const at = archiving(log, archive)
  const foreign = path.join(archive, `${name}.gz`)
  writeFileSync(foreign, 'of another log')
  await t.rejects(archiveSegment(at, { name, newestMs: 0 }), { code: 'ASSAY_INPUT_INVALID' })
  t.equal(readFileSync(foreign, 'utf8'), 'of another log')
  rmSync(foreign)
  const read: Disk['read'] = (fd, to, position) => {
    const length = at.archive.read(fd, to, position)
    if (length > 100) to.buffer[to.at + 50] = (to.buffer[to.at + 50] ?? 0) ^ 1
    return length
  }
  const spoiled = { ...at, archive: { ...at.archive, read } }
  await t.rejects(archiveSegment(spoiled, { name, newestMs: 0 }), { code: 'ASSAY_LOG_IO' })
  t.same(readdirSync(archive), [], 'nothing half done is left')
  const ended = { ...at, rest: () => Promise.reject(new Error('the sidecar ends')) }
  await t.rejects(archiveSegment(ended, { name, newestMs: 0 }), { message: 'the sidecar ends' })
  t.same(readdirSync(archive), [])
  t.ok(segmentsIn(log).includes(name))
  t.equal(readBodies(log).bodies.length, 40)
  rmSync(path.join(log, name))
  t.equal(await archiveSegment(at, { name, newestMs: 0 }), false, 'another process was faster')
  t.same(readdirSync(archive), [])
})

void t.test('archived segments leave by the time of their newest record, the oldest first', async (t) => {
  const folder = t.testdir()
  const [log, archive] = [path.join(folder, 'log'), path.join(folder, 'archive')]
  await writeSegments(log, 70)
  const at = archiving(log, archive)
  const [first = '', second = '', third = ''] = segmentsIn(log)
  // The clock had jumped: the second is young, so what follows it waits for it.
  const times = [1_000_500, 9_000_000, 2_000_000]
  for (const [i, name] of [first, second, third].entries()) await archiveSegment(at, { name, newestMs: times[i] ?? 0 })
  const remove = (beforeMs: number, now = 0): number => removeArchived(at.archive, { beforeMs, nowMs: now })
  const hour = 3_600_000
  writeFileSync(path.join(archive, `${first}.gz.${hour}.new`), 'half')
  t.equal(remove(-Infinity), 0, 'kept for ever')
  t.equal(remove(1_001_000), 0, 'its last second is not over')
  t.equal(remove(1_001_001), 1)
  t.equal(remove(8_000_000, 2 * hour), 0, 'nothing behind one that stays')
  t.same(readdirSync(archive), [`${first}.gz.${hour}.new`, `${second}.gz`, `${third}.gz`], 'somebody may write that')
  t.equal(remove(9_000_001, 2 * hour + 1), 2)
  t.same(readdirSync(archive), [])
})

void t.test('who reads while segments leave is told: at rest that the log begins later, live of a gap', async (t) => {
  const folder = t.testdir()
  const at = (name: string): string => path.join(folder, name)
  await writeSegments(at('log'), 70)
  const names = segmentsIn(at('log'))
  const gone = names.slice(1, 3)
  const cases = [
    [false, 'begins_later', false],
    [true, 'gap', true],
  ] as const
  for (const [live, kind, isLoss] of cases) {
    cpSync(at('log'), at(kind), { recursive: true })
    const findings: string[] = []
    let [records, damaged] = [0, false]
    const reader = openLogReader(at(kind), { live })
    const visitor = {
      onRecord: () => void records++,
      onSegment: () => undefined,
      onFinding: (finding: Parameters<typeof isDamage>[0]) => {
        findings.push(finding.kind)
        damaged ||= isDamage(finding)
      },
    }
    reader.read(visitor, 1)
    for (const name of names.slice(0, 3)) rmSync(path.join(at(kind), name))
    reader.read(visitor)
    reader.close()
    t.same(findings, [kind])
    t.equal(damaged, isLoss)
    const lost = firstOf(at('log'), names[3] ?? '') - firstOf(at('log'), gone[0] ?? '')
    t.equal(records, 70 - lost, 'the open one is read to its end, and those that are left')
  }
  const { logId, epoch } = endOf(at('log'))
  const from = { logId, epoch, sequence: firstOf(at('log'), names[3] ?? '') - 1 }
  t.same(readBodies(at('gap'), { live: true, from }).findings, [], 'whoever had read them has nothing to hear')
  const behind = readBodies(at('gap'), { live: true, from: { ...from, sequence: from.sequence - 1 } })
  t.match(behind.findings, [{ kind: 'gap', sequence: from.sequence - 1 }])
})

void t.test('a backup keeps what it had copied, and is refused where what it lacks has left the log', async (t) => {
  const folder = t.testdir()
  const at = (name: string): string => {
    mkdirSync(path.join(folder, name), { recursive: true })
    return path.join(folder, name)
  }
  const log = at('log')
  await writeSegments(log, 50)
  const passTo = (name: string) => createLogBackup(createDisk(log), createDisk(at(name))).pass()
  await passTo('kept')
  await passTo('behind')
  await writeSegments(log, 40)
  await passTo('kept')
  await pruneAll(log, at('archive'))
  await writeSegments(log, 1)
  t.match(await passTo('kept'), { sequence: 91 })
  t.match(verifyLog(at('kept')), { damaged: false, records: 91 })
  await restoreLog(createDisk(at('kept')), createDisk(at('restored')))
  t.equal(readBodies(at('restored')).bodies.length, 91)
  await t.rejects(passTo('behind'), { code: 'ASSAY_BACKUP_REFUSED', message: /was not copied.*empty directory/ })
  t.match(verifyLog(at('behind')), { damaged: false, records: 50 }, 'it is left as it was')
  t.match(await passTo('new'), { sequence: 91 })
  t.notOk(verifyLog(at('new')).damaged)
})

void t.test('under drop_oldest the log goes on at its bound and counts what it dropped', async (t) => {
  const log = t.testdir()
  const told: { segment: string; records: number }[] = []
  const bound = 4 * 64 * 1024
  const onDropped = (one: (typeof told)[0]): void => void told.push(one)
  const options = { diskBytesMax: bound, onFull: 'drop_oldest' as const, onDropped }
  const { log: open, put, until, faults } = await openSmallLog(log, options)
  const reader = openLogReader(log, { live: true })
  const findings: string[] = []
  const visitor = { onRecord: () => undefined, onFinding: ({ kind }: { kind: string }) => void findings.push(kind) }
  for (let i = 1; i <= 200; i++) {
    await until(() => open.reserve())
    open.release()
    put('d'.repeat(3_900))
    open.flush()
    if (i % 5 === 0) await until(() => open.durableSequence() === i)
    if (i === 5) reader.read(visitor)
  }
  t.ok(open.stats().diskBytes <= bound, `${open.stats().diskBytes} bytes`)
  await open.close(5_000)
  // The room for the next segment is made ahead of need, by the thread.
  const { droppedRecords, droppedSegments, failures } = open.stats()
  t.match({ faults, failures }, { faults: [], failures: 0 }, 'nothing was refused')
  const first = firstSequenceOf(createDisk(log)) ?? 0
  t.ok(droppedSegments > 5)
  t.equal(droppedRecords, first - 1, 'every record that is not there was counted')
  t.equal(told.length, droppedSegments)
  t.equal(
    told.reduce((sum, { records }) => sum + records, 0),
    droppedRecords,
  )
  t.equal(told[0]?.segment, '0000000001.segment')
  t.match(verifyLog(log), { damaged: false, records: 200 - droppedRecords })
  reader.read(visitor)
  reader.close()
  t.same(findings, ['gap'], 'a reader that was behind is told')
})
