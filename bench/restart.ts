// How long a start takes on a long history: ready with the newest snapshot and what the log holds behind it, and for
// comparison by folding the whole log. The log is written beforehand with the codecs of the release; the events lie
// within the reference catalogue's windows, so that all of them are state.
//   node dist/bench/restart.js [--decisions 10000000] [--behind 100000] [--starts 5] [--folder DIR]
//                                                                        → bench/results/restart.txt
import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { openWriter } from '../test/governance/written-log.js'
import { median } from './interval.js'
import { targetLine, writeReport } from './report.js'
import { CLI, ROOT, startServer } from './server.js'

const { values } = parseArgs({
  options: {
    decisions: { type: 'string', default: '10000000' },
    behind: { type: 'string', default: '100000' },
    starts: { type: 'string', default: '5' },
    folder: { type: 'string', default: join(ROOT, 'data') },
  },
})
const [decisions, behind, starts] = [Number(values.decisions), Number(values.behind), Number(values.starts)]
/** Of record time, over which the history lies: shorter than the longest window of 30 days. */
const HISTORY_MS = 25 * 86_400_000
const FULL_READY_MS_MAX = 3_600_000

mkdirSync(values.folder, { recursive: true })
const dataDir = mkdtempSync(join(values.folder, 'assay-restart-'))
const env = { ...process.env, ASSAY_DATA_DIR: dataDir }
// Whole milliseconds, as all times of the log.
const stepMs = Math.floor(HISTORY_MS / (decisions + behind))
const startMs = Date.now() - HISTORY_MS - 60_000

async function write(count: number, at: number): Promise<void> {
  const place = { startMs: startMs + at * stepMs, stepMs, seed: at + 1, ordinal: at + 1 }
  const writer = await openWriter(join(dataDir, 'decision-log'), place)
  await writer.decisions(count)
  await writer.close()
}

async function start(readyMsMax?: number) {
  const server = await startServer({ dataDir, ...(readyMsMax !== undefined && { readyMsMax }) })
  const lines = server.output().split('\n')
  const loaded = lines.find((line) => line.includes('SnapshotLoaded'))
  const replayed = lines.find((line) => line.includes('LogReplayed')) ?? '{}'
  const { features } = (await (await fetch(`http://127.0.0.1:${server.operationsPort}/v1/status`)).json()) as {
    features: { events: number; bytes: number }
  }
  await server.stop()
  return {
    readySeconds: server.readyMs / 1_000,
    loadSeconds: loaded === undefined ? null : (JSON.parse(loaded) as { ms: number }).ms / 1_000,
    folded: (JSON.parse(replayed) as { transactions: number }).transactions,
    features,
  }
}

await write(decisions, 0)
console.error(`${decisions} decisions are written`)
const beganMs = performance.now()
const made = spawnSync(process.execPath, [CLI, 'features', 'snapshot', '--json'], { env, encoding: 'utf8' })
if (made.status !== 0) throw new Error(made.stderr)
const snapshotSeconds = (performance.now() - beganMs) / 1_000
const snapshots = join(dataDir, 'snapshots')
const snapshotBytes = readdirSync(snapshots).reduce((sum, name) => sum + statSync(join(snapshots, name)).size, 0)
console.error(made.stdout.trim())
await write(behind, decisions)

const results = []
for (let i = 0; i < starts; i++) results.push(await start())
rmSync(snapshots, { recursive: true })
const whole = await start(FULL_READY_MS_MAX)

const ready = results.map(({ readySeconds }) => readySeconds)
const lines = [
  `${decisions} decisions covered by the snapshot, ${behind} behind it; ${results[0].features.events} events held`,
  `  snapshot made of the whole log in ${snapshotSeconds.toFixed(0)} s, ${(snapshotBytes / 2 ** 20).toFixed(0)} MiB`,
  ...results.map(({ readySeconds, loadSeconds, folded }, at) => {
    const parts = `snapshot read in ${loadSeconds?.toFixed(1) ?? '-'} s, ${folded} transactions folded`
    return `  start ${at + 1}: ready after ${readySeconds.toFixed(1)} s; ${parts}`
  }),
  `  without a snapshot: ready after ${whole.readySeconds.toFixed(1)} s; ${whole.folded} transactions folded`,
  '',
  targetLine('ready with a snapshot, s, median', median(ready), { max: 10 }),
  targetLine('transactions that only the whole log gave', whole.folded - decisions - results[0].folded, { max: 0 }),
]
writeReport('restart', lines, { decisions, behind, snapshotSeconds, snapshotBytes, results, whole })
rmSync(dataDir, { recursive: true, force: true })
