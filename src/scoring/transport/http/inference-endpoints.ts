// The Open Inference Protocol v2 over REST: addresses and bodies in, answers of the core out (`../../inference/`).
// A key is asked for everywhere; what is asked for with a body goes the way of every body, through the gate.
import { IndexRequest } from '../../../contract/inference.js'
import { parseInferRequest } from '../../../contract/inference-request.js'
import { isRejection } from '../../../contract/problem.js'
import { shapeFaults } from '../../../contract/shape.js'
import { reject } from '../../../errors.js'
import type { Inference } from '../../exchange.js'
import type { Begin, ScoreListenerDeps } from './begin.js'
import type { UwsRequest } from './binding.js'
import { headerRejection, readJsonBytes } from './headers.js'
import type { Consume, HttpExchange } from './http-exchange.js'
import type { Route } from './listener.js'

/** Extensions that work: the binary tensor data, the index of the repository, statistics. */
const EXTENSIONS = ['binary_tensor_data', 'model_repository', 'statistics']

type Known = Omit<Inference, 'infer'>

/** Answers from what the core knows; null: there is no such model. */
type Look = (known: Known, name: string, version: string | null) => unknown

const MODEL = '/v2/models/:model'
const VERSION = `${MODEL}/versions/:version`

export function inferenceRoutes(deps: ScoreListenerDeps, begin: Begin): Route[] {
  const { scoring, limits } = deps
  const about = (end: string, look: Look): Route[] =>
    [MODEL, VERSION].map((pattern) => ({ method: 'get', pattern: pattern + end, handle: modelHandle(deps, look) }))
  const infer: Route['handle'] = (exchange, req) => {
    exchange.isInference = true
    const { name, version } = nameOf(req)
    const jsonBytes = readJsonBytes(req)
    const consume: Consume = (bytes, at) => {
      if (at.mode !== 'decide') return at.reject(modeRefused())
      if (Number.isNaN(jsonBytes)) return at.reject(headerRejection('Inference-Header-Content-Length'))
      const request = parseInferRequest(bytes, jsonBytes, limits)
      if (isRejection(request)) at.reject(request)
      else scoring.infer({ name, version, request }, at)
    }
    begin(exchange, req, { json: consume, tensors: consume })
  }
  const index: Consume = (bytes, exchange) => answerIndex(deps, bytes, exchange)
  const repository: Route['handle'] = (exchange, req) => {
    exchange.isInference = true
    begin(exchange, req, { json: index, tensors: index })
  }
  return [
    { method: 'get', pattern: '/v2', handle: keyed(deps, (at) => answerJson(at, serverOf(deps))) },
    { method: 'get', pattern: '/v2/health/live', handle: keyed(deps, (at) => answerJson(at, { live: true })) },
    { method: 'get', pattern: '/v2/health/ready', handle: keyed(deps, (at) => answerReady(deps, at)) },
    { method: 'get', pattern: '/v2/models/stats', handle: keyed(deps, (at) => answerStats(deps, at)) },
    ...about('', (known, name, version) => known.metadata(name, version)),
    ...about('/ready', readyOf),
    ...about('/stats', (known, name, version) => known.statistics(name, version)),
    ...[MODEL, VERSION].map((pattern): Route => ({ method: 'post', pattern: `${pattern}/infer`, handle: infer })),
    { method: 'post', pattern: '/v2/repository/index', handle: repository },
  ]
}

function nameOf(req: UwsRequest): { name: string; version: string | null } {
  return { name: req.getParameter(0) ?? '', version: req.getParameter(1) || null }
}

function modeRefused() {
  const message = 'must be decide, or absent, under /v2'
  return reject('ASSAY_HEADER_INVALID', `Assay-Mode ${message}`, [{ path: '/headers/assay-mode', message }])
}

function serverOf({ version }: ScoreListenerDeps): object {
  return { name: 'assay', version, extensions: EXTENSIONS }
}

function answerJson(exchange: HttpExchange, body: unknown): void {
  exchange.answer(200, JSON.stringify(body), false, 0)
}

/** Behind the key. */
function keyed(deps: ScoreListenerDeps, answer: (exchange: HttpExchange, req: UwsRequest) => void): Route['handle'] {
  return (exchange, req) => {
    exchange.isInference = true
    if (deps.admit === null || deps.admit(exchange, req) !== null) answer(exchange, req)
  }
}

function modelHandle(deps: ScoreListenerDeps, look: Look): Route['handle'] {
  return keyed(deps, (exchange, req) => {
    const { name, version } = nameOf(req)
    const known = deps.scoring.inference()
    if (known === null) return exchange.reject(notReady())
    const found = look(known, name, version)
    if (found === null) exchange.reject(reject('ASSAY_MODEL_UNKNOWN', 'POST /v2/repository/index lists those that are'))
    else if (found === false)
      exchange.reject(reject('ASSAY_MODEL_UNAVAILABLE', 'its breaker is open, or it is not loaded'))
    else answerJson(exchange, found)
  })
}

/** False, and so 503, while the model takes no rows. */
function readyOf(known: Known, name: string, version: string | null): object | false | null {
  const isReady = known.isReady(name, version)
  return isReady === true ? { name, ready: true } : isReady === null ? null : false
}

function notReady() {
  return reject('ASSAY_NOT_READY', 'the server replays its log, warms up or drains')
}

function answerReady({ scoring }: ScoreListenerDeps, exchange: HttpExchange): void {
  if (scoring.inference() === null) exchange.reject(notReady())
  else answerJson(exchange, { ready: true })
}

function answerStats({ scoring }: ScoreListenerDeps, exchange: HttpExchange): void {
  const known = scoring.inference()
  if (known === null) exchange.reject(notReady())
  else answerJson(exchange, known.statistics(null, null))
}

function answerIndex({ scoring, parseJson }: ScoreListenerDeps, bytes: Uint8Array, exchange: HttpExchange): void {
  const parsed = bytes.length === 0 ? { value: {} } : parseJson(bytes)
  if (isRejection(parsed)) return exchange.reject(parsed)
  const faults = shapeFaults(IndexRequest, parsed.value)
  if (faults.length > 0) {
    const message = 'an object with ready (true or false), or nothing'
    return exchange.reject(reject('ASSAY_SCHEMA_INVALID', message, [{ path: '', message }]))
  }
  const known = scoring.inference()
  const { value } = parsed
  const isReadyOnly = typeof value === 'object' && value !== null && 'ready' in value && value.ready === true
  if (known === null) exchange.reject(notReady())
  else answerJson(exchange, known.index(isReadyOnly))
}
