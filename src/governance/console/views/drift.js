// Drift: does the world still look like training? A strip: a row a feature, a cell a window, worst first. A cell opens
// its detail (drift-detail.js).
import { h } from '../dom.js'
import { count, number, plural, time, zone } from '../format.js'
import { choice, csvButton, empty, headline, tag } from '../parts.js'
import { against, detailCard, inWords, isForTheEye } from './drift-detail.js'

const RANK = { drift: 3, watch: 2, stable: 1, insufficient: 0 }
const CELL_PX = 15

export const drift = {
  name: 'drift',
  title: 'Drift',
  async load({ ask, params }) {
    const room = Math.max(
      10,
      Math.min(96, Math.floor((Math.min(innerWidth, 1500) - (innerWidth < 640 ? 250 : 380)) / CELL_PX)),
    )
    const query = { model: params.model, segment: params.segment, kind: params.kind, windows: room }
    const overview = await ask('drift', query)
    const detail = params.feature
      ? await ask(`drift/${encodeURIComponent(params.feature)}`, { ...query, window: params.window }).catch(absent)
      : null
    return { overview, detail }
  },
  draw({ overview, detail }, { params, go }) {
    const rows = [...overview.features].sort(byWorst)
    if (rows.length === 0) {
      return [
        headline(
          'none',
          'No window has closed yet.',
          'A window closes after its number of decisions or its time; then each feature gets a cell.',
        ),
        empty(
          'Make drift: amounts are multiplied after ten seconds.',
          'npm run traffic -- --rate 500 --for 5m --drift amount',
        ),
      ]
    }
    const [tone, sentence, context] = answer(rows, overview)
    return [
      headline(tone, sentence, context),
      pickers(overview, params, go),
      strip(rows, params, go),
      params.feature ? detailCard(detail, overview.kind, params) : null,
    ]
  },
}

const CUTS = { count: 'by count', hour: 'hours', day: 'days' }
const kindInWords = (kind) => `${CUTS[kind.split('/')[0]]}, against ${against(kind)}`

function absent(error) {
  if (error.status === 404) return null
  throw error
}

const newest = ({ windows }) => windows.at(-1)

function byWorst(one, other) {
  const psi = (row) => newest(row)?.psi ?? 0
  return RANK[other.verdict] - RANK[one.verdict] || psi(other) - psi(one) || one.feature.localeCompare(other.feature)
}

function answer(rows, { kind, reference }) {
  const of = (verdict) => rows.filter((row) => row.verdict === verdict)
  const drifting = of('drift')
  const watched = of('watch')
  const waiting = of('insufficient').length
  const first = drifting[0] ?? watched[0]
  const cold = waiting === 0 ? '' : ` ${plural(waiting, 'has', 'have')} no verdict yet.`
  const named = newest(first ?? rows[0])?.cause ?? null
  const context = [
    contextOf(rows, kind, reference),
    named === null ? null : `${named[0].toUpperCase()}${named.slice(1)}: ${inWords(named)}.`,
  ]
    .filter(Boolean)
    .join(' ')
  if (first === undefined) return ['good', `None of ${rows.length} features drifts.${cold}`, context]
  const { psi, psi_low: low, cause } = newest(first)
  const bound = low === null ? '' : ` (95 % at least ${number(low)})`
  const since = first.since === null ? '' : `, since ${time(first.since)} ${zone.name()}`
  const verb = drifting.length > 0 ? (drifting.length === 1 ? 'drifts' : 'drift') : 'to watch'
  const many = drifting.length > 0 ? drifting.length : watched.length
  const because = cause === null ? '' : ` Named cause: ${cause}.`
  const tone = !isForTheEye(kind) && drifting.some((row) => newest(row).cause === null) ? 'bad' : 'warn'
  return [
    tone,
    `${many} of ${rows.length} features ${verb}: ${first.feature}, PSI ${number(psi)}${bound}${since}.${because}${cold}`,
    context,
  ]
}

function contextOf(rows, kind, reference) {
  const last = rows
    .map(newest)
    .filter(Boolean)
    .sort((a, b) => b.until.localeCompare(a.until))[0]
  if (last === undefined) return null
  const held = isForTheEye(kind)
    ? `${rows[0].model} against ${against(kind)}: for the eye, this comparison raises no alarm.`
    : ownInWords(rows[0].model, reference)
  return `${held} The newest window ended ${time(last.until)} ${zone.name()}, n = ${count(last.n)}.`
}

/** What alarms are made from: training, or for want of it the first rows. */
function ownInWords(model, reference) {
  const rows = reference?.rows == null ? '' : `${count(reference.rows)} `
  if (reference?.kind === 'collecting') return `${model} has no reference until ${rows}decisions are there.`
  if (reference?.kind !== 'provisional') return `Against the training of ${model}.`
  const span = `${time(reference.from)} → ${time(reference.until)} ${zone.name()}`
  return `Against a provisional reference: the first ${rows}live decisions of ${model} (${span}), for want of its training.`
}

function pickers({ models, segments, kinds, kind }, params, go) {
  const all = [
    models.length > 1
      ? choice('Model', params.model ?? models[0], models, (model) => go({ model, window: null }))
      : null,
    segments.length > 1
      ? choice('Segment', params.segment ?? segments[0], segments, (segment) => go({ segment, window: null }))
      : null,
    kinds.length > 1
      ? choice(
          'Windows',
          kind,
          kinds.map((each) => [each, kindInWords(each)]),
          (next) => go({ kind: next, window: null }),
        )
      : null,
  ].filter(Boolean)
  return all.length === 0 ? null : h('div', { class: 'filters' }, ...all)
}

/** A grid: one cell is in the tab order, arrows move from there. */
function strip(rows, params, go) {
  const starts = [...new Set(rows.flatMap((row) => row.windows.map(({ from }) => from)))].sort()
  const legend = h(
    'p',
    { class: 'key' },
    ...['drift', 'watch', 'stable', 'insufficient'].map((verdict) =>
      h(
        'span',
        {},
        h('span', {
          class: `cell ${verdict}`,
          style: { display: 'inline-block', height: '13px', 'vertical-align': '-2px', 'margin-right': '6px' },
        }),
        verdict,
      ),
    ),
  )
  const focusable = params.feature && params.window ? null : newest(rows[0])?.window
  const cells = (row) => {
    const by = new Map(row.windows.map((window) => [window.from, window]))
    return starts.map((from) => {
      const window = by.get(from)
      return h(
        'td',
        {},
        window === undefined
          ? null
          : cell(row, window, { params, go, focusable: focusable === window.window && row === rows[0] }),
      )
    })
  }
  const lines = rows.map((row) =>
    h(
      'tr',
      { 'data-key': row.feature },
      h(
        'th',
        { scope: 'row', title: row.feature },
        h('a', { href: addressOf(params, row.feature, newest(row)?.window) }, row.feature),
      ),
      ...cells(row),
      h('td', { class: 'psi end' }, number(newest(row)?.psi)),
      h('td', { class: 'psi' }, tag(row.verdict)),
    ),
  )
  const csv = { path: 'drift', params: { model: params.model, segment: params.segment, kind: params.kind } }
  return h(
    'section',
    { class: 'table' },
    h(
      'div',
      { class: 'bar' },
      h(
        'h2',
        {},
        `${time(starts[0])} → ${time(rows[0].windows.at(-1)?.until)} ${zone.name()}, a cell a window, worst first`,
      ),
      legend,
      csvButton('Drift', csv),
    ),
    h(
      'div',
      { class: 'scroll' },
      h('table', { class: 'strip', on: { keydown: moveByArrow } }, h('tbody', {}, ...lines)),
    ),
  )
}

function addressOf(params, feature, window) {
  const query = new URLSearchParams({ ...params, feature, ...(window === undefined ? {} : { window }) })
  return `#/drift?${query}`
}

function cell(row, window, { params, go, focusable }) {
  const chosen = params.feature === row.feature && params.window === window.window
  const words = `${row.feature}, ${time(window.from)} to ${time(window.until)}: ${window.verdict}, PSI ${number(window.psi)}, n = ${count(window.n)}${window.cause === null ? '' : `, ${window.cause}`}`
  return h('button', {
    type: 'button',
    class: `cell ${window.verdict}`,
    'aria-label': words,
    'aria-pressed': String(chosen),
    title: words,
    tabindex: chosen || focusable ? 0 : -1,
    on: { click: () => go({ feature: row.feature, window: window.window }) },
  })
}

function moveByArrow(event) {
  const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key]
  const from = event.target.closest('td')
  if (step === undefined || from === null) return
  event.preventDefault()
  const line = from.parentNode
  const to = step[0] === 0 ? line : line.parentNode.rows[line.rowIndex + step[0]]
  const next = to?.cells[from.cellIndex + step[1]]?.querySelector('button')
  next?.focus()
}
