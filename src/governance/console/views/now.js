// Now: are we scoring well right now?
import { colour, draw, rule, stacked } from '../charts.js'
import { h } from '../dom.js'
import { count, interval, minute, ms, number, plural, seconds, share, time, zone } from '../format.js'
import { dataTable, empty, facts, figure, figures, headline, link, table, tag } from '../parts.js'
import { forcedText } from './routes.js'

const ACTIONS = ['decline', 'review', 'challenge', 'approve']

export const now = {
  name: 'now',
  title: 'Now',
  load: ({ ask }) => ask('summary'),
  draw(data) {
    if (data.decisions_held === 0) {
      return [
        headline('none', 'No decision has come yet.', 'Traffic, latency by stage and degraded answers appear here.'),
        empty('Send simulated traffic to the running server:', 'npm run traffic -- --rate 200 --for 5m'),
      ]
    }
    const [tone, sentence, context] = answer(data)
    return [
      headline(tone, sentence, context),
      overview(data),
      h('div', { class: 'grid' }, traffic(data), latency(data)),
      stageBar(data),
      h('div', { class: 'grid' }, watching(data), answered(data)),
      minutes(data),
    ]
  },
}

const perSecond = (data) => data.decisions / (data.window_ms / 1000)

/** The sentence: rate, latency, who answers, what is wrong. */
function answer(data) {
  const { latency, drift } = data
  if (data.decisions === 0) {
    const ago = seconds((Date.parse(data.at) - Date.parse(data.newest_decision_at)) / 1000)
    const held = `${count(data.decisions_held)} decisions are held; the newest is of ${time(data.newest_decision_at)}.`
    return ['warn', `No decision in the last minute; the newest is ${ago} old.`, held]
  }
  const late = latency.deadline_ms !== null && latency.p99_ms > latency.deadline_ms
  const champion = data.answered_by
    .filter(({ role }) => role === 'champion')
    .reduce((n, { decisions }) => n + decisions, 0)
  const reasons = data.degraded_by.map(({ reason }) => reason.replaceAll('_', ' ')).join(', ')
  const degraded = data.degraded === 0 ? 'none degraded' : `${count(data.degraded)} degraded (${reasons})`
  const { forced } = data
  const isForced = forced.baseline || forced.open.length > 0
  const findings = [
    ...(isForced ? [forcedText(forced)] : []),
    drift.drift > 0 ? `${plural(drift.drift, 'drift')}` : 'No drift',
    `${plural(data.alerts_open, 'open alert')}`,
  ]
  const deadline = latency.deadline_ms === null ? '' : ` of ${number(latency.deadline_ms)}`
  const sentence =
    `${count(perSecond(data))} decisions/s, p99 ${ms(latency.p99_ms)}${deadline}. ` +
    `Champion answers ${share(champion / data.decisions)}; ${degraded}. ${findings.join(', ')}.`
  const bad = forced.baseline || late || data.degraded / data.decisions > 0.01 || data.alerts_open > 0
  const warn = isForced || data.degraded > 0 || drift.drift + drift.watch > 0 || data.lag.seconds > 30
  const behind = data.lag.seconds > 5 ? ` This page is ${seconds(data.lag.seconds)} behind the log.` : ''
  return [
    bad ? 'bad' : warn ? 'warn' : 'good',
    sentence,
    `The last ${seconds(data.window_ms / 1000)}, to ${time(data.at)} ${zone.name()}.${behind}`,
  ]
}

function overview(data) {
  const { latency, actions } = data
  const window = `within the last ${seconds(data.window_ms / 1000)}`
  const of = (n) => share(n / Math.max(1, data.decisions))
  return figures(
    figure(
      'Decisions a second',
      number(perSecond(data)),
      `Decisions logged ${window}, divided by its seconds.`,
      `n = ${count(data.decisions)}`,
    ),
    figure(
      'Approved',
      of(actions.approve),
      `Share of decisions ${window} with action approve.`,
      `n = ${count(actions.approve)}`,
    ),
    figure(
      'Reviewed',
      of(actions.review),
      `Share of decisions ${window} with action review.`,
      `n = ${count(actions.review)}`,
    ),
    figure(
      'Declined',
      of(actions.decline),
      `Share of decisions ${window} with action decline.`,
      `n = ${count(actions.decline)}`,
    ),
    figure(
      'Degraded',
      count(data.degraded),
      `Decisions ${window} that the prescribed model did not give.`,
      of(data.degraded),
    ),
    figure(
      'p50 to decide',
      ms(latency.p50_ms),
      `Half of the decisions ${window} took at most this, from receive to decide; the log's sync comes after.`,
      `n = ${count(latency.decisions)}`,
    ),
    figure(
      'p99 to decide',
      ms(latency.p99_ms),
      `99 % of the decisions ${window} took at most this, from receive to decide.`,
      latency.deadline_ms === null ? null : `deadline ${ms(latency.deadline_ms)}`,
    ),
  )
}

const key = (...pairs) =>
  h(
    'p',
    { class: 'key' },
    ...pairs.map(([name, variable]) => h('span', {}, h('i', { style: { background: `var(${variable})` } }), name)),
  )

const times = ({ series }) => series.map(({ at }) => Date.parse(at) / 1000)

function traffic(data) {
  const perBucket = data.bucket_ms / 1000
  const mount = (element) => {
    const rows = ACTIONS.map((action) => data.series.map(({ actions }) => actions[action] / perBucket)).reverse()
    const series = [...ACTIONS].reverse().map((action) => ({
      stroke: colour(`--${action}`),
      fill: `${colour(`--${action}`)}66`,
      width: 1.5,
      points: { show: false },
    }))
    draw(element, { data: [times(data), ...stacked(rows)], series, axes: (value) => number(value), utc: zone.utc })
  }
  return h(
    'section',
    { class: 'card' },
    h(
      'div',
      { class: 'bar over' },
      h('h2', {}, 'Decisions a second, by action'),
      key(['approve', '--approve'], ['challenge', '--challenge'], ['review', '--review'], ['decline', '--decline']),
    ),
    h('div', {
      'data-mount': 'traffic',
      role: 'img',
      'aria-label': 'Decisions a second by action over time; the table below holds the data',
      mount,
    }),
  )
}

function latency(data) {
  const deadline = data.latency.deadline_ms
  const mount = (element) => {
    const lines = [data.series.map(({ p99_ms }) => p99_ms), data.series.map(({ p50_ms }) => p50_ms)]
    const accent = colour('--accent')
    const series = [
      { stroke: accent, width: 1.5, points: { show: false } },
      { stroke: accent, width: 1.5, dash: [2, 3], points: { show: false } },
    ]
    draw(element, {
      data: [times(data), ...lines],
      series,
      bands: [{ series: [1, 2], fill: `${accent}33` }],
      hooks: { draw: [rule(deadline, `deadline ${number(deadline)} ms`)] },
      axes: (value) => `${number(value)} ms`,
      utc: zone.utc,
    })
  }
  return h(
    'section',
    { class: 'card' },
    h(
      'div',
      { class: 'bar over' },
      h('h2', {}, 'Time to decide, p50 to p99'),
      key(['p99 (line) down to p50 (dotted)', '--accent']),
    ),
    h('div', {
      'data-mount': 'latency',
      role: 'img',
      'aria-label': 'Latency band from p50 to p99 over time; the table below holds the data',
      mount,
    }),
  )
}

const SHADES = ['--faint', '--review', '--good', '--accent', '--decline']

function stageBar({ latency }) {
  const { stages } = latency
  if (stages.length === 0) return null
  const total = stages.reduce((sum, { mean_ms }) => sum + mean_ms, 0)
  const columns = [
    { name: 'Stage', cell: ({ stage }) => stage },
    { name: 'Mean', align: 'end', cell: ({ mean_ms }) => ms(mean_ms) },
    { name: 'Share', align: 'end', cell: ({ mean_ms }) => share(mean_ms / total) },
    { name: 'p99', align: 'end', cell: ({ p99_ms }) => ms(p99_ms) },
  ]
  return h(
    'section',
    { class: 'card' },
    h(
      'div',
      { class: 'bar' },
      h('h2', {}, `Where the time goes: ${ms(total)} on average`),
      key(...stages.map(({ stage }, i) => [stage, SHADES[i % SHADES.length]])),
    ),
    h(
      'div',
      { class: 'stages', 'aria-hidden': 'true' },
      ...stages.map(({ mean_ms }, i) =>
        h('span', { style: { 'flex-grow': String(mean_ms / total), background: `var(${SHADES[i % SHADES.length]})` } }),
      ),
    ),
    dataTable('Stages', columns, stages),
  )
}

function watching({ drift, shadow, alerts_open: alerts, lag }) {
  const { worst } = drift
  const flips = shadow.map(({ model, flip_share: flipShare, pairs }) => [
    link(`shadow?model=${encodeURIComponent(model)}`, model),
    `would flip ${interval(flipShare)} of ${count(pairs)}`,
  ])
  return h(
    'section',
    { class: 'card' },
    h('h2', {}, 'What is being watched'),
    facts([
      [
        link('drift', 'Drift'),
        drift.features === 0
          ? 'no window has closed yet'
          : `${drift.drift} drift, ${drift.watch} watch, of ${drift.features}`,
      ],
      worst === null
        ? null
        : [
            'Worst',
            h(
              'span',
              {},
              link(`drift?feature=${encodeURIComponent(worst.feature)}`, worst.feature),
              ' ',
              tag(worst.verdict),
              ` PSI ${number(worst.psi)}`,
            ),
          ],
      ...(flips.length === 0 ? [['Shadow', 'no pair yet']] : flips),
      [link('health', 'Alerts open'), count(alerts)],
      [link('health', 'Behind the log'), `${count(lag.records)} records, ${seconds(lag.seconds)}`],
    ]),
  )
}

function answered({ answered_by: rows, decisions }) {
  const columns = [
    { name: 'Answered by', cell: ({ model }) => model },
    { name: 'Role', cell: ({ role }) => role },
    { name: 'Decisions', align: 'end', cell: (row) => count(row.decisions) },
    { name: 'Share', align: 'end', cell: (row) => share(row.decisions / Math.max(1, decisions)) },
  ]
  return table('Who answers', columns, rows)
}

function minutes({ series }) {
  const columns = [
    { name: `From (${zone.name()})`, cell: ({ at }) => minute(at) },
    { name: 'Decisions', align: 'end', cell: ({ decisions }) => count(decisions) },
    ...['approve', 'challenge', 'review', 'decline'].map((action) => ({
      name: action,
      align: 'end',
      cell: ({ actions }) => count(actions[action]),
    })),
    { name: 'Degraded', align: 'end', cell: ({ degraded }) => count(degraded) },
    { name: 'p50', align: 'end', cell: ({ p50_ms }) => ms(p50_ms) },
    { name: 'p99', align: 'end', cell: ({ p99_ms }) => ms(p99_ms) },
  ]
  return dataTable('Both charts', columns, [...series].reverse(), { csv: { path: 'summary', params: {} } })
}
