// Real models, trained on rows of our own features and exported by the trainers' own tools, become bundles with one
// command, and answer for a payment on a running server. Needs Python with the pins of models/training.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { packageRoot } from '../../src/config.js'
import { buildCommand } from '../../src/features/build.js'
import type { AddReport } from '../../src/models/onboard/report.js'
import { runModelCommand } from '../../src/model-command.js'
import { simulateCommand } from '../../src/simulate/simulate-command.js'
import { copyModels } from '../flow/models-dir.js'
import { startRig } from '../flow/server-rig.js'
import { referencePolicy } from '../reference-policy.js'
import { runCommand } from '../run-command.js'
import { runTrainer, trainersMissing } from './trainers.js'

t.setTimeout(600_000)

const work = t.testdir({})
const [transactions, features] = [join(work, 'transactions.csv.gz'), join(work, 'features.csv')]
const policy = join(packageRoot, 'models/policy.yaml')
const exported = join(work, 'exported')
const held = join(exported, 'held.csv')
const skip = trainersMissing()
const trained = { rows: 0, bins: [] as unknown[] }
let models = ''

await t.test('models are trained on rows of our features', { skip }, async (t) => {
  const simulated = ['--customers', '400', '--terminals', '800', '--days', '60', '--seed', '3', '--out', transactions]
  t.equal((await runCommand(simulateCommand, simulated)).code, 0)
  t.equal(await buildCommand(['--spec', policy, '--in', transactions, '--out', features]), 0)
  models = await copyModels(work)
  mkdirSync(exported)
  Object.assign(trained, JSON.parse(runTrainer('test/models/export.py', features, exported)))
})

const FIFTEEN = referencePolicy().catalogue.features.slice(0, 15)
const names = FIFTEEN.map(({ name }) => name)

async function add(model: string, ...more: string[]): Promise<{ code: number; err: string; report: AddReport }> {
  const file = join(exported, `${model}.onnx`)
  const given = ['add', file, '--version', '1', '--models', models, '--json', '--rows', held, ...more]
  const { code, out, err } = await runCommand(
    runModelCommand,
    more.includes('--name') ? given : [...given, '--name', model],
  )
  return { code, err, report: (out === '' ? {} : JSON.parse(out)) as AddReport }
}

await t.test('each kind of model is added as it was exported, its scores those of its library', { skip }, async (t) => {
  const cuts = ['--review-rate', '0.02', '--decline-rate', '0.01']
  for (const model of ['logistic', 'network', 'boosted', 'forest', 'lightgbm', 'xgboost']) {
    const { err, report } = await add(model, '--features', names.join(), '--score-column', `score_${model}`, ...cuts)
    t.equal(err, '', model)
    t.match(report, {
      ...{ features: names, output: { name: 'probabilities', column: 1 }, takes_nan: true },
      ...{ order: { verdict: 'confirmed' }, golden: { source: 'trainer', rows_compared: trained.rows } },
    })
    t.ok(
      report.golden.rows_beyond_tolerance <= trained.rows / 1_000,
      `${model}: ${report.golden.rows_beyond_tolerance}`,
    )
    t.ok((report.auc?.low ?? 0) > 0.6, `${model}: AUC ${report.auc?.value}`)
  }
})

await t.test('a model with an input for each feature needs no order', { skip }, async (t) => {
  const { err, report } = await add('per-feature', '--score-column', 'score_per-feature', '--review-rate', '0.02')
  t.equal(err, '')
  t.match(report, { features: names, features_from: 'inputs', golden: { source: 'trainer', rows_beyond_tolerance: 0 } })
  t.equal(report.inputs.length, 15)
})

await t.test('a float64 model needs a catalogue that holds as many digits', { skip }, async (t) => {
  const refused = await add('double', '--features', names.join())
  t.match(refused, { code: 1, err: /^ASSAY_BUNDLE_REFUSED: .*of type float32, the model takes float64; declare/ })
  const wide = FIFTEEN.map((spec) => ({ ...spec, dtype: 'float64', ...('missing' in spec && { missing: 0 }) }))
  const config = join(work, 'wide.json')
  writeFileSync(config, JSON.stringify({ policy: { catalogue: { format: 1, features: wide } } }))
  const { err, report } = await add('double', '--catalogue-order', '--config', config)
  t.equal(err, '')
  t.match(report, { inputs: [{ dtype: 'float64' }], takes_nan: false, order: { verdict: 'confirmed' } })
})

await t.test('a ZipMap is answered with what to export, and a wrong order shows', { skip }, async (t) => {
  const refused = await add('zipmap', '--features', names.join())
  t.match(refused, { code: 1, err: /output_probability is a sequence of maps \(ZipMap\): .*'zipmap': False/ })
  const wrong = [...names].sort().join()
  const shown = await add('xgboost', '--name', 'wrong', '--features', wrong)
  t.match(shown.report.order, { verdict: 'doubtful', why: /^the order of the (catalogue|file) gives an AUC of 0\.\d+/ })
  const scored = await add('xgboost', '--name', 'wrong2', '--features', wrong, '--score-column', 'score_xgboost')
  t.match(scored, { code: 1, err: /^ASSAY_INPUT_INVALID: \d+ of \d+ rows score differently from the trainer's/ })
})

await t.test('the reference profile is the one that models/training would write', { skip }, (t) => {
  const profile = JSON.parse(readFileSync(join(models, 'xgboost/1/reference-profile.json'), 'utf8')) as {
    features: { name: string; digest: string }[]
  }
  const bins = profile.features.map(({ name: _, digest: __, ...each }) => each)
  t.same(bins, trained.bins)
  t.end()
})

await t.test('added models answer for real payments', { skip }, async (t) => {
  const rig = await startRig({
    edit({ process, policy }) {
      process.models_dir = models
      // A busy machine is not to be taken for a slow model.
      policy.budgets = { deadline_ms: 1_000, log_wait_ms: 30_000 }
      policy.routes = { ...policy.routes, champion: 'xgboost@1', challenger: 'per-feature@1', share: 5_000 }
    },
  })
  t.teardown(() => rig.remove())
  const seen = new Set<string>()
  for (let at = 0; at < 40 && seen.size < 2; at++) {
    const { status, body } = await rig.score({
      ...{
        transaction_id: `t-${at}`,
        occurred_at: new Date().toISOString(),
        amount_minor: 16364 + at,
        currency: 'EUR',
      },
      ...{ customer_id: `c-${at}`, terminal_id: 't-7' },
    })
    t.match([status, body.score, body.degraded], [200, Number, false])
    seen.add(`${body.model.name}@${body.model.version}`)
  }
  t.same([...seen].sort(), ['per-feature@1', 'xgboost@1'])
})
