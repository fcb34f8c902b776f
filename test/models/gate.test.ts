// The gate and the sessions behind it, on the tiny bundles: whole ones are admitted, each misfit is refused by name.
import t from 'tap'
import { AssayError } from '../../src/errors.js'
import { LIMITS } from '../../src/limits.js'
import { readBundle } from '../../src/models/bundle.js'
import type { CatalogueFacts } from '../../src/models/columns.js'
import { admit, openAdmitted } from '../../src/models/gate.js'
import { openSession, wiringFaults } from '../../src/models/session.js'
import { type Edit, editedCopy, fixture, readFacts } from './fixtures.js'

const facts = await readFacts()
const QUICK = { limits: { ...LIMITS, gateMeasureMs: 2 } }

async function faultsOf(directory: string, catalogue: CatalogueFacts = facts): Promise<string> {
  try {
    await admit(await readBundle(directory), catalogue, QUICK)
  } catch (error) {
    if (!(error instanceof AssayError) || error.code !== 'ASSAY_BUNDLE_REFUSED') throw error
    return error.errors.map((fault) => `${fault.path} ${fault.message}`).join('\n')
  }
  return 'admitted'
}

/** The faults of a fixture after an edit of a copy of it. */
async function faultsAfter(parent: string, name: string, edit: Edit): Promise<string> {
  return faultsOf(await editedCopy(parent, name, edit))
}

const GOOD = [
  ...['linear', 'margin', 'percent', 'flat', 'misdeclared', 'trees', 'double', 'whole', 'strict', 'scorecard'],
  ...['deep', 'several'],
]
const TREACHEROUS = ['hangs', 'throws', 'nan-rows']

await t.test(
  'every whole bundle is admitted with the scores that numpy gave, whatever its output looks like',
  async (t) => {
    for (const name of [...GOOD, ...TREACHEROUS]) {
      const bundle = await readBundle(fixture(name))
      const admission = await admit(bundle, facts, QUICK)
      t.equal(admission.goldenRows, 64, name)
      t.ok(admission.goldenErrorMax <= bundle.manifest.golden.tolerance, `${name}: ${admission.goldenErrorMax}`)
      t.ok(admission.goldenErrorMax > 0, `${name}: no runtime rounds like another`)
      t.same(
        [...(admission.columns ?? [])].map((at) => facts.names[at]),
        bundle.manifest.features.map((feature) => feature.name),
      )
      t.same(
        admission.timings.map(({ rows }) => rows),
        [1, 8, 32],
      )
      t.ok(admission.timings.every(({ microsPerRow }) => microsPerRow > 0 && microsPerRow < 1e6))
      t.doesNotThrow(() => structuredClone(admission), 'crosses a thread')
    }
  },
)

await t.test('a margin learned on down-sampled rows is shifted, and its golden rows say by how much', async (t) => {
  const map = { kind: 'prior_shift', trained_rate: 0.2, real_rate: 0.01, from: 'log_odds' } as const
  const odds = 0.01 / 0.99 / (0.2 / 0.8)
  const shifted: Edit = {
    manifest: (m) => (m.score_map = map),
    golden: (g) => (g.score = g.raw!.map((raw) => (Math.exp(raw) * odds) / (1 + Math.exp(raw) * odds))),
  }
  const bundle = await readBundle(await editedCopy(t.testdir(), 'margin', shifted))
  t.ok((await admit(bundle, facts, QUICK)).goldenErrorMax < 1e-6)
  const other: Edit = { ...shifted, manifest: (m) => (m.score_map = { ...map, trained_rate: 0.3 }) }
  t.match(await faultsAfter(t.testdir(), 'margin', other), /expected score 0\.\d+ within 0\.000001, got 0\.\d+/)
})

await t.test('each misfit of a bundle is refused and named', async (t) => {
  const swap = <T>(list: T[]) => ([list[0], list[1]] = [list[1], list[0]])
  const cases: [string, string, Edit, RegExp][] = [
    [
      'an unknown feature',
      'linear',
      { manifest: (m) => (m.features[2].name = 'nowhere') },
      /^\/features\/2 feature nowhere is not in the catalogue$/,
    ],
    [
      'a feature defined differently',
      'linear',
      { manifest: (m) => (m.features[1].digest = m.features[0].digest) },
      /^\/features\/1 feature customer_count_1d is defined differently: trained on sha256:\w+, catalogue has sha\S+$/,
    ],
    [
      'a feature named twice',
      'linear',
      { manifest: (m) => (m.features[1] = m.features[0]) },
      /^\/features\/1 feature amount is named twice$/,
    ],
    [
      'an input of another name',
      'linear',
      { manifest: (m) => (m.input!.name = 'x') },
      /^\/input\/name the model has inputs features; exactly x is allowed$/,
    ],
    [
      'an input of another type',
      'linear',
      { manifest: (m) => (m.input!.dtype = 'float64') },
      /\/input\/dtype input features is float32, the manifest says float64/,
    ],
    [
      'too few features',
      'linear',
      { manifest: (m) => m.features.pop(), golden: (g) => (g.rows = g.rows.map((row) => row.slice(0, 3))) },
      /^\/features input features has shape \[N, 4\]; \[N, 3\] with N free is allowed$/,
    ],
    [
      'an output that is not there',
      'linear',
      { manifest: (m) => (m.output!.name = 'score') },
      /^\/output\/name the model has outputs probability; score is not among them$/,
    ],
    [
      'an output column that is not there',
      'trees',
      { manifest: (m) => (m.output!.column = 2) },
      /output probabilities is float32 \[32, 2\]; floats of \[32\] or \[32, more than 2\] are allowed/,
    ],
    [
      'the other class of a classifier',
      'trees',
      { manifest: (m) => (m.output!.column = 0) },
      /^\/golden\/rows\/0 expected score 0\.\d+ within 0\.000001, got 0\.\d+/,
    ],
    [
      'one wrong golden score',
      'linear',
      { golden: (g) => (g.score[17] = 0.123456) },
      /^\/golden\/rows\/17 expected score 0\.123456 within 0\.000001, got 0\.\d+$/,
    ],
    [
      'one wrong raw output',
      'margin',
      { golden: (g) => (g.raw![5] = 3) },
      /^\/golden\/rows\/5 expected raw output 3 within 0\.000001, got -?\d+\.\d+$/,
    ],
    [
      'a wrong feature order',
      'linear',
      { manifest: (m) => swap(m.features), golden: (g) => g.rows.forEach(swap) },
      /^\/golden\/rows\/0 expected score .*\n.*\/golden\/rows \d+ more comparisons fail$/s,
    ],
    [
      'a forgotten score map',
      'margin',
      { manifest: (m) => delete m.score_map },
      /expected score 0\.\d+ within 0\.000001, got no score \(raw -?\d+\.\d+\)/,
    ],
    [
      'a model that claims to take NaN',
      'strict',
      { manifest: (m) => (m.takes_nan = true) },
      /^\/takes_nan takes_nan is true, but with amount_exact missing there is no score within \[0, 1\] \(raw NaN\)\n/,
    ],
    [
      'a model file that is none',
      'linear',
      { file: () => Buffer.from('not a model') },
      /^\/file model\.onnx does not load: /,
    ],
    [
      'a scorecard with other features',
      'scorecard',
      { manifest: (m) => swap(m.features), golden: (g) => g.rows.forEach(swap) },
      /^\/features the manifest lists customer_count_1d, amount, during_night; scorecard\.json has amount, /,
    ],
    [
      'a scorecard that is not one',
      'scorecard',
      { file: () => Buffer.from('{"format":1}') },
      /^\/file scorecard\.json .*\/intercept/,
    ],
  ]
  for (const [what, name, edit, expected] of cases)
    t.match(await faultsAfter(t.testdir({}), name, edit), expected, what)
})

await t.test('a model that cannot be scored by rows is refused', async (t) => {
  t.match(await faultsOf(fixture('zipmap')), /^\/output\/name output maps is no tensor \(a ZipMap\?\)/)
  t.match(
    await faultsOf(fixture('label-only')),
    /^\/output\/name output label is int64 \(a label\?\); a float32 or float64/,
  )
  t.match(await faultsOf(fixture('throws-always')), /^\/golden\/rows the model fails on its golden rows: .*Gather/)
  t.match(await faultsOf(fixture('external')), /^\/file model\.onnx does not load: .*External data path/s)
})

await t.test('a column that would lose digits on the way is refused', async (t) => {
  const dtypes = facts.names.map(() => 'float32' as const)
  const said = await faultsOf(fixture('double'), { ...facts, dtypes })
  t.match(said, /^\/features\/0 feature amount_exact is float32; a float64 model needs float64 or int64$/m)
  t.match(
    await faultsOf(fixture('whole'), { ...facts, dtypes }),
    /customer_count_whole is float32; a int64 model needs int64$/m,
  )
  t.equal(await faultsOf(fixture('strict')), 'admitted', 'a float32 model reads float64 columns')
})

await t.test('a model that takes no NaN needs features that always have a number', async (t) => {
  const missing = facts.names.map(() => 'nan' as const)
  const said = await faultsOf(fixture('strict'), { ...facts, missing })
  t.match(said, /^\/features\/0 feature amount_exact may be NaN \(missing: nan\), but takes_nan is false; a numeric/m)
  t.match(said, /^\/features\/1 feature customer_count_exact may be NaN/m)
})

await t.test('misfits of several kinds are named together', async (t) => {
  const said = await faultsAfter(t.testdir({}), 'linear', {
    manifest: (m) => {
      m.features[0].name = 'nowhere'
      m.output!.name = 'score'
      m.input!.dtype = 'int64'
    },
  })
  t.match(said, /^\/features\/0 .*\n\/input\/dtype .*\n\/output\/name /)
})

await t.test('an input that is not rows of any number is refused', (t) => {
  const x = { name: 'x', dtype: 'float32', columns: 4 } as const
  const wiring = { columns: 4, inputs: [x], output: { name: 'y', column: 0 } }
  const tensor = (name: string, shape: (number | string)[]) =>
    ({ name, isTensor: true, type: 'float32', shape }) as const
  const outputMetadata = [tensor('y', ['N', 1])]
  const said = (...inputMetadata: ReturnType<typeof tensor>[]) =>
    wiringFaults({ inputMetadata, outputMetadata }, wiring)
  t.same(said(tensor('x', ['N', 4])), [])
  t.same(said(tensor('x', ['N', 'columns'])), [])
  t.match(said(tensor('x', [1, 4])), [{ path: '/features', message: /shape \[1, 4\]; \[N, 4\] with N free/ }])
  t.match(said(tensor('x', ['N', 2, 2])), [{ path: '/features' }])
  t.match(said(tensor('x', ['N', 4]), tensor('z', ['N', 4])), [{ path: '/input/name', message: /inputs x, z/ }])
  const two = [
    { name: 'x', dtype: 'float32', columns: 3 },
    { name: 'z', dtype: 'int64', columns: 1 },
  ] as const
  const saidOfTwo = (...inputMetadata: ReturnType<typeof tensor>[]) =>
    wiringFaults({ inputMetadata, outputMetadata }, { ...wiring, inputs: two })
  t.match(saidOfTwo(tensor('x', ['N', 4]), tensor('z', ['N', 1])), [
    { path: '/inputs/0', message: /shape \[N, 4\]; \[N, 3\] with N free is allowed/ },
    { path: '/inputs/1/dtype', message: /input z is float32, the manifest says int64/ },
  ])
  t.match(saidOfTwo(tensor('x', ['N', 3])), [
    { path: '/inputs/0/name', message: /the model has inputs x; exactly x, z is allowed/ },
    { path: '/inputs/1/name' },
  ])
  t.end()
})

await t.test('a session scores batches of every size alike, and a bad row fails alone', async (t) => {
  const bundle = await readBundle(fixture('nan-rows'))
  const { session } = await openAdmitted(bundle, facts, QUICK)
  if (session === null) throw new Error('no session')
  t.teardown(() => session.close())
  const { values, scores: expected, tolerance } = bundle.golden
  const out = { raw: new Float64Array(32), scores: new Float64Array(32) }
  for (let count = 1; count <= session.rowsMax; count += 1) {
    await session.run(values, count, out)
    const worst = Math.max(...expected.slice(0, count).map((score, row) => Math.abs(score - out.scores[row])))
    t.ok(worst <= tolerance, `${count} rows`)
  }
  const rows = values.slice(0, 3 * session.columns)
  rows[session.columns] = -1
  await session.run(rows, 3, out)
  t.same([...out.scores.slice(0, 3)].map(Number.isNaN), [false, true, false])
  await t.rejects(session.run(rows, 33, out), { code: 'ERR_ASSERTION' }, 'more rows than prepared')
})

await t.test('a run that throws is a fault, and the next run is good', async (t) => {
  const bundle = await readBundle(fixture('throws'))
  const session = await openSession(bundle, { rowsMax: 4 })
  t.teardown(() => session.close())
  const rows = bundle.golden.values.slice(0, 4 * session.columns)
  const out = { raw: new Float64Array(4), scores: new Float64Array(4) }
  rows[4] = 2e6
  await t.rejects(session.run(rows, 4, out), { code: 'ASSAY_MODEL_FAILED', retryable: true, message: /Gather/ })
  await session.run(rows, 1, out)
  t.ok(Math.abs(out.scores[0] - bundle.golden.scores[0]) <= bundle.golden.tolerance)
})

await t.test('a row that a model cannot be fed is an error of that row', async (t) => {
  const out = { raw: new Float64Array(3), scores: new Float64Array(3) }
  const whole = await openSession(await readBundle(fixture('whole')))
  t.teardown(() => whole.close())
  await whole.run(Float64Array.of(1.5, 2, 3, 4, NaN, 2), 3, out)
  t.same([...out.scores].map(Number.isNaN), [true, false, true], 'no fraction and no NaN into int64')
  const several = await openSession(await readBundle(fixture('several')))
  t.teardown(() => several.close())
  await several.run(Float64Array.of(1, 2, 3, 4, NaN, NaN, 3, 4, 1, 2, 3.5, 4), 3, out)
  t.same([...out.scores].map(Number.isNaN), [false, false, true], 'each input takes what its type can hold')
  const strict = await openSession(await readBundle(fixture('strict')))
  t.teardown(() => strict.close())
  await strict.run(Float64Array.of(1.5, NaN, 3, 4, 1, 2), 3, out)
  t.same([...out.scores].map(Number.isNaN), [true, false, false])
  const hiding = await editedCopy(t.testdir({}), 'linear', {
    manifest: (m) => (m.takes_nan = false),
    golden: (g) => (g.rows = g.rows.map((row) => row.map((cell) => cell ?? 0))),
  })
  const linear = await openSession(await readBundle(hiding))
  t.teardown(() => linear.close())
  await linear.run(Float64Array.of(1, 2, NaN, 4, 1, 2, 3, 4), 2, out)
  t.same([...out.scores.slice(0, 2)].map(Number.isNaN), [true, false], 'also where the model itself would hide it')
})

await t.test('a model file changed after its bundle was read is not run', async (t) => {
  const directory = await editedCopy(t.testdir({}), 'linear', {})
  const bundle = await readBundle(directory)
  await editedCopy(t.testdirName, 'linear', { file: (bytes) => Buffer.concat([bytes, Buffer.from([0])]) })
  await t.rejects(openSession(bundle), {
    code: 'ASSAY_BUNDLE_REFUSED',
    message: /\/file\/digest: changed since it was read/,
  })
})
