// Routes: who gets which traffic? To read; changes are made with `assay route`.
import { h } from '../dom.js'
import { count, fullTime, number, share } from '../format.js'
import { digest, empty, facts, headline, link, table } from '../parts.js'

export const routes = {
  name: 'routes',
  title: 'Routes',
  async load({ ask }) {
    const [summary, audit] = await Promise.all([ask('summary'), ask('audit', { limit: 20 })])
    return { summary, controls: audit.controls }
  },
  draw({ summary, controls }) {
    const { routes: live, models, decisions } = summary
    if (live === null) {
      return [
        headline('none', 'No routes are known yet.'),
        empty('They stand in the first record of the decision log:', 'npm start'),
      ]
    }
    return [
      headline('none', sentence(live, controls), `Revision ${live.revision} of the routes named “${live.name}”.`),
      card(live),
      table('Models', columns(decisions), models),
    ]
  },
}

function sentence(live, controls) {
  const { champion, challenger } = live
  if (challenger === null || live.share === 0) return `Champion ${champion} gets all traffic.`
  const change = controls.find(({ routes: then }) => then?.revision === live.revision)
  const since = change
    ? ` since ${fullTime(change.at)} by ${change.actor}: ‘${change.reason}’`
    : ' since the first start, as the policy says'
  return `Champion ${champion}, challenger ${challenger} at ${share(live.share / 10_000)}${since}.`
}

function card(live) {
  return h(
    'section',
    { class: 'card' },
    h('h2', {}, 'Routes'),
    facts([
      ['Champion', live.champion],
      ['Challenger', live.challenger ?? 'none'],
      ['Share of the challenger', share(live.share / 10_000)],
      ['Baseline, where both fail', live.baseline],
      ['Sticky by', live.sticky_by],
      ['Experiment', live.experiment],
      ['History', link('audit', 'Audit')],
    ]),
    h('p', { class: 'context' }, 'Changing them needs a token with the role operator, and a reason:'),
    h(
      'pre',
      {},
      h('code', {}, 'assay route set --share 500 --reason "week 48 trial"\nassay route rollback --reason "…"'),
    ),
  )
}

function columns(decisions) {
  return [
    { name: 'Model', cell: ({ model }) => model },
    { name: 'Role', cell: ({ role }) => role },
    { name: 'Loaded', cell: ({ loaded }) => (loaded ? 'yes' : 'refused') },
    { name: 'Last minute', align: 'end', cell: (row) => count(row.decisions) },
    { name: 'Share', align: 'end', cell: (row) => (decisions === 0 ? '–' : share(row.decisions / decisions)) },
    { name: 'Review at', align: 'end', cell: ({ thresholds }) => number(thresholds.review_at) },
    { name: 'Decline at', align: 'end', cell: ({ thresholds }) => number(thresholds.decline_at) },
    { name: 'Digest', cell: (row) => digest(row.digest) },
  ]
}
