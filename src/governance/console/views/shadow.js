// Shadow: would another model decide otherwise, and where? A density of score pairs on logit axes with the thresholds as
// a cross, the quadrants as counts, flips as a table.
import { h, s } from '../dom.js'
import { count, fullTime, interval, minute, money, number, plural, score, share, sum, time, zone } from '../format.js'
import { choice, dataTable, empty, facts, figure, figures, headline, link, table, tag } from '../parts.js'

export const shadow = {
  name: 'shadow',
  title: 'Shadow',
  async load({ ask, params }) {
    const range = { since: params.since, until: params.until, segment: params.segment }
    const overview = await ask('shadow', range)
    const model = params.model ?? overview.models[0]?.model
    const detail = model === undefined ? null : await ask(`shadow/${encodeURIComponent(model)}`, range)
    return { overview, detail }
  },
  draw({ overview, detail }, { params, go }) {
    if (detail === null) {
      return [
        headline(
          'none',
          'No pair of scores yet.',
          'Every decision is scored again by each shadow model, in the sidecar; the first minute appears when it ends.',
        ),
        empty(
          'Any model that the routes name, and every other bundle, is a shadow. Make a bad one visible:',
          'npm run traffic -- --rate 500 --for 5m --bad-challenger',
        ),
      ]
    }
    const { summary } = detail
    const [tone, sentence, context] = answer(summary)
    return [
      headline(tone, sentence, context),
      pickers(overview, detail, params, go),
      numbers(summary),
      h('div', { class: 'grid' }, density(detail), quadrants(detail)),
      flips(detail, params),
      over(detail),
      segments(detail),
    ]
  },
}

function answer(m) {
  const { flip_share: flipShare } = m
  const sentence =
    `${m.model} would flip ${interval(flipShare)} of decisions: ` +
    `${count(m.swap_in)} newly stopped (${sum(m.swap_in_minor, m.currency, m.exponent)}), ` +
    `${count(m.swap_out)} let through (${sum(m.swap_out_minor, m.currency, m.exponent)}); ` +
    `${count(m.declines_more)} more declines, ${count(m.declines_fewer)} fewer.`
  const shed =
    m.shed + m.failed === 0 ? 'none left out' : `${count(m.shed)} shed and ${count(m.failed)} failed, left out`
  const context = `Against champion ${m.champion}, ${plural(m.pairs, 'pair')} from ${time(m.from)} to ${time(m.until)} ${zone.name()}; ${shed}.`
  if (m.pairs === 0) return ['none', `${m.model} has no pair with the champion in this time.`, context]
  return [flipShare.low !== null && flipShare.low > 0.01 ? 'warn' : 'none', sentence, context]
}

function pickers({ models }, { summary, segments: list }, params, go) {
  const names = [...new Set(models.map(({ model }) => model))]
  const segments = [...new Set(list.map(({ segment }) => segment))]
  const ranges = [
    ['', 'all held'],
    ...[
      [15, '15 minutes'],
      [60, 'hour'],
      [1440, 'day'],
    ].map(([m, text]) => [String(m), `last ${text}`]),
  ]
  const since = (minutes) => (minutes === '' ? null : new Date(Date.now() - Number(minutes) * 60_000).toISOString())
  return h(
    'div',
    { class: 'filters' },
    choice('Shadow model', summary.model, names, (model) => go({ model })),
    segments.length > 1 ? choice('Segment', params.segment ?? '*', segments, (segment) => go({ segment })) : null,
    choice('Time', params.range ?? '', ranges, (range) => go({ range, since: since(range) })),
  )
}

function numbers(m) {
  return figures(
    figure(
      'Pairs',
      count(m.pairs),
      'Decisions scored by both models on the same logged vector.',
      `${count(m.shed)} shed`,
    ),
    figure(
      'Flips',
      share(m.flip_share.value),
      'Share of pairs on which the models take different actions, each at its own thresholds; Wilson interval at 95 %.',
      `${interval(m.flip_share).replace(/^[^(]*/, '')} n = ${count(m.flips)}`,
    ),
    figure(
      'Newly stopped',
      count(m.swap_in),
      'The champion approves, the shadow does not.',
      sum(m.swap_in_minor, m.currency, m.exponent),
    ),
    figure(
      'Let through',
      count(m.swap_out),
      'The champion does not approve, the shadow does.',
      sum(m.swap_out_minor, m.currency, m.exponent),
    ),
    figure(
      'Agreement',
      number(m.kappa),
      "Cohen's kappa over the actions: 1 is full agreement, 0 that of chance.",
      'kappa',
    ),
    figure('Rank correlation', number(m.rank_correlation), "Spearman's, of the two scores.", 'Spearman'),
    figure(
      'Equal volume at',
      number(m.equal_volume_threshold),
      "The shadow's review threshold that gives as many alerts as the champion has.",
      'shadow threshold',
    ),
  )
}

const SIZE = 520
const PAD = 46
const END = 8
const place = (value) => PAD + ((Math.max(-END, Math.min(END, value)) + END) / (2 * END)) * (SIZE - PAD - 10)
const logit = (score) => Math.log(score / (1 - score))
const TICKS = [0.001, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999]

/** Every two bins of an axis as one: what a screen can show. */
function coarser({ edges, cells }) {
  const joined = new Map()
  for (const { champion, shadow: other, pairs } of cells) {
    const key = `${champion >> 1} ${other >> 1}`
    joined.set(key, (joined.get(key) ?? 0) + pairs)
  }
  return {
    edges: edges.filter((_, i) => i % 2 === 0),
    cells: [...joined].map(([key, pairs]) => {
      const [champion, other] = key.split(' ').map(Number)
      return { champion, shadow: other, pairs }
    }),
  }
}

/** The plot: darker is more pairs, by logarithm. */
function density({ density: fine, summary, thresholds }) {
  const { edges, cells } = coarser(fine)
  const most = Math.log1p(Math.max(1, ...cells.map(({ pairs }) => pairs)))
  const y = (value) => SIZE - place(value)
  const squares = cells.map(({ champion, shadow: other, pairs }) => {
    const [x0, x1] = [place(edges[champion]), place(edges[champion + 1])]
    const [y0, y1] = [y(edges[other + 1]), y(edges[other])]
    return s('rect', {
      x: x0,
      y: y0,
      width: Math.max(1, x1 - x0),
      height: Math.max(1, y1 - y0),
      fill: 'var(--accent)',
      'fill-opacity': (0.12 + 0.88 * (Math.log1p(pairs) / most)).toFixed(3),
    })
  })
  const cross = ['challenge', 'review', 'decline']
    .map((name) => [name, thresholds.champion[`${name}_at`], thresholds.shadow[`${name}_at`]])
    .filter(([, own, other]) => own !== null && other !== null)
    .flatMap(([name, own, other]) => [
      s('line', {
        x1: place(logit(own)),
        x2: place(logit(own)),
        y1: y(-END),
        y2: y(END),
        stroke: `var(--${name})`,
        'stroke-width': 1.5,
        'stroke-dasharray': name === 'review' ? '4 3' : null,
      }),
      s('line', {
        x1: place(-END),
        x2: place(END),
        y1: y(logit(other)),
        y2: y(logit(other)),
        stroke: `var(--${name})`,
        'stroke-width': 1.5,
        'stroke-dasharray': name === 'review' ? '4 3' : null,
      }),
      s('text', { x: place(logit(own)) + 4, y: y(END) + 12 + (name === 'review' ? 14 : 0) }, `${name} ${number(own)}`),
    ])
  return h(
    'section',
    { class: 'card' },
    h(
      'div',
      { class: 'bar' },
      h('h2', {}, 'Where both models put each decision'),
      h('p', { class: 'key' }, 'darker: more pairs, by logarithm'),
    ),
    s(
      'svg',
      {
        class: 'chart density',
        viewBox: `0 0 ${SIZE} ${SIZE}`,
        role: 'img',
        'aria-label': `Density of ${count(summary.pairs)} pairs of scores, champion across, shadow up; the tables beside hold the counts`,
      },
      ...TICKS.flatMap((tick) => [
        s('line', { x1: place(logit(tick)), x2: place(logit(tick)), y1: y(-END), y2: y(END), stroke: 'var(--line)' }),
        s('line', { x1: place(-END), x2: place(END), y1: y(logit(tick)), y2: y(logit(tick)), stroke: 'var(--line)' }),
        s('text', { x: place(logit(tick)), y: SIZE - 28, 'text-anchor': 'middle' }, String(tick)),
        s('text', { x: PAD - 6, y: y(logit(tick)) + 4, 'text-anchor': 'end' }, String(tick)),
      ]),
      s('line', {
        x1: place(-END),
        x2: place(END),
        y1: y(-END),
        y2: y(END),
        stroke: 'var(--faint)',
        'stroke-dasharray': '2 4',
      }),
      ...squares,
      ...cross,
      s('text', { x: SIZE / 2, y: SIZE - 8, 'text-anchor': 'middle' }, `champion: ${summary.champion}`),
      s(
        'text',
        { x: 12, y: SIZE / 2, 'text-anchor': 'middle', transform: `rotate(-90 12 ${SIZE / 2})` },
        `shadow: ${summary.model}`,
      ),
    ),
  )
}

function quadrants({ quadrants: rows, summary }) {
  const columns = [
    { name: 'Champion', cell: ({ champion }) => tag(champion) },
    { name: 'Shadow', cell: ({ shadow: other }) => tag(other) },
    { name: 'Pairs', align: 'end', cell: ({ pairs }) => count(pairs) },
    { name: 'Share', align: 'end', cell: ({ pairs }) => share(pairs / Math.max(1, summary.pairs)) },
    { name: 'Amount', align: 'end', cell: ({ minor }) => sum(minor, summary.currency, summary.exponent) },
    { name: '', cell: (row) => (row.champion === row.shadow ? 'same' : '▲ flip') },
  ]
  const shown = rows.filter(({ pairs }) => pairs > 0)
  return h(
    'div',
    {},
    table('What each would do', columns, shown),
    h(
      'section',
      { class: 'card' },
      h('h2', {}, 'Scores'),
      facts([
        ['Mean difference, shadow − champion', number(summary.mean_difference)],
        ['Rank correlation', number(summary.rank_correlation)],
        ["Cohen's kappa", number(summary.kappa)],
        ['Threshold for equal volume', number(summary.equal_volume_threshold)],
      ]),
    ),
  )
}

function flips({ flips: rows, summary }, params) {
  const columns = [
    { name: `Decided (${zone.name()})`, cell: ({ decided_at: at }) => h('span', { title: fullTime(at) }, time(at)) },
    {
      name: 'Transaction',
      cell: (row) => link(`decisions/${encodeURIComponent(row.decision_id)}`, row.transaction_id),
    },
    { name: 'Champion', cell: (row) => h('span', {}, tag(row.champion_action), ` ${score(row.champion_score)}`) },
    { name: 'Shadow', cell: (row) => h('span', {}, tag(row.shadow_action), ` ${score(row.shadow_score)}`) },
    { name: 'Amount', align: 'end', cell: (row) => money(row.amount_minor, row.currency, row.exponent) },
  ]
  const csv = {
    path: `shadow/${encodeURIComponent(summary.model)}`,
    params: { since: params.since, segment: params.segment, limit: 1000 },
  }
  const open = ({ decision_id: id }) => `#/decisions/${encodeURIComponent(id)}`
  return table('Flips, the furthest apart first', columns, rows, { csv, open, empty: 'No decision would flip.' })
}

function over({ series }) {
  const columns = [
    { name: `From (${zone.name()})`, cell: ({ at }) => minute(at) },
    { name: 'Pairs', align: 'end', cell: ({ pairs }) => count(pairs) },
    { name: 'Flips', align: 'end', cell: ({ flips: n }) => count(n) },
    {
      name: 'Share (95 %)',
      align: 'end',
      cell: ({ flips: n, pairs, low, high }) => interval({ value: pairs === 0 ? null : n / pairs, low, high }),
    },
  ]
  return dataTable('Flips over time', columns, [...series].reverse())
}

function segments({ segments: rows }) {
  if (rows.length < 2) return null
  const columns = [
    { name: 'Segment', cell: ({ segment }) => (segment === '*' ? 'all' : segment) },
    { name: 'Pairs', align: 'end', cell: ({ pairs }) => count(pairs) },
    { name: 'Flips (95 %)', align: 'end', cell: ({ flip_share: value }) => interval(value) },
    { name: 'Newly stopped', align: 'end', cell: ({ swap_in: n }) => count(n) },
    { name: 'Let through', align: 'end', cell: ({ swap_out: n }) => count(n) },
  ]
  return table('By segment', columns, rows)
}
