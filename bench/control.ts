// The control of a measurement (semantics 14): what the machine did to an idle program on the same cores and volume.
// Requests that were in flight during one of its gaps are left out of the cleaned figures, and their share is stated.
import { once } from 'node:events'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { Worker } from 'node:worker_threads'
import type { TickerData } from './ticker-thread.js'

/** A gap above this many milliseconds is the machine's, not the server's. */
export const GAP_MS = 2
/** Above this share of requests left out the run says nothing. */
export const VOID_SHARE = 0.01

const GAPS_MAX = 65_536

/** A running thread of bench/ticker-thread.ts. */
export interface Ticker {
  readonly data: TickerData
  readonly worker: Worker
  stop(): Promise<void>
}

/** Starts a thread that ticks until stopped; durations of the last `keep` ticks are kept. */
export function startTicker(kind: TickerData['kind'], everyMs: number, path = '', keep = 65_536): Ticker {
  const data: TickerData = {
    kind,
    everyMs,
    gapMs: GAP_MS,
    path,
    state: new Int32Array(new SharedArrayBuffer(16)),
    gaps: new Float64Array(new SharedArrayBuffer(16 * GAPS_MAX)),
    durations: new Float64Array(new SharedArrayBuffer(8 * keep)),
  }
  const worker = new Worker(new URL('./ticker-thread.js', import.meta.url), { workerData: data })
  return {
    data,
    worker,
    async stop() {
      const ended = once(worker, 'exit')
      Atomics.store(data.state, 0, 1)
      Atomics.notify(data.state, 0)
      await ended
    },
  }
}

export interface ControlReport {
  /** Merged, in order of time: pairs (from, until), monotonic ms. */
  readonly gaps: Float64Array
  readonly timerGaps: number
  readonly diskGaps: number
  readonly longestMs: number
  readonly syncP50Ms: number
  readonly syncP99Ms: number
}

/** Starts both controls; the file for the syncs lies in `folder`, the volume of the decision log. */
export function startControl(folder: string): { stop(): Promise<ControlReport> } {
  const path = join(folder, 'control.tmp')
  const timer = startTicker('timer', 1)
  const disk = startTicker('disk', 20, path)
  return {
    async stop() {
      await Promise.all([timer.stop(), disk.stop()])
      await rm(path, { force: true })
      const timerGaps = timer.data.state[1] ?? 0
      const diskGaps = disk.data.state[1] ?? 0
      const gaps = mergeGaps([...pairs(timer.data.gaps, timerGaps), ...pairs(disk.data.gaps, diskGaps)])
      const syncs = disk.data.durations.slice(0, Math.min(disk.data.state[2] ?? 0, disk.data.durations.length)).sort()
      let longestMs = 0
      for (let i = 0; i < gaps.length; i += 2) longestMs = Math.max(longestMs, (gaps[i + 1] ?? 0) - (gaps[i] ?? 0))
      return { gaps, timerGaps, diskGaps, longestMs, syncP50Ms: quantile(syncs, 0.5), syncP99Ms: quantile(syncs, 0.99) }
    },
  }
}

function pairs(gaps: Float64Array, count: number): [number, number][] {
  return Array.from({ length: count }, (_, i) => [gaps[2 * i] ?? 0, gaps[2 * i + 1] ?? 0])
}

/** Sorts and joins intervals that touch; the result is flat pairs. */
export function mergeGaps(list: [number, number][]): Float64Array {
  const merged: [number, number][] = []
  for (const [from, until] of list.sort((a, b) => a[0] - b[0])) {
    const last = merged.at(-1)
    if (last !== undefined && from <= last[1]) last[1] = Math.max(last[1], until)
    else merged.push([from, until])
  }
  return Float64Array.from(merged.flat())
}

/** True where [from, until] meets one of the merged gaps. */
export function inGap(gaps: Float64Array, from: number, until: number): boolean {
  let low = 0
  let high = gaps.length / 2
  while (low < high) {
    const middle = (low + high) >> 1
    if ((gaps[2 * middle + 1] ?? 0) < from) low = middle + 1
    else high = middle
  }
  return 2 * low < gaps.length && (gaps[2 * low] ?? 0) <= until
}

/** The value below which `share` of the sorted values lie (nearest rank); NaN where there are none. */
export function quantile(sorted: Float64Array, share: number): number {
  if (sorted.length === 0) return NaN
  return sorted[Math.min(sorted.length - 1, Math.max(0, Math.ceil(share * sorted.length) - 1))] ?? NaN
}
