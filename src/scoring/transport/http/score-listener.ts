// The score listener: `/v1/score`, `/v1/score/batch`, `/v1/labels`, `/v1/decisions`, `/openapi.json`, and with
// inference-endpoints.ts all of `/v2`.
// Invariant: the order of refusal is key, gate, headers, body (semantics 2), and a refusal from the headers reads no
// body. It knows nothing of scoring: bytes go to the pipeline, the pipeline's answer goes out.
import { isRejection } from '../../../contract/problem.js'
import { type Rejection, reject } from '../../../errors.js'
import type { Scoring } from '../../exchange.js'
import { submitBatch } from './batch.js'
import { createBegin, type Parse, type ScoreListenerDeps } from './begin.js'
import type { UwsRequest } from './binding.js'
import type { Consume, HttpExchange } from './http-exchange.js'
import { inferenceRoutes } from './inference-endpoints.js'
import { type Address, type Listener, openListener, type Route } from './listener.js'

/** Opens the score listener. */
export function createScoreListener(deps: ScoreListenerDeps, address: Address): Promise<Listener> {
  const { scoring } = deps
  const score: Consume = (bytes, exchange) => scoring.submit(bytes, exchange)
  const scoreAvro = parsed(deps.parseAvro, (value, exchange) => scoring.submitValue(value, exchange))
  const batch = parsed(deps.parseJson, (value, exchange) => submitBatch(value, exchange, deps))
  const labels = parsed(deps.parseJson, (value, exchange) => scoring.submitLabels(value, exchange))
  const begin = createBegin(deps)
  const routes: Route[] = [
    {
      method: 'post',
      pattern: '/v1/score',
      handle: (exchange, req) => begin(exchange, req, { json: score, avro: scoreAvro }),
    },
    { method: 'post', pattern: '/v1/score/batch', handle: (exchange, req) => begin(exchange, req, { json: batch }) },
    { method: 'post', pattern: '/v1/labels', handle: (exchange, req) => begin(exchange, req, { json: labels }) },
    { method: 'get', pattern: '/v1/decisions/:decision_id', handle: keyed(deps, byDecisionId(scoring)) },
    { method: 'get', pattern: '/v1/decisions', handle: keyed(deps, byTransactionId(scoring)) },
    ...inferenceRoutes(deps, begin),
    { method: 'get', pattern: '/openapi.json', handle: (exchange) => exchange.answer(200, deps.openApi, false, 0) },
  ]
  return openListener(deps, address, routes)
}

/** A body that is parsed here, before the pipeline sees it. */
function parsed(parse: Parse, submit: (value: unknown, exchange: HttpExchange) => void): Consume {
  return (bytes, exchange) => {
    const result = parse(bytes)
    if (isRejection(result)) exchange.reject(result)
    else submit(result.value, exchange)
  }
}

type LookUp = (req: UwsRequest) => string | null | Rejection

function keyed(deps: ScoreListenerDeps, find: LookUp): Route['handle'] {
  return (exchange, req) => {
    if (deps.admit !== null && deps.admit(exchange, req) === null) return
    const found = find(req)
    if (typeof found === 'string') exchange.answer(200, found, false, 0)
    else exchange.reject(found ?? reject('ASSAY_DECISION_UNKNOWN', 'it was never made here, or has left the index'))
  }
}

function byDecisionId(scoring: Scoring): LookUp {
  return (req) => scoring.findDecision({ decisionId: req.getParameter(0) ?? '' })
}

function byTransactionId(scoring: Scoring): LookUp {
  return (req) => {
    const transactionId = req.getQuery('transaction_id') ?? ''
    const message = 'name one as ?transaction_id='
    if (transactionId === '') return reject('ASSAY_SCHEMA_INVALID', message, [{ path: '/transaction_id', message }])
    return scoring.findDecision({ transactionId })
  }
}
