// What the sidecar costs a payment: the server's p99 with the sidecar present, and with it catching up, each against
// absent, in interleaved pairs on one server. Judged raw: what the sidecar does to the machine is what is asked here,
// and leaving out the control's gaps would leave it out. Every pair counts, whatever neighbours did to it (a pair whose
// run without the sidecar is void says so): noise widens the interval. Reached where the whole interval of the median
// lies below what is allowed, missed where it lies above, else undecided.
//   node dist/bench/governance-beside.js [--pairs 10] [--seconds 10] [--rate 2000] [--folder DIR]
//                                                                            → bench/results/governance-beside.txt
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import type { Health } from '../src/contract/governance.js'
import { removeStore } from '../src/governance/store/open.js'
import { until } from '../test/governance/rig.js'
import { measure, type Measurement } from './measure.js'
import { riseLine, writeReport } from './report.js'
import { createRequestPool, POPULATION } from './requests.js'
import { CLI, endRun, ROOT, startServer } from './server.js'

const { values } = parseArgs({
  options: {
    pairs: { type: 'string', default: '10' },
    seconds: { type: 'string', default: '10' },
    rate: { type: 'string', default: '2000' },
    folder: { type: 'string', default: join(ROOT, 'data') },
  },
})
const [pairs, seconds, rate] = [Number(values.pairs), Number(values.seconds), Number(values.rate)]
/** What the 99th percentile may rise by, ms. */
const RISE_MS_MAX = 1
/** Seconds of load before the first pair: a catch-up that outlasts a run. */
const AHEAD_SECONDS = 90
/** Records that a sidecar has caught up with when its run begins: starting is not catching up. */
const UNDER_WAY_RECORDS = 10_000
const WAIT_MS_MAX = 120_000

mkdirSync(values.folder, { recursive: true })
const folder = mkdtempSync(join(values.folder, 'beside-'))
const dataDir = join(folder, 'data')
const server = await startServer({ dataDir })
let pools = 0

function load(forSeconds: number): Promise<Measurement> {
  pools += 1
  return measure({
    ...{ kind: 'open', port: server.scorePort, pid: server.pid, folder, connections: 64, seconds: forSeconds },
    ratePerSecond: rate,
    pool: createRequestPool({ seed: pools, size: 50_000, prefix: `g${pools}-`, ...POPULATION }),
  })
}

/** The release's sidecar on the server's directory; its API says how far it is. */
async function startSidecar(): Promise<{ child: ChildProcess; lag: () => Promise<number> }> {
  const env = { ...process.env, ASSAY_DATA_DIR: dataDir, ASSAY_PROCESS__GOVERNANCE__PORT: '0' }
  const child = spawn(process.execPath, [CLI, 'govern'], { env, stdio: ['ignore', 'pipe', 'pipe'] })
  let output = ''
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => (output += chunk.toString()))
  const address = (): string => /http:\/\/127\.0\.0\.1:\d+/.exec(output)?.[0] ?? ''
  await until(() => address() !== '', 'the sidecar listens', WAIT_MS_MAX)
  return {
    child,
    async lag() {
      const health = (await (await fetch(`${address()}/api/v1/health`)).json()) as Health
      return health.ready ? health.lag.records : Infinity
    },
  }
}

async function firstLag(lag: () => Promise<number>): Promise<number> {
  await until(async () => (await lag()) < Infinity, 'the sidecar is ready', WAIT_MS_MAX)
  return lag()
}

async function end(child: ChildProcess): Promise<void> {
  const exited = once(child, 'exit')
  child.kill('SIGTERM')
  await exited
}

interface Run {
  readonly measured: Measurement
  /** Records that the sidecar was behind at the run's end; 0 where it was absent. */
  readonly behind: number
}

async function beside({ caughtUp }: { readonly caughtUp: boolean }): Promise<Run> {
  if (!caughtUp) removeStore(join(dataDir, 'governance'))
  const { child, lag } = await startSidecar()
  const wanted = caughtUp ? rate : (await firstLag(lag)) - UNDER_WAY_RECORDS
  await until(async () => (await lag()) < wanted, 'the sidecar is under way', WAIT_MS_MAX)
  const measured = await load(seconds)
  const behind = await lag()
  await end(child)
  return { measured, behind }
}

const STATES = {
  absent: async (): Promise<Run> => ({ measured: await load(seconds), behind: 0 }),
  present: () => beside({ caughtUp: true }),
  'catching up': () => beside({ caughtUp: false }),
}
type State = keyof typeof STATES

const rises: Record<string, number[]> = { present: [], 'catching up': [] }
const rows: string[] = []

async function runPair(pair: number, state: 'present' | 'catching up'): Promise<void> {
  const order: State[] = pair % 2 === 0 ? ['absent', state] : [state, 'absent']
  const runs = new Map<State, Run>()
  for (const each of order) runs.set(each, await STATES[each]())
  const [without, beside] = [runs.get('absent'), runs.get(state)]
  if (without === undefined || beside === undefined) throw new Error('half a pair')
  const [a, b] = [without.measured.raw.p99Ms, beside.measured.raw.p99Ms]
  rises[state].push(b - a)
  const figures = [a, b, b - a].map((ms) => ms.toFixed(2).padStart(8)).join('')
  const row = `  ${String(pair + 1).padStart(4)}  ${state.padEnd(12)}${figures}${String(beside.behind).padStart(10)}`
  rows.push(without.measured.isVoid ? `${row}   void without it` : row)
  console.error(rows.at(-1))
}

try {
  await load(AHEAD_SECONDS)
  for (let pair = 0; pair < pairs; pair++) {
    for (const state of ['present', 'catching up'] as const) await runPair(pair, state)
  }
  const lines = [
    `p99 at ${rate}/s, raw, ms; ${pairs} pairs of ${seconds} s, in turn; the sidecar runs at idle priority`,
    '',
    '  pair  sidecar       absent  beside    rise  behind at the end, records',
    ...rows,
    '',
    ...Object.entries(rises).map(([state, list]) => riseLine(`${state}: p99`, list, RISE_MS_MAX)),
  ]
  writeReport('governance-beside', lines, { pairs, seconds, rate, rises })
} finally {
  await endRun(server, folder)
}
