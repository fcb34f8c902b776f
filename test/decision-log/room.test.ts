// The bytes of the log against its bound, while another process takes segments out of the directory.
import { readdirSync, readlinkSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { createCommitter } from '../../src/decision-log/commit.js'
import { createDisk } from '../../src/decision-log/disk.js'
import { writeFrameHeader } from '../../src/decision-log/frame.js'
import { createGauges, createGaugesBuffer } from '../../src/decision-log/gauges.js'
import type { OnFull } from '../../src/decision-log/room.js'
import { isUnfinished, NO_EPOCH, unfinishedName } from '../../src/decision-log/segment.js'
import { createRingBuffer, ringReader, ringWriter } from '../../src/runtime/ring.js'
import { segmentsIn } from './prune-rig.js'

const SEGMENT_BYTES = 16 << 10
const FRAME_BYTES = 1 << 10

/** A log thread without its thread, so that its clock is the test's. */
function openCommitter(directory: string, bound: { diskBytesMax: number; onFull: OnFull }) {
  const sab = createRingBuffer(64 << 10)
  const gauges = createGauges(createGaugesBuffer())
  const ring = ringWriter(sab)
  const clock = { ms: 0 }
  const now = (): number => clock.ms
  const dropped: string[] = []
  const committer = createCommitter(
    {
      ...{ disk: createDisk(directory), ring: ringReader(sab), gauges, nowMs: now, monoMs: now },
      ...{ controlState: () => Buffer.from('state'), onFault: () => undefined },
      onDropped: ({ segment }) => void dropped.push(segment),
    },
    {
      ...{ logId: Buffer.from('roomroom'), epoch: 1, keyId: 0, nextSequence: 1, durability: 'synced' as const },
      ...{ previousSegment: { index: 0, endOffset: 0 }, previousEpoch: NO_EPOCH, schemas: Buffer.from('{}') },
      ...{ segmentBytes: SEGMENT_BYTES, groupBytesMax: 2 * FRAME_BYTES, frameBytesMax: FRAME_BYTES },
      ...{ bufferedSyncMs: 1_000, ...bound },
    },
  )
  let sequence = 0
  const put = (): string => {
    const at = ring.reserve(FRAME_BYTES)
    const fields = { format: 1, flags: 0, type: 1, keyId: 0, sequence: ++sequence }
    writeFrameHeader(ring.buffer, { at, bytes: FRAME_BYTES }, fields)
    ring.commit(FRAME_BYTES)
    ring.publish()
    return committer.step()
  }
  return { committer, gauges, clock, dropped, put }
}

void t.test('what others take out of the directory is room again, seen within a minute', (t) => {
  const log = t.testdir()
  const { committer, gauges, clock, put } = openCommitter(log, { diskBytesMax: Infinity, onFull: 'refuse' })
  committer.start()
  while (segmentsIn(log).length < 5) t.equal(put(), 'committed')
  const before = gauges.get('diskBytes')
  for (const name of segmentsIn(log).slice(0, 3)) rmSync(path.join(log, name))
  clock.ms = 60_000
  committer.prepare()
  t.ok(gauges.get('diskBytes') >= before, 'not looked at yet')
  clock.ms = 60_001
  committer.prepare()
  const after = gauges.get('diskBytes')
  t.ok(after <= before - 2 * SEGMENT_BYTES && after >= 2 * SEGMENT_BYTES, `${before} bytes, then ${after}`)
  t.ok(committer.finish())
  t.end()
})

void t.test('the next segment has lost its name when the log has ended, and its room afterwards', (t) => {
  const log = t.testdir()
  const { committer, put } = openCommitter(log, { diskBytesMax: Infinity, onFull: 'refuse' })
  committer.start()
  put()
  while (committer.prepare());
  const unfinished = (): string[] => readdirSync(log).filter(isUnfinished)
  t.same(unfinished(), [unfinishedName(2)])
  t.ok(committer.finish())
  t.same(unfinished(), [], 'whoever follows finds nothing to remove')
  t.equal(openIn(log).length, 1, 'the room is still held')
  writeFileSync(path.join(log, unfinishedName(2)), 'of whoever follows')
  committer.letGo()
  t.same(openIn(log), [])
  t.same(unfinished(), [unfinishedName(2)], 'nothing of the one that follows is touched')
  t.end()
})

/** What this process has open in a folder. */
function openIn(folder: string): string[] {
  const open = readdirSync('/proc/self/fd').map((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`)
    } catch {
      return ''
    }
  })
  return open.filter((name) => name.startsWith(folder))
}

void t.test('at the bound the log refuses until there is room, or makes it, as it is told', (t) => {
  const diskBytesMax = 4 * SEGMENT_BYTES
  const folder = t.testdir({ refusing: {}, dropping: {}, small: {} })
  const [first, second] = [path.join(folder, 'refusing'), path.join(folder, 'dropping')]
  const one = openCommitter(first, { diskBytesMax, onFull: 'refuse' })
  one.committer.start()
  while (one.put() === 'committed');
  t.notOk(one.gauges.healthy())
  t.equal(one.committer.step(), 'failing')
  rmSync(path.join(first, segmentsIn(first)[0] ?? ''))
  t.equal(one.committer.step(), 'committed', 'another process archived a segment')
  t.ok(one.gauges.healthy())
  t.match([one.gauges.get('droppedSegments'), one.dropped], [0, []], 'it never drops by itself')
  one.committer.finish()

  const other = openCommitter(second, { diskBytesMax, onFull: 'drop_oldest' })
  other.committer.start()
  for (let i = 0; i < 100; i++) t.equal(other.put(), 'committed')
  t.ok(other.dropped.length > 2)
  t.equal(other.gauges.get('droppedSegments'), other.dropped.length)
  t.same(other.dropped, [...other.dropped].sort(), 'the oldest first')
  other.committer.finish()

  const small = openCommitter(path.join(folder, 'small'), { diskBytesMax: SEGMENT_BYTES, onFull: 'drop_oldest' })
  small.committer.start()
  while (small.put() === 'committed');
  t.equal(small.dropped.length, 0, 'the segment in use is never dropped: a bound of one refuses')
  t.end()
})
