// The decision log as the server has it: real thread, real files, real failures.
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readdirSync, rmdirSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import t from 'tap'
import { LOCK_NAME } from '../../src/decision-log/lock.js'
import { openLogReader } from '../../src/decision-log/reader.js'
import { verifyLog } from '../../src/decision-log/verify.js'
import { openSmallLog, readBodies } from './small-log.js'

t.setTimeout(100_000)

const faultyThread = new URL('./faulty-thread.js', import.meta.url)

void t.test(
  'what was appended is there after a restart, over segments and epochs, with sequences that go on',
  async (t) => {
    const directory = t.testdir()
    const expected: string[] = []
    for (let epoch = 1; epoch <= 3; epoch++) {
      const { log, put, until } = await openSmallLog(directory)
      t.equal(log.epoch, epoch)
      t.equal(log.recovery.nextSequence, expected.length + 1)
      t.equal(log.recovery.previousEpoch.clean, true)
      for (let i = 0; i < 150; i++) {
        await until(() => log.reserve())
        log.release()
        const body = `${epoch}/${i} ${'x'.repeat(12 * i)}`
        t.equal(put(body), expected.push(body))
        log.flush()
      }
      await until(() => log.durableSequence() === expected.length)
      const stats = log.stats()
      t.match(stats, { appended: 150, durableSequence: expected.length, frames: 150, reserved: 0, failures: 0 })
      t.ok(stats.segments >= 2, `${stats.segments} segments`)
      t.equal(
        stats.syncSeconds.reduce((a, b) => a + b),
        stats.syncs,
      )
      t.equal(
        stats.groupFrames.reduce((a, b) => a + b),
        stats.groups,
      )
      t.ok(log.hoursLeft() > 0)
      await log.close(1_000)
    }
    t.same(readBodies(directory).bodies, expected)
    const verified = verifyLog(directory)
    t.match(verified, { records: 450, damaged: false })
    t.same(
      verified.epochs.map(({ epoch, records }) => [epoch, records]),
      [1, 2, 3].map((n) => [n, { decision: 150 }]),
    )
    t.same(
      verified.findings.map((finding) => finding.kind),
      ['epoch_changed', 'epoch_changed'],
    )
  },
)

void t.test(
  'a live reader sees what is durable, goes on over rotations, and continues from its position',
  async (t) => {
    const directory = t.testdir()
    const { log, put, until } = await openSmallLog(directory)
    const seen: string[] = []
    const visitor = {
      onRecord: (r: { buffer: Buffer; start: number; end: number }) =>
        void seen.push(r.buffer.toString('utf8', r.start, r.end)),
    }
    let reader = openLogReader(directory, { live: true })
    for (let round = 0; round < 40; round++) {
      for (let i = 0; i < 10; i++) put(`${round}/${i} ${'y'.repeat(300)}`)
      log.flush()
      await until(() => log.durableSequence() === (round + 1) * 10)
      t.equal(reader.read(visitor), 10)
      t.equal(reader.lag(), 0)
      if (round % 7 !== 0) continue
      const from = reader.position()
      reader.close()
      reader = openLogReader(directory, from === null ? { live: true } : { live: true, from })
    }
    t.ok(log.stats().segments > 1)
    t.equal(seen.length, 400)
    t.same(seen, readBodies(directory).bodies)
    reader.close()
    await log.close(1_000)
  },
)

void t.test('each segment begins with the control state that held before its first record', async (t) => {
  const directory = t.testdir()
  let state = 0
  const { log, put, until } = await openSmallLog(directory, { controlState: () => Buffer.from(`after ${state}`) })
  for (let i = 1; i <= 400; i++) {
    await until(() => log.reserve())
    log.release()
    put('z'.repeat(700))
    state = i
    log.controlChanged()
    log.flush()
    if (i % 5 === 0) await until(() => log.durableSequence() === i)
  }
  await log.close(1_000)
  const heads: [number, string][] = []
  openLogReader(directory).read({
    onRecord: () => undefined,
    onSegment: (_name, header) => void heads.push([header.firstSequence - 1, header.controlState.toString()]),
  })
  t.ok(heads.length > 2)
  for (const [before, text] of heads) t.equal(text, `after ${before}`)
})

void t.test('a reservation always has room, and without one nothing is appended', async (t) => {
  const order = new Int32Array(new SharedArrayBuffer(8))
  const { log, put } = await openSmallLog(t.testdir(), {}, { threadEntry: faultyThread, threadExtra: order })
  t.throws(() => log.append('label', (_b, at) => at), /reservation/)
  t.throws(() => log.release(), /reservation/)
  put('first')
  Atomics.store(order, 0, 2)
  log.flush()
  let reserved = 0
  while (log.reserve()) reserved++
  t.ok(reserved >= 6, `${reserved} records of 4 KiB in a ring of 32 KiB`)
  for (let i = 0; i < reserved; i++) log.append('decision', (buffer, at) => buffer.fill(i, at).length)
  t.notOk(log.reserve(), 'the ring is full')
  Atomics.notify(order, 1)
  await log.close(5_000)
  t.equal(log.durableSequence(), reserved + 1)
})

void t.test(
  'a control record larger than others gets the room that was reserved for it, and gives all of it back',
  async (t) => {
    const directory = t.testdir()
    const { log, until } = await openSmallLog(directory)
    const bytes = 7 << 10
    for (let i = 1; i <= 20; i++) {
      await until(() => log.reserve(bytes))
      log.append('control', (buffer, at) => buffer.fill(i, at).length, bytes)
      t.equal(log.stats().reserved, 0)
      log.flush()
    }
    await log.close(5_000)
    t.equal(log.durableSequence(), 20)
  },
)

void t.test('a disk that stands still for two seconds fills the ring; nothing fails and nothing is lost', async (t) => {
  const directory = t.testdir()
  const order = new Int32Array(new SharedArrayBuffer(8))
  const { log, put, until } = await openSmallLog(directory, {}, { threadEntry: faultyThread, threadExtra: order })
  Atomics.store(order, 0, 2)
  const started = performance.now()
  let taken = 0
  for (let i = 0; i < 200; i++) if (put('w'.repeat(1000)) > 0) taken++
  log.flush()
  t.ok(taken > 10 && taken < 200, `${taken} of 200 were taken`)
  t.ok(log.healthy(), 'slow is not broken')
  await until(() => log.durableSequence() === taken)
  t.ok(performance.now() - started > 1_900)
  t.ok(log.reserve(), 'there is room again')
  await log.close(1_000)
  t.equal(readBodies(directory).bodies.length, taken)
})

void t.test('while syncs fail the log refuses; afterwards it takes up again with all that it had taken', async (t) => {
  const directory = t.testdir()
  const order = new Int32Array(new SharedArrayBuffer(8))
  const { log, put, until, faults } = await openSmallLog(
    directory,
    {},
    { threadEntry: faultyThread, threadExtra: order },
  )
  put('one')
  log.flush()
  await until(() => log.durableSequence() === 1)
  Atomics.store(order, 0, 1)
  put('two')
  t.ok(log.reserve())
  log.flush()
  await until(() => !log.healthy())
  t.notOk(log.reserve())
  t.equal(
    log.append('decision', (buffer, at) => at + buffer.write('three', at)),
    3,
    'a reservation stays good',
  )
  log.flush()
  t.equal(log.durableSequence(), 1)
  Atomics.store(order, 0, 0)
  await until(() => log.healthy() && log.durableSequence() === 3 && faults.length > 0)
  t.match(log.stats(), { failures: 1, recoveries: 1, segmentsAbandoned: 1, appended: 3, frames: 3 })
  await log.close(1_000)
  t.same(readBodies(directory).bodies, ['one', 'two', 'three'])
  t.notOk(verifyLog(directory).damaged)
})

void t.test('a close that the disk does not let through says how many records are lost', async (t) => {
  const directory = t.testdir()
  const order = new Int32Array(new SharedArrayBuffer(8))
  const { log, put, until } = await openSmallLog(directory, {}, { threadEntry: faultyThread, threadExtra: order })
  Atomics.store(order, 0, 1)
  put('never')
  put('ever')
  log.flush()
  await until(() => !log.healthy())
  await t.rejects(log.close(50), { code: 'ASSAY_LOG_IO', message: /last 2 records/ })
  const again = await openSmallLog(directory)
  t.equal(again.log.recovery.previousEpoch.clean, false)
  t.equal(again.log.recovery.previousEpoch.uncountedMax, 1024)
  await again.log.close(1_000)
})

void t.test('at the bound of its bytes the log refuses, and says so', async (t) => {
  const bound = 3 * 64 * 1024
  const { log, put, faults } = await openSmallLog(t.testdir(), { diskBytesMax: bound })
  let taken = 0
  while (log.healthy()) {
    if (put('v'.repeat(1000)) > 0) taken++
    log.flush()
    await new Promise((go) => setImmediate(go))
  }
  t.ok(log.stats().diskBytes <= bound)
  t.ok(log.durableSequence() > 100)
  await t.rejects(log.close(50), { code: 'ASSAY_LOG_IO' })
  t.match(faults[0], /bound/)
  t.ok(taken >= log.durableSequence())
})

void t.test('a second opener is refused, at any length of path; after the close it gets in', async (t) => {
  const deep = path.join(t.testdir(), 'd'.repeat(90), 'e'.repeat(90))
  for (const directory of [t.testdir(), deep]) {
    const { log } = await openSmallLog(directory)
    await t.rejects(openSmallLog(directory), { code: 'ASSAY_LOG_LOCKED' })
    await log.close(1_000)
    t.notOk(existsSync(path.join(directory, LOCK_NAME)))
    const next = await openSmallLog(directory)
    await next.log.close(1_000)
  }
})

const CHILD = `
import(process.argv[1]).then(async ({ openSmallLog }) => {
  const { log, put, until } = await openSmallLog(process.argv[2])
  for (let n = 0; ; ) {
    for (let i = 0; i < 5; i++) if (put('record ' + (n + 1)) > 0) n++
    log.flush()
    await until(() => log.durableSequence() === n + log.recovery.nextSequence - 1)
    process.stdout.write(n + '\\n')
  }
})`

void t.test(
  'while a child writes, others are refused; after its kill -9 its stale lock is taken over and nothing acknowledged is gone',
  async (t) => {
    const directory = t.testdir()
    const module = new URL('./small-log.js', import.meta.url).href
    for (let round = 1; round <= 3; round++) {
      const child = spawn(process.execPath, ['-e', CHILD, module, directory], { stdio: ['ignore', 'pipe', 'inherit'] })
      let told = ''
      child.stdout.setEncoding('utf8').on('data', (text: string) => (told += text))
      while (told.length < 60) await once(child.stdout, 'data')
      await t.rejects(openSmallLog(directory), { code: 'ASSAY_LOG_LOCKED' })
      child.kill('SIGKILL')
      await once(child, 'exit')
      const acknowledged = Number(told.split('\n').at(-2))
      t.ok(existsSync(path.join(directory, LOCK_NAME)), 'the socket is still there')
      const { log } = await openSmallLog(directory)
      t.equal(log.epoch, 2 * round)
      const { bodies } = readBodies(directory)
      const inEpoch = verifyLog(directory).epochs.find(({ epoch }) => epoch === 2 * round - 1)?.records['decision'] ?? 0
      t.ok(inEpoch >= acknowledged, `${inEpoch} of ${acknowledged} acknowledged`)
      t.equal(bodies.at(-1), `record ${inEpoch}`)
      t.notOk(verifyLog(directory).damaged)
      await log.close(1_000)
    }
  },
)

/** Mounts, or says why not: only root may, and not everywhere. */
function mount(...args: string[]): string | null {
  try {
    execFileSync('mount', args, { stdio: 'pipe' })
    return null
  } catch (error) {
    return `this machine does not let us mount: ${String(error)}`
  }
}

void t.test('a full disk and a read-only directory', async (t) => {
  const volume = mkdtempSync(path.join(tmpdir(), 'assay-volume-'))
  t.teardown(() => rmdirSync(volume))
  const unable = mount('-t', 'tmpfs', '-o', 'size=256k', 'tmpfs', volume)
  if (unable !== null) {
    if (process.env['CI'] === 'true') t.fail(unable)
    else t.comment(`SKIPPED: ${unable}`)
    return
  }
  t.teardown(() => execFileSync('umount', [volume]))
  const { log, put, until, faults } = await openSmallLog(volume)
  let taken = 0
  while (log.healthy()) {
    if (put(`${taken + 1} ${'u'.repeat(1000)}`) > 0) taken++
    log.flush()
    await new Promise((go) => setImmediate(go))
  }
  t.notOk(log.reserve(), 'full: it refuses')
  execFileSync('mount', ['-o', 'remount,size=1m', volume])
  await until(() => log.healthy() && log.durableSequence() === taken && faults.length > 0)
  t.match(faults[0], /ENOSPC|took/)
  t.match(log.stats(), { failures: 1, recoveries: 1, appended: taken, frames: taken })
  await log.close(1_000)
  const { bodies } = readBodies(volume)
  t.same(
    bodies.map((body) => Number(body.split(' ')[0])),
    Array.from({ length: taken }, (_, i) => i + 1),
  )
  execFileSync('mount', ['-o', 'remount,ro', volume])
  await t.rejects(openSmallLog(volume), { code: 'ASSAY_LOG_IO' })
  t.equal(readBodies(volume).bodies.length, taken, 'reading needs no right to write')
  t.ok(readdirSync(volume).includes('head'))
})
