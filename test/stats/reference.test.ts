// Distributions, intervals and quantiles against published values and against SciPy 1.17.1 (made by hand once; the call
// that gave a number stands beside it).
import t, { type Test } from 'tap'
import {
  chiSquareCdf,
  chiSquareQuantile,
  chiSquareSurvival,
  chiSquareUpperQuantile,
  noncentralCdf,
  noncentralityAtLeast,
  noncentralityAtMost,
  noncentralQuantile,
  noncentralSurvival,
} from '../../src/stats/chi-square.js'
import { gammaLower, gammaUpper, logGamma } from '../../src/stats/gamma.js'
import { deviations, newcombe, wilson } from '../../src/stats/interval.js'
import { quantiles, sortedQuantile } from '../../src/stats/quantile.js'

/** Equal to a relative 1e-9, unless a test says otherwise. */
function near(test: Test, found: number, wanted: number, name: string, relative = 1e-9): void {
  const off = Math.abs(found - wanted) / Math.max(Math.abs(wanted), Number.MIN_VALUE)
  if (off <= relative) test.pass(name)
  else test.fail(`${name}: ${found}, wanted ${wanted}`)
}

void t.test('the gamma functions agree with scipy.special', (t) => {
  const logs = [
    [0.1, 2.252712651734206],
    [0.5, 0.5723649429247],
    [1.5, -0.12078223763524526],
    [10, 12.801827480081469],
    [171.5, 709.1431630309283],
    [1e5, 1051287.7089736569],
  ]
  for (const [x, wanted] of logs) near(t, logGamma(x), wanted, `gammaln(${x})`, 1e-12)
  t.ok(Math.abs(logGamma(1)) < 1e-14)
  // a, x, gammaincc, gammainc
  const incomplete = [
    [0.5, 0.1, 0.6547208460185768, 0.34527915398142317],
    [0.5, 2, 0.04550026389635857, 0.9544997361036415],
    [10, 3, 0.9988975118698845, 0.0011024881301154815],
    [10, 15, 0.06985366069940986, 0.9301463393005901],
    [20000, 20500, 0.00022502803564234105, 0.9997749719643576],
    [350000, 351000, 0.04558436018643316, 0.9544156398135668],
    [0.001, 1, 0.0002196083575855568, 0.9997803916424145],
  ]
  for (const [a, x, upper, lower] of incomplete) {
    near(t, gammaUpper(a, x), upper, `gammaincc(${a}, ${x})`)
    near(t, gammaLower(a, x), lower, `gammainc(${a}, ${x})`)
  }
  for (const outside of [logGamma(0), gammaLower(0, 1), gammaUpper(-1, 1), gammaUpper(1, NaN)]) t.ok(isNaN(outside))
  t.strictSame([gammaLower(2, 0), gammaUpper(2, 0)], [0, 1])
  t.end()
})

void t.test('the chi-square distribution agrees with its tables and with scipy.stats.chi2', (t) => {
  // Published table (NIST/SEMATECH e-Handbook, 1.3.6.7.4): upper critical values.
  const table = [
    [0.05, 1, 3.841],
    [0.05, 10, 18.307],
    [0.01, 20, 37.566],
    [0.001, 30, 59.703],
    [0.1, 100, 118.498],
  ]
  for (const [chance, df, critical] of table) {
    const found = chiSquareUpperQuantile(chance, df)
    t.ok(Math.abs(found - critical) < 5.1e-4, `critical value of ${df} at ${chance}: ${found}`)
  }
  // x, df, sf
  const tails = [
    [0.5, 1, 0.47950012218695337],
    [30, 19, 0.05179845889302389],
    [50.8, 19, 9.98462205315041e-5],
    [119, 19, 1.705492003349964e-16],
    [1000, 900, 0.010994608942135844],
    [20000, 19999, 0.49667547194641115],
  ]
  for (const [x, df, tail] of tails) near(t, chiSquareSurvival(x, df), tail, `chi2.sf(${x}, ${df})`)
  near(t, chiSquareCdf(1e-3, 3), 8.40791905804616e-6, 'chi2.cdf(1e-3, 3)')
  near(t, chiSquareQuantile(1e-6, 5), 0.012896160206497087, 'chi2.ppf(1e-6, 5)')
  near(t, chiSquareQuantile(0.9999, 19), 50.79548966562221, 'chi2.ppf(0.9999, 19)')
  near(t, chiSquareQuantile(0.05, 19), 10.117013063859044, 'chi2.ppf(0.05, 19)')
  t.strictSame([chiSquareQuantile(0, 3), chiSquareQuantile(1, 3)], [0, Infinity])
  t.strictSame([chiSquareUpperQuantile(1, 3), chiSquareUpperQuantile(0, 3)], [0, Infinity])
  t.ok(isNaN(chiSquareQuantile(1.5, 3)) && isNaN(chiSquareUpperQuantile(-1, 3)))
  t.end()
})

void t.test('the non-central chi-square distribution agrees with scipy.stats.ncx2, far into its tails', (t) => {
  // x, df, nc, sf, cdf
  const tails = [
    [10, 4, 5, 0.36177114041768893, 0.6382288595823113],
    [50, 19, 10, 0.018847813029992822, 0.981152186970007],
    [700, 19, 500, 9.68140424385699e-5, 0.9999031859575614],
    [400, 19, 500, 0.9973337830483193, 0.0026662169516809098],
    [40000, 22, 39000, 0.006889183975915371, 0.9931108160240907],
    [5, 2, 0.01, 0.08311170043773, 0.91688829956227],
  ]
  for (const [x, df, lambda, upper, lower] of tails) {
    near(t, noncentralSurvival(x, df, lambda), upper, `ncx2.sf(${x}, ${df}, ${lambda})`)
    near(t, noncentralCdf(x, df, lambda), lower, `ncx2.cdf(${x}, ${df}, ${lambda})`)
  }
  near(t, noncentralSurvival(600, 3, 200), 3.5347647575616266e-25, 'ncx2.sf(600, 3, 200)', 1e-6)
  near(t, noncentralQuantile(0.9999, 19, 500), 699.5707621530684, 'ncx2.ppf(0.9999, 19, 500)')
  near(t, noncentralQuantile(0.5, 4, 5), 8.084572766502887, 'ncx2.ppf(0.5, 4, 5)')
  near(t, noncentralSurvival(30, 19, 0), chiSquareSurvival(30, 19), 'without non-centrality it is the central one')
  near(t, noncentralCdf(30, 19, 0), chiSquareCdf(30, 19), 'without non-centrality it is the central one')
  t.strictSame([noncentralSurvival(0, 3, 5), noncentralCdf(0, 3, 5)], [1, 0])
  t.end()
})

void t.test('bounds of the non-centrality are where the tail has the chance asked for, and 0 below', (t) => {
  for (const [x, df] of [
    [60, 19],
    [519, 19],
    [20_000, 10],
  ]) {
    near(t, noncentralSurvival(x, df, noncentralityAtLeast(x, df, 0.05)), 0.05, `at least, ${x}`, 1e-6)
    near(t, noncentralCdf(x, df, noncentralityAtMost(x, df, 0.05)), 0.05, `at most, ${x}`, 1e-6)
  }
  t.equal(noncentralityAtLeast(20, 19, 0.05), 0, 'a value that chance alone explains')
  t.equal(noncentralityAtMost(5, 19, 0.05), 0, 'a value that is small even for chance')
  t.end()
})

void t.test('intervals are those of Newcombe 1998', (t) => {
  // R. G. Newcombe, Stat. Med. 17, 857–872, table I, method 3 (score): to four digits as printed.
  const published = [
    [81, 263, 0.2553, 0.3662],
    [15, 148, 0.0624, 0.1605],
    [0, 20, 0, 0.1611],
    [1, 29, 0.0061, 0.1718],
  ]
  for (const [successes, trials, low, high] of published) {
    const found = wilson(successes, trials)
    t.strictSame([found.low.toFixed(4), found.high.toFixed(4)], [low.toFixed(4), high.toFixed(4)])
  }
  // Stat. Med. 17, 873–890, table II, method 10.
  const differences = [
    [56, 70, 48, 80, 0.0524, 0.3339],
    [9, 10, 3, 10, 0.1705, 0.809],
    [10, 10, 0, 20, 0.6791, 1],
  ]
  for (const [a, m, b, n, low, high] of differences) {
    const found = newcombe({ successes: a, trials: m }, { successes: b, trials: n })
    t.strictSame([found.low.toFixed(4), found.high.toFixed(4)], [low.toFixed(4), high.toFixed(4)])
  }
  t.strictSame(wilson(0, 0), { low: 0, high: 1 }, 'without trials all is possible')
  t.strictSame(wilson(7, 7).high, 1)
  t.strictSame(newcombe({ successes: 0, trials: 0 }, { successes: 0, trials: 0 }).low <= -0.7, true)
  // scipy.stats.norm.ppf
  near(t, deviations(0.95), 1.959963984540054, 'deviations of 95 %')
  near(t, deviations(0.999), 3.2905267314919255, 'deviations of 99.9 %')
  t.end()
})

void t.test('quantiles are those of numpy', (t) => {
  const values = [3, 1, 4, 1, 5, 9, 2, 6]
  const found = quantiles(values, [0, 0.1, 0.25, 0.5, 0.9, 1])
  for (const [at, wanted] of [1, 1, 1.75, 3.5, 6.9, 9].entries()) near(t, found[at], wanted, `quantile ${at}`)
  t.strictSame(values, [3, 1, 4, 1, 5, 9, 2, 6], 'the input stays')
  t.ok(isNaN(sortedQuantile([], 0.5)))
  t.equal(sortedQuantile([7], 0.3), 7)
  t.end()
})
