// What the decision log costs: records of 400 bytes through ring, thread and fdatasync on a real directory.
// Usage: node dist/bench/decision-log.js [directory on the disk to measure]. Prints bench/results/decision-log.txt.
import { mkdtempSync, rmSync } from 'node:fs'
import { cpus, tmpdir } from 'node:os'
import path from 'node:path'
import { openDecisionLog } from '../src/decision-log/open.js'
import type { Durability } from '../src/decision-log/commit.js'
import { openLogReader } from '../src/decision-log/reader.js'
import { SYNC_SECONDS_BOUNDS } from '../src/decision-log/gauges.js'
import { LIMITS } from '../src/limits.js'

const BODY_BYTES = 376
const parent = process.argv[2] ?? tmpdir()

interface Load {
  readonly durability: Durability
  /** Records per turn of the event loop; a turn waits for nothing but room. */
  readonly perTurn: number
  readonly seconds: number
  /** Records that may be open at once: a closed loop of that many clients. */
  readonly openMax: number
}

async function measure(load: Load): Promise<void> {
  const directory = mkdtempSync(path.join(parent, 'assay-bench-'))
  const openMs = performance.now()
  let wake = (): void => undefined
  const log = await openDecisionLog({
    ...{ directory, durability: load.durability, limits: LIMITS, diskBytesMax: Infinity },
    ...{ schemas: Buffer.from('{}'), controlState: () => Buffer.alloc(20_000, 'c') },
    onProgress: () => wake(),
  })
  const openedMs = performance.now()
  const body = Buffer.alloc(BODY_BYTES, 'b')
  const encode = (buffer: Buffer, at: number): number => at + body.copy(buffer, at)
  const appendedAt = new Float64Array(1 << 16)
  const waits: number[] = []
  let appended = 0
  let seen = 0
  let appendMs = 0
  const base = log.recovery.nextSequence - 1
  const look = (): void => {
    const nowMs = performance.now()
    const durable = log.durableSequence() - base
    for (; seen < durable; seen++) if (seen % 16 === 0) waits.push(nowMs - (appendedAt[seen & 0xffff] ?? 0))
  }
  const startedMs = performance.now()
  const cpuBefore = process.cpuUsage()
  const loopBefore = performance.eventLoopUtilization()
  while (performance.now() - startedMs < load.seconds * 1e3) {
    const fromMs = performance.now()
    for (let i = 0; i < load.perTurn && appended - seen < load.openMax && log.reserve(); i++) {
      appendedAt[appended++ & 0xffff] = fromMs
      log.append('decision', encode)
    }
    log.flush()
    appendMs += performance.now() - fromMs
    look()
    if (appended - seen < load.openMax) await new Promise((go) => setImmediate(go))
    else await new Promise<void>((go) => (wake = go))
    look()
  }
  const busyMs = performance.eventLoopUtilization(loopBefore).active
  await log.close(30_000)
  const took = (performance.now() - startedMs) / 1e3
  const cpu = process.cpuUsage(cpuBefore)
  const stats = log.stats()
  waits.sort((a, b) => a - b)
  const at = (p: number): string => (waits[Math.floor(p * waits.length)] ?? 0).toFixed(2)
  console.log(`${load.durability}, at most ${load.openMax} open, ${load.perTurn} a turn, ${load.seconds} s`)
  console.log(
    `  open ${(openedMs - openMs).toFixed(0)} ms, ${appended} records, ${(appended / took).toFixed(0)} a second, ${stats.segments} segments`,
  )
  console.log(
    `  main thread: append and flush ${((appendMs * 1e3) / appended).toFixed(2)} µs a record; with loop and wake-ups ${((busyMs * 1e3) / appended).toFixed(2)} µs`,
  )
  console.log(`  all threads: ${((cpu.user + cpu.system) / appended).toFixed(1)} µs of CPU a record`)
  console.log(
    `  append to durable: p50 ${at(0.5)} p99 ${at(0.99)} p99.9 ${at(0.999)} ms; ${(stats.frames / stats.groups).toFixed(1)} records a group`,
  )
  console.log(
    `  syncs ${stats.syncs}, mean ${((stats.syncSecondsSum / Math.max(1, stats.syncs)) * 1e6).toFixed(0)} µs, p50 ≤ ${syncQuantile(stats.syncSeconds, 0.5)} ms, p99 ≤ ${syncQuantile(stats.syncSeconds, 0.99)} ms`,
  )
  readAll(directory)
  rmSync(directory, { recursive: true })
}

function syncQuantile(counts: Uint32Array, p: number): string {
  const all = counts.reduce((a, b) => a + b, 0)
  let sum = 0
  const i = counts.findIndex((count) => (sum += count) >= p * all)
  return ((SYNC_SECONDS_BOUNDS[i] ?? Infinity) * 1e3).toFixed(2)
}

function readAll(directory: string): void {
  const reader = openLogReader(directory)
  const startedMs = performance.now()
  let bytes = 0
  const records = reader.read({ onRecord: (record) => void (bytes += record.end - record.start) })
  const seconds = (performance.now() - startedMs) / 1e3
  reader.close()
  console.log(
    `  read back: ${records} records, ${(records / seconds).toFixed(0)} a second, ${(bytes / seconds / 1e6).toFixed(0)} MB/s`,
  )
}

console.log(
  `decision log, records of 400 bytes, Node ${process.version}, ${cpus().length} shared cores, ${cpus()[0]?.model ?? ''}`,
)
await measure({ durability: 'synced', perTurn: 32, seconds: 3, openMax: 64 })
await measure({ durability: 'synced', perTurn: 4, seconds: 5, openMax: 64 })
await measure({ durability: 'synced', perTurn: 32, seconds: 5, openMax: 512 })
await measure({ durability: 'synced', perTurn: 64, seconds: 5, openMax: 4096 })
await measure({ durability: 'synced', perTurn: 1, seconds: 3, openMax: 1 })
await measure({ durability: 'buffered', perTurn: 64, seconds: 5, openMax: 4096 })
