// golden.json: rows whose scores the trainer's own library gave; README.md beside this file describes it.
// It refuses rows that could prove nothing: too few, of another width, or all with the same score.
import { type Static, Type } from '@sinclair/typebox'
import { TypeCompiler } from '@sinclair/typebox/compiler'
import type { Manifest } from '../contract/manifest.js'
import type { InputFault } from '../errors.js'
import type { Limits } from '../limits.js'
import { readJson, schemaFaults } from './bundle-files.js'

const GoldenFile = Type.Object(
  {
    format: Type.Literal(1),
    rows: Type.Array(Type.Array(Type.Union([Type.Number(), Type.Null()])), { minItems: 2 }),
    score: Type.Array(Type.Number({ minimum: 0, maximum: 1 })),
    raw: Type.Optional(Type.Array(Type.Number())),
  },
  { additionalProperties: false },
)
const check = TypeCompiler.Compile(GoldenFile)

/** Rows with known scores: `values` is row-major, `columns` wide, NaN where nothing is known. */
export interface Golden {
  readonly count: number
  readonly columns: number
  readonly values: Float64Array
  readonly scores: Float64Array
  readonly raw: Float64Array | null
  readonly tolerance: number
}

/** Reads the golden rows at `path`; null with the faults added where they do not fit the manifest. */
export async function readGolden(
  path: string,
  manifest: Manifest,
  context: { readonly limits: Limits; readonly faults: InputFault[] },
): Promise<Golden | null> {
  const { limits, faults } = context
  const name = manifest.golden.path
  const fault = (message: string) => void faults.push({ path: '/golden/path', message: `${name}${message}` })
  const json = await readJson(path, limits.bundleJsonBytesMax)
  if ('fault' in json) {
    fault(` ${json.fault}`)
    return null
  }
  const { value } = json
  if (!check.Check(value)) {
    for (const one of schemaFaults(check, value)) fault(`${one.path}: ${one.message}`)
    return null
  }
  const messages = goldenFaults(value, manifest, limits)
  for (const message of messages) fault(` ${message}`)
  if (messages.length > 0) return null
  return {
    count: value.rows.length,
    columns: manifest.features.length,
    values: Float64Array.from(value.rows.flat(), (cell) => cell ?? NaN),
    scores: Float64Array.from(value.score),
    raw: value.raw === undefined ? null : Float64Array.from(value.raw),
    tolerance: manifest.golden.tolerance,
  }
}

function goldenFaults(file: Static<typeof GoldenFile>, manifest: Manifest, limits: Limits): string[] {
  const columns = manifest.features.length
  const faults: string[] = []
  const count = file.rows.length
  if (count > limits.goldenRowsMax) return [`has ${count} rows, at most ${limits.goldenRowsMax} are allowed`]
  if (file.score.length !== count) faults.push(`has ${count} rows but ${file.score.length} scores`)
  if (file.raw !== undefined && file.raw.length !== count) {
    faults.push(`has ${count} rows but ${file.raw.length} raw outputs`)
  }
  if (new Set(file.score).size < 2) faults.push('has the same score for every row, which shows no feature order')
  file.rows.forEach((row, index) => {
    if (row.length !== columns) {
      faults.push(`row ${index} has ${row.length} values, the manifest lists ${columns} features`)
    } else if (!manifest.takes_nan && row.includes(null)) {
      faults.push(`row ${index} has a missing value, but takes_nan is false`)
    }
  })
  return faults
}
