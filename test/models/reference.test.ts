// The committed bundles: the gate admits each against the reference policy, and profile, card and manifest agree.
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import type { Policy } from '../../src/contract/policy.js'
import { compileCatalogue } from '../../src/features/compile.js'
import { type Bundle, readBundle } from '../../src/models/bundle.js'
import { catalogueFacts } from '../../src/models/columns.js'
import { admit } from '../../src/models/gate.js'
import { referencePolicy } from '../reference-policy.js'

const root = fileURLToPath(new URL('../../../', import.meta.url))
const policy = referencePolicy()
const compiled = compileCatalogue(policy.catalogue, policy.schema, policy.currencies)
const facts = catalogueFacts(compiled, policy.catalogue)
const folders = [
  'models/fraud-lgbm/1',
  'models/fraud-xgb/1',
  'models/baseline/1',
  'test/fixtures/models/third/1',
] as const

interface Bins {
  null: number
  negative_infinity: number
  positive_infinity: number
  singles: { value: number; count: number }[]
  edges: number[]
  counts: number[]
}
interface Profile {
  bins: number
  features_from: { rows: number }
  score_from: { rows: number }
  features: (Bins & { name: string; digest: string })[]
  score: Bins
  actions: Record<string, number>
}
interface Measured {
  value: number
  low: number
  high: number
}

const profileOf = (bundle: Bundle): Profile => JSON.parse(readFileSync(bundle.profilePath ?? '', 'utf8')) as Profile
const sum = (values: readonly number[]): number => values.reduce((all, value) => all + value, 0)
const held = (bins: Bins): number =>
  bins.null + bins.negative_infinity + bins.positive_infinity + sum(bins.counts) + sum(bins.singles.map((s) => s.count))
const metricsOf = (bundle: Bundle): Record<string, Measured> =>
  bundle.manifest.training.test_metrics as Record<string, Measured>

void t.test(
  'the gate admits every reference bundle, and the golden scores are far within their tolerance',
  async (t) => {
    for (const folder of folders) {
      const bundle = await readBundle(root + folder)
      const admission = await admit(bundle, facts)
      t.ok(admission.goldenRows >= 100, `${folder} has ${admission.goldenRows} golden rows`)
      t.ok(admission.goldenErrorMax <= 1e-5, `${folder} differs by at most ${admission.goldenErrorMax}`)
      t.ok(bundle.golden.values.some(Number.isNaN), 'some golden rows have missing values')
    }
  },
)

void t.test('the features are those that the bundles were trained on, to the last definition', async (t) => {
  const digests = new Map(compiled.names.map((name, at) => [name, compiled.featureDigests[at]]))
  for (const folder of folders) {
    const { manifest } = await readBundle(root + folder)
    for (const { name, digest } of manifest.features) t.equal(digests.get(name), digest, `${folder} ${name}`)
  }
})

void t.test('a bundle of another catalogue is refused by the gate', async (t) => {
  const others = policy.catalogue.features.map((spec) => (spec.name === 'amount' ? { ...spec, missing: 0 } : spec))
  const catalogue = { ...policy.catalogue, features: others } as Policy['catalogue']
  const redefined = catalogueFacts(compileCatalogue(catalogue, policy.schema, policy.currencies), catalogue)
  await t.rejects(admit(await readBundle(`${root}models/fraud-lgbm/1`), redefined), { code: 'ASSAY_BUNDLE_REFUSED' })
})

void t.test('the policy routes to bundles that exist, of 15 and 18 features', async (t) => {
  const named = [policy.routes.champion, policy.routes.challenger, policy.routes.baseline]
  t.strictSame(named, ['fraud-lgbm@1', 'fraud-xgb@1', 'baseline@1'])
  const counts = await Promise.all(
    folders.map(async (each) => (await readBundle(root + each)).manifest.features.length),
  )
  t.strictSame([counts[0], counts[1], counts[3]], [15, 18, 12])
})

void t.test('a reference profile counts every row once, in bins that fit its edges', async (t) => {
  for (const folder of folders) {
    const bundle = await readBundle(root + folder)
    const profile = profileOf(bundle)
    t.strictSame(
      profile.features.map(({ name, digest }) => ({ name, digest })),
      bundle.manifest.features,
    )
    for (const bins of [...profile.features, { ...profile.score, name: 'score' }]) {
      const rows = bins.name === 'score' ? profile.score_from.rows : profile.features_from.rows
      const faults = [
        held(bins) !== rows,
        bins.counts.length !== bins.edges.length + 1,
        bins.edges.some((edge, at) => at > 0 && edge <= bins.edges[at - 1]),
        bins.singles.some(({ count }) => count <= rows / profile.bins),
        [...bins.edges, ...bins.singles.map(({ value }) => value)].some((value) => Math.fround(value) !== value),
      ]
      t.strictSame(faults, [false, false, false, false, false], `${folder} ${bins.name}`)
    }
    t.equal(sum(Object.values(profile.actions)), profile.score_from.rows)
  }
})

void t.test('thresholds give the stated rates on validation, and the trees beat the scorecard on test', async (t) => {
  const averages: number[] = []
  for (const folder of folders) {
    const bundle = await readBundle(root + folder)
    const { actions, score_from } = profileOf(bundle)
    const declined = actions.decline / score_from.rows
    t.ok(declined <= 0.002 && declined > 0.0015, `${folder} declines ${declined}`)
    const flagged = declined + actions.review / score_from.rows
    t.ok(flagged <= 0.01 && flagged > 0.009, `${folder} flags ${flagged}`)
    const { auc_roc: auc, average_precision: ap } = metricsOf(bundle)
    t.ok(auc.low < auc.value && auc.value < auc.high && ap.low < ap.value && ap.value < ap.high)
    const card = readFileSync(`${bundle.directory}/MODEL_CARD.md`, 'utf8')
    t.match(card, `| AUC ROC | ${auc.value.toFixed(4)} |`, 'the card states what was measured')
    averages.push(ap.low)
  }
  const baseline = metricsOf(await readBundle(`${root}models/baseline/1`)).average_precision
  t.ok(averages[0] > baseline.high && averages[1] > baseline.high)
})
