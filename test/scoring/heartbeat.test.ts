// The heartbeat: one flush a turn, a tick a millisecond while anything is under way, and beats inside long turns, on a
// clock that the test moves.
import t from 'tap'
import { createHeartbeat, type Heartbeat } from '../../src/scoring/heartbeat.js'

interface Beating {
  readonly heartbeat: Heartbeat
  readonly done: string[]
  readonly late: number[]
  nowMs: number
}

function beating(): Beating {
  const done: string[] = []
  const late: number[] = []
  const rig = { done, late, nowMs: 1000 }
  const heartbeat = createHeartbeat({
    clock: { nowMs: () => rig.nowMs, monoMs: () => rig.nowMs },
    flush: () => void done.push('flush'),
    tick: () => void done.push('tick'),
    pulse: () => void done.push('pulse'),
    onLate: (lateMs) => void late.push(lateMs),
    busy: () => true,
  })
  return Object.assign(rig, { heartbeat })
}

void t.test('a long turn beats every other millisecond, and only while something is under way', (t) => {
  const rig = beating()
  rig.nowMs += 5
  rig.heartbeat.beat()
  t.same(rig.done, [], 'asleep: nothing is under way')
  rig.heartbeat.wake()
  rig.nowMs += 1.5
  rig.heartbeat.beat()
  t.same(rig.done, [], 'within two milliseconds')
  rig.nowMs += 0.5
  rig.heartbeat.beat()
  rig.heartbeat.beat()
  t.same(rig.done, ['pulse'], 'once, however many requests come in it')
  rig.nowMs += 4
  rig.heartbeat.beat()
  t.same(rig.done, ['pulse', 'pulse'])
  t.same(rig.late, [1, 3], 'how late each was')
  t.equal(rig.heartbeat.lagMs(), 0, 'the lag of the loop is that of its turns, not of beats')
  rig.heartbeat.close()
  rig.nowMs += 5
  rig.heartbeat.beat()
  t.equal(rig.done.length, 2, 'closed')
  t.end()
})

void t.test('a turn flushes once and ticks, and the lag of the turn is seen', async (t) => {
  const rig = beating()
  rig.heartbeat.wake()
  rig.heartbeat.wake()
  rig.nowMs += 31
  while (!rig.done.includes('tick')) await new Promise((resolve) => setImmediate(resolve))
  rig.heartbeat.close()
  t.equal(rig.done.filter((what) => what === 'flush').length, 1)
  t.equal(rig.heartbeat.lagMs(), 0, 'at rest again')
  t.equal(Math.max(...rig.late), 30)
})
