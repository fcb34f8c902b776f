// A lane by itself: round trip at rest, throughput in flights of 32 rows, CPU of the main thread per row, what the
// breaker costs. The main thread's CPU is the kernel's account of that one thread (schedstat), so that neighbours do
// not count; wall-clock figures do suffer from them, hence rounds, and the noise beside the figures.
// Run: node dist/bench/lane.js [bundle] > bench/results/lane.txt
import { readFileSync } from 'node:fs'
import os from 'node:os'
import { PerformanceObserver } from 'node:perf_hooks'
import { fileURLToPath } from 'node:url'
import { LIMITS } from '../src/limits.js'
import { readBundle } from '../src/models/bundle.js'
import { systemClock } from '../src/runtime/clock.js'
import { createBreaker } from '../src/scoring/lane/breaker.js'
import { createHangs } from '../src/scoring/lane/hangs.js'
import { createModelThreads } from '../src/scoring/lane/threads.js'
import { createLane } from '../src/scoring/lane/create.js'
import type { LaneListener } from '../src/scoring/lane/port.js'
import { startTicker } from './control.js'
import { median } from './interval.js'
import { machineSeconds } from './proc.js'

const POLICY = { error_percent: 50, volume: 20, window_ms: 10_000, probe_after_ms: 1_000 }
const REST_TRIPS = 20_000
const SPACED_TRIPS = 2_000
const LOAD_ROWS = 400_000
/** Flights under way in the closed loop: enough that the thread never waits. */
const FLIGHTS = 8
const ROUNDS = 5

const root = fileURLToPath(new URL('../../', import.meta.url))
const bundle = await readBundle(process.argv[2] ?? `${root}models/fraud-lgbm/1`)
const { golden, manifest } = bundle
const width = golden.columns
/** The vector of a catalogue somewhat wider than the model, a row per golden row. */
const stride = width + 6
const vectors = new Float64Array(golden.count * stride)
for (let row = 0; row < golden.count; row++) {
  vectors.set(golden.values.subarray(row * width, (row + 1) * width), row * stride)
}

let onAnswer: () => void = () => undefined
let failures = 0
const listener: LaneListener = {
  onScore: () => onAnswer(),
  onFailure: () => {
    failures++
    onAnswer()
  },
}
const lane = await createLane(
  { bundle, columns: Int32Array.from({ length: width }, (_, i) => i), breaker: POLICY, deadlineMs: 8 },
  { clock: systemClock, listener, hangs: createHangs(), threads: createModelThreads() },
)

let ticket = 0
function offer(): void {
  const refused = lane.offer(ticket, vectors, (ticket % golden.count) * stride)
  if (refused !== null) throw new Error(`offer said ${refused}`)
  ticket++
}

/** Nanoseconds this thread ran, by the kernel's account; the main thread's id is that of the process. */
function threadNs(): number {
  return Number(readFileSync(`/proc/self/task/${process.pid}/schedstat`, 'latin1').split(' ', 1)[0])
}

async function rest(trips: number, pause: () => Promise<unknown>): Promise<Float64Array> {
  const us = new Float64Array(trips)
  for (let trip = 0; trip < trips; trip++) {
    const from = performance.now()
    await new Promise<void>((resolve) => {
      onAnswer = resolve
      offer()
      lane.flush()
    })
    us[trip] = (performance.now() - from) * 1000
    await pause()
  }
  return us.sort()
}

interface Load {
  readonly perSecond: number
  readonly mainUs: number
  readonly rowsPerRun: number
  readonly scavenges: number
}

/** A closed loop: whenever a flight's last row is answered, the next flight is handed over. */
async function load(rows: number, flightRows: number): Promise<Load> {
  let scavenges = 0
  const observer = new PerformanceObserver((list) => (scavenges += list.getEntries().length))
  observer.observe({ entryTypes: ['gc'] })
  const runs = lane.counters.runs
  const cpu = threadNs()
  const from = performance.now()
  await new Promise<void>((resolve) => {
    let sent = 0
    let answered = 0
    const send = (): void => {
      for (let row = 0; row < flightRows; row++) offer()
      lane.flush()
      sent += flightRows
    }
    onAnswer = () => {
      answered++
      if (answered % flightRows !== 0) return
      if (sent < rows) send()
      else if (answered === sent) resolve()
    }
    for (let flight = 0; flight < FLIGHTS; flight++) send()
  })
  const seconds = (performance.now() - from) / 1000
  const mainUs = (threadNs() - cpu) / 1000 / rows
  await new Promise((resolve) => setImmediate(resolve))
  observer.disconnect()
  return { perSecond: rows / seconds, mainUs, rowsPerRun: rows / (lane.counters.runs - runs), scavenges }
}

async function breakerUs(failed: boolean): Promise<number> {
  const breaker = createBreaker(
    { policy: { ...POLICY, error_percent: 100 }, failuresInRow: Infinity },
    { onState: () => undefined, onProbe: () => undefined },
  )
  const flights = 50_000
  const from = threadNs()
  for (let flight = 0; flight < flights; flight++) {
    breaker.record(failed, failed)
    if (flight % 16 === 0) await Promise.resolve()
  }
  const us = (threadNs() - from) / 1000 / flights
  breaker.close()
  return us
}

const range = (values: number[], digits: number): string => {
  const sorted = values.sort((a, b) => a - b)
  return `${median(sorted).toFixed(digits)} (${sorted[0]?.toFixed(digits)} … ${sorted.at(-1)?.toFixed(digits)})`
}
const quantile = (sorted: Float64Array, q: number): number => sorted[Math.floor(sorted.length * q)] ?? NaN

const timer = startTicker('timer', 1)
const machine = machineSeconds()
const own = process.cpuUsage()
const started = performance.now()

console.log(`${os.cpus()[0]?.model ?? 'unknown CPU'}, ${os.cpus().length} cores, Node ${process.version}`)
console.log(`${manifest.name}@${manifest.version}, ${width} columns; median (low … high) of ${ROUNDS} rounds`)
await load(200_000, LIMITS.flightRowsMax)

const busy: Float64Array[] = []
const spaced: Float64Array[] = []
for (let round = 0; round < ROUNDS; round++) {
  busy.push(await rest(REST_TRIPS / ROUNDS, () => new Promise((resolve) => setImmediate(resolve))))
  spaced.push(await rest(SPACED_TRIPS / ROUNDS, () => new Promise((resolve) => setTimeout(resolve, 1))))
}
const trips = (all: Float64Array[], q: number): string =>
  `${range(
    all.map((one) => quantile(one, q)),
    0,
  )} µs`
console.log(`round trip, one row, lane empty, next at once      p50 ${trips(busy, 0.5)}, p99 ${trips(busy, 0.99)}`)
console.log(`round trip, one row, lane empty, next after 1 ms   p50 ${trips(spaced, 0.5)}, p99 ${trips(spaced, 0.99)}`)
for (const flightRows of [LIMITS.flightRowsMax, 8, 1]) {
  const loads: Load[] = []
  for (let round = 0; round < ROUNDS; round++)
    loads.push(await load((LOAD_ROWS / ROUNDS / 32) * flightRows, flightRows))
  console.log(
    `flights of ${String(flightRows).padStart(2)} rows, ${FLIGHTS} under way   rows/s ${range(
      loads.map((one) => one.perSecond),
      0,
    )}, ` +
      `main-thread CPU µs per row ${range(
        loads.map((one) => one.mainUs),
        2,
      )}, rows per run ${range(
        loads.map((one) => one.rowsPerRun),
        1,
      )}, ` +
      `collections ${range(
        loads.map((one) => one.scavenges),
        0,
      )}`,
  )
}
for (const failed of [false, true]) {
  const costs: number[] = []
  for (let round = 0; round < ROUNDS; round++) costs.push(await breakerUs(failed))
  console.log(`breaker, µs of CPU per flight that ${failed ? 'failed' : 'succeeded'}   ${range(costs, 2)}`)
}

const seconds = (performance.now() - started) / 1000
const after = machineSeconds()
const used = process.cpuUsage(own)
await timer.stop()
const cores = os.cpus().length
const total = (after.total - machine.total - (after.idle - machine.idle)) / seconds
const mine = (used.user + used.system) / 1e6 / seconds
console.log(
  `noise: other programs kept ${(total - mine).toFixed(2)} of ${cores} cores busy on average, ` +
    `${((after.steal - machine.steal) / seconds).toFixed(2)} stolen by the host; a 1 ms timer on the same cores ` +
    `was more than 2 ms late ${timer.data.state[1]} times in ${seconds.toFixed(0)} s`,
)
if (failures > 0) throw new Error(`${failures} rows failed`)
await lane.close(1_000)
