// The shadow monitor on decisions drawn from a seed: every figure against a naive count over the same pairs, exact
// sums, checkpoints at any record, and what must not count.
import t from 'tap'
import fc from 'fast-check'
import type { Segment } from '../../src/contract/policy.js'
import { differenceBin, differenceOf, edgeOf, logitOf, VOLUME_AXIS } from '../../src/governance/monitors/shadow-bins.js'
import {
  countPair,
  emptyCounts,
  mergeCounts,
  packCounts,
  type Pair,
  TELLING_MAX,
  unpackCounts,
} from '../../src/governance/monitors/shadow-counts.js'
import { equalVolume } from '../../src/governance/monitors/shadow-summary.js'
import { createShadowMonitor, HOUR_MS, MINUTE_MS, type ShadowMonitor } from '../../src/governance/monitors/shadow.js'
import type { Control, DerivedRow, TailRecord } from '../../src/governance/port.js'
import { CHAMPION, controlOf, decision, scoreOf, SHADOW, START_MS, stream } from './shadow-records.js'

const declaring = (...segments: Segment[]): Control =>
  controlOf((control) => {
    control.policy.governance = { segments }
  })

const create = (): ShadowMonitor => createShadowMonitor({ manifestThresholds: () => undefined, keepsTotal: true })

function take(monitor: ShadowMonitor, records: readonly TailRecord[]): DerivedRow[] {
  return records.flatMap((record) => {
    monitor.take(record)
    return [...monitor.drain()]
  })
}

const text = (rows: readonly DerivedRow[]): string =>
  JSON.stringify(rows, (_, value: unknown) => (typeof value === 'bigint' ? `${value}n` : value))

/** Both scores of each decision that has both, whoever answered. */
function pairsOf(records: readonly TailRecord[]): { champion: number; shadow: number; amount: number }[] {
  return records.flatMap(({ record, shadows }) => {
    if (record.type !== 'decision' || record.facts.score === null) return []
    const [other] = shadows
    if (other?.score === null || other === undefined) return []
    const isChampion = other.model === SHADOW
    const amount = record.personal.transaction.amountBaseMinor
    const { score } = record.facts
    return [
      isChampion ? { champion: score, shadow: other.score, amount } : { champion: other.score, shadow: score, amount },
    ]
  })
}

void t.test('the figures of a range are those of a naive count over the pairs', (t) => {
  const records = stream(7, 5_000)
  const monitor = create()
  take(monitor, records)
  const [total] = monitor.total(START_MS, START_MS + HOUR_MS)
  const pairs = pairsOf(records)
  const row = total?.row ?? {}
  const alert = (score: number): boolean => score >= 0.5
  const action = (score: number): string => (score >= 0.8 ? 'decline' : score >= 0.5 ? 'review' : 'approve')
  const swapIn = pairs.filter((pair) => !alert(pair.champion) && alert(pair.shadow))
  const swapOut = pairs.filter((pair) => alert(pair.champion) && !alert(pair.shadow))
  const amountOf = (some: typeof pairs): bigint => some.reduce((sum, { amount }) => sum + BigInt(amount), 0n)
  t.equal(row.pairs, pairs.length)
  t.ok(swapIn.length > 50 && swapOut.length > 50, 'the stream has something to count')
  t.match(row, { swap_in: swapIn.length, swap_in_amount: amountOf(swapIn) })
  t.match(row, { swap_out: swapOut.length, swap_out_amount: amountOf(swapOut) })
  t.equal(row.flips, pairs.filter((pair) => action(pair.champion) !== action(pair.shadow)).length)
  t.equal(row.champion_alerts, pairs.filter((pair) => alert(pair.champion)).length)
  t.equal(row.shadow_alerts, pairs.filter((pair) => alert(pair.shadow)).length)
  const differences = pairs.map((pair) => pair.shadow - pair.champion)
  const mean = differences.reduce((sum, each) => sum + each, 0) / pairs.length
  const sd = Math.sqrt(differences.reduce((sum, each) => sum + (each - mean) ** 2, 0) / (pairs.length - 1))
  t.ok(Math.abs(Number(row.difference_mean) - mean) < 1e-6)
  t.ok(Math.abs(Number(row.difference_sd) - sd) < 1e-6)
  const median = [...differences].sort((a, b) => a - b)[Math.ceil(pairs.length / 2) - 1] ?? NaN
  const quantiles = row.difference_quantiles
  t.ok(Array.isArray(quantiles) && Math.abs(Number(quantiles[3]) - median) <= Math.abs(median) / 16 + 1e-6)
  const telling = [...pairs].sort((a, b) => weight(b) - weight(a)).slice(0, TELLING_MAX)
  t.same(
    row.telling_champion,
    telling.map(({ champion }) => champion),
    'the most telling pairs, in order',
  )
  const count = (why: string): number => records.filter(({ shadows }) => shadows[0]?.why === why).length
  t.match(row, { shed: count('shed'), failed: count('failed') })
  t.equal(row.answered_by_shadow, records.filter(({ shadows }) => shadows[0]?.model === CHAMPION).length)
  t.end()
})

function weight({ champion, shadow }: { champion: number; shadow: number }): number {
  return Math.abs(logitOf(shadow) - logitOf(champion))
}

void t.test(
  'minutes close on record time, an hour is the sum of its minutes, and the end of time is not needed',
  (t) => {
    // From 12:59 on, 25 minutes.
    const records = stream(3, 5_000)
    const rows = take(create(), records)
    const pairs = rows.filter(({ table }) => table === 'shadow_pairs')
    t.equal(pairs.length, records.length, 'every pair is a row')
    const shed = records.filter(({ shadows }) => shadows[0]?.why === 'shed').length
    t.equal(pairs.filter(({ row }) => row.why === 'shed').length, shed, 'those that were shed too')
    const minutes = rows.filter(({ row }) => row.window_ms === MINUTE_MS)
    const hours = rows.filter(({ row }) => row.window_ms === HOUR_MS)
    t.equal(minutes.length, 24, 'the open one is not told')
    t.equal(hours.length, 1)
    t.equal(hours[0]?.row.from_ms, START_MS - 59 * MINUTE_MS)
    t.equal(hours[0]?.row.pairs, minutes[0]?.row.pairs, 'the one minute of that hour')
    t.same(hours[0]?.row.grid_counts, minutes[0]?.row.grid_counts)
    t.end()
  },
)

void t.test('a checkpoint at any record, and a rebuild, give the same rows', (t) => {
  const some = (name: string, ...values: string[]): Segment => ({ name, field: 'currency', values })
  const controls = [
    declaring(some('dollars', 'USD')),
    declaring(some('euros', 'EUR'), some('dollars', 'USD')),
    declaring(some('dollars', 'USD', 'EUR'), some('euros', 'EUR')),
    controlOf(),
  ]
  const records = stream(11, 3_000, 500).map((record, at) => ({ ...record, control: controls[Math.floor(at / 750)] }))
  const wanted = text(take(create(), records))
  fc.assert(
    fc.property(fc.array(fc.nat(records.length), { maxLength: 4 }), (cuts) => {
      const rows: DerivedRow[] = []
      let from = 0
      let checkpoint: Uint8Array | null = null
      for (const to of [...cuts.sort((a, b) => a - b), records.length]) {
        const monitor = create()
        if (checkpoint !== null) monitor.restore(checkpoint)
        rows.push(...take(monitor, records.slice(from, to)))
        checkpoint = monitor.checkpoint()
        from = to
      }
      return text(rows) === wanted
    }),
    { numRuns: 20 },
  )
  t.throws(() => {
    create().restore(Buffer.from('{"format":2}'))
  }, 'a checkpoint of another release is refused')
  t.end()
})

void t.test('any partition of the pairs, merged in any order, counts the same', (t) => {
  const score = fc.double({ min: 0, max: 1, noNaN: true })
  const drawn = fc.record({ champion: score, shadow: score, part: fc.nat(3), amount: fc.nat(2 ** 31) })
  fc.assert(
    fc.property(fc.array(drawn, { maxLength: 60 }), fc.boolean(), (all, isReversed) => {
      const whole = emptyCounts()
      const parts = [emptyCounts(), emptyCounts(), emptyCounts(), emptyCounts()]
      all.forEach(({ champion, shadow, part, amount }, sequence) => {
        const pair = pairOf(champion, shadow, sequence, amount)
        countPair(whole, pair, 2 ** 40)
        countPair(parts[part] ?? whole, pair, 2 ** 40)
      })
      const merged = emptyCounts()
      for (const part of isReversed ? parts.reverse() : parts) mergeCounts(merged, unpackCounts(packCounts(part)))
      return JSON.stringify(packCounts(merged)) === JSON.stringify(packCounts(whole))
    }),
  )
  t.end()
})

function pairOf(champion: number, shadow: number, sequence: number, amountBaseMinor: number): Pair {
  return {
    ...{ epoch: 1, sequence, champion, shadow, championAction: 'approve', shadowAction: 'review' },
    ...{ shadowAtChampion: 'approve', amountBaseMinor, answeredBy: 'champion', ruled: false },
  }
}

void t.test('evaluations, the baseline and decisions without the champion make no pairs', (t) => {
  const control = controlOf()
  const common = { decidedAtMs: START_MS, control, shadows: [scoreOf(SHADOW, 0.9)] }
  const total = (record: TailRecord): unknown => {
    const monitor = create()
    monitor.take(record)
    return monitor.total(START_MS, START_MS + 1).map(({ row }) => [row.champion, row.shadow, row.pairs, row.failed])
  }
  t.same(total(decision({ ...common, sequence: 1, score: 0.1 })), [[CHAMPION, SHADOW, 1, 0]])
  t.same(total(decision({ ...common, sequence: 1, score: 0.1, mode: 'evaluate' })), [])
  const baseline = { answeredBy: 'baseline@1', role: 'baseline' as const }
  t.same(total(decision({ ...common, ...baseline, sequence: 1, score: 0.1 })), [[CHAMPION, SHADOW, 0, 1]])
  const both = [scoreOf(SHADOW, 0.9), scoreOf(CHAMPION, 0.2)]
  const answered = { ...common, ...baseline, shadows: both, sequence: 1, score: 0.1 }
  t.same(total(decision(answered)), [[CHAMPION, SHADOW, 1, 0]], 'but the champion is itself a shadow')
  t.end()
})

void t.test('declared segments and the one of the decision are counted beside all', (t) => {
  const monitor = create()
  const control = declaring({ name: 'dollars', field: 'currency', values: ['USD'] })
  const common = { decidedAtMs: START_MS, control, shadows: [scoreOf(SHADOW, 0.9)], score: 0.1 }
  monitor.take(decision({ ...common, sequence: 1, currency: 'USD' }))
  monitor.take(decision({ ...common, sequence: 2, segment: 'travel' }))
  const rows = monitor.total(START_MS, START_MS + 1).map(({ row }) => [row.segment, row.pairs])
  t.same(rows, [
    ['', 2],
    ['dollars', 1],
    ['travel', 1],
  ])
  t.end()
})

void t.test('a segment that is given another meaning begins anew, and the others go on', (t) => {
  const monitor = create()
  const dollars = { name: 'dollars', field: 'currency', values: ['USD'] }
  const [first, euros] = [
    { ...dollars, name: 'first' },
    { ...dollars, name: 'first', values: ['EUR'] },
  ]
  const [before, after] = [declaring(first, dollars), declaring(dollars, euros)]
  const common = { shadows: [scoreOf(SHADOW, 0.9)], score: 0.1 }
  const at = (minute: number) => ({ ...common, decidedAtMs: START_MS + HOUR_MS + minute * MINUTE_MS })
  const records = [
    decision({ ...at(0), sequence: 1, control: before, currency: 'USD' }),
    decision({ ...at(1), sequence: 2, control: before, currency: 'USD' }),
    decision({ ...at(1), sequence: 3, control: after, currency: 'EUR' }),
    decision({ ...at(2), sequence: 4, control: after, currency: 'EUR' }),
    decision({ ...at(120), sequence: 5, control: after, currency: 'EUR' }),
  ]
  const shown = take(monitor, records)
    .filter(({ row }) => row.segment === 'first' || row.segment === 'dollars')
    .map(({ row }) => [row.segment, row.window_ms, (Number(row.from_ms) - START_MS - HOUR_MS) / MINUTE_MS, row.pairs])
  t.same(shown, [
    ['dollars', MINUTE_MS, 0, 1],
    ['first', MINUTE_MS, 0, 1],
    ['dollars', HOUR_MS, -59, 1],
    ['first', HOUR_MS, -59, 1],
    ['dollars', MINUTE_MS, 1, 1],
    ['first', MINUTE_MS, 1, 1],
    ['first', MINUTE_MS, 2, 1],
    ['dollars', HOUR_MS, 1, 1],
    ['first', HOUR_MS, 1, 2],
  ])
  t.end()
})

void t.test('segments beyond the bound are counted together', (t) => {
  const monitor = createShadowMonitor({ manifestThresholds: () => undefined, keepsTotal: true, keysMax: 3 })
  const common = { decidedAtMs: START_MS, control: controlOf(), shadows: [scoreOf(SHADOW, 0.9)], score: 0.1 }
  for (let at = 1; at <= 9; at++) monitor.take(decision({ ...common, sequence: at, segment: `s${at}` }))
  const rows = monitor.total(START_MS, START_MS + 1).map(({ row }) => [row.segment, row.pairs])
  t.same(rows, [
    ['', 9],
    ['(other)', 7],
    ['s1', 1],
    ['s2', 1],
  ])
  t.end()
})

void t.test(
  'thresholds come from the policy before the served model before the manifest, and their change is named',
  (t) => {
    const stated = (control = controlOf(), manifest = {}) => {
      const monitor = createShadowMonitor({ manifestThresholds: () => manifest, keepsTotal: true })
      const common = { decidedAtMs: START_MS, score: 0.1, shadows: [scoreOf(SHADOW, 0.9)] }
      monitor.take(decision({ ...common, sequence: 1, control }))
      return { monitor, row: () => monitor.total(START_MS, START_MS + 1)[0]?.row ?? {} }
    }
    t.same(stated().row().shadow_thresholds, [2, 0.5, 0.8])
    const bare = controlOf((control) => {
      control.models = []
    })
    t.same(stated(bare, { decline_at: 0.7 }).row().shadow_thresholds, [2, 2, 0.7])
    const cutless = controlOf((control) => {
      const none = { challenge_at: null, review_at: null, decline_at: null }
      control.models = control.models.map((one) => (one.reference === SHADOW ? { ...one, thresholds: none } : one))
    })
    const unstated = createShadowMonitor({ manifestThresholds: () => undefined, keepsTotal: true })
    const scored = { decidedAtMs: START_MS, score: 0.1, shadows: [scoreOf(SHADOW, 0.6)], control: cutless }
    unstated.take(decision({ ...scored, sequence: 1 }))
    const judged = unstated.total(START_MS, START_MS + 1)[0]?.row
    t.match(judged, { shadow_thresholds: [2, 0.5, 0.8], flips: 1, shadow_alerts: 1 }, 'with none, by the champion’s')
    const moved = controlOf((control) => {
      control.policy.thresholds = { [SHADOW]: { decline_at: 0.95 } }
    })
    const { monitor, row } = stated()
    t.equal(row().thresholds_changed, false)
    monitor.take(
      decision({ sequence: 2, decidedAtMs: START_MS, score: 0.1, shadows: [scoreOf(SHADOW, 0.9)], control: moved }),
    )
    t.match(row(), { thresholds_changed: true, shadow_thresholds: [2, 2, 0.95], flips: 1 })
    t.end()
  },
)

void t.test('a flip that a rule would have overridden is told apart', (t) => {
  const monitor = create()
  const common = { decidedAtMs: START_MS, control: controlOf(), shadows: [scoreOf(SHADOW, 0.9)], score: 0.1 }
  monitor.take(decision({ ...common, sequence: 1 }))
  monitor.take(decision({ ...common, sequence: 2, rules: ['blocked'] }))
  t.match(monitor.total(START_MS, START_MS + 1)[0]?.row, { flips: 2, flips_ruled: 1 })
  t.end()
})

void t.test('the threshold of equal volume gives the volume that it states, and none is nearer', (t) => {
  const edge = fc.nat(VOLUME_AXIS.bins - 1)
  fc.assert(
    fc.property(fc.array(fc.tuple(edge, fc.integer({ min: 1, max: 50 }))), fc.nat(500), (drawn, wanted) => {
      const bins = new Map<number, number>()
      for (const [bin, count] of drawn) bins.set(bin, (bins.get(bin) ?? 0) + count)
      const volumeAt = (threshold: number): number =>
        [...bins].reduce((sum, [bin, count]) => sum + (edgeOf(VOLUME_AXIS, bin) >= threshold ? count : 0), 0)
      const { threshold, volume } = equalVolume(bins, wanted)
      const reachable = [2, ...[...bins.keys()].map((bin) => edgeOf(VOLUME_AXIS, bin))].map(volumeAt)
      const nearest = Math.min(...reachable.map((one) => Math.abs(one - wanted)))
      return volumeAt(threshold) === volume && Math.abs(volume - wanted) === nearest
    }),
  )
  t.end()
})

void t.test('a difference lies within a sixteenth of the middle of its bin', (t) => {
  fc.assert(
    fc.property(fc.integer({ min: -1_000_000, max: 1_000_000 }), (units) => {
      const middle = differenceOf(differenceBin(units)) / 1e-6
      return (
        Math.abs(middle - units) <= Math.abs(units) / 16 + 1e-9 && Math.sign(Math.round(middle)) === Math.sign(units)
      )
    }),
  )
  t.end()
})
