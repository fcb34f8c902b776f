// What counts as a standing decision, and what a commit carries.
import t from 'tap'
import { decisionId } from '../../src/contract/decision.js'
import { keepStanding, positionText, readPosition, type Standing } from '../../src/scoring/transport/kafka/output.js'

const LOG_ID = Buffer.alloc(8, 7)
const body = (id: string, transaction: string): string =>
  JSON.stringify({ decision_id: id, transaction_id: transaction })

void t.test('the first decision of a transaction stands; evaluations and what is no decision do not', (t) => {
  const standing = new Map<string, Standing>()
  const [first, second, evaluated] = [1, 2, 3].map((ordinal) => decisionId(LOG_ID, 1, ordinal, ordinal === 3))
  for (const text of [body(evaluated, 'a'), body('x', 'a'), 'no JSON', '{}', body(first, 'a'), body(second, 'a')]) {
    keepStanding(standing, text)
  }
  t.same([...standing], [['a', { decisionId: first, body: body(first, 'a') }]])
  t.end()
})

void t.test('a position is read as it was written; anything else carries nothing', (t) => {
  for (const position of [
    { end: 12, observeUntil: 0 },
    { end: 0, observeUntil: 34 },
  ]) {
    t.same(readPosition(positionText(position)), position)
  }
  for (const other of ['', 'output=', 'output=1 more', 'output=-1']) {
    t.same(readPosition(other), { end: 0, observeUntil: 0 })
  }
  t.end()
})
