// Bins that are frozen here against those of the trainer's own code, models/training/reference.py, run with numpy 2.4.
import fc from 'fast-check'
import t from 'tap'
import { createNumberBins } from '../../src/stats/bins.js'
import { freezeBins, type FrozenBins } from '../../src/stats/freeze-bins.js'

/** Numbers in [0, 1): the linear congruential generator of ANSI C, seed 1. */
function numbers(count: number): number[] {
  let x = 1
  return Array.from({ length: count }, () => (x = (Math.imul(x, 1103515245) + 12345) & 0x7fffffff) / 2 ** 31)
}

const piled = (v: number): number => {
  if (v < 0.3) return 0
  if (v < 0.4) return 7.5
  if (v < 0.45) return NaN
  if (v < 0.46) return Infinity
  return v < 0.463 ? -Infinity : Math.trunc(v * 500) / 10
}

/** What bins_of(values, 20) gave; edges as decimals, which are float32 there. */
const CASES: readonly [string, readonly number[], FrozenBins][] = [
  [
    'spread',
    numbers(500).map((v) => Math.trunc(v * v * 100_000) / 100),
    {
      null: 0,
      negative_infinity: 0,
      positive_infinity: 0,
      singles: [],
      edges: [
        2.52, 12.61, 24.62, 37.88, 56.34, 86.18, 120.53, 148.65, 186.67, 238.07, 278.26, 338.08, 389.48, 450.18, 539.89,
        608.76, 704.27, 779.43, 897.99,
      ],
      counts: [26, 25, 25, 25, 25, 25, 25, 25, 25, 25, 25, 25, 25, 25, 25, 25, 25, 25, 25, 24],
    },
  ],
  [
    'piled',
    numbers(500).map(piled),
    {
      null: 28,
      negative_infinity: 1,
      positive_infinity: 4,
      singles: [
        { value: 0.0, count: 153 },
        { value: 7.5, count: 54 },
      ],
      edges: [25.7, 28.2, 30.7, 32.5, 36.2, 38.7, 41.6, 43.7, 47.3],
      counts: [27, 26, 28, 24, 26, 26, 26, 26, 27, 24],
    },
  ],
  [
    'few',
    numbers(500).map((v) => Math.trunc(v * 5)),
    {
      null: 0,
      negative_infinity: 0,
      positive_infinity: 0,
      singles: [
        { value: 0.0, count: 104 },
        { value: 1.0, count: 103 },
        { value: 2.0, count: 103 },
        { value: 3.0, count: 100 },
        { value: 4.0, count: 90 },
      ],
      edges: [],
      counts: [0],
    },
  ],
  [
    'one',
    new Array<number>(40).fill(3.25),
    {
      null: 0,
      negative_infinity: 0,
      positive_infinity: 0,
      singles: [{ value: 3.25, count: 40 }],
      edges: [],
      counts: [0],
    },
  ],
  [
    'nothing',
    new Array<number>(10).fill(NaN),
    { null: 10, negative_infinity: 0, positive_infinity: 0, singles: [], edges: [], counts: [0] },
  ],
  [
    'short',
    [0.1, 0.2, 0.2, 0.3],
    {
      null: 0,
      negative_infinity: 0,
      positive_infinity: 0,
      singles: [
        { value: 0.1, count: 1 },
        { value: 0.2, count: 2 },
        { value: 0.3, count: 1 },
      ],
      edges: [],
      counts: [0],
    },
  ],
]

void t.test('bins, edges and counts are those of the trainer', (t) => {
  const narrow = ({ singles, edges, ...rest }: FrozenBins) => ({
    ...rest,
    singles: singles.map(({ value, count }) => ({ value: Math.fround(value), count })),
    edges: edges.map(Math.fround),
  })
  for (const [name, values, wanted] of CASES) t.same(narrow(freezeBins(values, 20)), narrow(wanted), name)
  t.end()
})

void t.test('counts are what the frozen bins find in the same rows, whatever they are', (t) => {
  const value = fc.oneof(fc.float({ noDefaultInfinity: false }), fc.constantFrom(0, -0, NaN, Infinity, -Infinity, 1.5))
  fc.assert(
    fc.property(fc.array(value, { maxLength: 300 }), fc.integer({ min: 2, max: 30 }), (values, wanted) => {
      const frozen = freezeBins(values, wanted)
      const singles = frozen.singles.map((single) => single.value)
      const bins = createNumberBins(singles, frozen.edges)
      const found = new Array<number>(bins.cells.length).fill(0)
      for (const each of values) found[bins.cellOf(each)]++
      const { null: none, negative_infinity: low, positive_infinity: high } = frozen
      t.same(found, [none, low, high, ...frozen.singles.map(({ count }) => count), ...frozen.counts])
      t.ok(bins.cells.length <= 3 + 2 * wanted, 'no more cells than twice the bins')
    }),
  )
  t.end()
})
