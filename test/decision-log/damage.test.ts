// Damage in place: every byte of a log flipped in turn; and the bytes of the first format, which must always decode.
import { cpSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import fc from 'fast-check'
import t from 'tap'
import { createDisk } from '../../src/decision-log/disk.js'
import { isDamage } from '../../src/decision-log/finding.js'
import { frameBytesAt, readFrameFields, sealFrame, writeFrameHeader } from '../../src/decision-log/frame.js'
import { FRAME_HEADER_BYTES, NOTHING_WRITTEN, NOT_A_FRAME } from '../../src/decision-log/frame.js'
import { HEAD_SLOT_BYTES } from '../../src/decision-log/head.js'
import { openLogReader } from '../../src/decision-log/reader.js'
import { recoverLog } from '../../src/decision-log/recover.js'
import { SEGMENT_FIXED_BYTES, decodeSegmentHeader, segmentHeaderBytes } from '../../src/decision-log/segment.js'
import { verifyLog } from '../../src/decision-log/verify.js'
import { openSmallLog, readBodies } from './small-log.js'

t.setTimeout(100_000)

const golden = fileURLToPath(new URL('../../../test/fixtures/decision-log/format-1/', import.meta.url))

/** A log of two epochs and a few records, closed; returns the bytes in use of each file. */
async function makeLog(directory: string): Promise<Map<string, number>> {
  for (let epoch = 1; epoch <= 2; epoch++) {
    const { log, put, until } = await openSmallLog(directory)
    for (let i = 0; i < 4; i++) put(`epoch ${epoch} record ${i}`)
    log.flush()
    await until(() => log.durableSequence() === epoch * 4)
    await log.close(1_000)
  }
  const used = new Map<string, number>()
  const chain = readdirSync(directory)
    .filter((name) => name.endsWith('.segment'))
    .sort()
  for (const name of chain) {
    const bytes = readFileSync(path.join(directory, name))
    used.set(name, bytes.findLastIndex((byte) => byte !== 0) + 1)
  }
  return used
}

void t.test('every flipped byte of a segment is reported with its place, and nothing else is lost', async (t) => {
  const directory = t.testdir()
  const used = await makeLog(directory)
  const whole = readBodies(directory).bodies
  t.equal(whole.length, 8)
  t.equal(used.size, 2)
  const missed: string[] = []
  for (const [name, end] of used) {
    const file = path.join(directory, name)
    const bytes = readFileSync(file)
    // The last bytes in use may be zero themselves: the frame that ends the epoch has 24 bytes.
    const length = segmentHeaderBytes(bytes)
    for (let at = 0; at < end; at++) {
      const flipped = Buffer.from(bytes)
      flipped[at] = (bytes[at] ?? 0) ^ (1 << (at % 8))
      writeFileSync(file, flipped)
      const { bodies, findings } = readBodies(directory)
      const damage = findings.find((finding) => finding.kind === 'damage')
      const place = damage?.segment === name && damage.offset <= at && at < damage.offset + Math.max(length, 60)
      if (!place || !findings.some(isDamage)) missed.push(`${name} byte ${at}: ${JSON.stringify(findings)}`)
      // One frame at most is gone; a header takes its segment with it.
      if (at >= length && bodies.length < 7) missed.push(`${name} byte ${at}: only ${bodies.length} records left`)
      if (!whole.join().includes(bodies.join().slice(0, 10))) missed.push(`${name} byte ${at}: wrong records`)
    }
    writeFileSync(file, bytes)
  }
  t.same(missed, [])
  t.same(readBodies(directory).bodies, whole)
})

void t.test('either slot of the head may be damaged: the other serves, and it is reported', async (t) => {
  const directory = t.testdir()
  await makeLog(directory)
  const file = path.join(directory, 'head')
  const bytes = readFileSync(file)
  const missed: string[] = []
  for (let at = 0; at < bytes.length; at += at % HEAD_SLOT_BYTES < 100 ? 1 : 61) {
    const flipped = Buffer.from(bytes)
    flipped[at] = (bytes[at] ?? 0) ^ 0x10
    writeFileSync(file, flipped)
    const { damaged, records, findings } = verifyLog(directory)
    const slot = Math.floor(at / HEAD_SLOT_BYTES) * HEAD_SLOT_BYTES
    const told = findings.some(({ kind, offset }) => kind === 'head_damaged' && offset === slot)
    if (damaged || !told || records !== 8) missed.push(`byte ${at}`)
  }
  t.same(missed, [])
  writeFileSync(file, Buffer.alloc(bytes.length, 0xff))
  t.match(verifyLog(directory), { records: 8, findings: [{ kind: 'head_damaged' }, { kind: 'head_damaged' }] })
  const { log } = await openSmallLog(directory)
  t.equal(log.recovery.nextSequence, 9, 'without a head the log itself says where it ends')
  await log.close(1_000)
})

void t.test('beyond the end of the log nothing counts: torn bytes are a note, not damage', async (t) => {
  const directory = t.testdir()
  const used = await makeLog(directory)
  const [name, end] = [...used].at(-1) ?? ['', 0]
  const file = path.join(directory, name)
  const bytes = readFileSync(file)
  bytes.fill(0xab, end + 100, end + 200)
  writeFileSync(file, bytes)
  const { damaged, records, findings } = verifyLog(directory)
  t.notOk(damaged)
  t.equal(records, 8)
  t.match(findings.at(-1), { kind: 'torn_tail', segment: name })
})

void t.test('a server goes on after damage, and the damage stays reported', async (t) => {
  const directory = t.testdir()
  const used = await makeLog(directory)
  const [name, end] = [...used].at(-1) ?? ['', 0]
  const file = path.join(directory, name)
  const bytes = readFileSync(file)
  bytes[end - 30] = (bytes[end - 30] ?? 0) ^ 1
  writeFileSync(file, bytes)
  const { log, put, until } = await openSmallLog(directory)
  t.ok(log.recovery.findings.some(isDamage))
  t.equal(put('after'), 9)
  log.flush()
  await until(() => log.durableSequence() === 9)
  await log.close(1_000)
  const { damaged, findings, records } = verifyLog(directory)
  t.ok(damaged)
  t.equal(records, 8)
  t.match(
    findings.find(({ kind }) => kind === 'gap'),
    { segment: name, epoch: 2, sequence: 8 },
  )
})

void t.test('a missing segment, a position ahead of the log and one of another log are found', async (t) => {
  const directory = t.testdir()
  const used = await makeLog(directory)
  const ids = openLogReader(directory)
  ids.read({ onRecord: () => undefined })
  const logId = ids.position()?.logId ?? Buffer.alloc(8)
  const ahead = readBodies(directory, { from: { logId, epoch: 1, sequence: 7 } })
  t.match(ahead.findings[0], { kind: 'reader_ahead', epoch: 1 })
  t.equal(ahead.bodies[0], 'epoch 2 record 0')
  t.throws(() => readBodies(directory, { from: { logId: Buffer.alloc(8), epoch: 1, sequence: 7 } }), {
    code: 'ASSAY_INPUT_INVALID',
  })
  const last = [...used.keys()].at(-1) ?? ''
  rmSync(path.join(directory, last))
  t.match(verifyLog(directory), { damaged: true, records: 4 })
})

void t.test('a server does not start where the end of the log cannot be found', async (t) => {
  const directory = t.testdir()
  const used = await makeLog(directory)
  for (const name of used.keys()) writeFileSync(path.join(directory, name), 'nothing')
  rmSync(path.join(directory, 'head'))
  t.throws(() => recoverLog(createDisk(directory), { uncountedMax: 0 }), { code: 'ASSAY_LOG_DAMAGED' })
  await t.rejects(openSmallLog(directory), { code: 'ASSAY_LOG_DAMAGED' })
})

void t.test('the bytes of format 1 decode for ever', (t) => {
  const { damaged, records, epochs, logId } = verifyLog(golden)
  t.match({ damaged, records, logId }, { damaged: false, records: 8, logId: /^[0-9a-f]{16}$/ })
  t.same(
    epochs.map(({ epoch, firstSequence }) => [epoch, firstSequence]),
    [
      [1, 1],
      [2, 5],
    ],
  )
  t.equal(readBodies(golden).bodies[7], 'epoch 2 record 3')
  const copy = mkdtempSync(path.join(tmpdir(), 'assay-golden-'))
  t.teardown(() => rmSync(copy, { recursive: true }))
  cpSync(golden, copy, { recursive: true })
  t.match(recoverLog(createDisk(copy), { uncountedMax: 5 }), {
    nextSequence: 9,
    previousEpoch: { epoch: 2, lastSequence: 8, clean: true, uncountedMax: 0 },
  })
  t.end()
})

void t.test('any frame comes back as it was; any flipped byte of it is refused; any header of junk is refused', (t) => {
  const body = fc.uint8Array({ maxLength: 300 })
  const u32 = fc.nat(2 ** 32 - 1)
  fc.assert(
    fc.property(body, fc.nat(Number.MAX_SAFE_INTEGER), u32, fc.nat(), (content, sequence, keyId, flip) => {
      const bytes = FRAME_HEADER_BYTES + content.length
      const buffer = Buffer.alloc(bytes + 10)
      const fields = { format: 1, flags: 3, type: 5, keyId, sequence }
      buffer.set(content, FRAME_HEADER_BYTES)
      writeFrameHeader(buffer, { at: 0, bytes }, fields)
      sealFrame(buffer, 0, bytes)
      const read = { format: 0, flags: 0, type: 0, keyId: 0, sequence: 0 }
      readFrameFields(buffer, 0, read)
      if (frameBytesAt(buffer, 0, buffer.length) !== bytes || frameBytesAt(buffer, 0, bytes - 1) !== NOT_A_FRAME)
        return false
      if (JSON.stringify(read) !== JSON.stringify(fields)) return false
      const at = flip % bytes
      buffer[at] = (buffer[at] ?? 0) ^ 0x04
      return frameBytesAt(buffer, 0, buffer.length) === NOT_A_FRAME
    }),
  )
  t.equal(frameBytesAt(Buffer.alloc(100), 0, 100), NOTHING_WRITTEN)
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 2 * SEGMENT_FIXED_BYTES }), (junk) => {
      const bytes = Buffer.concat([Buffer.from('ASSAYSEG'), junk])
      return typeof decodeSegmentHeader(bytes) === 'string'
    }),
  )
  t.end()
})
