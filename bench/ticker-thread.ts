// A thread that sleeps precisely. Node's own timers round to whole milliseconds, which at 2,000 requests a second would
// be charged to the server; a futex wait with a timeout wakes within some 60 µs. Three uses:
//   pace    posts a message at every tick, for the open loop
//   timer   wakes every millisecond and notes the gaps: the control for the processor
//   disk    writes 4 KiB and syncs 50 times a second beside the decision log: the control for the volume
import { closeSync, fdatasyncSync, openSync, writeSync } from 'node:fs'
import { parentPort, workerData } from 'node:worker_threads'
import { monoMs } from './proc.js'

/**
 * Gaps as pairs (from, until) in `gaps` (of a pace: the time of its first tick);
 * `state[0]` is 1 to stop, `state[1]` counts gaps, `state[2]` counts ticks.
 */
export interface TickerData {
  readonly kind: 'pace' | 'timer' | 'disk'
  readonly everyMs: number
  readonly gapMs: number
  readonly path: string
  readonly state: Int32Array
  readonly gaps: Float64Array
  /** Duration of each tick's work or lateness, ms, the newest overwriting the oldest. */
  readonly durations: Float64Array
}

const data = workerData as TickerData
const { state, gaps, durations } = data
const page = Buffer.alloc(4096, 0x5a)
const file = data.kind === 'disk' ? openSync(data.path, 'w') : -1

function note(from: number, until: number): void {
  const count = state[1] ?? 0
  if (2 * count + 1 >= gaps.length) return
  gaps[2 * count] = from
  gaps[2 * count + 1] = until
  state[1] = count + 1
}

let ticks = 0
const firstDue = monoMs() + data.everyMs
let due = firstDue
if (data.kind === 'pace') gaps[0] = firstDue
let previous = due - data.everyMs
while (Atomics.load(state, 0) === 0) {
  const wait = due - monoMs()
  if (wait > 0) Atomics.wait(state, 0, 0, wait)
  const now = monoMs()
  let took = now - due
  if (data.kind === 'pace') {
    parentPort?.postMessage(0)
  } else if (data.kind === 'timer') {
    if (now - previous > data.gapMs) note(previous, now)
  } else {
    writeSync(file, page, 0, page.length, (ticks % 64) * page.length)
    fdatasyncSync(file)
    took = monoMs() - now
    if (took > data.gapMs) note(now, now + took)
  }
  previous = now
  durations[ticks % durations.length] = took
  ticks += 1
  state[2] = ticks
  // Missed ticks are passed over and the grid is kept: the open loop counts what is due by the clock.
  due =
    firstDue +
    Math.max(Math.round((due - firstDue) / data.everyMs) + 1, Math.floor((monoMs() - firstDue) / data.everyMs)) *
      data.everyMs
}
if (file !== -1) closeSync(file)
