// How fast the sidecar catches up with a log that is far ahead, and what it holds in memory meanwhile.
// The sidecar is the real one, a process of its own; the log is written beforehand, with the codecs of the release.
//   node dist/bench/governance-catch-up.js [--decisions 1000000] [--folder DIR]
//                                                                        → bench/results/governance-catch-up.txt
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { openWriter } from '../test/governance/written-log.js'
import { median } from './interval.js'
import { targetLine, writeReport } from './report.js'
import { CLI, ROOT } from './server.js'

const { values } = parseArgs({
  options: {
    decisions: { type: 'string', default: '1000000' },
    folder: { type: 'string', default: join(ROOT, 'data') },
  },
})
const decisions = Number(values.decisions)
const SAMPLE_MS = 250
mkdirSync(values.folder, { recursive: true })
const dataDir = mkdtempSync(join(values.folder, 'assay-catch-up-'))

const writer = await openWriter(join(dataDir, 'decision-log'))
await writer.decisions(decisions)
await writer.close()
console.error(`${decisions} decisions are written`)

const beganMs = performance.now()
const child = spawn(process.execPath, [CLI, 'govern', 'rebuild'], {
  env: { ...process.env, ASSAY_DATA_DIR: dataDir, ASSAY_PROCESS__LOGGER__LEVEL: 'error' },
  stdio: ['ignore', 'pipe', 'inherit'],
})
let output = ''
child.stdout.on('data', (chunk: Buffer) => void (output += chunk.toString()))
const residentMiB: number[] = []
const timer = setInterval(() => residentMiB.push(resident(child.pid ?? 0)), SAMPLE_MS)
const [code] = (await once(child, 'exit')) as [number | null]
clearInterval(timer)
const seconds = (performance.now() - beganMs) / 1000
if (code !== 0 || !output.includes(`sequence ${decisions},`))
  throw new Error(`the rebuild ended with ${code}: ${output}`)

/** Medians of the thirds of the run: DuckDB's own buffers fill in the first, checkpoints are peaks in the others. */
const alive = residentMiB.filter((mib) => mib > 0)
const third = Math.floor(alive.length / 3)
const medianOf = (at: number): number => median(alive.slice(at * third, (at + 1) * third))
const [middle, last] = [medianOf(1), medianOf(2)]
const storeMiB = statSync(join(dataDir, 'governance/store.duckdb')).size / 2 ** 20
const lines = [
  `${decisions} decisions, a log written beforehand, \`assay govern rebuild\` from start to end of its process`,
  `  ${seconds.toFixed(1)} s; the store is ${storeMiB.toFixed(0)} MiB, ${((storeMiB * 2 ** 20) / decisions).toFixed(0)} bytes a decision`,
  `  resident, MiB: median ${middle.toFixed(0)} in the middle third of the time, ${last.toFixed(0)} in the last; at most ${Math.max(...alive).toFixed(0)}`,
  '',
  targetLine('catch-up, decisions/s', decisions / seconds, { min: 10_000 }),
  targetLine('memory, last third / middle third', last / middle, { max: 1.1 }),
]
writeReport('governance-catch-up', lines, { decisions, seconds, residentMiB, storeMiB })
rmSync(dataDir, { recursive: true, force: true })

/** MiB, or 0 once the process is gone. */
function resident(pid: number): number {
  try {
    return Number(/^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0) / 1024
  } catch {
    return 0
  }
}
