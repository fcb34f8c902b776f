// Decisions: pages of the table, and all that is known of one.
import { featureFlagNames } from '../../../contract/decision.js'
import type { ControlState } from '../../../contract/control-state.js'
import type * as wire from '../../../contract/governance.js'
import type { DecisionFilter, JsonRow, Page } from '../../store/queries.js'
import { AssayError } from '../../../errors.js'
import type { DecisionQuery } from '../source.js'
import * as cells from './cells.js'
import type { Held } from './held.js'
import { decisionRow, ENTITY_PREFIX } from './decision-row.js'
import { shadowsOf } from './shadow.js'

const STAGES = ['receive', 'validate', 'features', 'infer', 'decide'] as const

export async function decisions(held: Held, query: DecisionQuery): Promise<wire.DecisionRows> {
  const page = await pageOf(held, query)
  const control = await held.control()
  return {
    decisions: page.rows.map((row) => decisionRow(row, control, held)),
    next: page.next === null ? null : String(page.next),
  }
}

async function pageOf(held: Held, query: DecisionQuery): Promise<Page> {
  const queries = held.queries()
  const request = { limit: query.limit, cursor: cursorOf(query.after) }
  if (query.id?.startsWith('d_')) {
    const row = await queries.decision(query.id)
    return { rows: row === null ? [] : [row], next: null }
  }
  const filter = filterOf(query)
  if (query.entity === null) return queries.decisions(filter, request)
  const value = held.masks.unmask(query.entity)
  const fields = await queries.entityFields()
  const pages = await Promise.all(
    fields.map((field) => queries.decisions({ ...filter, entity: { field, value } }, request)),
  )
  return joined(pages, query.limit)
}

/** Pages of the same order as one: a decision may stand in several. */
function joined(pages: readonly Page[], limit: number): Page {
  const bySequence = new Map(pages.flatMap(({ rows }) => rows.map((row) => [cells.number(row, 'sequence'), row])))
  const all = [...bySequence].sort(([one], [other]) => other - one)
  const rows = all.slice(0, limit).map(([, row]) => row)
  const more = all.length > limit || pages.some(({ next }) => next !== null)
  return { rows, next: more ? (all[rows.length - 1]?.[0] ?? null) : null }
}

/** A keyset cursor. Throws ASSAY_SCHEMA_INVALID for what was never given out. */
export function cursorOf(after: string | null): number | null {
  if (after === null) return null
  const cursor = Number(after)
  if (/^\d+$/.test(after) && Number.isSafeInteger(cursor)) return cursor
  throw new AssayError('ASSAY_SCHEMA_INVALID', '/after: the `next` of the page before', {
    errors: [{ path: '/after', message: 'the `next` of the page before' }],
  })
}

function filterOf(query: DecisionQuery): DecisionFilter {
  return {
    kind: 'decision',
    ...(query.sinceMs !== null && { fromMs: query.sinceMs }),
    ...(query.untilMs !== null && { untilMs: query.untilMs }),
    ...(query.id !== null && { transactionId: query.id }),
    ...(query.model !== null && { model: query.model }),
    ...(query.action !== null && { action: query.action }),
    ...(query.scoreMin !== null && { scoreMin: query.scoreMin }),
    ...(query.scoreMax !== null && { scoreMax: query.scoreMax }),
    ...(query.degraded !== null && { degraded: query.degraded }),
  }
}

/** By decision id, else the first decision of that transaction. */
export async function decision(held: Held, id: string): Promise<wire.DecisionDetail | null> {
  const queries = held.queries()
  const oldest = { limit: 1, order: 'oldest' } as const
  const row = (await queries.decision(id)) ?? (await queries.decisions({ transactionId: id }, oldest)).rows[0]
  if (row === undefined) return null
  const full = row.vector === undefined ? await queries.decision(cells.text(row, 'decision_id')) : row
  if (full === null) return null
  const [control, labels, shadows] = await Promise.all([
    policyOf(held, cells.text(full, 'policy')),
    queries.labels(cells.text(full, 'transaction_id')),
    shadowsOf(held, cells.number(full, 'sequence')),
  ])
  return { ...decisionRow(full, control, held), ...detail(full, control, held), labels: labels.map(labelOf), shadows }
}

/** The policy under which a decision was made; the newest where it is not held any more. */
async function policyOf(held: Held, fingerprint: string): Promise<ControlState | null> {
  const now = await held.control()
  if (now === null || now.policy_fingerprint === fingerprint) return now
  const row = await held.queries().policy(fingerprint)
  const state: unknown = row?.state
  return isPolicyState(state) ? { ...now, ...state } : now
}

/** Only this program writes it, and the fingerprint was asked for. */
function isPolicyState(value: unknown): value is Pick<ControlState, 'policy' | 'models'> {
  return typeof value === 'object' && value !== null && 'policy' in value && 'models' in value
}

type Detail = Omit<wire.DecisionDetail, keyof wire.DecisionRow | 'labels' | 'shadows'>

function detail(row: JsonRow, control: ControlState | null, held: Held): Detail {
  const catalogue = control?.policy.catalogue.features ?? []
  const vector = cells.list(row, 'vector')
  const cuts = ['challenge_at', 'review_at', 'decline_at'].map((name) => cells.maybeNumber(row, name))
  const [challenge, review, decline] = [cuts[0] ?? null, cuts[1] ?? null, cuts[2] ?? null]
  return {
    ...whoAnswered(row),
    occurred_at: cells.time(cells.number(row, 'occurred_at_ms')),
    received_at: cells.time(cells.number(row, 'received_at_ms')),
    input: inputOf(row, control, held),
    amount_base_minor: cells.maybeNumber(row, 'amount_base_minor'),
    base_currency: control?.policy.currencies.base ?? null,
    vector: vector.map((value, at) => ({
      feature: catalogue[at]?.name ?? `column ${at}`,
      value: typeof value === 'number' && Number.isFinite(value) ? value : null,
    })),
    features: featureFlagNames(cells.number(row, 'feature_flags')),
    score_raw: cells.maybeNumber(row, 'score_raw'),
    score_action: cells.maybeText(row, 'score_action'),
    thresholds: cuts.every((cut) => cut === null)
      ? null
      : { challenge_at: challenge, review_at: review, decline_at: decline },
    segment: cells.maybeText(row, 'segment'),
    rules: cells.texts(row, 'rules'),
    rules_shadow: cells.texts(row, 'rules_shadow'),
    why: cells.rows(row, 'reasons').map((reason) => ({
      code: cells.text(reason, 'code'),
      detail: cells.maybeText(reason, 'detail'),
      contribution: cells.maybeNumber(reason, 'contribution'),
    })),
    policy: cells.text(row, 'policy'),
    stages: STAGES.map((stage) => ({ stage, ms: cells.number(row, `${stage}_us`) / 1000 })),
    epoch: cells.number(row, 'epoch'),
    sequence: cells.number(row, 'sequence'),
    ordinal: cells.number(row, 'ordinal'),
    traceparent: cells.maybeText(row, 'traceparent'),
  }
}

type Answered =
  'digest' | 'prescribed_model' | 'bucket' | 'routes_revision' | 'experiment' | 'arm' | 'propensity' | 'fallback'

function whoAnswered(row: JsonRow): Pick<wire.DecisionDetail, Answered> {
  return {
    digest: cells.maybeText(row, 'model_digest'),
    prescribed_model: cells.maybeText(row, 'prescribed_model'),
    bucket: cells.number(row, 'bucket'),
    routes_revision: cells.number(row, 'routes_revision'),
    experiment: cells.maybeText(row, 'experiment'),
    arm: cells.maybeText(row, 'arm'),
    propensity: cells.maybeNumber(row, 'propensity'),
    fallback: cells.rows(row, 'fallback').map((hop) => ({
      model: cells.text(hop, 'model'),
      role: cells.text(hop, 'role'),
      reason: cells.text(hop, 'reason'),
    })),
  }
}

/** The core and the declared fields in the order of the policy. */
function inputOf(row: JsonRow, control: ControlState | null, { masks }: Held): wire.DecisionDetail['input'] {
  const rest = row.fields
  const others: JsonRow = cells.isRow(rest) ? rest : {}
  const core = [
    { field: 'transaction_id', value: cells.text(row, 'transaction_id'), masked: false },
    { field: 'occurred_at', value: cells.time(cells.number(row, 'occurred_at_ms')), masked: false },
    { field: 'amount_minor', value: cells.number(row, 'amount_minor'), masked: false },
    { field: 'currency', value: cells.text(row, 'currency'), masked: false },
  ]
  const declared = (control?.policy.schema.fields ?? []).map(({ name, entity, sensitive }) => {
    const stored = entity === true ? row[ENTITY_PREFIX + name] : others[name]
    const value =
      typeof stored === 'string' || typeof stored === 'number' || typeof stored === 'boolean' ? stored : null
    const masked = sensitive === true && value !== null
    return { field: name, value: masked ? masks.mask(String(value)) : value, masked }
  })
  return [...core, ...declared]
}

function labelOf(row: JsonRow): wire.DecisionDetail['labels'][number] {
  const kind = cells.text(row, 'kind')
  const words = kind === 'authorisation' ? ['approved', 'declined by the issuer'] : ['fraud', 'not fraud']
  return {
    source: cells.text(row, 'source'),
    kind,
    verdict: words[cells.flag(row, 'value') ? 0 : 1] ?? '',
    known_at: cells.time(cells.number(row, 'known_at_ms')),
  }
}
