// Kappa, paired proportions, rank correlation of a grid and exact sums, against published numbers and independent
// implementations. The source of each number stands beside it.
import t from 'tap'
import fc from 'fast-check'
import { binOf, GRID_AXIS, logitOf } from '../../src/governance/monitors/shadow-bins.js'
import { addExact, bigOf, emptySum, mergeExact } from '../../src/stats/exact-sum.js'
import { cohenKappa } from '../../src/stats/kappa.js'
import { wilson } from '../../src/stats/interval.js'
import { mcnemarMidP, normalTail, pairedDifference } from '../../src/stats/paired-proportion.js'
import { kendallOfGrid, type RankCorrelation, spearmanOfGrid } from '../../src/stats/rank-correlation.js'

function near(test: Pick<typeof t, 'ok'>, got: number, wanted: number, tolerance: number, what: string): void {
  test.ok(Math.abs(got - wanted) <= tolerance, `${what}: ${got}, wanted ${wanted}`)
}

void t.test("Cohen's kappa and its standard error are those of statsmodels", (t) => {
  // statsmodels 0.15.0, stats.inter_rater.cohens_kappa: kappa and std_kappa.
  const cases: [number[], number, number, number][] = [
    [[20, 5, 10, 15], 2, 0.4, 0.12699606293110033],
    [[44, 5, 1, 7, 20, 3, 9, 5, 6], 3, 0.49152542372881347, 0.07212745929334068],
    [[100, 3, 0, 8, 40, 2, 1, 6, 20], 3, 0.801423134204865, 0.040896535897947034],
    [[9995, 3, 1, 1], 2, 0.3331555081355964, 0.24847519675939828],
  ]
  for (const [counts, size, kappa, se] of cases) {
    const got = cohenKappa(counts, size)
    near(t, got.kappa, kappa, 1e-12, 'kappa')
    near(t, got.se, se, 1e-12, 'standard error')
  }
  t.end()
})

void t.test('kappa is not a number where nothing was rated, or only one category is known', (t) => {
  t.ok(Number.isNaN(cohenKappa([0, 0, 0, 0], 2).kappa))
  const single = cohenKappa([7, 0, 0, 0], 2)
  t.ok(Number.isNaN(single.kappa))
  t.equal(single.agreement, 1)
  t.end()
})

void t.test('the interval of a paired difference is the published one', (t) => {
  // Airway hyper-responsiveness before and after stem cell transplantation (Bentur et al. 2009): 1, 1, 7, 12.
  // Fagerland, Lydersen & Laake (2014), Stat. Med. 33, 2850–2875: Newcombe's interval of the difference −0.286 is
  // −0.507 to −0.026.
  const airway = pairedDifference({ both: 1, firstOnly: 7, secondOnly: 1, neither: 12 })
  near(t, airway.difference, -0.286, 5e-4, 'difference')
  near(t, airway.low, -0.507, 5e-4, 'lower limit')
  near(t, airway.high, -0.026, 5e-4, 'upper limit')
  t.end()
})

void t.test(
  'the interval of a paired difference turns round with the pairs and has a width where none differs',
  (t) => {
    fc.assert(
      fc.property(fc.array(fc.nat(5000), { minLength: 4, maxLength: 4 }), ([both, firstOnly, secondOnly, neither]) => {
        const one = pairedDifference({ both, firstOnly, secondOnly, neither })
        const other = pairedDifference({ both, firstOnly: secondOnly, secondOnly: firstOnly, neither })
        if (both + firstOnly + secondOnly + neither === 0) return one.low === -1 && one.high === 1
        const isInside = one.low >= -1 && one.low <= one.difference && one.difference <= one.high && one.high <= 1
        return isInside && Math.abs(one.low + other.high) < 1e-9 && one.high > one.low
      }),
    )
    t.end()
  },
)

void t.test(
  "McNemar's mid-p value is that of the binomial distribution, and the asymptotic one beyond a thousand",
  (t) => {
    // scipy 1.17.1: 2 × binom.cdf(min, n, 0.5) − binom.pmf(min, n, 0.5). The first is 0.039 in Fagerland et al. (2013).
    near(t, mcnemarMidP(1, 7), 0.0390625, 1e-12, '1 and 7')
    near(t, mcnemarMidP(7, 1), 0.0390625, 1e-12, '7 and 1')
    near(t, mcnemarMidP(150, 86), 2.893389517615428e-5, 1e-15, '150 and 86')
    near(t, mcnemarMidP(59, 6) / 2.7258031986068867e-12, 1, 1e-10, '59 and 6')
    near(t, mcnemarMidP(700, 600) / 0.005543558709501235, 1, 0.01, '700 and 600')
    t.equal(mcnemarMidP(0, 0), 1)
    for (const [z, p] of [
      [0.5, 0.6170750774519738],
      [2.5, 0.012419330651552265],
      [9, 2.2571768119076647e-19],
    ]) {
      near(t, normalTail(z) / p, 1, 1e-12, `the tail beyond ${z}`)
    }
    t.end()
  },
)

void t.test("Wilson's interval is the published one", (t) => {
  // Newcombe (1998), Stat. Med. 17, 857–872, table I, method 3: 81 of 263, 15 of 148, 0 of 20, 29 of 29 (as 1 − 0 of
  // 29).
  const cases = [
    [81, 263, 0.2553, 0.3662],
    [15, 148, 0.0624, 0.1605],
    [0, 20, 0, 0.1611],
    [29, 29, 0.883, 1],
  ]
  for (const [count, n, low, high] of cases) {
    const got = wilson(count, n)
    near(t, got.low, low, 5e-5, `${count} of ${n}, lower`)
    near(t, got.high, high, 5e-5, `${count} of ${n}, upper`)
  }
  t.end()
})

/** Numerical Recipes' generator, which the Python side repeats: scores around a fraud model's, and noisy twins. */
function scores(seed: number, n: number, noise: number): [number, number][] {
  let state = seed
  const next = (): number => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return state / 2 ** 32
  }
  return Array.from({ length: n }, () => {
    const base = -4 + 6 * (next() + next() + next() - 1.5)
    const moved = base + noise * (next() + next() - 1)
    return [1 / (1 + Math.exp(-base)), 1 / (1 + Math.exp(-moved))]
  })
}

function gridOf(pairs: readonly [number, number][]) {
  const bin = (score: number): number => binOf(GRID_AXIS, logitOf(score))
  return {
    bins: GRID_AXIS.bins,
    columns: pairs.map(([first]) => bin(first)),
    rows: pairs.map(([, second]) => bin(second)),
    counts: pairs.map(() => 1),
  }
}

void t.test(
  'rank correlations of the grid are those of scipy over the binned scores, and near those of the scores',
  (t) => {
    // scipy 1.17.1 over the same generator: spearmanr and kendalltau of the scores, then of their bins.
    const cases: [number, number, number, [number, number, number, number]][] = [
      [1, 2000, 1, [0.9912559818139954, 0.9181240620310155, 0.9910689812788346, 0.9292234099076039]],
      [2, 2000, 8, [0.6449703712425928, 0.4603161580790395, 0.64316930058053, 0.46518375885290025]],
      [3, 500, 40, [0.21577775911103644, 0.14327855711422843, 0.20420287028404183, 0.14660742216864417]],
    ]
    for (const [seed, n, noise, [rho, tau, binnedRho, binnedTau]] of cases) {
      const cells = gridOf(scores(seed, n, noise))
      const check = (got: RankCorrelation, exact: number, binned: number, what: string): void => {
        near(t, got.value, binned, 1e-9, `${what} of the bins`)
        near(t, got.value, exact, 0.012, `${what} of the scores`)
        t.ok(Math.abs(got.value - exact) <= got.errorMax, `${what} is off by no more than is stated: ${got.errorMax}`)
        t.ok(got.errorMax < 0.4, `and that says something: ${got.errorMax}`)
      }
      check(spearmanOfGrid(cells), rho, binnedRho, 'rho')
      check(kendallOfGrid(cells), tau, binnedTau, 'tau')
    }
    t.end()
  },
)

void t.test('no order within the cells gives a correlation further away than is stated', (t) => {
  const value = fc.double({ min: 0, max: 1, noNaN: true })
  fc.assert(
    fc.property(fc.array(fc.tuple(value, value), { minLength: 2, maxLength: 60 }), (pairs) => {
      const coarse = (score: number): number => Math.min(3, Math.floor(score * 4))
      const cells = {
        ...{ bins: 4, columns: pairs.map(([x]) => coarse(x)), rows: pairs.map(([, y]) => coarse(y)) },
        counts: pairs.map(() => 1),
      }
      const rho = pearson(ranksOf(pairs.map(([x]) => x)), ranksOf(pairs.map(([, y]) => y)))
      const tau = tauOf(pairs)
      const spearman = spearmanOfGrid(cells)
      const kendall = kendallOfGrid(cells)
      const holds = (exact: number, got: RankCorrelation): boolean =>
        Number.isNaN(got.value) || Number.isNaN(exact) || Math.abs(exact - got.value) <= got.errorMax + 1e-9
      return holds(rho, spearman) && holds(tau, kendall)
    }),
    { numRuns: 500 },
  )
  t.end()
})

void t.test('a side with a single bin has no rank correlation', (t) => {
  const cells = { bins: 4, columns: [1, 1], rows: [0, 2], counts: [3, 4] }
  t.ok(Number.isNaN(spearmanOfGrid(cells).value))
  t.ok(Number.isNaN(kendallOfGrid(cells).value))
  t.end()
})

function ranksOf(values: readonly number[]): number[] {
  return values.map((value) => {
    const below = values.filter((other) => other < value).length
    return below + values.filter((other) => other === value).length / 2
  })
}

function pearson(xs: readonly number[], ys: readonly number[]): number {
  const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length
  const [mx, my] = [mean(xs), mean(ys)]
  const sum = (of: (at: number) => number): number => xs.reduce((total, _, at) => total + of(at), 0)
  const spread = Math.sqrt(sum((at) => (xs[at] - mx) ** 2) * sum((at) => (ys[at] - my) ** 2))
  return sum((at) => (xs[at] - mx) * (ys[at] - my)) / spread
}

function tauOf(pairs: readonly [number, number][]): number {
  let [balance, xs, ys] = [0, 0, 0]
  pairs.forEach(([x, y], at) => {
    for (const [otherX, otherY] of pairs.slice(at + 1)) {
      balance += Math.sign(x - otherX) * Math.sign(y - otherY)
      xs += x === otherX ? 0 : 1
      ys += y === otherY ? 0 : 1
    }
  })
  return balance / Math.sqrt(xs * ys)
}

void t.test('exact sums equal those of big integers in any order and partition', (t) => {
  const value = fc.integer({ min: -(2 ** 50), max: 2 ** 50 })
  fc.assert(
    fc.property(fc.array(value), fc.array(value), (first, second) => {
      const [one, two] = [emptySum(), emptySum()]
      for (const each of first) addExact(one, each)
      for (const each of second) addExact(two, each)
      mergeExact(one, two)
      return bigOf(one) === [...first, ...second].reduce((sum, each) => sum + BigInt(each), 0n)
    }),
  )
  t.end()
})
