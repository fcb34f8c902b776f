// The tail of the decision log: order, bounds, restarts, and what it says of bytes that it cannot read.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { crc32 } from 'node:zlib'
import t, { type Test } from 'tap'
import { readHead } from '../../src/decision-log/chain.js'
import { createDisk } from '../../src/decision-log/disk.js'
import { segmentName } from '../../src/decision-log/segment.js'
import type { Batch } from '../../src/governance/port.js'
import { createTail, type Tail, type TailOptions } from '../../src/governance/tail.js'
import { LIMITS, TINY } from '../../src/limits.js'
import { copyLog, openWriter, referencePolicy, START_MS, writeToTakeBack } from './written-log.js'

const QUICK = { ...LIMITS, tailGatherMs: 1, tailPollMsMax: 5 }

function folder(t: Test): string {
  const made = mkdtempSync(join(tmpdir(), 'assay-tail-'))
  t.teardown(() => rmSync(made, { recursive: true, force: true }))
  return made
}

function follow(t: Test, directory: string, options: Partial<TailOptions> = {}): Tail {
  const tail = createTail({ directory, from: null, limits: QUICK, ...options })
  t.teardown(() => tail.close())
  return tail
}

/** Batches up to this sequence. */
async function readTo(tail: Tail, sequence: number): Promise<Batch[]> {
  const batches: Batch[] = []
  while ((batches.at(-1)?.position?.sequence ?? 0) < sequence) {
    const batch = await tail.next()
    if (batch === null) break
    batches.push(batch)
  }
  return batches
}

const sequencesOf = (batches: readonly Batch[]): number[] =>
  batches.flatMap(({ records }) => records.map(({ sequence }) => sequence))
const findingsOf = (batches: readonly Batch[]) => batches.flatMap(({ findings }) => findings)
const upTo = (last: number): number[] => Array.from({ length: last }, (_, at) => at + 1)

void t.test('records of every type come once, in order, each with what held when it was written', async (t) => {
  const directory = folder(t)
  const writer = await openWriter(directory)
  await writer.decisions(3)
  await writer.others()
  await writer.decisions(2)
  await writer.close()
  const batches = await readTo(follow(t, directory), 11)
  t.same(sequencesOf(batches), upTo(11))
  const records = batches.flatMap(({ records }) => records)
  t.same(
    records.map(({ record }) => record.type),
    [
      'decision',
      'decision',
      'decision',
      'observed',
      'inference',
      'label',
      'control',
      'reply',
      'superseded',
      'decision',
      'decision',
    ],
  )
  t.same(
    records.map(({ control }) => control.routes.revision),
    [0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1],
    'the state of a control record holds from that record on',
  )
  t.match(records[0]?.record, {
    facts: { ordinal: 1, decidedAtMs: START_MS + 1 },
    personal: { transaction: { transactionId: 't-1' } },
  })
  t.same(findingsOf(batches), [])
})

void t.test('a batch is bounded in records and in bytes, however much there is', async (t) => {
  const directory = folder(t)
  const writer = await openWriter(directory)
  await writer.decisions(200)
  await writer.close()
  const byRecords = await readTo(follow(t, directory, { limits: { ...TINY, tailBatchBytesMax: 1 << 20 } }), 200)
  t.same(sequencesOf(byRecords), upTo(200))
  t.ok(
    byRecords.every(({ records }) => records.length <= TINY.tailBatchRecordsMax),
    'records',
  )
  const bytesMax = 2_000
  const limits = { ...TINY, tailBatchRecordsMax: 100, tailBatchBytesMax: bytesMax, tailTurnRecordsMax: 1 }
  const byBytes = await readTo(follow(t, directory, { limits }), 200)
  t.same(sequencesOf(byBytes), upTo(200))
  // Each body is above 300 bytes: the bound lets so many through and one more.
  t.ok(
    byBytes.every(({ records }) => records.length <= bytesMax / 300 + 1),
    'bytes',
  )
})

void t.test('it waits for a log that is not there yet, and follows one that grows through segments', async (t) => {
  const directory = join(folder(t), 'decision-log')
  const tail = follow(t, directory)
  const first = tail.next()
  const writer = await openWriter(directory, { segmentBytes: 64 << 10 })
  await writer.decisions(1)
  t.equal((await first)?.records[0]?.sequence, 1)
  for (let round = 0; round < 5; round++) {
    await writer.decisions(100)
    await writer.synced()
    t.same(sequencesOf(await readTo(tail, 101 + round * 100)).at(-1), 101 + round * 100)
  }
  t.ok(Number(writer.log.stats().appended) === 501 && tail.end() === 501)
  await writer.close()
})

void t.test('a tail that starts again in the middle knows what holds there', async (t) => {
  const directory = folder(t)
  const writer = await openWriter(directory)
  await writer.others()
  await writer.decisions(5)
  await writer.close()
  const first = await readTo(follow(t, directory), 11)
  const control = first.at(-1)?.records.at(-1)?.control ?? null
  const position = { ...first[0]?.position, sequence: 8 }
  if (position.logId === undefined || position.epoch === undefined) throw new Error('no position')
  const from = { position: { logId: position.logId, epoch: position.epoch, sequence: 8 }, control }
  const again = await readTo(follow(t, directory, { from }), 11)
  t.same(sequencesOf(again), [9, 10, 11])
  t.equal(again[0]?.records[0]?.control.routes.revision, 1, 'the head of the segment says 0')
})

void t.test('a policy of the next epoch decodes under its own fields', async (t) => {
  const directory = folder(t)
  const policy = referencePolicy()
  const first = await openWriter(directory, { policy })
  await first.decisions(2)
  await first.close()
  const fields = [{ name: 'channel', type: 'string' as const }, ...policy.schema.fields].reverse()
  const second = await openWriter(directory, {
    policy: { ...policy, schema: { ...policy.schema, fields } },
    ordinal: 3,
  })
  await second.decisions(2)
  await second.close()
  const batches = await readTo(follow(t, directory), 4)
  const records = batches.flatMap(({ records }) => records)
  t.same(
    records.map(({ control }) => control.policy.schema.fields.map(({ name }) => name).join()),
    [...Array<string>(2).fill('customer_id,terminal_id'), ...Array<string>(2).fill('terminal_id,customer_id,channel')],
  )
  t.match(findingsOf(batches), [{ kind: 'epoch_changed', sequence: 2 }])
})

/** Changes bytes of a segment and says where. */
function spoil(directory: string, index: number, change: (bytes: Buffer) => void): void {
  const file = join(directory, segmentName(index))
  const bytes = readFileSync(file)
  change(bytes)
  writeFileSync(file, bytes)
}

void t.test('a damaged frame is a finding and a gap, and everything around it is read', async (t) => {
  const directory = folder(t)
  const writer = await openWriter(directory)
  await writer.decisions(20)
  await writer.close()
  spoil(directory, 1, (bytes) => {
    const at = bytes.indexOf('t-7', bytes.indexOf('t-6'))
    bytes[at] = 0x58
  })
  const batches = await readTo(follow(t, directory), 20)
  t.same(
    sequencesOf(batches),
    upTo(20).filter((sequence) => sequence !== 7),
  )
  t.match(findingsOf(batches), [
    { kind: 'damage', segment: segmentName(1), sequence: 7 },
    { kind: 'gap', sequence: 7 },
  ])
})

void t.test('a missing segment is a finding and a gap', async (t) => {
  const directory = folder(t)
  const writer = await openWriter(directory, { segmentBytes: 64 << 10 })
  await writer.decisions(500)
  await writer.close()
  rmSync(join(directory, segmentName(2)))
  const batches = await readTo(follow(t, directory), 500)
  const sequences = sequencesOf(batches)
  t.ok(sequences.length < 500 && sequences.at(0) === 1 && sequences.at(-1) === 500)
  t.same(
    findingsOf(batches)
      .map(({ kind }) => kind)
      .sort(),
    ['damage', 'gap'],
  )
})

void t.test('a segment of a later format is a clear finding, not a crash', async (t) => {
  const directory = folder(t)
  const writer = await openWriter(directory, { segmentBytes: 64 << 10 })
  await writer.decisions(500)
  await writer.close()
  spoil(directory, 2, (bytes) => {
    bytes.writeUInt16LE(2, 8)
    const headerBytes = bytes.readUInt32LE(12)
    bytes.writeUInt32LE(crc32(bytes.subarray(20, headerBytes), crc32(bytes.subarray(8, 16))), 16)
  })
  const batches = await readTo(follow(t, directory), 500)
  t.match(
    findingsOf(batches).find(({ kind }) => kind === 'damage'),
    { segment: segmentName(2), detail: 'segment format 2 is not known to this release' },
  )
  t.equal(sequencesOf(batches).at(-1), 500)
})

void t.test('a head of a later format is a finding, once, and no batch after it', async (t) => {
  const directory = folder(t)
  const writer = await openWriter(directory)
  await writer.decisions(20)
  await writer.synced()
  await writer.decisions(20)
  await writer.close()
  const head = readFileSync(join(directory, 'head'))
  for (const slot of [0, 4096]) {
    head.writeUInt16LE(9, slot + 12)
    head.writeUInt32LE(crc32(head.subarray(slot + 12, slot + 88)), slot + 8)
  }
  writeFileSync(join(directory, 'head'), head)
  const tail = follow(t, directory)
  t.match(await tail.next(), { records: [], position: null, findings: [{ kind: 'head_damaged', segment: 'head' }] })
  const pending = tail.next()
  tail.close()
  t.equal(await pending, null, 'closing ends the waiting')
})

void t.test('a control state that cannot be read is a finding, and so is each record under it', async (t) => {
  const directory = folder(t)
  const writer = await openWriter(directory)
  await writer.decisions(3)
  await writer.close()
  spoil(directory, 1, (bytes) => {
    const at = bytes.indexOf('{"format":1,"policy":')
    bytes.write('{"format":7', at)
    const headerBytes = bytes.readUInt32LE(12)
    bytes.writeUInt32LE(crc32(bytes.subarray(20, headerBytes), crc32(bytes.subarray(8, 16))), 16)
  })
  const batches = await readTo(follow(t, directory), 3)
  t.same(sequencesOf(batches), [])
  t.match(findingsOf(batches), [
    { kind: 'damage', sequence: 1, offset: 0 },
    { sequence: 1 },
    { sequence: 2 },
    { sequence: 3 },
  ])
})

void t.test('bytes after the end of the log are no record and no finding of a live reader', async (t) => {
  const directory = folder(t)
  const writer = await openWriter(directory)
  await writer.decisions(5)
  await writer.synced()
  const torn = join(folder(t), 'torn')
  copyLog(directory, torn)
  const end = readHead(createDisk(torn)).head?.writtenOffset ?? 0
  spoil(torn, 1, (bytes) => void bytes.write('what a dying server had begun to write', end))
  await writer.close()
  const batches = await readTo(follow(t, torn), 5)
  t.same([sequencesOf(batches), findingsOf(batches)], [upTo(5), []])
})

void t.test('an epoch that ends before what was read says how far to go back', async (t) => {
  const directory = folder(t)
  const takeBack = await writeToTakeBack(directory, { kept: 10, lost: 10 })
  const read = await readTo(follow(t, directory), 20)
  const position = read.at(-1)?.position
  if (position === null || position === undefined) throw new Error('no position')
  takeBack()
  const second = await openWriter(directory, { seed: 2, ordinal: 11 })
  await second.decisions(30)
  await second.close()
  const batch = await follow(t, directory, { from: { position, control: null } }).next()
  t.match(batch, { takenBackTo: 10, records: [] })
  t.match(batch?.findings[0], { kind: 'reader_ahead', sequence: 10 })
})

void t.test('a position of another log is refused', async (t) => {
  const directory = folder(t)
  const writer = await openWriter(directory)
  await writer.decisions(3)
  await writer.close()
  const from = { position: { logId: Buffer.alloc(8, 7), epoch: 1, sequence: 2 }, control: null }
  await t.rejects(follow(t, directory, { from }).next(), { code: 'ASSAY_INPUT_INVALID' })
})
