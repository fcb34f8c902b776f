// Bundles on disk and the commands that show them: what is whole is read, what is not is refused with every fault.
import { cp, mkdir, rm, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { AssayError } from '../../src/errors.js'
import { LIMITS, TINY } from '../../src/limits.js'
import { listBundles, readBundle } from '../../src/models/bundle.js'
import { modelCommand } from '../../src/models/command.js'
import { type Edit, editedCopy, FIXTURES, fixture, readFacts } from './fixtures.js'

/** Paths and messages of a refusal, or 'read'. */
async function said(directory: string, limits = LIMITS): Promise<string> {
  try {
    await readBundle(directory, { limits })
  } catch (error) {
    if (!(error instanceof AssayError) || error.code !== 'ASSAY_BUNDLE_REFUSED') throw error
    return error.errors.map((fault) => `${fault.path} ${fault.message}`).join('\n')
  }
  return 'read'
}

await t.test('a bundle is read whole, with NaN where a golden value is null', async (t) => {
  const bundle = await readBundle(fixture('trees'))
  t.equal(bundle.digest, bundle.manifest.file.digest)
  t.equal(bundle.golden.count, 64)
  t.equal(bundle.golden.values.length, 64 * 4)
  t.ok(bundle.golden.values.some(Number.isNaN))
  t.equal(bundle.golden.raw?.length, 64)
})

await t.test('a manifest that is not consistent is refused with every fault', async (t) => {
  const cases: [string, string, Edit, RegExp][] = [
    [
      'another digest',
      'linear',
      { manifest: (m) => (m.file.digest = m.golden.digest) },
      /^\/file\/digest model\.onnx has digest sha256:\w+, the manifest says sha256:\w+$/,
    ],
    [
      'another size',
      'linear',
      { manifest: (m) => (m.file.bytes += 1) },
      /^\/file\/bytes model\.onnx has \d+ bytes, the manifest says \d+$/,
    ],
    [
      'two faults',
      'linear',
      { manifest: (m) => ((m.file.bytes = 1), (m.golden.digest = m.file.digest)) },
      /^\/file\/bytes .*\n\/golden\/digest golden\.json has digest/,
    ],
    [
      'a path upwards',
      'linear',
      { manifest: (m) => (m.file.path = '../../linear/1/model.onnx') },
      /^\/file\/path .* is not a plain path inside the bundle$/,
    ],
    [
      'an absolute path',
      'linear',
      { manifest: (m) => (m.golden.path = '/etc/hostname') },
      /^\/golden\/path \/etc\/hostname is not a plain path/,
    ],
    [
      'a file that is not there',
      'linear',
      { manifest: (m) => (m.file.path = 'other.onnx') },
      /^\/file\/path other\.onnx cannot be read: ENOENT$/,
    ],
    [
      'schema faults',
      'linear',
      { manifest: (m) => Object.assign(m, { takes_nan: 'yes', extra: 1 }) },
      /(?=.*^\/extra )(?=.*^\/takes_nan )/ms,
    ],
    ['no input', 'linear', { manifest: (m) => delete m.input }, /^\/input required for kind onnx/],
    [
      'inputs beside an input',
      'several',
      { manifest: (m) => (m.input = { name: 'x', dtype: 'float32' }) },
      /^\/input not allowed beside inputs$/,
    ],
    [
      'inputs that take another number of columns, one of them twice',
      'several',
      { manifest: (m) => (m.inputs![1] = { ...m.inputs![2], columns: 9 }) },
      /^\/inputs they take 12 columns, there are 4 features\n\/inputs\/2\/name counts is named twice$/,
    ],
    [
      'digests of some features only',
      'linear',
      { manifest: (m) => delete m.features[1].digest },
      /^\/features\/1\/digest a digest for every feature, or for none/m,
    ],
    [
      'thresholds over columns of its own',
      'linear',
      { manifest: (m) => Object.assign(m, { features: m.features.map(({ name }) => ({ name })), thresholds: {} }) },
      /^\/thresholds not allowed: its columns are its own/,
    ],
    [
      'a scorecard over columns of its own',
      'scorecard',
      { manifest: (m) => (m.features = m.features.map(({ name }) => ({ name }))) },
      /^\/features those of a scorecard have digests/m,
    ],
    [
      'inputs on a scorecard',
      'scorecard',
      { manifest: (m) => (m.inputs = [{ name: 'x', dtype: 'float32', columns: 3 }]) },
      /^\/inputs not allowed for kind scorecard$/,
    ],
    [
      'an input on a scorecard',
      'scorecard',
      { manifest: (m) => (m.input = { name: 'x', dtype: 'float32' }) },
      /^\/input not allowed for kind scorecard$/,
    ],
    [
      'an empty linear map',
      'linear',
      { manifest: (m) => (m.score_map = { kind: 'linear', from: 2, to: 2 }) },
      /^\/score_map linear needs/,
    ],
    [
      'a rate that has no odds',
      'linear',
      { manifest: (m) => (m.score_map = { kind: 'prior_shift', trained_rate: 1, real_rate: 0 }) },
      /^\/score_map /m,
    ],
    [
      'a table that falls',
      'linear',
      { manifest: (m) => (m.score_map = { kind: 'table', raw: [0, 1], score: [1, 0] }) },
      /^\/score_map\/score\/1 not below the one before, 1; here 0$/,
    ],
    [
      'a table of one point',
      'linear',
      { manifest: (m) => (m.score_map = { kind: 'table', raw: [0], score: [1] }) },
      /^\/score_map/,
    ],
    [
      'a table without end',
      'linear',
      {
        manifest: (m) => {
          const raw = Array.from({ length: 1025 }, (_, at) => at)
          m.score_map = { kind: 'table', raw, score: raw.map((at) => at / 1024) }
        },
      },
      /^\/score_map/,
    ],
    [
      'a generous tolerance',
      'linear',
      { manifest: (m) => (m.golden.tolerance = 0.5) },
      /^\/golden\/tolerance 0 to 0\.01 is allowed, here 0\.5$/,
    ],
    [
      'a short golden row',
      'linear',
      { golden: (g) => g.rows[3].pop() },
      /^\/golden\/path golden\.json row 3 has 3 values, the manifest lists 4 features$/,
    ],
    [
      'fewer scores than rows',
      'linear',
      { golden: (g) => g.score.pop() },
      /^\/golden\/path golden\.json has 64 rows but 63 scores$/,
    ],
    [
      'golden rows that show nothing',
      'linear',
      { golden: (g) => g.score.fill(0.5) },
      /has the same score for every row/,
    ],
    [
      'a golden score above 1',
      'linear',
      { golden: (g) => (g.score[0] = 1.5) },
      /^\/golden\/path golden\.json\/score\/0: /,
    ],
    [
      'a missing golden value',
      'strict',
      { golden: (g) => (g.rows[1][0] = null) },
      /row 1 has a missing value, but takes_nan is false$/,
    ],
  ]
  for (const [what, name, edit, expected] of cases) {
    t.match(await said(await editedCopy(t.testdir({}), name, edit)), expected, what)
  }
  t.equal(await said(await editedCopy(t.testdir({}), 'linear', {})), 'read', 'a copy without an edit')
})

await t.test('a link that leads out of the bundle is refused, one inside it is followed', async (t) => {
  const directory = await editedCopy(t.testdir({}), 'linear', {})
  const model = join(directory, 'model.onnx')
  await cp(model, join(directory, '..', 'outside.onnx'))
  await rm(model)
  await symlink('../outside.onnx', model)
  t.equal(await said(directory), '/file/path model.onnx leads out of the bundle')
  await mkdir(join(directory, '..data'))
  await cp(join(directory, '..', 'outside.onnx'), join(directory, '..data', 'model.onnx'))
  await rm(model)
  await symlink('..data/model.onnx', model)
  t.equal(await said(directory), 'read', 'as a mounted volume lays its files out')
})

await t.test('files over their bound are refused before they are read', async (t) => {
  const limits = { ...TINY, modelBytesMax: 100, goldenRowsMax: 63 }
  t.match(
    await said(fixture('linear'), limits),
    /^\/file\/path model\.onnx has \d+ bytes, at most 100 are allowed\n.*has 64 rows, at most 63/,
  )
  t.match(
    await said(fixture('linear'), { ...TINY, bundleJsonBytesMax: 64 }),
    /^ manifest\.json has \d+ bytes, at most 64 are allowed$/,
  )
})

await t.test('what is no bundle at all is refused, not thrown', async (t) => {
  const directory = t.testdir({ empty: {}, broken: { 'manifest.json': '{' } })
  t.equal(await said(join(directory, 'nowhere')), ' the folder does not exist')
  t.equal(await said(join(directory, 'empty')), ' manifest.json cannot be read: ENOENT')
  t.match(await said(join(directory, 'broken')), /^ manifest\.json is not JSON: /)
})

await t.test('a listing shows every bundle, and why one cannot be read', async (t) => {
  const directory = t.testdir({ training: { notes: { 'a.txt': '' } } })
  for (const name of ['linear', 'trees']) await editedCopy(directory, name, {})
  await cp(join(directory, 'linear', '1'), join(directory, 'linear', '2'), { recursive: true })
  const listed = await listBundles(directory)
  t.same(
    listed.map(({ name, version, bundle }) => [name, version, bundle !== null]),
    [
      ['linear', '1', true],
      ['linear', '2', false],
      ['trees', '1', true],
    ],
  )
  t.match(listed[1].error?.message, /the folder is linear\/2, the manifest says linear@1/)
  await t.rejects(listBundles(join(directory, 'nowhere')), { code: 'ASSAY_INPUT_INVALID', message: /ENOENT/ })
  await t.rejects(listBundles(FIXTURES, { limits: TINY }), {
    code: 'ASSAY_INPUT_INVALID',
    message: /more than 4 bundles/,
  })
})

/** Runs a model command; gives its exit code and what it printed. */
async function command(args: string[], env: Record<string, string> = {}) {
  let stdout = ''
  let stderr = ''
  const print = (text: string) => void (stdout += text)
  const printError = (text: string) => void (stderr += text)
  const code = await modelCommand(args, { readFacts, env, print, printError, moreHelp: '' })
  return { code, stdout, stderr }
}

await t.test('model check says what was admitted, or refuses with the code on stderr', async (t) => {
  const good = await command(['check', fixture('trees')])
  t.equal(good.code, 0)
  t.match(good.stdout, /^trees@1 is admitted\n.*64 rows.*µs a row in batches of 32/s)
  const json = await command(['check', '--json', fixture('scorecard')])
  t.match(JSON.parse(json.stdout), { name: 'scorecard', columns: [0, 1, 4], goldenRows: 64 })
  const bad = await command(['check', fixture('zipmap')])
  t.equal(bad.code, 1)
  t.equal(bad.stdout, '')
  t.match(bad.stderr, /^ASSAY_BUNDLE_REFUSED: bundle .*zipmap\/1: \/output\/name: output maps is no tensor/)
})

await t.test('model list prints the bundles of the folder that it is given, or of the environment', async (t) => {
  const directory = t.testdir({})
  await editedCopy(directory, 'linear', {})
  const good = await command(['list'], { ASSAY_MODELS_DIR: directory })
  t.equal(good.code, 0)
  t.match(good.stdout, /^linear@1 +onnx +4 features {2}sha256:/)
  await writeFile(join(directory, 'linear', '1', 'model.onnx'), 'x')
  const bad = await command(['list', '--json', '--models', directory])
  t.equal(bad.code, 1)
  t.match(JSON.parse(bad.stdout), [
    { name: 'linear', state: 'refused', errors: [{ path: '/file/bytes' }, { path: '/file/digest' }] },
  ])
  t.match(bad.stderr, /^ASSAY_BUNDLE_REFUSED: /)
})

await t.test('a command line that makes no sense is refused with code 2, and help needs no catalogue', async (t) => {
  t.match(await command(['--help']), { code: 0, stdout: /assay model check DIR/ })
  for (const args of [[], ['check'], ['list', 'x'], ['list', '--nothing']]) {
    t.match(await command(args), { code: 2, stderr: /^ASSAY_USAGE: / }, args.join(' '))
  }
})
