// What a step of a ramp has shown so far: two arms counted side by side since it began, and whether a guard trips.
// Invariant: an arm counts decisions of one revision alone; it does no I/O and reads no clock.
import type { RampGuards } from '../contract/policy.js'
import type { DecisionFacts } from '../contract/record-types.js'
import { Histogram } from '../telemetry/histogram.js'

const FAILURES: ReadonlySet<string> = new Set(['model_error', 'invalid_output'])

interface Arm {
  decisions: number
  errors: number
  degraded: number
  declines: number
  /** Microseconds from the whole request to the decision. */
  readonly latency: Histogram
}

export interface RampWatch {
  /** A decision of this step's revision was made. */
  note(facts: DecisionFacts, latencyUs: number): void
  /** What a guard says that trips; null while none does. */
  tripped(guards: RampGuards): string | null
  /** Enough of the challenger's decisions to go on. */
  hasSeenEnough(guards: RampGuards): boolean
  shown(): object
  /** The champion's arm, for a later step that leaves it too little to be compared with. */
  readonly champion: Arm
}

/** Starts at nothing; `before` is the watch of the step before it. */
export function createRampWatch(before: RampWatch | null): RampWatch {
  const arms = { champion: createArm(), challenger: createArm() }

  function reference({ samples_min: min }: RampGuards): Arm {
    const held = before?.champion
    return arms.champion.decisions < min && held !== undefined && held.decisions >= min ? held : arms.champion
  }

  return {
    champion: arms.champion,
    note(facts, latencyUs) {
      if (facts.mode !== 'decide' || facts.unfolded) return
      const arm = facts.arm === 'challenger' ? arms.challenger : arms.champion
      arm.decisions++
      if (facts.degraded) arm.degraded++
      if (facts.fallback.length > 0 && FAILURES.has(facts.fallback[0].reason)) arm.errors++
      if (facts.action === 'decline') arm.declines++
      arm.latency.record(latencyUs)
    },
    tripped(guards) {
      const { challenger } = arms
      const champion = reference(guards)
      if (Math.min(challenger.decisions, champion.decisions) < guards.samples_min) return null
      const shares = (['errors', 'degraded', 'declines'] as const).map((name) => {
        const [ours, theirs] = [challenger, champion].map((arm) => arm[name] / arm.decisions)
        if (ours - theirs <= guards[`${name}_above`]) return null
        return `${name}: ${percent(ours)} against ${percent(theirs)} of the champion`
      })
      const [ours, theirs] = [challenger, champion].map((arm) => arm.latency.quantile(0.95) / 1000)
      const slow = ours - theirs > guards.latency_p95_ms_above
      const latency = slow ? `latency: p95 ${ours.toFixed(2)} ms against ${theirs.toFixed(2)} ms of the champion` : null
      const found = [...shares, latency].filter((text) => text !== null)
      if (found.length === 0) return null
      return `${found.join('; ')}, in ${challenger.decisions} and ${champion.decisions} decisions`
    },
    hasSeenEnough: (guards) => arms.challenger.decisions >= guards.samples_min,
    shown: () => ({ champion: show(arms.champion), challenger: show(arms.challenger) }),
  }
}

function createArm(): Arm {
  return { decisions: 0, errors: 0, degraded: 0, declines: 0, latency: new Histogram() }
}

function show({ latency, ...counts }: Arm): object {
  return { ...counts, latency_p95_ms: latency.quantile(0.95) / 1000 }
}

function percent(share: number): string {
  return `${(100 * share).toFixed(1)} %`
}
