// The full form of the sidecar's kill test: random `kill -9` of sidecar, server and both under load, then everything
// that the sidecar derived against a store made afresh from the same log, row by row.
// test/governance/kills.test.ts is the short form.
//   node dist/bench/governance-kills.js [--kills 100] [--seed N] [--folder DIR]  → bench/results/governance-kills.txt
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { runGovernanceKills } from '../test/governance/kill-run.js'
import { writeReport } from './report.js'
import { ROOT } from './server.js'

const { values } = parseArgs({
  options: {
    kills: { type: 'string', default: '100' },
    seed: { type: 'string', default: '1' },
    connections: { type: 'string', default: '16' },
    folder: { type: 'string', default: join(ROOT, 'data') },
  },
})
mkdirSync(values.folder, { recursive: true })
const [kills, seed, connections] = [Number(values.kills), Number(values.seed), Number(values.connections)]
const run = await runGovernanceKills({
  ...{ kills, seed, connections, folder: values.folder, betweenMsMax: 1_500 },
  onKill: (kill, victim) => console.error(`${kill + 1} of ${kills}: ${victim}`),
})
const { comparison, victims } = run
const faults = [...run.faults, ...comparison.differences, ...run.wrong]
const lines = [
  `seed ${seed}: ${kills} kills with SIGKILL under load, ${connections} connections, a real disk:`,
  `  ${victims.sidecar} of the sidecar, ${victims.server} of the server, ${victims.both} of both`,
  `  the log ends at sequence ${run.lastSequence}; ${run.told} decisions were told to clients`,
  `  rows compared with a store made afresh: ${JSON.stringify(comparison.rows)}`,
  '',
  faults.length === 0
    ? 'equal: no row missing, none too many, every decision told stands in the store once'
    : `NOT equal: ${faults.length} findings`,
  ...faults.slice(0, 50).map((fault) => `  ${fault}`),
]
writeReport('governance-kills', lines, { seed, kills, victims, rows: comparison.rows, faults: faults.length })
if (faults.length === 0) await run.remove()
else process.exitCode = 1
