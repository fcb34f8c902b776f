// The operations listener: metrics, liveness, readiness, status, routes, models. For operators, not for clients.
// Invariant: it only reads; state comes in as functions, and a request that takes long (a scrape) holds no other.
import { renderProblem } from '../../../contract/problem.js'
import { type ErrorCode, reject } from '../../../errors.js'
import type { Limits } from '../../../limits.js'
import type { Clock } from '../../../runtime/clock.js'
import type { Authenticate } from './auth.js'
import type { Uws, UwsRequest } from './binding.js'
import type { HttpExchange } from './http-exchange.js'
import { type Address, type Listener, openListener, type Route } from './listener.js'
import { RETRY_AFTER_S } from './reply.js'

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
  /** JSON values of `/v1/status`, `/v1/routes`, `/v1/models`. */
  readonly status: () => object
  readonly routes: () => object
  readonly models: () => object
  /** null: whoever reaches the listener may read. Probes and `/metrics` need no key. */
  readonly authenticate: Authenticate | null
  onRejected(code: ErrorCode): void
  onFault(error: unknown): void
}

/** Opens the operations listener. */
export function createOperationsListener(deps: OperationsListenerDeps, address: Address): Promise<Listener> {
  const shown = (read: () => object): Route['handle'] => {
    return (exchange, req) => {
      if (deps.authenticate !== null && !deps.authenticate(req)) {
        return exchange.refuse('ASSAY_UNAUTHENTICATED', exchange.refusals.unauthenticated, req)
      }
      exchange.answer(200, JSON.stringify(read()), false, 0)
    }
  }
  return openListener(deps, address, [
    { method: 'get', pattern: '/metrics', handle: (exchange, req) => answerScrape(deps, exchange, req) },
    { method: 'get', pattern: '/livez', handle: (exchange) => exchange.answer(200, '{"alive":true}', false, 0) },
    { method: 'get', pattern: '/readyz', handle: (exchange) => answerReadiness(exchange, deps.readiness()) },
    { method: 'get', pattern: '/v1/status', handle: shown(() => deps.status()) },
    { method: 'get', pattern: '/v1/routes', handle: shown(() => deps.routes()) },
    { method: 'get', pattern: '/v1/models', handle: shown(() => deps.models()) },
  ])
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
