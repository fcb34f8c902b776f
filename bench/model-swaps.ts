// The proof of live models: 200 swaps of the champion under load, each a load, a change of routes and an unloading, by
// the HTTP interface, one begun every few seconds; a stretch of time with swaps and one as long without in turn
// (of stretches of different lengths the longer one meets more of what a shared machine does). Then: no request failed,
// the log has no decision that a swap made another model answer, p99 against that without swaps. Resident memory is
// compared over swaps without load afterwards: under load the windows grow with every payment. 200 take an hour.
// test/flow/models-live.test.ts is the short form.
//   node dist/bench/model-swaps.js [--swaps 200] [--every 8] [--rate 2000] [--folder DIR]
//                                                                                → bench/results/model-swaps.txt
import { mkdirSync, mkdtempSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { Worker } from 'node:worker_threads'
import { answerOf } from '../src/runtime/worker-answer.js'
import { readDecisionLog } from '../src/scoring/restore.js'
import { addVersion, copyModels } from '../test/flow/models-dir.js'
import { median } from './interval.js'
import { measure, type Measurement } from './measure.js'
import { targetLine, writeReport } from './report.js'
import { residentBytes } from './proc.js'
import { createRequestPool, POPULATION } from './requests.js'
import { endRun, ROOT, startServer } from './server.js'
import type { Swap, SwapData } from './swap-thread.js'

const { values } = parseArgs({
  options: {
    swaps: { type: 'string', default: '200' },
    every: { type: 'string', default: '8' },
    rate: { type: 'string', default: '2000' },
    folder: { type: 'string', default: join(ROOT, 'data') },
  },
})
/** `every`: seconds from the beginning of one swap to that of the next. */
const [wanted, every, rate] = [Number(values.swaps), Number(values.every), Number(values.rate)]
const SWAPS_PER_RUN = 4
const seconds = SWAPS_PER_RUN * every
const MODEL = 'fraud-lgbm'
/** Three versions in a ring: one answers, one is what a rollback returns to, one comes. */
const VERSIONS = ['1', '2', '3']
/** Milliseconds from the end of a swap without load to the next. */
const PAUSE_MS = 500
const SWAP_MS_MAX = 60_000
const P99_RATIO_MAX = 1.2
/**
 * Swaps at rest; the medians of their last third and of the middle one: one that kept a model would show tens of MB
 * each.
 */
const SWAPS_AT_REST = 45
const MEMORY_RATIO_MAX = 1.05

mkdirSync(values.folder, { recursive: true })
const folder = mkdtempSync(join(values.folder, 'swaps-'))
const modelsDir = await copyModels(folder)
for (const version of VERSIONS.slice(1)) await addVersion(modelsDir, MODEL, version)
const dataDir = join(folder, 'data')
const server = await startServer({ dataDir, env: { ASSAY_MODELS_DIR: modelsDir } })
const operator = new Worker(new URL('./swap-thread.js', import.meta.url), {
  workerData: { url: `http://127.0.0.1:${server.operationsPort}`, model: MODEL } satisfies SwapData,
})
let pools = 0
let swaps = 0
const swapMs: number[] = []

function load(): Promise<Measurement> {
  pools += 1
  return measure({
    ...{ kind: 'open', port: server.scorePort, pid: server.pid, folder, connections: 64, seconds },
    ratePerSecond: rate,
    pool: createRequestPool({ seed: pools, size: 50_000, prefix: `s${pools}-`, ...POPULATION }),
  })
}

/** The next version answers; the one before the last is taken out. */
async function swap(): Promise<void> {
  const [now, next, after] = [0, 1, 2].map((step) => VERSIONS[(swaps + step) % VERSIONS.length])
  const wanted: Swap = { now, next, after: swaps > 0 ? after : null }
  operator.postMessage(wanted)
  const ms = await answerOf(operator, SWAP_MS_MAX)
  if (typeof ms !== 'number') throw new Error(`no swap within ${SWAP_MS_MAX} ms`)
  swaps += 1
  swapMs.push(ms)
}

/** Measures while swaps go on. */
async function withSwaps(): Promise<Measurement> {
  const measuring = load()
  const beganMs = performance.now()
  for (let at = 0; at < SWAPS_PER_RUN && swaps < wanted; at++) {
    await delay(beganMs + (at + 0.5) * every * 1_000 - performance.now())
    await swap()
  }
  return measuring
}

/** Decisions that another model than the prescribed one made, by the reason of the hop. */
async function fallbacksInLog(): Promise<Map<string, number>> {
  const found = new Map<string, number>()
  await readDecisionLog(join(dataDir, 'decision-log'), {
    onRecord(record) {
      if (record.type !== 'decision') return
      for (const { reason: why } of record.facts.fallback) found.set(why, (found.get(why) ?? 0) + 1)
    },
  })
  return found
}

const third = (values: readonly number[], at: number): readonly number[] =>
  values.slice(Math.floor((values.length * at) / 3), Math.floor((values.length * (at + 1)) / 3))

try {
  // Warm.
  await load()
  const runs: { without: Measurement; beside: Measurement }[] = []
  for (let pair = 0; swaps < wanted; pair++) {
    const first = pair % 2 === 0 ? await load() : null
    const beside = await withSwaps()
    const without = first ?? (await load())
    runs.push({ without, beside })
    const p99 = `${without.raw.p99Ms.toFixed(2)} ms without, ${beside.raw.p99Ms.toFixed(2)} with`
    console.error(`pair ${pair + 1}: ${swaps} swaps, p99 ${p99}; ${JSON.stringify([without.errors, beside.errors])}`)
  }
  const resident: number[] = []
  for (let i = 0; i < SWAPS_AT_REST; i++) {
    await swap()
    await delay(PAUSE_MS)
    resident.push(residentBytes(server.pid))
  }
  await server.stop()
  const fallbacks = await fallbacksInLog()
  const failed = (one: Measurement): number =>
    Object.values(one.errors).reduce((sum, count) => sum + count, one.unanswered)
  const failures = {
    with: runs.map(({ beside }) => failed(beside)),
    without: runs.map(({ without }) => failed(without)),
  }
  const sum = (list: readonly number[]): number => list.reduce((total, count) => total + count, 0)
  const ratios = runs.map(({ without, beside }) => beside.raw.p99Ms / without.raw.p99Ms)
  const memory = [0, 1, 2].map((at) => median(third(resident, at)) / 2 ** 20)
  const [, middle = NaN, last = NaN] = memory
  const isVoid = runs.filter(({ without }) => without.isVoid).length * 2 > runs.length
  const lines = [
    `${wanted} swaps of the champion at ${rate} requests/s, one every ${every} s; ${runs.length} pairs of ` +
      `${seconds} s with and without, in turn`,
    `  a swap takes ${median(swapMs).toFixed(0)} ms (median): load with the gate, change of routes, unloading`,
    `  p99, raw: ${median(runs.map(({ without }) => without.raw.p99Ms)).toFixed(2)} ms without, ` +
      `${median(runs.map(({ beside }) => beside.raw.p99Ms)).toFixed(2)} with (medians)`,
    `  resident over ${SWAPS_AT_REST} swaps more without load, MiB, by thirds: ${memory.map((mib) => mib.toFixed(0)).join(', ')}`,
    `  requests without the right answer: ${sum(failures.with)} with, ${sum(failures.without)} without swaps`,
    `  models left, by reason: ${[...fallbacks].map(([why, count]) => `${why}: ${count}`).join(', ') || 'none'}`,
    '',
    targetLine('failed while swapping, above without', Math.max(0, sum(failures.with) - sum(failures.without)), {
      max: 0,
    }),
    targetLine('decisions that a swap degraded', fallbacks.get('not_loaded') ?? 0, { max: 0 }),
    targetLine('p99 with / without, median', median(ratios), { max: P99_RATIO_MAX }, isVoid),
    targetLine('resident, last third / middle', last / middle, { max: MEMORY_RATIO_MAX }),
  ]
  writeReport('model-swaps', lines, { swaps: wanted, rate, every, ratios, memory, failures, swapMs })
} finally {
  await operator.terminate()
  await endRun(server, folder)
}
