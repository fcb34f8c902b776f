// The proof of the live policy: 500 random changes of rules, lists, segments and cuts, and rollbacks, by two operators
// under load, with SIGKILL of the server in between; then every decision is recomputed from the log and the bundles
// alone, by the code of `assay decision verify`. test/flow/policy-proof.test.ts is the short form.
//   node dist/bench/policy.js [--changes 500] [--kills 20] [--seed N] [--folder DIR]   → bench/results/policy.txt
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { judgePolicy, POLICY_OPERATOR } from '../test/flow/policy-run.js'
import { runRoutes } from '../test/flow/routes-run.js'
import { writeReport } from './report.js'
import { ROOT } from './server.js'

const { values } = parseArgs({
  options: {
    changes: { type: 'string', default: '500' },
    kills: { type: 'string', default: '20' },
    seed: { type: 'string', default: '1' },
    connections: { type: 'string', default: '16' },
    folder: { type: 'string', default: join(ROOT, 'data') },
  },
})
mkdirSync(values.folder, { recursive: true })
const [changes, kills, seed] = [Number(values.changes), Number(values.kills), Number(values.seed)]
const run = await runRoutes({
  ...{
    changes,
    kills,
    seed,
    connections: Number(values.connections),
    folder: values.folder,
    operator: POLICY_OPERATOR,
  },
  onLife: (life, { told, decided }) => console.error(`life ${life}: ${told.size} changes, ${decided.size} decisions`),
})
const { findings: judged, verified, ...seen } = await judgePolicy(run)
const findings = [...run.findings, ...judged]
const answers = [...run.answers].sort().map(([name, count]) => `${name}: ${count}`)
const lines = [
  `seed ${seed}: ${run.told.size} changes told to two operators under load, ${kills} kills with SIGKILL, a real disk`,
  `  answers to operators: ${answers.join(', ')}; ${run.changesCutOff} cut off`,
  `  ${run.decided.size} payments answered, ${run.cutOff} cut off by a kill, ${run.busy} told to come again (503)`,
  `  decisions recomputed from log and bundles: ${verified.equal} equal, ${verified.differs} differ, ` +
    `${verified.unverifiable} cannot be`,
  `  ${seen.policies} policies; a rule matched ${seen.ruled}, a segment's cuts applied to ${seen.segmented}, ` +
    `the action is not the score's in ${seen.overruled}`,
  '',
  findings.length === 0 ? 'findings: none' : `findings: ${findings.length}`,
  ...findings.slice(0, 50).map((finding) => `  ${finding}`),
]
writeReport('policy', lines, { seed, changes, kills, verified, ...seen, findings: findings.length })
if (findings.length === 0) await run.remove()
else process.exitCode = 1
