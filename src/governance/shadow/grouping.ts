// From records to what is to be scored, and back: decisions under the same catalogue that lack the same models are one
// group, up to a bound. A decision lacks every shadow, and the champion of its routes, but for the model that answered
// it. Pure.
import { Buffer } from 'node:buffer'
import type { ControlState } from '../../contract/control-state.js'
import type { Policy } from '../../contract/policy.js'
import { type DecisionFacts, isOfTransaction } from '../../contract/record-types.js'
import type { ShadowScore, TailRecord } from '../port.js'
import type { ScoringGroup, ScoringModel } from './scorer.js'

/** A group with the places of its rows among the records. */
export interface PlacedGroup extends ScoringGroup {
  readonly places: readonly number[]
  readonly policy: Policy
}

interface Gathered {
  readonly control: ControlState
  readonly models: readonly ScoringModel[]
  readonly places: number[]
  readonly vectors: Uint8Array[]
}

/** Groups of at most `rowsMax` decisions; records of other types, and evaluations, are in none. */
export function groupRecords(
  records: readonly TailRecord[],
  shadows: readonly string[],
  rowsMax = Infinity,
): PlacedGroup[] {
  const gathered: Gathered[] = []
  const open = new Map<string, Gathered>()
  // What a decision lacks follows from what held and who answered: looked up, not built, for each of thousands.
  const known = new Map<ControlState, Map<string, Gathered>>()
  const groupOf = (control: ControlState, facts: DecisionFacts, bytes: number): Gathered => {
    const groups = known.get(control) ?? new Map<string, Gathered>()
    known.set(control, groups)
    const short = `${bytes} ${facts.model?.name}@${facts.model?.version}`
    const held = groups.get(short)
    if (held !== undefined && held.places.length < rowsMax) return held
    const models = modelsFor(facts, control, shadows)
    const names = models.map(({ reference, digest }) => `${reference} ${digest ?? ''}`)
    const key = [control.policy_fingerprint, bytes, ...names].join('\n')
    let group = open.get(key)
    if (group === undefined || group.places.length >= rowsMax) {
      group = { control, models, places: [], vectors: [] }
      gathered.push(group)
      open.set(key, group)
    }
    groups.set(short, group)
    return group
  }
  records.forEach(({ record, control }, place) => {
    if (record.type !== 'decision' || !isOfTransaction(record.facts)) return
    const { vector } = record.personal
    const group = groupOf(control, record.facts, vector.length)
    group.places.push(place)
    group.vectors.push(vector)
  })
  const groups = gathered.filter(({ models }) => models.length > 0)
  return groups.map(({ control, models, places, vectors }) => ({
    ...{ fingerprint: control.policy_fingerprint, policy: control.policy, models, places },
    count: places.length,
    vectors: Buffer.concat(vectors),
  }))
}

function modelsFor({ model }: DecisionFacts, control: ControlState, shadows: readonly string[]): ScoringModel[] {
  const answered = model === null ? null : `${model.name}@${model.version}`
  const { champion } = control.routes
  const wanted = shadows.includes(champion) ? shadows : [...shadows, champion]
  return wanted
    .filter((reference) => reference !== answered)
    .map((reference) => ({ reference, digest: digestOf(reference, control) }))
}

const HEX = /^(?:sha256:)?([0-9a-f]{64})$/
const NO_DIGEST = '0'.repeat(64)

/** What ran under this name according to the log; null where it does not say. */
function digestOf(reference: string, { models }: ControlState): string | null {
  const stated = models.find((model) => model.reference === reference)?.digest ?? ''
  const digest = HEX.exec(stated)?.[1] ?? NO_DIGEST
  return digest === NO_DIGEST ? null : digest
}

/** The records with the scores of their groups; `null` for a group that was shed. */
export function withScores(
  records: readonly TailRecord[],
  groups: readonly PlacedGroup[],
  scores: readonly (Float64Array | null)[],
): TailRecord[] {
  const scored = [...records]
  groups.forEach(({ places, models, count }, at) => {
    const values = scores[at]
    places.forEach((place, row) => {
      const shadows = models.map(({ reference }, model): ShadowScore => {
        if (values === null) return { model: reference, score: null, why: 'shed' }
        const score = values[model * count + row]
        return Number.isNaN(score)
          ? { model: reference, score: null, why: 'failed' }
          : { model: reference, score, why: null }
      })
      scored[place] = { ...records[place], shadows }
    })
  })
  return scored
}
