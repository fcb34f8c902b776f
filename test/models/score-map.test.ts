// Score maps: monotone, exact at their ends, and what each is the inverse of; bad ones named with path and reason.
import fc from 'fast-check'
import t from 'tap'
import type { ScoreMap } from '../../src/contract/manifest.js'
import { compileScoreMap, scoreMapFaults, sigmoid } from '../../src/models/score-map.js'

const probability = fc.double({ min: 0, max: 1, noNaN: true })
const rate = fc.double({ min: 1e-4, max: 0.9999, noNaN: true })
const from = fc.constantFrom('probability' as const, 'log_odds' as const)

/** Tables without faults: rising raws with falls into equal scores now and then. */
const tables = fc
  .uniqueArray(fc.double({ min: -1e6, max: 1e6, noNaN: true }), { minLength: 2, maxLength: 64 })
  .filter((raw) => new Set(raw.map((value) => value + 0)).size === raw.length)
  .chain((raw) =>
    fc.array(probability, { minLength: raw.length, maxLength: raw.length }).map((score): TableMap => {
      const ascending = (values: number[]): number[] => [...values].sort((a, b) => a - b)
      return { kind: 'table', raw: ascending(raw), score: ascending(score) }
    }),
  )
type TableMap = Extract<ScoreMap, { kind: 'table' }>

void t.test('no map turns two raw outputs round, nor leaves [0, 1] where the raw output fits it', (t) => {
  const maps = fc.oneof(
    tables,
    fc.constant<ScoreMap>({ kind: 'sigmoid' }),
    fc.record({ kind: fc.constant('prior_shift' as const), trained_rate: rate, real_rate: rate, from }),
  )
  fc.assert(
    fc.property(maps, probability, probability, fc.double({ min: 0, max: 1e6, noNaN: true }), (map, a, b, scale) => {
      const compiled = compileScoreMap(map)
      const isProbability = map.kind === 'prior_shift' && map.from === 'probability'
      const [low, high] = [Math.min(a, b), Math.max(a, b)].map((p) => (isProbability ? p : (p - 0.5) * scale))
      const [first, second] = [compiled(low), compiled(high)]
      return first >= 0 && second <= 1 && first <= second + 1e-15
    }),
  )
  t.end()
})

void t.test('a shift and the shift back give the probability again, from log-odds too', (t) => {
  fc.assert(
    fc.property(rate, rate, fc.double({ min: 1e-6, max: 1 - 1e-6, noNaN: true }), (trained, real, p) => {
      const there = compileScoreMap({ kind: 'prior_shift', trained_rate: trained, real_rate: real })
      const back = compileScoreMap({ kind: 'prior_shift', trained_rate: real, real_rate: trained })
      const odds = { kind: 'prior_shift', trained_rate: trained, real_rate: real, from: 'log_odds' } as const
      const shifted = there(p)
      // A rounding of the shifted score comes back as large as the way back is steep where it lies.
      const steepness = (p * (1 - p)) / (shifted * (1 - shifted))
      const fromOdds = compileScoreMap(odds)(Math.log(p / (1 - p)))
      return Math.abs(back(shifted) - p) < 1e-14 * (1 + steepness) && Math.abs(fromOdds - shifted) < 1e-12
    }),
  )
  t.end()
})

void t.test('a shift is what sampling did: half of 20 % trained, half of 1 in 1,000 real', (t) => {
  // Of 1,000 frauds and 999,000 others, 1,000 and 4,000 were taken: a score of 0.5 meant 1 fraud to 1 other there, and
  // means 1 to 249.75 here.
  const map = compileScoreMap({ kind: 'prior_shift', trained_rate: 0.2, real_rate: 0.001 })
  t.ok(Math.abs(map(0.5) - 1 / (1 + 249.75)) < 1e-15)
  t.ok(Math.abs(map(0.2) - 0.001) < 1e-15, 'the prior of training becomes the real one')
  t.same([map(0), map(1)], [0, 1], 'what was certain stays so')
  t.same([map(-1e-9), map(1 + 1e-9)], [0, 1], 'rounding is not magnified')
  t.ok(
    [NaN, 1.1, -0.1, Infinity].every((raw) => Number.isNaN(map(raw))),
    'no probability, no score',
  )
  const none = compileScoreMap({ kind: 'prior_shift', trained_rate: 0.3, real_rate: 0.3, from: 'log_odds' })
  t.ok(Math.abs(none(2) - sigmoid(2)) < 1e-15, 'equal rates change nothing')
  t.same([none(-1000), none(1000), none(-Infinity)], [0, 1, 0])
  t.end()
})

void t.test('a table goes through its points, straight between them, flat beyond them', (t) => {
  const map = compileScoreMap({ kind: 'table', raw: [-1, 0, 10, 20], score: [0.1, 0.1, 0.5, 0.9] })
  t.same([-1, 0, 10, 20].map(map), [0.1, 0.1, 0.5, 0.9])
  t.same([-5, -Infinity, 21, Infinity].map(map), [0.1, 0.1, 0.9, 0.9])
  t.ok(Math.abs(map(5) - 0.3) < 1e-15 && Math.abs(map(15) - 0.7) < 1e-15 && map(-0.5) === 0.1)
  t.ok(Number.isNaN(map(NaN)))
  fc.assert(
    fc.property(tables, (table) => {
      const compiled = compileScoreMap(table)
      if (!table.raw.every((raw, at) => compiled(raw) === table.score[at])) return false
      const middle = (table.raw[0] + table.raw[1]) / 2
      return compiled(middle) >= table.score[0] && compiled(middle) <= table.score[1]
    }),
  )
  t.end()
})

void t.test('the table of the inverse leads back', (t) => {
  const raw = [0, 0.25, 0.5, 1]
  const score = [0.01, 0.1, 0.4, 0.99]
  const there = compileScoreMap({ kind: 'table', raw, score })
  const back = compileScoreMap({ kind: 'table', raw: score, score: raw })
  fc.assert(fc.property(probability, (p) => Math.abs(back(there(p)) - p) < 1e-12))
  t.end()
})

void t.test('faults of a map are named with their place', (t) => {
  const faults = (map: ScoreMap): string[] => scoreMapFaults(map).map(({ path, message }) => `${path} ${message}`)
  t.same(faults({ kind: 'table', raw: [0, 1, 1], score: [0, 0.5] }), [
    '/score_map/score one for each raw: 3, here 2',
    '/score_map/raw/2 above the one before, 1; here 1',
  ])
  t.same(faults({ kind: 'table', raw: [0, 1, 2], score: [0, 0.5, 0.4] }), [
    '/score_map/score/2 not below the one before, 0.5; here 0.4',
  ])
  t.same(faults({ kind: 'linear', from: 2, to: 2 }), ['/score_map linear needs from and to that differ'])
  t.same(faults({ kind: 'table', raw: [0, 1], score: [0, 1] }), [])
  t.same(faults({ kind: 'prior_shift', trained_rate: 0.1, real_rate: 0.001 }), [])
  t.end()
})
