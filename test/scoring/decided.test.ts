// The set of decided offsets: whatever order and gaps they come in, it holds what a naive set holds; it is bounded, and
// tells topics of one name apart.
import fc from 'fast-check'
import t from 'tap'
import { TINY } from '../../src/limits.js'
import { createDecidedOffsets, OffsetSet } from '../../src/scoring/decided.js'

const SEED = Number(process.env.FUZZ_SEED ?? Date.now() % 2 ** 31)
t.comment(`FUZZ_SEED=${SEED}`)

void t.test('it holds what was added, in whatever order, and nothing else', (t) => {
  const added = fc.array(fc.tuple(fc.nat(60), fc.nat(6)), { maxLength: 40 })
  fc.assert(
    fc.property(added, (pairs) => {
      const set = new OffsetSet(1_000)
      const naive = new Set<number>()
      for (const [from, length] of pairs) {
        set.add(from, from + length + 1)
        for (let offset = from; offset <= from + length; offset++) naive.add(offset)
      }
      const ranges = set.ranges()
      // No two touch: everything up to the end of the first is one range.
      const isMerged = ranges.every(([from, to], at) => from < to && (at === 0 || ranges[at - 1][1] < from))
      return isMerged && Array.from({ length: 80 }, (_, at) => at).every((at) => set.has(at) === naive.has(at))
    }),
    { seed: SEED, numRuns: 2_000 },
  )
  t.end()
})

void t.test('where there are too many ranges the lowest is no longer known, and never more than was added', (t) => {
  const set = new OffsetSet(2)
  for (const from of [10, 20, 30]) set.add(from, from + 1)
  t.same(set.ranges(), [
    [20, 21],
    [30, 31],
  ])
  t.same(
    [10, 20, 25, 30].map((offset) => set.has(offset)),
    [false, true, false, true],
  )
  t.end()
})

void t.test('a topic made again, another partition and a broker without ids share nothing', (t) => {
  const decided = createDecidedOffsets(TINY)
  const place = { topic: 'a', topicId: 'one', partition: 0, offset: 5, skipped: 2 }
  decided.add(place, 7)
  decided.add({ ...place, offset: 9, skipped: 0 }, 8, 'ASSAY_BODY_MALFORMED')
  decided.add({ ...place, topicId: null, offset: 30 }, 9)
  const known = (over: object): boolean => decided.has({ ...place, ...over })
  t.same(
    [{}, { offset: 3 }, { offset: 2 }, { offset: 6 }, { topicId: 'two' }, { partition: 1 }, { topicId: null }].map(
      known,
    ),
    [true, true, false, false, false, false, false],
  )
  t.same(
    [5, 9].map((offset) => decided.isDeadLetter({ ...place, offset })),
    [false, true],
  )
  t.equal(decided.newest(), 9)
  t.same(decided.partitions(), [
    { topic: 'a', topic_id: 'one', partition: 0, from: 3, bound: 6, ranges_above: 1, end: 10 },
  ])
  for (let partition = 1; partition <= TINY.offsetPartitionsMax; partition++) decided.add({ ...place, partition }, 10)
  t.equal(decided.partitions().length, TINY.offsetPartitionsMax)
  t.notOk(known({}), 'the one that was extended longest ago has left')
  t.end()
})
