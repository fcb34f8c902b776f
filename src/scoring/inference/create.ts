// The Open Inference Protocol as transports see it: names, readiness, statistics, and one call for a request, whoever
// it is for. The route's rows go to the pipeline (routed.ts), those of a model to its lane (direct.ts).
import { encodeAnswer, type InferAnswer, outputFault } from '../../contract/inference-answer.js'
import type { InferRequest } from '../../contract/inference-request.js'
import { layRows, textOfEach } from '../../contract/inference-rows.js'
import { isRejection } from '../../contract/problem.js'
import { type Rejection, reject } from '../../errors.js'
import type { CompiledCatalogue } from '../../features/compile.js'
import type { Clock } from '../../runtime/clock.js'
import type { Limits } from '../../limits.js'
import type { Policy } from '../../contract/policy.js'
import type { InferExchange, Inference, Scoring } from '../exchange.js'
import type { LoadedModels } from '../models.js'
import type { Serving } from '../serving.js'
import type { Direct } from './direct.js'
import { type Answering, createNames, type Named, ROUTE_OUTPUT } from './named.js'
import type { createRouted, RowDecision } from './routed.js'
import { createTally, type Tally } from './tally.js'

export interface InferenceDeps {
  readonly policy: Policy
  readonly limits: Limits
  readonly clock: Clock
  readonly catalogue: CompiledCatalogue
  readonly serving: () => Serving
  readonly loaded: LoadedModels
  readonly direct: Pick<Direct, 'ask' | 'tallyOf'>
  readonly routed: ReturnType<typeof createRouted>
  readonly gate: Scoring['gate']
}

/** What a request is about, once its tensors fit. */
interface Fitting {
  readonly named: Named
  readonly request: InferRequest
  readonly rows: Exclude<ReturnType<typeof layRows>, Rejection>
  readonly transactionIds: readonly (string | null)[]
  readonly entities: readonly (string | null)[]
}

export function createInference(deps: InferenceDeps): Inference {
  const { limits, clock, direct } = deps
  const names = createNames({ ...deps, features: deps.policy.catalogue.features })
  const routeTally = createTally()

  function fit(named: Named, request: InferRequest): Fitting | Rejection {
    const rowsMax = named.model === null ? limits.batchRowsMax : limits.inferRowsMax
    const rows = layRows(request, named.inputs, rowsMax)
    if (isRejection(rows)) return rows
    const refused = outputFault(request, named.outputs)
    if (refused !== null) return refused
    const { count } = rows
    const path = '/parameters/transaction_id'
    const transactionIds = textOfEach(request.transactionIds, count, { path, isShared: false })
    if (isRejection(transactionIds)) return transactionIds
    const entities = textOfEach(request.entities, count, { path: '/parameters/entity', isShared: true })
    return isRejection(entities) ? entities : { named, request, rows, transactionIds, entities }
  }

  function tallyOf({ model }: Named): Tally {
    return model === null ? routeTally : direct.tallyOf(model)
  }

  function answer(
    exchange: InferExchange,
    { named, request }: Fitting,
    parts: Pick<InferAnswer, 'parameters' | 'outputs'>,
  ) {
    const startMs = clock.monoMs()
    const encoded = encodeAnswer({ modelName: named.name, modelVersion: named.version, ...parts }, request)
    tallyOf(named).took('compute_output', clock.monoMs() - startMs)
    exchange.answerInference(encoded)
  }

  function askRoute(fitting: Fitting, exchange: InferExchange): void {
    const refused = deps.gate(fitting.rows.count)
    if (refused !== null) return exchange.reject(reject(refused, `no room for ${fitting.rows.count} rows; retry`))
    const startMs = clock.monoMs()
    const onDone = (outcome: readonly RowDecision[] | Rejection): void => {
      const tookMs = clock.monoMs() - startMs
      routeTally.took('code' in outcome ? 'fail' : 'success', tookMs)
      if ('code' in outcome) return exchange.reject(outcome)
      routeTally.took('compute_infer', tookMs)
      routeTally.executed()
      routeTally.answered(outcome.length, clock.nowMs())
      const scores = Float64Array.from(outcome, ({ score }) => score)
      answer(exchange, fitting, { parameters: parametersOf(outcome), outputs: new Map([[ROUTE_OUTPUT, scores]]) })
    }
    deps.routed.ask({ ...fitting, exchange, onDone })
  }

  function askModel(model: Answering, fitting: Fitting, exchange: InferExchange): void {
    const [score, raw] = fitting.named.outputs
    direct.ask({
      ...{ ...fitting, model, traceparent: exchange.traceparent },
      onDone(outcome) {
        if ('code' in outcome) return exchange.reject(outcome)
        const outputs = new Map([
          [score.name, outcome.scores],
          [raw.name, outcome.raws],
        ])
        answer(exchange, fitting, { parameters: null, outputs })
      },
    })
  }

  return {
    metadata(name, version) {
      const named = names.find(name, version)
      return named === null ? null : names.metadata(named)
    },
    isReady(name, version) {
      const named = names.find(name, version)
      return named === null ? null : names.isReady(named)
    },
    index: (isReadyOnly) => names.index(isReadyOnly),
    statistics(name, version) {
      const found = name === null ? names.all() : [names.find(name, version)].filter((named) => named !== null)
      if (found.length === 0) return null
      return { model_stats: found.map((named) => tallyOf(named).show(named.name, named.version ?? '')) }
    },
    infer({ name, version, request }, exchange) {
      const named = names.find(name, version)
      if (named === null)
        return exchange.reject(reject('ASSAY_MODEL_UNKNOWN', 'POST /v2/repository/index lists those that are'))
      const startMs = clock.monoMs()
      const fitting = fit(named, request)
      if (isRejection(fitting)) return exchange.reject(fitting)
      tallyOf(named).took('compute_input', clock.monoMs() - startMs)
      if (named.model === null) askRoute(fitting, exchange)
      else askModel(named.model, fitting, exchange)
    },
  }
}

/** A value where there is one row, for several a list in their order. */
function parametersOf(decisions: readonly RowDecision[]): Record<string, unknown> {
  const each = <Value>(read: (decision: RowDecision) => Value): Value | Value[] =>
    decisions.length === 1 ? read(decisions[0]) : decisions.map(read)
  return {
    assay_decision_id: each(({ decisionId }) => decisionId),
    assay_action: each(({ action }) => action),
    assay_model_version: each(({ model }) => model),
    assay_degraded: each(({ degraded }) => degraded),
  }
}
