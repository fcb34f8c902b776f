// From the routes to the models that answer: read the bundle, run the gate, start the lane. A champion or challenger
// that is refused leaves its place empty (`not_loaded`) and says why; the baseline must load, since it ends every
// chain.
import { join } from 'node:path'
import type { Role } from '../contract/decision.js'
import type { Policy, Routes } from '../contract/policy.js'
import type { AnsweredBy, AppliedThresholds } from '../contract/record-types.js'
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
import type { BaselineModel, LaneModel, ModelSet, ServedModel } from './models.js'

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

/** Loads what the routes name. Throws ASSAY_BUNDLE_REFUSED where the baseline does not pass. */
export async function loadModels(routes: Routes, deps: LoadDeps): Promise<ModelSet> {
  const baseline = await loadBaseline(routes.baseline, deps)
  const champion = await loadLaneModel(routes.champion, 'champion', deps)
  const challenger = routes.challenger === null ? null : await loadLaneModel(routes.challenger, 'challenger', deps)
  return { champion, challenger, baseline }
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
  return {
    ...served(reference, bundle, { role: 'baseline', deps }),
    score: (vectors, at) => card.score(vectors, at, columns),
    reasons: (vectors, at) => card.reasons(vectors, at, columns).map((reason) => ({ ...reason, detail: null })),
  }
}

async function loadLaneModel(reference: string, role: Role, deps: LoadDeps): Promise<LaneModel> {
  try {
    const bundle = await readReferenced(reference, deps)
    if (bundle.manifest.kind !== 'onnx') {
      throw new AssayError('ASSAY_BUNDLE_REFUSED', `${reference} cannot be the ${role}: it is not an ONNX model`)
    }
    const facts = served(reference, bundle, { role, deps })
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
    return { ...unserved(reference, role, deps), lane: null }
  }
}

function readReferenced(reference: string, deps: LoadDeps): Promise<Bundle> {
  const [name, version] = reference.split('@')
  return readBundle(join(deps.modelsDir, name, version), { limits: deps.limits, identity: { name, version } })
}

function served(reference: string, bundle: Bundle, as: { role: Role; deps: LoadDeps }): ServedModel {
  const thresholds = thresholdsOf(as.deps.policy, bundle.manifest)
  if (thresholds === null) {
    throw new AssayError(
      'ASSAY_BUNDLE_REFUSED',
      `${reference} has no thresholds: state them in its manifest or the policy`,
    )
  }
  const { name, version } = bundle.manifest
  const digest = Buffer.from(bundle.digest.slice('sha256:'.length), 'hex')
  return describe(reference, { name, version, digest, role: as.role }, { thresholds, metrics: as.deps.metrics })
}

/** A model that never answers still has a name in hops and metrics. */
function unserved(reference: string, role: Role, deps: LoadDeps): ServedModel {
  const [name, version] = reference.split('@')
  const thresholds = { challengeAt: null, reviewAt: null, declineAt: null }
  return describe(reference, { name, version, digest: Buffer.alloc(32), role }, { thresholds, metrics: deps.metrics })
}

function describe(
  reference: string,
  answeredBy: AnsweredBy,
  rest: { thresholds: AppliedThresholds; metrics: Metrics },
): ServedModel {
  const { thresholds } = rest
  return { reference, answeredBy, thresholds, cuts: cutsOf(thresholds), metric: rest.metrics.model(reference) }
}

/** Ends their threads. */
export async function closeLanes({ champion, challenger }: ModelSet, { laneStopMs }: Limits): Promise<void> {
  const lanes = [champion.lane, challenger?.lane ?? null].filter((lane) => lane !== null)
  await Promise.all(lanes.map((lane) => lane.close(laneStopMs)))
}
