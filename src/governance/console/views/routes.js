// Routes: who gets which traffic? To read; changes are made with `assay route`.
import { h } from '../dom.js'
import { count, fullTime, number, seconds, share } from '../format.js'
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
    const { forced, ramp } = summary
    const tone = forced.baseline ? 'bad' : forced.open.length > 0 || ramp?.paused ? 'warn' : 'none'
    const said = forced.baseline ? `${forcedText(forced)}.` : sentence(live, controls)
    return [
      headline(tone, said, `Revision ${live.revision} of the routes named “${live.name}”.`),
      card(summary),
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

/** Read by the view Now as well. */
export function forcedText({ baseline, open }) {
  if (baseline) return 'Forced: the baseline answers everything'
  return open.length === 0 ? 'nothing' : `Forced: the breaker of ${open.join(' and ')} is held open`
}

function rampText(ramp) {
  if (ramp === null) return 'none'
  const steps = ramp.steps.map((step, at) => (at === ramp.step ? `[${share(step / 10_000)}]` : share(step / 10_000)))
  const pace = ramp.paused ? 'paused: assay route resume' : `a step each ${seconds(ramp.every_ms / 1000)} at most`
  return `${steps.join(' → ')}, ${pace}`
}

const routesText = ({ champion, challenger, share: part }) =>
  `${champion}, ${challenger ?? 'no challenger'} at ${share(part / 10_000)}`

function card({ routes: live, rollback_to: before, forced, ramp }) {
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
      ['Held by an operator', forcedText(forced)],
      ['Ramp', rampText(ramp)],
      ['A rollback returns to', before === null ? 'nothing' : routesText(before)],
      ['History', link('audit', 'Audit')],
    ]),
    h('p', { class: 'context' }, 'Changing them needs a token with the role operator, and a reason:'),
    h(
      'pre',
      {},
      h(
        'code',
        {},
        'assay route set --share 500 --reason "week 48 trial"\nassay route rollback --reason "…"\nassay breaker release --reason "…"',
      ),
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
