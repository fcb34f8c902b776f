// The handbook's stream through a whole server: what stands in the decision log are the published features, to one
// float32 step. Needs the handbook's data, which ASSAY_HANDBOOK names.
import { join } from 'node:path'
import t from 'tap'
import { published, readStream } from '../features/handbook.js'
import { compareVectors, labelUse, pickSlice, sendSlice, stepsApart } from './handbook-slice.js'
import { readLog, startRig } from './server-rig.js'

const ROWS_MIN = 1_000
const folder = process.env['ASSAY_HANDBOOK']
const skip = folder === undefined ? 'ASSAY_HANDBOOK does not name the data of the handbook' : false
// Some 70,000 payments through HTTP: half a minute where other programs have the cores too.
t.setTimeout(300_000)

void t.test('a payment sent through HTTP is logged with the published features', { skip }, async (t) => {
  const wanted = published(join(folder ?? '', 'features-test-week.csv.gz'))
  const stream = readStream(join(folder ?? '', 'transactions.csv.gz'), wanted)
  const slice = pickSlice(stream.payments, wanted, ROWS_MIN)
  const rig = await startRig({
    // Nothing here is about time: no payment may be refused or left unconfirmed because the machine is busy.
    edit({ policy }) {
      policy.clock = 'replay'
      policy.budgets = { deadline_ms: 10_000, log_wait_ms: 60_000 }
    },
  })
  t.teardown(() => rig.remove())
  const beganMs = performance.now()
  const sent = await sendSlice(rig, slice)
  const seconds = (performance.now() - beganMs) / 1000
  await rig.stop()
  const { decisions: logged } = await readLog(rig.logDir)
  t.equal(logged.length, slice.fed.length, 'every payment is logged once')
  t.equal(sent.decided, slice.compared.size, 'every payment to compare was decided')

  const mine = new Map([...wanted].filter(([id]) => slice.compared.has(id)))
  const found = compareVectors(logged, mine)
  t.ok(found.rows >= ROWS_MIN && found.rows === sent.decided)
  t.same(found.off, [], `at most ${found.steps} float32 steps off`)
  t.comment(
    `${found.rows} payments × 15 values compared, ${found.exact} of them equal to the bit, ` +
      `the largest distance ${found.steps} steps; ${sent.observed} observed, ${sent.labels} labels; ${seconds.toFixed(1)} s`,
  )

  const use = labelUse(slice)
  t.ok(use.acted > 0, `labels raise the published risk of ${use.acted} rows`)
  t.ok(use.heldBack > 0, `the delay holds labels back that were sent before ${use.heldBack} rows`)
  t.ok(use.turned > 0, `${use.turned} frauds are met by a row before the seven days are over and by one after`)

  // The comparison itself, beside what was logged: one step passes in any column, two are found, and nothing else is.
  const id = [...mine.keys()][ROWS_MIN >> 1]
  const row = logged.find(({ personal }) => personal.transaction.transactionId === id)
  const values = [...new Float32Array(row?.personal.vector.buffer ?? new ArrayBuffer(0), 0, 15)]
  const columns = values.map((value, index) =>
    [1, 2].map((steps) => compareVectors(logged, new Map(mine).set(id, values.with(index, stepped(value, steps)))).off),
  )
  t.same(columns, Array(15).fill([[], [id]]))
})

void t.test('float32 steps are counted over zero, and never from NaN', (t) => {
  t.equal(stepsApart(0.1, Math.fround(0.1)), 0)
  t.equal(stepsApart(0, -0), 0)
  t.equal(stepsApart(1, stepped(1, 1)), 1)
  t.equal(stepsApart(-1, stepped(-1, 3)), 3)
  t.equal(stepsApart(2 ** -149, -(2 ** -149)), 2, 'the smallest numbers on both sides of zero')
  t.equal(stepsApart(NaN, 1), Infinity)
  t.equal(stepsApart(1, NaN), Infinity)
  t.end()
})

/** The float32 value that lies so many steps further from zero than `value` does. */
function stepped(value: number, steps: number): number {
  const bits = new Int32Array(Float32Array.of(value).buffer)
  bits[0] += steps
  return new Float32Array(bits.buffer)[0]
}
