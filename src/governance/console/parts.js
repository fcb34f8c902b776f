// What views share: headline, facts, tables with their CSV, tags of states, empty states.
import { saveCsv } from './api.js'
import { h } from './dom.js'

/** The answer in a sentence, readable from across the room, and a line of context. `tone`: good, warn, bad or none. */
export function headline(tone, sentence, context = null) {
  const words = { good: 'All well', warn: 'Look', bad: 'Act', none: '' }[tone]
  return [
    h('h1', { class: `answer ${tone}` }, words ? h('span', { class: 'tone' }, words) : null, sentence),
    context === null ? null : h('p', { class: 'context' }, context),
  ]
}

/** A number with its definition, shown while pointed at or focused. */
export function figure(label, value, definition, note = null) {
  return h(
    'div',
    { class: 'figure', tabindex: 0, 'data-def': definition, 'aria-description': definition },
    h('span', { class: 'label' }, label),
    h('span', { class: 'value' }, value),
    note === null ? null : h('span', { class: 'note' }, note),
  )
}

export const figures = (...items) => h('div', { class: 'figures' }, ...items)

const GLYPHS = {
  ...{ approve: '✓', challenge: '?', review: '◐', decline: '✕' },
  ...{ stable: '·', watch: '◑', drift: '▲', insufficient: '○' },
  ...{ firing: '▲', resolved: '✓', silenced: '–' },
}

/** A state as shape and word, coloured besides. */
export function tag(state) {
  return h('span', { class: `tag ${state}` }, h('span', { 'aria-hidden': 'true' }, GLYPHS[state] ?? '•'), ` ${state}`)
}

/**
 * A table. A column: {name, cell(row), align?: 'end', def?}. `csv`: {path, params} makes it a file.
 * `open`: the address that a row leads to.
 */
export function table(caption, columns, rows, { csv = null, open = null, empty = 'Nothing here yet.' } = {}) {
  const side = (column) => (column.align === 'end' ? 'end' : null)
  const head = columns.map((column) => {
    return h('th', { scope: 'col', class: side(column), title: column.def }, column.name)
  })
  const body = rows.map((row) =>
    h(
      'tr',
      { class: open === null ? null : 'opens', on: open === null ? {} : { click: opener(() => open(row)) } },
      ...columns.map((column) => h('td', { class: side(column), 'data-label': column.name }, column.cell(row))),
    ),
  )
  return h(
    'section',
    { class: 'table' },
    h('div', { class: 'bar' }, h('h2', {}, caption), csv === null ? null : csvButton(caption, csv)),
    rows.length === 0
      ? h('p', { class: 'empty' }, empty)
      : h(
          'div',
          { class: 'scroll', tabindex: 0, role: 'region', 'aria-label': caption },
          h('table', {}, h('thead', {}, h('tr', {}, ...head)), h('tbody', {}, ...body)),
        ),
  )
}

/** A click anywhere in a row follows its link, unless text was being selected or the link itself was meant. */
function opener(address) {
  return (event) => {
    if (event.target.closest('a, button') !== null || String(getSelection()) !== '') return
    location.hash = address()
  }
}

export function csvButton(caption, { path, params }) {
  const save = () => saveCsv(path, params).catch((error) => alert(error.message))
  return h('button', { type: 'button', class: 'quiet', 'aria-label': `${caption} as CSV`, on: { click: save } }, 'CSV')
}

/** A chart's data as a table, closed until asked for. */
export function dataTable(caption, columns, rows, options) {
  return h('details', {}, h('summary', {}, `${caption} as a table`), table(caption, columns, rows, options))
}

/** What will stand here, and the command that makes it. */
export function empty(what, command) {
  return h('div', { class: 'empty' }, h('p', {}, what), command ? h('pre', {}, h('code', {}, command)) : null)
}

export const link = (address, text) => h('a', { href: `#/${address}` }, text)

/** The beginning of a digest; all of it while pointed at. */
export function digest(text) {
  if (!text) return '–'
  return h('span', { class: 'mono', title: text, tabindex: 0, 'data-def': text }, text.slice(0, 19))
}

/** Pairs of name and value. */
export function facts(pairs) {
  return h(
    'dl',
    { class: 'facts' },
    ...pairs
      .filter((pair) => pair !== null)
      .map(([name, value]) => h('div', {}, h('dt', {}, name), h('dd', {}, value ?? '–'))),
  )
}

export function button(text, click, props = {}) {
  return h('button', { type: 'button', ...props, on: { click } }, text)
}

/** A labelled choice; `change` gets the new value. */
export function choice(label, value, options, change) {
  const items = options.map((option) => {
    const [key, text] = Array.isArray(option) ? option : [option, option]
    return h('option', { value: key, selected: key === value }, text)
  })
  return h('label', { class: 'choice' }, label, h('select', { on: { change: (_, at) => change(at.value) } }, ...items))
}
