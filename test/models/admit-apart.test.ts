// The gate in a thread of its own: the same verdict as in this one, and an end in time where the thread has none.
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { CPU_ALONE } from '../../src/contract/providers.js'
import { LIMITS } from '../../src/limits.js'
import { admitApart, type GateWire } from '../../src/models/admit-apart.js'
import { readBundle } from '../../src/models/bundle.js'
import { admit } from '../../src/models/gate.js'
import { editedCopy, fixture, readFacts } from './fixtures.js'

const facts = await readFacts()
const limits = { ...LIMITS, gateMeasureMs: 5 }
const counts = { abandoned: 0, returned: 0 }
const hangs = { abandoned: () => void counts.abandoned++, returned: () => void counts.returned++ }
const wire = (name: string, more: Partial<GateWire> = {}): GateWire => {
  const of = { directory: fixture(name), identity: { name, version: '1' }, providers: CPU_ALONE }
  return { ...of, facts, limits, isBeside: false, ...more }
}

void t.test('what passes the gate here passes it there, with the same bundle', async (t) => {
  const bundle = await readBundle(fixture('trees'))
  const { timings: _, loadMs: __, ...own } = await admit(bundle, facts, { limits })
  const apart = await admitApart(wire('trees'), { hangs })
  t.same(apart.bundle, bundle)
  t.match(apart.admission, own)
  const gently = await admitApart(wire('trees', { isBeside: true }), { hangs })
  t.match(gently.admission, own, 'also where it gives way to payments')
})

void t.test('what is refused here is refused there, with every misfit', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'assay-apart-'))
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  const directory = await editedCopy(folder, 'trees', {
    manifest: (manifest) => void (manifest.features[0].digest = `sha256:${'0'.repeat(64)}`),
  })
  const bundle = await readBundle(directory)
  const refused = await admit(bundle, facts, { limits }).then(
    () => t.fail('it is not to pass'),
    (error: unknown) => error,
  )
  await t.rejects(admitApart(wire('trees', { directory }), { hangs }), refused as Error)
  await t.rejects(admitApart(wire('trees', { directory: join(folder, 'none') }), { hangs }), {
    code: 'ASSAY_BUNDLE_REFUSED',
  })
  await t.rejects(admitApart(wire('scorecard'), { hangs }), { code: 'ASSAY_BUNDLE_REFUSED', message: /not an ONNX/ })
  const named = { identity: { name: 'trees', version: '2' } }
  await t.rejects(admitApart(wire('trees', named), { hangs }), { code: 'ASSAY_BUNDLE_REFUSED' })
})

void t.test('a thread that takes too long is given up, and is counted until it has ended', async (t) => {
  const hasty = { ...limits, laneStartMs: 1 }
  await t.rejects(admitApart(wire('trees', { limits: hasty }), { hangs }), { code: 'ASSAY_MODEL_FAILED' })
  t.equal(counts.abandoned, 1)
  while (counts.returned < 1) await new Promise((resolve) => setTimeout(resolve, 5))
  t.same(counts, { abandoned: 1, returned: 1 })
})
