// The operations listener: metrics, liveness, readiness, status, routes, models, policy, audit. For operators, not for
// clients.
// Invariant: state comes in as functions, and a request that takes long (a scrape) holds no other. What changes
// something stands in change-endpoints.ts.
import type { Refusal } from '../../../access/ledger.js'
import { isLoopback, isOwnHost } from '../../../contract/address.js'
import { renderProblem } from '../../../contract/problem.js'
import { type ErrorCode, reject } from '../../../errors.js'
import type { Limits } from '../../../limits.js'
import type { Clock } from '../../../runtime/clock.js'
import type { Admit, Caller } from './auth.js'
import type { Uws, UwsRequest } from './binding.js'
import { changeEndpoints, type Changes, tagOf } from './change-endpoints.js'
import type { HttpExchange } from './http-exchange.js'
import { type Address, type Listener, openListener, type Route } from './listener.js'
import { JSON_TYPE, RETRY_AFTER_S } from './reply.js'
import type { Parse } from './begin.js'

/** Whether anything but 503 can be answered, and what to say about it. */
export interface Readiness {
  readonly ready: boolean
  /** What is degraded or cold, or why the server is not ready; each a short sentence. */
  readonly reasons: readonly string[]
}

export interface OperationsListenerDeps {
  readonly uws: Uws
  readonly limits: Limits
  readonly clock: Clock
  /** The exposition in the format that the Accept header asks for. */
  readonly scrape: (accept: string) => Promise<{ contentType: string; body: string }>
  readonly readiness: () => Readiness
  /** JSON values of `/v1/status`, `/v1/routes`, `/v1/models`, `/v1/audit`. */
  readonly status: () => object
  readonly routes: () => object
  readonly models: () => object
  readonly policy: () => object
  readonly audit: (limit: number) => object
  /** Null before readiness. */
  readonly changes: () => Changes | null
  readonly parseJson: Parse
  /** The OpenAPI document, as JSON text. */
  readonly openApi: string
  /** null: whoever reaches the listener may read, and on loopback change. Probes and `/metrics` need no token. */
  readonly admit: Admit | null
  /** A change that was asked for was not taken. */
  onRefused(refusal: Refusal): void
  onRejected(code: ErrorCode): void
  onFault(error: unknown): void
}

/** Opens the operations listener. */
export function createOperationsListener(deps: OperationsListenerDeps, address: Address): Promise<Listener> {
  const keyed = (handle: Route['handle']): Route['handle'] => {
    return (exchange, req) => {
      if (deps.admit === null || deps.admit(exchange, req) !== null) handle(exchange, req)
    }
  }
  const shown = (read: (req: UwsRequest) => object): Route['handle'] => {
    return keyed((exchange, req) => exchange.answer(200, JSON.stringify(read(req)), false, 0))
  }
  /** With the revision that a change has to name. */
  const tagged = (read: () => object, revisionOf: (changes: Changes) => number): Route['handle'] => {
    return keyed((exchange) => {
      const changes = deps.changes()
      const body = JSON.stringify(read())
      if (changes === null) return exchange.answer(200, body, false, 0)
      exchange.answerWith({ status: 200, type: JSON_TYPE, body, extra: ['ETag', tagOf(revisionOf(changes))] })
    })
  }
  return openListener(deps, address, [
    { method: 'get', pattern: '/metrics', handle: (exchange, req) => answerScrape(deps, exchange, req) },
    { method: 'get', pattern: '/livez', handle: (exchange) => exchange.answer(200, '{"alive":true}', false, 0) },
    { method: 'get', pattern: '/readyz', handle: (exchange) => answerReadiness(exchange, deps.readiness()) },
    { method: 'get', pattern: '/v1/status', handle: shown(() => deps.status()) },
    { method: 'get', pattern: '/v1/routes', handle: tagged(deps.routes, (changes) => changes.revision()) },
    { method: 'get', pattern: '/v1/policy', handle: tagged(deps.policy, (changes) => changes.policyRevision()) },
    { method: 'get', pattern: '/v1/models', handle: shown(() => deps.models()) },
    { method: 'get', pattern: '/v1/audit', handle: shown((req) => deps.audit(readLimit(req, deps.limits))) },
    { method: 'get', pattern: '/openapi.json', handle: (exchange) => exchange.answer(200, deps.openApi, false, 0) },
    ...changeEndpoints({ ...deps, admit: callerBy(deps, address) }),
  ])
}

/** Who may change something where there are no tokens: whoever reaches loopback, by its own name. */
const LOCAL: Caller = { name: 'local', role: 'operator' }
const NOBODY: Caller = { name: 'unknown' }

function callerBy({ admit }: OperationsListenerDeps, { host }: Address): Admit {
  if (admit !== null) return admit
  return (_, req) => (isLoopback(host) && isOwnHost(req.getHeader('host'), host) ? LOCAL : NOBODY)
}

/** `?limit=`, at most what is held; what is no number is the most. */
function readLimit(req: UwsRequest, { auditHeldMax }: Limits): number {
  const text = req.getQuery('limit') ?? ''
  return /^[1-9]\d{0,5}$/.test(text) ? Math.min(Number(text), auditHeldMax) : auditHeldMax
}

function answerScrape(deps: OperationsListenerDeps, exchange: HttpExchange, req: UwsRequest): void {
  deps.scrape(req.getHeader('accept')).then(
    ({ contentType, body }) => exchange.answerWith({ status: 200, type: contentType, body, extra: null }),
    (error: unknown) => exchange.fault(error),
  )
}

/** Probes read the status; people read the reasons. */
function answerReadiness(exchange: HttpExchange, readiness: Readiness): void {
  if (readiness.ready) return exchange.answer(200, JSON.stringify(readiness), false, 0)
  const problem = renderProblem(reject('ASSAY_NOT_READY', readiness.reasons.join('; ')))
  exchange.answer(503, `${problem.slice(0, -1)},${JSON.stringify(readiness).slice(1)}`, false, RETRY_AFTER_S)
}
