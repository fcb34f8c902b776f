// The pace of the sidecar beside a server that writes, on a clock and a CPU meter of the test's own.
import t from 'tap'
import { createPace, type Pace } from '../../src/runtime/pace.js'

const SHARE = 1 / 4
const SLICE_MS = 2
const BATCH = 1000

/** A pace on a clock of its own: time goes by in work and in rests, CPU in work alone. */
interface Rig {
  readonly pace: Pace
  readonly work: (ms: number) => void
  readonly idle: (ms: number) => void
  /** Milliseconds since the last call. */
  readonly rested: () => number
}

function rig(): Rig {
  let atMs = 0
  let cpuMs = 0
  let restedMs = 0
  const sleep = (ms: number): void => {
    atMs += ms
    restedMs += ms
  }
  const pace = createPace({
    clock: { nowMs: () => atMs, monoMs: () => atMs },
    cpuMs: () => cpuMs,
    limits: { paceRestMs: 1 / SHARE - 1, paceSliceUs: 1_000 * SLICE_MS, tailBatchRecordsMax: BATCH },
    keepThread: sleep,
    delay(ms) {
      sleep(ms)
      return Promise.resolve()
    },
  })
  return {
    pace,
    work: (ms) => {
      atMs += ms
      cpuMs += ms
    },
    idle: (ms) => void (atMs += ms),
    rested: () => {
      const ms = restedMs
      restedMs = 0
      return ms
    },
  }
}

void t.test('beside a log that grows, work is a share of the time, in slices', async (t) => {
  const { pace, work, rested } = rig()
  await pace.follow({ records: BATCH, end: 10_000, lag: 9_000 })
  work(100)
  await pace.follow({ records: BATCH, end: 10_100, lag: 8_100 })
  rested()
  for (let slice = 0; slice < 50; slice++) {
    for (let record = 0; record < 10; record++) {
      work(SLICE_MS / 10)
      pace.rest()
    }
    t.ok(rested() <= SLICE_MS / SHARE, 'no rest is longer than a slice with its rest')
  }
  work(200)
  await pace.follow({ records: BATCH, end: 10_500, lag: 7_200 })
  t.ok(Math.abs(rested() - 200 * (1 / SHARE - 1)) < SLICE_MS / SHARE, 'a piece that cannot rest rests afterwards')
})

void t.test('time with nothing to do is not saved up', async (t) => {
  const { pace, work, idle, rested } = rig()
  await pace.follow({ records: 10, end: 100, lag: 0 })
  await pace.follow({ records: 10, end: 110, lag: 0 })
  idle(60_000)
  pace.rest()
  work(SLICE_MS)
  pace.rest()
  t.ok(rested() > SLICE_MS, 'the first slice after an idle minute has its rest')
})

void t.test('where nobody writes there is no rest', async (t) => {
  const { pace, work, rested } = rig()
  for (const lag of [50_000, 49_000, 48_000]) await pace.follow({ records: BATCH, end: 60_000, lag })
  rested()
  work(100)
  pace.rest()
  await pace.follow({ records: BATCH, end: 60_000, lag: 47_000 })
  t.equal(rested(), 0)
})

void t.test('the share is what it takes to come nearer to the end of the log', async (t) => {
  const { pace, work, idle, rested } = rig()
  let end = 100_000
  let restMs = 0
  /** A batch of 100 ms of work, and what it rests where `perMs` records come for each millisecond that goes by. */
  const batch = async (lag: number, perMs: number, idleMs = 0): Promise<number> => {
    work(100)
    idle(idleMs)
    await pace.follow({ records: BATCH, end: (end += perMs * (100 + idleMs + restMs)), lag })
    return (restMs = rested())
  }
  const near = (ms: number, wanted: number, why: string): boolean => t.ok(Math.abs(ms - wanted) < 1, `${why}: ${ms}`)
  await batch(50_000, 1)
  await batch(50_000, 1)
  near(await batch(50_000, 1), 300, '1 a millisecond: 400 come while 1,000 are read')
  await batch(50_000, 4)
  near(await batch(50_000, 4), 100, '4 a millisecond: half of a core, and 800 come')
  await batch(50_000, 9)
  near(await batch(50_000, 9), 0, '9 a millisecond: with rests more would come than are read')
  await batch(BATCH, 9)
  near(await batch(BATCH, 9), 300, 'a batch or less is left')
  await batch(50_000, 1, 60_000)
  near(await batch(50_000, 1), 300, 'a minute in which it was stopped tells nothing of how fast the log grows')
})

void t.test('what was worked without rests is not owed once there are rests', async (t) => {
  const { pace, work, rested } = rig()
  await pace.follow({ records: BATCH, end: 9_000, lag: 8_000 })
  await pace.follow({ records: BATCH, end: 9_000, lag: 7_000 })
  work(5_000)
  await pace.follow({ records: BATCH, end: 9_010, lag: 500 })
  rested()
  work(SLICE_MS)
  pace.rest()
  await pace.follow({ records: 10, end: 9_020, lag: 500 })
  t.ok(rested() <= SLICE_MS / SHARE)
})

void t.test('what a long query cost is not rested for longer than a second', async (t) => {
  const { pace, work, rested } = rig()
  await pace.follow({ records: 10, end: 100, lag: 0 })
  work(20_000)
  await pace.follow({ records: 10, end: 110, lag: 0 })
  t.equal(rested(), 1_000)
  work(SLICE_MS)
  await pace.follow({ records: 10, end: 120, lag: 0 })
  t.equal(rested(), SLICE_MS * (1 / SHARE - 1), 'and never again')
})
