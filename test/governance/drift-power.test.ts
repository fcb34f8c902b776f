// The short form of bench/drift.ts: what drifts is found, what does not is left alone, and the dummies show that both
// questions are real ones.
import t from 'tap'
import * as cases from '../../bench/drift-cases.js'

// Seconds of one core; the clock may say more beside other work.
t.setTimeout(240_000)

void t.test('thirty features that do not change raise no alarm; rows and counts drawn at once agree', (t) => {
  const counts = cases.stationary(1, 60, false)
  const rows = cases.stationary(1, 12, true)
  t.strictSame([counts.alarms.ours, rows.alarms.ours], [0, 0])
  t.ok(counts.verdicts >= 60 * 30 && counts.alarms.always === counts.verdicts && counts.alarms.never === 0)
  t.ok(counts.below1Percent < 0.02 && rows.below1Percent < 0.04, 'p-values are not small by themselves')
  t.ok(counts.alarms['textbook PSI > 0.1'] > 0, 'the usual rule takes noise of a small group for drift')
  t.end()
})

void t.test('amounts × 1.22 are found within two windows, and the same world unchanged is left alone', (t) => {
  const world = { seeds: 4, referenceRows: 70_000, stride: 4 }
  const shifted = cases.amountShift({ ...world, scale: 1.22 })
  t.strictSame([shifted.found.ours, shifted.falsely.ours, shifted.found.never], [4, 0, 0])
  t.end()
})

void t.test('a null rate of 1 → 5 % is found within one window', (t) => {
  const { found, falsely } = cases.nullRate(200)
  t.strictSame([found.ours, falsely.ours], [200, 0])
  t.equal(found['textbook PSI > 0.1'], 0, 'the usual PSI leaves nulls out')
  t.end()
})

void t.test('zero-inflated features are seen to drift, in their zeros and above them', (t) => {
  for (const { name, found } of cases.zeroInflated(200)) {
    t.ok(found.found.ours >= 198, `${name}: found in ${found.found.ours} of 200`)
    t.equal(found.falsely.ours, 0, `${name}: not found where it did not happen`)
  }
  t.end()
})

void t.test('one absurd value moves no PSI by 0.005, and every partition merges to the same bytes', (t) => {
  t.ok(cases.absurdValue(3) < 0.005)
  t.equal(cases.partitions(100), 0)
  t.end()
})
