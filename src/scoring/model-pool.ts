// The models that are loaded, and their lanes, while the server runs: what a start loaded, what operators load and take
// out again. Invariant: a model is in the pool only once its lane takes rows; its lane ends only when no transaction
// that could still offer it a row is under way. Whether a model may leave is not decided here (change.ts).
import { setTimeout as delay } from 'node:timers/promises'
import type { Approval } from '../contract/control-state.js'
import { AssayError } from '../errors.js'
import type { Lane } from './lane/port.js'
import { loadAtStart, loadBaseline, type LoadDeps, loadLaneModel } from './load-models.js'
import type { LoadedModel, LoadedModels } from './models.js'

export type PoolDeps = Omit<LoadDeps, 'isBeside'>

export interface ModelPool extends LoadedModels {
  /** Throws what the bundle is refused with; ASSAY_CHANGE_CONFLICT where it is loaded, or another is being loaded. */
  load(reference: string): Promise<void>
  /** Loads those of a start that are not there, in turn: one that is refused is there, and never answers. */
  ensure(references: readonly string[], approvals: readonly Approval[]): Promise<void>
  /** It can be routed to no more from here on; resolves when its lane has ended. */
  drop(reference: string): Promise<void>
  /** Ends every lane and its thread. */
  close(): Promise<void>
}

export interface StartModels {
  readonly baseline: string
  readonly models: readonly string[]
  readonly approvals: readonly Approval[]
  /** Another server answers payments on these cores meanwhile. */
  readonly isBeside: boolean
}

/** Loads what a start needs. Throws ASSAY_BUNDLE_REFUSED where the baseline does not pass. */
export async function openModelPool(start: StartModels, deps: PoolDeps): Promise<ModelPool> {
  const baseline = await loadBaseline(start.baseline, { ...deps, isBeside: start.isBeside })
  const models = new Map<string, LoadedModel>()
  const lanes: Lane[] = []
  let loading: string | null = null

  function add(model: LoadedModel): void {
    models.set(model.reference, model)
    if (model.lane !== null) lanes.push(model.lane)
  }

  async function end(lane: Lane): Promise<void> {
    await lane.close(deps.limits.laneStopMs)
    lanes.splice(lanes.indexOf(lane), 1)
  }

  async function ensure(
    references: readonly string[],
    approvals: readonly Approval[],
    isBeside = false,
  ): Promise<void> {
    for (const reference of references) {
      if (!models.has(reference)) add(await loadAtStart(reference, approvals, { ...deps, isBeside }))
    }
  }

  await ensure(start.models, start.approvals, start.isBeside)
  return {
    ...{ baseline, models, lanes },
    ensure: (references, approvals) => ensure(references, approvals),
    async load(reference) {
      if (loading !== null) throw new AssayError('ASSAY_CHANGE_CONFLICT', `${loading} is being loaded: retry`)
      if ((models.get(reference)?.lane ?? null) !== null) {
        throw new AssayError('ASSAY_CHANGE_CONFLICT', `${reference} is loaded already`)
      }
      loading = reference
      try {
        add(await loadLaneModel(reference, { ...deps, isBeside: true }))
      } finally {
        loading = null
      }
    },
    async drop(reference) {
      const { lane = null } = models.get(reference) ?? {}
      models.delete(reference)
      if (lane === null) return
      // What began under routes that named it may offer it a row until its deadline is over.
      await delay(deps.policy.budgets.deadline_ms)
      await end(lane)
    },
    async close() {
      await Promise.all(lanes.map((lane) => lane.close(deps.limits.laneStopMs)))
      await deps.threads.close()
    },
  }
}
