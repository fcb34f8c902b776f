// Metrics and logger: exact buckets, true quantiles, both expositions, bounded labels, and no card number in a line.
// The expositions are read back sample by sample; true values come from sorting what was recorded.
import t from 'tap'
import { LIMITS, TINY } from '../../src/limits.js'
import { AssayError } from '../../src/errors.js'
import { countedIn, Histogram } from '../../src/telemetry/histogram.js'
import { createLogger } from '../../src/telemetry/logger.js'
import { createMetrics, STAGE, STAGES } from '../../src/telemetry/metrics.js'

/** The samples of an exposition: name with labels → value. */
function samples(text: string): Map<string, number> {
  const lines = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'))
  return new Map(
    lines.map((line) => [line.slice(0, line.lastIndexOf(' ')), Number(line.slice(line.lastIndexOf(' ') + 1))]),
  )
}

void t.test('a histogram counts exactly at bounds of two digits, and loses nothing beyond them', (t) => {
  const histogram = new Histogram()
  const values = [
    0,
    0.4,
    49,
    50,
    50.1,
    51,
    200,
    201,
    999,
    1000,
    1000.5,
    2500,
    9_999,
    250_000,
    1e6,
    1e6 + 1,
    5e6,
    NaN,
    -3,
  ]
  for (const value of values) histogram.record(value)
  for (const bound of [50, 100, 250, 500, 1000, 2500, 5000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1e6]) {
    t.equal(histogram.countUpTo(bound), values.filter((value) => !(value > bound)).length, `up to ${bound}`)
  }
  t.equal(histogram.count, values.length)
  t.end()
})

void t.test('quantiles are within 5 % of the true ones, and forget what is older than a minute', (t) => {
  const histogram = new Histogram()
  const values = Array.from({ length: 10_000 }, (_, index) => ((index * 7919) % 10_000) * 3 + 1)
  for (const value of values) histogram.record(value)
  values.sort((a, b) => a - b)
  const { count, values: found } = histogram.lastMinute([0.5, 0.99, 1])
  t.equal(count, 10_000)
  for (const [index, rank] of [5000, 9900, 10_000].entries()) {
    const truth = values[rank - 1]
    t.ok(found[index] >= truth && found[index] <= truth * 1.05, `${found[index]} for ${truth}`)
  }
  for (let slice = 0; slice < 6; slice++) {
    t.equal(histogram.lastMinute([0.5]).count, 10_000, `after ${slice} slices`)
    histogram.roll()
  }
  t.equal(histogram.lastMinute([0.5]).count, 0)
  histogram.record(7)
  t.same(histogram.lastMinute([0.5]), { count: 1, values: [7] })
  t.same(new Histogram().lastMinute([0.5]), { count: 0, values: [0] })
  t.end()
})

void t.test(
  'every metric of the contract that the hot path writes is exposed, in both formats, again and again',
  async (t) => {
    const metrics = createMetrics(LIMITS)
    t.teardown(() => metrics.close())
    const model = metrics.model('fraud@1')
    t.equal(metrics.model('fraud@1'), model)
    metrics.decision(0, model, 0)
    metrics.decision(3, model, 1)
    metrics.decision(3, model, 1)
    metrics.degraded(model, 1)
    t.same(
      Object.entries(STAGE),
      STAGES.map((stage, index) => [stage, index]),
      'names and places agree',
    )
    metrics.stage(STAGE.infer, 250)
    metrics.request(51)
    metrics.rejected('ASSAY_OVERLOADED')
    metrics.lost('no_room')
    metrics.lost('crash', 3)
    metrics.pending()
    const counted = countedIn([1, 2, 4], [0, 0, 1, 0], 3)
    metrics.histogram({ name: 'assay_batch_rows', help: 'x', bounds: [1, 2, 4], read: () => [{ labels: {}, counted }] })
    metrics.tickLate(1_900)
    let sequence = 41
    metrics.gauge({ name: 'assay_log_synced_sequence', help: 'x', read: () => sequence })
    metrics.counter({ name: 'assay_log_appended_total', help: 'x', read: () => sequence })
    metrics.gauge({
      name: 'assay_breaker_state',
      help: 'x',
      labels: ['model'],
      read: () => [{ labels: { model: 'm' }, value: 1 }],
    })
    const expected: [string, number][] = [
      ['assay_decisions_total{action="approve",role="champion",model="fraud@1"}', 1],
      ['assay_decisions_total{action="decline",role="challenger",model="fraud@1"}', 2],
      ['assay_degraded_total{from="fraud@1",reason="breaker_open"}', 1],
      ['assay_stage_duration_seconds_bucket{stage="infer",le="0.0001"}', 0],
      ['assay_stage_duration_seconds_bucket{stage="infer",le="0.00025"}', 1],
      ['assay_stage_duration_seconds_sum{stage="infer"}', 0.00025],
      ['assay_request_duration_seconds_bucket{le="0.00005"}', 0],
      ['assay_request_duration_seconds_bucket{le="0.0001"}', 1],
      ['assay_request_duration_seconds_bucket{le="+Inf"}', 1],
      ['assay_request_duration_seconds_count', 1],
      ['assay_requests_rejected_total{code="ASSAY_OVERLOADED"}', 1],
      ['assay_records_lost_total{reason="no_room"}', 1],
      ['assay_records_lost_total{reason="crash"}', 3],
      ['assay_records_pending_total', 1],
      ['assay_batch_rows_bucket{le="2"}', 0],
      ['assay_batch_rows_bucket{le="4"}', 1],
      ['assay_batch_rows_sum', 3],
      ['assay_deadline_tick_late_seconds_bucket{le="0.0015"}', 0],
      ['assay_deadline_tick_late_seconds_bucket{le="0.002"}', 1],
      ['assay_breaker_state{model="m"}', 1],
    ]
    const sorted = (key: string) =>
      key.replace(/\{(.*)\}/, (_, labels: string) => `{${labels.split(',').sort().join(',')}}`)
    for (const accept of [
      '',
      'application/openmetrics-text; version=1.0.0',
      'text/plain',
      'application/openmetrics-text',
    ]) {
      sequence += 1
      const { body } = await metrics.scrape(accept)
      const found = new Map([...samples(body)].map(([key, value]) => [sorted(key), value]))
      for (const [key, value] of expected) t.equal(found.get(sorted(key)), value, key)
      t.equal(found.get('assay_log_synced_sequence'), sequence, 'read at the scrape')
      t.equal(found.get('assay_log_appended_total'), sequence)
      t.ok(found.has('nodejs_heap_size_used_bytes'))
      t.equal(body.endsWith('# EOF\n'), accept.includes('openmetrics'))
      t.equal(body.includes('# TYPE assay_decisions_total counter'), !accept.includes('openmetrics'))
    }
    const both = await Promise.all([
      metrics.scrape(''),
      metrics.scrape('application/openmetrics-text'),
      metrics.scrape(''),
    ])
    t.same(
      both.map(({ body }) => body.endsWith('# EOF\n')),
      [false, true, false],
      'scrapes at once keep their formats',
    )
    t.throws(() => metrics.gauge({ name: 'assay_breaker_state', help: 'x', read: () => 1 }), 'one metric a name')
  },
)

void t.test('metrics of shared state have samples only where state is shared', async (t) => {
  const metrics = createMetrics(LIMITS, { nodeMetrics: false })
  t.teardown(() => metrics.close())
  const shown = async () => [...samples((await metrics.scrape('')).body)].filter(([key]) => /state|local/.test(key))
  metrics.state.request('fold', 90)
  t.same(await shown(), [], 'no alert looks at a server whose state is its own')
  const { body } = await metrics.scrape('')
  t.match(body, /^# TYPE assay_state_up gauge$/m, 'the names are there')

  metrics.state.up(false)
  metrics.state.request('commit', 90)
  metrics.state.request('commit', 2_000_000)
  metrics.state.failed('timeout')
  metrics.state.failed('open')
  metrics.state.failed('open')
  metrics.state.decidedLocally()
  metrics.state.superseded()
  metrics.state.behind(7)
  const expected: [string, number][] = [
    ['assay_state_up', 0],
    ['assay_state_request_seconds_count{op="fold"}', 1],
    ['assay_state_request_seconds_count{op="commit"}', 2],
    ['assay_state_request_seconds_bucket{op="commit",le="0.0001"}', 1],
    ['assay_state_request_seconds_bucket{op="commit",le="1"}', 1],
    ['assay_state_request_seconds_count{op="label"}', 0],
    ['assay_state_request_seconds_count{op="routes"}', 0],
    ['assay_state_failures_total{reason="timeout"}', 1],
    ['assay_state_failures_total{reason="unavailable"}', 0],
    ['assay_state_failures_total{reason="open"}', 2],
    ['assay_decisions_local_total', 1],
    ['assay_state_behind_records', 7],
    ['assay_state_superseded_total', 1],
  ]
  const sorted = (key: string) => key.replace(/\{(.*)\}/, (_, labels: string) => `{${labels.split(',').sort().join()}}`)
  const found = new Map((await shown()).map(([key, value]) => [sorted(key), value]))
  for (const [key, value] of expected) t.equal(found.get(sorted(key)), value, key)

  metrics.state.up(true)
  metrics.reset()
  const after = new Map(await shown())
  t.equal(after.get('assay_state_up'), 1, 'what holds now is no count')
  t.equal(after.get('assay_state_behind_records'), 7)
  t.equal(after.get('assay_decisions_local_total'), 0)
  t.equal(after.get('assay_state_superseded_total'), 0)
  t.equal(after.get('assay_state_failures_total{reason="open"}'), 0)
})

void t.test('label sets are bounded: models beyond the bound count as other', async (t) => {
  const metrics = createMetrics(TINY, { nodeMetrics: false })
  t.teardown(() => metrics.close())
  for (let index = 0; index < 10; index++) metrics.decision(0, metrics.model(`m@${index}`), 0)
  const found = samples((await metrics.scrape('')).body)
  const models = [...found].filter(([key]) => key.startsWith('assay_decisions_total'))
  t.same(
    models.map(([, value]) => value),
    [1, 1, 8],
  )
  t.match(models[2][0], /model="other"/)
})

void t.test('the summary shows totals and the last minute in milliseconds', (t) => {
  const metrics = createMetrics(LIMITS, { nodeMetrics: false })
  t.teardown(() => metrics.close())
  metrics.decision(0, metrics.model('m@1'), 0)
  for (let index = 0; index < 100; index++) metrics.request(index < 98 ? 500 : 4000)
  metrics.rejected('ASSAY_BODY_TOO_LARGE')
  t.match(metrics.summary(), {
    decisions: 1,
    rejected: { ASSAY_BODY_TOO_LARGE: 1 },
    last_minute: { request: { count: 100, p50_ms: 0.5, p99_ms: 4 } },
  })
  t.end()
})

void t.test('the logger writes named events as JSON, at their level, and never a card number', (t) => {
  const lines: string[] = []
  const logger = createLogger({ level: 'info', stream: { write: (line) => void lines.push(line) } })
  const cause = new Error('disk 4111 1111 1111 1111')
  logger.event('LogFailed', {
    error: new AssayError('ASSAY_LOG_IO', 'write failed', { cause }),
    free_bytes: 12,
    at: null,
  })
  logger.event('LogFailed', { detail: 'card 4111-1111-1111-1111', list: ['4111111111111111', 'fine'] })
  createLogger({ level: 'fatal', stream: { write: (line) => void lines.push(line) } }).event('ServerReady')
  t.equal(lines.length, 2, 'below the level nothing is written')
  t.match(JSON.parse(lines[0]), {
    level: 'error',
    event: 'LogFailed',
    error: { code: 'ASSAY_LOG_IO', message: 'write failed', cause: '[removed]' },
    free_bytes: 12,
    at: null,
  })
  t.match(JSON.parse(lines[1]), { detail: '[removed]', list: ['[removed]', 'fine'] })
  t.notMatch(lines.join(''), /4111/)
  t.notMatch(lines[0], /stack/)
  logger.flush()
  t.end()
})
