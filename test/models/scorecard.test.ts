// The baseline and the score maps: pure, and never without a score.
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import fc from 'fast-check'
import t from 'tap'
import { boundScore, compileScoreMap } from '../../src/models/score-map.js'
import { compileScorecard, type ScorecardFile } from '../../src/models/scorecard.js'
import { fixture } from './fixtures.js'

const CARD = JSON.parse(await readFile(join(fixture('scorecard'), 'scorecard.json'), 'utf8')) as ScorecardFile
const COLUMNS = Int32Array.of(4, 1, 0)

await t.test('points follow the published formula, picked by column and offset', (t) => {
  const card = compileScorecard(CARD)
  const vector = Float64Array.of(9, 9, 1, 3, 9, 9, 250) // two vectors' ends around one that begins at 2
  const amount = (0.9 * (Math.log1p(250) - 3.5)) / 1.2
  t.ok(Math.abs(card.raw(vector, 2, COLUMNS) - (-2.5 + amount + 0.4 * 3 + 0.7)) < 1e-12)
  t.ok(Math.abs(card.score(vector, 2, COLUMNS) - 1 / (1 + Math.exp(-card.raw(vector, 2, COLUMNS)))) < 1e-15)
  const reasons = card.reasons(vector, 2, COLUMNS)
  t.same(
    reasons.map(({ code }) => code),
    ['amount_high', 'customer_count_1d', 'during_night'],
    'largest first',
  )
  t.ok(Math.abs(reasons[0].contribution - amount) < 1e-12)
  t.end()
})

await t.test('a score is the same from a vector that was logged as float32', (t) => {
  const card = compileScorecard(CARD)
  const fed = Float64Array.of(0, 3, 0, 0, 123.45)
  t.not(Math.fround(fed[4]), fed[4])
  t.equal(card.raw(Float64Array.from(Float32Array.from(fed)), 0, COLUMNS), card.raw(fed, 0, COLUMNS))
  t.end()
})

await t.test('at most four reasons, only those that speak for fraud, ties in the order of the file', (t) => {
  const feature = { weight: 1, clip: [0, 10] as [number, number], missing: 0 }
  const names = ['a', 'b', 'c', 'd', 'e', 'f']
  const card = compileScorecard({
    format: 1,
    kind: 'logistic',
    intercept: 0,
    features: names.map((name) => ({ ...feature, name })),
  })
  const columns = Int32Array.from(names.keys())
  const codes = (...values: number[]) => card.reasons(Float64Array.from(values), 0, columns).map(({ code }) => code)
  t.same(codes(1, 5, 1, 9, 1, 1), ['d', 'b', 'a', 'c'])
  t.same(codes(0, 0, -3, NaN, 0, 2), ['f'])
  t.same(codes(0, 0, 0, 0, 0, 0), [])
  t.end()
})

/** Scorecards over the whole range that the schema allows. */
const anyCard = fc
  .array(
    fc.record({
      weight: fc.double({ min: -1e6, max: 1e6, noNaN: true }),
      ends: fc.tuple(
        fc.double({ min: -1e15, max: 1e15, noNaN: true }),
        fc.double({ min: -1e15, max: 1e15, noNaN: true }),
      ),
      log1p: fc.boolean(),
      mean: fc.double({ min: -1e15, max: 1e15, noNaN: true }),
      scale: fc.double({ min: 1e-9, max: 1e15, noNaN: true }),
      missing: fc.double({ min: -1e6, max: 1e6, noNaN: true }),
    }),
    { minLength: 1, maxLength: 12 },
  )
  .map((rows) => ({
    format: 1,
    kind: 'logistic',
    intercept: 0.5,
    features: rows.map(({ ends, ...row }, index) => {
      const positive = row.log1p ? ends.map(Math.abs) : [...ends]
      return { ...row, name: `f${index}`, clip: positive.sort((a, b) => a - b) }
    }),
  }))

await t.test('whatever the card and the vector, the baseline gives a score within [0, 1] and finite reasons', (t) => {
  const property = fc.property(anyCard, fc.array(fc.double(), { maxLength: 14 }), fc.nat(3), (json, values, at) => {
    const card = compileScorecard(json)
    const vector = Float64Array.from(values)
    const columns = Int32Array.from(card.features.keys())
    const score = card.score(vector, at, columns)
    if (!(score >= 0 && score <= 1)) throw new Error(`score ${score}`)
    if (!Number.isFinite(card.raw(vector, at, columns))) throw new Error('raw is not finite')
    const reasons = card.reasons(vector, at, columns)
    return reasons.length <= 4 && reasons.every(({ contribution }) => contribution > 0 && contribution < Infinity)
  })
  t.doesNotThrow(() => fc.assert(property, { numRuns: 2_000, interruptAfterTimeLimit: 4_000 }))
  t.end()
})

await t.test('a card that could fail later is refused when it is compiled', (t) => {
  const refuse = (edit: (card: ScorecardFile) => void, path: string) => {
    const card = structuredClone(CARD)
    edit(card)
    t.throws(() => compileScorecard(card), { code: 'ASSAY_BUNDLE_REFUSED', errors: [{ path }] }, path)
  }
  refuse((card) => (card.features[0].weight = NaN), '/features/0/weight')
  refuse((card) => (card.features[1].scale = 0), '/features/1/scale')
  refuse((card) => (card.features[1].clip = [0, 1e300]), '/features/1/clip/1')
  refuse((card) => (card.features[1].clip = [3, 2]), '/features/1/clip')
  refuse((card) => (card.features[0].clip = [-2, 5]), '/features/0/clip')
  refuse((card) => (card.features[2].name = 'amount'), '/features/2')
  refuse((card) => (card.intercept = Infinity), '/intercept')
  t.doesNotThrow(() => compileScorecard(CARD))
  t.end()
})

await t.test('score maps give probabilities, and the range rule forgives rounding only', (t) => {
  const sigmoid = compileScoreMap({ kind: 'sigmoid' })
  t.equal(sigmoid(0), 0.5)
  t.ok(Math.abs(sigmoid(2) - 0.8807970779778823) < 1e-15, '1 / (1 + e^-2)')
  t.same([sigmoid(-1000), sigmoid(1000)], [0, 1], 'no overflow')
  t.equal(compileScoreMap({ kind: 'linear', from: 100, to: 0 })(25), 0.75)
  t.equal(compileScoreMap(undefined)(0.3), 0.3)
  t.same([-1e-6, -1e-9, 0, 0.5, 1, 1 + 1e-9].map(boundScore), [0, 0, 0, 0.5, 1, 1])
  t.same([-2e-6, 1 + 2e-6, NaN, Infinity, -Infinity].map(boundScore), [NaN, NaN, NaN, NaN, NaN])
  t.end()
})
