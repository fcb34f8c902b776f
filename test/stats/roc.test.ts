// Area under the ROC curve, its interval and average precision, against published values and the definitions
// themselves.
import t from 'tap'
import { aucDeviations, aucInterval, averagePrecision, rocOf } from '../../src/stats/roc.js'
import { createDraw } from '../../src/models/onboard/sample.js'

/** scikit-learn's documented example of roc_auc_score and average_precision_score: 0.75 and 0.83. */
const DOCUMENTED = { labels: [0, 0, 1, 1], scores: [0.1, 0.4, 0.35, 0.8] }

void t.test('the documented example has the documented values', (t) => {
  const { scores, labels } = DOCUMENTED
  t.equal(rocOf(scores, labels).auc, 0.75)
  t.equal(averagePrecision(scores, labels).toFixed(2), '0.83')
  t.end()
})

function drawn(seed: number, rows: number) {
  const draw = createDraw(seed)
  const labels = Array.from({ length: rows }, () => (draw() < 0.2 ? 1 : 0))
  // Few values, so that ties occur.
  const first = labels.map((label) => Math.round(10 * (draw() + label / 2)) / 10)
  const second = labels.map((label) => Math.round(10 * (draw() + label / 5)) / 10)
  return { labels, first, second }
}

/** By pairs, as the definition has it. */
function kernel(fraud: number, other: number): number {
  return fraud > other ? 1 : fraud === other ? 0.5 : 0
}

const meanOf = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length

function covariance(a: readonly number[], b: readonly number[]): number {
  const products = a.map((value, at) => (value - meanOf(a)) * (b[at] - meanOf(b)))
  return products.reduce((sum, value) => sum + value, 0) / (a.length - 1)
}

void t.test('area, variance and paired difference are those of all pairs of rows', (t) => {
  for (const seed of [1, 2, 3]) {
    const { labels, first, second } = drawn(seed, 300)
    const parts = [first, second].map((scores) => {
      const frauds = scores.filter((_, row) => labels[row] === 1)
      const others = scores.filter((_, row) => labels[row] === 0)
      return {
        frauds: frauds.map((fraud) => meanOf(others.map((other) => kernel(fraud, other)))),
        others: others.map((other) => meanOf(frauds.map((fraud) => kernel(fraud, other)))),
      }
    })
    const [a, b] = [rocOf(first, labels), rocOf(second, labels)]
    const [x, y] = parts
    t.ok(Math.abs(a.auc - meanOf(x.frauds)) < 1e-12)
    const variance = (p: typeof x, q: typeof x) =>
      covariance(p.frauds, q.frauds) / p.frauds.length + covariance(p.others, q.others) / p.others.length
    const { low, high } = aucInterval(a)
    t.ok(Math.abs((high - low) / 2 - 1.959964 * Math.sqrt(variance(x, x))) < 1e-6)
    const paired = variance(x, x) + variance(y, y) - 2 * variance(x, y)
    t.ok(Math.abs(aucDeviations(a, b) - (a.auc - b.auc) / Math.sqrt(paired)) < 1e-9)
  }
  t.end()
})

void t.test('average precision is the sum over the distinct scores, ties taken together', (t) => {
  const { labels, first } = drawn(4, 200)
  const cuts = [...new Set(first)].sort((a, b) => b - a)
  const frauds = meanOf(labels) * labels.length
  let [expected, before] = [0, 0]
  for (const cut of cuts) {
    const reached = labels.filter((_, row) => first[row] >= cut)
    const recall = reached.filter((label) => label === 1).length / frauds
    expected += (recall - before) * (reached.filter((label) => label === 1).length / reached.length)
    before = recall
  }
  t.ok(Math.abs(averagePrecision(first, labels) - expected) < 1e-12)
  t.end()
})

void t.test('with nothing to compare the interval says nothing, and an area equals itself', (t) => {
  const roc = rocOf([1, 2, 3], [0, 0, 1])
  t.same(aucInterval(roc), { low: 0, high: 1 })
  t.equal(aucDeviations(roc, roc), 0)
  t.ok(Number.isNaN(rocOf([1, 2], [0, 0]).auc))
  t.end()
})
