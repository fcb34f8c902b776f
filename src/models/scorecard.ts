// The baseline: a logistic scorecard in plain TypeScript, synchronous, on the main thread. Pure.
// Its invariant is that it always answers: every weight, clip and scale is bounded when it is compiled, so that no
// vector (NaN, infinite, too short) can give NaN or throw. A missing value has points of its own.
// Values are rounded to float32 first, so that a score recomputed from a logged vector is the same to the bit.
import { type Static, Type } from '@sinclair/typebox'
import { TypeCompiler } from '@sinclair/typebox/compiler'
import { AssayError, type InputFault } from '../errors.js'
import { sigmoid } from './score-map.js'

const Points = Type.Number({ minimum: -1e6, maximum: 1e6 })
const Magnitude = Type.Number({ minimum: -1e15, maximum: 1e15 })

/** scorecard.json; README.md beside this file explains each key. */
export const ScorecardFile = Type.Object(
  {
    format: Type.Literal(1),
    kind: Type.Literal('logistic'),
    intercept: Points,
    features: Type.Array(
      Type.Object(
        {
          name: Type.String({ pattern: '^[a-z][a-z0-9_]{0,63}$' }),
          weight: Points,
          clip: Type.Tuple([Magnitude, Magnitude]),
          log1p: Type.Optional(Type.Boolean()),
          mean: Type.Optional(Magnitude),
          scale: Type.Optional(Type.Number({ minimum: 1e-9, maximum: 1e15 })),
          missing: Points,
          reason: Type.Optional(Type.String({ pattern: '^[a-z][a-z0-9_]{0,63}$' })),
        },
        { additionalProperties: false },
      ),
      { minItems: 1, maxItems: 256 },
    ),
  },
  { additionalProperties: false },
)
export type ScorecardFile = Static<typeof ScorecardFile>

/** Points that one feature added towards fraud, in log-odds. */
export interface Contribution {
  readonly code: string
  readonly contribution: number
}

export interface Scorecard {
  /** Feature names in the order of the file; the manifest lists the same. */
  readonly features: readonly string[]
  /** Log-odds: intercept plus points. Finite for every vector. */
  raw(vector: Float64Array, at: number, columns: Int32Array): number
  /** Probability within [0, 1]; never NaN. `columns` are catalogue indexes in the order of `features`. */
  score(vector: Float64Array, at: number, columns: Int32Array): number
  /** At most `REASONS_MAX` features with the largest points above 0, largest first; ties in the order of the file. */
  reasons(vector: Float64Array, at: number, columns: Int32Array): Contribution[]
}

export const REASONS_MAX = 4

const check = TypeCompiler.Compile(ScorecardFile)

/** Faults that the schema cannot say. */
function shapeFaults(file: ScorecardFile): InputFault[] {
  const faults: InputFault[] = []
  const seen = new Set<string>()
  file.features.forEach((feature, index) => {
    const path = `/features/${index}`
    const [low, high] = feature.clip
    if (low > high) faults.push({ path: `${path}/clip`, message: `low ${low} lies above high ${high}` })
    if (feature.log1p === true && low < 0) {
      faults.push({ path: `${path}/clip`, message: `with log1p the low end is at least 0, here ${low}` })
    }
    if (seen.has(feature.name)) faults.push({ path, message: `feature ${feature.name} is named twice` })
    seen.add(feature.name)
  })
  return faults
}

/** Validates and compiles scorecard.json. Throws ASSAY_BUNDLE_REFUSED naming every fault; then nothing can fail. */
export function compileScorecard(json: unknown): Scorecard {
  if (!check.Check(json)) {
    const errors = [...check.Errors(json)].map(({ path, message }) => ({ path, message }))
    throw new AssayError('ASSAY_BUNDLE_REFUSED', 'scorecard.json does not fit its schema', { errors })
  }
  const faults = shapeFaults(json)
  if (faults.length > 0) {
    throw new AssayError('ASSAY_BUNDLE_REFUSED', 'scorecard.json is not consistent', { errors: faults })
  }
  return createScorecard(json)
}

function createScorecard(file: ScorecardFile): Scorecard {
  const { intercept } = file
  const size = file.features.length
  const codes = file.features.map((feature) => feature.reason ?? feature.name)
  const log1p = Uint8Array.from(file.features, (feature) => (feature.log1p === true ? 1 : 0))
  const column = (value: (feature: ScorecardFile['features'][number]) => number) =>
    Float64Array.from(file.features, value)
  const weight = column((feature) => feature.weight)
  const low = column((feature) => feature.clip[0])
  const high = column((feature) => feature.clip[1])
  const mean = column((feature) => feature.mean ?? 0)
  const scale = column((feature) => feature.scale ?? 1)
  const missing = column((feature) => feature.missing)

  const points = (index: number, vector: Float64Array, at: number, columns: Int32Array): number => {
    const value = Math.fround(vector[at + columns[index]])
    if (Number.isNaN(value)) return missing[index]
    const clipped = value < low[index] ? low[index] : value > high[index] ? high[index] : value
    return (weight[index] * ((log1p[index] === 1 ? Math.log1p(clipped) : clipped) - mean[index])) / scale[index]
  }
  const raw = (vector: Float64Array, at: number, columns: Int32Array): number => {
    let sum = intercept
    for (let index = 0; index < size; index += 1) sum += points(index, vector, at, columns)
    return sum
  }
  const reasons = (vector: Float64Array, at: number, columns: Int32Array): Contribution[] => {
    const found: Contribution[] = []
    for (let index = 0; index < size; index += 1) {
      const contribution = points(index, vector, at, columns)
      if (contribution > 0) found.push({ code: codes[index], contribution })
    }
    return found.sort((a, b) => b.contribution - a.contribution).slice(0, REASONS_MAX)
  }
  return {
    features: file.features.map((feature) => feature.name),
    raw,
    score: (vector, at, columns) => sigmoid(raw(vector, at, columns)),
    reasons,
  }
}
