// Records come out in the order of their ordinals whatever the order of the log.
import fc from 'fast-check'
import t from 'tap'
import { createReorder } from '../../src/scoring/reorder.js'

const BOUNDS = { inFlightMax: 4, gapsMax: 10 }

void t.test('records that are out of order by less than the bound come out in order, without a gap', (t) => {
  fc.assert(
    fc.property(fc.array(fc.nat(3), { minLength: 1, maxLength: 200 }), (delays) => {
      const log = delays.map((delay, at) => ({ ordinal: at + 1, place: at + delay })).sort((a, b) => a.place - b.place)
      const seen: number[] = []
      const reorder = createReorder<number>((ordinal) => seen.push(ordinal), BOUNDS)
      for (const { ordinal } of log) reorder.push(1, ordinal, ordinal)
      reorder.end()
      t.same(
        seen,
        delays.map((_, at) => at + 1),
      )
      t.same(reorder.gaps, [])
    }),
  )
  t.end()
})

void t.test('an ordinal that died is a gap, and the rest follows in order', (t) => {
  const seen: number[] = []
  const reorder = createReorder<number>((ordinal) => seen.push(ordinal), BOUNDS)
  for (const ordinal of [1, 2, 5, 4, 7, 6, 8, 9]) reorder.push(1, ordinal, ordinal)
  t.same(seen, [1, 2, 4, 5, 6, 7, 8, 9])
  t.same(reorder.gaps, [{ epoch: 1, from: 3, to: 3 }])
  t.end()
})

void t.test('an epoch ends before the next begins', (t) => {
  const seen: string[] = []
  const reorder = createReorder<string>((name) => seen.push(name), BOUNDS)
  reorder.push(1, 1, 'a1')
  reorder.push(1, 3, 'a3')
  reorder.push(2, 4, 'b4')
  t.same(seen, ['a1', 'a3', 'b4'])
  t.same(reorder.gaps, [{ epoch: 1, from: 2, to: 2 }])
  t.end()
})
