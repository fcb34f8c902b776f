// The questions of the API, answered from the store that is open now.
import type { Source } from '../source.js'
import { alerts } from './alerts.js'
import { decision, decisions } from './decisions.js'
import { drift, driftFeature } from './drift.js'
import { events, missed, newest, resume } from './events.js'
import { health, type HealthFacts } from './health.js'
import { createHeld, type HeldDeps } from './held.js'
import { shadowModel, shadowOverview } from './shadow.js'
import { summary } from './summary.js'
import { audit } from './tables.js'

export interface StoreSource extends Source {
  /** A batch was committed: readers are told. */
  committed(): void
}

export function createStoreSource(deps: HeldDeps, facts: HealthFacts): StoreSource {
  const held = createHeld(deps)
  const listeners = new Set<() => void>()
  return {
    summary: () => summary(held),
    decisions: (query) => decisions(held, query),
    decision: (id) => decision(held, id),
    drift: (query) => drift(held, query),
    driftFeature: (feature, query) => driftFeature(held, feature, query),
    shadow: (query) => shadowOverview(held, query),
    shadowModel: (model, query) => shadowModel(held, model, query),
    alerts: (query) => alerts(held, query),
    audit: (query) => audit(held, query),
    health: () => health(held, facts),
    newest: () => newest(held),
    resume: (id) => resume(held, id),
    events: (after, kinds, limit) => events(held, after, kinds, limit),
    missed: (from, until) => missed(held, from, until),
    lag() {
      const { lagRecords, lagSeconds } = deps.facts()
      return { records: lagRecords, seconds: lagSeconds }
    },
    onCommit(listener) {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
    committed() {
      held.forget()
      for (const listener of listeners) listener()
    },
  }
}
