// Scores logged vectors with models that did not answer. A model is admitted by the gate under the first catalogue that
// it fits; under any later one its columns are bound by name and digest, so that it reads what it learned or nothing.
// A model that cannot be loaded, or does not fit a record's catalogue, fails those rows; it never fails the others.
import { join } from 'node:path'
import type { Policy } from '../../contract/policy.js'
import { AssayError } from '../../errors.js'
import { type CompiledCatalogue, compileCatalogue } from '../../features/compile.js'
import { LIMITS, type Limits } from '../../limits.js'
import { type Bundle, readBundle } from '../../models/bundle.js'
import { bindColumns, catalogueFacts, OWN_COLUMNS } from '../../models/columns.js'
import { openAdmitted } from '../../models/gate.js'
import { createRunner, type Runner } from '../../models/golden-rows.js'

/** Rows that the same models score under the same catalogue. */
export interface ScoringGroup {
  /** Names the policy whose catalogue wrote the vectors. */
  readonly fingerprint: string
  /** That policy; null where the scorer was given it before, no more than 8 policies ago. */
  readonly policy: Policy | null
  readonly models: readonly ScoringModel[]
  readonly count: number
  /** The logged vectors, one after the other. */
  readonly vectors: Uint8Array
}

export interface ScoringModel {
  /** name@version */
  readonly reference: string
  /** 64 hexadecimal digits of its file, where the log says what ran; null where it does not. */
  readonly digest: string | null
}

/** What became of a model. */
export interface LoadedModel {
  readonly reference: string
  /** Why rows of it fail; null while they do not. */
  readonly fault: string | null
}

export interface ShadowScorer {
  /** Reads bundles ahead of their first row. */
  load(references: readonly string[]): Promise<void>
  /** Scores by model, then by row; NaN where the row failed. */
  score(group: ScoringGroup): Promise<Float64Array>
  models(): readonly LoadedModel[]
  close(): Promise<void>
}

interface Model {
  readonly reference: string
  readonly bundle: Bundle | null
  runner: Runner | null
  /** Catalogue → columns; null where the model does not fit it. */
  readonly bindings: Map<string, Int32Array | null>
  fault: string | null
}

/** Catalogues kept compiled, the last used; a range of a log meets a few. Twice what callers count on. */
const CATALOGUES_MAX = 16

export function createShadowScorer(modelsDir: string, limits: Limits = LIMITS): ShadowScorer {
  const models = new Map<string, Model>()
  const policies = new Map<string, { catalogue: CompiledCatalogue; policy: Policy }>()

  async function modelOf(reference: string): Promise<Model> {
    const known = models.get(reference)
    const model = known ?? (await readModel(modelsDir, reference, limits))
    // Champions of a whole log may pass: the least recently used leaves.
    const oldest = models.keys().next().value
    if (known === undefined && models.size >= 2 * limits.modelsMax && oldest !== undefined) {
      await models.get(oldest)?.runner?.session?.close()
      models.delete(oldest)
    }
    models.delete(reference)
    models.set(reference, model)
    return model
  }

  function catalogueOf({ fingerprint, policy }: ScoringGroup): CompiledCatalogue | null {
    const held = policies.get(fingerprint) ?? (policy === null ? null : compiled(policy))
    if (held === null) return null
    policies.delete(fingerprint)
    const oldest = policies.keys().next().value
    if (policies.size >= CATALOGUES_MAX && oldest !== undefined) policies.delete(oldest)
    policies.set(fingerprint, held)
    return held.catalogue
  }

  async function bind(model: Model, fingerprint: string): Promise<Int32Array | null> {
    const known = model.bindings.get(fingerprint)
    if (known !== undefined) return known
    const held = policies.get(fingerprint)
    const columns = held === undefined ? null : await admitUnder(model, held, limits)
    if (model.bindings.size >= CATALOGUES_MAX) model.bindings.clear()
    model.bindings.set(fingerprint, columns)
    return columns
  }

  async function scoreOne(wanted: ScoringModel, group: ScoringGroup, rows: readonly Float64Array[]) {
    const scores = new Float64Array(group.count).fill(NaN)
    const model = await modelOf(wanted.reference)
    if (!isSame(model, wanted.digest)) return scores
    const columns = await bind(model, group.fingerprint)
    if (columns !== null && model.runner !== null) await runRows(model, model.runner, columns, { rows, scores })
    return scores
  }

  return {
    async load(references) {
      for (const reference of references) await modelOf(reference)
    },
    async score(group) {
      const { count } = group
      const all = new Float64Array(group.models.length * count).fill(NaN)
      const catalogue = catalogueOf(group)
      if (catalogue?.vectorBytes !== group.vectors.length / count) return all
      const { vectorBytes } = catalogue
      const rows = Array.from({ length: count }, (_, row) =>
        catalogue.decodeVector(group.vectors.subarray(row * vectorBytes, (row + 1) * vectorBytes)),
      )
      for (const [at, wanted] of group.models.entries()) all.set(await scoreOne(wanted, group, rows), at * count)
      return all
    },
    models: () => [...models.values()].map(({ reference, fault }) => ({ reference, fault })),
    async close() {
      for (const { runner } of models.values()) await runner?.session?.close()
      models.clear()
    },
  }
}

function compiled(policy: Policy): { catalogue: CompiledCatalogue; policy: Policy } {
  return { catalogue: compileCatalogue(policy.catalogue, policy.schema, policy.currencies), policy }
}

async function readModel(modelsDir: string, reference: string, limits: Limits): Promise<Model> {
  const [name, version = ''] = reference.split('@')
  const empty = { reference, runner: null, bindings: new Map<string, Int32Array | null>() }
  try {
    const bundle = await readBundle(join(modelsDir, name, version), { limits, identity: { name, version } })
    return { ...empty, bundle, fault: null }
  } catch (error) {
    if (!(error instanceof AssayError)) throw error
    return { ...empty, bundle: null, fault: error.message }
  }
}

/** The first catalogue goes through the gate, which opens the session; a later one only has to hold the features. */
async function admitUnder(
  model: Model,
  held: { catalogue: CompiledCatalogue; policy: Policy },
  limits: Limits,
): Promise<Int32Array | null> {
  const { bundle } = model
  if (bundle === null) return null
  const facts = catalogueFacts(held.catalogue, held.policy.catalogue)
  try {
    if (model.runner === null) {
      const { admission, session } = await openAdmitted(bundle, facts, { limits })
      model.runner = await createRunner(bundle, session, limits.flightRowsMax)
      model.fault = null
      if (admission.columns === null) model.fault = OWN_COLUMNS
      return admission.columns
    }
    const binding = bindColumns(bundle.manifest, facts.names, facts.featureDigests)
    if ('columns' in binding) return binding.columns
    model.fault = binding.faults.map(({ message }) => message).join('; ')
  } catch (error) {
    if (!(error instanceof AssayError)) throw error
    model.fault = error.message
  }
  return null
}

/**
 * A run that throws fails its batch; the rows of that batch are then tried one by one, so that a bad one fails alone.
 */
async function runRows(
  model: Model,
  runner: Runner,
  columns: Int32Array,
  { rows, scores }: { rows: readonly Float64Array[]; scores: Float64Array },
): Promise<void> {
  const run = async (first: number, count: number): Promise<boolean> => {
    for (let row = 0, to = 0; row < count; row++) {
      const vector = rows[first + row]
      for (let at = 0; at < columns.length; at++) runner.rows[to++] = vector[columns[at]]
    }
    try {
      await runner.run(count)
    } catch (error) {
      if (!(error instanceof AssayError)) throw error
      model.fault = error.message
      return false
    }
    scores.set(runner.out.scores.subarray(0, count), first)
    return true
  }
  for (let first = 0; first < rows.length; first += runner.rowsMax) {
    const count = Math.min(runner.rowsMax, rows.length - first)
    if (await run(first, count)) continue
    for (let row = first; count > 1 && row < first + count; row++) await run(row, 1)
  }
}

function isSame(model: Model, digest: string | null): boolean {
  if (digest === null || model.bundle === null || model.bundle.digest === `sha256:${digest}`) return true
  model.fault = `the log says sha256:${digest}, the bundle here is ${model.bundle.digest}`
  return false
}
