// What the sidecar costs a payment: the server's p99 with the sidecar present, and with it catching up, each against
// none, in interleaved pairs on one server. For the half without it the sidecar is stopped (SIGSTOP): it computes,
// reads and writes nothing, and a pair is short enough for its halves to meet the same machine. Judged raw: what the
// sidecar does to the machine is what is asked here, and leaving out the control's gaps would leave it out. Every pair
// counts, whatever neighbours did to it (a pair whose run without the sidecar is void says so): noise widens the
// interval. Reached where the whole interval of the median lies below what is allowed, missed where it lies above,
// else undecided.
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
/** Records that a sidecar has caught up with when its first run begins: starting is not catching up. */
const UNDER_WAY_RECORDS = 10_000
/** What one that is catching up is behind at least when a run begins; below it begins anew. */
const BEHIND_RECORDS_MIN = 100_000
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

interface Sidecar {
  readonly child: ChildProcess
  /** Records behind the log; Infinity until it is ready. */
  lag(): Promise<number>
}

/** The release's sidecar on the server's directory, once it is ready; its API says how far it is. */
async function startSidecar(): Promise<Sidecar> {
  const env = { ...process.env, ASSAY_DATA_DIR: dataDir, ASSAY_PROCESS__GOVERNANCE__PORT: '0' }
  const child = spawn(process.execPath, [CLI, 'govern'], { env, stdio: ['ignore', 'pipe', 'pipe'] })
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

async function without({ child }: Sidecar): Promise<Measurement> {
  child.kill('SIGSTOP')
  const measured = await load(seconds)
  child.kill('SIGCONT')
  return measured
}

/** All pairs of one state; in every other one the half without the sidecar comes first. */
async function runPairs(state: State): Promise<void> {
  let sidecar: Sidecar | null = null
  for (let pair = 0; pair < pairs; pair++) {
    sidecar = await STATES[state](sidecar)
    const first = pair % 2 === 0 ? await without(sidecar) : null
    if (first !== null) sidecar = await STATES[state](sidecar)
    const beside = await load(seconds)
    const behind = await sidecar.lag()
    note(state, { pair, behind, beside, absent: first ?? (await without(sidecar)) })
  }
  if (sidecar !== null) await end(sidecar)
}

interface Pair {
  readonly pair: number
  /** Records that the sidecar was behind at the end of its run. */
  readonly behind: number
  readonly absent: Measurement
  readonly beside: Measurement
}

function note(state: State, { pair, behind, absent, beside }: Pair): void {
  const [a, b] = [absent.raw.p99Ms, beside.raw.p99Ms]
  rises[state].push(b - a)
  const figures = [a, b, b - a].map((ms) => ms.toFixed(2).padStart(8)).join('')
  const row = `  ${String(pair + 1).padStart(4)}  ${state.padEnd(12)}${figures}${String(behind).padStart(10)}`
  rows.push(absent.isVoid ? `${row}   void without it` : row)
  console.error(rows.at(-1))
}

try {
  await load(AHEAD_SECONDS)
  for (const state of ['present', 'catching up'] as const) await runPairs(state)
  const lines = [
    `p99 at ${rate}/s, raw, ms; ${pairs} pairs of ${seconds} s, in turn; the sidecar runs at idle priority, and is stopped for the half without it`,
    '',
    '  pair  sidecar      without  beside    rise  behind at the end, records',
    ...rows,
    '',
    ...Object.entries(rises).map(([state, list]) => riseLine(`${state}: p99`, list, RISE_MS_MAX)),
  ]
  writeReport('governance-beside', lines, { pairs, seconds, rate, rises })
} finally {
  await endRun(server, folder)
}
