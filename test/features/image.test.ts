// The state of features through an image: equal by its digest, and by every vector of what follows, for random streams
// with labels, late events and evictions.
import fc from 'fast-check'
import { mkdtempSync, rmSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { createFeatureState, type FeatureState } from '../../src/features/state.js'
import type { Limits } from '../../src/limits.js'
import { createImageReader, createImageWriter } from '../../src/runtime/image.js'
import { apply, bucketed, compiled, CRAMPED, ROOMY, RUNS, streams } from './streams.js'

const folder = mkdtempSync(join(tmpdir(), 'assay-features-'))
const path = join(folder, 'image')
t.teardown(() => rmSync(folder, { recursive: true, force: true }))

async function copyOf(state: FeatureState, limits: Limits, catalogue = compiled): Promise<FeatureState> {
  const copy = createFeatureState(catalogue, { limits })
  const file = await open(path, 'w+')
  try {
    const writer = createImageWriter(file, () => Promise.resolve())
    await state.serialize(writer)
    await writer.end()
    const reader = createImageReader(file)
    await copy.serialize(reader)
    await reader.end()
  } finally {
    await file.close()
  }
  return copy
}

const CASES = [
  { name: 'roomy', limits: ROOMY, catalogue: compiled },
  { name: 'cramped', limits: CRAMPED, catalogue: compiled },
  { name: 'in buckets', limits: { ...CRAMPED, clockAheadMsMax: 6_000 }, catalogue: bucketed },
]

for (const { name, limits, catalogue } of CASES) {
  void t.test(`${name}: what follows an image is what follows the state`, async (t) => {
    const a = new Float64Array(catalogue.size)
    const b = new Float64Array(catalogue.size)
    await fc.assert(
      fc.asyncProperty(streams(6), fc.double({ min: 0, max: 1, noNaN: true }), async (steps, share) => {
        const state = createFeatureState(catalogue, { limits })
        const cut = Math.floor(steps.length * share)
        steps.slice(0, cut).forEach((step, ordinal) => apply(state, step, ordinal, a))
        const copy = await copyOf(state, limits, catalogue)
        if (copy.digest() !== state.digest()) throw new Error('the digests differ')
        if (JSON.stringify(copy.size()) !== JSON.stringify(state.size())) throw new Error('the sizes differ')
        steps.slice(cut).forEach((step, at) => {
          const flags = apply(state, step, cut + at, a)
          if (apply(copy, step, cut + at, b) !== flags) throw new Error('the flags differ')
          if (step.kind !== 'label' && !a.every((value, i) => Object.is(value, b[i])))
            throw new Error('a vector differs')
        })
        if (copy.digest() !== state.digest()) throw new Error('the digests differ afterwards')
      }),
      { numRuns: Math.ceil(RUNS.numRuns / 10) },
    )
    t.pass('equal')
  })
}

void t.test('an image of a larger state does not fit', async (t) => {
  const state = createFeatureState(compiled, { limits: ROOMY })
  const [step] = fc.sample(streams(6), { seed: 1, numRuns: 1 })
  step.forEach((each, ordinal) => apply(state, each, ordinal, new Float64Array(compiled.size)))
  await t.rejects(copyOf(state, CRAMPED), /it holds .* bytes where|chunks of events/)
})
