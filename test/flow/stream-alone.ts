// A model by itself, to be held against what a server logged: its file in a session of its own or its scorecard by the
// published formula, and its columns by the names in its manifest; and its features folded by a catalogue that holds
// nothing else. Reads no code of src/models. Holds no test.
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { InferenceSession, Tensor } from 'onnxruntime-node'
import type { Policy } from '../../src/contract/policy.js'
import type { DecodedRecord } from '../../src/contract/record-types.js'
import { compileCatalogue } from '../../src/features/compile.js'
import { createFeatureState } from '../../src/features/state.js'
import { LIMITS } from '../../src/limits.js'

export interface ModelAlone {
  readonly reference: string
  /** In the order in which the model takes them. */
  readonly features: readonly string[]
  /** Scores rows of its own columns, all in one run. */
  score(rows: readonly Float32Array[]): Promise<number[]>
  close(): Promise<void>
}

interface ManifestJson {
  name: string
  version: string
  kind: string
  file: { path: string }
  features: { name: string }[]
  input?: { name: string }
  output?: { name: string; column: number }
  score_map?: { kind: string }
}

/** Opens the bundle in a folder. Knows the identity as score map, as the reference models have it. */
export async function openAlone(folder: string): Promise<ModelAlone> {
  const manifest = JSON.parse(await readFile(join(folder, 'manifest.json'), 'utf8')) as ManifestJson
  const { name, version, input, output, score_map: map } = manifest
  const known = { reference: `${name}@${version}`, features: manifest.features.map((feature) => feature.name) }
  if (map !== undefined && map.kind !== 'identity') throw new Error(`${name}: score map ${map.kind}`)
  const path = join(folder, manifest.file.path)
  if (input === undefined || output === undefined) {
    const card = JSON.parse(await readFile(path, 'utf8')) as CardJson
    const close = (): Promise<void> => Promise.resolve()
    return { ...known, score: (rows) => Promise.resolve(rows.map((row) => scoreCard(card, row))), close }
  }
  const session = await InferenceSession.create(path, { intraOpNumThreads: 1, interOpNumThreads: 1 })
  return {
    ...known,
    async score(rows) {
      const data = Float32Array.from(rows.flatMap((row) => [...row]))
      const tensor = new Tensor('float32', data, [rows.length, known.features.length])
      const { [output.name]: result } = await session.run({ [input.name]: tensor })
      const width = result.dims[1]
      return rows.map((_, row) => Number(result.data[row * width + output.column]))
    },
    close: () => session.release(),
  }
}

interface CardJson {
  intercept: number
  features: {
    weight: number
    clip: [number, number]
    log1p?: boolean
    mean?: number
    scale?: number
    missing: number
  }[]
}

/** The logistic scorecard of src/models/README.md: intercept and points, through 1 / (1 + e^−x). */
function scoreCard(card: CardJson, row: Float32Array): number {
  const points = card.features.map(({ weight, clip, log1p, mean = 0, scale = 1, missing }, index) => {
    if (Number.isNaN(row[index])) return missing
    const clipped = Math.min(Math.max(row[index], clip[0]), clip[1])
    return (weight * ((log1p === true ? Math.log1p(clipped) : clipped) - mean)) / scale
  })
  return 1 / (1 + Math.exp(-points.reduce((sum, point) => sum + point, card.intercept)))
}

/** Picks columns by name from a vector in the order of the catalogue. */
export function pick(vector: Float32Array, catalogue: readonly string[], features: readonly string[]): Float32Array {
  return Float32Array.from(features, (feature) => {
    const column = catalogue.indexOf(feature)
    if (column < 0) throw new Error(`${feature} is not in the catalogue`)
    return vector[column]
  })
}

/**
 * Folds everything that a log holds, in the order of ordinals, through a catalogue of these features alone (and of what
 * a ratio among them refers to); transaction_id → the columns.
 */
export function foldAlone(
  records: readonly DecodedRecord[],
  policy: Policy,
  features: readonly string[],
): Map<string, Float32Array> {
  const specs = policy.catalogue.features
  const referred = specs.flatMap((spec) =>
    features.includes(spec.name) && spec.kind === 'ratio' ? [spec.numerator, spec.denominator] : [],
  )
  const own = specs.filter(({ name }) => features.includes(name) || referred.includes(name))
  const compiled = compileCatalogue({ ...policy.catalogue, features: own }, policy.schema, policy.currencies)
  const state = createFeatureState(compiled, { limits: LIMITS })
  const out = new Float64Array(compiled.size)
  const columns = new Map<string, Float32Array>()
  for (const record of inOrder(records)) {
    if (record.type === 'label') {
      const { label, ordinal, foldedAtMs } = record.label
      state.label(label, ordinal, foldedAtMs)
    } else {
      const { transaction } = record.personal
      state.fold(transaction, record.facts.ordinal, record.facts.foldedAtMs, out, 0)
      columns.set(transaction.transactionId, pick(Float32Array.from(out), compiled.names, features))
    }
  }
  return columns
}

type Folded = Extract<DecodedRecord, { type: 'decision' | 'observed' | 'label' }>

function inOrder(records: readonly DecodedRecord[]): Folded[] {
  const ordinal = (record: Folded): number => (record.type === 'label' ? record.label : record.facts).ordinal
  const isFolded = (record: DecodedRecord): record is Folded =>
    record.type === 'label' || ((record.type === 'decision' || record.type === 'observed') && !record.facts.unfolded)
  return records.filter(isFolded).sort((one, other) => ordinal(one) - ordinal(other))
}
