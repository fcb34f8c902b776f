// `assay model add`: what people bring becomes a whole bundle, or is refused with what to do, and nothing is left
// behind. Real exports of the trainers' libraries are in exports.test.ts.
import { cpSync, mkdirSync, readdirSync, readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import t from 'tap'
import { packageRoot } from '../../src/config.js'
import { parseProfile } from '../../src/governance/monitors/drift-profile.js'
import { listBundles, readBundle } from '../../src/models/bundle.js'
import { admit } from '../../src/models/gate.js'
import { until } from '../flow/server-rig.js'
import { add, bare, drawRows, FEATURES, facts, FOUR, modelOf, writeRows } from './onboard-rig.js'

t.setTimeout(240_000)

const ROWS = drawRows(1_500)
const rowsPath = writeRows(join(t.testdir({}), 'rows.csv'), ROWS)
const rows = ['--rows', rowsPath]
const LINEAR = [modelOf('linear'), '--name', 'mine', '--version', '1', ...FEATURES]
const named = (file: string, ...more: string[]) => [file, '--name', 'mine', '--version', '1', '--json', ...more]

void t.test('a model with labelled rows becomes a bundle that the gate admits', async (t) => {
  const models = join(t.testdir({}), 'models')
  const { code, report, err } = await add(models, [
    ...[...LINEAR, '--json', ...rows, '--review-rate', '0.05', '--decline-rate', '0.01'],
  ])
  t.equal(code, 0)
  t.equal(err, '')
  t.match(report, {
    ...{ name: 'mine', version: '1', features: FOUR, features_from: 'features', takes_nan: true },
    ...{ output: { name: 'probability', column: 0 }, score_map: { kind: 'identity' } },
    ...{ order: { verdict: 'confirmed' }, golden: { source: 'self-recorded' } },
    rows: { rows: 1_500, frauds: ROWS.filter(({ fraud }) => fraud === 1).length, unscored: 0 },
    timings: [{ rows: 1 }, { rows: 8 }, { rows: 32 }],
  })
  const { auc } = report
  t.ok(auc !== null && auc.low > 0.5 && auc.low < auc.value && auc.value < auc.high)
  const bundle = await readBundle(join(models, 'mine', '1'))
  t.equal((await admit(bundle, facts)).digest, report.digest)
  t.same(readdirSync(bundle.directory), [
    ...['MODEL_CARD.md', 'golden.json', 'manifest.json', 'model.onnx', 'reference-profile.json'],
  ])
  t.equal(statSync(bundle.directory).mode & 0o055, 0o055 & ~process.umask(), 'as readable as folders are here')
  const reached = (cut = 2) => ROWS.filter(({ score }) => score >= cut).length / ROWS.length
  const { review_at: review, decline_at: decline } = bundle.manifest.thresholds ?? {}
  t.ok(reached(review) <= 0.05 && reached(review) > 0.045 && reached(decline) <= 0.01 && reached(decline) > 0.008)
  t.ok(Math.abs((report.shares?.review_at ?? 0) - reached(review)) < 2 / ROWS.length, 'but for the rounding of a row')
  const profile = parseProfile(readFileSync(bundle.profilePath ?? '', 'utf8'))
  t.same(
    profile?.features.map(({ name }) => name),
    FOUR,
  )
  t.same(Object.keys(profile?.actions ?? {}), ['approve', 'review', 'decline'])
  t.match(readFileSync(join(bundle.directory, 'MODEL_CARD.md'), 'utf8'), /self-recorded.*AUC|AUC.*self-recorded/s)
  t.match((await listBundles(models))[0], { name: 'mine', version: '1', error: null })
})

void t.test('without rows it is recorded on rows that are made up, and says so', async (t) => {
  const models = join(t.testdir({}), 'models')
  const first = await add(models, LINEAR)
  t.match(first.out, /^mine@1 is added: .*rows +none given: golden rows are made up.*thresholds none: .* shadow only/s)
  const second = await add(models, LINEAR.with(4, '2'))
  t.equal(second.code, 0)
  const golden = (version: string) => readFileSync(join(models, 'mine', version, 'golden.json'), 'utf8')
  t.equal(golden('1'), golden('2'), 'the same rows each time')
  const { manifest, profilePath } = await readBundle(join(models, 'mine', '1'))
  t.equal(profilePath, null)
  t.notOk('thresholds' in manifest)
})

void t.test('a wrong order shows', async (t) => {
  const models = join(t.testdir({}), 'models')
  const swapped = [...FOUR].reverse().join()
  const given = [modelOf('linear'), '--name', 'mine', '--version', '1', '--features', swapped, ...rows]
  const { code, out, err } = await add(models, given)
  t.equal(code, 0)
  t.match(out, /order +doubtful: /)
  t.match(err, /^WARNING: the order of the features is doubtful: .* gives an AUC of 0\.\d+, this order 0\.\d+\n/)
  const two = [FOUR[0], FOUR[3], FOUR[2], FOUR[1]].join()
  const json = await add(models, [...given.with(4, '2').with(6, two), '--json'])
  t.match(json.report.order, { verdict: 'doubtful', why: /customer_count_1d|the order of/ })
  const few = writeRows(join(t.testdirName, 'few.csv'), ROWS.slice(0, 12))
  const unchecked = await add(models, [...LINEAR.with(4, '3'), '--rows', few, '--json'])
  t.match(unchecked.report.order, { verdict: 'unchecked', why: /10 frauds and as many others are needed/ })
})

void t.test('the score is found whatever the output looks like, and every kind of input is fed', async (t) => {
  const exact = ['--features', 'amount_exact,customer_count_exact']
  const whole = ['--features', 'customer_count_whole,terminal_count_whole']
  const mixed = ['--features', 'amount,amount_exact,customer_count_whole,terminal_count_whole']
  const cases: [string, string[], object][] = [
    [modelOf('flat'), FEATURES, { output: { column: 0, width: 1 } }],
    [modelOf('misdeclared'), FEATURES, { output: { column: 0, width: 1 } }],
    [modelOf('trees'), FEATURES, { output: { column: 1, width: 2 }, takes_nan: true }],
    [modelOf('margin'), [...FEATURES, '--score-map', 'sigmoid'], { score_map: { kind: 'sigmoid' } }],
    [modelOf('percent'), [...FEATURES, '--score-map', 'linear:0,100'], { score_map: { from: 0, to: 100 } }],
    [modelOf('double'), exact, { inputs: [{ dtype: 'float64' }], takes_nan: false }],
    [modelOf('whole'), whole, { inputs: [{ dtype: 'int64' }], takes_nan: false }],
    [
      modelOf('several'),
      mixed,
      { inputs: [{ dtype: 'float32' }, {}, { dtype: 'int64', columns: 2 }], takes_nan: true },
    ],
    [bare('named'), [], { features: FOUR, features_from: 'inputs' }],
    [bare('two-scores'), FEATURES, { output: { name: 'probability' } }],
    [bare('two-unnamed'), [...FEATURES, '--output', 'first'], { output: { name: 'first' } }],
    [bare('three-classes'), [...FEATURES, '--column', '2'], { output: { column: 2, width: 3 } }],
  ]
  for (const [file, more, expected] of cases) {
    const models = join(t.testdir({}), 'models')
    const { err, report } = await add(models, named(file, ...more))
    t.equal(err, '', file)
    t.match(report, expected, file)
    const bundle = await readBundle(join(models, 'mine', '1'))
    t.ok((await admit(bundle, facts)).goldenErrorMax <= 1e-5, file)
  }
})

void t.test('what cannot serve is refused with what to do about it, and nothing is left behind', async (t) => {
  const folder = t.testdir({ 'text.onnx': 'no model at all', 'empty.onnx': '' })
  const cut = join(folder, 'cut.onnx')
  cpSync(modelOf('trees'), cut)
  truncateSync(cut, 2_000)
  const double = ['--features', FOUR.slice(0, 2).join()]
  const cases: [string, string[], RegExp][] = [
    [cut, FEATURES, /does not load: .*the file is cut or damaged, or no ONNX model/],
    [join(folder, 'text.onnx'), FEATURES, /does not load: .*cut or damaged/],
    [join(folder, 'empty.onnx'), FEATURES, /does not load: /],
    [modelOf('external'), FEATURES, /the weights must lie in the file itself: onnx\.save\(/],
    [bare('huge-shape'), FEATURES, /does not load: /],
    [bare('huge'), FEATURES, /fails when it is run: .*allocate|takes more than \d+ MiB|died/],
    [modelOf('throws-always'), FEATURES, /it loads, but fails when it is run: .*Gather/],
    [modelOf('zipmap'), FEATURES, /label is int64 \(a label\).*maps is a sequence of maps.*'zipmap': False/],
    [modelOf('label-only'), FEATURES, /label is int64 \(a label\): export the probabilities/],
    [bare('text-label'), FEATURES, /label is text \(a label\): export the probabilities/],
    [bare('text-input'), FEATURES, /input word is string; float32, float64, int64 are allowed: encode it before/],
    [bare('one-row'), FEATURES, /shape \[1, 4\]: it takes 1 rows; export it with N free/],
    [bare('three-classes'), FEATURES, /has 3 classes: --column C says which of them is fraud/],
    [bare('three-classes'), [...FEATURES, '--column', '3'], /has 3 columns, from 0; there is no 3/],
    [bare('two-unnamed'), FEATURES, /outputs first, second could be the score; --output NAME/],
    [modelOf('linear'), [...FEATURES, '--output', 'label'], /there is no output label; it has probability/],
    [bare('constant'), FEATURES, /is 0 for every row: such a score says nothing/],
    [modelOf('margin'), FEATURES, /reaches from -\S+ to \S+, outside \[0, 1\]: --score-map sigmoid/],
    [modelOf('percent'), FEATURES, /outside \[0, 1\]: --score-map linear:0,100/],
    [modelOf('margin'), [...FEATURES, '--score-map', 'linear:0,1'], /the score map leaves \[0, 1\]/],
    [modelOf('double'), double, /of type float32, the model takes float64; declare that dtype/],
    [modelOf('strict'), double, /no score where a value is missing, and amount.*SimpleImputer/],
  ]
  for (const [file, more, expected] of cases) {
    const models = join(folder, 'models')
    const { code, err, left } = await add(models, named(file, ...more))
    t.equal(code, 1, file)
    t.match(err, /^ASSAY_BUNDLE_REFUSED: \S+\.onnx: /, file)
    t.match(err, expected, file)
    t.same(left, [], file)
  }
})

void t.test('a model that hangs, or eats memory, ends with its process', async (t) => {
  const models = join(t.testdir({}), 'models')
  const slow = await add(models, named(modelOf('slow'), ...FEATURES), { limits: { laneStartMs: 3_000 } })
  t.match(slow, { code: 1, err: /ASSAY_BUNDLE_REFUSED: .*it took over 3000 ms to (open|probe|score)/, left: [] })
  const large = await add(models, named(bare('large'), ...FEATURES), { limits: { onboardBytesMax: 512 << 20 } })
  t.match(large, { code: 1, err: /ASSAY_BUNDLE_REFUSED: .*it takes more than 512 MiB of memory/, left: [] })
  const small = await add(models, LINEAR, { limits: { modelBytesMax: 64 } })
  t.match(small, { code: 1, err: /ASSAY_INPUT_INVALID: .*has \d+ bytes, at most 64 are allowed/, left: [] })
})

void t.test('a bundle that the gate refuses is not there', async (t) => {
  const models = join(t.testdir({}), 'models')
  const featureDigests = facts.featureDigests.map(() => 'none')
  const refused = await add(models, LINEAR, { facts: { ...facts, featureDigests } })
  t.match(refused, { code: 1, err: /ASSAY_BUNDLE_REFUSED: .*\/features\/0\/digest/, left: [] })
  t.notMatch(refused.err, /\.add-/, 'nobody is told of a folder that is gone')
  t.equal((await add(models, LINEAR)).code, 0)
  t.match(await add(models, LINEAR), { code: 1, err: /ASSAY_INPUT_INVALID: .*is there already/, left: ['mine'] })
  const file = join(t.testdirName, 'file')
  writeFileSync(file, '')
  t.match(await add(join(file, 'models'), LINEAR), { code: 1, err: /ASSAY_INPUT_INVALID: cannot write .*: ENOTDIR/ })
})

void t.test('a signal while the gate runs leaves nothing behind', async (t) => {
  const models = join(t.testdir({ models: {} }), 'models')
  const given = ['model', 'add', modelOf('heavy'), '--name', 'mine', '--version', '1', '--models', models, ...FEATURES]
  // The test runner's hooks, which come in by NODE_OPTIONS, would take the signal.
  const command = ['-c', 'unset NODE_OPTIONS; exec "$0" "$@"', process.execPath, join(packageRoot, 'dist/src/cli.js')]
  const child = spawn('bash', [...command, ...given], { stdio: 'ignore' })
  const ended = once(child, 'exit')
  await until(() => readdirSync(models).some((name) => name.startsWith('.add-')), 'the bundle is written')
  child.kill('SIGTERM')
  t.same(await ended, [null, 'SIGTERM'])
  t.same(readdirSync(models), [])
})

void t.test('the names of its own columns are up to the model: no catalogue, no thresholds, no profile', async (t) => {
  const models = join(t.testdir({}), 'models')
  const own = (...more: string[]) => add(models, named(modelOf('twelve'), '--own-columns', ...more))
  t.match((await own('--review-at', '0.5')).err, /^ASSAY_USAGE: --own-columns goes without thresholds/)
  t.match((await own('--catalogue-order')).err, /--own-columns: --features names them, not the catalogue/)
  t.match((await own('--features', 'a,b')).err, /^ASSAY_USAGE: the model takes 12 features, 2 are named: a, b/)
  t.match((await own('--features', 'a,a')).err, /^ASSAY_USAGE: a is named twice/)
  t.match((await own()).report, { features_from: 'own', features: { length: 12, 0: 'column_0' }, thresholds: null })
  const { manifest, profilePath } = await readBundle(join(models, 'mine', '1'))
  t.same(manifest.features.slice(0, 2), [{ name: 'column_0' }, { name: 'column_1' }])
  t.equal(profilePath, null)
})

void t.test('the order is said, named by the inputs, or confirmed, and never guessed', async (t) => {
  const twelve = modelOf('twelve')
  const models = join(t.testdir({}), 'models')
  const said = async (file: string, ...more: string[]) => (await add(models, named(file, ...more))).err
  t.match(await said(modelOf('linear')), /^ASSAY_USAGE: The model takes 4; --features a,b,c or --features-file FILE/)
  t.match(await said(modelOf('linear'), ...rows), /--features-from-rows takes the order of the columns/)
  t.match(await said(twelve, '--catalogue-order'), new RegExp(`takes 12 features, ${facts.names.length} are named`))
  t.match(
    await said(twelve, '--features', 'amount,amount,x'),
    /amount is named twice; x is no feature of the catalogue/,
  )
  t.match(
    await said(modelOf('linear'), '--features', 'amout'),
    /amout is no feature .*, the nearest is amount; known are/,
  )
  t.match(await said(bare('misnamed')), /customer_count_1day is no feature .*, the nearest is customer_count_1d;/)
  const reversed = [...FOUR].reverse().join()
  t.match(await said(bare('named'), '--features', reversed), /^ASSAY_USAGE: the inputs are named amount, .* is another/)
  t.match(
    await said(twelve, '--catalogue-order', ...FEATURES),
    /--features and --catalogue-order contradict each other/,
  )
  t.match(await said(twelve, '--features-from-rows'), /^ASSAY_USAGE: --features-from-rows needs --rows/)

  const fromRows = await add(models, named(modelOf('linear'), ...rows, '--features-from-rows'))
  t.match(fromRows.report, { features: FOUR, features_from: 'rows', order: { verdict: 'confirmed' } })
  const questions: string[] = []
  const answering = (answer: boolean) => (question: string) => {
    questions.push(question)
    return Promise.resolve(answer)
  }
  const file = join(t.testdirName, 'names.txt')
  writeFileSync(file, `${FOUR.join('\n')}\n`)
  const given = (version: string, ...more: string[]) => [...named(modelOf('linear'), ...more).with(4, version)]
  t.match((await add(models, given('2', '--features-file', file))).report, {
    features: FOUR,
    features_from: 'features',
  })
  const no = await add(models, given('3', ...rows), { confirm: answering(false) })
  t.match(no, { code: 2, err: /^ASSAY_USAGE: / })
  const yes = await add(models, given('3', ...rows), { confirm: answering(true) })
  t.match(yes.report, { features: FOUR, features_from: 'confirmed' })
  t.match(questions, [/In the order of the rows:\n +0 amount\n +1 customer_count_1d\n/, /Was it trained so\?$/])
})

void t.test('the scores of the trainer become the golden scores, if the runtime gives the same', async (t) => {
  const models = join(t.testdir({}), 'models')
  const scored = [...LINEAR, '--json', '--score-column', 'trained']
  const good = await add(models, [...scored, ...rows])
  t.match(good.report.golden, { source: 'trainer', rows: 96, rows_compared: 1_500, rows_beyond_tolerance: 0 })
  const { golden } = await readBundle(join(models, 'mine', '1'))
  const trained = new Set(ROWS.map(({ score }) => score))
  t.ok(
    golden.scores.every((score) => trained.has(score)),
    'to the bit',
  )
  const off = (share: number) => ROWS.map((row, at) => (at % share === 0 ? { ...row, score: row.score / 2 } : row))
  const few = writeRows(join(t.testdirName, 'few.csv'), off(200))
  const flipped = await add(models, [...scored.with(4, '2'), '--rows', few])
  t.match(flipped.report.golden, { source: 'trainer', rows_beyond_tolerance: 8 })
  const many = writeRows(join(t.testdirName, 'many.csv'), off(20))
  const refused = await add(models, [...scored.with(4, '3'), '--rows', many])
  t.match(refused, { code: 1, err: /^ASSAY_INPUT_INVALID: 75 of 1500 rows score differently from the trainer's/ })
})

void t.test('rows that cannot be read are refused with their place', async (t) => {
  const models = join(t.testdir({}), 'models')
  const line = '1,2,3,4'
  const lines = (header: string, ...more: string[]) => `${[header, more[0] ?? line, ...more].join('\n')}\n`
  const cases: [string, string[], RegExp, number][] = [
    [lines(FOUR.slice(0, 3).join() + ',x'), [], /has no column customer_count_7d; --columns NAME=COLUMN/, 1],
    [lines(FOUR.join()), ['--label', 'chargeback'], /has no column chargeback; it has amount, /, 1],
    [lines(`${FOUR.join()},fraud`, `${line},maybe`), [], /row 1: \/fraud: 0, 1, true, false or nothing/, 1],
    [lines(FOUR.join(), '1,two,3,4'), [], /row 1: \/customer_count_1d: a number, or nothing/, 1],
    [lines(FOUR.join(), '4111111111111111,2,3,4'), [], /row 1: \/amount: no card data/, 1],
    [lines(FOUR.join()), [], /two rows at least/, 1],
    [lines(FOUR.join(), line), ['--columns', 'amount=:1'], /--columns: amount must name a column/, 2],
  ]
  for (const [text, more, expected, code] of cases) {
    const path = join(t.testdirName, 'rows.csv')
    writeFileSync(path, text)
    t.match(await add(models, [...LINEAR, '--rows', path, ...more]), { code, err: expected, left: [] }, text)
  }
  const many = await add(models, [...LINEAR, ...rows], { limits: { checkBytesMax: 40_000 } })
  t.match(many, { code: 1, err: /more than 40000 bytes of features; give a part of the rows/, left: [] })
  const exact = ['amount_exact', 'customer_count_exact']
  writeFileSync(join(t.testdirName, 'gaps.csv'), lines(exact.join(), '1,2', '30,4', '500,1', ',3'))
  const gaps = ['--features', exact.join(), '--rows', join(t.testdirName, 'gaps.csv')]
  const partly = await add(models, named(modelOf('double'), ...gaps))
  t.match(partly.report, { rows: { rows: 5, unscored: 1, frauds: null }, order: { verdict: 'unchecked' }, auc: null })
  const foreign = writeRows(join(t.testdirName, 'foreign.csv'), ROWS.slice(0, 400), ['AMT', ...FOUR.slice(1)])
  const mapped = await add(models, [
    ...LINEAR.with(4, '2'),
    '--json',
    '--rows',
    foreign,
    '--columns',
    'amount=AMT',
    '--label',
    'fraud',
  ])
  t.match(mapped.report, { rows: { rows: 400 }, auc: { value: Number } })
})

void t.test('cuts and options that contradict themselves are refused before anything is written', async (t) => {
  const models = join(t.testdir({ 'table.json': '{"raw": 1' }), 'models')
  const cases: [string[], RegExp][] = [
    [
      ['--review-at', '0.9', '--decline-at', '0.5'],
      /challenge, review and decline must not fall; they are at 0\.9, 0\.5/,
    ],
    [['--review-at', '0.5', '--review-rate', '0.1', ...rows], /--review-at and --review-rate contradict each other/],
    [['--review-rate', '0.01', '--decline-rate', '0.1', ...rows], /--decline-rate is part of --review-rate/],
    [['--review-rate', '0.01'], /--review-rate and --decline-rate are shares of rows: they need --rows/],
    [['--review-rate', '0.01', '--decline-at', '0.0001', ...rows], /must not fall; they are at 0\.\d+, 0\.0001/],
    [['--review-at', '1.5'], /--review-at: a number from 0 to 1/],
    [['--column', '1.5'], /--column: a whole number from 0/],
    [['--label', 'x'], /--label needs --rows/],
    [['--tolerance', '0.1'], /--tolerance: a number from 0 to 0\.01/],
    [['--score-map', 'cube'], /--score-map: one of identity, sigmoid, linear/],
    [['--score-map', 'linear:0'], /--score-map linear:from,to/],
    [['--score-map', `table:${join(t.testdirName, 'table.json')}`], /--score-map: .*table\.json is not JSON/],
    [['--name', 'Mine'], /--name: .* is allowed/],
    [['--version', 'a/b'], /--version: .* is allowed/],
    [['--nothing'], /Unknown option '--nothing'/],
    [['another.onnx'], /needs one file/],
  ]
  for (const [more, expected] of cases) {
    const refused = await add(models, [...LINEAR, ...more])
    t.match(refused, { code: 2, err: /^ASSAY_USAGE: /, left: [] }, more.join(' '))
    t.match(refused.err, expected)
  }
  t.match(await add(models, [modelOf('linear'), ...FEATURES]), { code: 2, err: /--name and --version are needed/ })
  const cut = await add(models, [...LINEAR, '--json', '--challenge-at', '0.1', '--decline-at', '0.9'])
  t.same(cut.report.thresholds, { challenge_at: 0.1, decline_at: 0.9 })
  t.match(await add(models, ['--help']), { code: 0, out: /assay model add FILE --name NAME/ })
})

void t.test('a repository as Triton and KServe keep it needs no name, and may be the models directory', async (t) => {
  const root = t.testdir({ repository: {}, empty: {} })
  const repository = join(root, 'repository')
  for (const version of ['1', '2', '10']) {
    mkdirSync(join(repository, 'fraud', version), { recursive: true })
    cpSync(modelOf('linear'), join(repository, 'fraud', version, 'model.onnx'))
  }
  writeFileSync(join(repository, 'fraud', 'config.pbtxt'), 'platform: "onnxruntime_onnx"\n')
  const models = join(root, 'models')
  const given = (folder: string, ...more: string[]) => [folder, '--json', ...FEATURES, ...more]
  const highest = await add(models, given(join(repository, 'fraud')))
  t.match(highest.report, { name: 'fraud', version: '10' })
  t.match((await add(models, given(join(repository, 'fraud', '2')))).report, { name: 'fraud', version: '2' })
  t.match((await add(models, given(join(repository, 'fraud'), '--version', '1'))).report, { version: '1' })
  t.match((await add(models, given(join(root, 'empty')))).err, /holds no <version>\/model\.onnx/)
  t.match((await add(models, given(join(repository, 'fraud'), '--version', '3'))).err, /there are versions 1, 2, 10/)
  t.match((await add(models, given(join(root, 'nowhere')))).err, /^ASSAY_INPUT_INVALID: .*cannot be read: ENOENT/)

  const before = statSync(join(repository, 'fraud', '1', 'model.onnx')).ino
  const place = await add(repository, given(join(repository, 'fraud', '1')))
  t.equal(place.err, '')
  t.equal(statSync(join(repository, 'fraud', '1', 'model.onnx')).ino, before, 'completed where it lies')
  t.match(await listBundles(repository), [{ name: 'fraud', version: '1', error: null }])
  t.same(place.left, ['fraud'])
  t.match(await add(repository, given(join(repository, 'fraud', '1'))), {
    code: 1,
    err: /manifest\.json is there already/,
  })
  writeFileSync(join(repository, 'fraud', '2', 'golden.json'), 'mine')
  const kept = await add(repository, given(join(repository, 'fraud', '2')))
  t.match(kept, { code: 1, err: /golden\.json is there already, and would be overwritten/, left: ['fraud'] })
  t.same(readdirSync(join(repository, 'fraud', '2')), ['golden.json', 'model.onnx'])
})
