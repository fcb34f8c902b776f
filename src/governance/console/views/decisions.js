// Decisions: the explorer. Filters stand in the address; the newest page renews itself, older ones stay.
import { h } from '../dom.js'
import { count, fullTime, money, ms, plural, score, time, zone } from '../format.js'
import { button, empty, headline, link, table, tag } from '../parts.js'

const FILTERS = ['since', 'until', 'entity', 'model', 'action', 'score_min', 'score_max', 'degraded', 'after']
const ROWS = 50

export const decisions = {
  name: 'decisions',
  title: 'Decisions',
  load({ ask, params }) {
    return ask('decisions', { ...chosen(params), limit: ROWS })
  },
  draw({ decisions: rows, next }, { params, go }) {
    const filtered = FILTERS.some((name) => name !== 'after' && params[name])
    const nothing = filtered ? 'No decision fits these filters. Widen the time or the score range.' : null
    const columns = columnsOf(rows)
    const csv = { path: 'decisions', params: { ...chosen(params), limit: 1000 } }
    const open = ({ decision_id: id }) => `#/decisions/${encodeURIComponent(id)}`
    return [
      headline('none', sentence(rows, next, params), describe(params)),
      filters(params, go),
      rows.length === 0 && nothing === null
        ? empty(
            'Each decision becomes a row here a moment after it was logged. Send some:',
            'npm run traffic -- --rate 200 --for 1m',
          )
        : table('Decisions, newest first', columns, rows, { csv, open, empty: nothing }),
      h(
        'div',
        { class: 'bar' },
        params.after ? button('Newest', () => go({ after: null })) : h('span'),
        next === null ? null : button('Older', () => go({ after: next })),
      ),
    ]
  },
}

const chosen = (params) =>
  Object.fromEntries(FILTERS.filter((name) => params[name]).map((name) => [name, params[name]]))

function sentence(rows, next, params) {
  if (rows.length === 0) return params.after ? 'No older decision.' : 'No decision to show.'
  const flagged = rows.filter(({ action }) => action !== 'approve').length
  const many =
    next === null
      ? plural(rows.length, 'decision')
      : `The ${params.after ? 'next' : 'newest'} ${count(rows.length)} decisions`
  return `${many}, ${time(rows.at(-1).decided_at)} to ${time(rows[0].decided_at)} ${zone.name()}; ${count(flagged)} not approved.`
}

/** The filters in words, so that a link explains itself. */
function describe(params) {
  const words = [
    params.action ? `action ${params.action}` : null,
    params.entity ? `entity ${params.entity}` : null,
    params.model ? `answered by ${params.model}` : null,
    params.score_min ? `score at least ${params.score_min}` : null,
    params.score_max ? `score at most ${params.score_max}` : null,
    params.degraded ? (params.degraded === 'true' ? 'degraded' : 'not degraded') : null,
    params.since ? `since ${params.since}` : null,
    params.until ? `until ${params.until}` : null,
  ].filter(Boolean)
  return words.length === 0
    ? 'All decisions. A click on one shows everything that is known of it.'
    : `Only: ${words.join(', ')}.`
}

function filters(params, go) {
  const apply = (event, form) => {
    event.preventDefault()
    const values = Object.fromEntries(new FormData(form))
    go({ ...values, after: null })
    return false
  }
  const clear = () => go(Object.fromEntries(FILTERS.map((name) => [name, null])))
  const field = (name, label, props = {}) =>
    h('label', {}, label, h('input', { name, value: params[name] ?? '', ...props }))
  const select = (name, label, options) =>
    h(
      'label',
      { class: 'choice' },
      label,
      h(
        'select',
        { name, on: { change: (_, at) => go({ [name]: at.value, after: null }) } },
        ...options.map(([value, text]) => h('option', { value, selected: value === (params[name] ?? '') }, text)),
      ),
    )
  const action = [['', 'any'], ...['approve', 'challenge', 'review', 'decline'].map((name) => [name, name])]
  return h(
    'form',
    { class: 'filters', 'aria-label': 'Filters', on: { submit: apply } },
    select('action', 'Action', action),
    select('degraded', 'Degraded', [
      ['', 'any'],
      ['true', 'yes'],
      ['false', 'no'],
    ]),
    field('entity', 'Customer or other entity'),
    field('model', 'Answered by', { placeholder: 'name@version' }),
    field('score_min', 'Score from', { class: 'short', inputmode: 'decimal' }),
    field('score_max', 'to', { class: 'short', inputmode: 'decimal' }),
    field('since', 'Since (UTC)', { placeholder: '2026-11-22T10:00Z' }),
    field('until', 'Until (UTC)', { placeholder: '2026-11-22T11:00Z' }),
    h('button', { class: 'main' }, 'Filter'),
    button('Clear', clear),
  )
}

function columnsOf(rows) {
  const entities = [...new Set(rows.flatMap((row) => Object.keys(row.entities)))]
  return [
    {
      name: `Decided (${zone.name()})`,
      cell: (row) => h('span', { title: fullTime(row.decided_at) }, time(row.decided_at)),
    },
    {
      name: 'Transaction',
      cell: (row) => link(`decisions/${encodeURIComponent(row.decision_id)}`, row.transaction_id),
    },
    { name: 'Action', cell: (row) => (row.action === null ? row.mode : tag(row.action)) },
    { name: 'Score', align: 'end', cell: (row) => score(row.score) },
    { name: 'Amount', align: 'end', cell: (row) => money(row.amount_minor, row.currency, row.exponent) },
    ...entities.map((name) => ({ name: name.replace(/_id$/, ''), cell: (row) => row.entities[name] ?? '–' })),
    { name: 'Answered by', cell: (row) => `${row.model ?? '–'}${row.degraded ? ' ▲ degraded' : ''}` },
    { name: 'Why', cell: (row) => row.reasons.join(', ') || '–' },
    { name: 'To decide', align: 'end', cell: (row) => ms(row.latency_ms) },
  ]
}
