// The answer that a client gets, built from the facts that are logged: the same facts give the same text, so that a
// replay from the log or the index answers byte for byte alike. The field order is that of the contract; the schemas
// for OpenAPI stand beside it.
import { Type } from '@sinclair/typebox'
import { digestText } from './canonical-json.js'
import { ACTIONS, FALLBACK_REASONS, featureFlagNames, FEATURE_FLAGS, type Logged, ROLES } from './decision.js'
import type { DecisionFacts } from './record-types.js'
import { isoTime } from './time.js'

function oneOf(values: readonly string[]) {
  return Type.Union(values.map((value) => Type.Literal(value)))
}

const Digest = Type.String({ pattern: '^sha256:[0-9a-f]{64}$' })

export const ReasonSchema = Type.Object({
  code: Type.String(),
  detail: Type.Optional(Type.String()),
  contribution: Type.Optional(Type.Number()),
})

/** 200 of POST /v1/score. */
export const DecisionAnswer = Type.Object({
  decision_id: Type.String({ pattern: '^d_[a-z2-7]{32}$' }),
  transaction_id: Type.String(),
  action: oneOf(ACTIONS),
  score: Type.Number({ minimum: 0, maximum: 1 }),
  reasons: Type.Array(ReasonSchema, { maxItems: 4 }),
  model: Type.Object({
    ...{ name: Type.String(), version: Type.String(), role: oneOf(ROLES), digest: Digest },
    provider: Type.Optional(Type.String({ description: 'what its session ran on, where that was not the CPU' })),
  }),
  degraded: Type.Boolean(),
  fallback: Type.Optional(
    Type.Array(Type.Object({ model: Type.String(), role: oneOf(ROLES), reason: oneOf(FALLBACK_REASONS) }), {
      description: 'present when degraded: who was tried before, in order, and why it did not answer',
    }),
  ),
  features: Type.Optional(Type.Array(oneOf(Object.keys(FEATURE_FLAGS)))),
  logged: oneOf(['synced', 'buffered', 'pending', 'none']),
  decided_at: Type.String({ format: 'date-time' }),
  routes_revision: Type.Integer({ minimum: 0 }),
  policy: Digest,
})

/** 202 of a transaction sent with Assay-Mode: observe, and of labels. */
export const AcceptedAnswer = Type.Object({
  transaction_id: Type.Optional(Type.String()),
  accepted: Type.Integer({ minimum: 1 }),
  logged: oneOf(['synced', 'buffered', 'pending', 'none']),
})

/**
 * The JSON body for a decision. `textOf` may remember what `digestText` gives. Facts without an action or model
 * (observed) have no such answer: a RangeError.
 */
export function renderDecision(
  facts: DecisionFacts,
  named: { readonly transactionId: string; readonly decisionId: string; readonly logged: Logged },
  textOf: (digest: Uint8Array) => string = digestText,
): string {
  const { action, score, model } = facts
  const { transactionId, decisionId, logged } = named
  if (action === null || score === null || model === null) throw new RangeError('these facts hold no decision')
  return (
    `{"decision_id":"${decisionId}","transaction_id":${quote(transactionId)},"action":"${action}","score":${score},` +
    `"reasons":${renderReasons(facts)},"model":{"name":${quote(model.name)},"version":${quote(model.version)},` +
    `"role":"${model.role}","digest":"${textOf(model.digest)}"${renderProvider(model.provider)}},"degraded":${facts.degraded}` +
    renderFallback(facts) +
    (facts.features === 0 ? '' : `,"features":["${featureFlagNames(facts.features).join('","')}"]`) +
    `,"logged":"${logged}","decided_at":"${isoTime(facts.decidedAtMs)}",` +
    `"routes_revision":${facts.routesRevision},"policy":"${textOf(facts.policy)}"}`
  )
}

function renderProvider(provider: string | null): string {
  return provider === null || provider === 'cpu' ? '' : `,"provider":"${provider}"`
}

function renderReasons(facts: DecisionFacts): string {
  if (facts.reasons.length === 0) return '[]'
  const items = facts.reasons.map(({ code, detail, contribution }) => {
    const more = detail === null ? '' : `,"detail":${quote(detail)}`
    return `{"code":${quote(code)}${more}${contribution === null ? '' : `,"contribution":${contribution}`}}`
  })
  return `[${items.join(',')}]`
}

function renderFallback(facts: DecisionFacts): string {
  if (facts.fallback.length === 0) return ''
  const hops = facts.fallback.map(
    (hop) => `{"model":${quote(hop.model)},"role":"${hop.role}","reason":"${hop.reason}"}`,
  )
  return `,"fallback":[${hops.join(',')}]`
}

/** A JSON string; most need no escape, and looking is cheaper than JSON.stringify. */
function quote(text: string): string {
  for (let index = 0; index < text.length; index++) {
    const unit = text.charCodeAt(index)
    if (unit < 32 || unit === 34 || unit === 92 || unit > 126) return JSON.stringify(text)
  }
  return `"${text}"`
}

const DECISION_ID = /"decision_id":"(d_[a-z2-7]{32})"/

/** That of the body of an answer; null where it is none of a decision. */
export function decisionIdOf(body: string): string | null {
  return DECISION_ID.exec(body)?.[1] ?? null
}
