// Records as the tail hands them to a monitor: the reference policy and profiles, vectors as the server encodes them.
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import type { Action } from '../../src/contract/decision.js'
import { type Policy, policyFingerprint } from '../../src/contract/policy.js'
import type { DecisionFacts } from '../../src/contract/record-types.js'
import type { FieldValue, Mode } from '../../src/contract/transaction.js'
import { type CompiledCatalogue, compileCatalogue } from '../../src/features/compile.js'
import type { Control, DerivedRow, TailRecord } from '../../src/governance/port.js'
import { parseProfile, type ReferenceProfile } from '../../src/governance/monitors/drift-profile.js'
import { createRandom, type Random } from '../../src/simulate/random.js'
import { referencePolicy } from '../reference-policy.js'
import { createRows, sharesOf } from '../stats/draw.js'

const root = fileURLToPath(new URL('../../../', import.meta.url))

export const POLICY = referencePolicy()
export const START_MS = Date.parse('2026-03-02T00:00:00Z')
export const HOUR_MS = 3_600_000

export const profileText = (name: string): string =>
  readFileSync(`${root}models/${name}/1/reference-profile.json`, 'utf8')

export function profileOf(name: string): ReferenceProfile {
  const profile = parseProfile(profileText(name))
  if (profile === null) throw new Error(`${name} has no profile`)
  return profile
}

export function controlOf(policy: Policy): Control {
  const fingerprint = `sha256:${policyFingerprint(policy).toString('hex')}`
  const routes = { ...policy.routes, revision: 0, experiment_key: '00'.repeat(32) }
  return { format: 1, policy, policy_fingerprint: fingerprint, routes, models: [] }
}

export interface Decided {
  readonly model?: string
  readonly atMs: number
  readonly score?: number
  readonly action?: Action
  /** By name; what is left out is drawn from training. */
  readonly features?: Readonly<Record<string, number>>
  readonly currency?: string
  readonly fields?: readonly FieldValue[]
  readonly flags?: number
  readonly mode?: Mode
  readonly unfolded?: boolean
}

export interface Rig {
  /** The next record of the log. */
  decide(of: Decided): TailRecord
  /** From now on under this policy. */
  use(policy: Policy): void
}

/** Records whose features are drawn as in training of `fraud-xgb` and `fraud-lgbm`, independently. */
export function createRig(seed: number): Rig {
  const random = createRandom(seed)
  const draws = drawsOf(random)
  let control = controlOf(POLICY)
  let compiled: CompiledCatalogue = compileCatalogue(POLICY.catalogue, POLICY.schema, POLICY.currencies)
  let sequence = 0
  return {
    use(policy) {
      control = controlOf(policy)
      compiled = compileCatalogue(policy.catalogue, policy.schema, policy.currencies)
    },
    decide(of) {
      const values = compiled.names.map((name) => of.features?.[name] ?? draws.get(name)?.() ?? 0)
      const vector = Buffer.alloc(compiled.vectorBytes)
      compiled.encodeVector(Float64Array.from(values), 0, vector, 0)
      sequence++
      const transaction = {
        ...{ transactionId: `t${sequence}`, occurredAtMs: of.atMs, offsetMinutes: 0, amountMinor: 100 },
        ...{ currency: of.currency ?? 'EUR', amountBaseMinor: 100, fields: [...(of.fields ?? ['c1', 't1'])] },
      }
      const facts = factsOf(of, { sequence, random, control })
      const personal = { transaction, vector, traceparent: null, source: null }
      return { epoch: 1, sequence, record: { type: 'decision', facts, personal }, control, shadows: [] }
    },
  }
}

function drawsOf(random: Random): Map<string, () => number> {
  const draws = new Map<string, () => number>()
  for (const name of ['fraud-xgb', 'fraud-lgbm']) {
    const { features, score } = profileOf(name)
    for (const each of [...features, { ...score, name: `score of ${name}` }])
      draws.set(each.name, createRows(random, each.bins.cells, sharesOf(each.counts)))
  }
  return draws
}

function factsOf(of: Decided, from: { sequence: number; random: Random; control: Control }): DecisionFacts {
  const { sequence, random, control } = from
  const name = of.model ?? 'fraud-lgbm'
  const score = of.score ?? random.uniform()
  return {
    ...{ ordinal: sequence, unfolded: of.unfolded ?? false, epoch: 1, mode: of.mode ?? 'decide' },
    ...{ receivedAtMs: of.atMs, foldedAtMs: of.atMs, decidedAtMs: of.atMs },
    ...{ action: of.action ?? (random.uniform() < 0.99 ? 'approve' : 'review'), score, scoreRaw: score },
    model: { name, version: '1', digest: Buffer.alloc(32, name), role: 'champion', provider: 'cpu' },
    ...{ prescribedModel: `${name}@1`, bucket: 0, routesRevision: 0, experiment: null, arm: null, propensity: null },
    ...{ rules: [], rulesShadow: [], thresholds: null, segment: null, scoreAction: null, reasons: [] },
    ...{ features: of.flags ?? 0, degraded: false, fallback: [], decidedElsewhere: null },
    policy: Buffer.from(control.policy_fingerprint.slice(7), 'hex'),
    stages: { receiveUs: 0, validateUs: 0, featuresUs: 0, inferUs: 0, decideUs: 0 },
  }
}

/** Verdicts whose columns have these values. */
export function pick(rows: readonly DerivedRow[], wanted: DerivedRow['row']): DerivedRow['row'][] {
  const names = Object.keys(wanted)
  return rows
    .filter(({ table, row }) => table === 'drift' && names.every((name) => row[name] === wanted[name]))
    .map(({ row }) => row)
}

/** Records from this time on, a second apart. */
export function several(rig: Rig, length: number, of: Partial<Decided> = {}, fromMs = START_MS): TailRecord[] {
  return Array.from({ length }, (_, at) => rig.decide({ atMs: fromMs + at * 1000, ...of }))
}

/** Columns of a row as one text. */
export const text = (row: DerivedRow['row'], ...names: string[]): string =>
  names.map((name) => String(row[name])).join(' ')

/** Profiles of the committed bundles. */
export const DEPS = { loadProfile: ({ name }: { name: string }): string => profileText(name) }
