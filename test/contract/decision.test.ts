// Ids of decisions.
import t from 'tap'
import { decisionId, parseDecisionId } from '../../src/contract/decision.js'

void t.test('a decision_id says where its record is, and other texts say nothing', (t) => {
  const logId = Buffer.from('00ff10e5a7c3d9b1', 'hex')
  for (const [epoch, ordinal, unfolded] of [
    [1, 0, false],
    [2 ** 32 - 1, Number.MAX_SAFE_INTEGER, true],
    [9, 2 ** 32, true],
    [9, 2 ** 32, false],
  ] as const) {
    // prettier-ignore
    const id = decisionId(logId, epoch, ordinal, unfolded)
    t.match(id, /^d_[a-z2-7]{32}$/)
    t.same(parseDecisionId(id), { logId, epoch, ordinal, unfolded })
  }
  t.equal(decisionId(Buffer.alloc(8), 0, 0, false), `d_${'a'.repeat(32)}`)
  for (const bad of ['', 'd_', `d_${'A'.repeat(32)}`, `d_${'a'.repeat(31)}`, `d_${'7'.repeat(32)}`])
    t.equal(parseDecisionId(bad), null)
  t.end()
})
