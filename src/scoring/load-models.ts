// From names to loaded models: read the bundle, run the gate, start the lane. At a start a model that is refused leaves
// its place empty (`not_loaded`) and says why; the baseline must load, since it ends every chain.
import { join } from 'node:path'
import type { Approval, Routing } from '../contract/control-state.js'
import { providersFor, type ProvidersConfig } from '../contract/providers.js'
import type { Policy, Routes } from '../contract/policy.js'
import { thresholdsOf } from '../decision/decide.js'
import { AssayError } from '../errors.js'
import type { Limits } from '../limits.js'
import { type Bundle, readBundle } from '../models/bundle.js'
import { type CatalogueFacts, takesOwnColumns } from '../models/columns.js'
import { admit, type Admission } from '../models/gate.js'
import { readScorecard } from '../models/golden-rows.js'
import { inputsOf } from '../models/inputs.js'
import type { Clock } from '../runtime/clock.js'
import type { Metrics } from '../telemetry/metrics.js'
import { admitApart } from './lane/admit.js'
import { createLane } from './lane/create.js'
import type { Hangs } from './lane/hangs.js'
import type { Lane, LaneEvent, LaneListener } from './lane/port.js'
import type { ModelThreads } from './lane/threads.js'
import { CUTS_NEEDED, type LoadedBaseline, type LoadedModel, type ModelTensors } from './models.js'

export interface LoadDeps {
  readonly policy: Policy
  /** The policy that serves: what operators change while the server runs. */
  readonly live: { readonly policy: Policy }
  readonly limits: Limits
  readonly clock: Clock
  readonly metrics: Metrics
  readonly catalogue: CatalogueFacts
  readonly modelsDir: string
  readonly providers: ProvidersConfig
  /** Payments are answered on these cores while it loads. */
  readonly isBeside: boolean
  readonly hangs: Hangs
  readonly threads: ModelThreads
  readonly listener: LaneListener
  readonly onLaneEvent: (lane: Lane, event: LaneEvent) => void
  /** A bundle was refused; its place stays empty. */
  readonly onRefused: (reference: string, fault: AssayError) => void
  readonly onAdmitted: (reference: string, admission: Admission) => void
}

/**
 * What a start loads: the models that answer, those that a rollback would return to, and those of the file, so that an
 * operator can switch to them.
 */
export function modelsToLoad({ routes, previous, loaded }: Routing, file: Routes, max: number): string[] {
  const rolesOf = (one: Routes | null): (string | null)[] => (one === null ? [] : [one.champion, one.challenger])
  const wanted = [...rolesOf(routes), ...rolesOf(previous), ...loaded, ...rolesOf(file)]
  return [...new Set(wanted.filter((reference) => reference !== null))].slice(0, max)
}

/** Loads the model that ends every chain. Throws ASSAY_BUNDLE_REFUSED. */
export async function loadBaseline(reference: string, deps: LoadDeps): Promise<LoadedBaseline> {
  const { directory, identity } = placeOf(reference, deps)
  const bundle = await readBundle(directory, { limits: deps.limits, identity })
  if (bundle.manifest.kind !== 'scorecard') {
    throw new AssayError('ASSAY_BUNDLE_REFUSED', `${reference} cannot be the baseline: it is not a scorecard`)
  }
  const admission = await admit(bundle, deps.catalogue, { limits: deps.limits, clock: deps.clock })
  deps.onAdmitted(reference, admission)
  const card = await readScorecard(bundle)
  const { columns } = admission
  if (columns === null || thresholdsOf(deps.live.policy, bundle.manifest) === null) {
    throw new AssayError('ASSAY_BUNDLE_REFUSED', `${reference} cannot be the baseline: ${CUTS_NEEDED}`)
  }
  const own = Int32Array.from(bundle.manifest.features, (_, at) => at)
  const facts = served(reference, bundle, deps)
  return {
    ...{ ...facts, answeredBy: { ...facts.answeredBy, role: 'baseline' }, takesOwn: false },
    tensors: tensorsOf(bundle.manifest),
    scoreRow: (rows, at) => ({ raw: card.raw(rows, at, own), score: card.score(rows, at, own) }),
    score: (vectors, at) => card.score(vectors, at, columns),
    reasons: (vectors, at) => card.reasons(vectors, at, columns).map((reason) => ({ ...reason, detail: null })),
  }
}

/**
 * One of a start: refused, its place stays empty, also where it is another bundle than was approved. Throws
 * ASSAY_PROVIDER_MISSING.
 */
export async function loadAtStart(
  reference: string,
  approvals: readonly Approval[],
  deps: LoadDeps,
): Promise<LoadedModel> {
  try {
    return await loadLaneModel(reference, deps, (bundle) => {
      const approved = approvals.findLast(({ model }) => model === reference)
      if (deps.live.policy.model_approval !== 'required' || approved === undefined) return
      if (approved.digest === bundle.digest) return
      throw new AssayError('ASSAY_BUNDLE_REFUSED', `${reference} is ${bundle.digest}, approved was ${approved.digest}`)
    })
  } catch (error) {
    // A machine without what its models are to run on is not one to serve from.
    if (!(error instanceof AssayError) || error.code === 'ASSAY_PROVIDER_MISSING') throw error
    deps.onRefused(reference, error)
    return { ...unserved(reference, deps), lane: null, tensors: null }
  }
}

/** Reads, checks and starts a model. Throws what the gate and the lane throw, and leaves nothing behind. */
export async function loadLaneModel(
  reference: string,
  deps: LoadDeps,
  check: (bundle: Bundle) => void = () => undefined,
): Promise<LoadedModel & { readonly lane: Lane }> {
  const { policy, limits, catalogue: facts, hangs, clock, listener, isBeside, onLaneEvent: onEvent, threads } = deps
  const providers = providersFor(deps.providers, reference)
  const wire = { ...placeOf(reference, deps), facts, limits, isBeside, providers }
  const { bundle, admission } = await admitApart(wire, { threads, hangs })
  check(bundle)
  const model = served(reference, bundle, deps)
  // Nobody offers it a payment's vector where it has columns of its own.
  const columns = admission.columns ?? new Int32Array(bundle.manifest.features.length)
  const lane = await createLane(
    { bundle, columns, breaker: policy.breaker, deadlineMs: policy.budgets.deadline_ms, isBeside, limits, providers },
    { clock, listener, hangs, threads, onEvent },
  )
  deps.onAdmitted(reference, admission)
  const answeredBy = { ...model.answeredBy, provider: lane.provider()?.name ?? null }
  return { ...model, answeredBy, lane, tensors: tensorsOf(bundle.manifest) }
}

function placeOf(reference: string, { modelsDir }: LoadDeps) {
  const [name, version] = reference.split('@')
  return { directory: join(modelsDir, name, version), identity: { name, version } }
}

/** Its inputs as it takes them. A scorecard has none of its own: it rounds to float32, and so takes one of that. */
function tensorsOf(manifest: Bundle['manifest']): ModelTensors {
  const { output, features, takes_nan: takesNan } = manifest
  const own = inputsOf(manifest)
  const isScorecard = own.length === 0
  const inputs = isScorecard ? [{ name: 'features', dtype: 'float32', columns: features.length } as const] : own
  return {
    platform: isScorecard ? 'assay_scorecard' : 'onnxruntime_onnx',
    inputs: inputs.map(({ name, dtype: type, columns }) => {
      const column = { type, takesNan: type !== 'int64' && (takesNan || isScorecard) }
      return { name, datatype: DATATYPE_OF[type], columns: Array.from({ length: columns }, () => column) }
    }),
    output: output?.name ?? 'score',
  }
}

const DATATYPE_OF = { float32: 'FP32', float64: 'FP64', int64: 'INT64' } as const

type Facts = Omit<LoadedModel, 'lane' | 'tensors'>

function served(reference: string, bundle: Bundle, { metrics }: LoadDeps): Facts {
  const { name, version } = bundle.manifest
  const digest = Buffer.from(bundle.digest.slice('sha256:'.length), 'hex')
  return describe(
    reference,
    { name, version, digest, provider: null },
    { stated: bundle.manifest.thresholds, takesOwn: takesOwnColumns(bundle.manifest) },
    metrics,
  )
}

/** A model that never answers still has a name in hops and metrics. */
function unserved(reference: string, { metrics }: LoadDeps): Facts {
  const [name, version] = reference.split('@')
  return describe(
    reference,
    { name, version, digest: Buffer.alloc(32), provider: null },
    { stated: undefined, takesOwn: false },
    metrics,
  )
}

function describe(
  reference: string,
  answeredBy: Facts['answeredBy'],
  said: Pick<Facts, 'stated' | 'takesOwn'>,
  metrics: Metrics,
): Facts {
  return { reference, answeredBy, ...said, metric: metrics.model(reference) }
}
