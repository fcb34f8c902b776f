// One window of one feature: the reference against the window as two outlines over shared bins, the verdict in words.
import { h, s } from '../dom.js'
import { count, fullTime, number, share } from '../format.js'
import { dataTable, facts, link, table, tag } from '../parts.js'

/** What a kind of window is held against, in words. Only training, or what stands for it, raises alarms. */
export function against(kind) {
  const [cut, reference] = kind.split('/')
  if (reference === 'training') return 'training'
  if (reference === 'provisional') return 'its first live rows (provisional)'
  const span = cut === 'hour' ? 'the same hour of ' : ''
  return span + { day_before: 'the day before', week_before: 'the week before' }[reference]
}

export const isForTheEye = (kind) => !['training', 'provisional'].includes(kind.split('/')[1])

const CAUSES = {
  cold: 'windows of features are not yet observed for their whole length; history fills them',
  'policy changed': 'the policy changed inside the window, or since its reference',
  'reference cold': 'the window it is held against was cold itself',
  calendar: 'it follows the calendar, and this window covers another part of the cycle than its reference',
  'no profile': 'the reference profile of the bundle cannot be read',
  collecting: 'the bundle has no reference profile: one is being made of its first live decisions',
}

export const inWords = (cause) =>
  cause
    .split(', ')
    .map((one) => CAUSES[one] ?? one)
    .join('; ')

export function detailCard(detail, kind, params) {
  if (detail === null || detail.window === null) {
    return h('section', { class: 'card' }, h('p', { class: 'empty' }, `No window of ${params.feature} is held here.`))
  }
  const { window, bins } = detail
  return h(
    'section',
    { class: 'card', id: 'detail' },
    h(
      'div',
      { class: 'bar' },
      h('h2', {}, detail.feature),
      h(
        'p',
        { class: 'key' },
        h(
          'span',
          {},
          h('i', { style: { border: '2px dashed var(--faint)', background: 'none' } }),
          `${against(kind)}, n = ${count(detail.reference_rows)}`,
        ),
        h(
          'span',
          {},
          h('i', { style: { background: 'var(--accent)' } }),
          `this window, n = ${count(detail.current_rows)}`,
        ),
      ),
    ),
    h('p', {}, verdictInWords(detail, kind)),
    outlines(detail, kind),
    facts([
      ['Verdict', tag(window.verdict)],
      ['PSI, corrected', number(window.psi)],
      ['95 % at least', number(window.psi_low)],
      ['Textbook PSI, ten deciles', number(window.psi_textbook)],
      ['p, were nothing changed', number(window.p)],
      ['n', count(window.n)],
      ['From', fullTime(window.from)],
      ['Until', fullTime(window.until)],
      ['Decisions of that time', link(`decisions?since=${window.from}&until=${window.until}`, 'show')],
    ]),
    references(detail, params),
    dataTable('Bins', binColumns(detail, kind), bins, {
      csv: {
        path: `drift/${encodeURIComponent(detail.feature)}`,
        params: { model: params.model, segment: params.segment, kind: params.kind, window: params.window },
      },
    }),
  )
}

/** The same window against each of its references; only windows by time have more than training. */
function references({ feature, against: held }, params) {
  if (held.length < 2) return null
  const open = ({ kind, window }) => `#/drift?${new URLSearchParams({ ...params, feature, kind, window })}`
  const columns = [
    { name: 'Reference', cell: (one) => h('a', { href: open(one) }, against(one.kind)) },
    { name: 'Verdict', cell: ({ verdict }) => tag(verdict) },
    { name: 'PSI', align: 'end', cell: ({ psi }) => number(psi) },
    { name: '95 % at least', align: 'end', cell: ({ psi_low: low }) => number(low) },
    { name: 'p', align: 'end', cell: ({ p }) => number(p) },
    { name: 'n of the reference', align: 'end', cell: ({ reference_rows: rows }) => count(rows) },
    { name: 'Named cause', cell: ({ cause }) => cause ?? '–' },
    { name: 'Alarms', cell: ({ raises_alarms: does }) => (does ? 'yes' : 'no, for the eye') },
  ]
  return [
    table('This window against each reference', columns, held),
    h(
      'p',
      { class: 'context' },
      'The day and the week before show whether a difference is new or belongs to the hour. They are for the eye and raise no alarm: days differ without any fault.',
    ),
  ]
}

function verdictInWords({ feature, window, bins, current_rows: n, reference_rows: m }, kind) {
  const { verdict, psi, p, cause } = window
  if (verdict === 'insufficient') {
    const why = cause === null ? `${count(window.n)} rows are too few` : inWords(cause)
    return `No verdict on ${feature}: ${why}.`
  }
  const shift = (bin) => bin.current / Math.max(1, n) - bin.reference / Math.max(1, m)
  const most = [...bins].sort((a, b) => Math.abs(shift(b)) - Math.abs(shift(a)))[0]
  const where =
    most === undefined
      ? ''
      : ` Most moved: ${named(most)}, from ${share(most.reference / Math.max(1, m))} of rows to ${share(most.current / Math.max(1, n))}.`
  const because = cause === null ? '' : ` Named cause: ${inWords(cause)}.`
  const chance = p === null ? '' : ` A window like this comes by chance with p = ${number(p)}.`
  const words = {
    drift: `${feature} drifts: PSI ${number(psi)}, beyond what sampling explains and beyond 0.1.`,
    watch: `${feature} has moved (PSI ${number(psi)}), though not far: watch it.`,
    stable: `${feature} looks like ${against(kind)} (PSI ${number(psi)}).`,
  }
  return `${words[verdict]}${chance}${where}${because}`
}

function binColumns({ current_rows: n, reference_rows: m }, kind) {
  return [
    { name: 'Bin', cell: named },
    {
      name: kind.endsWith('/training') ? 'Training' : 'Reference',
      align: 'end',
      cell: ({ reference }) => count(reference),
    },
    { name: 'Share', align: 'end', cell: ({ reference }) => share(reference / Math.max(1, m)) },
    { name: 'Window', align: 'end', cell: ({ current }) => count(current) },
    { name: 'Share', align: 'end', cell: ({ current }) => share(current / Math.max(1, n)) },
    { name: 'Of the PSI', align: 'end', cell: ({ psi }) => number(psi) },
  ]
}

/** Drawn as wide as it is shown, so that its text keeps its size. */
const wide = () => (innerWidth < 640 ? 400 : 1100)
const HIGH = 250

/** Two outlines over the same bins: equal widths, since edges are quantiles; single values and null stand apart. */
function outlines({ bins, reference_rows: m, current_rows: n, feature }, kind) {
  const WIDE = wide()
  const gap = 10
  const breaks = bins.filter((bin, i) => i > 0 && isApart(bin) !== isApart(bins[i - 1])).length
  const width = (WIDE - 60 - breaks * gap) / bins.length
  const top = Math.max(...bins.flatMap((bin) => [bin.reference / Math.max(1, m), bin.current / Math.max(1, n)]), 0.01)
  const y = (value) => 12 + (1 - value / top) * (HIGH - 62)
  let x = 50
  const places = bins.map((bin, i) => {
    if (i > 0 && isApart(bin) !== isApart(bins[i - 1])) x += gap
    const at = x
    x += width
    return at
  })
  const outline = (shareOf) => {
    let path = ''
    bins.forEach((bin, i) => {
      const joined = i > 0 && Math.abs(places[i] - places[i - 1] - width) < 0.01
      path += `${joined ? 'L' : `${i > 0 ? `L${places[i - 1] + width},${y(0)}` : ''}M${places[i]},${y(0)}L`}${places[i]},${y(shareOf(bin))}L${places[i] + width},${y(shareOf(bin))}`
    })
    return `${path}L${places.at(-1) + width},${y(0)}`
  }
  const every = Math.ceil((bins.length * 90) / WIDE)
  const ticks = [0, top / 2, top]
  return s(
    'svg',
    {
      class: 'chart',
      viewBox: `0 0 ${WIDE} ${HIGH}`,
      role: 'img',
      'aria-label': `Shares of ${feature} by bin, ${against(kind)} and this window; the table below holds the data`,
    },
    ...ticks.flatMap((tick) => [
      s('line', { x1: 50, x2: WIDE - 10, y1: y(tick), y2: y(tick), stroke: 'var(--line)' }),
      s('text', { x: 44, y: y(tick) + 4, 'text-anchor': 'end' }, share(tick)),
    ]),
    s('path', {
      d: outline((bin) => bin.current / Math.max(1, n)),
      fill: 'var(--accent)',
      'fill-opacity': 0.22,
      stroke: 'var(--accent)',
      'stroke-width': 2,
    }),
    s('path', {
      d: outline((bin) => bin.reference / Math.max(1, m)),
      fill: 'none',
      stroke: 'var(--faint)',
      'stroke-width': 2,
      'stroke-dasharray': '5 4',
    }),
    ...bins.map((bin, i) =>
      i % every === 0 || isApart(bin)
        ? s(
            'text',
            { x: places[i] + width / 2, y: HIGH - 34 + (isApart(bin) && i % 2 ? 16 : 0), 'text-anchor': 'middle' },
            short(bin),
          )
        : null,
    ),
  )
}

const isApart = ({ kind }) => kind !== 'interval'
/** A bin in words: edges as people read them. */
function named({ kind, label, low, high }) {
  if (kind !== 'interval') return label
  if (low === null) return `up to ${number(high)}`
  return high === null ? `above ${number(low)}` : `${number(low)} to ${number(high)}`
}

const short = (bin) =>
  bin.kind === 'interval' ? (bin.high === null ? `> ${number(bin.low)}` : `≤ ${number(bin.high)}`) : bin.label
