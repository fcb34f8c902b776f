// Measurements as text for people and JSON for programs, side by side in bench/results/.
// Says with every figure what it was measured on; names neither host nor path.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { cpus, release, totalmem } from 'node:os'
import { join } from 'node:path'
import { medianInterval } from './interval.js'
import type { Latency, Measurement } from './measure.js'
import { ROOT } from './server.js'

/** What the figures were measured on. */
export function machine(): Record<string, string | number> {
  const model = /^model name\s*:\s*(.+)$/m.exec(readFileSync('/proc/cpuinfo', 'utf8'))?.[1] ?? 'unknown'
  return {
    cpu: model,
    cores: cpus().length,
    memory_gib: Math.round(totalmem() / 2 ** 30),
    kernel: release(),
    node: process.version,
  }
}

const ms = (value: number): string => (Number.isNaN(value) ? '-' : value.toFixed(2)).padStart(8)
const percent = (share: number): string => `${(100 * share).toFixed(2)} %`

function latencyRow(name: string, latency: Latency): string {
  const { p50Ms, p90Ms, p99Ms, p999Ms, maxMs, count } = latency
  return `  ${name.padEnd(10)}${[p50Ms, p90Ms, p99Ms, p999Ms, maxMs].map(ms).join('')}${String(count).padStart(10)}`
}

/** A measurement as lines of text. */
export function measurementLines(title: string, m: Measurement): string[] {
  const errors = Object.entries(m.errors).map(([status, count]) => `${count} × ${status === '0' ? 'lost' : status}`)
  const faults = [...errors, ...(m.unanswered > 0 ? [`${m.unanswered} unanswered`] : [])]
  const { control } = m
  return [
    title,
    `  ${m.perSecond.toFixed(0)} decisions/s over ${m.seconds.toFixed(1)} s, ${m.connections} connections; ` +
      `errors: ${faults.length === 0 ? 'none' : faults.join(', ')}`,
    '  latency, ms    p50     p90     p99   p99.9     max     count',
    latencyRow('raw', m.raw),
    latencyRow('cleaned', m.cleaned),
    `  left out ${percent(m.leftOutShare)}${m.isVoid ? ': VOID, the cleaned figures say nothing' : ''}; control: ` +
      `${control.gapCount} gaps > 2 ms (${control.timerGaps} timer, ${control.diskGaps} disk), ` +
      `${control.gapMs.toFixed(0)} ms together, longest ${control.longestMs.toFixed(1)} ms; ` +
      `sync p50 ${control.syncP50Ms.toFixed(2)}, p99 ${control.syncP99Ms.toFixed(2)} ms`,
    `  CPU per decision: server ${m.serverCpuUs.toFixed(1)} µs (all threads), ` +
      `generator and control ${m.generatorCpuUs.toFixed(1)} µs`,
    `  generator late by p50 ${ms(m.latenessP50Ms).trim()}, p99 ${ms(m.latenessP99Ms).trim()} ms (in the latencies); ` +
      `machine ${percent(m.machineBusy)} busy, ${percent(m.machineStolen)} stolen`,
  ]
}

/** A target and whether it was reached; `value` NaN or void counts as not shown. */
export function targetLine(name: string, value: number, bound: { max?: number; min?: number }, isVoid = false): string {
  const { max = Infinity, min = -Infinity } = bound
  const wanted = max === Infinity ? `≥ ${min}` : `≤ ${max}`
  const verdict = isVoid ? 'void' : value <= max && value >= min ? 'reached' : 'MISSED'
  return `  ${name.padEnd(34)} ${value.toFixed(2).padStart(10)}   wanted ${wanted.padEnd(9)} ${verdict}`
}

/**
 * By how much something rises, from paired differences, in ms; with `max`, whether the whole interval of the median
 * lies below it, or above it.
 */
export function riseLine(name: string, rises: readonly number[], max?: number): string {
  const interval = medianInterval(rises)
  if (interval === null) return `  ${name}: too few pairs`
  const { low, median, high, coverage } = interval
  const range = `[${low.toFixed(2)}, ${high.toFixed(2)}] at ${(100 * coverage).toFixed(1)} %`
  const rise = `  ${name} rises by ${median.toFixed(2)} ms (median), ${range}`
  if (max === undefined) return rise
  return `${rise}; wanted ≤ ${max}: ${high <= max ? 'reached' : low > max ? 'MISSED' : 'undecided'}`
}

/** Slope of the least-squares line through samples taken once a second, per second. */
export function slopePerSecond(samples: readonly number[]): number {
  const middle = (samples.length - 1) / 2
  const mean = samples.reduce((sum, sample) => sum + sample, 0) / samples.length
  let over = 0
  let under = 0
  samples.forEach((sample, second) => {
    over += (second - middle) * (sample - mean)
    under += (second - middle) ** 2
  })
  return over / under
}

/** Writes bench/results/<name>.txt and .json and prints the text. */
export function writeReport(name: string, lines: readonly string[], data: unknown): void {
  const folder = join(ROOT, 'bench/results')
  mkdirSync(folder, { recursive: true })
  const { cpu, cores, memory_gib: memory, kernel, node } = machine()
  const head = `${name}: ${cpu}, ${cores} cores, ${memory} GiB, Linux ${kernel}, Node ${node}`
  const text = `${[head, '', ...lines].join('\n')}\n`
  process.stdout.write(text)
  writeFileSync(join(folder, `${name}.txt`), text)
  writeFileSync(join(folder, `${name}.json`), `${JSON.stringify({ machine: machine(), data }, null, 1)}\n`)
}
