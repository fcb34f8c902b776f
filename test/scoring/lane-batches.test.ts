// How many rows a lane thread joins, by what its runs cost on a clock of the test's: a real session and real rings, the
// thread's own loop, 600 rows that wait. A device fills its runs; where the rows cost as much as ever, it does not.
import { join } from 'node:path'
import t from 'tap'
import { CPU_ALONE, type LaneProviders } from '../../src/contract/providers.js'
import { LIMITS } from '../../src/limits.js'
import { readBundle } from '../../src/models/bundle.js'
import { openSession } from '../../src/models/session.js'
import { createRingBuffer, ringFrameBytes, ringReader, ringWriter } from '../../src/runtime/ring.js'
import { serveLane } from '../../src/scoring/lane/thread.js'
import {
  batchRowsMax,
  CONTROL,
  CONTROL_BYTES,
  type LaneWire,
  RESULT_HEADER_BYTES,
  RESULT_ROW_BYTES,
  ringViews,
  ROW_HEADER_BYTES,
  rowBytes,
} from '../../src/scoring/lane/wire.js'
import { FIXTURES } from '../models/fixtures.js'

const ROWS = 600
const DEVICE: LaneProviders = { list: [{ name: 'cuda' }, { name: 'cpu' }], onMissing: 'cpu' }
const bundle = await readBundle(join(FIXTURES, 'linear', '1'))

function wireFor(providers: LaneProviders): LaneWire {
  const frameBytes = rowBytes(bundle)
  const rows = createRingBuffer(2 * (ROWS + 1) * ringFrameBytes(frameBytes))
  const writer = ringWriter(rows)
  const { words, floats } = ringViews(rows)
  for (let row = 0; row < ROWS; row++) {
    const at = writer.reserve(frameBytes)
    words.set([row, row >> 5], at >> 2)
    const from = (row % bundle.golden.count) * bundle.golden.columns
    floats.set(bundle.golden.values.subarray(from, from + bundle.golden.columns), (at + ROW_HEADER_BYTES) >> 2)
    writer.commit(frameBytes)
  }
  writer.publish()
  writer.close()
  return {
    ...{ bundle, rows, results: createRingBuffer(4 * ROWS * ringFrameBytes(RESULT_HEADER_BYTES + RESULT_ROW_BYTES)) },
    waiting: new SharedArrayBuffer(1024),
    control: new SharedArrayBuffer(CONTROL_BYTES),
    batchRowsMax: batchRowsMax(providers, LIMITS),
    batchRowsPlain: LIMITS.laneBatchRowsMax,
    batchMicrosMax: LIMITS.laneBatchMicrosMax,
    ...{ warmMs: LIMITS.laneWarmMs, providers, isBeside: false },
  }
}

/** Rows of each run, once all have been answered with the scores that they have; runs cost what the test says. */
async function runsOf(providers: LaneProviders, us: { readonly run: number; readonly row: number }): Promise<number[]> {
  const wire = wireFor(providers)
  new Uint8Array(wire.waiting).fill(1)
  let nowMs = 0
  const said: unknown[] = []
  await serveLane(wire, {
    async open(of, options) {
      const session = await openSession(of, { ...options, providers: CPU_ALONE })
      const run: typeof session.run = async (rows, count, out) => {
        await session.run(rows, count, out)
        nowMs += (us.run + us.row * count) / 1_000
      }
      return { ...session, run, provider: { name: providers.list[0].name, missing: null } }
    },
    post: (message) => void said.push(message),
    monoMs: () => nowMs,
  })
  t.match(said[0], { kind: 'ready', provider: { name: providers.list[0].name } })
  const runs: number[] = []
  const { words, doubles } = ringViews(wire.results)
  let right = 0
  ringReader(wire.results).drain((_, at) => {
    const [first, count] = words.subarray(at >> 2, (at >> 2) + 2)
    runs.push(count)
    for (let i = 0; i < count; i++) {
      const score = doubles[((at + RESULT_HEADER_BYTES) >> 3) + 2 * i]
      const wanted = bundle.golden.scores[(first + i) % bundle.golden.count]
      if (Math.abs(score - wanted) < 1e-6) right++
    }
  })
  t.equal(right, ROWS, 'every row has its own score')
  t.equal(new Int32Array(wire.control)[CONTROL.batchRows] >= 1, true, 'and the main thread knows how many run at once')
  return runs
}

void t.test('a device whose runs are dear and rows cheap is given runs of hundreds of rows', async (t) => {
  const runs = await runsOf(DEVICE, { run: 400, row: 1 })
  t.ok(runs[0] >= 390 && runs[0] <= 410, `${runs.join(', ')}: the rows of the first cost as much as the run`)
  t.equal(runs.length, 2)
})

void t.test(
  'the same cost on the CPU, and the cost of the CPU on a device, leave the bound where it was',
  async (t) => {
    const plain = [...new Array<number>(9).fill(64), 24]
    t.same(await runsOf(CPU_ALONE, { run: 400, row: 1 }), plain)
    t.same(await runsOf(DEVICE, { run: 20, row: 5 }), plain)
  },
)
