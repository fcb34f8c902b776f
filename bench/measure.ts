// One measurement: a load against a server, with the control beside it, turned into figures.
// Raw and cleaned stand side by side; cleaned leaves out requests that were in flight during a gap of the control, and
// is void where that is more than 1 % of them (semantics 14).
import { build, encodeIntoCompressedBase64, initWebAssembly } from 'hdr-histogram-js'
import { inGap, quantile, startControl, VOID_SHARE, type ControlReport } from './control.js'
import { closedLoop, openLoop, type LoadResult, type Timeline } from './load.js'
import { cpuSeconds, machineSeconds, residentBytes } from './proc.js'
import type { RequestPool } from './requests.js'

export interface Latency {
  readonly count: number
  readonly p50Ms: number
  readonly p90Ms: number
  readonly p99Ms: number
  readonly p999Ms: number
  readonly maxMs: number
}

export interface Measurement {
  readonly kind: 'open' | 'closed'
  readonly connections: number
  readonly seconds: number
  readonly perSecond: number
  readonly errors: Readonly<Record<string, number>>
  readonly unanswered: number
  readonly raw: Latency
  readonly cleaned: Latency
  readonly leftOutShare: number
  readonly isVoid: boolean
  readonly control: Omit<ControlReport, 'gaps'> & { readonly gapCount: number; readonly gapMs: number }
  /** CPU of the server, all threads, µs per decision. */
  readonly serverCpuUs: number
  readonly generatorCpuUs: number
  /** How late the generator itself was, ms; inside the latencies above. */
  readonly latenessP50Ms: number
  readonly latenessP99Ms: number
  /** Share of the machine's cores that was busy, and that other tenants took. */
  readonly machineBusy: number
  readonly machineStolen: number
  /** Resident bytes of the server once a second. */
  readonly residentBytes: readonly number[]
  /** The cleaned distribution in HdrHistogram's compressed form, µs. */
  readonly histogram: string
}

export interface MeasureOptions {
  readonly kind: 'open' | 'closed'
  readonly port: number
  readonly pid: number
  /** The volume of the decision log: the control syncs here. */
  readonly folder: string
  readonly connections: number
  readonly ratePerSecond: number
  readonly seconds: number
  readonly pool: RequestPool
}

/** Loads the server and says how it went. */
export async function measure(options: MeasureOptions): Promise<Measurement> {
  const { pid, kind } = options
  const resident: number[] = [residentBytes(pid)]
  const sampler = setInterval(() => resident.push(residentBytes(pid)), 1e3)
  const control = startControl(options.folder)
  const before = { cpu: cpuSeconds(pid), machine: machineSeconds() }
  const load = kind === 'open' ? await openLoop(options) : await closedLoop(options)
  const after = { cpu: cpuSeconds(pid), machine: machineSeconds() }
  const report = await control.stop()
  clearInterval(sampler)
  const { timeline } = load
  const latencies = select(timeline, () => true)
  const kept = select(timeline, (start, end) => !inGap(report.gaps, start, end))
  const leftOutShare = 1 - kept.length / Math.max(1, latencies.length)
  const machine = after.machine.total - before.machine.total
  return {
    kind,
    connections: options.connections,
    seconds: load.seconds,
    perSecond: timeline.count / load.seconds,
    errors: Object.fromEntries(load.errors),
    unanswered: load.unanswered,
    raw: summarize(latencies),
    cleaned: summarize(kept),
    leftOutShare,
    isVoid: leftOutShare > VOID_SHARE,
    control: controlFigures(report),
    serverCpuUs: (1e6 * (after.cpu - before.cpu)) / Math.max(1, timeline.count),
    generatorCpuUs: load.generatorCpuUs,
    ...lateness(load),
    machineBusy: 1 - (after.machine.idle - before.machine.idle) / machine,
    machineStolen: (after.machine.steal - before.machine.steal) / machine,
    residentBytes: resident,
    histogram: encode(kept),
  }
}

function controlFigures({ gaps, ...figures }: ControlReport): Measurement['control'] {
  let gapMs = 0
  for (let i = 0; i < gaps.length; i += 2) gapMs += (gaps[i + 1] ?? 0) - (gaps[i] ?? 0)
  return { ...figures, gapCount: gaps.length / 2, gapMs }
}

function lateness(load: LoadResult): { latenessP50Ms: number; latenessP99Ms: number } {
  const sorted = load.lateness.slice().sort()
  return { latenessP50Ms: quantile(sorted, 0.5), latenessP99Ms: quantile(sorted, 0.99) }
}

/** Latencies, ms, in ascending order, of the requests that pass. */
function select({ starts, ends, count }: Timeline, passes: (start: number, end: number) => boolean): Float64Array {
  const out = new Float64Array(count)
  let kept = 0
  for (let i = 0; i < count; i++) {
    const start = starts[i] ?? 0
    const end = ends[i] ?? 0
    if (passes(start, end)) out[kept++] = end - start
  }
  return out.subarray(0, kept).sort()
}

/** Percentiles by nearest rank: every latency is at hand, nothing is estimated. */
export function summarize(sorted: Float64Array): Latency {
  return {
    count: sorted.length,
    p50Ms: quantile(sorted, 0.5),
    p90Ms: quantile(sorted, 0.9),
    p99Ms: quantile(sorted, 0.99),
    p999Ms: quantile(sorted, 0.999),
    maxMs: quantile(sorted, 1),
  }
}

await initWebAssembly()

/** For whoever wants to merge or plot runs: HdrHistogram's own format, microseconds. */
function encode(latenciesMs: Float64Array): string {
  const histogram = build({ useWebAssembly: true, numberOfSignificantValueDigits: 3, highestTrackableValue: 60e6 })
  for (const ms of latenciesMs) histogram.recordValue(Math.max(1, Math.round(ms * 1e3)))
  const text = encodeIntoCompressedBase64(histogram)
  histogram.destroy()
  return text
}
