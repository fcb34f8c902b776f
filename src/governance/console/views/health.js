// Health: can I trust this page? The sidecar's lag, what it found in the log, alerts, versions.
import { h } from '../dom.js'
import { bytes, count, fullTime, plural, seconds } from '../format.js'
import { digest, facts, headline, table, tag } from '../parts.js'

export const health = {
  name: 'health',
  title: 'Health',
  async load({ ask }) {
    const [state, alerts] = await Promise.all([ask('health'), ask('alerts', { limit: 50 })])
    return { state, alerts: alerts.alerts }
  },
  draw({ state, alerts }) {
    const [tone, sentence] = answer(state)
    return [
      headline(tone, sentence, state.reasons.length === 0 ? null : state.reasons.join('; ')),
      sidecar(state),
      alertTable(alerts),
      findings(state.findings),
    ]
  },
}

function answer({ ready, lag, findings }) {
  const damage = findings.filter(({ harmless }) => !harmless).length
  const behind = `${count(lag.records)} records (${seconds(lag.seconds)}) behind the log`
  const lost =
    damage === 0
      ? 'no record of it is damaged or missing'
      : `${plural(damage, 'finding')} of damaged or missing records`
  if (damage > 0) return ['bad', `This page is ${behind}; ${lost}.`]
  if (!ready || lag.seconds > 30) return ['warn', `This page is ${behind}; ${lost}.`]
  return ['good', `This page can be trusted: ${behind}, ${lost}.`]
}

function sidecar(state) {
  const { position } = state
  return h(
    'section',
    { class: 'card' },
    h('h2', {}, 'Sidecar'),
    facts([
      ['Version', `${state.version}, Node ${state.node}`],
      ['Behind the log', `${count(state.lag.records)} records, ${seconds(state.lag.seconds)}`],
      ['Log', h('span', { class: 'mono' }, position?.log_id ?? 'not seen yet')],
      ['Epoch and sequence', position === null ? '–' : `${position.epoch}, ${count(position.sequence)}`],
      ...Object.entries(state.records).map(([type, records]) => [`Rows: ${type}`, count(records)]),
      ['Store on disk', bytes(state.store_bytes)],
      ['Disk free', bytes(state.disk_free_bytes)],
      ['Disk lasts', lasts(state.disk_hours_left)],
      ['Open streams', count(state.streams)],
      ['Policy', digest(state.policy)],
      ['Configuration', state.policy_differences.length === 0 ? 'the same policy' : h('strong', {}, '▲ differs')],
    ]),
    differences(state.policy_differences),
  )
}

function lasts(hours) {
  if (hours === null) return 'unknown: nothing was decided in the last hour'
  const text = hours < 48 ? `${count(Math.floor(hours))} hours` : `${count(Math.floor(hours / 24))} days`
  return `${text} at the pace of the last hour`
}

function differences(paths) {
  if (paths.length === 0) return null
  const where = `${plural(paths.length, 'difference')} between the policy that decides and that of the configuration`
  const why = 'the server was started before it changed, or reads another file.'
  return h('p', { class: 'context' }, `${where}: ${paths.join(', ')}; ${why}`)
}

function alertTable(alerts) {
  const columns = [
    { name: 'State', cell: ({ state }) => tag(state) },
    { name: 'Alert', cell: ({ alert }) => alert },
    { name: 'What', cell: ({ summary }) => summary },
    { name: 'Severity', cell: ({ severity }) => severity },
    { name: 'Since', cell: ({ started_at: at }) => fullTime(at) },
    { name: 'Until', cell: ({ ended_at: at }) => fullTime(at) },
  ]
  const csv = { path: 'alerts', params: { limit: 1000 } }
  return table('Alerts', columns, alerts, {
    csv,
    empty: 'No alert so far. Drifts, flips and damage that last become alerts.',
  })
}

function findings(rows) {
  const columns = [
    { name: 'Finding', cell: ({ kind }) => kind.replaceAll('_', ' ') },
    { name: 'Harmless', cell: ({ harmless }) => (harmless ? 'yes' : h('strong', {}, '▲ no')) },
    { name: 'What', cell: ({ detail }) => detail },
    { name: 'Segment', cell: ({ segment }) => h('span', { class: 'mono' }, segment) },
    { name: 'Byte', align: 'end', cell: ({ offset }) => count(offset) },
    { name: 'Epoch', align: 'end', cell: ({ epoch }) => String(epoch) },
    { name: 'Sequence', align: 'end', cell: ({ sequence }) => count(sequence) },
  ]
  const csv = { path: 'health', params: {} }
  return table('What the reader found in the log', columns, rows, {
    csv,
    empty: 'Nothing: no gap, no damage, no torn tail.',
  })
}
