// What Linux knows of a process: CPU time of all its threads, resident memory. Reads /proc and nothing else.
import { readFileSync } from 'node:fs'

const TICKS_PER_SECOND = 100

/** CPU seconds of a process, user and system, all threads together; resolution 10 ms. */
export function cpuSeconds(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
  // The name stands in brackets and may hold anything: fields are counted from behind it.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND
}

/** Resident bytes of a process. */
export function residentBytes(pid: number): number {
  const match = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))
  if (match === null) throw new Error(`no VmRSS of process ${pid}`)
  return Number(match[1]) * 1024
}

/** Seconds of CPU time that the whole machine spent idle and in total, all cores, since boot. */
export function machineSeconds(): { idle: number; total: number; steal: number } {
  const line = readFileSync('/proc/stat', 'latin1').split('\n', 1)[0] ?? ''
  const fields = line.trim().split(/\s+/).slice(1).map(Number)
  const total = fields.slice(0, 8).reduce((sum, ticks) => sum + ticks, 0)
  return {
    idle: ((fields[3] ?? 0) + (fields[4] ?? 0)) / TICKS_PER_SECOND,
    steal: (fields[7] ?? 0) / TICKS_PER_SECOND,
    total: total / TICKS_PER_SECOND,
  }
}

/** Monotonic milliseconds, the same for every thread and process of this machine (CLOCK_MONOTONIC). */
export function monoMs(): number {
  const [seconds, nanoseconds] = process.hrtime()
  return seconds * 1e3 + nanoseconds / 1e6
}
