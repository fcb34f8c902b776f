// Bins, counts and PSI: every value has one cell, parts merge to the same bytes, and what the tests say about chance is
// held against draws from known distributions.
import fc from 'fast-check'
import t from 'tap'
import { createCategoryBins, createNumberBins } from '../../src/stats/bins.js'
import { chiSquareUpperQuantile } from '../../src/stats/chi-square.js'
import { addCounts, decodeCounts, encodeCounts, totalOf } from '../../src/stats/counts.js'
import { psi } from '../../src/stats/psi.js'
import { textbookPsi } from '../../src/stats/textbook-psi.js'
import { createRandom } from '../../src/simulate/random.js'
import { createRows, multinomial, sharesOf } from './draw.js'

// Seconds of one core; the clock may say more beside other work.
t.setTimeout(240_000)

const bins = createNumberBins([0, 2.5], [1, 2, 4])
const labels = (values: readonly number[]): string[] => values.map((value) => bins.cells[bins.cellOf(value)].label)

/** Twenty equal cells behind the three for null and the infinities, as a smooth feature has. */
const EVEN = createNumberBins(
  [],
  Array.from({ length: 19 }, (_, at) => at + 1),
)
const evenShares = EVEN.cells.map((cell) => (cell.kind === 'interval' ? 1 / 20 : 0))

void t.test('a value falls into the first cell that fits: null, infinity, single value, interval', (t) => {
  t.strictSame(labels([NaN, -Infinity, Infinity]), ['null', '−∞', '+∞'])
  t.strictSame(labels([0, -0, 2.5]), ['0', '0', '2.5'])
  t.strictSame(labels([-1e30, 1, 1.0000001, 2, 3, 4, 4.1, 1e30]), [
    ...['(−∞, 1]', '(−∞, 1]', '(1, 2]', '(1, 2]'],
    ...['(2, 4]', '(2, 4]', '(4, +∞)', '(4, +∞)'],
  ])
  t.strictSame(labels([1 + 1e-12, 1e300]), ['(−∞, 1]', '+∞'], 'values are taken as float32')
  t.strictSame(createNumberBins([], []).cells.length, 4, 'without singles and edges there is one interval')
  for (const bad of [[2, 1], [1, 1], [NaN], [Infinity]]) {
    t.throws(() => createNumberBins(bad, []), RangeError)
    t.throws(() => createNumberBins([], bad), RangeError)
  }
  t.end()
})

void t.test('a category that was never seen has a cell of its own', (t) => {
  const bins = createCategoryBins(['EUR', 'USD', 'EUR'])
  t.strictSame(
    bins.cells.map((cell) => cell.label),
    ['null', 'EUR', 'USD', 'unseen'],
  )
  t.strictSame(
    [null, 'EUR', 'USD', 'SEK', true].map((value) => bins.cellOf(value)),
    [0, 1, 2, 3, 3],
  )
  t.end()
})

void t.test('any partition and order of partial counts merges to the same bytes', (t) => {
  const part = fc.array(
    fc.integer({ min: -3, max: 8 }).map((value) => value / 2),
    { maxLength: 40 },
  )
  fc.assert(
    fc.property(fc.array(part, { minLength: 1, maxLength: 6 }), fc.infiniteStream(fc.nat()), (parts, order) => {
      const countOf = (values: readonly number[]): Float64Array => {
        const counts = new Float64Array(bins.cells.length)
        for (const value of values) counts[bins.cellOf(value)]++
        return counts
      }
      const whole = encodeCounts(countOf(parts.flat()))
      const merged = new Float64Array(bins.cells.length)
      const left = [...parts]
      while (left.length > 0) {
        const [values] = left.splice((order.next().value as number) % left.length, 1)
        // Over the wire and back, as counts of another pod would come.
        addCounts(merged, decodeCounts(encodeCounts(countOf(values)), bins.cells.length))
      }
      t.strictSame(encodeCounts(merged), whole)
    }),
    { numRuns: 200 },
  )
  t.end()
})

void t.test('counts keep their value as bytes, and what is not counts is refused', (t) => {
  const counts = [0, 127, 128, 300, 2 ** 32 + 7, Number.MAX_SAFE_INTEGER]
  t.strictSame([...decodeCounts(encodeCounts(counts), counts.length)], counts)
  t.equal(
    totalOf(counts),
    counts.reduce((sum, count) => sum + count),
  )
  for (const bad of [-1, 0.5, NaN, 2 ** 53]) t.throws(() => encodeCounts([bad]), RangeError)
  t.throws(() => decodeCounts(Uint8Array.of(128), 1), RangeError, 'ends early')
  t.throws(() => decodeCounts(Uint8Array.of(1, 2), 1), RangeError, 'too long')
  t.throws(() => decodeCounts(new Uint8Array(12).fill(255), 1), RangeError, 'beyond a safe integer')
  t.throws(() => addCounts(new Float64Array(2), [1]), RangeError)
  t.throws(() => psi([1], [1, 2]), RangeError)
  t.end()
})

void t.test('PSI is the sum of (q − p) ln(q / p), its bias taken off', (t) => {
  // Shares 0.5, 0.3, 0.2 against 0.4, 0.4, 0.2: 0.1 ln 1.25 + 0.1 ln (4/3) = 0.0510826.
  const many = psi([500e6, 300e6, 200e6], [400e6, 400e6, 200e6])
  t.ok(Math.abs(many.psi - 0.0510826) < 1e-6)
  t.ok(many.atLeast > 0.05 && many.atLeast < many.psi && many.atMost > many.psi && many.atMost < 0.0522)
  t.ok(many.p < 1e-300 && many.pTolerated > 1 - 1e-9, 'surely changed, surely by less than 0.1')
  const few = psi([500, 300, 200], [400, 400, 200])
  t.ok(Math.abs(few.psi - (0.0510826 - 2 * (1 / 1000 + 1 / 1000))) < 5e-4)
  t.strictSame([few.n, few.referenceN], [1000, 1000])
  const same = psi([50, 30, 20], [50, 30, 20])
  t.strictSame([same.psi, same.p, same.atLeast], [0, 1, 0])
  for (const nothing of [psi([0, 0], [0, 0]), psi([5, 0], [7, 0]), psi([5, 5], [0, 0])])
    t.strictSame([nothing.psi, nothing.p, nothing.pTolerated, nothing.atLeast], [0, 1, 1, 0])
  t.end()
})

void t.test('where nothing changed, p is uniform: also for small windows, small references and rare cells', (t) => {
  const zeroInflated = [0, 0, 0, 0.965, 0.012, 0.008, 0.007, 0.005, 0.003]
  const rare = [1e-6, 0, 0, 0.2, 0.3, 0.2, 0.2, 0.0999, 5e-5, 4.9e-5]
  const draws = 20_000
  for (const [name, shares, n, referenceN] of [
    ['even', evenShares, 5000, 700_000],
    ['even, small reference', evenShares, 5000, 5000],
    ['even, small window', evenShares, 500, 50_000],
    ['zero-inflated', zeroInflated, 5000, 700_000],
    ['zero-inflated, small window', zeroInflated, 500, 700_000],
    ['rare cells', rare, 5000, 700_000],
    ['rare cells, small window', rare, 500, 20_000],
  ] as const) {
    const random = createRandom(n + referenceN)
    let small = 0
    let smaller = 0
    let kept = 0
    for (let draw = 0; draw < draws; draw++) {
      const { p } = psi(multinomial(random, referenceN, shares), multinomial(random, n, shares))
      kept += p > 0.5 ? 1 : 0
      small += p < 1e-2 ? 1 : 0
      smaller += p < 1e-3 ? 1 : 0
    }
    // 200 and 20 are expected; bounds beyond four deviations, with room for an approximation that is not exact.
    t.ok(small < 280, `${name}: ${small} of ${draws} below 1e-2`)
    t.ok(smaller < 42, `${name}: ${smaller} of ${draws} below 1e-3`)
    if (shares === evenShares) {
      t.ok(small > 130 && smaller > 5, `${name}: and not too few (${small}, ${smaller})`)
      t.ok(Math.abs(kept / draws - 0.5) < 0.03, `${name}: half of all above one half`)
    }
  }
  t.end()
})

void t.test('a true PSI of 0.1 is rejected as tolerated no more often than asked, whatever its shape', (t) => {
  const tilted = evenShares.map((share, at) => (share === 0 ? 0 : share * Math.exp(0.0548 * (at - 12.5))))
  const nulls = evenShares.map((share, at) => (at === 0 ? 0.0178 : share * (1 - 0.0178)))
  const spike = evenShares.map((share, at) => (at === 3 ? share + 0.0915 : share * (1 - 0.0915)))
  const before = { tilted: evenShares, nulls: [1e-4, ...evenShares.slice(1)], spike: evenShares }
  const n = 5000
  for (const [name, shares] of Object.entries({ tilted, nulls, spike })) {
    const random = createRandom(7)
    const [p, q] = [sharesOf(before[name as keyof typeof before]), sharesOf(shares)]
    const truth = q.reduce((sum, share, at) => sum + (share > 0 ? (share - p[at]) * Math.log(share / p[at]) : 0), 0)
    let rejected = 0
    let wrong = 0
    for (let draw = 0; draw < 4000; draw++) {
      const found = psi(multinomial(random, 700_000, p), multinomial(random, n, q), { tolerated: truth })
      rejected += found.pTolerated < 1e-2 ? 1 : 0
      wrong += found.atLeast > truth ? 1 : 0
    }
    t.ok(truth > 0.08 && truth < 0.13, `${name}: true PSI ${truth.toFixed(4)}`)
    t.ok(rejected < 90, `${name}: ${rejected} of 4000 rejected at 1e-2, 40 expected`)
    t.ok(wrong > 60 && wrong < 330, `${name}: the lower bound is too high in ${wrong} of 4000, 200 expected`)
  }
  t.end()
})

void t.test('a real shift is rejected: the negative of both tests above', (t) => {
  const random = createRandom(11)
  const shifted = evenShares.map((share, at) => (share === 0 ? 0 : share * Math.exp(0.1 * (at - 12.5))))
  const found = psi(multinomial(random, 700_000, evenShares), multinomial(random, 5000, sharesOf(shifted)))
  t.ok(found.psi > 0.25 && found.p < 1e-100 && found.pTolerated < 1e-10 && found.atLeast > 0.1)
  t.end()
})

void t.test('one absurd value moves PSI by less than 0.005, and empty cells do not move it at all', (t) => {
  const reference = multinomial(createRandom(3), 700_000, evenShares)
  const rows = multinomial(createRandom(4), 5000, evenShares)
  const { psi: without } = psi(reference, rows)
  for (const absurd of [NaN, Infinity, -Infinity, 1e30, -1e30]) {
    const moved = Float64Array.from(rows)
    moved[EVEN.cellOf(absurd)]++
    t.ok(Math.abs(psi(reference, moved).psi - without) < 0.005, `${absurd}`)
  }
  const wider = (counts: Float64Array): Float64Array => Float64Array.from([...counts, 0, 0, 0, 0, 0])
  t.strictSame(psi(wider(reference), wider(rows)), psi(reference, rows))
  t.end()
})

void t.test('rows drawn one by one and counts drawn at once have the same distribution', (t) => {
  const shares = [0.01, 0.001, 0, 0.5, 0.189, 0.2, 0.1]
  const cells = createNumberBins([0], [1, 2])
  const random = createRandom(5)
  const row = createRows(random, cells.cells, shares)
  const byRow = new Float64Array(cells.cells.length)
  const atOnce = new Float64Array(cells.cells.length)
  for (let window = 0; window < 200; window++) {
    for (let each = 0; each < 1000; each++) byRow[cells.cellOf(row())]++
    addCounts(atOnce, multinomial(random, 1000, shares))
  }
  for (const [name, counts] of Object.entries({ byRow, atOnce })) {
    const distance = shares.reduce((sum, share, at) => {
      const wanted = 200_000 * share
      return wanted === 0 ? sum + 1e9 * counts[at] : sum + (counts[at] - wanted) ** 2 / wanted
    }, 0)
    t.ok(distance < chiSquareUpperQuantile(1e-4, 5), `${name}: chi-square ${distance.toFixed(1)} of 5`)
  }
  t.end()
})

void t.test('the textbook PSI takes ten groups of the reference and has no idea of chance', (t) => {
  const reference = Float64Array.from(evenShares, (share) => share * 20_000)
  const current = Float64Array.from(reference)
  t.equal(textbookPsi(EVEN.cells, reference, current), 0)
  // Everything from the first decile to the second: shares 0 (counted as 0.0001) and 0.2 against 0.1 and 0.1.
  for (const at of [3, 4]) {
    current[at + 2] += current[at]
    current[at] = 0
  }
  const wanted = (1e-4 - 0.1) * Math.log(1e-4 / 0.1) + 0.1 * Math.log(2)
  t.ok(Math.abs((textbookPsi(EVEN.cells, reference, current) ?? 0) - wanted) < 1e-12)
  current[0] = 1e6
  t.ok(Math.abs((textbookPsi(EVEN.cells, reference, current) ?? 0) - wanted) < 1e-12, 'and does not see nulls')
  const { cells } = createCategoryBins(['a', 'b'])
  t.equal(textbookPsi(cells, [0, 0, 0, 0], [0, 1, 0, 0]), null, 'nothing to compare with')
  t.ok((textbookPsi(cells, [0, 50, 50, 0], [0, 80, 20, 0]) ?? 0) > 0.4)
  t.end()
})
