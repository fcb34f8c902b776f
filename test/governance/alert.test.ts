// Alerts: what opens, resolves, escalates, expires and is silenced; nothing flaps; ids and rows do not depend on how
// the log was cut into batches. And signals: the band between bad and good.
import t from 'tap'
import fc from 'fast-check'
import { type AlertBook, ALERT_RULES, createAlertBook, type Level, type Signal } from '../../src/governance/alert.js'
import { findingSignal, lagSignal, lossSignal, signalOf } from '../../src/governance/alert-signals.js'
import { createAlerter } from '../../src/governance/alerter.js'
import { createShadowMonitor } from '../../src/governance/monitors/shadow.js'
import type { Batch, DerivedRow, TailRecord } from '../../src/governance/port.js'
import { controlOf, decision, scoreOf, SHADOW, START_MS } from './shadow-records.js'

const MINUTE_MS = 60_000
const DAY_MS = 24 * 60 * MINUTE_MS

function signal(level: Level, minute: number, more: Partial<Signal> = {}): Signal {
  return {
    ...{ kind: 'shadow', labels: { model: 'm@1', segment: '' }, level, atMs: minute * MINUTE_MS, origin: 'record' },
    ...{ sequence: minute, value: 0.5, summary: 'half of the decisions would flip', ...more },
  }
}

/** What changed, in words: transition and minute. */
function told(book: AlertBook): string[] {
  return book.drain().changes.map(({ transition, atMs }) => `${transition} ${atMs / MINUTE_MS}`)
}

void t.test('an alert opens at once, resolves after as many good signals as its rule says, and only then', (t) => {
  const book = createAlertBook()
  const { resolveAfter } = ALERT_RULES.shadow
  book.take(signal('good', 0))
  book.take(signal('warning', 1))
  t.same(told(book), ['opened 1'])
  for (let at = 0; at < resolveAfter - 1; at++) book.take(signal('good', 2 + at))
  book.take(signal('warning', 10))
  for (let at = 0; at < resolveAfter - 1; at++) book.take(signal('good', 11 + at))
  book.take(signal('unknown', 20))
  t.same(told(book), [], 'a bad one in between counts anew, and what is unknown counts for nothing')
  t.equal(book.open().length, 1)
  book.take(signal('good', 21))
  t.same(told(book), ['resolved 21'])
  t.equal(book.open().length, 0)
  t.end()
})

void t.test('an alert that needs several bad signals does not open for fewer', (t) => {
  const book = createAlertBook()
  const bad = (minute: number): Signal => signal('warning', minute, { kind: 'lag', origin: 'clock', labels: {} })
  book.take(bad(1))
  book.take(bad(2))
  book.take({ ...bad(3), level: 'good' })
  book.take(bad(4))
  book.take(bad(5))
  t.same(told(book), [])
  book.take(bad(6))
  t.same(told(book), ['opened 6'])
  t.end()
})

void t.test('a series that crosses the threshold back and forth makes few changes, whatever it does', (t) => {
  const level = fc.constantFrom<Level>('good', 'warning', 'critical', 'unknown')
  fc.assert(
    fc.property(fc.array(level, { minLength: 1, maxLength: 40 }), (pattern) => {
      const book = createAlertBook()
      const steps = 1_000
      for (let at = 0; at < steps; at++) book.take(signal(pattern[at % pattern.length] ?? 'good', at))
      const { changes } = book.drain()
      // Five good ones for the first end, eighty from the fifth return on: at most three changes each time.
      const { resolveAfter } = ALERT_RULES.shadow
      return changes.length <= 3 * (5 + Math.ceil(steps / (16 * resolveAfter)))
    }),
  )
  const alternating = createAlertBook()
  for (let at = 0; at < 10_000; at++) alternating.take(signal(at % 2 === 0 ? 'warning' : 'good', at))
  t.same(told(alternating), ['opened 0'], 'what alternates is one alert')
  t.end()
})

void t.test('a warning that turns critical escalates once and never back', (t) => {
  const book = createAlertBook()
  for (const [at, level] of (['warning', 'critical', 'warning', 'critical'] as const).entries()) {
    book.take(signal(level, at))
  }
  t.same(told(book), ['opened 0', 'escalated 1'])
  t.equal(book.open()[0]?.level, 'critical')
  t.end()
})

void t.test('what has no good signal ends when its time is over, at that time however late one looks', (t) => {
  const book = createAlertBook()
  const damage = { kind: 'log' as const, labels: { finding: 'gap' } }
  book.take(signal('critical', 5, damage))
  book.advance(5 * MINUTE_MS + DAY_MS)
  t.same(told(book), ['opened 5'])
  book.advance(9 * DAY_MS)
  t.same(told(book), [`resolved ${5 + 24 * 60}`])
  t.end()
})

void t.test('a silence keeps the row and tells nobody until it is over', (t) => {
  const silence = { id: 's1', kind: null, labels: { model: 'm@1' }, fromMs: 0, untilMs: 100 * MINUTE_MS }
  const book = createAlertBook({ silences: [silence] })
  book.take(signal('warning', 1))
  book.take(signal('warning', 1, { labels: { model: 'other@1' } }))
  const { rows } = book.drain()
  t.same(
    rows.map(({ row }) => [row.transition, row.silenced_by]),
    [
      ['opened', 's1'],
      ['opened', null],
    ],
  )
  book.advance(99 * MINUTE_MS)
  t.same(told(book), [])
  book.advance(150 * MINUTE_MS)
  t.same(told(book), ['unsilenced 100'])
  t.end()
})

void t.test('an alert that is open falls silent when a silence begins, however late one looks', (t) => {
  const silence = { id: 's1', kind: 'shadow' as const, labels: {}, fromMs: 10 * MINUTE_MS, untilMs: 20 * MINUTE_MS }
  const run = (looks: readonly number[]): string[] => {
    const book = createAlertBook({ silences: [silence] })
    book.take(signal('warning', 1))
    for (const minute of looks) book.advance(minute * MINUTE_MS)
    book.take(signal('critical', 15))
    book.advance(30 * MINUTE_MS)
    return book.drain().changes.map(({ transition, atMs }) => `${transition} ${atMs / MINUTE_MS}`)
  }
  t.same(run([9, 10, 12]), ['opened 1', 'silenced 10', 'escalated 15', 'unsilenced 20'])
  t.same(run([]), run([9, 10, 12]))
  t.end()
})

void t.test('what is watched is bounded, and what the bound leaves out is counted', (t) => {
  const book = createAlertBook({ watchedMax: 2 })
  for (const model of ['a', 'b', 'c']) book.take(signal('warning', 1, { labels: { model } }))
  t.equal(book.open().length, 2)
  t.equal(book.unwatched(), 1)
  t.end()
})

void t.test('ids are stable, differ between occurrences and do not depend on the order of labels', (t) => {
  const idOf = (labels: Record<string, string>, minute: number): unknown => {
    const book = createAlertBook()
    book.take(signal('warning', minute, { labels }))
    return book.drain().rows[0]?.row.alert_id
  }
  const id = idOf({ model: 'm@1', segment: '' }, 1)
  t.match(id, /^a_[0-9a-f]{20}$/)
  t.equal(idOf({ segment: '', model: 'm@1' }, 1), id)
  t.not(idOf({ model: 'm@1', segment: '' }, 2), id)
  t.not(idOf({ model: 'm@2', segment: '' }, 1), id)
  t.end()
})

void t.test('a checkpoint anywhere gives the same rows', (t) => {
  const level = fc.constantFrom<Level>('good', 'warning', 'critical', 'unknown')
  fc.assert(
    fc.property(fc.array(level, { maxLength: 80 }), fc.nat(80), (levels, cut) => {
      const run = (at: number): string => {
        let book = createAlertBook()
        const rows: DerivedRow[] = []
        levels.forEach((each, minute) => {
          if (minute === at) {
            const checkpoint = book.checkpoint()
            book = createAlertBook()
            book.restore(checkpoint)
          }
          book.take(signal(each, minute))
          rows.push(...book.drain().rows)
        })
        return JSON.stringify(rows)
      }
      return run(cut) === run(-1)
    }),
  )
  t.throws(() => {
    createAlertBook().restore(Buffer.from('{}'))
  })
  t.end()
})

void t.test('alerts of a bad shadow are the same however the log is cut into batches', (t) => {
  const control = controlOf()
  // 40 minutes of 150 decisions: flips from the 10th to the 20th.
  const records = Array.from({ length: 6_000 }, (_, at): TailRecord => {
    const minute = Math.floor(at / 150)
    const isBad = minute >= 10 && minute < 20 && at % 5 === 0
    const common = { sequence: at + 1, decidedAtMs: START_MS + at * 400, control, score: 0.1 }
    return decision({ ...common, shadows: [scoreOf(SHADOW, isBad ? 0.9 : 0.1)] })
  })
  const run = (sizes: readonly number[]): string => {
    const monitor = createShadowMonitor({ manifestThresholds: () => undefined })
    const alerter = createAlerter()
    const rows: DerivedRow[] = []
    for (let from = 0, at = 0; from < records.length; at++) {
      const part = records.slice(from, (from += sizes[at % sizes.length] ?? 1))
      for (const record of part) monitor.take(record)
      rows.push(...alerter.consider(monitor.drain(), batchOf(part)))
    }
    return JSON.stringify(rows.map(({ row }) => row))
  }
  const wanted = run([6_000])
  const rows = JSON.parse(wanted) as { transition: string; at_ms: number }[]
  const minutes = rows.map(({ transition, at_ms }) => `${transition} ${(at_ms - START_MS) / MINUTE_MS}`)
  t.same(minutes, ['opened 11', 'resolved 25'])
  fc.assert(
    fc.property(
      fc.array(fc.integer({ min: 1, max: 900 }), { minLength: 1, maxLength: 8 }),
      (sizes) => run(sizes) === wanted,
    ),
    { numRuns: 20 },
  )
  t.end()
})

function batchOf(records: readonly TailRecord[], findings: Batch['findings'] = []): Batch {
  return { records, findings, position: null, takenBackTo: null }
}

void t.test('damage of the log is an alert of the time of the record before it; a new epoch is none', (t) => {
  const alerter = createAlerter()
  const place = { segment: 'segment-1', offset: 64, epoch: 1, detail: 'a checksum does not hold' }
  const control = controlOf()
  const at = (sequence: number): TailRecord =>
    decision({ sequence, decidedAtMs: START_MS + sequence, control, score: 0.1, shadows: [] })
  const findings = [
    { ...place, kind: 'damage' as const, sequence: 3 },
    { ...place, kind: 'epoch_changed' as const, sequence: 3 },
  ]
  const rows = alerter.consider([], batchOf([at(1), at(2), at(4)], findings))
  t.same(
    rows.map(({ row }) => [row.kind, row.level, row.opened_at_ms, row.sequence]),
    [['log', 'critical', START_MS + 2, 3]],
  )
  t.equal(findingSignal({ ...place, kind: 'torn_tail', sequence: 3 }, 0), null)
  const copy = createAlerter()
  copy.restore(alerter.checkpoint())
  t.same(copy.open(), alerter.open())
  t.end()
})

void t.test('signals leave a band between bad and good, and judge no small window', (t) => {
  const shadow = (flips: number, pairs: number): Level | undefined => {
    const row = {
      window_ms: MINUTE_MS,
      until_ms: 0,
      sequence: 1,
      champion: 'a',
      shadow: 'b',
      segment: '',
      flips,
      pairs,
    }
    return signalOf({ table: 'shadow_windows', row })?.level
  }
  t.equal(shadow(100, 1_000), 'warning')
  t.equal(shadow(25, 1_000), 'unknown', 'above the bound, but not beyond chance')
  t.equal(shadow(18, 1_000), 'unknown')
  t.equal(shadow(10, 1_000), 'good')
  t.equal(shadow(50, 50), 'unknown', 'too few')
  const drift = (state: string, reference = 'training'): Level | undefined =>
    signalOf({ table: 'drift', row: { state, reference, model: 'a', series: 'amount', until_ms: 0 } })?.level
  t.same(
    ['stable', 'watch', 'drift', 'insufficient'].map((state) => drift(state)),
    ['good', 'warning', 'critical', 'unknown'],
  )
  t.equal(drift('drift', 'day_before'), undefined)
  t.equal(signalOf({ table: 'decisions', row: {} }), null)
  t.same(
    [61, 55, 10].map((seconds) => lagSignal(seconds, 0, 60).level),
    ['warning', 'unknown', 'good'],
  )
  t.same(
    [5, 4].map((total) => lossSignal('records_lost', total, 4, 0).level),
    ['critical', 'good'],
  )
  t.end()
})

void t.test('what a process sees of itself comes with the next batch and is told apart', (t) => {
  const alerter = createAlerter()
  const seen = [1, 2, 3].map((at) => alerter.observe([lagSignal(100, at, 60)]))
  t.same(seen, [false, false, true], 'it says when there is something to write')
  const rows = alerter.consider([], batchOf([]))
  t.same(
    rows.map(({ row }) => [row.kind, row.origin, row.at_ms]),
    [['lag', 'clock', 3]],
  )
  t.same(alerter.consider([], batchOf([])), [])
  t.end()
})
