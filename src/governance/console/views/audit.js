// Audit: who did what? Control records as the decision log holds them.
import { h } from '../dom.js'
import { fullTime, plural, share } from '../format.js'
import { button, empty, headline, table } from '../parts.js'

export const audit = {
  name: 'audit',
  title: 'Audit',
  load: ({ ask, params }) => ask('audit', { limit: 50, after: params.after }),
  draw({ controls, next }, { params, go }) {
    if (controls.length === 0) {
      return [
        headline('none', 'Nobody has changed anything in what this log holds.'),
        empty(
          'Changes of routes, policy, models and lists appear here, refused ones too:',
          'assay route set --share 500 --reason "week 48 trial"',
        ),
      ]
    }
    const [newest] = controls
    const sentence = `${plural(controls.length, 'change')} ${params.after ? 'on this page' : 'or more'}; the newest by ${newest.actor}: ‘${newest.reason}’.`
    const pages = h(
      'div',
      { class: 'bar' },
      params.after ? button('Newest', () => go({ after: null })) : h('span'),
      next === null ? null : button('Older', () => go({ after: next })),
    )
    return [
      headline('none', sentence),
      table('Control records', COLUMNS, controls, { csv: { path: 'audit', params: { limit: 1000 } } }),
      pages,
    ]
  },
}

const COLUMNS = [
  { name: 'When', cell: ({ at }) => fullTime(at) },
  { name: 'Who', cell: ({ actor }) => actor },
  { name: 'What', cell: ({ kind, model }) => (model === null ? kind : `${kind} ${model}`) },
  { name: 'Why', cell: ({ reason }) => reason },
  {
    name: 'Then',
    cell: ({ routes }) =>
      routes === null
        ? '–'
        : `${routes.champion}, ${routes.challenger ?? 'no challenger'} at ${share(routes.share / 10_000)}`,
  },
  { name: 'Sequence', align: 'end', cell: ({ sequence }) => String(sequence) },
]
