// Rows through a model that is looked at: which output is the score, whether it is a probability under its map, what
// it makes of missing values. Rows without a score are left out of everything that follows. It refuses an output whose
// range shows that the map is not the right one: each such row would be an error of its own later.
import type { Manifest } from '../../contract/manifest.js'
import { AssayError } from '../../errors.js'
import { systemClock } from '../../runtime/clock.js'
import { dtypesOf } from '../inputs.js'
import { boundScore, compileScoreMap } from '../score-map.js'
import type { Wiring } from '../session.js'
import type { NativeModel } from './native.js'
import type { FeatureOrder } from './order.js'
import { type ModelRows, pickRows } from './rows.js'
import { type AskedOutput, findScoreOutput, type ScoreOutput } from './score-output.js'

/** Rows of the run that says what the outputs are. */
const PROBE_ROWS = 8

/** The rows that the model is looked at with, in its order, as fed. */
export interface Rows extends ModelRows {
  readonly order: FeatureOrder
  readonly file: string | null
  readonly header: readonly string[]
}

export interface ScoreOptions extends AskedOutput {
  readonly scoreMap: Manifest['score_map']
}

/** The rows that have a score; `kept` are their places. */
export interface Scored {
  readonly output: ScoreOutput
  readonly map: NonNullable<Manifest['score_map']>
  readonly kept: readonly number[]
  readonly values: Float64Array
  readonly scores: Float64Array
  readonly msPerRow: number
  /** Scores of other rows; NaN where there is none. */
  readonly scoresOf: (values: Float64Array) => Promise<Float64Array>
}

/** Runs every row. Throws ASSAY_BUNDLE_REFUSED. */
export async function scoreRows(native: NativeModel, rows: Rows, options: ScoreOptions): Promise<Scored> {
  const { names, inputs } = rows.order
  const width = names.length
  const few = Math.min(PROBE_ROWS, rows.count)
  const ran = await native.probe(inputs, rows.values.slice(0, few * width))
  const output = findScoreOutput(native.opened.outputs, ran, { rows: few, asked: options })
  const wiring: Wiring = { columns: width, inputs, output }
  const beganMs = systemClock.monoMs()
  const raw = await native.score(wiring, rows.values)
  const msPerRow = (systemClock.monoMs() - beganMs) / rows.count
  const map = options.scoreMap ?? { kind: 'identity' }
  const toScore = compileScoreMap(map)
  const all = raw.map((value) => boundScore(toScore(value)))
  checkRange(raw, all, { output, isAsked: options.scoreMap !== undefined })
  const kept = Array.from(all, (_, row) => row).filter((row) => !Number.isNaN(all[row]))
  const values = pickRows(rows.values, width, kept)
  return {
    ...{ output, map, kept, values, msPerRow },
    scores: Float64Array.from(kept, (row) => all[row]),
    scoresOf: async (given) => (await native.score(wiring, given)).map((value) => boundScore(toScore(value))),
  }
}

/** Refuses a model whose output is no probability under its map: it would be an error of every such row. */
function checkRange(raw: Float64Array, scores: Float64Array, of: { output: ScoreOutput; isAsked: boolean }): void {
  const given = raw.filter((value) => !Number.isNaN(value)).sort()
  const where = `output ${of.output.name}, column ${of.output.column}`
  if (given.length < 2) throw refuse(`${where} is NaN for ${raw.length - given.length} of ${raw.length} rows`)
  const [low, high] = [given[0], given[given.length - 1]]
  if (low === high) throw refuse(`${where} is ${low} for every row: such a score says nothing`)
  const isOutside = scores.some((score, row) => Number.isNaN(score) && !Number.isNaN(raw[row]))
  if (!isOutside) return
  const range = `${where} reaches from ${low.toPrecision(4)} to ${high.toPrecision(4)}`
  if (of.isAsked) throw refuse(`${range}: the score map leaves [0, 1]`)
  const hint =
    low < 0
      ? '--score-map sigmoid, if these are log-odds (margins)'
      : `--score-map linear:0,${high > 100 ? 1000 : 100}, if that is the scale`
  throw refuse(`${range}, outside [0, 1]: ${hint}; or export probabilities`)
}

/**
 * Whether every feature that may be NaN can be, one at a time and all together. Throws ASSAY_BUNDLE_REFUSED where the
 * model takes none although the catalogue gives some.
 */
export async function takesMissing(scored: Scored, order: FeatureOrder): Promise<boolean> {
  const { names, inputs, facts } = order
  const width = names.length
  const missable = dtypesOf(inputs).map((dtype) => dtype !== 'int64')
  const row = scored.values.subarray(0, width)
  const probes = new Float64Array((width + 1) * width)
  for (let at = 0; at <= width; at += 1) {
    const blanked = row.map((value, column) => (missable[column] && (at === column || at === width) ? NaN : value))
    probes.set(blanked, at * width)
  }
  const takes = missable.some(Boolean) && !(await scored.scoresOf(probes)).some(Number.isNaN)
  const needing = names.filter((name) => facts.missing[facts.names.indexOf(name)] === 'nan')
  if (takes || needing.length === 0) return takes
  const how = 'export it with an imputer before it (SimpleImputer), or give these features a number for `missing`'
  throw refuse(`it gives no score where a value is missing, and ${needing.join(', ')} may be (missing: nan): ${how}`)
}

function refuse(detail: string): AssayError {
  return new AssayError('ASSAY_BUNDLE_REFUSED', detail)
}
