// The proof of the live routes: 1,000 random changes of champion, challenger, share and experiment, rollbacks, forced
// and released models, by two operators under load, with SIGKILL of the server in between; then the log alone says for
// each decision what its revision prescribed and who answered. test/flow/routes-proof.test.ts is the short form.
//   node dist/bench/routes.js [--changes 1000] [--kills 20] [--seed N] [--folder DIR]   → bench/results/routes.txt
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { judgeRoutes, readRoutesLog } from '../test/flow/routes-judge.js'
import { runRoutes } from '../test/flow/routes-run.js'
import { writeReport } from './report.js'
import { ROOT } from './server.js'

const { values } = parseArgs({
  options: {
    changes: { type: 'string', default: '1000' },
    kills: { type: 'string', default: '20' },
    seed: { type: 'string', default: '1' },
    connections: { type: 'string', default: '16' },
    folder: { type: 'string', default: join(ROOT, 'data') },
  },
})
mkdirSync(values.folder, { recursive: true })
const [changes, kills, seed, connections] = [values.changes, values.kills, values.seed, values.connections].map(Number)
if (changes === undefined || kills === undefined || seed === undefined || connections === undefined) throw new Error()

const run = await runRoutes({
  ...{ changes, kills, seed, connections, folder: values.folder },
  onLife: (life, { told, decided }) => console.error(`life ${life}: ${told.size} changes, ${decided.size} decisions`),
})
const log = await readRoutesLog(join(run.dataDir, 'decision-log'))
const findings = [...run.findings, ...judgeRoutes(log, run)]
for (const revision of run.told.keys()) if (!log.routings.has(revision)) findings.push(`revision ${revision} was lost`)
const fallbacks = new Map<string, number>()
for (const { facts } of log.decisions) {
  for (const { reason } of facts.fallback) fallbacks.set(reason, (fallbacks.get(reason) ?? 0) + 1)
}
const list = (counts: ReadonlyMap<string, number>): string =>
  [...counts]
    .sort()
    .map(([name, count]) => `${name}: ${count}`)
    .join(', ')
const lines = [
  `seed ${seed}: ${run.told.size} changes told to two operators under load, ${kills} kills with SIGKILL, a real disk`,
  `  answers to operators: ${list(run.answers)}; ${run.changesCutOff} cut off`,
  `  ${log.controls.length} control records; the newest revision is ${Math.max(...log.routings.keys())}`,
  `  ${run.decided.size} payments answered, ${run.cutOff} cut off by a kill, ${run.busy} told to come again (503)`,
  `  ${log.decisions.length} decisions in the log: bucket, prescribed model, chain and answer compared with the revision`,
  `  models left, by reason: ${list(fallbacks)}`,
  '',
  findings.length === 0 ? 'findings: none' : `findings: ${findings.length}`,
  ...findings.slice(0, 50).map((finding) => `  ${finding}`),
]
writeReport('routes', lines, { seed, changes, kills, findings: findings.length })
if (findings.length === 0) await run.remove()
else process.exitCode = 1
