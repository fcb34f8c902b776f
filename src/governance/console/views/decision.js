// One decision: what came in, what the model saw, rules and thresholds, who answered and why, how long each stage took.
import { h, s } from '../dom.js'
import { fullTime, money, ms, number, score, share } from '../format.js'
import { digest, facts, headline, link, table, tag } from '../parts.js'

export const decision = {
  name: 'decision',
  title: 'Decision',
  async load({ ask, id }) {
    try {
      return { found: await ask(`decisions/${encodeURIComponent(id)}`) }
    } catch (error) {
      if (error.status !== 404) throw error
      return { found: null }
    }
  },
  draw({ found: d }, { id }) {
    if (d === null) {
      return [
        headline(
          'none',
          `No decision or transaction “${id}” is held here.`,
          'It may be older than the store keeps, not logged yet, or of another server.',
        ),
        h('p', {}, link('decisions', 'All decisions')),
      ]
    }
    return [
      headline(
        d.degraded ? 'warn' : 'none',
        sentence(d),
        `${money(d.amount_minor, d.currency, d.exponent)}, transaction ${d.transaction_id}, decided ${fullTime(d.decided_at)}.`,
      ),
      h('div', { class: 'grid' }, scoring(d), who(d)),
      reasons(d),
      h('div', { class: 'grid' }, input(d), vector(d)),
      stages(d),
      h('div', { class: 'grid' }, shadows(d), labels(d)),
      record(d),
    ]
  },
}

const PAST = { approve: 'Approved', challenge: 'Challenged', review: 'Sent to review', decline: 'Declined' }

function sentence(d) {
  if (d.action === null) return `Observed, not scored: ${money(d.amount_minor, d.currency, d.exponent)}.`
  const by = d.degraded ? `by ${d.model} in place of ${d.prescribed_model ?? 'another'}` : `by ${d.model}`
  const cut = cutFor(d)
  const rules = d.rules.length > 0 ? `rule ${d.rules.join(', ')}` : cut
  return `${PAST[d.action]} ${by} with score ${score(d.score)}${rules ? `: ${rules}` : ''}.`
}

/** The threshold that decided, in words. */
function cutFor({ thresholds, action }) {
  if (thresholds === null) return null
  const { challenge_at: challenge, review_at: review, decline_at: decline } = thresholds
  const least = Math.min(...[challenge, review, decline].filter((cut) => cut !== null))
  if (action === 'decline') return `at least ${number(decline)}`
  if (action === 'review') return `at least ${number(review)}`
  if (action === 'challenge') return `at least ${number(challenge)}`
  return Number.isFinite(least) ? `below ${number(least)}` : null
}

function scoring(d) {
  return h(
    'section',
    { class: 'card' },
    h('h2', {}, 'Score and thresholds'),
    d.score === null ? null : scale(d),
    facts([
      ['Action', d.action === null ? 'none' : tag(d.action)],
      ['By the score alone', d.score_action === null ? '–' : tag(d.score_action)],
      ['Score', score(d.score)],
      ['Raw output', number(d.score_raw)],
      ['Segment', d.segment ?? 'none'],
      ['Rules that matched', d.rules.join(', ') || 'none'],
      ['Rules in trial', d.rules_shadow.join(', ') || 'none'],
    ]),
  )
}

const logit = (score) => Math.max(-7, Math.min(7, Math.log(score / (1 - score))))
const at = (score) => 20 + ((logit(score) + 7) / 14) * 460

/** The score between the cuts, on a logit axis. */
function scale(d) {
  const cuts = [
    ['challenge', d.thresholds?.challenge_at],
    ['review', d.thresholds?.review_at],
    ['decline', d.thresholds?.decline_at],
  ].filter(([, cut]) => cut !== null && cut !== undefined)
  const ticks = [0.001, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999]
  return s(
    'svg',
    {
      class: 'chart',
      viewBox: '0 0 500 78',
      role: 'img',
      'aria-label': `Score ${score(d.score)}; ${cuts.map(([name, cut]) => `${name} at ${number(cut)}`).join(', ')}`,
    },
    s('line', { x1: 20, x2: 480, y1: 46, y2: 46, stroke: 'var(--line)', 'stroke-width': 6, 'stroke-linecap': 'round' }),
    ...ticks.map((tick) => s('text', { x: at(tick), y: 72, 'text-anchor': 'middle' }, String(tick))),
    ...cuts.flatMap(([name, cut]) => [
      s('line', { x1: at(cut), x2: at(cut), y1: 26, y2: 58, stroke: `var(--${name})`, 'stroke-width': 2 }),
      s('text', { x: at(cut), y: 18, 'text-anchor': 'middle' }, name),
    ]),
    s('circle', { cx: at(d.score), cy: 46, r: 7, fill: 'var(--accent)', stroke: 'var(--card)', 'stroke-width': 2 }),
  )
}

function who(d) {
  return h(
    'section',
    { class: 'card' },
    h('h2', {}, 'Who answered'),
    facts([
      ['Model', d.model ?? 'none'],
      ['Role', d.role ?? '–'],
      ['Prescribed by the routes', d.prescribed_model ?? '–'],
      [
        'Tried before',
        d.fallback.map((hop) => `${hop.model}: ${hop.reason.replaceAll('_', ' ')}`).join(', then ') || 'nobody',
      ],
      ['Routes revision', String(d.routes_revision)],
      ['Experiment and arm', `${d.experiment ?? 'none'}, ${d.arm ?? '–'}`],
      ['Bucket', d.bucket < 0 ? 'none' : `${d.bucket} of 10,000`],
      ['Propensity', share(d.propensity)],
      ['File digest', digest(d.digest)],
    ]),
  )
}

function reasons(d) {
  const columns = [
    { name: 'Reason', cell: ({ code }) => code },
    { name: 'Detail', cell: ({ detail }) => detail ?? '–' },
    { name: 'Contribution', align: 'end', cell: ({ contribution }) => number(contribution) },
  ]
  return table('Why', columns, d.why, { empty: 'No rule matched and this model gives no reasons.' })
}

function input(d) {
  const columns = [
    { name: 'Field', cell: ({ field }) => field },
    {
      name: 'Value',
      cell: ({ value, masked, field }) =>
        masked
          ? h(
              'span',
              { title: 'declared sensitive; the same mask is the same value' },
              link(`decisions?entity=${encodeURIComponent(value)}`, value),
              ' masked',
            )
          : shownValue(field, value),
    },
  ]
  return table('What came in', columns, d.input)
}

const shownValue = (field, value) => (value === null ? '–' : field.endsWith('_at') ? fullTime(value) : String(value))

function vector(d) {
  const columns = [
    { name: 'Feature', cell: ({ feature }) => link(`drift?feature=${encodeURIComponent(feature)}`, feature) },
    { name: 'As fed', align: 'end', cell: ({ value }) => (value === null ? 'null' : number(value)) },
  ]
  const flags = d.features.length === 0 ? '' : ` (${d.features.join(', ')})`
  return table(`What the model saw${flags}`, columns, d.vector)
}

function stages(d) {
  const total = d.stages.reduce((sum, stage) => sum + stage.ms, 0)
  const columns = [
    { name: 'Stage', cell: ({ stage }) => stage },
    { name: 'Took', align: 'end', cell: (stage) => ms(stage.ms) },
    { name: 'Share', align: 'end', cell: (stage) => share(total === 0 ? 0 : stage.ms / total) },
  ]
  return table(`How long: ${ms(total)} from receive to decide`, columns, d.stages)
}

function shadows(d) {
  const columns = [
    { name: 'Shadow', cell: ({ model }) => link(`shadow?model=${encodeURIComponent(model)}`, model) },
    { name: 'Score', align: 'end', cell: (row) => score(row.score) },
    { name: 'Would', cell: ({ action, why }) => (action === null ? (why ?? '–') : tag(action)) },
  ]
  return table('What others would say', columns, d.shadows, { empty: 'No shadow model has scored it.' })
}

function labels(d) {
  const columns = [
    { name: 'Label', cell: ({ verdict }) => verdict },
    { name: 'Source', cell: ({ source }) => source },
    { name: 'Known', cell: ({ known_at: time }) => fullTime(time) },
  ]
  return table('What became known later', columns, d.labels, { empty: 'Nothing yet.' })
}

function record(d) {
  return h(
    'section',
    { class: 'card' },
    h('h2', {}, 'Its record'),
    facts([
      ['Decision', h('span', { class: 'mono' }, d.decision_id)],
      ['Mode', d.mode],
      ['Epoch, sequence, ordinal', `${d.epoch}, ${d.sequence}, ${d.ordinal}`],
      ['Occurred', fullTime(d.occurred_at)],
      ['Received', fullTime(d.received_at)],
      [
        'In base currency',
        d.amount_base_minor === null ? 'unlisted currency' : money(d.amount_base_minor, d.base_currency),
      ],
      ['Policy', digest(d.policy)],
      ['Trace', h('span', { class: 'mono' }, d.traceparent ?? 'none')],
    ]),
    h(
      'p',
      { class: 'context' },
      'It can be computed again from the log and the bundles alone; this says whether the result is equal:',
    ),
    h('pre', {}, h('code', {}, `assay decision verify ${d.decision_id}`)),
  )
}
