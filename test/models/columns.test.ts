// One vector of the reference catalogue, three models of 15, 18 and 12 features: each scores its own columns of it.
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { compileCatalogue } from '../../src/features/compile.js'
import { LIMITS } from '../../src/limits.js'
import { readBundle } from '../../src/models/bundle.js'
import { bindColumns, catalogueFacts } from '../../src/models/columns.js'
import { admit, openAdmitted } from '../../src/models/gate.js'
import { readScorecard } from '../../src/models/golden-rows.js'
import { referencePolicy } from '../reference-policy.js'
import { fixture, readFacts } from './fixtures.js'

const MODELS = fileURLToPath(new URL('../../../models/', import.meta.url))
const policy = referencePolicy()
const { catalogue, schema, currencies, routes } = policy
const compiled = compileCatalogue(catalogue, schema, currencies)
const facts = catalogueFacts(compiled, catalogue)
const QUICK = { limits: { ...LIMITS, gateMeasureMs: 2 } }

function folderOf(reference: string | null): string {
  return join(MODELS, ...(reference ?? '').split('@'))
}

/** A bundle's golden rows laid into vectors of the whole catalogue; other columns hold what must not be read. */
function scatter(values: Float64Array, columns: Int32Array): Float64Array {
  const rows = values.length / columns.length
  const vectors = new Float64Array(rows * compiled.size).fill(1e9)
  for (let row = 0; row < rows; row += 1) {
    columns.forEach((to, from) => (vectors[row * compiled.size + to] = values[row * columns.length + from]))
  }
  return vectors
}

await t.test('champion, challenger and a third model score their own columns of one vector', async (t) => {
  const widths: number[] = []
  for (const directory of [folderOf(routes.champion), folderOf(routes.challenger), fixture('twelve')]) {
    const bundle = await readBundle(directory)
    const { admission, session } = await openAdmitted(bundle, facts, QUICK)
    const { columns } = admission
    if (session === null || columns === null) throw new Error('no session')
    const vectors = scatter(bundle.golden.values, columns)
    const row = new Float64Array(columns.length)
    const out = { raw: new Float64Array(1), scores: new Float64Array(1) }
    let worst = 0
    for (let at = 0; at < bundle.golden.count; at += 1) {
      columns.forEach((from, to) => (row[to] = vectors[at * compiled.size + from]))
      await session.run(row, 1, out)
      worst = Math.max(worst, Math.abs(out.scores[0] - bundle.golden.scores[at]))
    }
    await session.close()
    widths.push(columns.length)
    t.ok(worst <= bundle.golden.tolerance, `${bundle.manifest.name}: ${worst} from its own golden scores`)
  }
  t.same(widths, [15, 18, 12])
})

await t.test('the baseline reads the same vectors in place', async (t) => {
  const bundle = await readBundle(folderOf(routes.baseline))
  const { columns } = await admit(bundle, facts, QUICK)
  if (columns === null) throw new Error('no columns of the catalogue')
  const card = await readScorecard(bundle)
  const vectors = scatter(bundle.golden.values, columns)
  const scores = bundle.golden.scores.map((_, at) => card.score(vectors, at * compiled.size, columns))
  t.ok(scores.every((score, at) => Math.abs(score - bundle.golden.scores[at]) <= bundle.golden.tolerance))
})

await t.test('columns come in the order of the model, whatever the order of the catalogue', (t) => {
  const names = ['a', 'b', 'c', 'd']
  const digests = names.map((name) => `sha256:${name}`)
  const features = ['d', 'a', 'c'].map((name) => ({ name, digest: `sha256:${name}` }))
  t.same(bindColumns({ features }, names, digests), { columns: Int32Array.of(3, 0, 2) })
  const other = [...features, { name: 'b', digest: 'sha256:a' }, { name: 'e', digest: 'sha256:e' }]
  t.match(bindColumns({ features: other }, names, digests), {
    faults: [
      { path: '/features/3', message: /b is defined differently: trained on sha256:a, catalogue has sha256:b/ },
      { path: '/features/4', message: /e is not in the catalogue/ },
    ],
  })
  t.end()
})

await t.test('the digests of the fixtures are those of the feature compiler', async (t) => {
  const own = await readFacts()
  const shared = own.names.filter((name) => compiled.indexOf(name) >= 0)
  t.equal(shared.length, 16)
  for (const name of shared) {
    t.equal(own.featureDigests[own.names.indexOf(name)], compiled.featureDigests[compiled.indexOf(name)], name)
  }
})
