// The full form of the kill test: 200 random `kill -9` of a server under load on a real disk, then the whole log
// against what its clients were told, by a reader and a fold that share no code with the server.
// test/flow/kill.test.ts is the short form.
//   node dist/bench/kill.js [--kills 200] [--seed N] [--replies 400] [--folder DIR]   → bench/results/kill.txt
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import type { NaiveCatalogue } from '../test/flow/kill-fold.js'
import { judge } from '../test/flow/kill-ledger.js'
import { readNaively } from '../test/flow/kill-log.js'
import { runKills } from '../test/flow/kill-run.js'
import { verifyWithReplay } from '../test/flow/kill-verify.js'
import { referencePolicy } from '../test/reference-policy.js'
import { writeReport } from './report.js'
import { ROOT } from './server.js'

const { values } = parseArgs({
  options: {
    kills: { type: 'string', default: '200' },
    replies: { type: 'string', default: '400' },
    seed: { type: 'string', default: '1' },
    connections: { type: 'string', default: '16' },
    folder: { type: 'string', default: join(ROOT, 'data') },
  },
})

mkdirSync(values.folder, { recursive: true })
const catalogue: NaiveCatalogue = referencePolicy().catalogue
const [kills, seed, repliesMax, connections] = [values.kills, values.seed, values.replies, values.connections].map(
  Number,
)
if (kills === undefined || seed === undefined || repliesMax === undefined || connections === undefined)
  throw new Error()

const run = await runKills({
  kills,
  seed,
  repliesMax,
  connections,
  folder: values.folder,
  onLife: (life, ledger, readyMs) => {
    if ((life + 1) % 10 !== 0) return
    console.error(`${life + 1} kills, ${ledger.told.size} decisions, ready in ${readyMs.toFixed(0)} ms`)
  },
})
const log = readNaively(run.dataDir)
const judgement = judge(run.ledger, log, catalogue)
const { verdict } = judgement
const findings = [...judgement.findings]
const verified = await verifyWithReplay(run.dataDir)
const excused = verdict.mismatches.map(({ decisionId }) => decisionId).sort()
const agree = JSON.stringify(excused) === JSON.stringify(verified.named)
if (!agree) findings.push(`verify --replay names ${verified.named.join(' ')}, the naive fold ${excused.join(' ')}`)
if (verified.code !== 0)
  findings.push(`log verify --replay ended with ${verified.code}: ${verified.output.slice(0, 2000)}`)

const lost = [...verdict.missing.values()].reduce((sum, ordinals) => sum + ordinals.length, 0)
const ready = Float64Array.from(run.readyMs).sort()
const lines = [
  `seed ${seed}: ${kills} kills with SIGKILL under load, ${connections} connections, a real disk`,
  `  ${run.ledger.sent.size} transactions sent, ${run.ledger.told.size} acknowledged; ${run.cutOff} requests cut off`,
  `  ${run.ledger.repeats} answers to repeats compared with the first, ${run.ledger.labels.length} labels acknowledged`,
  `  log: ${log.records} records in ${log.segments} segments,`,
  `  ${log.decisions.length} of them decisions, ${log.labels.length} labels`,
  `  ${verdict.vectors} logged vectors recomputed by the naive fold; ${lost} ordinals died unlogged,`,
  `  ${excused.length} vectors rest on them, the same that log verify --replay names: ${agree ? 'yes' : 'NO'}`,
  `  ready again after ${ready[ready.length >> 1]?.toFixed(0)} ms (median), ${ready.at(-1)?.toFixed(0)} ms at most`,
  '',
  findings.length === 0 ? 'findings: none' : `findings: ${findings.length}`,
  ...findings.slice(0, 50).map((finding) => `  ${finding}`),
]
writeReport('kill', lines, { seed, kills, findings: findings.length, excused, readyMs: run.readyMs })
if (findings.length === 0) await run.remove()
else process.exitCode = 1
