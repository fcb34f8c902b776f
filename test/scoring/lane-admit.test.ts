// The gate in a thread of its own: the same verdict as in this one, and an end in time where the thread has none.
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Worker } from 'node:worker_threads'
import t from 'tap'
import { CPU_ALONE } from '../../src/contract/providers.js'
import { LIMITS } from '../../src/limits.js'
import { readBundle } from '../../src/models/bundle.js'
import { admit } from '../../src/models/gate.js'
import { admitApart } from '../../src/scoring/lane/admit.js'
import { createModelThreads } from '../../src/scoring/lane/threads.js'
import type { GateWire } from '../../src/scoring/lane/wire.js'
import { editedCopy, fixture, readFacts } from '../models/fixtures.js'
import { createRig, until } from './lane-rig.js'

const facts = await readFacts()
const limits = { ...LIMITS, gateMeasureMs: 5 }
const counts = { abandoned: 0, returned: 0 }
const hangs = { abandoned: () => void counts.abandoned++, returned: () => void counts.returned++ }
const threads = createModelThreads()
const wire = (name: string, more: Partial<GateWire> = {}): GateWire => {
  const of = { directory: fixture(name), identity: { name, version: '1' }, providers: CPU_ALONE }
  return { ...of, facts, limits, isBeside: false, ...more }
}

void t.test('what passes the gate here passes it there, with the same bundle', async (t) => {
  const bundle = await readBundle(fixture('trees'))
  const { timings: _, loadMs: __, ...own } = await admit(bundle, facts, { limits })
  const apart = await admitApart(wire('trees'), { threads, hangs })
  t.same(apart.bundle, bundle)
  t.match(apart.admission, own)
  const gently = await admitApart(wire('trees', { isBeside: true }), { threads, hangs })
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
  await t.rejects(admitApart(wire('trees', { directory }), { threads, hangs }), refused as Error)
  await t.rejects(admitApart(wire('trees', { directory: join(folder, 'none') }), { threads, hangs }), {
    code: 'ASSAY_BUNDLE_REFUSED',
  })
  await t.rejects(admitApart(wire('scorecard'), { threads, hangs }), {
    code: 'ASSAY_BUNDLE_REFUSED',
    message: /not an ONNX/,
  })
  const named = { identity: { name: 'trees', version: '2' } }
  await t.rejects(admitApart(wire('trees', named), { threads, hangs }), { code: 'ASSAY_BUNDLE_REFUSED' })
})

void t.test('a thread that takes too long is given up, and is counted until it has ended', async (t) => {
  const hasty = { ...limits, laneStartMs: 1 }
  await t.rejects(admitApart(wire('trees', { limits: hasty }), { threads, hangs }), { code: 'ASSAY_MODEL_FAILED' })
  t.equal(counts.abandoned, 1)
  while (counts.returned < 1) await new Promise((resolve) => setTimeout(resolve, 5))
  t.same(counts, { abandoned: 1, returned: 1 })
})

void t.test('a thread that is done takes the next task, and at most one waits', async (t) => {
  const threads = createModelThreads()
  const started: Worker[] = []
  const onWorker = (worker: Worker): void => void started.push(worker)
  process.on('worker', onWorker)
  t.teardown(() => void process.off('worker', onWorker))
  const ended = (): number => started.filter(({ threadId }) => threadId === -1).length
  await t.rejects(admitApart(wire('scorecard'), { threads, hangs }))
  await admitApart(wire('trees'), { threads, hangs })
  const first = await createRig('trees', { threads })
  t.equal(started.length, 1, 'one gate, the next and a lane')
  t.type(await first.score(1), 'number')
  const second = await createRig('linear', { threads })
  await admitApart(wire('trees'), { threads, hangs })
  t.equal(started.length, 3, 'a lane keeps its thread')
  await first.lane.close(10_000)
  await until(() => ended() === 1)
  const third = await createRig('linear', { threads })
  t.equal(started.length, 3)
  t.equal(await third.score(1), await second.score(1), 'another model than the gate had there')
  await third.lane.close(10_000)
  await second.lane.close(10_000)
  await threads.close()
  await until(() => ended() === 3)
})

void t.test('a thread that ended while it waited is replaced', async (t) => {
  const threads = createModelThreads()
  await admitApart(wire('trees'), { threads, hangs })
  await threads.close()
  t.ok(await admitApart(wire('trees'), { threads, hangs }))
  await threads.close()
})
