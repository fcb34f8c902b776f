// The routes and models of a server as lines for people. What a server says is looked at field by field: it may be of
// another release, and what is not there is a dash.

type Body = Readonly<Record<string, unknown>>

function at(value: unknown, ...path: string[]): unknown {
  let held = value
  for (const key of path) held = isBody(held) ? held[key] : undefined
  return held
}

function isBody(value: unknown): value is Body {
  return typeof value === 'object' && value !== null
}

/** Anything as one line without control characters. */
export function nameOf(value: unknown): string {
  if (value === undefined || value === null) return '–'
  const text = typeof value === 'string' ? value : JSON.stringify(value)
  return text.replace(/[\u0000-\u001f\u007f-\u009f]/g, '?')
}

function listOf(value: unknown): unknown[] {
  return Array.isArray(value) ? value : []
}

function percent(share: unknown): string {
  return typeof share === 'number' ? `${share / 100} %` : '–'
}

/** The routes, in four lines. */
export function routesText(body: Body): string {
  const challenger = body.challenger === null ? 'none' : `${nameOf(body.challenger)} at ${percent(body.share)}`
  return [
    `revision    ${nameOf(body.revision)}`,
    `champion    ${nameOf(body.champion)}`,
    `challenger  ${challenger}`,
    `baseline    ${nameOf(body.baseline)}`,
    ...pendingText(body),
    '',
  ].join('\n')
}

function pendingText(body: Body): string[] {
  const alone = 'on this server alone, since Redis does not answer: ask the others as well'
  if (at(body, 'change', 'shared') === false) return [alone]
  if (at(body, 'change', 'durable') !== false) return []
  const heldBack = at(body, 'fleet', 'held_back', 'why')
  if (heldBack !== undefined) return [`for the fleet, not here: ${nameOf(heldBack)}`]
  return [`not on disk yet: revision ${nameOf(at(body, 'change', 'revision'))}`]
}

/** The models, a line each; then what became of a change. */
export function modelsText(body: Body): string {
  const lines = listOf(body.models).map((model) => {
    const { role, state, breaker } = isBody(model) ? model : {}
    const marks = ['forced', 'approved'].filter((mark) => at(model, mark) === true)
    const held = [role ?? 'routed to by nothing', state, ...(isBody(model) && 'breaker' in model ? [breaker] : [])]
    return `${nameOf(at(model, 'model')).padEnd(24)} ${[...held.map(nameOf), ...marks].join(', ')}
    ${nameOf(at(model, 'refused') ?? at(model, 'digest'))}`
  })
  return [...lines, ...pendingText(body), ''].join('\n')
}

/** The routes and everything that stands around them. */
export function statusText(body: Body): string {
  const change = body.last_change
  const last = [at(change, 'kind'), 'by', at(change, 'actor'), 'at', at(change, 'at'), at(change, 'reason')].map(nameOf)
  const differ = listOf(body.differences).map(
    (one) => `${nameOf(at(one, 'field'))} ${nameOf(at(one, 'live'))} here, ${nameOf(at(one, 'file'))} in the file`,
  )
  const previous = body.previous
  const back = isBody(previous)
    ? `${nameOf(previous.champion)}, ${nameOf(previous.challenger)} at ${percent(previous.share)}`
    : 'nothing'
  return [
    routesText(body).trimEnd(),
    `forced      ${forcedText(body.forced)}`,
    `ramp        ${rampText(body.ramp)}`,
    `rollback to ${back}`,
    `loaded      ${listOf(body.loaded).map(nameOf).join(', ')}`,
    `changed     ${isBody(change) ? last.join(' ') : 'never'}`,
    ...(differ.length > 0 ? [`differs     ${differ.join('; ')}`] : []),
    ...(typeof body.pending_revision === 'number' ? [`pending     revision ${body.pending_revision}`] : []),
    ...(isBody(body.fleet) ? fleetText(body.fleet) : []),
    '',
  ].join('\n')
}

/** Redis as this server sees it, and every server with the revision that it serves. */
function fleetText(fleet: Body): string[] {
  const { newest_revision: newest, held_back: heldBack, server } = fleet
  const seen = fleet.redis_seen === true ? 'Redis is seen' : `Redis is not seen since ${nameOf(fleet.seen_at)}`
  const here =
    at(fleet, 'forced_here') === null ? [] : [`  forced on this server alone: ${forcedText(fleet.forced_here)}`]
  const servers = listOf(fleet.servers).map((one) => {
    const own = at(one, 'id') === server ? ', this one' : ''
    const since = `${nameOf(at(one, 'version'))} since ${nameOf(at(one, 'started_at'))}`
    return `  ${nameOf(at(one, 'operations')).padEnd(24)} revision ${nameOf(at(one, 'revision'))}, ${since}${own}`
  })
  const kept = isBody(heldBack)
    ? [`  not served here: revision ${nameOf(heldBack.revision)}: ${nameOf(heldBack.why)}`]
    : []
  return [`fleet       newest revision ${nameOf(newest)}, ${seen}`, ...kept, ...here, ...servers]
}

function forcedText(forced: unknown): string {
  if (at(forced, 'baseline') === true) return 'the baseline answers everything'
  const open = listOf(at(forced, 'open')).map(nameOf)
  return open.length === 0 ? 'nothing' : `${open.join(', ')} held open`
}

function rampText(ramp: unknown): string {
  if (!isBody(ramp)) return 'none'
  const steps = listOf(ramp.steps)
  const place = typeof ramp.step === 'number' ? ramp.step : 0
  const shares = steps.map((share, index) => (index === place ? `[${percent(share)}]` : percent(share))).join(' → ')
  if (ramp.state !== 'running') return `${shares}, ${nameOf(ramp.state)}`
  const arm = (name: string): string => {
    const count = (field: string): string => nameOf(at(ramp, name, field))
    const counts = `${count('decisions')} decisions, ${count('errors')} errors, ${count('degraded')} degraded`
    return `\n  ${name.padEnd(10)}${counts}, ${count('declines')} declines, p95 ${count('latency_p95_ms')} ms`
  }
  const nextIn = typeof ramp.next_in_ms === 'number' ? Math.ceil(ramp.next_in_ms / 1_000) : '–'
  return `${shares}, next step in ${nextIn} s at the earliest${arm('champion')}${arm('challenger')}`
}
