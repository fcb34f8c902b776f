// Where shadow models should run: in the sidecar's own thread, or in one of theirs. Scores the same decisions both ways
// and prints rows a second and how long the main thread's loop stood still meanwhile; ten interleaved pairs.
//   node dist/bench/shadow.js [decisions]
import { join } from 'node:path'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { packageRoot, loadConfig } from '../src/config.js'
import type { ControlState } from '../src/contract/control-state.js'
import { compileCatalogue } from '../src/features/compile.js'
import type { TailRecord } from '../src/governance/port.js'
import { groupRecords } from '../src/governance/shadow/grouping.js'
import { createShadowHost } from '../src/governance/shadow/host.js'
import { createShadowScorer } from '../src/governance/shadow/scorer.js'
import { createRandom } from '../src/simulate/random.js'

const SHADOWS = ['fraud-lgbm@1', 'fraud-xgb@1']
const PAIRS = 10
const count = Number(process.argv[2] ?? 8_192)

function drawn(): TailRecord[] {
  const { policy } = loadConfig({ env: {} })
  const catalogue = compileCatalogue(policy.catalogue, policy.schema, policy.currencies)
  const random = createRandom(1)
  const routes = { ...policy.routes, revision: 0, experiment_key: 'ab'.repeat(32) }
  const control: ControlState = { format: 1, policy, policy_fingerprint: 'bench', routes, models: [] }
  return Array.from({ length: count }, (_, sequence) => {
    const vector = Buffer.alloc(catalogue.vectorBytes)
    catalogue.encodeVector(
      Float64Array.from(catalogue.names, () => 200 * random.exponential()),
      0,
      vector,
      0,
    )
    // Only what scoring looks at: who answered, in which mode, and the vector.
    const facts = { mode: 'decide', model: null }
    const record = { type: 'decision', facts, personal: { vector } } as unknown as TailRecord['record']
    return { epoch: 1, sequence, control, shadows: [], record }
  })
}

async function timed(run: () => Promise<unknown>): Promise<{ rowsPerSecond: number; stoodMs: number }> {
  const delay = monitorEventLoopDelay({ resolution: 1 })
  delay.enable()
  const beganMs = performance.now()
  await run()
  const ms = performance.now() - beganMs
  delay.disable()
  return { rowsPerSecond: (1000 * count * SHADOWS.length) / ms, stoodMs: delay.max / 1e6 }
}

const records = drawn()
const modelsDir = join(packageRoot, 'models')
const host = await createShadowHost({ modelsDir, shadows: SHADOWS, lag: () => 0 })
const scorer = createShadowScorer(modelsDir)
const ways = {
  'own thread': () => host.score(records),
  'in process': async () => {
    for (const group of groupRecords(records, SHADOWS)) await scorer.score(group)
  },
}
for (const run of Object.values(ways)) await run()
const figures = new Map(Object.keys(ways).map((name) => [name, { rows: [] as number[], stood: [] as number[] }]))
for (let pair = 0; pair < PAIRS; pair++) {
  for (const [name, run] of Object.entries(ways)) {
    const { rowsPerSecond, stoodMs } = await timed(run)
    figures.get(name)?.rows.push(rowsPerSecond)
    figures.get(name)?.stood.push(stoodMs)
  }
}
const median = (values: number[]): number => values.sort((a, b) => a - b)[values.length >> 1] ?? NaN
process.stdout.write(`${count} decisions, ${SHADOWS.length} models, medians of ${PAIRS} interleaved runs\n`)
for (const [name, { rows, stood }] of figures) {
  const rate = Math.round(median(rows)).toLocaleString('en')
  process.stdout.write(`${name}: ${rate} rows/s, main loop stood still for at most ${median(stood).toFixed(1)} ms\n`)
}
await host.close(5_000)
await scorer.close()
