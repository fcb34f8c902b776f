// Holds the whole repository against the rules of the house, and each rule against a source that breaks it.
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { addresses, bounds, errorCodes, errorTable, scripts } from './documents.js'
import { assertions, cycles, directions, homes, names, openings, sizes } from './rules.js'
import { listFiles, parseSource, readSources, readText, ROOT } from './sources.js'
import { LIMITS, TINY } from '../../src/limits.js'

/** Where `as` is allowed outside contract/, and why. */
const ASSERTIONS_ALLOWED: ReadonlyMap<string, string> = new Map([
  ['src/config.ts', 'a boundary like contract/: the value was checked against its schema in the line before'],
])

/** Where a function may be longer, and why. */
const LONGER_ALLOWED: ReadonlyMap<string, string> = new Map([
  ['src/runtime/hash.ts', 'the rounds of SipHash over local variables: split, they would not stay in registers'],
])

const TEXT = /(\.(ts|js|json|ya?ml|md|html|css|py|toml|txt|sh|cfg|ini|service)|(^|\/)(run|Dockerfile|\.[a-z]+rc))$/
const sources = readSources()
const texts = listFiles()
  .filter((path) => TEXT.test(path))
  .map((path) => ({ path, text: readText(path) }))
const readme = existsSync(join(ROOT, 'src/README.md')) ? readText('src/README.md') : ''

const rules: readonly (readonly [string, () => string[]])[] = [
  ['files, functions and lines keep their sizes', () => sizes(sources, LONGER_ALLOWED)],
  ['file names say something, once', () => names(sources)],
  ['every file opens with a comment', () => openings(sources)],
  ['imports point one way and entries are imported by none', () => directions(sources)],
  ['packages are named only where they are at home', () => homes(sources)],
  ['no import goes in a circle', () => cycles(sources)],
  ['types are asserted only in contract/', () => assertions(sources, ASSERTIONS_ALLOWED)],
  ['error codes are in the README, raised and tested', () => errorCodes(readme, sources)],
  ['bounds are documented, used, and fit each other', () => bounds(sources)],
  ['the promised scripts exist', () => scripts(readText('package.json'), (path) => existsSync(join(ROOT, path)))],
  ['no machine path and no registry address is committed', () => addresses(texts)],
]

for (const [title, rule] of rules) {
  void t.test(title, (t) => {
    const findings = rule()
    // All of them in one list; where the assertion stands says nothing.
    if (findings.length > 0) t.fail(`${findings.length} findings`, { findings, stack: '', at: null })
    else t.pass('no findings')
    t.end()
  })
}

void t.test('each rule finds the source that breaks it', (t) => {
  const one = (path: string, text: string): ReturnType<typeof parseSource>[] => [parseSource(path, text)]
  const body = (lines: number): string => `function long() {\n${'  void 0\n'.repeat(lines - 2)}}\n`
  t.equal(sizes(one('src/stats/a.ts', '//\n'.repeat(401))).length, 1, 'a long file')
  t.equal(sizes(one('src/stats/a.ts', `// ${'x'.repeat(120)}\n`)).length, 1, 'a long line')
  t.equal(sizes(one('src/stats/a.ts', `const a = '${'x'.repeat(120)}'\n`)).length, 0, 'a long line that is one text')
  t.equal(sizes(one('src/stats/a.ts', body(71))).length, 1, 'a long function')
  t.equal(sizes(one('src/stats/a.ts', body(70))).length, 0, 'a function of the allowed length')
  const factory = `function factory() {\n${`  ${body(40)}`.repeat(3)}}\n`
  t.equal(sizes(one('src/stats/a.ts', factory)).length, 0, 'a factory of short functions')
  for (const path of ['src/stats/utils.ts', 'src/common/a.ts', 'src/stats/stats.ts', 'src/stats/someName.ts'])
    t.equal(names(one(path, '')).length, 1, path)
  t.equal(names(one('src/stats/all.ts', "export * from './a.js'\n")).length, 1, 'a barrel')
  t.equal(openings(one('src/stats/a.ts', 'export const a = 1\n')).length, 1, 'no opening comment')
  t.equal(openings(one('src/stats/a.ts', '// one\n// two\nexport const a = 1\n')).length, 0, 'an opening comment')
  const importing = (path: string, from: string): string[] => directions(one(path, `import { x } from '${from}'\n`))
  t.equal(importing('src/features/a.ts', '../scoring/b.js').length, 1, 'an import upwards')
  t.equal(importing('src/scoring/a.ts', '../features/b.js').length, 0, 'an import downwards')
  t.equal(importing('src/scoring/a.ts', '../governance/b.js').length, 1, 'the two sides')
  t.equal(importing('src/scoring/a.ts', '../cli.js').length, 2, 'an entry, and upwards')
  t.equal(importing('src/cli.ts', './serve.js').length, 0, 'the door of a command')
  t.equal(importing('src/scoring/lane/a.ts', './lane-thread.js').length, 1, 'the entry of a thread')
  t.equal(importing('src/novel/a.ts', '../errors.js').length, 1, 'a folder without a level')
  t.equal(importing('src/stats/a.ts', '../../test/b.js').length, 1, 'src that imports a test')
  t.equal(homes(one('src/scoring/a.ts', "import u from 'uWebSockets.js'\n")).length, 1, 'sockets away from home')
  t.equal(homes(one('src/models/a.ts', "import o from 'onnxruntime-node'\n")).length, 0, 'tensors at home')
  t.equal(homes(one('src/stats/a.ts', "const o = import('onnxruntime-node')\n")).length, 1, 'a dynamic import')
  const ring = [...one('src/stats/a.ts', "import './b.js'\n"), ...one('src/stats/b.ts', "import './a.js'\n")]
  t.same(cycles(ring), ['a cycle: src/stats/a.ts -> src/stats/b.ts -> src/stats/a.ts'])
  const none = new Map<string, string>()
  t.equal(assertions(one('src/stats/a.ts', 'const a = b as string\nlet c: any\n'), none).length, 2, 'as and any')
  t.equal(assertions(one('src/stats/a.ts', 'const a = [1] as const\n'), none).length, 0, 'as const')
  t.equal(
    assertions(one('src/stats/a.ts', ''), new Map([['src/stats/a.ts', 'was needed']])).length,
    1,
    'a stale permit',
  )
  t.end()
})

void t.test('each comparison of documents finds what differs', (t) => {
  const rows = errorTable().join('\n')
  const differing = errorCodes(rows.replace('| 401 |', '| 403 |'), sources).filter((line) =>
    line.includes('lacks the row'),
  )
  t.equal(differing.length, 1, 'another status')
  t.ok(errorCodes(`${rows}\n| \`ASSAY_NEVER_HEARD\` | x |`, sources).some((line) => line.includes('ASSAY_NEVER_HEARD')))
  t.ok(errorCodes(rows, []).includes('ASSAY_OVERLOADED is raised nowhere in src'))
  const bad = { LIMITS, TINY: { ...TINY, recordBytesMax: TINY.logRingBytes + 1 } }
  t.ok(bounds(sources, bad).some((line) => line.includes('TINY.recordBytesMax exceeds logRingBytes')))
  t.ok(bounds([], { LIMITS, TINY }).includes('limits.ts: inFlightMax bounds nothing in src'))
  t.same(
    scripts('{"scripts":{"build":"","start":"","test":"bash test/gone","lint":"","traffic":""}}', () => false),
    ['package.json: no script bench', 'package.json: script test names test/gone, which does not exist'],
  )
  const text = [
    ['', 'ho' + 'me', 'me', 'x'].join('/'),
    'http' + '://regis' + 'try.example/x',
    'http' + '://10.1.2.3/',
  ].join('\n')
  t.equal(addresses([{ path: 'a', text }]).length, 3)
  t.same(addresses([{ path: 'a', text: 'http://127.0.0.1:8080/v1/score and ./work/home/x' }]), [])
  t.end()
})
