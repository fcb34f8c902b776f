// The proof of `assay serve --take-over`: ten servers, each follows the one before it under load, to the next version
// of the formats and back. No connection is refused, no payment fails after one retry, and the log holds each payment
// once, with vectors that a fold of the whole log gives again. test/flow/take-over.test.ts is the short form.
//   node dist/bench/take-over.js [--times 10] [--rate 2000] [--connections 64] [--folder DIR]
//                                                                        → bench/results/take-over.txt
import { execFile } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs, promisify } from 'node:util'
import { verifyReplay } from '../src/scoring/verify-replay.js'
import { readLog } from '../test/flow/server-rig.js'
import { runTakeOvers } from '../test/flow/take-over-run.js'
import { targetLine, writeReport } from './report.js'
import { CLI, ROOT } from './server.js'

const { values } = parseArgs({
  options: {
    times: { type: 'string', default: '10' },
    rate: { type: 'string', default: '2000' },
    connections: { type: 'string', default: '64' },
    folder: { type: 'string', default: join(ROOT, 'data') },
  },
})
const [times, ratePerSecond, connections] = [Number(values.times), Number(values.rate), Number(values.connections)]
const PAUSE_MS_MAX = 200
/** What a release with other formats says in other words: it takes the log of this one, and passes its snapshots by. */
const FORMATS = [
  ['decision-log/frame.js', 'FRAME_FORMAT = 1'],
  ['scoring/snapshot.js', 'SNAPSHOT_FORMAT = 3'],
] as const

/** This build with its format versions one further; returns its command line. */
function nextBuild(folder: string): string {
  const root = join(folder, 'next-build')
  cpSync(join(ROOT, 'dist'), join(root, 'dist'), { recursive: true })
  for (const name of ['node_modules', 'package.json', 'models']) symlinkSync(join(ROOT, name), join(root, name))
  for (const [file, words] of FORMATS) {
    const path = join(root, 'dist', 'src', file)
    const text = readFileSync(path, 'utf8')
    if (!text.includes(words)) throw new Error(`${file} does not say ${words}`)
    writeFileSync(
      path,
      text.replace(
        words,
        words.replace(/\d+$/, (format) => `${Number(format) + 1}`),
      ),
    )
  }
  return join(root, 'dist', 'src', 'cli.js')
}

mkdirSync(values.folder, { recursive: true })
const dataDir = mkdtempSync(join(values.folder, 'take-over-'))
const execute = promisify(execFile)
const run = await runTakeOvers({
  ...{ dataDir, times, ratePerSecond, connections },
  builds: [nextBuild(dataDir), CLI],
  // As its sidecar has it done now and then: else each server would fold the whole log.
  async before(_port, build) {
    await execute(process.execPath, [build, 'features', 'snapshot', '--data', dataDir])
  },
})
const logDir = join(dataDir, 'decision-log')
const { decisions } = await readLog(logDir)
const logged = new Set(decisions.map(({ personal }) => personal.transaction.transactionId))
const replay = await verifyReplay(logDir)
const retries = [...run.retries].map(([what, count]) => `${count} after ${what}`)
const refused = [...run.retries].reduce((sum, [what, count]) => sum + (what === 'ECONNREFUSED' ? count : 0), 0)
const lines = [
  `${times} take-overs at ${ratePerSecond}/s over ${connections} connections: ${run.decisions.size} payments decided`,
  '  by a build whose frames and snapshots have the next format version, and back by this one, in turn',
  ...run.takeOvers.map(({ pauseMs, slowestMs }, at) => {
    return `  ${at + 1}: no answer for ${pauseMs.toFixed(0)} ms; the slowest payment took ${slowestMs.toFixed(0)} ms`
  }),
  `  sent again: ${retries.join(', ') || 'none'}; answers that the server was busy: ${run.busy}`,
  `  replay of the log: ${replay.compared} vectors, ${replay.equal} equal, ${replay.unrecomputable} not recomputable`,
  '',
  targetLine('connections refused', refused, { max: 0 }),
  targetLine('payments without a decision after one retry', run.failures.length, { max: 0 }),
  targetLine('payments decided twice', decisions.length - logged.size, { max: 0 }),
  targetLine('answered payments that the log lacks', [...run.decisions.keys()].filter((id) => !logged.has(id)).length, {
    max: 0,
  }),
  targetLine('vectors that the fold does not give', replay.unexplained, { max: 0 }),
  targetLine('longest pause, ms', Math.max(...run.takeOvers.map(({ pauseMs }) => pauseMs)), { max: PAUSE_MS_MAX }),
]
writeReport('take-over', lines, { ...run, decisions: run.decisions.size, retries: Object.fromEntries(run.retries) })
rmSync(dataDir, { recursive: true, force: true })
