// What the sidecar costs a payment: the server's p99 with the sidecar present, and with it catching up, each against
// none, in pairs on one server. The halves of a pair are interleaved in one run of the load: in every cycle the sidecar
// is stopped (SIGSTOP) for a second, in which it computes, reads and writes nothing, and works for four. So both meet
// the same minute of a machine that others use too, the log grows all the time, and the sidecar has a quarter more
// to do than without the stops. Judged raw: what the sidecar does to the machine is what is asked here, and leaving out
// the control's gaps would leave it out. Every pair counts, whatever neighbours did to it: noise widens the interval.
// Reached where the whole interval of the median lies below what is allowed, missed where it lies above, else
// undecided.
//   node dist/bench/governance-beside.js [--pairs 10] [--seconds 40] [--rate 2000] [--folder DIR]
//                                                                            → bench/results/governance-beside.txt
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import type { Health } from '../src/contract/governance.js'
import { removeStore } from '../src/governance/store/open.js'
import { until } from '../test/governance/rig.js'
import { quantile } from './control.js'
import { type LoadResult, openLoop } from './load.js'
import { monoMs } from './proc.js'
import { riseLine, writeReport } from './report.js'
import { createRequestPool, POPULATION } from './requests.js'
import { CLI, endRun, ROOT, startServer } from './server.js'

const { values } = parseArgs({
  options: {
    pairs: { type: 'string', default: '10' },
    seconds: { type: 'string', default: '40' },
    rate: { type: 'string', default: '2000' },
    folder: { type: 'string', default: join(ROOT, 'data') },
  },
})
const [pairs, seconds, rate] = [Number(values.pairs), Number(values.seconds), Number(values.rate)]
/** What the 99th percentile may rise by, ms. */
const RISE_MS_MAX = 1
/** Milliseconds of each cycle for which the sidecar is stopped, and for which it works. */
const [STOPPED_MS, WORKS_MS] = [1_000, 4_000]
/** What begins sooner after a stop or a resumption is counted nowhere. */
const SETTLE_MS = 100
/** Seconds of load before the first pair: a catch-up that outlasts a run. */
const AHEAD_SECONDS = 90
/** Records that a sidecar has caught up with when its first run begins: starting is not catching up. */
const UNDER_WAY_RECORDS = 10_000
/** What one that is catching up is behind at least when a run begins; below it begins anew. */
const BEHIND_RECORDS_MIN = 100_000
const WAIT_MS_MAX = 120_000

mkdirSync(values.folder, { recursive: true })
const folder = mkdtempSync(join(values.folder, 'beside-'))
const dataDir = join(folder, 'data')
const server = await startServer({ dataDir })
const sidecars = new Set<ChildProcess>()
let pools = 0

function load(forSeconds: number): Promise<LoadResult> {
  pools += 1
  return openLoop({
    ...{ port: server.scorePort, connections: 64, ratePerSecond: rate, seconds: forSeconds },
    pool: createRequestPool({ seed: pools, size: 50_000, prefix: `g${pools}-`, ...POPULATION }),
  })
}

interface Sidecar {
  readonly child: ChildProcess
  /** Records behind the log; Infinity until it is ready. */
  lag(): Promise<number>
}

/** The release's sidecar on the server's directory, once it is ready; its API says how far it is. */
async function startSidecar(): Promise<Sidecar> {
  const env = { ...process.env, ASSAY_DATA_DIR: dataDir, ASSAY_PROCESS__GOVERNANCE__PORT: '0' }
  const child = spawn(process.execPath, [CLI, 'govern'], { env, stdio: ['ignore', 'pipe', 'pipe'] })
  sidecars.add(child)
  child.once('exit', () => sidecars.delete(child))
  let output = ''
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => (output += chunk.toString()))
  const address = (): string => /http:\/\/127\.0\.0\.1:\d+/.exec(output)?.[0] ?? ''
  await until(() => address() !== '', 'the sidecar listens', WAIT_MS_MAX)
  const sidecar = {
    child,
    async lag() {
      const health = (await (await fetch(`${address()}/api/v1/health`)).json()) as Health
      return health.ready ? health.lag.records : Infinity
    },
  }
  await until(async () => (await sidecar.lag()) < Infinity, 'the sidecar is ready', WAIT_MS_MAX)
  return sidecar
}

async function end({ child }: Sidecar): Promise<void> {
  const exited = once(child, 'exit')
  child.kill('SIGTERM')
  await exited
}

/** Anew from the log's beginning, and under way. */
async function startBehind(): Promise<Sidecar> {
  removeStore(join(dataDir, 'governance'))
  const sidecar = await startSidecar()
  const wanted = (await sidecar.lag()) - UNDER_WAY_RECORDS
  await until(async () => (await sidecar.lag()) < wanted, 'the sidecar is under way', WAIT_MS_MAX)
  return sidecar
}

const STATES = {
  async present(sidecar: Sidecar | null): Promise<Sidecar> {
    const level = sidecar ?? (await startSidecar())
    await until(async () => (await level.lag()) < rate, 'the sidecar is level', WAIT_MS_MAX)
    return level
  },
  async 'catching up'(sidecar: Sidecar | null): Promise<Sidecar> {
    if (sidecar !== null && (await sidecar.lag()) >= BEHIND_RECORDS_MIN) return sidecar
    if (sidecar !== null) await end(sidecar)
    return startBehind()
  },
}
type State = keyof typeof STATES

const rises: Record<State, number[]> = { present: [], 'catching up': [] }
const rows: string[] = []

/** Stops the sidecar in each cycle until `over`; the times at which it was stopped and resumed, in turn. */
async function stopAndGo({ child }: Sidecar, over: AbortSignal): Promise<number[]> {
  const turns: number[] = []
  while (!over.aborted) {
    child.kill(turns.length % 2 === 0 ? 'SIGSTOP' : 'SIGCONT')
    turns.push(monoMs())
    await delay(turns.length % 2 === 1 ? STOPPED_MS : WORKS_MS)
  }
  child.kill('SIGCONT')
  return turns
}

/** The 99th percentile, ms, of requests that begin while the sidecar is stopped, and while it works. */
function p99s({ timeline: { starts, ends, count } }: LoadResult, turns: readonly number[]): [number, number] {
  const latencies: [number[], number[]] = [[], []]
  for (let i = 0; i < count; i++) {
    const turn = turns.findLastIndex((at) => at <= starts[i])
    if (turn >= 0 && starts[i] >= turns[turn] + SETTLE_MS) latencies[turn % 2].push(ends[i] - starts[i])
  }
  const [stopped, works] = latencies.map((list) => quantile(Float64Array.from(list).sort(), 0.99))
  return [stopped, works]
}

async function runPairs(state: State): Promise<void> {
  let sidecar: Sidecar | null = null
  for (let pair = 1; pair <= pairs; pair++) {
    sidecar = await STATES[state](sidecar)
    const from = await sidecar.lag()
    const over = new AbortController()
    const turning = stopAndGo(sidecar, over.signal)
    const loaded = await load(seconds)
    const to = await sidecar.lag()
    over.abort()
    const [without, beside] = p99s(loaded, await turning)
    rises[state].push(beside - without)
    const figures = [without, beside, beside - without].map((ms) => ms.toFixed(2).padStart(8)).join('')
    const errors = [...loaded.errors].map(([status, count]) => `   ${count} × ${status === 0 ? 'lost' : status}`)
    rows.push(
      `  ${String(pair).padStart(4)}  ${state.padEnd(12)}${figures}${`${from} → ${to}`.padStart(22)}${errors.join('')}`,
    )
    console.error(rows.at(-1))
  }
  if (sidecar !== null) await end(sidecar)
}

try {
  await load(AHEAD_SECONDS)
  for (const state of ['present', 'catching up'] as const) await runPairs(state)
  const lines = [
    `p99 at ${rate}/s, raw, ms; ${pairs} pairs of ${seconds} s; the sidecar runs at idle priority, and is stopped for 1 s of every 5`,
    '',
    '  pair  sidecar      without  beside    rise       records behind',
    ...rows,
    '',
    ...Object.entries(rises).map(([state, list]) => riseLine(`${state}: p99`, list, RISE_MS_MAX)),
  ]
  writeReport('governance-beside', lines, { pairs, seconds, rate, rises })
} finally {
  // One that a failure left behind may be stopped.
  for (const child of sidecars) child.kill('SIGKILL')
  await endRun(server, folder)
}
