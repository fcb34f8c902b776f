// The drift monitor on records as the tail hands them over: what counts, which windows close, what is said of them.
import t from 'tap'
import { FEATURE_FLAGS } from '../../src/contract/decision.js'
import { createDriftMonitor, type DriftOptions } from '../../src/governance/monitors/drift.js'
import type { DerivedRow, Monitor, TailRecord } from '../../src/governance/port.js'
import { TINY } from '../../src/limits.js'
import {
  createRig,
  type Decided,
  DEPS,
  HOUR_MS,
  pick,
  POLICY,
  profileText,
  type Rig,
  several,
  START_MS,
  text,
} from './drift-rig.js'

// Seconds of one core; the clock may say more beside other work.
t.setTimeout(240_000)

const LIMITS = { ...TINY, driftWindowRows: 1000, driftRowsMin: 500 }

const monitorOf = (options: DriftOptions = {}): Monitor => createDriftMonitor(DEPS, { limits: LIMITS, ...options })

function rowsOf(monitor: Monitor, records: Iterable<TailRecord>): DerivedRow[] {
  for (const record of records) monitor.take(record)
  return [...monitor.drain()]
}

const thousand = (rig: Rig, of: Partial<Decided> = {}, fromMs = START_MS): TailRecord[] =>
  several(rig, 1000, of, fromMs)

const states = (rows: readonly DerivedRow['row'][]): unknown[] => rows.map((row) => row['state'])

void t.test('rows as in training are stable, in every feature; what moved is found and the rest is not blamed', (t) => {
  const rig = createRig(1)
  const monitor = monitorOf()
  const before = pick(rowsOf(monitor, thousand(rig)), { window_kind: 'count', kind: 'feature' })
  t.equal(before.length, 15)
  // Half of the cycle of a day proves nothing of the night.
  const off = before.filter((row) => row['causes'] === 'calendar')
  t.strictSame(off.map((row) => row['series']).sort(), ['during_night', 'during_weekend'])
  t.strictSame(new Set(states(off)), new Set(['insufficient']))
  const judged = before.filter((row) => row['causes'] === '')
  t.strictSame(new Set(states(judged)), new Set(['stable']))
  const moved = { customer_mean_amount_7d: 500, terminal_risk_30d: NaN }
  const after = pick(rowsOf(monitor, thousand(rig, { features: moved })), { window_kind: 'count' })
  const alarmed = after.filter((row) => row['state'] === 'drift').map((row) => text(row, 'kind', 'series'))
  t.strictSame(alarmed.sort(), [
    'feature customer_mean_amount_7d',
    'feature terminal_risk_30d',
    'null_rate terminal_risk_30d',
    // The rig draws scores evenly, which training did not.
    'score score',
  ])
  const [row] = after.filter((each) => each['series'] === 'customer_mean_amount_7d')
  t.ok(Number(row['psi']) > Number(row['psi_at_least']) && Number(row['psi_at_least']) > 1)
  t.strictSame([row['n'], row['reference_n'], row['alpha']], [1000, 697179, 1e-4])
  t.ok(Number(row['p']) < 1e-100 && Number(row['psi_textbook']) > 1)
  t.end()
})

void t.test('what was not decided for real does not count: evaluate, observe, unfolded, other records', (t) => {
  const rig = createRig(2)
  const monitor = monitorOf()
  const real = thousand(rig)
  const odd = (of: Partial<Decided>): TailRecord => rig.decide({ atMs: START_MS, features: { amount: 1e9 }, ...of })
  const observed = odd({})
  const records = real.flatMap((record, at) => {
    if (at % 3 === 0) return [record, odd({ mode: 'evaluate' })]
    if (at % 3 === 1) return [record, odd({ unfolded: true })]
    const { record: inner } = observed
    if (inner.type !== 'decision') throw new Error('not a decision')
    return [record, { ...observed, record: { ...inner, type: 'observed' as const } }, odd({ mode: 'observe' })]
  })
  const found = rowsOf(monitor, records)
  const strict = monitorOf()
  const counts = (rows: readonly DerivedRow[]): unknown[] => pick(rows, {}).map((row) => row['counts'])
  t.strictSame(counts(found), counts(rowsOf(strict, real)))
  t.ok(counts(found).length > 0)
  t.end()
})

void t.test('an hour with few rows gets no verdict, and says how many there were', (t) => {
  const rig = createRig(3)
  const monitor = monitorOf()
  const few = thousand(rig, { features: { amount: 1e9 } }).slice(0, 499)
  const next = rig.decide({ atMs: START_MS + HOUR_MS })
  const rows = pick(rowsOf(monitor, [...few, next]), { series: 'amount', kind: 'feature' })
  t.strictSame(
    rows.map((row) => [row['window_kind'], row['n'], row['state'], row['psi'], row['p']]),
    [['hour', 499, 'insufficient', null, null]],
  )
  t.strictSame([rows[0]['from_ms'], rows[0]['until_ms']], [START_MS, START_MS + HOUR_MS])
  t.equal(pick(rowsOf(monitor, thousand(rig, {}, START_MS + HOUR_MS).slice(0, 100)), {}).length, 0, 'nothing closes')
  t.end()
})

void t.test('a cold window and a change of policy are named as the cause', (t) => {
  const rig = createRig(4)
  const monitor = monitorOf()
  const cold = (share: number): TailRecord[] =>
    Array.from({ length: 1000 }, (_, at) =>
      rig.decide({ atMs: START_MS, flags: at < share * 1000 ? FEATURE_FLAGS.cold : FEATURE_FLAGS.late }),
    )
  const causes = (records: readonly TailRecord[]): unknown =>
    pick(rowsOf(monitor, records), { series: 'amount', window_kind: 'count' }).map((row) => [
      row['causes'],
      row['cold_share'],
    ])
  t.strictSame(causes(cold(0.5)), [['', 0.5]])
  t.strictSame(causes(cold(0.501)), [['cold', 0.501]])
  const half = cold(0).slice(0, 500)
  rig.use({ ...POLICY, server_timing: true })
  t.strictSame(causes([...half, ...cold(0.6).slice(0, 500)]), [['policy_changed', 0.5]])
  t.strictSame(causes(cold(0.6)), [['cold', 0.6]], 'the next window holds one policy again')
  t.end()
})

void t.test('an hour is held against the same hour of yesterday and of last week', (t) => {
  const rig = createRig(5)
  const monitor = monitorOf({ limits: { ...LIMITS, driftRowsMin: 200 } })
  const at = (day: number, hour: number, of: Partial<Decided> = {}): TailRecord[] =>
    several(rig, 200, of, START_MS + (day * 24 + hour) * HOUR_MS)
  const records = [0, 1, 2, 3, 4, 5, 6].flatMap((day) => [
    ...at(day, 2, { features: { during_night: 1 }, currency: 'EUR' }),
    ...at(day, 14, { features: { during_night: 0 }, currency: 'EUR' }),
  ])
  const week = pick(rowsOf(monitor, records), { window_kind: 'hour', series: 'during_night' })
  const judged = week.filter((row) => row['reference'] !== 'training')
  // Fourteen hours, the last still open, the first two without a yesterday.
  t.equal(judged.length, 11)
  t.strictSame(new Set(states(judged)), new Set(['stable']))
  t.strictSame(
    new Set(week.filter((row) => row['reference'] === 'training').map((row) => row['causes'])),
    new Set(['calendar']),
  )
  const changed = [...at(7, 2, { features: { during_night: 1 }, currency: 'USD' }), ...at(7, 3)]
  const rows = pick(rowsOf(monitor, changed), {
    window_kind: 'hour',
    series: 'currency',
    from_ms: START_MS + 170 * HOUR_MS,
  })
  t.strictSame(
    rows.map((row) => [row['reference'], row['state']]),
    [
      ['day_before', 'drift'],
      ['week_before', 'drift'],
    ],
    'training says nothing of currencies, yesterday does',
  )
  t.equal(
    (rows[0]['reference_counts'] as number[]).reduce((sum, count) => sum + count),
    200,
  )
  t.end()
})

void t.test('a day is the sum of its hours, and is judged only where all of it was watched', (t) => {
  const rig = createRig(6)
  const monitor = monitorOf({ limits: { ...LIMITS, driftRowsMin: 200 } })
  const day = (number: number): TailRecord[] =>
    [1, 9, 17].flatMap((hour) =>
      several(rig, 200, { features: { during_night: hour === 1 ? 1 : 0 } }, START_MS + (number * 24 + hour) * HOUR_MS),
    )
  const rows = rowsOf(monitor, [...day(0), ...day(1), ...day(2), ...day(3)])
  const days = pick(rows, { window_kind: 'day', series: 'during_night' })
  const shown = days.map((row) => [
    (Number(row['from_ms']) - START_MS) / HOUR_MS,
    row['reference'],
    row['n'],
    row['state'],
  ])
  t.strictSame(shown, [
    [24, 'training', 600, 'drift'],
    [48, 'training', 600, 'drift'],
    [48, 'day_before', 600, 'stable'],
  ])
  const hours = pick(rows, { window_kind: 'hour', series: 'amount', kind: 'feature', reference: 'training' })
  const whole = pick(rows, { window_kind: 'day', series: 'amount', kind: 'feature', reference: 'training' })[0]
  const sum = (whole['counts'] as number[]).map((_, cell) =>
    hours
      .filter(
        (row) => Number(row['from_ms']) >= START_MS + 24 * HOUR_MS && Number(row['from_ms']) < START_MS + 48 * HOUR_MS,
      )
      .reduce((all, row) => all + (row['counts'] as number[])[cell], 0),
  )
  t.strictSame(whole['counts'], sum)
  t.end()
})

void t.test('each declared segment and each model version has windows of its own', (t) => {
  const rig = createRig(7)
  rig.use({ ...POLICY, governance: { segments: [{ name: 'dollars', field: 'currency', values: ['USD'] }] } })
  const monitor = monitorOf()
  const records = Array.from({ length: 2000 }, (_, at) =>
    rig.decide({
      atMs: START_MS,
      currency: at % 2 === 0 ? 'USD' : 'EUR',
      features: { amount: at % 2 === 0 ? 1e6 : 20 },
    }),
  )
  const rows = rowsOf(monitor, [...records, ...thousand(rig, { model: 'fraud-xgb' })])
  const counts = pick(rows, { window_kind: 'count', series: 'amount', kind: 'feature' })
  t.strictSame(
    counts.map((row) => text(row, 'model', 'segment', 'n')),
    ['fraud-lgbm@1  1000', 'fraud-lgbm@1 dollars 1000', 'fraud-lgbm@1  1000', 'fraud-xgb@1  1000'],
  )
  const dollars = counts[1]['counts'] as number[]
  t.equal(dollars.at(-1), 1000, 'all of its amounts are the largest')
  t.end()
})

void t.test('bins are told once for a model version; one without a profile says so', (t) => {
  const rig = createRig(8)
  const monitor = monitorOf()
  const cells = rowsOf(monitor, thousand(rig)).filter(({ table }) => table === 'drift_cells')
  const amounts = cells.filter(({ row }) => row['series'] === 'amount' && row['kind'] === 'feature')
  t.equal(amounts.length, 3 + 20)
  t.equal(
    amounts.reduce((sum, { row }) => sum + Number(row['reference_n']), 0),
    697179,
  )
  t.equal(rowsOf(monitor, thousand(rig)).filter(({ table }) => table === 'drift_cells').length, 0, 'once')
  for (const text of ['{', '{"format": 2}', profileText('baseline').replace('"edges": [', '"edges": [9e9, ')]) {
    const blind = createDriftMonitor({ loadProfile: () => text }, { limits: LIMITS })
    const rows = pick(rowsOf(blind, thousand(rig)), {})
    t.strictSame(
      rows.map((row) => [row['series'], row['state'], row['causes'], row['n']]),
      [['model', 'insufficient', 'no_profile', 1000]],
    )
  }
  t.end()
})

void t.test('a feature that the policy defines anew is left out, and its old bins are not filled with it', (t) => {
  const rig = createRig(9)
  const monitor = monitorOf()
  const features = POLICY.catalogue.features.map((spec) => (spec.name === 'amount' ? { ...spec, missing: 0 } : spec))
  rig.use({ ...POLICY, catalogue: { ...POLICY.catalogue, features } })
  const rows = rowsOf(monitor, thousand(rig))
  const [amount] = pick(rows, { window_kind: 'count', series: 'amount', kind: 'feature' })
  t.strictSame([amount['n'], amount['state']], [0, 'insufficient'])
  const [count] = pick(rows, { window_kind: 'count', series: 'customer_count_1d', kind: 'feature' })
  t.strictSame([count['n'], count['state']], [1000, 'stable'])
  t.end()
})

void t.test('fields with few known values are watched: booleans, tabulated texts, what the profile counted', (t) => {
  const rig = createRig(14)
  const declared = [
    { name: 'is_recurring', type: 'boolean' as const },
    { name: 'channel', type: 'string' as const },
    { name: 'brand', type: 'string' as const },
    { name: 'note', type: 'string' as const },
  ]
  const table = { web: 1, terminal: 2 }
  const channel = {
    name: 'channel_code',
    kind: 'category' as const,
    field: 'channel',
    table,
    other: 0,
    missing: 'nan' as const,
  }
  rig.use({
    ...POLICY,
    schema: { ...POLICY.schema, fields: [...POLICY.schema.fields, ...declared] },
    catalogue: { ...POLICY.catalogue, features: [...POLICY.catalogue.features, channel] },
  })
  const profile = JSON.parse(profileText('fraud-lgbm')) as object
  const brands = { name: 'brand', null: 10_000, counts: { visa: 60_000, mastercard: 30_000 } }
  const loadProfile = (): string => JSON.stringify({ ...profile, fields: [brands] })
  const monitor = createDriftMonitor({ loadProfile }, { limits: LIMITS })
  const records = Array.from({ length: 1000 }, (_, at) =>
    rig.decide({
      atMs: START_MS,
      fields: ['c1', 't1', at % 4 === 0, at % 2 === 0 ? 'web' : 'kiosk', at % 10 === 0 ? null : 'visa', `n${at}`],
    }),
  )
  const rows = rowsOf(monitor, records)
  const cells = rows.filter(({ table: name, row }) => name === 'drift_cells' && row['kind'] === 'field')
  t.strictSame(
    cells
      .filter(({ row }) => row['series'] !== 'currency')
      .map(({ row }) => text(row, 'series', 'label', 'reference_n')),
    [
      ...['is_recurring null null', 'is_recurring false null', 'is_recurring true null', 'is_recurring unseen null'],
      ...['channel null null', 'channel terminal null', 'channel web null', 'channel unseen null'],
      ...['brand null 10000', 'brand mastercard 30000', 'brand visa 60000', 'brand unseen 0'],
    ],
    'ids and free texts are not',
  )
  const [brand] = pick(rows, { kind: 'field', window_kind: 'count' })
  t.strictSame([brand['series'], brand['counts'], brand['state']], ['brand', [100, 0, 900, 0], 'drift'])
  const next = rowsOf(monitor, [rig.decide({ atMs: START_MS + HOUR_MS, fields: ['c1', 't1', true, 'web', null, ''] })])
  t.ok(next.length > 0)
  const hour = monitorOf()
  rowsOf(hour, records)
  const yesterday = pick(rowsOf(hour, [...records.map((each) => later(each, 24)), later(records[0], 48)]), {
    kind: 'field',
    window_kind: 'hour',
    reference: 'day_before',
  })
  t.strictSame(
    yesterday.map((row) => text(row, 'series', 'state')),
    ['currency stable', 'is_recurring stable', 'channel stable'],
  )
  t.strictSame(yesterday[2]['counts'], [0, 0, 500, 500], 'kiosk was never seen')
  t.end()
})

/** The same record so many hours later. */
function later(tail: TailRecord, hours: number): TailRecord {
  const { record } = tail
  if (record.type !== 'decision') throw new Error('not a decision')
  const facts = { ...record.facts, decidedAtMs: record.facts.decidedAtMs + hours * HOUR_MS }
  return { ...tail, record: { ...record, facts } }
}

void t.test('a budget of false alarms is spent in proportion to the time that windows cover', (t) => {
  const alphas = (falseAlarmsPer30Days: number | null): unknown[] => {
    const rig = createRig(10)
    const rows = rowsOf(monitorOf({ falseAlarmsPer30Days }), [
      ...thousand(rig),
      ...thousand(rig, {}, START_MS + HOUR_MS),
    ])
    return ['count', 'hour'].map(
      (kind) => pick(rows, { window_kind: kind, series: 'amount', kind: 'feature' })[0]['alpha'],
    )
  }
  t.strictSame(alphas(null), [1e-4, 1e-4])
  const [count, hour] = alphas(1)
  // 18 quantities (15 features, score, actions, currency) and 15 null rates, six comparisons each; 999 s and an hour.
  const verdicts = (15 + 3 + 15) * 6
  t.ok(Math.abs(Number(hour) / (1 / 720 / verdicts) - 1) < 1e-9)
  t.ok(Math.abs(Number(count) / Number(hour) - 999 / 3600) < 1e-9)
  t.strictSame(alphas(1e9), [1e-2, 1e-2], 'never more than one in a hundred')
  t.end()
})

void t.test('the model version that answered longest ago leaves when there are too many', (t) => {
  const rig = createRig(11)
  const asked: string[] = []
  const loadProfile = ({ name }: { name: string }): string => {
    asked.push(name)
    return profileText(name)
  }
  const monitor = createDriftMonitor({ loadProfile }, { limits: TINY })
  for (const model of ['fraud-lgbm', 'fraud-xgb', 'fraud-lgbm', 'baseline', 'fraud-lgbm', 'fraud-xgb'])
    monitor.take(rig.decide({ atMs: START_MS, model }))
  t.strictSame(asked, ['fraud-lgbm', 'fraud-xgb', 'baseline', 'fraud-xgb'])
  t.end()
})
