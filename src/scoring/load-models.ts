// From names to loaded models: read the bundle, run the gate, start the lane. A model that is refused leaves its place
// empty (`not_loaded`) and says why; the baseline must load, since it ends every chain.
import { join } from 'node:path'
import type { Routing } from '../contract/control-state.js'
import type { Policy, Routes } from '../contract/policy.js'
import type { AppliedThresholds } from '../contract/record-types.js'
import { cutsOf, thresholdsOf } from '../decision/decide.js'
import { AssayError } from '../errors.js'
import type { Limits } from '../limits.js'
import { type Bundle, readBundle } from '../models/bundle.js'
import { type CatalogueFacts } from '../models/columns.js'
import { admit, type Admission } from '../models/gate.js'
import { readScorecard } from '../models/golden-rows.js'
import type { Clock } from '../runtime/clock.js'
import type { Metrics } from '../telemetry/metrics.js'
import type { Hangs } from './lane/hangs.js'
import { createLane } from './lane/create.js'
import type { Lane, LaneEvent, LaneListener, SpawnLane } from './lane/port.js'
import type { BaselineModel, LoadedModel, LoadedModels } from './models.js'

export interface LoadDeps {
  readonly policy: Policy
  readonly limits: Limits
  readonly clock: Clock
  readonly metrics: Metrics
  readonly catalogue: CatalogueFacts
  readonly modelsDir: string
  readonly hangs: Hangs
  readonly listener: LaneListener
  readonly onLaneEvent: (lane: Lane, event: LaneEvent) => void
  readonly spawn?: SpawnLane | undefined
  /** A bundle was refused; its place stays empty. */
  readonly onRefused: (reference: string, fault: AssayError) => void
  readonly onAdmitted: (reference: string, admission: Admission) => void
}

/**
 * What a start loads: the models that answer, those that a rollback would return to, and those of the file, so that an
 * operator can switch to them.
 */
export function modelsToLoad({ routes, previous }: Routing, file: Routes, max: number): string[] {
  const wanted = [routes, previous, file].flatMap((one) => (one === null ? [] : [one.champion, one.challenger]))
  return [...new Set(wanted.filter((reference) => reference !== null))].slice(0, max)
}

/** Loads them, one after the other. Throws ASSAY_BUNDLE_REFUSED where the baseline does not pass. */
export async function loadModels(
  names: { readonly baseline: string; readonly models: readonly string[] },
  deps: LoadDeps,
): Promise<LoadedModels> {
  const baseline = await loadBaseline(names.baseline, deps)
  const models = new Map<string, LoadedModel>()
  for (const reference of names.models) models.set(reference, await loadLaneModel(reference, deps))
  return { baseline, models }
}

async function loadBaseline(reference: string, deps: LoadDeps): Promise<BaselineModel> {
  const bundle = await readReferenced(reference, deps)
  if (bundle.manifest.kind !== 'scorecard') {
    throw new AssayError('ASSAY_BUNDLE_REFUSED', `${reference} cannot be the baseline: it is not a scorecard`)
  }
  const admission = await admit(bundle, deps.catalogue, deps)
  deps.onAdmitted(reference, admission)
  const card = await readScorecard(bundle)
  const { columns } = admission
  const facts = served(reference, bundle, deps)
  return {
    ...{ ...facts, answeredBy: { ...facts.answeredBy, role: 'baseline' } },
    score: (vectors, at) => card.score(vectors, at, columns),
    reasons: (vectors, at) => card.reasons(vectors, at, columns).map((reason) => ({ ...reason, detail: null })),
  }
}

async function loadLaneModel(reference: string, deps: LoadDeps): Promise<LoadedModel> {
  try {
    const bundle = await readReferenced(reference, deps)
    if (bundle.manifest.kind !== 'onnx') {
      throw new AssayError('ASSAY_BUNDLE_REFUSED', `${reference} cannot be routed to: it is not an ONNX model`)
    }
    const facts = served(reference, bundle, deps)
    const admission = await admit(bundle, deps.catalogue, deps)
    const lane = await createLane(
      {
        bundle,
        columns: admission.columns,
        breaker: deps.policy.breaker,
        deadlineMs: deps.policy.budgets.deadline_ms,
        limits: deps.limits,
      },
      { clock: deps.clock, listener: deps.listener, hangs: deps.hangs, onEvent: deps.onLaneEvent, spawn: deps.spawn },
    )
    deps.onAdmitted(reference, admission)
    return { ...facts, lane }
  } catch (error) {
    if (!(error instanceof AssayError)) throw error
    deps.onRefused(reference, error)
    return { ...unserved(reference, deps), lane: null }
  }
}

function readReferenced(reference: string, deps: LoadDeps): Promise<Bundle> {
  const [name, version] = reference.split('@')
  return readBundle(join(deps.modelsDir, name, version), { limits: deps.limits, identity: { name, version } })
}

type Facts = Omit<LoadedModel, 'lane'>

function served(reference: string, bundle: Bundle, { policy, metrics }: LoadDeps): Facts {
  const thresholds = thresholdsOf(policy, bundle.manifest)
  if (thresholds === null) {
    throw new AssayError(
      'ASSAY_BUNDLE_REFUSED',
      `${reference} has no thresholds: state them in its manifest or the policy`,
    )
  }
  const { name, version } = bundle.manifest
  const digest = Buffer.from(bundle.digest.slice('sha256:'.length), 'hex')
  return describe(reference, { name, version, digest }, { thresholds, metrics })
}

/** A model that never answers still has a name in hops and metrics. */
function unserved(reference: string, { metrics }: LoadDeps): Facts {
  const [name, version] = reference.split('@')
  const thresholds = { challengeAt: null, reviewAt: null, declineAt: null }
  return describe(reference, { name, version, digest: Buffer.alloc(32) }, { thresholds, metrics })
}

function describe(
  reference: string,
  answeredBy: Facts['answeredBy'],
  { thresholds, metrics }: { thresholds: AppliedThresholds; metrics: Metrics },
): Facts {
  return { reference, answeredBy, thresholds, cuts: cutsOf(thresholds), metric: metrics.model(reference) }
}
