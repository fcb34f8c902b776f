// Adds a model that somebody trained elsewhere: the order of the stages stands here and nowhere else. Inspect, decide
// the order of features, read rows or make some up, run, find the score and its map, judge the order, choose cuts and
// golden rows, write the bundle through the gate. Everything native happens in a process of its own (native.ts). It
// refuses what it cannot know: nothing about a model is guessed where a wrong guess would score in silence.
import { realpath } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import type { Catalogue } from '../../contract/catalogue.js'
import type { Thresholds } from '../../contract/manifest.js'
import { AssayError } from '../../errors.js'
import type { Limits } from '../../limits.js'
import { aucInterval, averagePrecision, rocOf } from '../../stats/roc.js'
import type { CatalogueFacts } from '../columns.js'
import type { Admission } from '../gate.js'
import { dtypesOf } from '../inputs.js'
import { checkCuts, chooseCuts, type CutOptions } from './cuts.js'
import { recordedGolden, trainerGolden } from './golden.js'
import { type NativeModel, openNative } from './native.js'
import { decideOrder, declaredInputs, type FeatureOrder, type OrderDeps, type OrderOptions } from './order.js'
import { checkOrder, type OrderVerdict } from './order-check.js'
import { profileOf } from './profile.js'
import { type AddReport, type GoldenFacts, modelCard } from './report.js'
import { asFed, pickRows, readHeader, readModelRows, type RowsFile } from './rows.js'
import { sampleRows } from './sample.js'
import { type Rows, type Scored, type ScoreOptions, scoreRows, takesMissing } from './score-rows.js'
import { findSource, type ModelSource } from './source.js'
import { type BundleContent, checkPlace, type Place, writeBundle } from './write-bundle.js'

export interface AddOptions extends ScoreOptions {
  readonly file: string
  readonly name: string | undefined
  readonly version: string | undefined
  readonly modelsDir: string
  readonly order: OrderOptions
  readonly rows: RowsFile | null
  readonly cuts: CutOptions
  readonly tolerance: number
}

export interface AddDeps {
  readonly facts: CatalogueFacts
  readonly catalogue: Catalogue
  readonly confirm: OrderDeps['confirm']
  readonly limits: Limits
}

/** Rows that are made up where none were given. */
const SAMPLED_ROWS = 512

/** Adds the model; resolves with the report. Throws AssayError; nothing is left behind then. */
export async function addModel(options: AddOptions, deps: AddDeps): Promise<AddReport> {
  try {
    return await add(options, deps)
  } catch (error) {
    if (!(error instanceof AssayError) || error.code !== 'ASSAY_BUNDLE_REFUSED') throw error
    throw new AssayError(error.code, `${options.file}: ${error.message}`, { cause: error, errors: error.errors })
  }
}

async function add(options: AddOptions, deps: AddDeps): Promise<AddReport> {
  checkCuts(options.cuts, { hasRows: options.rows !== null, ownColumns: options.order.ownColumns })
  const source = await findSource(options.file, options.version, deps.limits)
  const place = await placeOf(options, source)
  await checkPlace(place)
  const native = await openNative(source.path, deps.limits)
  try {
    const rows = await prepareRows(native, options, deps)
    const scored = await scoreRows(native, rows, options)
    const judged = await judge(scored, rows)
    return await write(place, { native, options, deps, rows, scored, judged })
  } finally {
    native.close()
  }
}

async function placeOf(options: AddOptions, source: ModelSource): Promise<Place> {
  const name = options.name ?? source.name
  const version = options.version ?? source.version
  if (name === null || version === null) {
    throw new AssayError('ASSAY_USAGE', '--name and --version are needed where no folder name/version/ says them')
  }
  const modelsDir = await realpath(options.modelsDir).catch(() => resolve(options.modelsDir))
  const isInPlace = dirname(source.path) === join(modelsDir, name, version)
  return { modelsDir, name, version, modelPath: source.path, isInPlace }
}

async function prepareRows(native: NativeModel, options: AddOptions, deps: AddDeps): Promise<Rows> {
  const { facts, catalogue, confirm, limits } = deps
  const inputs = declaredInputs(native.opened.inputs)
  const header = options.rows === null ? null : await readHeader(options.rows)
  const order = await decideOrder(inputs, options.order, { facts, header, confirm })
  const { names } = order
  const dtypes = dtypesOf(order.inputs)
  const read =
    options.rows === null || header === null
      ? {
          count: SAMPLED_ROWS,
          values: sampleRows(catalogue, { names, dtypes }, SAMPLED_ROWS),
          labels: null,
          trainer: null,
        }
      : await readModelRows(options.rows, names, { header, limits })
  asFed(read.values, names, { facts: order.facts, dtypes })
  return { ...read, order, file: options.rows?.path ?? null, header: header ?? [] }
}

interface Judged {
  readonly frauds: number | null
  readonly auc: AddReport['auc']
  readonly averagePrecision: number | null
  readonly order: OrderVerdict
}

async function judge(scored: Scored, rows: Rows): Promise<Judged> {
  const none = { frauds: null, auc: null, averagePrecision: null }
  if (rows.labels === null) {
    const why = 'there are no labelled rows (--rows, --label)'
    return { ...none, order: { verdict: 'unchecked', why, compared: 0, rows: 0 } }
  }
  const { labels, order, header } = rows
  const { names } = order
  const known = [...scored.kept.keys()].filter((at) => labels[scored.kept[at]] >= 0)
  const own = known.map((at) => labels[scored.kept[at]])
  const scores = known.map((at) => scored.scores[at])
  const values = pickRows(scored.values, names.length, known)
  const others: [string, string[]][] = [
    ['the order of the catalogue', order.facts.names.filter((name) => names.includes(name))],
    ['the order of the alphabet', [...names].sort()],
    ['the order of the file', header.filter((name) => names.includes(name))],
  ]
  const verdict = await checkOrder(
    { values, labels: own, names },
    { score: scored.scoresOf, others, msPerRow: scored.msPerRow },
  )
  const frauds = own.reduce((sum, label) => sum + label, 0)
  if (frauds === 0 || frauds === own.length) return { ...none, frauds, order: verdict }
  const roc = rocOf(scores, own)
  const auc = { value: roc.auc, ...aucInterval(roc) }
  return { frauds, auc, averagePrecision: averagePrecision(scores, own), order: verdict }
}

interface Work {
  readonly native: NativeModel
  readonly options: AddOptions
  readonly deps: AddDeps
  readonly rows: Rows
  readonly scored: Scored
  readonly judged: Judged
}

async function write(place: Place, work: Work): Promise<AddReport> {
  const { native, options, deps, rows, scored, judged } = work
  const { names, from, inputs } = rows.order
  const isReal = rows.file !== null
  const thresholds = chooseCuts(options.cuts, scored.scores)
  const takesNan = await takesMissing(scored, rows.order)
  const { golden, facts: goldenFacts } = await goldenOf(work, takesNan)
  const rowFacts =
    rows.file === null
      ? null
      : { file: rows.file, rows: rows.count, frauds: judged.frauds, unscored: rows.count - scored.kept.length }
  const { digest, bytes } = native.opened
  const found = {
    ...{ name: place.name, version: place.version, digest, bytes, inputs, features: names, features_from: from },
    ...{ output: scored.output, score_map: scored.map, takes_nan: takesNan, thresholds, rows: rowFacts },
    shares: isReal && thresholds !== null ? sharesOf(thresholds, scored.scores) : null,
    ...{ auc: judged.auc, average_precision: judged.averagePrecision, order: judged.order, golden: goldenFacts },
  }
  const report = (directory: string, { timings, loadMs }: Admission): AddReport => ({
    ...found,
    ...{ directory, timings, load_ms: loadMs },
  })
  const manifest = manifestOf(found, rows.order)
  const { features } = manifest
  const content: BundleContent = {
    manifest,
    golden,
    tolerance: options.tolerance,
    profile:
      isReal && from !== 'own'
        ? profileOf({ features, values: scored.values, scores: scored.scores, thresholds })
        : null,
    card: (admission) => modelCard(report('', admission)),
  }
  const { directory, admission } = await writeBundle(place, content, (staged) => native.gate(staged, deps.facts))
  return report(directory, admission)
}

async function goldenOf(
  { scored, rows, options }: Work,
  takesNan: boolean,
): Promise<{ golden: BundleContent['golden']; facts: GoldenFacts }> {
  const { names, inputs } = rows.order
  const dtypes = dtypesOf(inputs)
  const given = { values: scored.values, width: names.length, scores: scored.scores }
  const missable = dtypes.map((dtype) => dtype !== 'int64' && takesNan)
  const { trainer } = rows
  const chosen =
    trainer === null
      ? recordedGolden(given, missable)
      : trainerGolden(
          given,
          Float64Array.from(scored.kept, (row) => trainer[row]),
          options.tolerance,
        )
  const values = Float64Array.from(chosen.rows.flat())
  asFed(values, names, { facts: rows.order.facts, dtypes })
  const scores = chosen.scores ?? [...(await scored.scoresOf(values))]
  const rowOf = (at: number) => [...values.subarray(at * names.length, (at + 1) * names.length)]
  const isUsable = (value: number) => Number.isFinite(value) || (Number.isNaN(value) && takesNan)
  const good = scores.flatMap((score, at) => (!Number.isNaN(score) && rowOf(at).every(isUsable) ? [at] : []))
  if (good.length < 2) throw refuse('fewer than two rows are whole and have a score')
  const { compared, beyond, errorMax } = chosen
  return {
    golden: {
      format: 1,
      rows: good.map((at) => rowOf(at).map((value) => (Number.isNaN(value) ? null : value))),
      score: good.map((at) => scores[at]),
    },
    facts: {
      ...{ source: trainer === null ? 'self-recorded' : 'trainer', rows: good.length, rows_compared: compared },
      ...{ rows_beyond_tolerance: beyond, largest_difference: errorMax },
    },
  }
}

type Found = Omit<AddReport, 'directory' | 'timings' | 'load_ms'>

function manifestOf(found: Found, { facts }: FeatureOrder): BundleContent['manifest'] {
  const { inputs, output, features, thresholds } = found
  const [{ name, dtype }] = inputs
  return {
    ...{ format: 1, name: found.name, version: found.version, kind: 'onnx' },
    file: { path: 'model.onnx', digest: found.digest, bytes: found.bytes },
    features: features.map((each) => {
      const digest = facts.featureDigests.at(facts.names.indexOf(each))
      return { name: each, ...(digest !== undefined && { digest }) }
    }),
    ...(inputs.length === 1 ? { input: { name, dtype } } : { inputs: [...inputs] }),
    output: { name: output.name, column: output.column },
    score_map: found.score_map,
    takes_nan: found.takes_nan,
    ...(thresholds !== null && { thresholds }),
    training: {
      ...{ added_by: 'assay model add', features_from: found.features_from, golden: found.golden.source },
      ...{
        rows: found.rows && { ...found.rows, file: basename(found.rows.file) },
        order: found.order,
        auc: found.auc,
        average_precision: found.average_precision,
      },
    },
  }
}

function sharesOf(thresholds: Thresholds, scores: Float64Array): Record<string, number> {
  const share = (cut: number) => scores.filter((score) => score >= cut).length / scores.length
  return Object.fromEntries(Object.entries(thresholds).map(([name, cut]) => [name, share(cut)]))
}

function refuse(detail: string): AssayError {
  return new AssayError('ASSAY_BUNDLE_REFUSED', detail)
}
